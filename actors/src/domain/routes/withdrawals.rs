//! Withdrawn hosts whose old route may still answer, because ingress controllers apply a write
//! late.
//!
//! Such a host is published again like any other, but an answer of the solver shows nothing until
//! the controller has applied the withdrawal: afterwards the CA would reach the user's backend.

use std::collections::HashMap;

use crate::domain::desired::desired_certificate::Route;
use crate::domain::limits;
use crate::domain::time::Timestamp;

/// Withdrawals of the last [`limits::ROUTE_LAG`].
#[derive(Debug, Default)]
pub(super) struct Withdrawals {
    at: HashMap<Route, Timestamp>,
}

impl Withdrawals {
    /// Records a withdrawal that the API server has or may have accepted.
    pub(super) fn record(&mut self, route: Route, now: Timestamp) {
        self.at.insert(route, now);
    }

    /// Time from which an answer is that of the present route; `None` if the route was not
    /// withdrawn lately.
    pub(super) fn settled_at(&self, route: &Route) -> Option<Timestamp> {
        self.at.get(route).map(|at| *at + limits::ROUTE_LAG)
    }

    /// Drops those that every controller has applied.
    pub(super) fn forget_settled(&mut self, now: Timestamp) {
        self.at.retain(|_, at| now < *at + limits::ROUTE_LAG);
    }
}
