//! Rule of the switch for new orders: which orders wait while new ones are stopped.

use std::collections::BTreeSet;

use super::evaluation::Evaluation;
use super::state::Issuance;
use super::step::Step;
use crate::domain::name::DnsName;
use crate::domain::validity::renewal::renewal;

/// Waits with an order for `names` while new orders are stopped, unless the order is a renewal.
pub(super) fn stopped(evaluation: &Evaluation<'_>, names: &BTreeSet<DnsName>) -> Option<Step> {
    let stopped = evaluation.inputs.new_orders.are_stopped() && !is_renewal(evaluation, names);
    stopped.then_some(Step::WaitForNewOrders)
}

/// The same for an issuance that has a key and no order yet.
pub(super) fn stopped_after_start(
    evaluation: &Evaluation<'_>,
    issuance: &Issuance,
) -> Option<Step> {
    stopped(evaluation, &issuance.names)
}

/// Whether an order for `names` renews the certificate in the Secret, however old that one is: it
/// has all these names. One that has some of them waits no longer than until its own renewal is
/// due, which costs the same one order: its hosts would lose their certificate.
///
/// The certificate counts in a Secret that the operator may write: one of its own, or one that is
/// handed over. A certificate that browsers do not trust, in a Secret of somebody else, was never
/// issued.
fn is_renewal(evaluation: &Evaluation<'_>, names: &BTreeSet<DnsName>) -> bool {
    let is_issued = evaluation.secret().is_some_and(|secret| secret.ours || !secret.untrusted);
    let Some(certificate) = evaluation.certificate().filter(|_| is_issued) else { return false };
    let is_due = || evaluation.now() >= renewal(certificate, evaluation.inputs.assessment.ari);
    names.iter().all(|name| certificate.is_for(name))
        || (names.iter().any(|name| certificate.is_for(name)) && is_due())
}
