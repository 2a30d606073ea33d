//! The state of one stream, and the one table of legal transitions, used live and on replay.

use std::collections::BTreeSet;

use super::event::Event;
use crate::domain::certificate::{KeyAlgorithm, PrivateKey};
use crate::domain::desired::desired_certificate::Fingerprint;
use crate::domain::failure::FailureClass;
use crate::domain::name::DnsName;
use crate::domain::time::Timestamp;

/// Where a stream stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum State {
    /// Nothing in flight and nothing to remember.
    #[default]
    Idle,
    /// There is a key; no order yet.
    Started(Issuance),
    /// The CA has an order.
    Ordered {
        /// What it is for.
        issuance: Issuance,
        /// Its URL.
        url: String,
        /// When it was opened.
        opened_at: Timestamp,
    },
    /// The last attempt failed.
    Failing(Failing),
}

/// An issuance in flight.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Issuance {
    /// Names of the order.
    pub names: BTreeSet<DnsName>,
    /// Kind of `key`.
    pub algorithm: KeyAlgorithm,
    /// ACME profile asked for.
    pub profile: Option<String>,
    /// Names of the desired certificate that it does without, for they have failed.
    pub left_out: BTreeSet<DnsName>,
    /// The ACME directory that is asked, where it is not the first.
    pub directory: Option<String>,
    /// Value of the renew annotation that this answers.
    pub renew: Option<String>,
    /// What the desired certificate was.
    pub fingerprint: Fingerprint,
    /// The certificate's key.
    pub key: PrivateKey,
    /// When it began.
    pub started_at: Timestamp,
    /// The failures before it, if any: they count on.
    pub before: Option<Box<Failing>>,
}

/// A memory of failures in a row for one desired certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failing {
    /// The desired certificate that failed.
    pub fingerprint: Fingerprint,
    /// Failures in a row, 1 or more.
    pub attempts: u32,
    /// Time of the first of them.
    pub since: Timestamp,
    /// Time of the last of them.
    pub last: Timestamp,
    /// Not before this the same desired certificate is tried again.
    pub retry_at: Timestamp,
    /// Kind of the last one.
    pub class: FailureClass,
    /// Words of the last one.
    pub detail: String,
    /// The names that are the reason, where not all of them are.
    pub names: BTreeSet<DnsName>,
    /// Not before this a subset of the names is tried.
    pub subset_retry_at: Option<Timestamp>,
    /// Failures of subsets in a row.
    pub subset_attempts: u32,
    /// Since when all failures at the CA were the CA's own, if the last was.
    pub down_since: Option<Timestamp>,
    /// The CA that failed last was the second.
    pub at_fallback: bool,
}

/// An event that cannot follow the state it met: the journal is damaged, or the code that wrote it is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("event {event} cannot follow state {state}")]
pub struct IllegalEvent {
    event: &'static str,
    state: &'static str,
}

impl State {
    /// Its name in logs, `status` and the state dump.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Started(_) => "started",
            Self::Ordered { .. } => "ordered",
            Self::Failing(_) => "failing",
        }
    }

    /// The issuance in flight, if there is one.
    pub fn issuance(&self) -> Option<&Issuance> {
        match self {
            Self::Started(issuance) | Self::Ordered { issuance, .. } => Some(issuance),
            Self::Idle | Self::Failing(_) => None,
        }
    }

    /// When its order was opened, if there is one.
    pub fn opened_at(&self) -> Option<Timestamp> {
        match self {
            Self::Ordered { opened_at, .. } => Some(*opened_at),
            _ => None,
        }
    }

    /// The memory of failures, also while a new attempt is in flight.
    pub fn failing(&self) -> Option<&Failing> {
        match self {
            Self::Failing(failing) => Some(failing),
            _ => self.issuance()?.before.as_deref(),
        }
    }
}

/// Folds one event, decided at `at`, into the state.
pub fn apply(state: State, event: &Event, at: Timestamp) -> Result<State, IllegalEvent> {
    let illegal = IllegalEvent { event: event.name(), state: state.name() };
    match (state, event) {
        (state @ (State::Idle | State::Failing(_)), Event::IssuanceStarted { .. }) => {
            Ok(started(&state, event, at))
        }
        (State::Started(issuance), Event::OrderOpened { url }) => {
            Ok(State::Ordered { issuance, url: url.clone(), opened_at: at })
        }
        (state, Event::IssuanceFailed { .. }) => Ok(State::Failing(failed(&state, event, at))),
        (state, Event::RateLimitHit { .. }) => Ok(state),
        (State::Ordered { issuance, .. }, Event::CertificateInstalled { left_out, .. }) => {
            let failing = issuance.before.filter(|_| !left_out.is_empty());
            Ok(failing.map_or(State::Idle, |failing| State::Failing(*failing)))
        }
        (
            State::Started(_) | State::Ordered { .. } | State::Failing(_),
            Event::IssuanceAbandoned { .. },
        ) => Ok(State::Idle),
        _ => Err(illegal),
    }
}

/// The number of this failure in its row: `before` is what the same desired certificate has met.
pub(super) fn attempts(before: Option<&Failing>, class: FailureClass) -> u32 {
    let row = before.filter(|failing| failing.class.same_ladder(class));
    row.map_or(0, |failing| failing.attempts).saturating_add(1)
}

fn failed(state: &State, event: &Event, at: Timestamp) -> Failing {
    let Event::IssuanceFailed {
        class,
        detail,
        fingerprint,
        retry_at,
        names,
        subset_retry_at,
        down_since,
        at_fallback,
    } = event
    else {
        unreachable!("called for IssuanceFailed only")
    };
    let before = state.failing().filter(|failing| failing.fingerprint == *fingerprint);
    let subset = before.filter(|_| subset_retry_at.is_some());
    let subsets = before.map_or(0, |failing| failing.subset_attempts);
    Failing {
        fingerprint: *fingerprint,
        attempts: subset.map_or_else(|| attempts(before, *class), |failing| failing.attempts),
        since: before.map_or(at, |failing| failing.since),
        last: at,
        retry_at: *retry_at,
        class: *class,
        detail: detail.clone(),
        names: names.clone(),
        subset_retry_at: subset_retry_at.or_else(|| before?.subset_retry_at),
        subset_attempts: subsets.saturating_add(u32::from(subset.is_some())),
        down_since: *down_since,
        at_fallback: *at_fallback,
    }
}

fn started(state: &State, event: &Event, at: Timestamp) -> State {
    let Event::IssuanceStarted {
        names,
        algorithm,
        profile,
        renew,
        left_out,
        directory,
        fingerprint,
        key,
    } = event
    else {
        unreachable!("called for IssuanceStarted only")
    };
    // What a group did without before it had other members, it does without now.
    let same = |failing: &&Failing| failing.fingerprint == *fingerprint || !left_out.is_empty();
    let before = state.failing().filter(same).cloned();
    let before = before.map(|failing| Failing { fingerprint: *fingerprint, ..failing });
    State::Started(Issuance {
        names: names.clone(),
        algorithm: *algorithm,
        profile: profile.clone(),
        left_out: left_out.clone(),
        directory: directory.clone(),
        renew: renew.clone(),
        fingerprint: *fingerprint,
        key: key.clone(),
        started_at: at,
        before: before.map(Box::new),
    })
}
