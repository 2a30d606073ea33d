//! DNS and HTTP: the reachability probe, the challenge solver and the admin port.

pub mod admin;
pub mod probe;
pub mod solver;
