//! The limits of a CA without a server: what one account may order, on any clock.

use jiff::Timestamp;

use super::super::names::SetId;
use super::{Exemption, Limits, Meter, Spender};

/// The account whose ration it is.
const ACCOUNT: u64 = 1;

/// What one account may order.
#[derive(Debug)]
pub struct Ration(Meter);

/// An order that the CA refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// In the CA's words.
    pub detail: String,
    /// When it may be asked again, where it says so.
    pub retry_at: Option<Timestamp>,
}

impl Ration {
    /// A full one.
    pub fn new(limits: &Limits) -> Self {
        Self(Meter::new(limits))
    }

    /// A new order for these names, lower case and sorted, which nothing was issued for before.
    pub fn order(&mut self, names: &[Box<str>], now: Timestamp) -> Result<(), Refused> {
        let refused = self.0.order(first(names), now);
        refused.map_err(|problem| Refused { detail: problem.detail, retry_at: problem.retry_at })
    }

    /// A certificate was issued for these names.
    pub fn issued(&mut self, names: &[Box<str>], now: Timestamp) {
        self.0.issued(first(names), now);
    }
}

fn first(names: &[Box<str>]) -> Spender<'_> {
    Spender { account: ACCOUNT, names, set: SetId::of(names), exemption: Exemption::No }
}
