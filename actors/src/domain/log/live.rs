//! Live records of a log: the records of all event streams that are not idle, reduced to the fewest
//! that fold to the same state.

use std::collections::BTreeMap;

use crate::domain::dns::txt::TxtRecord;
use crate::domain::ingress::SecretKey;
use crate::domain::issuance::{
    Event, Failing, IllegalEvent, RateLimitHit, Record, State, TxtAdded,
};
use crate::domain::log::fold::fold;
use crate::domain::rate_limits::LimitScope;
use crate::domain::time::Timestamp;

/// Live records by event stream, rate limit hits by directory and scope, and TXT records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    by_stream: BTreeMap<SecretKey, Vec<Record>>,
    closed: BTreeMap<(String, LimitScope), Record>,
    /// TXT records that may be in DNS, by stream, order and record.
    txt: BTreeMap<(SecretKey, String, TxtRecord), Record>,
}

impl Live {
    /// Adds the next record.
    pub fn keep(&mut self, record: Record) {
        _ = self.fold(record); // a record that does not fit was told at the replay
    }

    /// Adds the next record, and reduces the records of its event stream to the fewest that fold to
    /// the same state: failures in a row are one record, so that a stream that fails for weeks has
    /// one. Returns why the record did not fit, if it did not: the next snapshot has no trace of
    /// such a record.
    pub fn fold(&mut self, record: Record) -> Option<IllegalEvent> {
        if let Event::RateLimitHit(RateLimitHit { directory, hit }) = &record.event {
            let (key, now) = ((directory.clone(), hit.scope.clone()), record.at);
            self.closed.retain(|_, closed| !is_over(closed, now));
            self.closed.insert(key, record);
            return None;
        }
        if let Event::TxtAdded(TxtAdded { order, txt })
        | Event::TxtRemoved(TxtAdded { order, txt }) = &record.event
        {
            let key = (record.stream.clone(), order.clone(), txt.clone());
            match record.event {
                Event::TxtAdded(_) => _ = self.txt.insert(key, record),
                _ => _ = self.txt.remove(&key),
            }
            return None;
        }
        let stream = record.stream.clone();
        let mut before = self.by_stream.remove(&stream).unwrap_or_default();
        let state = state_of(&before);
        let failing = state.failing().cloned();
        let (after, misfit) = fold(state, &record);
        let kept = match after {
            State::Idle => return misfit,
            State::Failing(failing) => vec![failures(&stream, &failing)],
            State::Started(_) => failing
                .map(|failing| failures(&stream, &failing))
                .into_iter()
                .chain([record])
                .collect(),
            State::Ordered { .. } => {
                before.retain(|record| !matches!(record.event, Event::OrderOpened(_)));
                before.push(record);
                before
            }
        };
        self.by_stream.insert(stream, kept);
        misfit
    }

    /// All live records, in order within each event stream.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.closed.values().chain(self.by_stream.values().flatten()).chain(self.txt.values())
    }

    /// Number of event streams that are not idle.
    pub fn len(&self) -> usize {
        self.by_stream.len()
    }

    /// Whether there are no live records.
    pub fn is_empty(&self) -> bool {
        self.by_stream.is_empty() && self.closed.is_empty() && self.txt.is_empty()
    }
}

fn state_of(records: &[Record]) -> State {
    records.iter().fold(State::Idle, |state, record| fold(state, record).0)
}

/// One record that folds to these failures.
fn failures(stream: &SecretKey, failing: &Failing) -> Record {
    let event = Event::IssuanceFailed(failing.folded());
    Record { stream: stream.clone(), at: failing.last, event }
}

/// Whether the rate limit hit of `closed` has no effect any more at `now`.
fn is_over(closed: &Record, now: Timestamp) -> bool {
    matches!(&closed.event, Event::RateLimitHit(limited) if limited.hit.is_over(now))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::certificate::PrivateKey;
    use crate::domain::desired::desired_certificate::Attempted;
    use crate::domain::desired::desired_certificate::tests::desired;
    use crate::domain::failure::{Failure, FailureClass};
    use crate::domain::ingress::Edition;
    use crate::domain::issuance::{Command, NewIssuance, apply, decide};
    use crate::domain::name::DnsName;
    use crate::domain::rate_limits::LimitHit;

    const HOSTS: [&str; 3] = ["a.example.com", "b.example.com", "c.example.com"];

    fn names(count: usize) -> impl Iterator<Item = DnsName> {
        HOSTS[..count].iter().map(|host| DnsName::parse(host).unwrap())
    }

    /// A command, legal or not, about one of two desired certificates.
    fn command((kind, which, count, class): (u8, bool, usize, usize)) -> Command {
        let desired = desired("shop", if which { &HOSTS } else { &HOSTS[..2] });
        match kind {
            0 | 1 => {
                let key = PrivateKey::from_pem("k".to_owned());
                let all = NewIssuance::of(desired, key);
                let names = all.names.iter().skip(count % 2).cloned().collect();
                Command::Begin(Box::new(NewIssuance { names, ..all }))
            }
            2 => Command::Opened("https://ca.example/order/1".to_owned()),
            3 => Command::Installed { serial: "0a".to_owned(), not_after: Timestamp::default() },
            4 => Command::Abandon("the Ingress was edited"),
            _ => {
                let failure = Failure::new(FailureClass::ALL[class], "no").about(names(count));
                let edition = Edition(u64::from(kind == 8));
                Command::Fail(Attempted { edition, ..desired.attempted() }, failure)
            }
        }
    }

    fn replayed(live: &Live) -> State {
        let fold = |state, record: &Record| apply(state, &record.event, record.at).unwrap();
        live.records().fold(State::Idle, fold)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn a_snapshot_at_any_moment_folds_to_the_state_of_the_whole_log(
            commands in prop::collection::vec((0..9_u8, any::<bool>(), 0..4_usize, 0..12_usize), 0..40),
            snapshots in prop::collection::vec(any::<bool>(), 40),
        ) {
            let (mut state, mut live, mut at) = (State::Idle, Live::default(), Timestamp::default());
            for (command_of, snapshot) in commands.into_iter().zip(snapshots) {
                at = at + Duration::from_secs(77);
                let Ok(event) = decide(&state, command(command_of), at) else { continue };
                state = apply(state, &event, at).unwrap();
                live.keep(Record { stream: SecretKey::new("web", "shop"), at, event });
                prop_assert_eq!(&replayed(&live), &state);
                prop_assert!(live.records().count() <= 3);
                if snapshot {
                    let mut next = Live::default();
                    live.records().cloned().for_each(|record| next.keep(record));
                    prop_assert_eq!(&next, &live);
                }
            }
        }
    }

    /// An event that is decided in a state which the log does not have.
    fn event(command_of: (u8, bool, usize, usize), stale: u8, at: Timestamp) -> Option<Event> {
        let begun = decide(&State::Idle, command((0, true, 0, 0)), at).unwrap();
        let begun = apply(State::Idle, &begun, at).unwrap();
        let opened = decide(&begun, command((2, true, 0, 0)), at).unwrap();
        let states = [State::Idle, begun.clone(), apply(begun, &opened, at).unwrap()];
        decide(&states[usize::from(stale)], command(command_of), at).ok()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        /// The ledger, the live records and the next start see one state, whatever was written.
        #[test]
        fn a_log_of_any_events_folds_everywhere_to_one_state_and_its_snapshot_has_no_misfit(
            commands in prop::collection::vec(
                ((0..9_u8, any::<bool>(), 0..4_usize, 0..12_usize), 0..3_u8), 0..40,
            ),
        ) {
            let (mut state, mut live, mut at) = (State::Idle, Live::default(), Timestamp::default());
            for (command_of, stale) in commands {
                at = at + Duration::from_secs(77);
                let Some(event) = event(command_of, stale, at) else { continue };
                let record = Record { stream: SecretKey::new("web", "shop"), at, event };
                let (after, misfit) = fold(state, &record);
                state = after;
                prop_assert_eq!(live.fold(record), misfit);
                prop_assert_eq!(&replayed(&live), &state, "by the strict rule");
                prop_assert!(live.records().count() <= 3);
            }
        }
    }

    #[test]
    fn a_stream_that_fails_for_weeks_has_one_record() {
        let (mut state, mut live) = (State::Idle, Live::default());
        for hour in 0..500 {
            let at = Timestamp::from_secs(hour * 3600);
            let event = decide(&state, command((9, true, 1, 2)), at).unwrap();
            state = apply(state, &event, at).unwrap();
            live.keep(Record { stream: SecretKey::new("web", "shop"), at, event });
        }
        assert_eq!(live.records().count(), 1);
        assert_eq!(replayed(&live).failing().map(|failing| failing.attempts), Some(500));
        assert_eq!(replayed(&live), state);
    }

    fn closed(domain: &str, at: i64, until: i64) -> Record {
        let hit = LimitHit {
            scope: LimitScope::Domain(domain.to_owned()),
            since: None,
            until: Timestamp::from_secs(until),
            pace_ms: 1_000,
            detail: "too many".to_owned(),
        };
        let hit = RateLimitHit { directory: "https://ca.example".to_owned(), hit };
        let (stream, at) = (SecretKey::new("web", "shop"), Timestamp::from_secs(at));
        Record { stream, at, event: Event::RateLimitHit(hit) }
    }

    #[test]
    fn a_closed_scope_is_kept_until_an_hour_after_its_end() {
        let kept = |at: i64| {
            let mut live = Live::default();
            live.keep(closed("a.com", 0, 100));
            live.keep(closed("b.com", at, at + 100));
            live.records().count()
        };
        assert_eq!([kept(1), kept(3_699), kept(3_700)], [2, 2, 1]);
        let mut live = Live::default();
        live.keep(closed("a.com", 0, 100));
        live.keep(closed("a.com", 5, 200));
        assert_eq!(live.records().cloned().collect::<Vec<_>>(), [closed("a.com", 5, 200)]);
    }

    #[test]
    fn a_log_with_a_closed_scope_or_a_stream_that_is_not_idle_is_not_empty() {
        let mut live = Live::default();
        assert_eq!((live.is_empty(), live.len()), (true, 0));
        live.keep(closed("a.com", 0, 100));
        assert_eq!((live.is_empty(), live.len()), (false, 0), "a scope is no stream");
        let mut live = Live::default();
        for name in ["one", "two"] {
            let at = Timestamp::default();
            let event = decide(&State::Idle, command((9, true, 1, 2)), at).unwrap();
            live.keep(Record { stream: SecretKey::new("web", name), at, event });
        }
        assert!(!live.is_empty());
        assert_eq!(live.len(), 2);
    }
}
