//! Rate limits of a CA without a server: the orders one account may place, on any clock.

use jiff::Timestamp;

use super::super::names::SetId;
use super::{Exemption, LimitedOrder, Limits, Meter};

/// Account that places all orders.
const ACCOUNT: u64 = 1;

/// Rate limits as applied to a single account.
#[derive(Debug)]
pub struct AccountLimits(Meter);

/// Refusal of an order by the CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Problem text of the CA.
    pub detail: String,
    /// Time at which the order may be retried, if the CA gives one.
    pub retry_at: Option<Timestamp>,
}

impl AccountLimits {
    /// Creates a ration with full buckets.
    pub fn new(limits: &Limits) -> Self {
        Self(Meter::new(limits))
    }

    /// Counts an order for `names`, which must be lower case, sorted and without an earlier
    /// certificate.
    pub fn order(&mut self, names: &[Box<str>], now: Timestamp) -> Result<(), Refused> {
        let refused = self.0.order(first(names), now);
        refused.map_err(|problem| Refused { detail: problem.detail, retry_at: problem.retry_at })
    }

    /// Counts an issued certificate for these names.
    pub fn issued(&mut self, names: &[Box<str>], now: Timestamp) {
        self.0.issued(first(names), now);
    }
}

fn first(names: &[Box<str>]) -> LimitedOrder<'_> {
    LimitedOrder { account: ACCOUNT, names, set: SetId::of(names), exemption: Exemption::No }
}
