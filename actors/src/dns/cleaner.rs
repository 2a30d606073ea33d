//! Cleaner of TXT records: removes those that no open order needs, also those of a process before.
//!
//! A record is journaled before it is written, and stays in the ledger until its removal is
//! journaled too. So a crash at any moment leaves no record behind.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;
use tracing::warn;

use crate::context::OperatorContext;
use crate::domain::dns::records::{Purpose, is_open};
use crate::domain::dns::txt::{TxtRecord, TxtWrite};
use crate::domain::issuance::{Command, TxtAdded};
use crate::domain::limits;
use crate::domain::time::Timestamp;
use crate::messages::StopWriting;
use crate::ports::PortError;

/// Actor that removes TXT records. One removal is in flight at a time.
pub(crate) struct TxtCleaner {
    context: Rc<OperatorContext>,
    /// Records that could not be removed, until they are.
    failed: HashMap<TxtRecord, Failed>,
    is_removing: bool,
    /// Those who wait for the end of the last removal, once no further one may begin.
    stopping: Option<Vec<oneshot::Sender<()>>>,
}

/// Removals of one record that have failed.
#[derive(Clone, Copy)]
struct Failed {
    since: Timestamp,
    pause: Duration,
    again: Timestamp,
}

impl TxtCleaner {
    /// A cleaner of the records in the ledger.
    pub(crate) fn new(context: Rc<OperatorContext>) -> Self {
        Self { context, failed: HashMap::new(), is_removing: false, stopping: None }
    }

    /// The next record to remove, with the orders that it was written for.
    fn next(&self) -> Option<(TxtRecord, BTreeSet<Purpose>)> {
        let (ledger, now) = (&self.context.ledger, self.context.clock.now());
        let needs = |(stream, order): &Purpose| ledger.with(stream, |state| is_open(state, order));
        let is_due =
            |txt: &TxtRecord| self.failed.get(txt).is_none_or(|failed| failed.again <= now);
        let is_paused = |txt: &TxtRecord| {
            let version = self.context.version_of_account(&txt.account);
            self.context.dns_pauses.error(&version, txt, now).is_some()
        };
        let txt = ledger.txt();
        let mut due = txt.unneeded(needs).filter(|(txt, _)| is_due(txt) && !is_paused(txt));
        due.next().map(|(txt, purposes)| (txt.clone(), purposes.clone()))
    }

    fn sweep(&mut self, ctx: &mut Context<Self>) {
        if self.is_removing {
            return;
        }
        if let Some(waiting) = &mut self.stopping {
            return waiting.drain(..).for_each(|stopped| _ = stopped.send(()));
        }
        if self.context.ledger.txt().is_empty() {
            return;
        }
        let Some((txt, purposes)) = self.next() else { return };
        self.is_removing = true;
        let since = self.failed.get(&txt).map(|failed| failed.since);
        let removed = remove(self.context.clone(), txt, purposes, since);
        ctx.spawn(removed.into_actor(self).map(|(txt, result), cleaner, ctx| {
            cleaner.is_removing = false;
            cleaner.removed(txt, result);
            cleaner.sweep(ctx);
        }));
    }

    fn removed(&mut self, txt: TxtRecord, result: Result<(), PortError>) {
        let Err(error) = result else {
            self.failed.remove(&txt);
            return;
        };
        let now = self.context.clock.now();
        let (shortest, longest) = limits::TXT_RETRY;
        let before = self.failed.get(&txt);
        let pause = before.map_or(shortest, |failed| (failed.pause * 2).min(longest));
        let since = before.map_or(now, |failed| failed.since);
        let account = &txt.account;
        warn!(name = %txt.name, account, %error, retry_in = ?pause, "a TXT record cannot be removed");
        self.failed.insert(txt, Failed { since, pause, again: now + pause });
    }
}

/// Removes a record, and journals that. One that could not be removed for [`limits::TXT_KEPT`] is
/// given up.
async fn remove(
    context: Rc<OperatorContext>,
    txt: TxtRecord,
    purposes: BTreeSet<Purpose>,
    failing_since: Option<Timestamp>,
) -> (TxtRecord, Result<(), PortError>) {
    let removed = context.write_txt(TxtWrite::Remove, &txt).await;
    let now = context.clock.now();
    if let Err(error) = removed {
        if failing_since.is_none_or(|since| now.since(since) < limits::TXT_KEPT) {
            return (txt, Err(error));
        }
        warn!(name = %txt.name, account = txt.account, %error, "a TXT record is given up; remove it by hand");
    }
    let written = journal_removal(&context, &txt, &purposes).await;
    (txt, written)
}

/// Journals that a record is gone. An order of it that a CA has opened again meanwhile needs the
/// record, which is then written again: the order's job may have found it in the journal before.
async fn journal_removal(
    context: &OperatorContext,
    txt: &TxtRecord,
    purposes: &BTreeSet<Purpose>,
) -> Result<(), PortError> {
    let is_needed =
        |(stream, order): &Purpose| context.ledger.with(stream, |state| is_open(state, order));
    let journal = async |(stream, order): &Purpose, command: fn(TxtAdded) -> Command| {
        let command = command(TxtAdded { order: order.clone(), txt: txt.clone() });
        let committed = context.ledger.commit(stream, command, context.clock.now()).await;
        committed.map(drop).map_err(|error| PortError::transient(error.to_string()))
    };
    for purpose in purposes {
        // Another one may have been opened while the one before was journaled.
        if !is_needed(purpose) {
            journal(purpose, Command::RemoveTxt).await?;
        }
    }
    let needing: Vec<&Purpose> = purposes.iter().filter(|purpose| is_needed(purpose)).collect();
    for purpose in &needing {
        if !context.ledger.txt().has(txt, purpose) {
            journal(purpose, Command::AddTxt).await?;
        }
    }
    if needing.is_empty() { Ok(()) } else { context.write_txt(TxtWrite::Add, txt).await }
}

impl Actor for TxtCleaner {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(limits::TXT_SWEEP, Self::sweep);
    }
}

impl Handler<StopWriting> for TxtCleaner {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: StopWriting, ctx: &mut Context<Self>) -> Self::Result {
        let (stopped, last_removed) = oneshot::channel();
        self.stopping.get_or_insert_default().push(stopped);
        self.sweep(ctx);
        Box::pin(async { last_removed.await.unwrap_or(()) })
    }
}
