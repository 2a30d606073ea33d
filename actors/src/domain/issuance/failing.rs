//! Remembered failures of one desired certificate, and the times that follow from them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::event::{Folded, IssuanceFailed, split_shared};
use super::fallback::{Fallback, LastFailure, following};
use crate::domain::desired::desired_certificate::{DesiredCertificate, Fingerprint};
use crate::domain::failure::FailureClass;
use crate::domain::ingress::Edition;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::time::Timestamp;

/// Consecutive failures of one desired certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failing {
    /// Fingerprint of the desired certificate that failed.
    pub fingerprint: Fingerprint,
    /// Number of consecutive failures, 1 or more.
    pub attempts: u32,
    /// Time of the first failure.
    pub since: Timestamp,
    /// Time of the last failure.
    pub last: Timestamp,
    /// Earliest time of the next attempt for the same desired certificate.
    pub retry_at: Timestamp,
    /// Kind of the last failure.
    pub class: FailureClass,
    /// Text of the last failure.
    pub detail: Arc<str>,
    /// Names that caused the failures, where not all of them did.
    pub names: Arc<BTreeSet<DnsName>>,
    /// Earliest time of the next attempt for a subset of the names.
    pub subset_retry_at: Option<Timestamp>,
    /// Number of consecutive failures of subsets.
    pub subset_attempts: u32,
    /// First failure of the current sequence of failures that the CA itself caused. Failures that
    /// say nothing about the CA neither begin nor end the sequence.
    pub down_since: Option<Timestamp>,
    /// The last failure at a CA was at the fallback CA.
    pub at_fallback: bool,
    /// Directory URL of that fallback CA, where it is known.
    pub fallback: Option<Arc<str>>,
    /// Edition of the Ingresses that the last attempt was made for, where it is known.
    pub edition: Option<Edition>,
    /// Time at which no edit is counted any more of those that ended a pause.
    pub edits_until: Option<Timestamp>,
}

/// Returns the number of a failure in its sequence, from 1 on. `before` is the sequence of the same
/// desired certificate.
pub(super) fn attempts(before: Option<&Failing>, class: FailureClass) -> u32 {
    let row = before.filter(|failing| failing.class.same_backoff(class));
    row.map_or(0, |failing| failing.attempts).saturating_add(1)
}

impl Failing {
    /// Adds a failure at `at` to the sequence `before`. A folded failure is a sequence itself.
    pub(super) fn after(before: Option<&Self>, failed: &IssuanceFailed, at: Timestamp) -> Self {
        if let Some(folded) = &failed.folded {
            let Folded { attempts, since, subset_attempts } = *folded;
            let alone = IssuanceFailed { folded: None, ..failed.clone() };
            return Self { attempts, since, subset_attempts, ..Self::after(None, &alone, at) };
        }
        let before = before.filter(|failing| failing.fingerprint == failed.fingerprint);
        let subset = before.filter(|_| failed.subset_retry_at.is_some());
        let subsets = before.map_or(0, |failing| failing.subset_attempts);
        // An edit that ended a pause begins the backoff anew.
        let by_edit = before.is_some_and(|failing| failed.edits_until > failing.edits_until);
        let counted = || attempts(before.filter(|_| !by_edit), failed.class);
        Self {
            fingerprint: failed.fingerprint,
            attempts: subset.map_or_else(counted, |failing| failing.attempts),
            since: before.map_or(at, |failing| failing.since),
            last: at,
            retry_at: failed.retry_at,
            class: failed.class,
            detail: failed.detail.clone(),
            names: failed.all_names(),
            subset_retry_at: failed.subset_retry_at.or_else(|| before?.subset_retry_at),
            subset_attempts: subsets.saturating_add(u32::from(subset.is_some())),
            down_since: failed.down_since,
            at_fallback: failed.at_fallback,
            fallback: failed.fallback.clone(),
            edition: failed.edition,
            edits_until: failed.edits_until,
        }
    }

    /// Folds the sequence into one event at the time of the last failure, from which
    /// [`Self::after`] restores the sequence.
    pub(crate) fn folded(&self) -> IssuanceFailed {
        let Self { attempts, since, subset_attempts, .. } = *self;
        let several = attempts != 1 || since != self.last || subset_attempts != 0;
        let (names, wildcards) = split_shared(&self.names);
        IssuanceFailed {
            class: self.class,
            detail: self.detail.clone(),
            fingerprint: self.fingerprint,
            retry_at: self.retry_at,
            names,
            wildcards,
            subset_retry_at: self.subset_retry_at,
            down_since: self.down_since,
            at_fallback: self.at_fallback,
            fallback: self.fallback.clone(),
            edition: self.edition,
            edits_until: self.edits_until,
            folded: several.then_some(Folded { attempts, since, subset_attempts }),
        }
    }

    /// Whether the Ingresses were edited to `edition` after the last attempt was made.
    pub(super) fn is_edited(&self, edition: Edition) -> bool {
        self.edition.is_some_and(|before| before != edition)
    }

    /// Earliest time of an attempt because of an edit, whatever pause is left: soon for a person,
    /// and a few times a day for a controller that edits the Ingress all the time.
    pub(super) fn after_edit(&self) -> Timestamp {
        let soon = self.last + limits::EDIT_PAUSE;
        let room = limits::EDIT_INTERVAL * (limits::EDITS - 1);
        self.edits_until.map_or(soon, |until| soon.max(until - room))
    }

    /// Counts an edit that ended a pause at `now`.
    pub(super) fn edits_until(&self, now: Timestamp) -> Timestamp {
        self.edits_until.map_or(now, |until| until.max(now)) + limits::EDIT_INTERVAL
    }

    /// Names that can be issued without the failing ones, once the others have failed for long
    /// enough.
    pub(super) fn obtainable(
        &self,
        desired: &DesiredCertificate,
        now: Timestamp,
    ) -> Option<BTreeSet<DnsName>> {
        let since = self.subset_from(desired)?;
        let good = desired.without(&self.names);
        (since <= now && !good.is_empty()).then_some(good)
    }

    /// Names of a group that can be issued after its members changed. Otherwise each new member
    /// would wait for failures that are known already.
    pub(super) fn obtainable_by_others(
        &self,
        desired: &DesiredCertificate,
        now: Timestamp,
    ) -> Option<BTreeSet<DnsName>> {
        let known = desired.grouped && now.since(self.last) < limits::GROUP_MEMORY;
        let good: BTreeSet<DnsName> = desired.names.difference(&self.names).cloned().collect();
        (known && !good.is_empty() && good.len() < desired.names.len()).then_some(good)
    }

    /// Time of the next evaluation: the retry of all names, or the first attempt for a subset.
    pub(super) fn next_evaluation(
        &self,
        desired: &DesiredCertificate,
        now: Timestamp,
    ) -> Timestamp {
        let subset = self.subset_from(desired).filter(|from| now < *from);
        subset.map_or(self.retry_at, |from| from.min(self.retry_at))
    }

    /// Earliest time of an attempt for a subset, for desired certificates that allow one. Without
    /// its wildcards, each may be issued: what fails in DNS must not take the site of a host that
    /// HTTP-01 proves.
    fn subset_from(&self, desired: &DesiredCertificate) -> Option<Timestamp> {
        let some = desired.names.iter().any(|name| self.names.contains(name));
        let enough = self.attempts >= limits::PARTIAL_ATTEMPTS;
        let retry = self.subset_retry_at.unwrap_or(self.since);
        let from = (self.since + limits::PARTIAL_AFTER).max(retry);
        let allowed = desired.partial || self.names.iter().all(DnsName::is_wildcard);
        (allowed && some && enough).then_some(from)
    }

    /// The last failure, as the choice of a fallback CA sees it.
    pub(super) fn last(&self) -> LastFailure<'_> {
        let (at_fallback, down_since) = (self.at_fallback, self.down_since);
        LastFailure { at_fallback, fallback: self.fallback.as_deref(), down_since }
    }

    /// Time from which a fallback CA is asked, even where the first CA is retried later.
    pub(super) fn fallback_from(&self, fallbacks: &[Fallback<'_>]) -> Option<Timestamp> {
        let since = self.down_since.filter(|_| self.class.is_of_the_ca())?;
        let next = following(fallbacks, Some(self.last())).iter().filter(|next| !next.is_limited);
        next.map(|next| since + next.after).min()
    }
}
