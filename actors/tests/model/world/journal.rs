//! Steps of the journal: take-over, writes with their lost answers, snapshots, deletions; and the
//! end of a process.

use std::collections::BTreeMap;

use ingress_acme_actors::domain::log::fence::{
    CreateAnswer, Stored, WriteStep, after_compare, after_create,
};
use ingress_acme_actors::domain::log::segment::{
    SCHEMA, Segment, SegmentKind, is_due, is_enough, snapshot,
};

use super::{Interned, Leader, Process, Rules, World, read};

type Steps = Vec<(String, World)>;

fn segment(term: u8, kind: SegmentKind) -> Segment {
    Segment { schema: SCHEMA, writer: format!("term {term}"), kind, records: Vec::new() }
}

impl World {
    /// A start: lists the numbers of all segments.
    pub(super) fn list(&self, who: usize) -> Steps {
        let numbers = Process::Listed(self.log.keys().copied().collect());
        let mut next = self.with(who, numbers);
        if self.left.starts == 0 {
            return Vec::new();
        }
        next.left.starts -= 1;
        vec![(format!("{who} lists the log"), next)]
    }

    /// Reads the newest segments down to a complete snapshot. One that has gone since makes the
    /// process list again.
    pub(super) fn read(&self, who: usize, numbers: Vec<u64>, rules: Rules) -> (String, Self) {
        let (mut known, mut segments) = (BTreeMap::new(), BTreeMap::new());
        let last = numbers.last().copied().unwrap_or(0);
        for number in numbers.into_iter().rev() {
            if is_enough(&segments) {
                break;
            }
            let Some(id) = self.log.get(&number) else { return self.listed_again(who) };
            known.insert(number, *id);
            segments.insert(number, id.value());
        }
        let state = read(&known).state;
        let term = self.terms;
        let fence = rules.fences.then(|| (segment(term, SegmentKind::Fence).id(), false));
        let leader = Leader {
            term,
            next: last + 1,
            known,
            leads: fence.is_none(),
            fence: None,
            state,
            pending: Vec::new(),
            write: fence,
            awaited: None,
            opened: None,
            finalized: false,
            obsolete: Vec::new(),
        };
        let mut next = self.with(who, Process::Up(leader));
        next.terms += 1;
        (format!("{who} reads the log"), next)
    }

    /// Lists the numbers again after the fence: where the fence is not the last one, the log has to
    /// be read again.
    pub(super) fn list_again(&self, who: usize, leader: &Leader) -> Steps {
        let Some(fence) = leader.fence else { return Vec::new() };
        if self.log.keys().next_back() != Some(&fence) {
            return vec![self.listed_again(who)];
        }
        let mut next = self.clone();
        (next.leader(who).leads, next.leader(who).fence) = (true, None);
        vec![(format!("{who} leads"), next)]
    }

    fn listed_again(&self, who: usize) -> (String, Self) {
        let Some(left) = self.left.reads_again.checked_sub(1) else {
            return (format!("{who} gives up"), self.with(who, Process::Down));
        };
        let mut next = self.with(who, Process::Listed(self.log.keys().copied().collect()));
        next.left.reads_again = left;
        (format!("{who} lists the log again"), next)
    }

    /// An attempt of the write in flight: answered, or with its answer lost before or after the API
    /// server has performed it, or performed late.
    pub(super) fn write(&self, who: usize, leader: &Leader, rules: Rules) -> Steps {
        let Some((segment, again)) = leader.write else { return Vec::new() };
        let (number, mut steps) = (leader.next, Vec::new());
        let mut next = self.clone();
        let answer = next.create(number, segment);
        let step = match after_create(answer, again) {
            WriteStep::Compare if rules.compares => {
                let is_ours = next.log.get(&number) == Some(&segment);
                after_compare(answer, if is_ours { Stored::Ours } else { Stored::Others })
            }
            WriteStep::Compare => WriteStep::Durable,
            step => step,
        };
        steps.push(match step {
            WriteStep::Durable => {
                next.durable(who, rules);
                (format!("{who} writes {number}"), next)
            }
            WriteStep::Fenced => {
                next.processes[who] = Process::Down;
                (format!("{who} writes {number} and is fenced"), next)
            }
            step => unreachable!("{step:?} after {answer:?}"),
        });
        if self.left.losses > 0 {
            for is_performed in [true, false] {
                let mut lost = self.clone();
                lost.left.losses -= 1;
                lost.leader(who).write = Some((segment, true));
                if !is_performed {
                    lost.late.insert((number, segment));
                } else if lost.create(number, segment) == CreateAnswer::Exists {
                    continue; // nothing was performed: as the other case
                }
                steps.push((format!("{who} writes {number}, no answer ({is_performed})"), lost));
            }
        }
        steps
    }

    /// The write in flight is durable: tells the job that awaits one of its records.
    fn durable(&mut self, who: usize, rules: Rules) {
        let leader = self.leader(who);
        let Some((id, _)) = leader.write.take() else { return };
        let written = id.value();
        leader.known.insert(leader.next, id);
        leader.next += 1;
        match written.kind {
            SegmentKind::Fence if rules.lists_again => leader.fence = Some(leader.next - 1),
            SegmentKind::Fence => leader.leads = true,
            SegmentKind::Snapshot { .. } => {
                let obsolete = read(&leader.known).replay.obsolete.clone();
                leader.known.retain(|number, _| !obsolete.contains(number));
                leader.obsolete.extend(obsolete);
            }
            SegmentKind::Batch => {
                let told = leader.awaited.filter(|(record, _)| {
                    let record = record.value();
                    written.records.contains(&record)
                });
                if let Some((record, state)) = told {
                    leader.state = state;
                    leader.awaited = None;
                    leader.acknowledge();
                    self.acknowledged.insert(record);
                }
            }
        }
    }

    /// Begins the write of the pending records where none is in flight.
    pub(super) fn gathered(mut self) -> Self {
        for process in &mut self.processes {
            let Process::Up(leader) = process else { continue };
            if leader.write.is_none() && !leader.pending.is_empty() {
                let records = leader.pending.drain(..).map(|record| record.value()).collect();
                let batch = Segment { records, ..segment(leader.term, SegmentKind::Batch) };
                leader.write = Some((batch.id(), false));
            }
        }
        self
    }

    /// An idle journal is compacted.
    pub(super) fn compact(&self, who: usize, leader: &Leader) -> Steps {
        let reading = read(&leader.known);
        let log = &reading.replay;
        if leader.write.is_some() || !is_due(log.needed.len(), log.parts, true) {
            return Vec::new();
        }
        let mut next = self.clone();
        let parts = snapshot(&log.live, &format!("term {}", leader.term));
        let [part] = parts.try_into().expect("a few records are one part");
        next.leader(who).write = Some((part.id(), false));
        vec![(format!("{who} begins a snapshot"), next)]
    }

    /// One obsolete segment is deleted.
    pub(super) fn delete(&self, who: usize, leader: &Leader) -> Steps {
        let Some(number) = leader.obsolete.first().copied() else { return Vec::new() };
        let mut next = self.clone();
        next.leader(who).obsolete.remove(0);
        next.log.remove(&number);
        vec![(format!("{who} deletes {number}"), next)]
    }

    /// The process ends. A write in flight may still be performed.
    pub(super) fn crash(&self, who: usize, leader: &Leader) -> Steps {
        if self.left.crashes == 0 {
            return Vec::new();
        }
        let mut next = self.ended(who, leader);
        next.left.crashes -= 1;
        vec![(format!("{who} crashes"), next)]
    }

    fn ended(&self, who: usize, leader: &Leader) -> Self {
        let mut next = self.with(who, Process::Down);
        next.late.extend(leader.write.map(|(segment, _)| (leader.next, segment)));
        next
    }

    /// An append has no result in time.
    pub(super) fn give_up_append(&self, who: usize, leader: &Leader, rules: Rules) -> Steps {
        if self.left.timeouts == 0 || leader.awaited.is_none() {
            return Vec::new();
        }
        let mut next = match rules.stops_at_a_timeout {
            true => self.ended(who, leader),
            false => {
                let mut next = self.clone();
                next.leader(who).awaited = None; // the record stays pending
                next
            }
        };
        next.left.timeouts -= 1;
        vec![(format!("{who} has no result of its append in time"), next)]
    }
}
