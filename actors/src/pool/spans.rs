//! Spans of the jobs under way. One span of a job, from its first step to its end, so that each log
//! line names the Ingress, and an issuance is one trace.

use std::cell::RefCell;
use std::collections::HashMap;

use tracing::field::Empty;
use tracing::{Span, debug_span, error_span};

use crate::domain::ingress::SecretKey;
use crate::domain::issuance::{State, Step};
use crate::domain::limits;
use crate::domain::scheduling::reconcile_key::ReconcileKey;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::scheduling::scheduler::{Job, JobStatus, WaitsFor};

/// Spans of the jobs that run or wait for a CA or a host.
#[derive(Default)]
pub(super) struct JobSpans(RefCell<HashMap<SecretKey, Open>>);

/// Open spans of a job.
struct Open {
    issuance: Span,
    /// The time in which the CA validates names or makes the certificate, which takes many steps.
    at_ca: Span,
}

impl JobSpans {
    /// The span of a job that a worker takes: a new one, or that of before its wait. `state` is the
    /// journaled one.
    pub(super) fn of(&self, job: &Job, state: &State) -> Span {
        let mut open = self.0.borrow_mut();
        let kept = open.remove(&job.stream);
        let kept =
            kept.unwrap_or_else(|| Open { issuance: begin(job, state), at_ca: Span::none() });
        let issuance = kept.issuance.clone();
        if !issuance.is_disabled() {
            open.insert(job.stream.clone(), kept);
        }
        issuance
    }

    /// Records that the job is about to take this step. Returns the span of the step; a look at an
    /// order has none, because there are many.
    pub(super) fn step(&self, stream: &SecretKey, step: &Step) -> Span {
        if matches!(step, Step::Refresh) {
            return Span::none();
        }
        if let Some(open) = self.0.borrow_mut().get_mut(stream) {
            open.at_ca = Span::none();
        }
        let name = step.name();
        debug_span!("step", otel.name = name, step = name)
    }

    /// Records that the job has taken a step with this name, and has this order.
    pub(super) fn stepped(
        &self,
        stream: &SecretKey,
        name: &str,
        order: impl Fn() -> Option<String>,
    ) {
        let mut open = self.0.borrow_mut();
        let Some(Open { issuance, at_ca }) = open.get_mut(stream) else { return };
        match name {
            "open_order" => {
                if let Some(order) = order() {
                    issuance.record("order", order);
                }
            }
            "accept" => {
                *at_ca = debug_span!(parent: &*issuance, "at_ca", otel.name = "validation");
            }
            "finalize" => {
                *at_ca = debug_span!(parent: &*issuance, "at_ca", otel.name = "issuing");
            }
            _ => {}
        }
    }

    /// Ends the spans of a job that its worker returns, or keeps them while the job waits.
    pub(super) fn returned(&self, job: &Job, status: JobStatus) {
        let mut open = self.0.borrow_mut();
        let is_kept = match status {
            JobStatus::Parked { waits_for: WaitsFor::Ca, .. } => true,
            JobStatus::Parked { waits_for: WaitsFor::Host, .. } => open.len() <= limits::SPANS_KEPT,
            JobStatus::Parked { waits_for: WaitsFor::Others | WaitsFor::NewOrders, .. }
            | JobStatus::Finished(_) => false,
        };
        if is_kept {
            return;
        }
        let Some(Open { issuance, .. }) = open.remove(&job.stream) else { return };
        let is_installed = job.observed.installed.is_some();
        let outcome = match status {
            JobStatus::Parked { .. } => "waits",
            JobStatus::Finished(Requeue::AwaitChange) if is_installed => "installed",
            JobStatus::Finished(Requeue::AwaitChange) => "unchanged",
            JobStatus::Finished(Requeue::At(_) | Requeue::Busy) => {
                issuance.record("otel.status_code", "ERROR");
                "failed"
            }
        };
        issuance.record("outcome", outcome);
    }
}

/// Begins the span of a job. Its level is the highest, so that also the lines of a log that has
/// errors only name their Ingress.
fn begin(job: &Job, state: &State) -> Span {
    let attempt = state.failing().map_or(0, |failing| failing.attempts).saturating_add(1);
    let span = error_span!(
        "issuance", ingress = Empty, secret = %job.stream, attempt, order = Empty,
        outcome = Empty, otel.status_code = Empty,
    );
    if let ReconcileKey::Ingress(ingress) = &job.requested_by {
        span.record("ingress", tracing::field::display(ingress));
    }
    if let State::Ordered { url, .. } = state {
        span.record("order", url.as_str());
    }
    span
}
