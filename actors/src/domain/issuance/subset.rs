//! Rules about a certificate for a subset of the names: for Ingresses with
//! `ingress-acme.dev/partial: "true"`.
//!
//! The desired certificate stays as it is and keeps failing at its pace. Meanwhile the names that
//! did not cause the failures get a certificate of their own. A name of the present certificate is
//! never given up while that certificate has plenty of its life left.

use super::before_order::prepare_order;
use super::evaluation::Evaluation;
use super::failing::Failing;
use super::secret::{complete, fresh_secret};
use super::step::Step;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::limits;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::validity::check::{IssueReason, Remaining};

/// Returns the step towards a certificate for a subset of the names, if one can be issued and is
/// needed.
pub(super) fn subset_step(evaluation: &Evaluation<'_>, failing: &Failing) -> Option<Step> {
    let (desired, now) = (evaluation.desired, evaluation.now());
    let names = if failing.fingerprint == desired.fingerprint() {
        failing.obtainable(desired, now)?
    } else {
        failing.obtainable_by_others(desired, now)?
    };
    if let Some(step) = fresh_secret(evaluation) {
        return Some(step);
    }
    let subset = DesiredCertificate { names, ..desired.clone() };
    if let Some(reason) = reason_to_issue(evaluation, &subset, failing) {
        return Some(prepare_order(evaluation, subset.names, Some(failing), reason));
    }
    Some(complete(evaluation)).filter(|step| *step != Step::Done(Requeue::AwaitChange))
}

/// Why the Secret needs a certificate for `subset`. A serving certificate with more names is kept
/// while it has plenty of its life left; in a group, for [`limits::GROUP_PATIENCE`] at most,
/// because other members wait to join.
fn reason_to_issue(
    evaluation: &Evaluation<'_>,
    subset: &DesiredCertificate,
    failing: &Failing,
) -> Option<IssueReason> {
    if evaluation.is_installed() {
        return None;
    }
    let reason = evaluation.check_for(subset).err()?;
    let desired = evaluation.desired;
    let serving = evaluation.certificate().filter(|certificate| certificate.key_matches);
    let kept = serving.is_some_and(|certificate| {
        let mut others =
            desired.names.union(&desired.covered).filter(|name| !subset.names.contains(*name));
        let loses = others.any(|name| certificate.is_for(name));
        let waited = evaluation.now().since(failing.since) >= limits::GROUP_PATIENCE;
        let patient = !(desired.grouped && waited);
        loses && patient && Remaining::of(certificate, evaluation.now()) == Remaining::Plenty
    });
    (!kept).then_some(reason)
}
