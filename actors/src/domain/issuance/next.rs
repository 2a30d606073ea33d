//! The next step of a job: rules in order, the first one that returns a step wins.

use super::before_order::{self, prepare_order};
use super::evaluation::Evaluation;
use super::failing::Failing;
use super::new_order;
use super::secret::{complete, fresh_secret, renewed_only};
use super::state::{Issuance, State};
use super::step::{Inputs, Step};
use super::subset::subset_step;
use super::waits::{attempt_failed, failed_recently, order_paused, retry_step, still_waiting};
use super::with_order::with_order;
use crate::domain::limits;
use crate::domain::scheduling::requeue::Requeue;

/// A rule. Returns the next step if the rule applies.
pub(super) type Rule = fn(&Evaluation<'_>) -> Option<Step>;

/// Rules that hold in every state.
const RULES: [Rule; 6] =
    [failed_recently, ca_removed, order_paused, still_waiting, attempt_failed, hosts_are_undecided];

/// Rules before an order is opened, once an issuance has begun.
const RULES_BEFORE_ORDER: [fn(&Evaluation<'_>, &Issuance) -> Option<Step>; 8] = [
    before_order::edited,
    before_order::opened_but_not_journaled,
    before_order::same_names_ordered,
    |evaluation, _| fresh_secret(evaluation),
    before_order::secret_is_valid,
    new_order::stopped_after_start,
    before_order::ca_busy_for_long,
    before_order::wait_for_routes_and_limits,
];

/// Returns the next step for a Secret whose event stream is in `state`.
pub(crate) fn next(state: &State, inputs: Inputs<'_>) -> Step {
    let refused = inputs.observed.refused_until;
    if let Some(until) = refused.filter(|until| inputs.assessment.now < *until) {
        return Step::Done(Requeue::At(until));
    }
    let Some(desired) = inputs.desired else {
        return match state {
            State::Idle => Step::Done(Requeue::AwaitChange),
            _ => Step::Abandon("no Ingress needs it any more"),
        };
    };
    let evaluation = Evaluation { state, desired, inputs };
    let general = RULES.iter().find_map(|rule| rule(&evaluation));
    general.unwrap_or_else(|| match state {
        State::Idle => check_secret(&evaluation, None),
        State::Failing(failing) => retry(&evaluation, failing),
        State::Started(issuance) => {
            let step = RULES_BEFORE_ORDER.iter().find_map(|rule| rule(&evaluation, issuance));
            step.unwrap_or(Step::OpenOrder)
        }
        State::Ordered { issuance, opened_at, .. } => with_order(&evaluation, issuance, *opened_at),
    })
}

/// Finds out which namespace has a host before the names of a certificate count for anything: also
/// for an open order, whose names may only seem to differ.
fn hosts_are_undecided(evaluation: &Evaluation<'_>) -> Option<Step> {
    (!evaluation.desired.undecided.is_empty()).then_some(Step::CheckHosts)
}

/// Drops an issuance at a CA that is no longer configured, or no longer the fallback.
fn ca_removed(evaluation: &Evaluation<'_>) -> Option<Step> {
    let (issuance, inputs) = (evaluation.state.issuance()?, &evaluation.inputs);
    if !issuance.is_fallback {
        let why = "the CA of this issuance is no longer configured";
        return inputs.ca_is_gone.then_some(Step::Abandon(why));
    }
    let directory = issuance.directory.as_deref();
    let in_use = inputs.fallbacks.iter().any(|fallback| Some(fallback.directory) == directory);
    (!in_use).then_some(Step::Abandon("the fallback CA of this issuance is no longer configured"))
}

/// Tries again after failures: a subset of the names, or all of them once their time has come.
fn retry(evaluation: &Evaluation<'_>, failing: &Failing) -> Step {
    let same = failing.fingerprint == evaluation.desired.fingerprint();
    let waits = || same.then(|| retry_step(evaluation, failing)).flatten();
    let step = subset_step(evaluation, failing).or_else(waits);
    step.unwrap_or_else(|| check_secret(evaluation, Some(failing)))
}

/// Checks the Secret: completes a good one, and requests a certificate for any other.
fn check_secret(evaluation: &Evaluation<'_>, failing: Option<&Failing>) -> Step {
    if let Some(step) = fresh_secret(evaluation) {
        return step;
    }
    let checked = evaluation.check();
    if let Err(reason) = &checked
        && let Some(step) = renewed_only(evaluation, reason)
    {
        return step;
    }
    match checked {
        Ok(()) if failing.is_some() => Step::Abandon("the Secret holds a valid certificate"),
        Ok(()) => complete(evaluation),
        Err(_) if evaluation.is_installed() => match (complete(evaluation), failing) {
            // A subset was installed, and the time for all names has come meanwhile.
            (Step::Done(Requeue::AwaitChange), Some(_)) => {
                Step::Done(Requeue::At(evaluation.now() + limits::BUSY_RETRY))
            }
            (step, _) => step,
        },
        Err(reason) => prepare_order(evaluation, evaluation.desired.names.clone(), failing, reason),
    }
}
