//! A rate limit as a refusal of the CA describes it. The adapter of the CA parses the refusal.

use std::time::Duration;

use super::LimitScope;

/// A rate limit that refused a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// Scope that the limit counts.
    pub scope: LimitScope,
    /// Time per allowed order, if the refusal contains a rate.
    pub pace: Option<Duration>,
}

impl RateLimit {
    /// A limit of the whole account without a known pace: the safe assumption about a refusal that
    /// names no scope, because another order would be refused too.
    pub const ACCOUNT: Self = Self { scope: LimitScope::Account, pace: None };
}
