//! The state of one stream, and the one table of legal transitions, used live and on replay.

use std::collections::BTreeSet;

use super::event::{Event, IssuanceStarted};
use super::failing::Failing;
use crate::domain::certificate::{KeyAlgorithm, PrivateKey};
use crate::domain::desired::desired_certificate::Fingerprint;
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
        (state @ (State::Idle | State::Failing(_)), Event::IssuanceStarted(started)) => {
            Ok(State::Started(Issuance::begun(started, state.failing(), at)))
        }
        (State::Started(issuance), Event::OrderOpened(opened)) => {
            Ok(State::Ordered { issuance, url: opened.url.clone(), opened_at: at })
        }
        (state, Event::IssuanceFailed(failed)) => {
            Ok(State::Failing(Failing::after(state.failing(), failed, at)))
        }
        (state, Event::RateLimitHit(_)) => Ok(state),
        (State::Ordered { issuance, .. }, Event::CertificateInstalled(installed)) => {
            let failing = issuance.before.filter(|_| !installed.left_out.is_empty());
            Ok(failing.map_or(State::Idle, |failing| State::Failing(*failing)))
        }
        (
            State::Started(_) | State::Ordered { .. } | State::Failing(_),
            Event::IssuanceAbandoned(_),
        ) => Ok(State::Idle),
        _ => Err(illegal),
    }
}

impl Issuance {
    /// The issuance of `started`, begun at `at` after the failures in `failing`.
    fn begun(started: &IssuanceStarted, failing: Option<&Failing>, at: Timestamp) -> Self {
        let fingerprint = started.fingerprint;
        // Names that a group left out before its members changed stay left out.
        let counts =
            |failing: &&Failing| failing.fingerprint == fingerprint || !started.left_out.is_empty();
        let before = failing.filter(counts).cloned();
        let before = before.map(|failing| Box::new(Failing { fingerprint, ..failing }));
        let IssuanceStarted { names, algorithm, profile, renew, left_out, directory, key, .. } =
            started.clone();
        Self {
            names,
            algorithm,
            profile,
            left_out,
            directory,
            renew,
            fingerprint,
            key,
            started_at: at,
            before,
        }
    }
}
