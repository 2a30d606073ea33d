//! What was asked of a CA, in numbers.

use std::collections::BTreeMap;

/// What a CA has done since it was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Orders that were opened.
    pub orders: u64,
    /// Certificates that were issued.
    pub certificates: u64,
    /// Validations that passed.
    pub validations_passed: u64,
    /// Validations that failed.
    pub validations_failed: u64,
    /// Answers 429, and 503 of the load balancer.
    pub rate_limited: u64,
    /// Answers by endpoint and HTTP status; status 0 is a connection that was broken.
    pub requests: BTreeMap<(&'static str, u16), u64>,
}
