//! A certificate for the names that can be had, where some of many cannot: for Ingresses that say
//! `ingress-acme.dev/partial: "true"`.
//!
//! The desired certificate stays as it is, and goes on failing at its pace; in between, those names that were not the reason get a
//! certificate of their own. No name that the present certificate has is given up while that one has time.

use std::collections::BTreeSet;

use super::next::Evaluation;
use super::state::Failing;
use super::step::Step;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::time::Timestamp;
use crate::domain::validity::check::{IssueReason, Remaining};

/// The names that can be had, where the others have failed for long enough.
pub(super) fn obtainable(
    failing: &Failing,
    desired: &DesiredCertificate,
    now: Timestamp,
) -> Option<BTreeSet<DnsName>> {
    let since = partial_from(failing, desired)?;
    let good: BTreeSet<DnsName> = desired.names.difference(&failing.names).cloned().collect();
    (since <= now && !good.is_empty()).then_some(good)
}

/// The names of a group that can be had, where others have failed a moment ago and then somebody joined or left: each
/// would wait anew for what is known.
fn obtainable_by_others(
    failing: &Failing,
    desired: &DesiredCertificate,
    now: Timestamp,
) -> Option<BTreeSet<DnsName>> {
    let known = desired.grouped && now.since(failing.last) < limits::GROUP_MEMORY;
    let good: BTreeSet<DnsName> = desired.names.difference(&failing.names).cloned().collect();
    (known && !good.is_empty() && good.len() < desired.names.len()).then_some(good)
}

/// When a desired certificate that fails is looked at again.
pub(super) fn looked_at_again(
    failing: &Failing,
    desired: &DesiredCertificate,
    now: Timestamp,
) -> Timestamp {
    let partial = partial_from(failing, desired).filter(|from| now < *from);
    partial.map_or(failing.retry_at, |from| from.min(failing.retry_at))
}

/// From when on a subset of the desired certificate is as good as nothing more is to be hoped for.
fn partial_from(failing: &Failing, desired: &DesiredCertificate) -> Option<Timestamp> {
    let some = desired.names.iter().any(|name| failing.names.contains(name));
    let enough = failing.attempts >= limits::PARTIAL_ATTEMPTS;
    let from = (failing.since + limits::PARTIAL_AFTER)
        .max(failing.subset_retry_at.unwrap_or(failing.since));
    (desired.partial && some && enough).then_some(from)
}

impl Evaluation<'_> {
    /// The step towards a certificate for a subset of the desired certificate, where one is to be had and needed.
    pub(super) fn subset(&self, failing: &Failing) -> Option<Step> {
        let (desired, now) = (self.desired, self.context.now);
        let same = failing.fingerprint == desired.fingerprint();
        let names = if same { obtainable } else { obtainable_by_others }(failing, desired, now)?;
        if let Some(step) = self.look_at_secret() {
            return Some(step);
        }
        let subset = DesiredCertificate { names, ..self.desired.clone() };
        if let Some(reason) = self.lacks(&subset, failing) {
            return Some(self.towards_an_order(subset.names, Some(failing), reason));
        }
        Some(self.complete()).filter(|step| *step != Step::Done(Requeue::AwaitChange))
    }

    /// Why the Secret does not do for `subset`. What it holds is not given up for less while it has time.
    fn lacks(&self, subset: &DesiredCertificate, failing: &Failing) -> Option<IssueReason> {
        if self.context.observed.installed == Some(self.desired.fingerprint()) {
            return None; // once a job is enough, whatever its dates look like
        }
        let reason = self.check_for(subset).err()?;
        let found = self.secret().and_then(|secret| secret.certificate.as_ref().ok());
        let serving = found.filter(|one| one.key_matches);
        let given_up = serving.is_some_and(|certificate| {
            let mut others = self.desired.names.difference(&subset.names);
            let loses = others.any(|name| certificate.is_for(name));
            let waited = self.context.now.since(failing.since) >= limits::GROUP_PATIENCE;
            let patient = !(self.desired.grouped && waited);
            loses && patient && Remaining::of(certificate, self.context.now) == Remaining::Plenty
        });
        (!given_up).then_some(reason)
    }
}
