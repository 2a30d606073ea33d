//! The issuer pool: schedules jobs, runs their steps in issuer actors, and answers the dedup actors.

pub mod actor;
pub mod issuer;
