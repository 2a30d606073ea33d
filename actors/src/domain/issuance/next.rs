//! The next step of a job, from what is journaled, what is desired and what was observed. First rule wins.

use std::time::Duration;

use super::observed::{OrderStatus, OrderView};
use super::partial::{looked_at_again, obtainable};
use super::reasons::{not_ours, overdue, too_many_names};
use super::state::{Failing, Issuance, State};
use super::step::{Inputs, Step};
use crate::domain::certificate::SecretView;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::limits;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::time::Timestamp;
use crate::domain::validity::check::{
    IssueReason, Remaining, check_certificate, check_installed, serves,
};

/// The next step for a stream in `state`.
pub fn next(state: &State, context: Inputs<'_>) -> Step {
    let Some(desired) = context.desired else {
        return match state {
            State::Idle => Step::Done(Requeue::AwaitChange),
            _ => Step::Abandon("no Ingress wants it any more"),
        };
    };
    if let State::Failing(failing) = state
        && failing.fingerprint == desired.fingerprint()
        && obtainable(failing, desired, context.now).is_none()
        && let Some(step) = still_waits(failing, desired, context)
    {
        return step;
    }
    if let Some(issuance) = state.issuance()
        && let Some(directory) = &issuance.directory
        && context.fallback.is_none_or(|fallback| fallback.directory != directory)
    {
        return Step::Abandon("it is of a second CA that is not in use any more");
    }
    if let State::Ordered { issuance, .. } = state
        && issuance.fingerprint == desired.fingerprint()
        && let Some(until) = context.paused_until.filter(|until| context.now < *until)
    {
        return Step::Done(Requeue::At(until));
    }
    if let Some(until) = waits(state, context) {
        return Step::Wait { until, at_ca: matches!(state, State::Ordered { .. }) };
    }
    if let Some(failure) = &context.observed.failure {
        return failed(state, failure, context);
    }
    let evaluation = Evaluation { state, desired, context };
    match state {
        State::Idle => evaluation.fresh(None),
        State::Failing(failing) => evaluation.once_more(failing),
        State::Started(issuance) => evaluation.before_the_order(issuance),
        State::Ordered { issuance, opened_at, .. } => {
            evaluation.with_the_order(issuance, *opened_at)
        }
    }
}

/// How long an order of the first CA is kept that this does not get on with, where there is a second. One that may have
/// a certificate is kept.
fn patience(state: &State, context: Inputs<'_>) -> Duration {
    let is_first = state.issuance().is_some_and(|issuance| issuance.directory.is_none());
    let observed = context.observed.order.as_ref().map(|order| &order.status);
    let unissued = !matches!(observed, Some(OrderStatus::Valid | OrderStatus::Processing));
    let fallback = context.fallback.filter(|_| is_first && unissued);
    fallback.map_or(limits::ORDER_LIFE, |fallback| fallback.after)
}

/// Until when there is nothing to do. A job that has its chain needs the CA no more.
fn waits(state: &State, context: Inputs<'_>) -> Option<Timestamp> {
    let ordered = matches!(state, State::Ordered { issuance, .. } if issuance.directory.is_none());
    let needs_the_ca = ordered && context.observed.chain.is_none();
    let busy = context.rate_limits.busy_until(context.now).filter(|_| needs_the_ca);
    let opened_at = state.opened_at().unwrap_or(context.now);
    let busy = busy.map(|until| until.min(opened_at + patience(state, context)));
    let until = context.observed.wait_until.max(busy);
    until.filter(|until| context.now < *until)
}

/// A desired certificate that has failed waits, but not long when its certificate is about to end: a day may be all that is left.
fn still_waits(
    failing: &Failing,
    desired: &DesiredCertificate,
    context: Inputs<'_>,
) -> Option<Step> {
    let retry_at = looked_at_again(failing, desired, context.now);
    let elsewhere = failing.elsewhere_from(context.fallback);
    let retry_at = elsewhere.map_or(retry_at, |from| from.min(retry_at));
    let (observed, emergency) = (context.observed, failing.last + limits::EMERGENCY_PAUSE);
    let waits = |until| (context.now < until).then_some(Step::Done(Requeue::At(until)));
    let unread = observed.errors > 0 || observed.failure.is_some();
    if context.now >= retry_at || retry_at <= emergency || unread {
        return waits(retry_at);
    }
    let Some((found, _)) = &observed.secret else { return Some(Step::ReadSecret) };
    let ours = found.as_ref().filter(|found| found.ours);
    let certificate = ours.and_then(|found| found.certificate.as_ref().ok());
    let left = certificate.map(|certificate| Remaining::of(certificate, context.now));
    waits(if left == Some(Remaining::Critical) { emergency } else { retry_at })
}

/// An attempt that failed too often fails, unless there is an order: that is kept and gone on with later, for
/// it costs nothing to keep, and a certificate that was issued must reach its Secret.
fn failed(state: &State, failure: &Failure, context: Inputs<'_>) -> Step {
    let Some(opened_at) = state.opened_at() else { return Step::Fail(failure.clone()) };
    let transient = matches!(
        failure.class,
        FailureClass::AcmeServer | FailureClass::SecretWrite | FailureClass::RateLimited
    );
    let age = context.now.since(opened_at);
    let hopeless = age >= limits::ORDER_LIFE || age >= patience(state, context);
    if !transient || (hopeless && context.observed.chain.is_none()) {
        return Step::Fail(failure.clone());
    }
    let pause = (age / 4).clamp(limits::ORDER_PAUSE, limits::ORDER_PAUSE_MAX);
    let pause = failure.retry_after.unwrap_or_default().max(pause);
    Step::Done(Requeue::At(context.now + pause))
}

pub(super) struct Evaluation<'a> {
    pub(super) state: &'a State,
    pub(super) desired: &'a DesiredCertificate,
    pub(super) context: Inputs<'a>,
}

impl Evaluation<'_> {
    fn once_more(&self, failing: &Failing) -> Step {
        let same = failing.fingerprint == self.desired.fingerprint();
        let waits = || same.then(|| still_waits(failing, self.desired, self.context)).flatten();
        let step = self.subset(failing).or_else(waits);
        step.unwrap_or_else(|| self.fresh(Some(failing)))
    }

    fn fresh(&self, failing: Option<&Failing>) -> Step {
        if let Some(step) = self.look_at_secret() {
            return step;
        }
        match self.check() {
            Ok(()) if failing.is_some() => Step::Abandon("the Secret holds a valid certificate"),
            Ok(()) => self.complete(),
            Err(_) if self.context.observed.installed == Some(self.desired.fingerprint()) => {
                match (self.complete(), failing) {
                    // a subset was installed, and the time for all names has come meanwhile.
                    (Step::Done(Requeue::AwaitChange), Some(_)) => {
                        Step::Done(Requeue::At(self.context.now + limits::BUSY_RETRY))
                    }
                    (step, _) => step,
                }
            }
            Err(reason) => self.towards_an_order(self.desired.names.clone(), failing, reason),
        }
    }

    /// The Secret is good: see to what hangs on it.
    pub(super) fn complete(&self) -> Step {
        let (secret, observed) = (self.secret(), self.context.observed);
        let owners = self.desired.owners.iter().map(|owner| owner.uid.to_string()).collect();
        let differ = secret.is_some_and(|secret| secret.ours && secret.owners != owners);
        if differ && !observed.owned {
            return Step::UpdateOwners;
        }
        if !self.desired.fill.is_empty() && !observed.filled {
            return Step::FillTls;
        }
        Step::Done(Requeue::AwaitChange)
    }

    fn before_the_order(&self, issuance: &Issuance) -> Step {
        if issuance.fingerprint != self.desired.fingerprint() {
            return Step::Abandon("the Ingress was edited");
        }
        if self.context.observed.opened.is_some() {
            return Step::OpenOrder; // it is opened; the journal is to learn of it before anything else
        }
        if let Some(step) = self.look_at_secret() {
            return step;
        }
        let Err(reason) = self.check() else {
            return Step::Abandon("the Secret holds a valid certificate");
        };
        let of_subset = (!issuance.left_out.is_empty()).then(|| self.asked_for(issuance));
        let of_subset = of_subset.and_then(|subset| self.check_for(&subset).err());
        let reason = of_subset.unwrap_or(reason);
        let (names, is_first) = (&issuance.names, issuance.directory.is_none());
        if is_first && self.is_busy_for_long() {
            return Step::Abandon("its CA is busy for long, and another one is asked");
        }
        let first = self.ready_the_routes(names, issuance.before.as_deref());
        let waiting_for_limit = || is_first.then(|| self.wait_for_limit(names, &reason)).flatten();
        first.or_else(waiting_for_limit).unwrap_or(Step::OpenOrder)
    }

    fn with_the_order(&self, issuance: &Issuance, opened_at: Timestamp) -> Step {
        let Some(order) = &self.context.observed.order else { return Step::Refresh };
        let edited = issuance.fingerprint != self.desired.fingerprint();
        let late = self.context.now.since(opened_at) >= limits::ORDER_DEADLINE;
        match &order.status {
            OrderStatus::Gone => Step::Fail(Failure::new(
                FailureClass::AcmeServer,
                "the CA no longer knows the order; a new one is opened",
            )),
            OrderStatus::Invalid(failure) => Step::Fail(failure.clone()),
            OrderStatus::Valid => self.with_the_certificate(issuance),
            _ if late => Step::Fail(overdue(opened_at)),
            OrderStatus::Processing => Step::Refresh,
            OrderStatus::Pending | OrderStatus::Ready if edited => {
                Step::Abandon("the Ingress was edited")
            }
            OrderStatus::Ready => Step::Finalize,
            OrderStatus::Pending => self.validate(issuance, order),
        }
    }

    fn validate(&self, issuance: &Issuance, order: &OrderView) -> Step {
        if order.authorizations.iter().all(|authorization| authorization.accepted) {
            // The CA may come any moment, also to a job that has begun anew.
            return if self.are_routed() { Step::Refresh } else { Step::PublishRoutes };
        }
        let first = self.ready_the_routes(&issuance.names, issuance.before.as_deref());
        first.unwrap_or(Step::Accept)
    }

    /// A certificate that was issued is installed wherever it serves, also when the desired certificate has moved on: the
    /// next look at the Secret finds what differs and asks for another.
    fn with_the_certificate(&self, issuance: &Issuance) -> Step {
        if issuance.names.is_disjoint(&self.desired.names) {
            return Step::Abandon("the Ingress was edited and shares no name with the certificate");
        }
        let Some(chain) = &self.context.observed.chain else { return Step::Download };
        let asked = self.asked_for(issuance);
        let checked = check_certificate(&chain.leaf, &asked, self.context.now);
        if let Err(reason) = checked.or_else(ignore_slow_clock) {
            let detail = format!("the CA's certificate is not used: {reason}");
            return Step::Fail(Failure::new(FailureClass::BadCertificate, detail));
        }
        // The write itself refuses what has changed since it was read: it need not be fresh.
        if self.context.observed.secret.is_none() {
            return Step::ReadSecret;
        }
        self.leave_alone().unwrap_or(Step::Install)
    }

    /// Reads the Secret where that was too long ago, and refuses one that is not ours to write.
    pub(super) fn look_at_secret(&self) -> Option<Step> {
        let desired = self.desired;
        if desired.names.len() > desired.most_names() {
            return Some(Step::Fail(too_many_names(desired)));
        }
        let Some((_, read_at)) = &self.context.observed.secret else {
            return Some(Step::ReadSecret);
        };
        if self.context.now.since(*read_at) > limits::SECRET_FRESH {
            return Some(Step::ReadSecret);
        }
        self.leave_alone()
    }

    /// What to do about a Secret that is not ours to write.
    fn leave_alone(&self) -> Option<Step> {
        let (secret, desired) = (self.secret()?, self.desired);
        let why = not_ours(secret, desired)?;
        if serves(secret, desired, self.context.now) {
            return Some(self.conclude());
        }
        let key = &desired.secret;
        let detail = format!("Secret {key} {why}; it is left as it is");
        Some(Step::Fail(Failure::new(FailureClass::Conflict, detail)))
    }

    /// A Secret of someone else's serves: whatever was in flight or remembered is dropped.
    fn conclude(&self) -> Step {
        match self.state {
            State::Idle => Step::Done(Requeue::AwaitChange),
            _ => Step::Abandon("the Secret holds a valid certificate that is not ours"),
        }
    }

    pub(super) fn secret(&self) -> Option<&SecretView> {
        self.context.observed.found()
    }

    /// The desired certificate as far as `issuance` is for it.
    fn asked_for(&self, issuance: &Issuance) -> DesiredCertificate {
        DesiredCertificate { names: issuance.names.clone(), ..self.desired.clone() }
    }

    fn check(&self) -> Result<(), IssueReason> {
        self.check_for(self.desired)
    }

    pub(super) fn check_for(&self, desired: &DesiredCertificate) -> Result<(), IssueReason> {
        let Inputs { directory, ari, installed_at, now, .. } = self.context;
        check_installed(self.secret(), desired, directory, ari, installed_at, now)
    }
}

/// A certificate that is not valid yet by our clock is one by the CA's: it is installed, not thrown away.
fn ignore_slow_clock(reason: IssueReason) -> Result<(), IssueReason> {
    match reason {
        IssueReason::NotYetValid(_) => Ok(()),
        reason => Err(reason),
    }
}
