//! State of the model: the log, two processes and a CA, with the steps that each may take.

mod job;
mod journal;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use ingress_acme_actors::domain::issuance::{Record, State};
use ingress_acme_actors::domain::log::fence::CreateAnswer;
use ingress_acme_actors::domain::log::fold::fold;
use ingress_acme_actors::domain::log::segment::{Replay, Segment, SegmentKind, replay};

use super::interned::{Id, Interned};

/// Number of each fault that may still happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Budget {
    /// Starts of a process.
    pub(crate) starts: u8,
    /// Lost answers of the API server or the CA.
    pub(crate) losses: u8,
    /// Appends without a result in time.
    pub(crate) timeouts: u8,
    /// Crashes.
    pub(crate) crashes: u8,
    /// Orders that the CA refuses.
    pub(crate) refusals: u8,
    /// Take-overs that read the log once more. No fault, but two of them could do so for ever: the
    /// operator gives up after a few.
    pub(crate) reads_again: u8,
}

/// Rules of the operator. The default is what the operator does.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one rule to break")]
pub(crate) struct Rules {
    /// An append without a result in time stops the journal.
    pub(crate) stops_at_a_timeout: bool,
    /// A writer compares the stored segment where its number exists.
    pub(crate) compares: bool,
    /// A new leader writes a fence.
    pub(crate) fences: bool,
    /// A new leader lists the log again after its fence.
    pub(crate) lists_again: bool,
    /// A record that does not fit is a violation.
    pub(crate) misfits_count: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            stops_at_a_timeout: true,
            compares: true,
            fences: true,
            lists_again: true,
            misfits_count: true,
        }
    }
}

/// The whole world.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct World {
    /// Stored segments.
    pub(crate) log: BTreeMap<u64, Id<Segment>>,
    /// Every segment that was ever stored.
    pub(crate) ever: BTreeMap<u64, Id<Segment>>,
    /// A number was created again with other records.
    pub(crate) reused: bool,
    /// Writes whose sender no longer waits, and which may still be performed.
    pub(crate) late: BTreeSet<(u64, Id<Segment>)>,
    /// Both processes.
    pub(crate) processes: [Process; 2],
    /// Number of orders at the CA.
    pub(crate) orders: u8,
    /// Orders with a certificate.
    pub(crate) issued: BTreeSet<u8>,
    /// Order of the certificate in the Secret.
    pub(crate) secret: Option<u8>,
    /// Records of which a job was told that they are durable.
    pub(crate) acknowledged: BTreeSet<Id<Record>>,
    /// Number of keys made so far.
    pub(crate) keys: u8,
    /// Number of starts so far.
    pub(crate) terms: u8,
    /// Faults that may still happen.
    pub(crate) left: Budget,
}

/// A process.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Process {
    /// It does not run.
    Down,
    /// It has listed the numbers of all segments.
    Listed(Vec<u64>),
    /// It takes over, or leads.
    Up(Leader),
}

/// A process that takes over or leads.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Leader {
    /// Number of the term, in the name of the writer.
    pub(crate) term: u8,
    /// Number of the next segment.
    pub(crate) next: u64,
    /// The log as this process knows it.
    pub(crate) known: BTreeMap<u64, Id<Segment>>,
    /// The take-over is complete.
    pub(crate) leads: bool,
    /// Number of the durable fence, before the second list.
    pub(crate) fence: Option<u64>,
    /// State of the ledger.
    pub(crate) state: Id<State>,
    /// Appended records for the next write.
    pub(crate) pending: Vec<Id<Record>>,
    /// The write in flight, and whether an attempt had an unknown result.
    pub(crate) write: Option<(Id<Segment>, bool)>,
    /// The record that the job awaits, and the state after it.
    pub(crate) awaited: Option<(Id<Record>, Id<State>)>,
    /// The order that the job has opened and not journaled yet.
    pub(crate) opened: Option<u8>,
    /// The job has finalized its order.
    pub(crate) finalized: bool,
    /// Segments to delete.
    pub(crate) obsolete: Vec<u64>,
}

impl World {
    /// Nothing is stored, and nobody runs.
    pub(crate) fn new(left: Budget) -> Self {
        Self {
            log: BTreeMap::new(),
            ever: BTreeMap::new(),
            reused: false,
            late: BTreeSet::new(),
            processes: [Process::Down, Process::Down],
            orders: 0,
            issued: BTreeSet::new(),
            secret: None,
            acknowledged: BTreeSet::new(),
            keys: 0,
            terms: 0,
            left,
        }
    }

    /// The violated property, if any.
    pub(crate) fn violation(&self, rules: Rules) -> Option<&'static str> {
        if self.issued.len() > 1 {
            return Some("two certificates");
        }
        let replayed = read(&self.log);
        if rules.misfits_count && replayed.misfits > 0 {
            return Some("a record does not fit");
        }
        let (written, state) = &*batches(&self.ever);
        let is_lost = self.acknowledged.iter().any(|record| !written.contains(record));
        if is_lost || *state != replayed.state {
            return Some("an acknowledged record is lost");
        }
        self.reused.then_some("a number was used twice")
    }

    /// All steps from here, with what they lead to.
    pub(crate) fn steps(&self, rules: Rules) -> Vec<(String, Self)> {
        let mut steps = Vec::new();
        for &(number, segment) in &self.late {
            let mut next = self.clone();
            next.late.remove(&(number, segment));
            next.create(number, segment);
            steps.push((format!("a late write of {number}"), next));
        }
        for who in 0..2 {
            match &self.processes[who] {
                Process::Down => steps.extend(self.list(who)),
                Process::Listed(numbers) => steps.push(self.read(who, numbers.clone(), rules)),
                Process::Up(leader) => {
                    steps.extend(self.crash(who, leader));
                    steps.extend(self.delete(who, leader));
                    steps.extend(self.write(who, leader, rules));
                    steps.extend(self.list_again(who, leader));
                    steps.extend(self.give_up_append(who, leader, rules));
                    if leader.leads && leader.awaited.is_none() {
                        steps.extend(self.work(who, leader));
                        steps.extend(self.compact(who, leader));
                    }
                }
            }
        }
        let named = |(step, next): (String, Self)| (step, next.gathered());
        steps.into_iter().map(named).collect()
    }

    /// Performs a creation, like the API server.
    fn create(&mut self, number: u64, segment: Id<Segment>) -> CreateAnswer {
        if self.log.contains_key(&number) {
            return CreateAnswer::Exists;
        }
        self.log.insert(number, segment);
        let is_other = *self.ever.entry(number).or_insert(segment) != segment;
        self.reused |= is_other && segment.value().kind != SegmentKind::Fence;
        CreateAnswer::Created
    }

    fn with(&self, who: usize, process: Process) -> Self {
        let mut next = self.clone();
        next.processes[who] = process;
        next
    }

    fn leader(&mut self, who: usize) -> &mut Leader {
        match &mut self.processes[who] {
            Process::Up(leader) => leader,
            _ => unreachable!("only a running process takes this step"),
        }
    }
}

/// What a process that reads a log knows.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The replay of the segments.
    pub(crate) replay: Replay,
    /// Number of records that do not fit.
    pub(crate) misfits: usize,
    /// State of the ledger after the replay.
    pub(crate) state: Id<State>,
}

type Log = BTreeMap<u64, Id<Segment>>;

thread_local! {
    static READ: RefCell<HashMap<Log, Rc<Reading>>> = RefCell::default();
    static BATCHES: RefCell<HashMap<Log, Rc<(BTreeSet<Id<Record>>, Id<State>)>>> = RefCell::default();
}

/// Replays a log. The same log is replayed once.
pub(crate) fn read(log: &Log) -> Rc<Reading> {
    if let Some(known) = READ.with_borrow(|all| all.get(log).cloned()) {
        return known;
    }
    let replay = replay(&log.iter().map(|(number, id)| (*number, id.value())).collect());
    let (misfits, state) = (replay.misfits, folded(&replay.records).id());
    let reading = Rc::new(Reading { replay, misfits, state });
    READ.with_borrow_mut(|all| all.insert(log.clone(), reading.clone()));
    reading
}

/// The records of all batches that were ever written, and the state after them.
fn batches(ever: &Log) -> Rc<(BTreeSet<Id<Record>>, Id<State>)> {
    if let Some(known) = BATCHES.with_borrow(|all| all.get(ever).cloned()) {
        return known;
    }
    let batches = ever.values().map(|id| id.value());
    let batches = batches.filter(|segment| segment.kind == SegmentKind::Batch);
    let records: Vec<Record> = batches.flat_map(|segment| segment.records).collect();
    let state = folded(&records).id();
    let written = Rc::new((records.into_iter().map(Interned::id).collect(), state));
    BATCHES.with_borrow_mut(|all| all.insert(ever.clone(), written.clone()));
    written
}

fn folded(records: &[Record]) -> State {
    records.iter().fold(State::Idle, |state, record| fold(state, record).0)
}
