//! One evaluation of a job: the state, the desired certificate and the inputs, with the questions
//! that rules ask.

use std::time::Duration;

use super::failing::Failing;
use super::fallback::Fallback;
use super::observed::OrderStatus;
use super::state::{Issuance, State};
use super::step::Inputs;
use crate::domain::certificate::{CertificateView, SecretView};
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::limits;
use crate::domain::time::Timestamp;
use crate::domain::validity::check::{IssueReason, Remaining, check};

/// One evaluation.
pub(super) struct Evaluation<'a> {
    pub(super) state: &'a State,
    pub(super) desired: &'a DesiredCertificate,
    pub(super) inputs: Inputs<'a>,
}

impl Evaluation<'_> {
    pub(super) fn now(&self) -> Timestamp {
        self.inputs.assessment.now
    }

    /// The Secret as read, where there is one.
    pub(super) fn secret(&self) -> Option<&SecretView> {
        self.inputs.observed.found()
    }

    /// The certificate in the Secret, also in a foreign one.
    pub(super) fn certificate(&self) -> Option<&CertificateView> {
        self.secret()?.certificate.as_ref().ok()
    }

    /// The certificate in the Secret, if the Secret is ours.
    pub(super) fn own_certificate(&self) -> Option<&CertificateView> {
        self.certificate().filter(|_| self.secret().is_some_and(|one| one.ours))
    }

    /// Whether the Secret is ours.
    pub(super) fn own_secret(&self) -> bool {
        self.secret().is_some_and(|secret| secret.ours)
    }

    /// Remaining life of the certificate, if the Secret is ours.
    pub(super) fn remaining(&self) -> Option<Remaining> {
        Some(Remaining::of(self.own_certificate()?, self.now()))
    }

    /// Checks the Secret against all desired names.
    pub(super) fn check(&self) -> Result<(), IssueReason> {
        self.check_for(self.desired)
    }

    /// Checks the Secret against another desired certificate, such as a subset of the names.
    pub(super) fn check_for(&self, desired: &DesiredCertificate) -> Result<(), IssueReason> {
        check(self.secret(), desired, &self.inputs.assessment)
    }

    /// The desired certificate with the names of `issuance` only.
    pub(super) fn requested(&self, issuance: &Issuance) -> DesiredCertificate {
        DesiredCertificate { names: issuance.names.clone(), ..self.desired.clone() }
    }

    /// Whether an edit changed the desired certificate after `issuance` began.
    pub(super) fn is_edited(&self, issuance: &Issuance) -> bool {
        issuance.fingerprint != self.desired.fingerprint()
    }

    /// Whether an edit of an Ingress, of any field, followed the last attempt.
    pub(super) fn is_edited_since(&self, failing: &Failing) -> bool {
        let edition = self.desired.edition;
        let since_start = self.inputs.first_edition.filter(|_| failing.edition.is_none());
        failing.is_edited(edition) || since_start.is_some_and(|before| before != edition)
    }

    /// Whether this job has installed the desired certificate already. The job then requests no
    /// other one, whatever the validity of the installed certificate is.
    pub(super) fn is_installed(&self) -> bool {
        self.inputs.observed.installed == Some(self.desired.fingerprint())
    }

    /// Whether the published routes are those of the desired certificate.
    pub(super) fn are_routed(&self) -> bool {
        self.inputs.observed.routes.as_ref() == Some(&self.desired.routes)
    }

    /// Whether this namespace may still bypass a rate limit for a nearly expired certificate.
    pub(super) fn may_bypass(&self) -> bool {
        self.inputs.rate_limits.may_bypass(&self.inputs.stream.namespace, self.now())
    }

    /// Start of the current busy period of the first CA.
    pub(super) fn busy_since(&self) -> Option<Timestamp> {
        self.inputs.rate_limits.busy_since(self.now())
    }

    /// Whether the first CA has been busy for so long that the fallback CA is asked.
    pub(super) fn is_busy_for_long(&self) -> bool {
        let long = |Fallback { after, is_limited, .. }: &Fallback<'_>| {
            !is_limited && self.busy_since().is_some_and(|since| since + *after <= self.now())
        };
        self.inputs.fallbacks.iter().any(long)
    }

    /// Longest time that an order without progress is kept. A fallback CA shortens the time for
    /// orders of the first CA, except for an order that may have a certificate.
    pub(super) fn order_life(&self) -> Duration {
        let is_first = self.state.issuance().is_some_and(|issuance| !issuance.is_fallback);
        let status = self.inputs.observed.order.as_ref().map(|order| &order.status);
        let unissued = !matches!(status, Some(OrderStatus::Valid | OrderStatus::Processing));
        let fallbacks = self.inputs.fallbacks.iter().filter(|_| is_first && unissued);
        fallbacks.map(|fallback| fallback.after).min().unwrap_or(limits::ORDER_LIFE)
    }
}
