//! Orders and their authorizations (RFC 8555 §7.1.3, §7.1.4). The status is computed from past
//! events and the time.
//!
//! Finished orders are kept for a while, up to a fixed number, so that clients can read them.

mod authorization;

use std::collections::{HashMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::accounts::AccountId;
use super::ids::{AuthorizationId, OrderId, Serial};
use super::limits::Exemption;
use super::names::{Names, SetId};
use super::problem::Problem;
use super::profiles::Profile;

pub(super) use authorization::{Authorization, Challenge, Kind, Reuse, Validity};

use authorization::Authorizations;

/// Contents of a new order.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) account: AccountId,
    pub(super) names: Names,
    pub(super) set: SetId,
    pub(super) profile: &'static Profile,
    pub(super) replaces: Option<Replaces>,
    pub(super) exemption: Exemption,
}

/// Certificate that an order replaces.
#[derive(Clone, Debug)]
pub(super) struct Replaces {
    /// Certificate id as sent by the client (RFC 9773 §4.1).
    pub(super) id: String,
    pub(super) serial: Serial,
}

/// One order.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) id: OrderId,
    pub(super) wanted: Wanted,
    pub(super) expires: Timestamp,
    /// One authorization per name, in the order of the names.
    pub(super) authorizations: Vec<AuthorizationId>,
    /// Certificate, and the time from which clients see it.
    pub(super) issued: Option<(Serial, Timestamp)>,
}

/// Order status (RFC 8555 §7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Pending,
    Ready,
    Processing,
    Valid,
    Invalid,
}

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Processing => "processing",
            Self::Valid => "valid",
            Self::Invalid => "invalid",
        }
    }
}

/// All remembered orders.
#[derive(Debug)]
pub(super) struct Orders {
    all: HashMap<OrderId, Order>,
    pub(super) authorizations: Authorizations,
    /// Orders as created; orders still open return to the back.
    queue: VecDeque<OrderId>,
    /// Newest order of each account, set of names and profile.
    newest: HashMap<(AccountId, SetId, &'static str), OrderId>,
    opened: u64,
    /// Number of remembered orders above which finished ones are forgotten.
    kept: usize,
}

impl Orders {
    pub(super) fn new(kept: usize, reuse: Reuse) -> Self {
        Self {
            all: HashMap::new(),
            authorizations: Authorizations::new(reuse),
            queue: VecDeque::new(),
            newest: HashMap::new(),
            opened: 0,
            kept,
        }
    }

    /// Number of orders ever created.
    pub(super) fn opened(&self) -> u64 {
        self.opened
    }

    /// Returns an order of this account.
    pub(super) fn get(&self, account: AccountId, id: OrderId) -> Result<&Order, Problem> {
        let unknown = || Problem::not_found(format!("No order for ID {id}"));
        let order = self.all.get(&id).ok_or_else(unknown)?;
        if order.wanted.account != account {
            let detail = format!("No order found for account ID {account}");
            return Err(Problem::not_found(detail));
        }
        Ok(order)
    }

    /// Returns the current status of an order.
    pub(super) fn status(&self, order: &Order, now: Timestamp) -> Status {
        match order.issued {
            Some((_, at)) if at <= now => return Status::Valid,
            Some(_) => return Status::Processing,
            None if order.expires <= now => return Status::Invalid,
            None => {}
        }
        let mut status = Status::Ready;
        for id in &order.authorizations {
            match self.authorizations.validity(*id, now) {
                Validity::Valid => {}
                Validity::Pending => status = Status::Pending,
                _ => return Status::Invalid,
            }
        }
        status
    }

    fn is_open(&self, order: &Order, now: Timestamp) -> bool {
        !matches!(self.status(order, now), Status::Valid | Status::Invalid)
    }

    /// Finds an order of the same account, names and profile that still waits for its client.
    pub(super) fn same(&self, wanted: &Wanted, now: Timestamp) -> Option<OrderId> {
        let key = (wanted.account, wanted.set, wanted.profile.name);
        let order = self.all.get(self.newest.get(&key)?)?;
        let waits = matches!(self.status(order, now), Status::Pending | Status::Ready);
        waits.then_some(order.id)
    }

    /// Whether this order has led to a certificate or still may.
    pub(super) fn is_alive(&self, id: OrderId, now: Timestamp) -> bool {
        // Most forgotten orders have led to a certificate.
        self.all.get(&id).is_none_or(|order| self.status(order, now) != Status::Invalid)
    }

    /// Creates an order (RFC 8555 §7.4) and forgets old ones. Returns the certificates of the
    /// forgotten orders.
    pub(super) fn open(
        &mut self,
        wanted: Wanted,
        random: &mut fastrand::Rng,
        now: Timestamp,
    ) -> (OrderId, Vec<Serial>) {
        self.opened += 1;
        let id = self.opened;
        let mut expires = now + span(wanted.profile.order);
        let mut authorizations = Vec::with_capacity(wanted.names.len());
        for name in wanted.names.iter() {
            let profile = wanted.profile;
            let (id, valid_until) =
                self.authorizations.for_order((wanted.account, name), profile, random, now);
            expires = valid_until.map_or(expires, |until| expires.min(until));
            authorizations.push(id);
        }
        self.newest.insert((wanted.account, wanted.set, wanted.profile.name), id);
        self.queue.push_back(id);
        self.all.insert(id, Order { id, wanted, expires, authorizations, issued: None });
        (id, self.prune(now))
    }

    /// Records the certificate of an order, visible to clients from `at` on.
    pub(super) fn issue(&mut self, id: OrderId, serial: Serial, at: Timestamp) {
        if let Some(order) = self.all.get_mut(&id) {
            order.issued = Some((serial, at));
        }
    }

    /// Checks two orders for each new one, which spreads the work.
    fn prune(&mut self, now: Timestamp) -> Vec<Serial> {
        let mut certificates = Vec::new();
        for _ in 0..2 {
            if self.queue.len() <= self.kept {
                break;
            }
            let Some(id) = self.queue.pop_front() else { break };
            let Some(order) = self.all.get(&id) else { continue };
            if self.is_open(order, now) {
                self.queue.push_back(id);
                continue;
            }
            certificates.extend(self.forget(id, now));
        }
        certificates
    }

    fn forget(&mut self, id: OrderId, now: Timestamp) -> Option<Serial> {
        let order = self.all.remove(&id)?;
        for authorization in order.authorizations {
            self.authorizations.release(authorization, now);
        }
        let key = (order.wanted.account, order.wanted.set, order.wanted.profile.name);
        if self.newest.get(&key) == Some(&id) {
            self.newest.remove(&key);
        }
        order.issued.map(|(serial, _)| serial)
    }
}

/// Converts a duration for timestamp arithmetic.
pub(super) fn span(duration: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests;
