//! Rules about waiting: after failures, for a paused order, and between attempts of one step.

use super::evaluation::Evaluation;
use super::failing::Failing;
use super::state::State;
use super::step::Step;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::limits;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::time::Timestamp;
use crate::domain::validity::check::Remaining;

/// Waits for the retry of a desired certificate that failed, unless a subset of the names can be
/// issued now.
pub(super) fn failed_recently(evaluation: &Evaluation<'_>) -> Option<Step> {
    let State::Failing(failing) = evaluation.state else { return None };
    let desired = evaluation.desired;
    let same = failing.fingerprint == desired.fingerprint();
    let whole = same && failing.obtainable(desired, evaluation.now()).is_none();
    whole.then(|| retry_step(evaluation, failing)).flatten()
}

/// Waits for the retry of a failed desired certificate. A certificate with less than a twentieth of
/// its life left is retried after [`limits::EMERGENCY_PAUSE`], because a whole day may be all that
/// is left: if the failure may pass by itself. A domain that leads elsewhere would only use up the
/// orders of the account. An edit of an Ingress may mend the cause, whatever it edits.
pub(super) fn retry_step(evaluation: &Evaluation<'_>, failing: &Failing) -> Option<Step> {
    let (now, observed) = (evaluation.now(), evaluation.inputs.observed);
    let own = failing.next_evaluation(evaluation.desired, now);
    let fallback = failing.fallback_from(evaluation.inputs.fallbacks);
    let edited = evaluation.is_edited_since(failing).then(|| failing.after_edit());
    let retry_at = [fallback, edited].into_iter().flatten().fold(own, Timestamp::min);
    let emergency = failing.last + limits::EMERGENCY_PAUSE;
    let wait = |until| (now < until).then_some(Step::Done(Requeue::At(until)));
    let unread = observed.errors > 0 || observed.failure.is_some();
    if now >= retry_at || retry_at <= emergency || unread {
        return wait(retry_at);
    }
    if observed.secret.is_none() {
        return Some(Step::ReadSecret);
    }
    let critical = evaluation.remaining() == Some(Remaining::Critical);
    wait(if critical && failing.class.may_pass() { emergency } else { retry_at })
}

/// Keeps an order whose CA or API server failed for too long; an edit of the desired certificate
/// ends the pause.
pub(super) fn order_paused(evaluation: &Evaluation<'_>) -> Option<Step> {
    let State::Ordered { issuance, .. } = evaluation.state else { return None };
    let until = evaluation.inputs.paused_until.filter(|until| evaluation.now() < *until)?;
    (!evaluation.is_edited(issuance)).then_some(Step::Done(Requeue::At(until)))
}

/// Waits between two attempts of a step, or while the CA of the order is busy. A job that has its
/// chain does not need the CA any more.
pub(super) fn still_waiting(evaluation: &Evaluation<'_>) -> Option<Step> {
    let (state, inputs, now) = (evaluation.state, &evaluation.inputs, evaluation.now());
    let ordered = matches!(state, State::Ordered { issuance, .. } if !issuance.is_fallback);
    let needs_the_ca = ordered && inputs.observed.chain.is_none();
    let busy = inputs.rate_limits.busy_until(now).filter(|_| needs_the_ca);
    let opened_at = state.opened_at().unwrap_or(now);
    let busy = busy.map(|until| until.min(opened_at + evaluation.order_life()));
    let until = inputs.observed.wait_until.max(busy).filter(|until| now < *until)?;
    Some(Step::Wait { until, at_ca: matches!(state, State::Ordered { .. }) })
}

/// Ends an attempt that failed. An order outlives transient failures, and those of a DNS provider:
/// keeping the order costs nothing, and an issued certificate must reach its Secret.
pub(super) fn attempt_failed(evaluation: &Evaluation<'_>) -> Option<Step> {
    evaluation.inputs.observed.failure.as_ref().map(|failure| fail(evaluation, failure))
}

/// Fails the attempt, or pauses it where its order is kept.
pub(super) fn fail(evaluation: &Evaluation<'_>, failure: &Failure) -> Step {
    let Some(opened_at) = evaluation.state.opened_at() else {
        return Step::Fail(failure.clone());
    };
    let age = evaluation.now().since(opened_at);
    let hopeless = age >= limits::ORDER_LIFE || age >= evaluation.order_life();
    if !is_transient(failure) || (hopeless && evaluation.inputs.observed.chain.is_none()) {
        return Step::Fail(failure.clone());
    }
    Step::Done(Requeue::At(resume_at(failure, opened_at, evaluation.now())))
}

fn is_transient(failure: &Failure) -> bool {
    matches!(
        failure.class,
        FailureClass::AcmeServer
            | FailureClass::SecretWrite
            | FailureClass::RateLimited
            | FailureClass::Dns
    )
}

/// Returns the time at which the order is resumed. The pause grows with the age of the order.
fn resume_at(failure: &Failure, opened_at: Timestamp, now: Timestamp) -> Timestamp {
    let pause = (now.since(opened_at) / 4).clamp(limits::ORDER_PAUSE, limits::ORDER_PAUSE_MAX);
    now + failure.retry_after.unwrap_or_default().max(pause)
}
