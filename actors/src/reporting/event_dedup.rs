//! Event deduplication: records a Kubernetes Event once for the problems of an Ingress, and
//! remembers the Event.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tracing::warn;

use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::desired::index::Index;
use crate::domain::hash::stable_hash;
use crate::domain::ingress::{IngressKey, IngressRef, SecretKey};
use crate::domain::issuance::OverIpv6;
use crate::domain::name::DnsName;
use crate::domain::said::Said;
use crate::domain::status::kube_event::KubeEvent;
use crate::ports::EventRecorder;

/// Recorder of Kubernetes Events, with the hash of the last Event about the problems of each
/// Ingress.
pub(crate) struct EventDedup {
    event_recorder: Rc<dyn EventRecorder>,
    reported: RefCell<HashMap<IngressKey, u64>>,
    /// Hash of the last Event about each Secret that serves and is somebody else's.
    foreign: RefCell<HashMap<SecretKey, u64>>,
    /// Hash of the last Event about each host that leads elsewhere over IPv6.
    over_ipv6: RefCell<HashMap<(SecretKey, DnsName), u64>>,
    /// Last Event about each order that is kept for later.
    held_up: RefCell<HashMap<SecretKey, KubeEvent>>,
    /// Changes beside a good certificate that could not be made.
    left_undone: RefCell<Said<(SecretKey, String)>>,
}

impl EventDedup {
    /// Creates the deduplication with no Event recorded yet.
    pub(crate) fn new(event_recorder: Rc<dyn EventRecorder>) -> Self {
        let (reported, foreign, over_ipv6, held_up, left_undone) = Default::default();
        Self { event_recorder, reported, foreign, over_ipv6, held_up, left_undone }
    }

    /// Whether the Ingress has a problem without a recorded Event.
    pub(crate) fn has_unreported_problem(&self, index: &Index, key: &IngressKey) -> bool {
        let known = !index.has_undecided_hosts(key);
        problem_event(index, key)
            .filter(|_| known)
            .is_some_and(|(_, kube_event)| !self.was_reported(key, &kube_event))
    }

    /// Records an Event about the problems of this Ingress, once. Forgets an Ingress that has none,
    /// or is gone.
    pub(crate) fn report(&self, index: &Index, key: &IngressKey) {
        if index.has_undecided_hosts(key) {
            return; // a step of a job finds out, and reports then
        }
        let Some((about, kube_event)) = problem_event(index, key) else {
            self.reported.borrow_mut().remove(key);
            return;
        };
        if !self.was_reported(key, &kube_event) {
            self.reported.borrow_mut().insert(key.clone(), stable_hash(&kube_event));
            self.event_recorder.record(&about, kube_event);
        }
    }

    /// Records an Event for each owner of a desired certificate.
    pub(crate) fn record(&self, desired: &DesiredCertificate, kube_event: &KubeEvent) {
        for owner in &desired.owners {
            self.event_recorder.record(owner, kube_event.clone());
        }
    }

    /// Records an Event about one Ingress.
    pub(crate) fn record_on(&self, ingress: &IngressRef, kube_event: KubeEvent) {
        self.event_recorder.record(ingress, kube_event);
    }

    /// Records the Event of a state that lasts once more.
    pub(crate) fn repeat(&self, ingress: &IngressRef, kube_event: KubeEvent) {
        self.event_recorder.repeat(ingress, kube_event);
    }

    /// Records an Event about an order that is kept for later, once for each text until
    /// [`forget_held_up`](Self::forget_held_up).
    pub(crate) fn report_held_up(&self, desired: &DesiredCertificate, kube_event: &KubeEvent) {
        let before = self.held_up.borrow_mut().insert(desired.secret.clone(), kube_event.clone());
        if before.as_ref() != Some(kube_event) {
            self.record(desired, kube_event);
        }
    }

    /// Last Event about the order of a Secret, if it is kept for later.
    pub(crate) fn held_up(&self, secret: &SecretKey) -> Option<KubeEvent> {
        self.held_up.borrow().get(secret).cloned()
    }

    /// Forgets an order that goes on or has ended.
    pub(crate) fn forget_held_up(&self, secret: &SecretKey) {
        self.held_up.borrow_mut().remove(secret);
    }

    /// Records an Event about `what` that could not be updated: each time, because the API server
    /// drops Events after an hour. The log has it once for each text.
    pub(crate) fn report_left_undone(
        &self,
        desired: &DesiredCertificate,
        what: &str,
        detail: &str,
    ) {
        let about = (desired.secret.clone(), what.to_owned());
        if self.left_undone.borrow_mut().is_news(about, detail) {
            warn!(secret = %desired.secret, detail, "{what} could not be updated");
        }
        self.record(desired, &KubeEvent::left_undone(what, detail));
    }

    /// Forgets a failed update of `what`, which has succeeded.
    pub(crate) fn forget_left_undone(&self, secret: &SecretKey, what: &str) {
        self.left_undone.borrow_mut().has_ended(&(secret.clone(), what.to_owned()));
    }

    /// Records an Event about a Secret of somebody else that serves, once for each text.
    pub(crate) fn report_foreign(
        &self,
        index: &Index,
        desired: &DesiredCertificate,
        kube_event: &KubeEvent,
    ) {
        let hash = stable_hash(kube_event);
        let mut reported = self.foreign.borrow_mut();
        if reported.insert(desired.secret.clone(), hash) == Some(hash) {
            return;
        }
        if reported.len().is_power_of_two() {
            reported.retain(|secret, _| index.is_wanted(secret)); // seldom, as it reads all
        }
        drop(reported);
        warn!(secret = %desired.secret, note = kube_event.note, "a Secret of somebody else");
        self.record(desired, kube_event);
    }

    /// Records an Event about a host that leads elsewhere over IPv6, once for each text until the
    /// host is reached over IPv6.
    pub(crate) fn report_over_ipv6(
        &self,
        index: &Index,
        desired: &DesiredCertificate,
        host: &DnsName,
        found: &OverIpv6,
    ) {
        let (mut reported, key) =
            (self.over_ipv6.borrow_mut(), (desired.secret.clone(), host.clone()));
        let Some(kube_event) = KubeEvent::differs_over_ipv6(host, found) else {
            if !matches!(found, OverIpv6::Silent(_)) {
                reported.remove(&key);
            }
            return;
        };
        let hash = stable_hash(&kube_event);
        if reported.insert(key, hash) == Some(hash) {
            return;
        }
        if reported.len().is_power_of_two() {
            reported.retain(|(secret, _), _| index.is_wanted(secret)); // seldom, as it reads all
        }
        drop(reported);
        self.record(desired, &kube_event);
    }

    /// Forgets a Secret about which there is nothing to say any more.
    pub(crate) fn forget_foreign(&self, secret: &SecretKey) {
        self.foreign.borrow_mut().remove(secret);
    }

    fn was_reported(&self, key: &IngressKey, kube_event: &KubeEvent) -> bool {
        self.reported.borrow().get(key) == Some(&stable_hash(kube_event))
    }
}

fn problem_event(index: &Index, key: &IngressKey) -> Option<(IngressRef, KubeEvent)> {
    let kube_event = KubeEvent::skipped(&index.problems(key)?)?;
    Some((index.view(key)?.reference(), kube_event))
}
