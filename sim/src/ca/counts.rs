//! Activity counters of a CA.

use std::collections::BTreeMap;

/// Activity of a CA since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Orders created.
    pub orders: u64,
    /// Certificates issued.
    pub certificates: u64,
    /// Validations passed.
    pub validations_passed: u64,
    /// Validations failed.
    pub validations_failed: u64,
    /// Answers with 429, and with 503 from the load balancer.
    pub rate_limited: u64,
    /// Answers by endpoint and HTTP status; status 0 is a broken connection.
    pub requests: BTreeMap<(&'static str, u16), u64>,
}
