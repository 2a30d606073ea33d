//! State of one event stream, and the only table of legal transitions, used live and on replay.

use std::collections::BTreeSet;

use super::event::{Event, IssuanceStarted};
use super::failing::Failing;
use crate::domain::certificate::{KeyAlgorithm, PrivateKey};
use crate::domain::desired::desired_certificate::Fingerprint;
use crate::domain::name::DnsName;
use crate::domain::time::Timestamp;

/// State of an event stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum State {
    /// No issuance is in flight, and no failure is remembered.
    #[default]
    Idle,
    /// An issuance has a key, but no order yet.
    Started(Issuance),
    /// The CA has an order of the issuance.
    Ordered {
        /// Issuance of the order.
        issuance: Issuance,
        /// URL of the order.
        url: String,
        /// Time at which the order was opened.
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
    /// ACME profile to request.
    pub profile: Option<String>,
    /// Names of the desired certificate that the issuance leaves out because they failed.
    pub left_out: BTreeSet<DnsName>,
    /// Directory URL of the CA; `None` for the first CA of the flags.
    pub directory: Option<String>,
    /// Whether that CA is a fallback.
    pub is_fallback: bool,
    /// Value of the annotation `ingress-acme.dev/ca` that the certificate answers.
    pub asked_ca: Option<String>,
    /// Value of the renew annotation that the certificate answers.
    pub renew: Option<String>,
    /// Fingerprint of the desired certificate at the start.
    pub fingerprint: Fingerprint,
    /// Private key of the certificate.
    pub key: PrivateKey,
    /// Start of the issuance.
    pub started_at: Timestamp,
    /// Earlier failures, if any. The next failure continues their count.
    pub before: Option<Box<Failing>>,
}

/// An event that is illegal in its state: the journal is damaged, or its writer has a bug.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("event {event} cannot follow state {state}")]
pub struct IllegalEvent {
    event: &'static str,
    state: &'static str,
}

impl State {
    /// Returns the name of the state in logs, `status` and the state dump.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Started(_) => "started",
            Self::Ordered { .. } => "ordered",
            Self::Failing(_) => "failing",
        }
    }

    /// Returns the issuance in flight, if any.
    pub fn issuance(&self) -> Option<&Issuance> {
        match self {
            Self::Started(issuance) | Self::Ordered { issuance, .. } => Some(issuance),
            Self::Idle | Self::Failing(_) => None,
        }
    }

    /// Returns the time at which the order was opened, if any.
    pub(crate) fn opened_at(&self) -> Option<Timestamp> {
        match self {
            Self::Ordered { opened_at, .. } => Some(*opened_at),
            _ => None,
        }
    }

    /// Returns the remembered failures, also while a new attempt is in flight.
    pub fn failing(&self) -> Option<&Failing> {
        match self {
            Self::Failing(failing) => Some(failing),
            _ => self.issuance()?.before.as_deref(),
        }
    }
}

/// Folds an event that was decided at `at` into the state.
///
/// # Errors
/// [`IllegalEvent`] if the event is illegal in `state`.
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
        (state, Event::RateLimitHit(_) | Event::TxtAdded(_) | Event::TxtRemoved(_)) => Ok(state),
        (State::Ordered { issuance, .. }, Event::CertificateInstalled(installed)) => {
            let failing = issuance.before.filter(|_| !installed.all_left_out().is_empty());
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
    /// Creates the issuance of `started`, with its start at `at` and the failures in `failing`
    /// before.
    fn begun(started: &IssuanceStarted, failing: Option<&Failing>, at: Timestamp) -> Self {
        let fingerprint = started.fingerprint;
        // Names that a group left out before its members changed stay left out.
        let left_out = started.all_left_out();
        let counts =
            |failing: &&Failing| failing.fingerprint == fingerprint || !left_out.is_empty();
        let before = failing.filter(counts).cloned();
        let before = before.map(|failing| Box::new(Failing { fingerprint, ..failing }));
        let names = started.all_names();
        #[rustfmt::skip] // fields that are passed on stand together
        let IssuanceStarted {
            algorithm, profile, renew, directory, ca, key, ..
        } = started.clone();
        let is_fallback = ca.as_ref().map_or(directory.is_some(), |ca| ca.fallback);
        let (named, asked_ca) = ca.map(|ca| (ca.directory, ca.asked)).unzip();
        let (directory, asked_ca) = (named.or(directory), asked_ca.flatten());
        Self {
            names,
            algorithm,
            profile,
            left_out,
            directory,
            is_fallback,
            asked_ca,
            renew,
            fingerprint,
            key,
            started_at: at,
            before,
        }
    }
}
