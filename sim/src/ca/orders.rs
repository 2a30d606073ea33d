//! Orders and their authorizations (RFC 8555 §7.1.3, §7.1.4): a status follows from what happened and the time.
//!
//! What is over is kept for a while, so that clients can look it up, and at most a fixed number of it.

mod authorization;

use std::collections::{HashMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::accounts::AccountId;
use super::certificates::Serial;
use super::limits::Exemption;
use super::names::{Names, SetId};
use super::problem::Problem;
use super::profiles::Profile;

pub(super) use authorization::{Authorization, AuthorizationId, Challenge, Validity};

use authorization::Authorizations;

/// Numbers orders from 1.
pub(super) type OrderId = u64;

/// What a new order asks for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) account: AccountId,
    pub(super) names: Names,
    pub(super) set: SetId,
    pub(super) profile: &'static Profile,
    pub(super) replaces: Option<Replaces>,
    pub(super) exemption: Exemption,
}

/// The certificate that an order replaces.
#[derive(Clone, Debug)]
pub(super) struct Replaces {
    /// As the client wrote it (RFC 9773 §4.1).
    pub(super) id: String,
    pub(super) serial: Serial,
}

/// One order.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) id: OrderId,
    pub(super) wanted: Wanted,
    pub(super) expires: Timestamp,
    /// One of each name, in their order.
    pub(super) authorizations: Vec<AuthorizationId>,
    /// The certificate, and when it is there.
    pub(super) issued: Option<(Serial, Timestamp)>,
}

/// RFC 8555 §7.1.6.
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

/// All orders that are remembered.
#[derive(Debug)]
pub(super) struct Orders {
    all: HashMap<OrderId, Order>,
    pub(super) authorizations: Authorizations,
    /// As they were opened; those that are still open go back to its end.
    queue: VecDeque<OrderId>,
    /// The newest order of each account, set and profile.
    newest: HashMap<(AccountId, SetId, &'static str), OrderId>,
    opened: u64,
    /// So many that are over may be remembered.
    kept: usize,
}

impl Orders {
    pub(super) fn new(kept: usize, reuse: bool) -> Self {
        Self {
            all: HashMap::new(),
            authorizations: Authorizations::new(reuse),
            queue: VecDeque::new(),
            newest: HashMap::new(),
            opened: 0,
            kept,
        }
    }

    /// How many were ever opened.
    pub(super) fn opened(&self) -> u64 {
        self.opened
    }

    /// An order of this account.
    pub(super) fn get(&self, account: AccountId, id: OrderId) -> Result<&Order, Problem> {
        let unknown = || Problem::not_found(format!("No order for ID {id}"));
        let order = self.all.get(&id).ok_or_else(unknown)?;
        if order.wanted.account != account {
            let detail = format!("No order found for account ID {account}");
            return Err(Problem::not_found(detail));
        }
        Ok(order)
    }

    /// Where an order stands.
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

    /// An order that is the same but for its number, and still waits for its client.
    pub(super) fn same(&self, wanted: &Wanted, now: Timestamp) -> Option<OrderId> {
        let key = (wanted.account, wanted.set, wanted.profile.name);
        let order = self.all.get(self.newest.get(&key)?)?;
        let waits = matches!(self.status(order, now), Status::Pending | Status::Ready);
        waits.then_some(order.id)
    }

    /// Whether this order has led to a certificate, or still may.
    pub(super) fn is_alive(&self, id: OrderId, now: Timestamp) -> bool {
        // Of those that are forgotten, most have.
        self.all.get(&id).is_none_or(|order| self.status(order, now) != Status::Invalid)
    }

    /// Opens an order (RFC 8555 §7.4), and forgets old ones: their certificates are returned.
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

    /// The certificate of an order, which is there from `at` on.
    pub(super) fn issue(&mut self, id: OrderId, serial: Serial, at: Timestamp) {
        if let Some(order) = self.all.get_mut(&id) {
            order.issued = Some((serial, at));
        }
    }

    /// Looks at two orders for each that is opened, so that the work is spread.
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

/// A span of a timestamp's kind.
pub(super) fn span(duration: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests;
