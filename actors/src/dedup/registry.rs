//! Maps an Ingress to its dedup actor. Only Ingresses with work have one.

use std::cell::Cell;
use std::rc::Rc;

use actix::prelude::*;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry as MapEntry;

use crate::dedup::actor::{Dedup, DedupDependencies};
use crate::domain::ingress::IngressKey;
use crate::domain::scheduling::dedup::Phase;
use crate::domain::scheduling::reconcile_key::ReconcileKey;
use crate::messages::Changed;
use crate::reporting::metrics::{Metrics, Source};

/// Registry of dedup actors. Counts the events sent to each, so that an actor retires without
/// losing one.
pub struct Registry {
    entries: DashMap<ReconcileKey, DedupHandle>,
    downstream: DedupDependencies,
    metrics: Metrics,
}

struct DedupHandle {
    addr: Addr<Dedup>,
    /// Number of events accepted by the mailbox.
    sent: u64,
    /// Phase of the actor, for the state dump.
    phase: Rc<Cell<Phase>>,
}

impl Registry {
    /// Creates an empty registry, whose actors send their requests to `downstream`.
    pub fn new(downstream: DedupDependencies, metrics: Metrics) -> Rc<Self> {
        Rc::new(Self { entries: DashMap::new(), downstream, metrics })
    }

    /// Sends an event to the dedup actor of `key`, and starts the actor if necessary.
    ///
    /// A full mailbox holds an unhandled event of the same key, with which this one is coalesced.
    pub fn notify(self: &Rc<Self>, key: &ReconcileKey, source: Source) {
        self.metrics.event(source);
        if let Some(mut entry) = self.entries.get_mut(key) {
            match entry.addr.try_send(Changed) {
                Ok(()) => entry.sent += 1,
                Err(SendError::Full(_)) => self.metrics.event_coalesced(),
                Err(SendError::Closed(_)) => *entry = self.start(key),
            }
            return;
        }
        let entry = self.start(key);
        self.entries.insert(key.clone(), entry);
        self.metrics.dedup_actors(self.entries.len());
    }

    fn start(self: &Rc<Self>, key: &ReconcileKey) -> DedupHandle {
        let phase = Rc::new(Cell::new(Phase::Idle));
        let dedup = Dedup::new(key.clone(), self.downstream.clone(), self.clone(), phase.clone());
        let addr = dedup.start();
        let sent = u64::from(addr.try_send(Changed).is_ok());
        DedupHandle { addr, sent, phase }
    }

    /// Removes an idle actor that has handled `handled` events. Returns `false` if another event is
    /// on the way to the actor.
    pub(crate) fn retire(&self, key: &ReconcileKey, handled: u64) -> bool {
        let MapEntry::Occupied(slot) = self.entries.entry(key.clone()) else { return true };
        if slot.get().sent > handled {
            return false;
        }
        slot.remove();
        self.metrics.dedup_actors(self.entries.len());
        true
    }

    /// Counts an event that a dedup actor has coalesced.
    pub fn coalesced(&self) {
        self.metrics.event_coalesced();
    }

    /// Number of live dedup actors.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no dedup actor is live.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Phase of the actor of `key`, if live.
    pub fn phase(&self, key: &IngressKey) -> Option<Phase> {
        let key = ReconcileKey::Ingress(key.clone());
        self.entries.get(&key).map(|entry| entry.phase.get())
    }

    /// Phase of each live actor.
    pub fn phases(&self) -> Vec<(ReconcileKey, Phase)> {
        self.entries.iter().map(|entry| (entry.key().clone(), entry.phase.get())).collect()
    }
}
