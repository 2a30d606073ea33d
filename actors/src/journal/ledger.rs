//! The one way from a command to a new state: decide, append, apply, project. Nothing bypasses it.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use tracing::info;

use crate::domain::ingress::SecretKey;
use crate::domain::issuance::{
    CertificateInstalled, Command, Event, IllegalEvent, IssuanceAbandoned, IssuanceFailed,
    OrderOpened, RateLimitHit, Record, Refused, State, apply, decide,
};
use crate::domain::limits;
use crate::domain::rate_limits::LimitHit;
use crate::domain::time::Timestamp;
use crate::ports::{Journal, JournalError};
use crate::reporting::metrics::Metrics;

/// All streams that are not idle, as the fold of the journal.
pub struct Ledger {
    journal: Rc<dyn Journal>,
    states: RefCell<BTreeMap<SecretKey, State>>,
    /// When certificates were installed lately: a guard against asking again and again, kept in memory only.
    installed: RefCell<HashMap<SecretKey, Timestamp>>,
    /// What the CAs had closed when the journal was replayed, with their directories.
    limit_hits: Vec<(String, LimitHit)>,
    metrics: Metrics,
}

/// Why a command changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The command does not fit the state: a bug of the caller.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The event does not fit the state: a bug here, or a damaged journal.
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
    /// The journal did not take it.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Ledger {
    /// Replays the journal.
    pub async fn open(journal: Rc<dyn Journal>, metrics: Metrics) -> Result<Self, CommitError> {
        let (mut states, mut limit_hits) = (BTreeMap::new(), Vec::new());
        for record in journal.replay().await? {
            let state = states.remove(&record.stream).unwrap_or_default();
            keep(&mut states, &record.stream, apply(state, &record.event, record.at)?);
            if let Event::RateLimitHit(RateLimitHit { directory, hit }) = record.event {
                limit_hits.push((directory, hit));
            }
        }
        info!(live = states.len(), "replayed the journal");
        let (states, installed) = (RefCell::new(states), RefCell::default());
        Ok(Self { journal, states, installed, limit_hits, metrics })
    }

    /// What the CA at `directory` had closed when the journal was replayed, oldest first.
    pub fn limit_hits(&self, directory: &str) -> impl Iterator<Item = LimitHit> {
        let of_it = self.limit_hits.iter().filter(move |(other, _)| other == directory);
        of_it.map(|(_, hit)| hit.clone())
    }

    /// Looks at a stream's state.
    pub fn with<R>(&self, stream: &SecretKey, look: impl FnOnce(&State) -> R) -> R {
        look(self.states.borrow().get(stream).unwrap_or(&State::Idle))
    }

    /// Makes `command` an event, appends it, and only then changes the state. Returns the event and the state
    /// it met.
    pub async fn commit(
        &self,
        stream: &SecretKey,
        command: Command,
        now: Timestamp,
    ) -> Result<(Event, State), CommitError> {
        let before = self.with(stream, State::clone);
        let event = decide(&before, command, now)?;
        let after = apply(before.clone(), &event, now)?;
        let record = Record { stream: stream.clone(), at: now, event };
        let append = self.journal.append(std::slice::from_ref(&record));
        let unanswered = || JournalError::Unavailable("no answer in time".to_owned());
        tokio::time::timeout(limits::JOURNAL_CALL, append).await.map_err(|_| unanswered())??;
        keep(&mut self.states.borrow_mut(), stream, after);
        if matches!(record.event, Event::CertificateInstalled(_)) {
            self.remember_installation(stream, now);
        }
        self.project(&record, &before);
        Ok((record.event, before))
    }

    /// Those of long ago are forgotten when there are many.
    fn remember_installation(&self, stream: &SecretKey, now: Timestamp) {
        let mut installed = self.installed.borrow_mut();
        if installed.len() >= installed.capacity() {
            installed.retain(|_, at| now.since(*at) < limits::JUST_INSTALLED);
        }
        installed.insert(stream.clone(), now);
    }

    /// When this process last installed a certificate for the stream; forgotten after a while.
    pub fn installed_at(&self, stream: &SecretKey) -> Option<Timestamp> {
        self.installed.borrow().get(stream).copied()
    }

    /// Streams of `namespace` that are not idle.
    pub fn live_in(&self, namespace: &Arc<str>) -> Vec<SecretKey> {
        let first = SecretKey { namespace: namespace.clone(), name: "".into() };
        let states = self.states.borrow();
        let within = states.range(first..).take_while(|(key, _)| key.namespace == *namespace);
        within.map(|(key, _)| key.clone()).collect()
    }

    /// All streams that are not idle, with their states, in order.
    pub fn for_each_live(&self, mut look: impl FnMut(&SecretKey, &State)) {
        self.states.borrow().iter().for_each(|(stream, state)| look(stream, state));
    }

    /// Each event is logged and counted here and nowhere else.
    fn project(&self, record: &Record, before: &State) {
        let Record { stream, event, at } = record;
        self.metrics.journaled(event.name());
        match event {
            Event::IssuanceStarted(started) => {
                info!(secret = %stream, names = started.names.len(), "issuance started");
            }
            Event::OrderOpened(OrderOpened { url }) => {
                info!(secret = %stream, %url, "order opened")
            }
            Event::CertificateInstalled(CertificateInstalled { serial, not_after, left_out }) => {
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
                info!(%scope, %until, %detail, "no such orders are sent for some time");
            }
            Event::IssuanceAbandoned(IssuanceAbandoned { why }) => {
                info!(secret = %stream, %why, "issuance abandoned")
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
