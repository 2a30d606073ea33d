//! DNS and HTTP: the probe of a host, the solver that answers challenges, and the admin port.

pub mod admin;
pub mod probe;
pub mod solver;
