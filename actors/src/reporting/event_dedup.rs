//! Tells each user once what of an Ingress cannot be served, and remembers that it did.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::desired::index::Index;
use crate::domain::hash::stable_hash;
use crate::domain::ingress::{IngressKey, IngressRef};
use crate::domain::status::kube_event::KubeEvent;
use crate::ports::EventRecorder;

/// What was told, by Ingress: the hash of the last notice.
pub struct EventDedup {
    event_recorder: Rc<dyn EventRecorder>,
    reported: RefCell<HashMap<IngressKey, u64>>,
}

impl EventDedup {
    /// Nothing told yet.
    pub fn new(event_recorder: Rc<dyn EventRecorder>) -> Self {
        Self { event_recorder, reported: RefCell::default() }
    }

    /// Whether there is something to tell that was not.
    pub fn has_unreported_problem(&self, index: &Index, key: &IngressKey) -> bool {
        notice(index, key).is_some_and(|(_, kube_event)| !self.was_told(key, &kube_event))
    }

    /// Tells what there is to tell of this Ingress, once; forgets one that is fine or gone.
    pub fn tell(&self, index: &Index, key: &IngressKey) {
        let Some((about, kube_event)) = notice(index, key) else {
            self.reported.borrow_mut().remove(key);
            return;
        };
        if !self.was_told(key, &kube_event) {
            self.reported.borrow_mut().insert(key.clone(), stable_hash(&kube_event));
            self.event_recorder.record(&about, kube_event);
        }
    }

    /// Tells all Ingresses that a desired certificate comes from.
    pub fn record(&self, desired: &DesiredCertificate, kube_event: &KubeEvent) {
        for owner in &desired.owners {
            self.event_recorder.record(owner, kube_event.clone());
        }
    }

    fn was_told(&self, key: &IngressKey, kube_event: &KubeEvent) -> bool {
        self.reported.borrow().get(key) == Some(&stable_hash(kube_event))
    }
}

fn notice(index: &Index, key: &IngressKey) -> Option<(IngressRef, KubeEvent)> {
    let kube_event = KubeEvent::skipped(index.problems(key)?)?;
    Some((index.view(key)?.reference(), kube_event))
}
