//! Whether certificates are ready in time: within [`limits::READY_WITHIN`] of the Ingress that asks
//! for them. Each counts once, when its Secret serves or when the time is over, also if it never
//! becomes ready.
//!
//! There is an entry only for a certificate that is not there yet, so that memory and metrics do
//! not grow with the Ingresses.

use std::collections::{BTreeSet, HashMap};

use crate::domain::certificate::SecretView;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::ingress::SecretKey;
use crate::domain::issuance::State;
use crate::domain::limits;
use crate::domain::rate_limits::LimitScope;
use crate::domain::time::Timestamp;

/// How a certificate counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readiness {
    /// It was ready in time.
    InTime,
    /// It was not ready in time.
    Late,
    /// It was not ready in time, and only its user can change that.
    Excused,
}

impl Readiness {
    /// All values, so that metrics show a zero before the first certificate.
    pub const ALL: [Self; 3] = [Self::InTime, Self::Late, Self::Excused];

    /// Returns the metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::InTime => "in_time",
            Self::Late => "late",
            Self::Excused => "excused",
        }
    }

    /// Judges a certificate whose time is over, by the last failure of its issuance and the rate
    /// limit that it waits for.
    ///
    /// Excused is what no operator can mend: a failure that does not pass without an act of the
    /// user, such as a host that leads elsewhere, and a limit that counts only orders for the same
    /// domain, names or namespace. So is one whose order the user has stopped.
    pub(crate) fn of_overdue(
        state: &State,
        waits_for: Option<&LimitScope>,
        is_stopped: bool,
    ) -> Self {
        let by_failure = state.failing().is_some_and(|failing| !failing.class.may_pass());
        let shared =
            |scope: &LimitScope| matches!(scope, LimitScope::Address | LimitScope::Account);
        let by_limit = waits_for.is_some_and(|scope| !shared(scope));
        if by_failure || by_limit || is_stopped { Self::Excused } else { Self::Late }
    }
}

/// Whether a Secret lacks a certificate for the names that its Ingresses ask for. The dates do not
/// matter here: one that runs out is a matter of its renewal.
pub(crate) fn is_missing(found: Option<&SecretView>, desired: &DesiredCertificate) -> bool {
    let certificate = found.and_then(|found| found.certificate.as_ref().ok());
    let is_good = certificate.is_some_and(|certificate| {
        certificate.key_matches && desired.names.iter().all(|name| certificate.is_for(name))
    });
    // No new certificate is issued for Ingresses with too many blocks.
    !is_good && !desired.renew_only
}

/// Certificates that are waited for.
#[derive(Debug)]
pub(crate) struct Awaited {
    waits: HashMap<SecretKey, Wait>,
    /// Ends of the time of those that are not judged yet.
    due: BTreeSet<(Timestamp, SecretKey)>,
    /// Start of this process as leader.
    began: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    since: Timestamp,
    /// Whether the Secret was read and lacks the certificate.
    is_missing: bool,
    is_judged: bool,
}

impl Awaited {
    /// Creates an empty table of a process that leads since `began`.
    pub(crate) fn new(began: Timestamp) -> Self {
        Self { waits: HashMap::new(), due: BTreeSet::new(), began }
    }

    /// Records that an event on an Ingress of this Secret arrived at `at`. It counts for nothing if
    /// the Secret turns out to serve.
    pub(crate) fn noticed(&mut self, secret: &SecretKey, at: Timestamp) {
        let wait = Wait { since: at, is_missing: false, is_judged: false };
        self.waits.entry(secret.clone()).or_insert(wait);
    }

    /// Records that the Secret lacks the certificate. `earlier` is a known time at which it was
    /// waited for already.
    ///
    /// The leader before has counted those whose time was over under it.
    pub(crate) fn missing(
        &mut self,
        secret: &SecretKey,
        earlier: Option<Timestamp>,
        now: Timestamp,
    ) {
        let unknown = Wait { since: now, is_missing: false, is_judged: false };
        let wait = self.waits.entry(secret.clone()).or_insert(unknown);
        if wait.is_missing {
            return;
        }
        wait.is_missing = true;
        wait.since = wait.since.min(earlier.unwrap_or(now));
        let ends = wait.since + limits::READY_WITHIN;
        wait.is_judged = ends <= self.began;
        if !wait.is_judged {
            self.due.insert((ends, secret.clone()));
        }
    }

    /// Records that the Secret has the certificate. Returns whether it was waited for, and not
    /// judged before.
    pub(crate) fn ready(&mut self, secret: &SecretKey) -> bool {
        let Some(wait) = self.waits.remove(secret) else { return false };
        self.due.remove(&(wait.since + limits::READY_WITHIN, secret.clone()));
        wait.is_missing && !wait.is_judged
    }

    /// Records that a job has ended. One that has not read the Secret says nothing about it.
    pub(crate) fn job_ended(&mut self, secret: &SecretKey) {
        if self.waits.get(secret).is_some_and(|wait| !wait.is_missing) {
            self.waits.remove(secret);
        }
    }

    /// Takes the next certificate whose time is over.
    pub(crate) fn take_overdue(&mut self, now: Timestamp) -> Option<SecretKey> {
        if self.due.first()?.0 > now {
            return None;
        }
        let (_, secret) = self.due.pop_first()?;
        if let Some(wait) = self.waits.get_mut(&secret) {
            wait.is_judged = true;
        }
        Some(secret)
    }

    /// Forgets the Secrets that no Ingress names any more. One that was not judged counts for
    /// nothing.
    pub(crate) fn retain(&mut self, is_wanted: impl Fn(&SecretKey) -> bool) {
        self.waits.retain(|secret, _| is_wanted(secret));
        let waits = &self.waits;
        self.due.retain(|(_, secret)| waits.contains_key(secret));
    }

    /// Time at which the certificate was waited for under the leader before: the start in the
    /// journal, or the creation of the Ingresses where there is no Secret. `None` if this process
    /// has seen the beginning itself.
    pub(crate) fn earlier(
        &self,
        state: &State,
        created: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let failing = state.failing().map(|failing| failing.since);
        let started = state.issuance().map(|issuance| issuance.started_at);
        let before = failing.into_iter().chain(started).filter(|since| *since < self.began);
        // An Ingress that is older may have been there before ingress-acme.
        let is_young = |created: &Timestamp| {
            self.began.since(*created) <= limits::READY_WITHIN
                && now.since(self.began) <= limits::READY_WITHIN
        };
        before.chain(created.filter(is_young)).min()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::domain::desired::desired_certificate::tests::desired;
    use crate::domain::failure::FailureClass;
    use crate::domain::issuance::{Event, IssuanceFailed, apply};
    use crate::domain::name::DnsName;
    use crate::domain::validity::check::tests::secret as view;

    const BEGAN: Timestamp = Timestamp::from_secs(1_000_000);
    const IN_TIME: Duration = limits::READY_WITHIN;
    const SECOND: Duration = Duration::from_secs(1);

    fn shop() -> SecretKey {
        SecretKey::new("web", "shop")
    }

    /// A process that has led for a day.
    fn awaited() -> (Awaited, Timestamp) {
        (Awaited::new(BEGAN), BEGAN + Duration::from_hours(24))
    }

    fn failing(class: FailureClass, since: Timestamp) -> State {
        let failed = IssuanceFailed {
            class,
            detail: "".into(),
            fingerprint: desired("shop", &["a.example.com"]).fingerprint(),
            retry_at: since,
            names: Arc::default(),
            wildcards: std::collections::BTreeSet::new(),
            subset_retry_at: None,
            down_since: None,
            at_fallback: false,
            fallback: None,
            edition: None,
            edits_until: None,
            folded: None,
        };
        apply(State::Idle, &Event::IssuanceFailed(failed), since).unwrap()
    }

    #[test]
    fn one_that_is_ready_in_time_counts_once() {
        let (mut awaited, now) = awaited();
        awaited.noticed(&shop(), now);
        awaited.missing(&shop(), None, now + SECOND);
        assert_eq!(awaited.take_overdue(now + IN_TIME - SECOND), None);
        assert!(awaited.ready(&shop()));
        assert!(!awaited.ready(&shop()), "a later read of the same Secret");
        assert_eq!(awaited.take_overdue(now + IN_TIME * 2), None);
    }

    #[test]
    fn the_time_runs_from_the_event_and_not_from_the_job() {
        let (mut awaited, now) = awaited();
        awaited.noticed(&shop(), now);
        awaited.noticed(&shop(), now + IN_TIME / 2);
        awaited.missing(&shop(), None, now + IN_TIME - SECOND);
        assert_eq!(awaited.take_overdue(now + IN_TIME), Some(shop()));
    }

    #[test]
    fn one_that_never_becomes_ready_is_judged_once_and_one_that_becomes_so_late_not_again() {
        let (mut awaited, now) = awaited();
        awaited.missing(&shop(), None, now);
        assert_eq!(awaited.take_overdue(now + IN_TIME), Some(shop()));
        awaited.missing(&shop(), None, now + IN_TIME * 2);
        assert_eq!(awaited.take_overdue(now + IN_TIME * 9), None);
        assert!(!awaited.ready(&shop()));
        awaited.missing(&shop(), None, now + IN_TIME * 10);
        assert_eq!(awaited.take_overdue(now + IN_TIME * 11), Some(shop()), "it was lost again");
    }

    #[test]
    fn an_edit_of_a_certificate_that_serves_counts_for_nothing() {
        let (mut awaited, now) = awaited();
        awaited.noticed(&shop(), now);
        assert!(!awaited.ready(&shop()));
        awaited.noticed(&shop(), now);
        assert_eq!(awaited.take_overdue(now + IN_TIME * 2), None, "nobody has read the Secret");
        awaited.job_ended(&shop());
        awaited.missing(&shop(), None, now + IN_TIME * 2);
        assert_eq!(awaited.take_overdue(now + IN_TIME * 2), None, "its time begins now");
        awaited.job_ended(&shop());
        assert_eq!(awaited.take_overdue(now + IN_TIME * 3), Some(shop()), "a job that failed");
    }

    #[test]
    fn what_nobody_wants_any_more_counts_for_nothing_and_takes_no_memory() {
        let (mut awaited, now) = awaited();
        awaited.missing(&shop(), None, now);
        awaited.retain(|_| false);
        assert_eq!(awaited.take_overdue(now + IN_TIME * 2), None);
        assert!(awaited.waits.is_empty() && awaited.due.is_empty());
    }

    #[test]
    fn a_new_leader_goes_on_with_the_time_and_counts_nothing_twice() {
        let failing = |since| failing(FailureClass::AcmeServer, since);
        let mut awaited = Awaited::new(BEGAN);
        let since = BEGAN - IN_TIME / 2;
        let earlier = awaited.earlier(&failing(since), None, BEGAN);
        awaited.missing(&shop(), earlier, BEGAN);
        assert_eq!(awaited.take_overdue(since + IN_TIME), Some(shop()));

        let mut awaited = Awaited::new(BEGAN);
        let earlier = awaited.earlier(&failing(BEGAN - IN_TIME), None, BEGAN);
        awaited.missing(&shop(), earlier, BEGAN);
        assert_eq!(awaited.take_overdue(BEGAN + IN_TIME * 2), None, "the one before counted it");
        assert!(!awaited.ready(&shop()));
    }

    #[test]
    fn a_new_ingress_counts_from_its_creation_and_an_old_one_from_the_first_look() {
        let awaited = Awaited::new(BEGAN);
        let earlier = |created| awaited.earlier(&State::Idle, Some(created), BEGAN + SECOND);
        assert_eq!(earlier(BEGAN - SECOND), Some(BEGAN - SECOND));
        assert_eq!(earlier(BEGAN - IN_TIME - SECOND), None);
        let later = BEGAN + IN_TIME + SECOND;
        assert_eq!(awaited.earlier(&State::Idle, Some(later), later), None);
    }

    #[test]
    fn only_what_the_user_alone_can_mend_is_excused() {
        let after = |class| Readiness::of_overdue(&failing(class, BEGAN), None, false);
        let late = FailureClass::ALL.into_iter().filter(|one| after(*one) == Readiness::Late);
        let late: Vec<&str> = late.map(FailureClass::label).collect();
        let expected =
            ["rate_limited", "rejected", "acme_server", "secret_write", "bad_certificate"];
        assert_eq!(late, expected);
        let waiting = |scope| Readiness::of_overdue(&State::Idle, Some(&scope), false);
        assert_eq!(waiting(LimitScope::Account), Readiness::Late);
        assert_eq!(waiting(LimitScope::Address), Readiness::Late);
        let name = DnsName::parse("a.example.com").unwrap();
        for scope in [LimitScope::Domain("example.com".into()), LimitScope::Name(name)] {
            assert_eq!(waiting(scope), Readiness::Excused);
        }
        assert_eq!(Readiness::of_overdue(&State::Idle, None, false), Readiness::Late);
        assert_eq!(Readiness::of_overdue(&State::Idle, None, true), Readiness::Excused);
    }

    #[test]
    fn a_secret_lacks_what_it_has_no_name_for_whatever_its_dates_are() {
        let desired = desired("shop", &["a.example.com"]);
        let found = |names: &[&str]| view(names, Timestamp::from_secs(0), SECOND);
        assert!(is_missing(None, &desired));
        assert!(is_missing(Some(&found(&["b.example.com"])), &desired));
        assert!(!is_missing(Some(&found(&["a.example.com"])), &desired), "it expired long ago");
        assert!(!is_missing(Some(&found(&["a.example.com", "b.example.com"])), &desired));
        let renewed_only = DesiredCertificate { renew_only: true, ..desired };
        assert!(!is_missing(None, &renewed_only));
    }
}
