//! Whether a certificate is good, when to renew it, and the dates of all certificates.

pub mod check;
pub mod expiries;
pub mod renewal;
