//! Rules about the Secret: reading, refusing a foreign one, and completing a good one.

use super::evaluation::Evaluation;
use super::state::State;
use super::step::Step;
use crate::domain::certificate::SecretView;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::ingress::SecretKey;
use crate::domain::limits;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::time::Timestamp;
use crate::domain::validity::check::{IssueReason, answered_ca, serves};
use crate::domain::validity::renewal::renewal;

/// Reads the Secret if the last read is too old, and refuses too many names or a foreign Secret.
pub(super) fn fresh_secret(evaluation: &Evaluation<'_>) -> Option<Step> {
    let desired = evaluation.desired;
    if desired.names.len() > desired.most_names() {
        return Some(Step::Fail(too_many_names(desired)));
    }
    let Some((_, read_at)) = &evaluation.inputs.observed.secret else {
        return Some(Step::ReadSecret);
    };
    if evaluation.now().since(*read_at) > limits::SECRET_FRESH {
        return Some(Step::ReadSecret);
    }
    foreign_secret(evaluation)
}

/// Leaves a Secret alone that we must not write: ends the job if the Secret serves all names, else
/// fails.
pub(super) fn foreign_secret(evaluation: &Evaluation<'_>) -> Option<Step> {
    let (secret, desired) = (evaluation.secret()?, evaluation.desired);
    let why = must_not_write(secret, desired, evaluation.inputs.install_id)?;
    if is_left_alone(secret, desired, evaluation.inputs.install_id, evaluation.now()) {
        return Some(match evaluation.state {
            State::Idle => Step::Done(Requeue::AwaitChange),
            _ => Step::Abandon("the Secret holds a valid certificate that is not ours"),
        });
    }
    let detail = format!("Secret {} {why}; it is left as it is", desired.secret);
    Some(Step::Fail(Failure::new(FailureClass::Conflict, detail)))
}

/// Whether there is no work for a Secret, because it must not be written and serves. Where nothing
/// new is ordered, there is nothing to tell of a Secret of somebody else either.
pub(crate) fn is_left_alone(
    secret: &SecretView,
    desired: &DesiredCertificate,
    install_id: &str,
    now: Timestamp,
) -> bool {
    let only_renewed = desired.renew_only && !secret.ours;
    must_not_write(secret, desired, install_id).is_some()
        && (only_renewed || serves(secret, desired, now))
}

/// The steps after a good certificate: owner references, copied annotations and the answered
/// annotation `ca`, then `spec.tls`.
pub(super) fn complete(evaluation: &Evaluation<'_>) -> Step {
    let (desired, observed) = (evaluation.desired, evaluation.inputs.observed);
    let owners = desired.owners.iter().map(|owner| owner.uid.to_string()).collect();
    let sets_owners = evaluation.inputs.owner_references;
    let directory = evaluation.inputs.assessment.directory;
    let differs = |secret: &SecretView| {
        (sets_owners && secret.owners != owners)
            || secret.copied != desired.copied.mark()
            || secret.ca.as_deref() != answered_ca(secret, desired, directory)
    };
    if evaluation.secret().is_some_and(|secret| secret.ours && differs(secret)) && !observed.owned {
        return Step::UpdateOwners;
    }
    if !desired.fill.is_empty() && !observed.filled {
        return Step::FillTls;
    }
    if observed.fills_more {
        return Step::Done(Requeue::At(evaluation.now() + limits::FILL_PAUSE));
    }
    Step::Done(Requeue::AwaitChange)
}

/// Ends the job of a desired certificate that is only renewed, if its Secret has no certificate of
/// ours; and one whose annotation names a CA that it may not have, unless it is time to renew what
/// is there. The problems of its Ingresses say why.
pub(super) fn renewed_only(evaluation: &Evaluation<'_>, reason: &IssueReason) -> Option<Step> {
    let (ours, desired) = (evaluation.own_secret(), evaluation.desired);
    let (ari, now) = (evaluation.inputs.assessment.ari, evaluation.now());
    let is_due = evaluation.own_certificate().is_some_and(|one| now >= renewal(one, ari));
    let is_renewal = is_due || reason.is_of_time() || matches!(reason, IssueReason::Expired(_));
    if (!desired.renew_only || ours) && (!desired.refuses_ca || is_renewal) {
        return None;
    }
    Some(match evaluation.state {
        State::Idle => Step::Done(Requeue::AwaitChange),
        _ => Step::Abandon("no new certificate is issued for it"),
    })
}

/// Why the Secret must not be written, with the user's remedy. `adopt-secret` takes no Secret of
/// another install: both installs read the same annotation, and would take the Secret from each
/// other forever.
fn must_not_write(
    secret: &SecretView,
    desired: &DesiredCertificate,
    install_id: &str,
) -> Option<String> {
    if let Some(other) = &secret.other_install {
        return Some(of_another_install(&desired.secret, other, install_id));
    }
    if let Some(mark) = secret.other_issuer.as_ref().filter(|_| !secret.ours && !desired.adopt) {
        return Some(of_another_issuer(mark));
    }
    let why = if secret.immutable {
        "is immutable (delete it, or name another secretName)"
    } else if !secret.is_tls {
        "is not of type kubernetes.io/tls (delete it, or name another secretName)"
    } else if !secret.ours && !desired.adopt {
        "was not made by ingress-acme (annotate the Ingress with ingress-acme.dev/adopt-secret: \"true\" to \
         hand it over, or name another secretName)"
    } else {
        return None;
    };
    Some(why.to_owned())
}

/// Says that the install `other` has the Secret, and how the user hands the Secret over to
/// `install_id`.
pub(crate) fn of_another_install(secret: &SecretKey, other: &str, install_id: &str) -> String {
    let SecretKey { namespace, name } = secret;
    format!(
        "belongs to the ingress-acme install `{other}` (hand it over to this one with: kubectl -n {namespace} annotate \
         secret {name} --overwrite ingress-acme.dev/install={install_id})"
    )
}

/// Says that another issuer renews the Secret, by its annotation, and how the user hands it over.
fn of_another_issuer(mark: &str) -> String {
    format!(
        "is that of another issuer, as its annotation {mark} says (let that one renew it; or stop it there, and annotate the \
         Ingress with ingress-acme.dev/adopt-secret: \"true\"; or name another secretName)"
    )
}

fn too_many_names(desired: &DesiredCertificate) -> Failure {
    let max = desired.most_names();
    // Names beyond the largest number of any CA are not counted.
    let count = desired.names.len().min(limits::MAX_NAMES);
    let more = if count < desired.names.len() { "more than " } else { "" };
    let detail = format!(
        "Secret {} would need a certificate for {more}{count} names, and a CA accepts {max} at most; split its \
         hosts over several spec.tls blocks",
        desired.secret
    );
    Failure::new(FailureClass::InvalidSpec, detail)
}
