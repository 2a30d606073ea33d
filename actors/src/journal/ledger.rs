//! The only path from a command to a new state: decide, append, apply, project.

use std::cell::{Ref, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use tracing::{error, info};

use crate::domain::dns::records::TxtRecords;
use crate::domain::ingress::SecretKey;
use crate::domain::issuance::{
    CertificateInstalled, Command, Event, IllegalEvent, InFlight, IssuanceAbandoned,
    IssuanceFailed, OrderOpened, RateLimitHit, Record, Refused, State, TxtAdded, apply, decide,
};
use crate::domain::limits;
use crate::domain::log::fold::fold;
use crate::domain::rate_limits::LimitHit;
use crate::domain::status::history::History;
use crate::domain::time::Timestamp;
use crate::domain::validity::check::Installed;
use crate::ports::{Journal, JournalError};
use crate::reporting::metrics::Metrics;

/// States of all event streams that are not idle, folded from the journal.
pub struct Ledger {
    journal: Rc<dyn Journal>,
    states: RefCell<BTreeMap<SecretKey, State>>,
    /// The issuances among these states, by their names.
    in_flight: RefCell<InFlight>,
    /// Last installation in each Secret: a guard against repeated orders, kept in memory only.
    installed: RefCell<HashMap<SecretKey, Installed>>,
    /// TXT records that may be in DNS, each with the orders that it was written for.
    txt: RefCell<TxtRecords>,
    /// Limit hits at the time of the replay, with the CAs' directory URLs.
    limit_hits: Vec<(String, LimitHit)>,
    /// Event streams with a record that did not fit at the replay, and why, until their users are
    /// told.
    set_aside: RefCell<BTreeMap<SecretKey, IllegalEvent>>,
    /// The last records, for people.
    history: RefCell<History>,
    metrics: Metrics,
}

/// Error of a command that changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The command does not fit the state: a bug of the caller.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The event does not fit the state: a bug of the ledger.
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
    /// The journal did not accept the event.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Ledger {
    /// Takes over the journal at `now`, and replays its records. A record that does not fit sets
    /// the issuance before it aside ([`fold`]), and stops no other event stream.
    pub async fn open(
        journal: Rc<dyn Journal>,
        metrics: Metrics,
        now: Timestamp,
    ) -> Result<Self, CommitError> {
        let (mut states, mut limit_hits) = (BTreeMap::new(), Vec::new());
        let (mut set_aside, mut history) = (BTreeMap::new(), History::default());
        let mut txt = TxtRecords::default();
        for record in journal.replay(now).await? {
            history.push(&record);
            txt.fold(&record);
            let state = states.remove(&record.stream).unwrap_or_default();
            let (state, misfit) = fold(state, &record);
            keep(&mut states, &record.stream, state);
            if let Some(illegal) = misfit {
                error!(secret = %record.stream, %illegal, "a record of the journal does not fit; the issuance before it is set aside");
                set_aside.insert(record.stream, illegal);
            }
            if let Event::RateLimitHit(RateLimitHit { directory, hit }) = record.event {
                limit_hits.push((directory, hit));
            }
        }
        info!(live = states.len(), set_aside = set_aside.len(), "replayed the journal");
        metrics.streams_set_aside(set_aside.len());
        let mut in_flight = InFlight::default();
        for (stream, state) in &states {
            in_flight.changed(stream, &State::Idle, state);
        }
        let (states, in_flight) = (RefCell::new(states), RefCell::new(in_flight));
        let (installed, set_aside) = (RefCell::default(), RefCell::new(set_aside));
        let (history, txt) = (RefCell::new(history), RefCell::new(txt));
        #[rustfmt::skip] // one line per half a dozen of fields
        let ledger = Self {
            journal, states, in_flight, installed, txt, limit_hits, set_aside, history, metrics,
        };
        Ok(ledger)
    }

    /// The last records of the event streams, those of the replay included.
    pub(crate) fn history(&self) -> Ref<'_, History> {
        self.history.borrow()
    }

    /// Whether the stream was set aside at the replay, and its users do not know yet.
    pub(crate) fn is_set_aside(&self, stream: &SecretKey) -> bool {
        self.set_aside.borrow().contains_key(stream)
    }

    /// Returns once why the stream was set aside at the replay, if it was.
    pub(crate) fn take_set_aside(&self, stream: &SecretKey) -> Option<IllegalEvent> {
        self.set_aside.borrow_mut().remove(stream)
    }

    /// Waits until all events committed so far are durable.
    pub(crate) async fn flush(&self) -> Result<(), JournalError> {
        self.journal.flush().await
    }

    /// Limit hits of the CA at `directory` when the journal was replayed, oldest first.
    pub(crate) fn limit_hits(&self, directory: &str) -> impl Iterator<Item = LimitHit> {
        let of_it = self.limit_hits.iter().filter(move |(other, _)| other == directory);
        of_it.map(|(_, hit)| hit.clone())
    }

    /// TXT records that may be in DNS.
    pub(crate) fn txt(&self) -> Ref<'_, TxtRecords> {
        self.txt.borrow()
    }

    /// Issuances under way.
    pub(crate) fn in_flight(&self) -> Ref<'_, InFlight> {
        self.in_flight.borrow()
    }

    /// Records that the issuance of `stream` asks the CA for an order.
    pub(crate) fn asks_for_order(&self, stream: &SecretKey, now: Timestamp) {
        let states = self.states.borrow();
        if let Some(issuance) = states.get(stream).and_then(State::issuance) {
            self.in_flight.borrow_mut().asks(stream, &issuance.names, now);
        }
    }

    /// Calls `look` with the state of a Secret.
    pub fn with<R>(&self, stream: &SecretKey, look: impl FnOnce(&State) -> R) -> R {
        look(self.states.borrow().get(stream).unwrap_or(&State::Idle))
    }

    /// Decides `command` to an event, appends the event, and only then changes the state. Returns
    /// the event and the state before.
    pub(crate) async fn commit(
        &self,
        stream: &SecretKey,
        command: Command,
        now: Timestamp,
    ) -> Result<(Event, State), CommitError> {
        let before = self.with(stream, State::clone);
        let event = decide(&before, command, now)?;
        let after = apply(before.clone(), &event, now)?;
        let record = Record { stream: stream.clone(), at: now, event };
        // Without a deadline here: the journal has one, and stops with it. A caller that gave up by
        // itself would decide again from a state that its own pending record may still change.
        self.journal.append(std::slice::from_ref(&record)).await?;
        if before != after {
            // Otherwise the state may have changed meanwhile: TXT records are no job's alone.
            self.in_flight.borrow_mut().changed(stream, &before, &after);
            keep(&mut self.states.borrow_mut(), stream, after);
        }
        if let Event::CertificateInstalled(CertificateInstalled { serial, .. }) = &record.event {
            self.remember_installation(stream, Installed::new(now, serial));
        }
        self.txt.borrow_mut().fold(&record);
        self.project(&record, &before);
        Ok((record.event, before))
    }

    /// Records an installation. Drops old entries when the map is full.
    fn remember_installation(&self, stream: &SecretKey, one: Installed) {
        let mut installed = self.installed.borrow_mut();
        let most = installed.capacity().max(limits::INSTALLATIONS_KEPT);
        if installed.len() >= most {
            installed.retain(|_, old| one.at.since(old.at) < limits::JUST_INSTALLED);
        }
        installed.insert(stream.clone(), one);
    }

    /// The certificate that this process last installed in the Secret; old entries may be dropped.
    pub fn installed(&self, stream: &SecretKey) -> Option<Installed> {
        self.installed.borrow().get(stream).copied()
    }

    /// Calls `look` with every event stream that is not idle and its state, in order.
    pub fn for_each_live(&self, mut look: impl FnMut(&SecretKey, &State)) {
        self.states.borrow().iter().for_each(|(stream, state)| look(stream, state));
    }

    /// Logs a journaled event, counts it in the metrics and adds it to the history.
    fn project(&self, record: &Record, before: &State) {
        let Record { stream, event, at } = record;
        self.metrics.journaled(event.name());
        self.history.borrow_mut().push(record);
        match event {
            Event::IssuanceStarted(started) => {
                info!(secret = %stream, names = started.all_names().len(), "issuance started");
            }
            Event::OrderOpened(OrderOpened { url }) => {
                info!(secret = %stream, order = %url, "order opened");
            }
            Event::CertificateInstalled(installed) => {
                let CertificateInstalled { serial, not_after, .. } = installed;
                let left_out = installed.all_left_out();
                let took =
                    before.issuance().map_or_else(Default::default, |i| at.since(i.started_at));
                info!(secret = %stream, %serial, %not_after, ?left_out, ?took, "certificate installed");
            }
            Event::IssuanceFailed(IssuanceFailed { class, detail, retry_at, .. }) => {
                self.metrics.failed(*class);
                info!(secret = %stream, class = class.label(), %detail, %retry_at, "issuance failed");
            }
            Event::RateLimitHit(RateLimitHit { hit, .. }) => {
                let LimitHit { scope, until, detail, .. } = hit;
                info!(%scope, %until, %detail, "rate limit: no orders of this scope until then");
            }
            Event::IssuanceAbandoned(IssuanceAbandoned { why }) => {
                info!(secret = %stream, %why, "issuance abandoned");
            }
            Event::TxtAdded(TxtAdded { txt, .. }) => {
                info!(secret = %stream, name = %txt.name, account = txt.account, "a TXT record is added");
            }
            Event::TxtRemoved(TxtAdded { txt, .. }) => {
                info!(secret = %stream, name = %txt.name, account = txt.account, "a TXT record is removed");
            }
        }
    }
}

fn keep(states: &mut BTreeMap<SecretKey, State>, stream: &SecretKey, state: State) {
    match state {
        State::Idle => _ = states.remove(stream),
        state => _ = states.insert(stream.clone(), state),
    }
}
