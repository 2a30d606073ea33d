//! States of an Ingress that last, as Kubernetes Events. They are those that were recorded when the
//! states began, in the same words.

use crate::context::OperatorContext;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::desired::plan::PlannedCertificate;
use crate::domain::ingress::{IngressKey, SecretKey};
use crate::domain::issuance::State;
use crate::domain::new_orders::NewOrders;
use crate::domain::status::kube_event::KubeEvent;

/// Whether the Ingress is in a state that lasts: it is not served as requested, or a certificate of
/// it fails or waits.
pub(crate) fn lasts(context: &OperatorContext, key: &IngressKey) -> bool {
    let index = context.index.borrow();
    let of_secret = |planned: &PlannedCertificate| {
        let secret = &planned.secret;
        context.ledger.with(secret, |state| state.failing().is_some())
            || context.switch.has(secret)
            || context.events.held_up(secret).is_some()
            || context.cas.waiting(secret).is_some()
    };
    index.planned(key).iter().any(of_secret)
        || index.problems(key).is_some_and(|problems| !problems.is_empty())
}

/// The Events of all states that last.
pub(crate) fn lasting(context: &OperatorContext, key: &IngressKey) -> Vec<KubeEvent> {
    let index = context.index.borrow();
    let known = !index.has_undecided_hosts(key);
    let problems = index.problems(key).filter(|_| known);
    let skipped = problems.and_then(|problems| KubeEvent::skipped(&problems));
    let secrets: Vec<SecretKey> =
        index.planned(key).iter().map(|planned| planned.secret.clone()).collect();
    let desired: Vec<_> = secrets.iter().filter_map(|secret| index.desired(secret)).collect();
    drop(index);
    let of_secrets = desired.iter().filter_map(|desired| of_secret(context, desired));
    skipped.into_iter().chain(of_secrets).collect()
}

/// The Event of a certificate: its wait, or else its last failure.
fn of_secret(context: &OperatorContext, desired: &DesiredCertificate) -> Option<KubeEvent> {
    let secret = &desired.secret;
    if context.switch.has(secret)
        && let NewOrders::Stopped { reason } = context.switch.position()
    {
        let own = &context.own_namespace;
        return Some(KubeEvent::new_orders_stopped(desired, &reason, own));
    }
    if let Some(waiting) = context.cas.waiting(secret) {
        return Some(KubeEvent::waiting_for_limit(desired, &waiting));
    }
    if let Some(held_up) = context.events.held_up(secret) {
        return Some(held_up);
    }
    let failing = |state: &State| Some(KubeEvent::failing(desired, state.failing()?));
    context.ledger.with(secret, failing)
}
