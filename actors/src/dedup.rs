//! Deduplication: one actor per Ingress that has work, addressed through the registry.
//!
//! The registry and the actor import each other: the registry starts actors, and an actor retires from the registry.

pub mod actor;
pub mod registry;
