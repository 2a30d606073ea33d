//! Rules once the CA has an order: validate, finalize, download, install.

use super::before_order::routes_and_probes;
use super::evaluation::Evaluation;
use super::in_dns;
use super::observed::{OrderStatus, OrderView};
use super::secret::foreign_secret;
use super::state::Issuance;
use super::step::Step;
use crate::domain::desired::desired_certificate::display_names;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::limits;
use crate::domain::time::Timestamp;
use crate::domain::validity::check::{IssueReason, check_certificate};

/// Returns the next step of an order that was opened at `opened_at`, by the last known status.
pub(super) fn with_order(
    evaluation: &Evaluation<'_>,
    issuance: &Issuance,
    opened_at: Timestamp,
) -> Step {
    let Some(order) = &evaluation.inputs.observed.order else { return Step::Refresh };
    let late = evaluation.now().since(opened_at) >= limits::ORDER_DEADLINE;
    match &order.status {
        OrderStatus::Gone if evaluation.now().since(opened_at) < limits::ORDER_SETTLES => {
            Step::Refresh
        }
        OrderStatus::Gone => Step::Fail(Failure::new(
            FailureClass::AcmeServer,
            "the CA no longer knows the order; a new one is opened",
        )),
        OrderStatus::Invalid(failure) => Step::Fail(failure.clone()),
        OrderStatus::Valid => install_certificate(evaluation, issuance),
        _ if late => Step::Fail(overdue(evaluation, order, opened_at)),
        OrderStatus::Processing => Step::Refresh,
        OrderStatus::Pending | OrderStatus::Ready if evaluation.is_edited(issuance) => {
            Step::Abandon("the Ingress was edited")
        }
        OrderStatus::Ready => Step::Finalize,
        OrderStatus::Pending => validate(evaluation, issuance, order),
    }
}

fn validate(evaluation: &Evaluation<'_>, issuance: &Issuance, order: &OrderView) -> Step {
    if order.authorizations.iter().all(|authorization| authorization.accepted) {
        // The CA may validate at any moment, also after a restart of the job.
        return if evaluation.are_routed() { Step::Refresh } else { Step::PublishRoutes };
    }
    let first = routes_and_probes(evaluation, &issuance.names, issuance.before.as_deref());
    first.unwrap_or_else(|| in_dns::answer(evaluation, order))
}

/// Installs an issued certificate, also after an edit, unless the Ingress shares no name with the
/// certificate. The next check of the Secret finds the difference and requests another one.
fn install_certificate(evaluation: &Evaluation<'_>, issuance: &Issuance) -> Step {
    if issuance.names.is_disjoint(&evaluation.desired.names) {
        return Step::Abandon("the Ingress was edited and shares no name with the certificate");
    }
    let observed = evaluation.inputs.observed;
    let Some(chain) = &observed.chain else { return Step::Download };
    let requested = evaluation.requested(issuance);
    let checked = check_certificate(&chain.leaf, &requested, evaluation.now());
    if let Err(reason) = checked.or_else(ignore_slow_clock) {
        let detail = format!("the CA's certificate is not used: {reason}");
        return Step::Fail(Failure::new(FailureClass::BadCertificate, detail));
    }
    // The write itself refuses a Secret that changed since the read, so the read need not be fresh.
    if observed.secret.is_none() {
        return Step::ReadSecret;
    }
    foreign_secret(evaluation).unwrap_or(Step::Install)
}

/// Accepts a certificate that is not valid yet by our clock, because the clock of the CA counts.
fn ignore_slow_clock(reason: IssueReason) -> Result<(), IssueReason> {
    match reason {
        IssueReason::NotYetValid(_) => Ok(()),
        reason => Err(reason),
    }
}

/// Failure of an order that is not finished in time: that of the names whose records could not be
/// written, or else the CA's own.
fn overdue(evaluation: &Evaluation<'_>, order: &OrderView, opened_at: Timestamp) -> Failure {
    let unanswered = in_dns::unanswered(evaluation, order);
    if unanswered.is_empty() {
        let detail =
            format!("the CA has not finished the order opened at {opened_at}; a new one is opened");
        return Failure::new(FailureClass::AcmeServer, detail);
    }
    let detail = format!(
        "since {opened_at} no TXT record could be written for {}; the Events before say why. A new order is opened",
        display_names(&unanswered)
    );
    let retry_after = Some(limits::DNS_ORDER_PAUSE);
    Failure { retry_after, ..Failure::new(FailureClass::Dns, detail).about(unanswered) }
}
