//! Observations of a job. They are never journaled, because a job can observe everything again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::seen_in_dns::InDns;
use crate::domain::certificate::{CertificateView, SecretStatus, SecretView};
use crate::domain::challenge::Offers;
use crate::domain::controllers::ControllerRule;
use crate::domain::cut::cut;
use crate::domain::desired::desired_certificate::{Fingerprint, WantedRoute};
use crate::domain::failure::{Failure, FailureClass, poll_at, transient_pause};
use crate::domain::ingress::Edition;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::rate_limits::{LimitHit, RateLimit};
use crate::domain::time::Timestamp;

/// An order, as last returned by the CA (RFC 8555 §7.1.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrderView {
    /// URL of the order.
    pub url: String,
    /// Status of the order.
    pub status: OrderStatus,
    /// Authorizations that are not yet valid, if the CA returned them. Used only while the order is
    /// pending.
    pub authorizations: Vec<AuthorizationView>,
    /// `Retry-After` of the response.
    pub retry_after: Option<Duration>,
    /// Whether the CA accepted the order as a replacement (RFC 9773 §5), when it was opened.
    pub replaces: bool,
}

/// Status of an order (RFC 8555 §7.1.6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OrderStatus {
    /// Some authorizations are not valid yet.
    Pending,
    /// The order may be finalized.
    Ready,
    /// The CA is issuing the certificate.
    Processing,
    /// The certificate is issued.
    Valid,
    /// The order is invalid, for this reason.
    Invalid(Failure),
    /// The CA does not know the order (HTTP 404), or the order has expired.
    Gone,
}

/// An authorization that is not yet valid (RFC 8555 §7.1.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthorizationView {
    /// Name to validate. That of a wildcard has its label `*` (RFC 8555 §7.1.4, `wildcard`).
    pub name: DnsName,
    /// Whether the challenge was accepted, so that the CA validates the name.
    pub accepted: bool,
    /// Challenges in DNS that the CA offers; empty before the authorization was read.
    pub offers: Offers,
}

/// Result of the probe of a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reach {
    /// The challenge path leads to our solver.
    Reached,
    /// The same, and all addresses of the host are private: split DNS, or a host that no public CA
    /// reaches.
    ReachedInside,
    /// The host resolves, but another server answers, or none.
    Missed(Missed),
    /// The host does not resolve.
    Unresolved(String),
}

/// What a host leads to in place of our solver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Missed {
    /// What was found, in few words.
    pub why: String,
    /// Whether a server answered.
    pub answered: bool,
    /// Whether all addresses of the host are private: seen from here only, or a host that no public
    /// CA reaches.
    pub private: bool,
}

/// A downloaded chain, with the fields of its leaf.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Chain {
    /// PEM, leaf first (RFC 8555 §9.1).
    pub pem: String,
    /// Fields of the leaf.
    pub leaf: CertificateView,
}

/// What a job does after the journal has refused a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AfterRefusal {
    /// Continue: the event was of no consequence for the job.
    GoOn,
    /// Fail: the record of the failure is smaller than the refused one.
    Fail,
    /// Pause: nothing smaller can be recorded.
    Pause,
}

/// Observations of one job, kept while the job is parked. They are lost at a restart of the
/// process.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Observed {
    /// The Secret as last read, and the time of the read.
    pub secret: Option<(SecretStatus, Timestamp)>,
    /// Whether the CA issued the certificate in the Secret, as far as its chain shows; `None`
    /// before the question matters.
    pub verified: Option<bool>,
    /// Published routes.
    pub routes: Option<Arc<[WantedRoute]>>,
    /// Hosts to which the wildcard or hostless rule that seemed to serve them did not lead: they
    /// get rules of their own.
    pub exactly: BTreeSet<DnsName>,
    /// Edition of the Ingresses when their routes were published, which the attempt is made for.
    pub edition: Option<Edition>,
    /// Last probe result of each host.
    pub reach: BTreeMap<DnsName, Reach>,
    /// Rule of the ingress controller by which a host that another server answers for will not lead
    /// to the solver.
    pub rule: Option<&'static ControllerRule>,
    /// Hosts whose CAA records were looked up, and the failure of those that forbid the CA to
    /// issue.
    pub caa: Option<(BTreeSet<DnsName>, Option<Failure>)>,
    /// What was observed in DNS of the names that are proved there.
    pub in_dns: InDns,
    /// Hosts that the rehearsal CA has validated, or said nothing about.
    pub rehearsed: BTreeSet<DnsName>,
    /// Whether `failure` is one of the rehearsal CA, which counts in no limit of the first CA.
    pub failed_rehearsal: bool,
    /// Number of probe rounds so far.
    pub probes: u32,
    /// The order as last returned by the CA.
    pub order: Option<OrderView>,
    /// Results of a round of probes that is not complete.
    pub round: BTreeMap<DnsName, Reach>,
    /// Number of polls of the order so far.
    pub polls: u32,
    /// Downloaded chain.
    pub chain: Option<Chain>,
    /// An opened order that is not journaled yet, so that the job opens no second one.
    pub opened: Option<OrderView>,
    /// Fingerprint of the desired certificate that this job has installed. The job then requests no
    /// second one, whatever the Secret holds.
    pub installed: Option<Fingerprint>,
    /// Whether this job has tried to set the owner references. There is one try per job, successful
    /// or not.
    pub owned: bool,
    /// Whether this job has tried to fill in `spec.tls`. There is one try per job, successful or
    /// not.
    pub filled: bool,
    /// Whether more Ingresses are filled in soon.
    pub fills_more: bool,
    /// Number of transient errors in a row.
    pub errors: u32,
    /// Earliest time of the next step.
    pub wait_until: Option<Timestamp>,
    /// End of the pause after the journal has refused the record of a failure, or of the end of an
    /// issuance.
    pub refused_until: Option<Timestamp>,
    /// Failure that ends the attempt, not journaled yet.
    pub failure: Option<Failure>,
    /// Whether the rate limit hit of `failure` was returned for the journal.
    pub limit_recorded: bool,
    /// Text and duration of a busy CA's last refusal.
    pub busy: Option<(String, Duration)>,
}

impl Reach {
    /// No server answers at the public addresses of the host.
    pub fn silent(why: &str) -> Self {
        Self::Missed(Missed { why: why.to_owned(), answered: false, private: false })
    }

    /// Another server answers at the public addresses of the host.
    pub fn elsewhere(why: &str) -> Self {
        Self::Missed(Missed { why: why.to_owned(), answered: true, private: false })
    }

    /// Whether the challenge path leads to our solver.
    pub fn is_reached(&self) -> bool {
        matches!(self, Self::Reached | Self::ReachedInside)
    }

    /// Whether all addresses of the host are private as seen from here.
    pub(super) fn is_private(&self) -> bool {
        matches!(self, Self::ReachedInside | Self::Missed(Missed { private: true, .. }))
    }

    /// Cuts the text of a web server or a resolver.
    pub(super) fn bounded(self) -> Self {
        match self {
            Self::Reached | Self::ReachedInside => self,
            Self::Missed(missed) => {
                Self::Missed(Missed { why: cut(missed.why, limits::QUOTED_MAX), ..missed })
            }
            Self::Unresolved(why) => Self::Unresolved(cut(why, limits::QUOTED_MAX)),
        }
    }
}

impl Observed {
    /// Returns the Secret as last read, if one existed.
    pub(crate) fn found(&self) -> Option<&SecretView> {
        self.secret.as_ref()?.0.as_ref()
    }

    /// Takes the rate limit that the last step hit, if any: a busy CA, or a refusal that is not
    /// recorded yet.
    pub(crate) fn take_limit_hit(&mut self, now: Timestamp) -> Option<LimitHit> {
        if let Some((detail, wait)) = self.busy.take() {
            return Some(LimitHit::of_busy(wait, &detail, now));
        }
        let (failure, wait) = self.limited()?;
        let limit = failure.limit.as_ref().unwrap_or(&RateLimit::ACCOUNT);
        let hit = LimitHit::new(limit, wait, &failure.detail, now);
        self.limit_recorded = true;
        Some(hit)
    }

    /// Returns the last refusal because of a rate limit, with the duration of the limit.
    fn limited(&self) -> Option<(&Failure, Duration)> {
        let failure = self.failure.as_ref().filter(|_| !self.limit_recorded)?;
        let wait = failure.retry_after.filter(|_| failure.class == FailureClass::RateLimited)?;
        Some((failure, wait))
    }

    /// Resets the count of errors after a step that is not repeated. A read is no such progress:
    /// otherwise a write that always fails would be retried forever between reads.
    pub(crate) fn reset_errors(&mut self) {
        self.errors = 0;
        self.wait_until = None;
    }

    /// Records a transient error of a port call: the job waits a little, or fails after too many
    /// errors in a row.
    pub(crate) fn on_transient_error(&mut self, failure: Failure, now: Timestamp) {
        self.errors = self.errors.saturating_add(1);
        match transient_pause(self.errors, failure.retry_after) {
            Some(pause) => self.wait_until = Some(now + pause),
            None => self.failure = Some(failure),
        }
    }

    /// Records that the journal refused an event. The job waits and tries again, because without
    /// the journal not even a failure can be recorded.
    pub(crate) fn on_journal_error(&mut self, now: Timestamp) {
        self.errors = self.errors.saturating_add(1);
        let pause = transient_pause(self.errors, None).unwrap_or(limits::ORDER_PAUSE);
        self.wait_until = Some(now + pause);
    }

    /// Records that the journal refused the record of an event for good, so that the same record is
    /// not sent again.
    pub(crate) fn on_journal_refusal(&mut self, after: AfterRefusal, why: String, now: Timestamp) {
        match after {
            AfterRefusal::GoOn => {}
            AfterRefusal::Fail => self.failure = Some(Failure::new(FailureClass::SecretWrite, why)),
            AfterRefusal::Pause => self.refused_until = Some(now + limits::ORDER_PAUSE_MAX),
        }
    }

    /// Records the order as returned by the CA.
    pub(crate) fn order_shown(&mut self, order: OrderView, now: Timestamp) {
        let waiting = match order.status {
            OrderStatus::Pending => {
                order.authorizations.iter().all(|authorization| authorization.accepted)
            }
            // One that is gone may be too new for one of the CA's servers.
            OrderStatus::Processing | OrderStatus::Gone => true,
            // Still ready after the finalization: the CA has not processed the CSR yet.
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

    /// Records a look for the written records at the authoritative servers of their zones.
    pub(crate) fn looked_for_txt(&mut self, seen: bool, now: Timestamp) {
        let looks = usize::try_from(self.in_dns.looks).unwrap_or(usize::MAX);
        let pause = limits::TXT_LOOKS[looks.min(limits::TXT_LOOKS.len() - 1)];
        self.in_dns.looks = self.in_dns.looks.saturating_add(1);
        self.in_dns.seen = seen;
        self.wait_until = (!seen).then(|| now + pause);
    }

    /// Records the published routes. Probe results of other routes are dropped, because they are
    /// out of date.
    pub(crate) fn routed(&mut self, routes: Arc<[WantedRoute]>) {
        if self.routes.as_ref().is_some_and(|before| *before != routes) {
            self.forget_routes();
        }
        self.routes = Some(routes);
        self.reset_errors();
    }

    /// Gives a rule of its own to each of these hosts that has none. Returns whether any had none.
    pub(crate) fn route_exactly<'a>(
        &mut self,
        routes: impl IntoIterator<Item = &'a WantedRoute>,
    ) -> bool {
        let general = routes.into_iter().filter(|wanted| !wanted.is_exact());
        let before = self.exactly.len();
        self.exactly.extend(general.map(|wanted| wanted.host.clone()));
        let any = self.exactly.len() > before;
        if any {
            self.forget_routes();
            self.wait_until = None;
        }
        any
    }

    /// Drops routes and probe results, which may belong to an older desired certificate.
    pub(crate) fn forget_routes(&mut self) {
        self.routes = None;
        self.forget_reach();
    }

    /// Drops the probe results, which are out of date after a wait in a limit queue.
    pub(crate) fn forget_reach(&mut self) {
        self.reach.clear();
        self.rule = None;
        self.caa = None;
        self.in_dns.facts.clear();
        self.rehearsed.clear();
        self.round.clear();
        self.probes = 0;
    }
}
