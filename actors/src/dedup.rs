//! Deduplication: one actor per Ingress with work, addressed through the registry.
//!
//! The registry and the actor import each other: the registry starts actors, and an actor removes
//! itself from the registry.

pub mod actor;
pub mod registry;
