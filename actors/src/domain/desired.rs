//! From Ingresses to desired certificates: selection, planning, grouping, and the index of all
//! Ingresses.

pub mod desired_certificate;
pub(crate) mod grouping;
pub mod index;
pub mod plan;
mod public_names;
pub mod selection;
