//! Certificate checks, renewal times, and the expiry of all certificates.

pub mod check;
pub mod expiries;
pub(crate) mod renew_requests;
pub mod renewal;
