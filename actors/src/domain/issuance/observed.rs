//! What a job has learned of the world: never journaled, for it can be observed again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::domain::certificate::{CertificateView, SecretStatus, SecretView};
use crate::domain::desired::desired_certificate::{Fingerprint, Route};
use crate::domain::failure::{Failure, FailureClass, poll_at, transient_pause};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::rate_limits::{LimitHit, RateLimit};
use crate::domain::time::Timestamp;

/// An order as the CA last showed it (RFC 8555 §7.1.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrderView {
    /// Its URL.
    pub url: String,
    /// Its status.
    pub status: OrderStatus,
    /// Its authorizations, where the CA showed them: needed only while the order is pending.
    pub authorizations: Vec<AuthorizationView>,
    /// Retry-After of the answer.
    pub retry_after: Option<Duration>,
}

/// Status of an order (RFC 8555 §7.1.6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OrderStatus {
    /// Authorizations are missing.
    Pending,
    /// It may be finalized.
    Ready,
    /// The CA is issuing.
    Processing,
    /// There is a certificate.
    Valid,
    /// It is dead, and why.
    Invalid(Failure),
    /// The CA does not know it (404), or it has expired.
    Gone,
}

/// An authorization that is not yet valid (RFC 8555 §7.1.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthorizationView {
    /// The name it is for.
    pub name: DnsName,
    /// The CA has been told to validate it.
    pub accepted: bool,
}

/// How a host was found by the probe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reach {
    /// It leads to our solver.
    Reached,
    /// It resolves, but something else answers, or nothing.
    Elsewhere(String),
    /// It does not resolve.
    Unresolved(String),
}

/// A chain as downloaded, with what was read of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    /// PEM, leaf first (RFC 8555 §9.1).
    pub pem: String,
    /// The leaf.
    pub leaf: CertificateView,
}

/// The ephemeral knowledge of one job. It travels with the job while it is parked, and a restart begins anew.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The Secret as it was read, and when.
    pub secret: Option<(SecretStatus, Timestamp)>,
    /// The routes that are in place.
    pub routes: Option<BTreeSet<Route>>,
    /// Last finding per host.
    pub reach: BTreeMap<DnsName, Reach>,
    /// Rounds of probing so far.
    pub probes: u32,
    /// The order as last shown.
    pub order: Option<OrderView>,
    /// Looks at the order so far.
    pub polls: u32,
    /// The downloaded chain.
    pub chain: Option<Chain>,
    /// An order that the CA has opened and the journal has not taken yet: it is not opened again.
    pub opened: Option<OrderView>,
    /// A certificate was installed in this job, for this desired certificate: whatever is found, no other is asked for in it.
    pub installed: Option<Fingerprint>,
    /// The owner references were seen to, well or not; not again in this job.
    pub owned: bool,
    /// `spec.tls` was observed to, well or not; not again in this job.
    pub filled: bool,
    /// Transient errors in a row.
    pub errors: u32,
    /// Nothing is done before this.
    pub wait_until: Option<Timestamp>,
    /// A failure that ends the attempt, to be journaled.
    pub failure: Option<Failure>,
    /// What the CA has closed by that failure is journaled.
    pub limit_recorded: bool,
    /// The CA has just said that it is busy, and for how long.
    pub busy: Option<(String, Duration)>,
}

impl Observed {
    /// The Secret as it was read, where there was one.
    pub fn found(&self) -> Option<&SecretView> {
        self.secret.as_ref()?.0.as_ref()
    }

    /// Takes the rate limit that the last step hit, if any: a busy CA, or a refusal that is not recorded yet.
    pub fn take_limit_hit(&mut self, now: Timestamp) -> Option<LimitHit> {
        if let Some((detail, wait)) = self.busy.take() {
            return Some(LimitHit::of_busy(wait, &detail, now));
        }
        let (failure, wait) = self.limited()?;
        let limit = failure.limit.as_ref().unwrap_or(&RateLimit::ACCOUNT);
        let hit = LimitHit::new(limit, wait, &failure.detail, now);
        self.limit_recorded = true;
        Some(hit)
    }

    /// What the CA has just refused because of a rate limit, and for how long.
    fn limited(&self) -> Option<(&Failure, Duration)> {
        let failure = self.failure.as_ref().filter(|_| !self.limit_recorded)?;
        let wait = failure.retry_after.filter(|_| failure.class == FailureClass::RateLimited)?;
        Some((failure, wait))
    }

    /// A step was made that is not made again: errors before it are forgotten. A mere look is no progress, or a
    /// write that fails for ever would be tried for ever in between looks.
    pub fn reset_errors(&mut self) {
        self.errors = 0;
        self.wait_until = None;
    }

    /// A port call failed in a way that may pass: wait a little, or fail when it was too often.
    pub fn on_transient_error(&mut self, failure: Failure, now: Timestamp) {
        self.errors = self.errors.saturating_add(1);
        match transient_pause(self.errors, failure.retry_after) {
            Some(pause) => self.wait_until = Some(now + pause),
            None => self.failure = Some(failure),
        }
    }

    /// The journal did not take an event. Without it nothing can be done, not even to fail: wait and try again.
    pub fn on_journal_error(&mut self, now: Timestamp) {
        self.errors = self.errors.saturating_add(1);
        let pause = transient_pause(self.errors, None).unwrap_or(limits::ORDER_PAUSE);
        self.wait_until = Some(now + pause);
    }

    /// The CA has shown the order.
    pub fn order_shown(&mut self, order: OrderView, now: Timestamp) {
        let waiting = match order.status {
            OrderStatus::Pending => {
                order.authorizations.iter().all(|authorization| authorization.accepted)
            }
            OrderStatus::Processing => true,
            // Still ready after it was finalized: the CA has not got to it.
            OrderStatus::Ready => {
                self.order.as_ref().is_some_and(|order| order.status == OrderStatus::Ready)
            }
            _ => false,
        };
        self.wait_until = waiting.then(|| poll_at(self.polls, order.retry_after, now));
        self.polls = if waiting { self.polls.saturating_add(1) } else { 0 };
        self.errors = 0;
        self.order = Some(order);
    }

    /// These routes are in place. Where they are others than before, what was reached says nothing any more.
    pub fn routed(&mut self, routes: BTreeSet<Route>) {
        if self.routes.as_ref().is_some_and(|before| *before != routes) {
            self.forget_routes();
        }
        self.routes = Some(routes);
        self.reset_errors();
    }

    /// Routes and probes begin anew, for they may be those of an older desired certificate.
    pub fn forget_routes(&mut self) {
        self.routes = None;
        self.forget_reach();
    }

    /// Whether its hosts are reached is an old story: it has waited for its turn.
    pub fn forget_reach(&mut self) {
        self.reach.clear();
        self.probes = 0;
    }

    /// A round of probes has ended; the next one, if there must be one, waits longer each time.
    pub fn probed(&mut self, reach: BTreeMap<DnsName, Reach>, now: Timestamp) {
        self.reach = reach;
        let rung = usize::try_from(self.probes).unwrap_or(usize::MAX);
        let pause = limits::PROBE.get(rung).filter(|_| self.unreached().is_some());
        self.wait_until = pause.map(|pause| now + *pause);
        self.probes = self.probes.saturating_add(1);
    }

    /// The first host that was not reached.
    pub fn unreached(&self) -> Option<(&DnsName, &Reach)> {
        self.reach.iter().find(|(_, reach)| **reach != Reach::Reached)
    }

    /// What the user is told when a host could not be reached.
    pub fn unreachable(&self) -> Option<Failure> {
        let unreached = self.reach.iter().filter(|(_, reach)| **reach != Reach::Reached);
        let unreached: BTreeSet<DnsName> = unreached.map(|(host, _)| host.clone()).collect();
        let failure = match self.unreached()? {
            (host, Reach::Unresolved(why)) => Some(Failure::new(
                FailureClass::Dns,
                format!(
                    "host {host} does not resolve ({why}); create its DNS record. The CA was not asked"
                ),
            )),
            (host, Reach::Elsewhere(what)) => Some(Failure::new(
                FailureClass::Unreachable,
                format!(
                    "http://{host}/.well-known/acme-challenge/ does not lead to the solver ({what}); check the \
                     DNS record and that the ingress controller serves port 80. The CA was not asked"
                ),
            )),
            (_, Reach::Reached) => None,
        };
        failure.map(|failure| failure.about(unreached))
    }
}
