//! From commands to events: the only place that creates events.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::event::{
    CertificateInstalled, ChosenCa, Event, IssuanceAbandoned, IssuanceFailed, IssuanceStarted,
    OrderOpened, RateLimitHit, TxtAdded, split, split_shared,
};
use super::failing::{Failing, attempts};
use super::state::{Issuance, State};
use crate::domain::certificate::{KeyAlgorithm, PrivateKey};
use crate::domain::desired::desired_certificate::{Attempted, DesiredCertificate, Fingerprint};
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::hash::stable_hash;
use crate::domain::ingress::Edition;
use crate::domain::name::DnsName;
use crate::domain::rate_limits::LimitHit;
use crate::domain::time::Timestamp;

/// The result of a step, to become an event.
#[derive(Clone, Debug)]
pub enum Command {
    /// Begin an issuance.
    Begin(Box<NewIssuance>),
    /// The CA opened an order at this URL.
    Opened(String),
    /// The certificate is in its Secret.
    Installed {
        /// Serial number, hexadecimal.
        serial: String,
        /// End of the certificate's validity.
        not_after: Timestamp,
    },
    /// The attempt for this failed.
    Fail(Attempted, Failure),
    /// The CA at this directory refuses orders because of a rate limit.
    LimitHit(String, LimitHit),
    /// Drop the issuance in flight and the memory of failures.
    Abandon(&'static str),
    /// A TXT record is about to be written.
    AddTxt(TxtAdded),
    /// A TXT record is removed.
    RemoveTxt(TxtAdded),
}

/// An issuance that is to begin.
#[derive(Clone, Debug)]
pub struct NewIssuance {
    /// The desired certificate.
    pub desired: DesiredCertificate,
    /// Names of the certificate: all of the desired names, or a subset.
    pub names: BTreeSet<DnsName>,
    /// Directory URL of the CA, as release 0.1.0 reads it; `None` for the first CA.
    pub directory: Option<String>,
    /// The CA, where a file names several.
    pub ca: Option<ChosenCa>,
    /// ACME profile to request there.
    pub profile: Option<String>,
    /// Algorithm of the key.
    pub algorithm: KeyAlgorithm,
    /// Private key of the certificate.
    pub key: PrivateKey,
}

impl NewIssuance {
    /// An issuance of all desired names at the first CA.
    pub fn of(desired: DesiredCertificate, key: PrivateKey) -> Self {
        let (names, profile) = (desired.names.clone(), desired.profile.clone());
        let algorithm = desired.algorithm;
        Self { names, profile, algorithm, desired, directory: None, ca: None, key }
    }
}

/// A command that does not fit the state: a bug of the caller. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("command {command} is refused in state {state}")]
pub struct Refused {
    command: &'static str,
    state: &'static str,
}

/// Returns the event that `command` means in `state` at `now`.
pub fn decide(state: &State, command: Command, now: Timestamp) -> Result<Event, Refused> {
    let refused = Refused { command: command.name(), state: state.name() };
    match (state, command) {
        (State::Idle | State::Failing(_), Command::Begin(beginning)) => {
            Ok(Event::IssuanceStarted(started(*beginning)))
        }
        (State::Started(_), Command::Opened(url)) => Ok(Event::OrderOpened(OrderOpened { url })),
        (State::Ordered { issuance, .. }, Command::Installed { serial, not_after }) => {
            let (left_out, left_out_wildcards) = split(issuance.left_out.clone());
            let installed =
                CertificateInstalled { serial, not_after, left_out, left_out_wildcards };
            Ok(Event::CertificateInstalled(installed))
        }
        (state, Command::Fail(attempted, failure)) => {
            Ok(Event::IssuanceFailed(failed(state, attempted, failure, now)))
        }
        (_, Command::LimitHit(directory, hit)) => {
            Ok(Event::RateLimitHit(RateLimitHit { directory, hit }))
        }
        (State::Started(_) | State::Ordered { .. } | State::Failing(_), Command::Abandon(why)) => {
            Ok(Event::IssuanceAbandoned(IssuanceAbandoned { why: why.to_owned() }))
        }
        (_, Command::AddTxt(added)) => Ok(Event::TxtAdded(added)),
        (_, Command::RemoveTxt(removed)) => Ok(Event::TxtRemoved(removed)),
        _ => Err(refused),
    }
}

fn started(beginning: NewIssuance) -> IssuanceStarted {
    let NewIssuance { desired, names, directory, ca, profile, algorithm, key } = beginning;
    let (left_out, left_out_wildcards) = split(desired.names.difference(&names).cloned());
    let fingerprint = desired.fingerprint();
    let (names, wildcards) = split(names);
    IssuanceStarted {
        fingerprint,
        left_out,
        left_out_wildcards,
        names,
        wildcards,
        algorithm,
        profile,
        directory,
        ca,
        renew: desired.renew,
        key,
    }
}

fn failed(state: &State, attempted: Attempted, failure: Failure, now: Timestamp) -> IssuanceFailed {
    let Attempted { fingerprint, edition } = attempted;
    let before = state.failing().filter(|failing| failing.fingerprint == fingerprint);
    let subset = before.filter(|before| is_of_subset(state, before, &failure));
    let edited = before.is_some_and(|before| is_by_edit(state, before, edition, now));
    let attempts = match subset {
        Some(failing) => failing.subset_attempts.saturating_add(1),
        None => attempts(before.filter(|_| !edited), failure.class),
    };
    let pause = failure.class.pause(attempts, failure.retry_after);
    let again = now + pause + jitter(pause, fingerprint, attempts);
    let known = before.map(|failing| failing.names.clone()).unwrap_or_default();
    let names = match subset {
        // Names that fail in a subset are added to the names that the subset left out.
        Some(_) => Arc::new(failure.names.into_iter().chain(known.iter().cloned()).collect()),
        None if failure.names.is_empty() || *known == failure.names => known,
        None => Arc::new(failure.names),
    };
    let (names, wildcards) = split_shared(&names);
    let issuance = state.issuance().filter(|_| !failure.class.is_before_the_ca());
    let at_fallback = before.is_some_and(|failing| failing.at_fallback);
    IssuanceFailed {
        class: failure.class,
        detail: failure.detail.into(),
        fingerprint,
        retry_at: subset.map_or(again, |failing| failing.retry_at.max(again)),
        names,
        wildcards,
        subset_retry_at: subset.map(|_| again),
        down_since: down_since(state, before, failure.class, now),
        at_fallback: issuance.map_or(at_fallback, |issuance| issuance.is_fallback),
        fallback: failed_fallback(issuance, before),
        edition: Some(edition),
        edits_until: before.and_then(|failing| {
            let known = failing.edits_until.filter(|until| now < *until);
            if edited { Some(failing.edits_until(now)) } else { known }
        }),
        folded: None,
    }
}

/// Directory URL of the fallback CA that failed last.
fn failed_fallback(issuance: Option<&Issuance>, before: Option<&Failing>) -> Option<Arc<str>> {
    match issuance {
        Some(issuance) if issuance.is_fallback => issuance.directory.as_deref().map(Arc::from),
        Some(_) => None,
        None => before?.fallback.clone(),
    }
}

/// Whether an edit ended the pause after the failure before, so that the backoff begins anew.
fn is_by_edit(state: &State, before: &Failing, edition: Edition, now: Timestamp) -> bool {
    let began = state.issuance().map_or(now, |issuance| issuance.started_at);
    before.is_edited(edition) && began < before.retry_at
}

/// Whether the attempt was for a subset of the names. Before an issuance exists, the names in the
/// failure decide.
fn is_of_subset(state: &State, before: &Failing, failure: &Failure) -> bool {
    let others = !failure.names.is_empty() && before.names.is_disjoint(&failure.names);
    let blamed = !before.names.is_empty() && others;
    state.issuance().map_or(blamed, |issuance| !issuance.left_out.is_empty())
}

fn down_since(
    state: &State,
    before: Option<&Failing>,
    class: FailureClass,
    now: Timestamp,
) -> Option<Timestamp> {
    let known = before.and_then(|failing| failing.down_since);
    // The CA has made no progress since the order was opened.
    let began = state.opened_at().unwrap_or(now);
    match class {
        class if class.is_of_the_ca() => known.or(Some(began)),
        class if class.is_before_the_ca() => known,
        _ => None,
    }
}

/// Up to a tenth of `pause`, so that failures at the same time are not retried at the same time.
fn jitter(pause: Duration, fingerprint: Fingerprint, attempts: u32) -> Duration {
    let thousandths = u32::try_from(stable_hash((fingerprint, attempts)) % 1000).unwrap_or(0);
    pause / 10 * thousandths / 1000
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Begin(..) => "begin",
            Self::Opened(_) => "opened",
            Self::Installed { .. } => "installed",
            Self::Fail(..) => "fail",
            Self::LimitHit(..) => "rate limit hit",
            Self::Abandon(_) => "abandon",
            Self::AddTxt(_) => "add TXT record",
            Self::RemoveTxt(_) => "remove TXT record",
        }
    }
}
