//! Maps an Ingress to its dedup actor. Only Ingresses with work have one; of an Ingress that waits
//! for its requeue or for an actor, only the key and the time are kept.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use actix::prelude::*;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry as MapEntry;
use tokio::task::JoinHandle;

use crate::dedup::actor::{Dedup, DedupDependencies};
use crate::domain::ingress::IngressKey;
use crate::domain::limits;
use crate::domain::scheduling::actor_slots::ActorSlots;
use crate::domain::scheduling::dedup::{Burst, Phase};
use crate::domain::scheduling::reconcile_key::ReconcileKey;
use crate::domain::time::Timestamp;
use crate::messages::Changed;
use crate::reporting::metrics::{Metrics, Source};

/// Registry of dedup actors. Counts the events sent to each, so that an actor retires without
/// losing one.
pub struct Registry {
    entries: DashMap<ReconcileKey, DedupHandle>,
    waiting: RefCell<Waiting>,
    slots: RefCell<ActorSlots>,
    downstream: DedupDependencies,
    metrics: Metrics,
}

struct DedupHandle {
    addr: Addr<Dedup>,
    /// Number of events accepted by the mailbox.
    sent: u64,
    /// Arrival of the first event that no request to the pool has followed yet.
    noticed: Option<Timestamp>,
    /// Phase of the actor, for the state dump.
    phase: Rc<Cell<Phase>>,
}

/// Ingresses without an actor that wait for their requeue.
#[derive(Default)]
struct Waiting {
    until: HashMap<ReconcileKey, Timestamp>,
    due: BTreeSet<(Timestamp, ReconcileKey)>,
    /// Timer of the first one.
    timer: Option<(Timestamp, JoinHandle<()>)>,
}

impl Waiting {
    fn add(&mut self, key: ReconcileKey, until: Timestamp) {
        self.until.insert(key.clone(), until);
        self.due.insert((until, key));
    }

    fn remove(&mut self, key: &ReconcileKey) {
        if let Some(until) = self.until.remove(key) {
            self.due.remove(&(until, key.clone()));
        }
    }

    fn first(&self) -> Option<Timestamp> {
        self.due.first().map(|(until, _)| *until)
    }

    fn take_due(&mut self, now: Timestamp) -> Option<(Timestamp, ReconcileKey)> {
        if self.first()? > now {
            return None;
        }
        let due = self.due.pop_first()?;
        self.until.remove(&due.1);
        Some(due)
    }
}

impl Registry {
    /// Creates an empty registry, whose actors send their requests to `downstream`.
    pub fn new(downstream: DedupDependencies, metrics: Metrics) -> Rc<Self> {
        let (waiting, slots) = (RefCell::default(), RefCell::default());
        Rc::new(Self { entries: DashMap::new(), waiting, slots, downstream, metrics })
    }

    /// Sends an event to the dedup actor of `key`, and starts the actor if necessary. New and
    /// edited Ingresses wait for an actor where their namespace has many.
    ///
    /// A full mailbox holds an unhandled event of the same key, with which this one is coalesced.
    pub fn notify(self: &Rc<Self>, key: &ReconcileKey, source: Source) {
        self.metrics.event(source);
        let now = || self.downstream.clock.now();
        if let Some(mut entry) = self.entries.get_mut(key) {
            let noticed = *entry.noticed.get_or_insert_with(now);
            match entry.addr.try_send(Changed) {
                Ok(()) => entry.sent += 1,
                Err(SendError::Full(_)) => self.metrics.event_coalesced(),
                Err(SendError::Closed(_)) => *entry = self.start_with_event(key, noticed),
            }
            return;
        }
        self.waiting.borrow_mut().remove(key);
        if let Some(noticed) = self.take_slot(key, source, now()) {
            let entry = self.start_with_event(key, noticed);
            self.entries.insert(key.clone(), entry);
        }
        self.metrics.dedup_actors(self.len());
    }

    /// Takes the arrival of the first event since the last request to the pool; `None` for a
    /// requeue.
    pub(crate) fn take_noticed(&self, key: &ReconcileKey) -> Option<Timestamp> {
        self.entries.get_mut(key)?.noticed.take()
    }

    /// Takes the place of a new actor of `key`, if it starts now. Returns the time of the first
    /// event. Only a scan or a check finds what is urgent, so these never wait.
    fn take_slot(&self, key: &ReconcileKey, source: Source, now: Timestamp) -> Option<Timestamp> {
        let mut slots = self.slots.borrow_mut();
        let waits = slots.waits_since(key).is_some();
        if waits {
            self.metrics.event_coalesced();
        }
        match source {
            Source::Watch if waits => None,
            Source::Watch => slots.start_or_wait(key, now).then_some(now),
            Source::Scan | Source::Check => Some(slots.start(key).unwrap_or(now)),
        }
    }

    /// Starts an actor with an event, the first of which arrived at `noticed`.
    fn start_with_event(self: &Rc<Self>, key: &ReconcileKey, noticed: Timestamp) -> DedupHandle {
        let mut entry = self.start(key, None);
        entry.sent = u64::from(entry.addr.try_send(Changed).is_ok());
        entry.noticed = Some(noticed);
        entry
    }

    fn start(self: &Rc<Self>, key: &ReconcileKey, due: Option<Timestamp>) -> DedupHandle {
        let phase = Rc::new(Cell::new(Phase::Idle));
        let (downstream, registry) = (self.downstream.clone(), self.clone());
        let addr = Dedup::new(key.clone(), downstream, registry, phase.clone(), due).start();
        DedupHandle { addr, sent: 0, noticed: None, phase }
    }

    /// Removes an actor without work that has handled `handled` events; another one starts at
    /// `until`, if given. Returns `false` if another event is on the way to the actor.
    pub(crate) fn retire(
        self: &Rc<Self>,
        key: &ReconcileKey,
        handled: u64,
        until: Option<Timestamp>,
    ) -> bool {
        let MapEntry::Occupied(slot) = self.entries.entry(key.clone()) else { return true };
        if slot.get().sent > handled {
            return false;
        }
        slot.remove();
        if let Some(until) = until {
            self.waiting.borrow_mut().add(key.clone(), until);
            self.set_timer();
        }
        let next = self.slots.borrow_mut().end(key);
        for (key, noticed) in next {
            let entry = self.start_with_event(&key, noticed);
            self.entries.insert(key, entry);
        }
        self.metrics.dedup_actors(self.len());
        true
    }

    /// Sets the timer for the first requeue. The delay is capped, so that a clock that is set back
    /// cannot block the keys.
    fn set_timer(self: &Rc<Self>) {
        let now = self.downstream.clock.now();
        let mut waiting = self.waiting.borrow_mut();
        let Some(first) = waiting.first() else { return };
        if waiting.timer.as_ref().is_some_and(|(armed, _)| *armed <= first) {
            return;
        }
        if let Some((_, timer)) = waiting.timer.take() {
            timer.abort();
        }
        let (pause, registry) = (first.since(now).min(limits::IN_FLIGHT_MAX), Rc::downgrade(self));
        let timer = actix::spawn(async move {
            actix::clock::sleep(pause).await;
            if let Some(registry) = registry.upgrade() {
                registry.start_due();
            }
        });
        waiting.timer = Some((first, timer));
    }

    /// Starts an actor for each Ingress whose requeue is due.
    fn start_due(self: &Rc<Self>) {
        let now = self.downstream.clock.now();
        self.waiting.borrow_mut().timer = None;
        loop {
            let due = self.waiting.borrow_mut().take_due(now);
            let Some((until, key)) = due else { break };
            self.slots.borrow_mut().start(&key);
            let entry = self.start(&key, Some(until));
            self.entries.insert(key, entry);
        }
        self.set_timer();
        self.metrics.dedup_actors(self.len());
    }

    /// Counts an event that a dedup actor has coalesced.
    pub fn coalesced(&self) {
        self.metrics.event_coalesced();
    }

    /// Number of Ingresses with work, or with a requeue to come.
    pub fn len(&self) -> usize {
        let without = self.waiting.borrow().until.len() + self.slots.borrow().waiting().len();
        self.entries.len() + without
    }

    /// Whether no Ingress has work or a requeue to come.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Phase of the Ingress `key`, if there is work or a requeue to come.
    pub fn phase(&self, key: &IngressKey) -> Option<Phase> {
        let key = ReconcileKey::Ingress(key.clone());
        let live = self.entries.get(&key).map(|entry| entry.phase.get());
        let waits = |until: &Timestamp| Phase::Waiting { until: *until };
        live.or_else(|| self.waiting.borrow().until.get(&key).map(waits))
            .or_else(|| self.slots.borrow().waits_since(&key).map(settling))
    }

    /// Phase of each Ingress with work, or with a requeue to come.
    pub fn phases(&self) -> Vec<(ReconcileKey, Phase)> {
        let live = self.entries.iter().map(|entry| (entry.key().clone(), entry.phase.get()));
        let (waiting, slots) = (self.waiting.borrow(), self.slots.borrow());
        let waits = |(key, until): (&ReconcileKey, &Timestamp)| {
            (key.clone(), Phase::Waiting { until: *until })
        };
        let without = slots.waiting().map(|(key, since)| (key.clone(), settling(since)));
        live.chain(waiting.until.iter().map(waits)).chain(without).collect()
    }
}

/// Phase of an Ingress that waits for an actor.
fn settling(since: Timestamp) -> Phase {
    Phase::Settling(Burst::since(since))
}
