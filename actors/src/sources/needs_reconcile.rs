//! Check of the scanner whether an Ingress has work, before deduplication. The job checks again
//! afterwards.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tokio::sync::OnceCell;
use tracing::debug;

use crate::context::OperatorContext;
use crate::domain::certificate::SecretView;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::desired::plan::PlannedCertificate;
use crate::domain::ingress::{IngressKey, SecretKey};
use crate::domain::issuance::{State, is_left_alone};
use crate::domain::limits;
use crate::domain::mode::Mode;
use crate::domain::validity::check::{answered_ca, check};
use crate::secret_choice::choose_secret;

/// Answers of one scan for the Secrets that several Ingresses share: such a Secret is read once,
/// because all its Ingresses have the same desired certificate.
#[derive(Default)]
pub(super) struct SharedAnswers(RefCell<HashMap<SecretKey, Rc<OnceCell<bool>>>>);

/// Whether the Ingress has work. An unreadable Secret counts as work, because the job reads the
/// Secret again.
pub(super) async fn needs_reconcile(
    context: &OperatorContext,
    shared: &SharedAnswers,
    key: &IngressKey,
) -> bool {
    if context.mode == Mode::DryRun {
        return true; // the surveyor reads the Secret
    }
    let now = context.clock.now();
    if choose_secret(context, key).await.is_err() {
        return true; // the job chooses, or reports why not
    }
    let mut needs = context.events.has_unreported_problem(&context.index.borrow(), key)
        || context.index.borrow().has_stale_hosts(key, now)
        || context.index.borrow().takes_back(key).is_some();
    let planned = context.index.borrow().planned(key).to_vec();
    for PlannedCertificate { secret, renew_only, .. } in planned {
        // The pool asks for a certificate that is only renewed once a scan has seen it.
        let is_seen = || context.dates.expiries.read(|all| all.validity(&secret).is_some());
        if needs && (!renew_only || is_seen()) {
            continue;
        }
        needs |= if context.index.borrow().is_shared(&secret) {
            let answer = shared.0.borrow_mut().entry(secret.clone()).or_default().clone();
            *answer.get_or_init(|| secret_needs_reconcile(context, &secret)).await
        } else {
            secret_needs_reconcile(context, &secret).await
        };
    }
    needs
}

async fn secret_needs_reconcile(context: &OperatorContext, secret: &SecretKey) -> bool {
    let Some(desired) = context.desired(secret) else { return false };
    let is_live = context.ledger.with(secret, |state| *state != State::Idle);
    if !desired.undecided.is_empty() || is_live || context.ledger.is_set_aside(secret) {
        return true; // the job waits for its next attempt by itself
    }
    let read = tokio::time::timeout(limits::KUBE_CALL, context.tls_secrets.read(secret)).await;
    let Ok(Ok(status)) = read else {
        debug!(%secret, "the Secret could not be read; a job will retry");
        return true;
    };
    context.record_secret(secret, status.as_ref());
    is_work(context, secret, status.as_ref(), &desired)
}

fn is_work(
    context: &OperatorContext,
    key: &SecretKey,
    found: Option<&SecretView>,
    desired: &DesiredCertificate,
) -> bool {
    let windows = context.dates.windows.borrow();
    let set = context.cas.set();
    let directory = &set.deciding(None, Some(desired), found).ca.directory;
    let assessment = context.assessment(&windows, (directory, &set), key, found);
    let (install_id, now) = (&context.install_id, assessment.now);
    if found.is_some_and(|found| is_left_alone(found, desired, install_id, now)) {
        return false;
    }
    if desired.renew_only && !found.is_some_and(|found| found.ours) {
        return false;
    }
    let ours = found.filter(|found| found.ours && context.owner_references);
    let orphan = |uid: &str| ours.is_some_and(|found| !found.owners.contains(uid));
    match check(found, desired, &assessment) {
        Err(_) => true,
        Ok(()) => {
            !desired.fill.is_empty()
                || desired.owners.iter().any(|owner| orphan(&owner.uid))
                || found.is_some_and(|found| found.ours && found.copied != desired.copied.mark())
                || found.is_some_and(|found| {
                    found.ours && found.ca.as_deref() != answered_ca(found, desired, directory)
                })
        }
    }
}
