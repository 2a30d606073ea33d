//! From Ingresses to desired certificates: selection, planning, grouping, and the index of all
//! Ingresses.

pub mod desired_certificate;
pub(crate) mod grouping;
pub(crate) mod host_claims;
pub mod hosts;
pub mod index;
pub mod plan;
pub mod problem;
mod public_names;
pub mod secret_names;
pub mod selection;
