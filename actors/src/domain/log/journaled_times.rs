//! Times of journaled records, corrected when the log is loaded: a record of a clock that was ahead
//! closes a scope, or pauses a certificate, for as long as its rule says and no longer.

use std::collections::BTreeMap;
use std::time::Duration;

use super::segment::Segment;
use crate::domain::issuance::{Event, Folded, Record};
use crate::domain::limits;
use crate::domain::time::Timestamp;

/// Corrects the times of all records for a load at `now`. Returns the number of records that were
/// decided later than `now`, beyond the tolerated difference of two clocks.
pub(crate) fn correct(log: &mut BTreeMap<u64, Segment>, now: Timestamp) -> usize {
    let records = log.values_mut().flat_map(|segment| &mut segment.records);
    let ahead = records.map(|record| correct_record(record, now));
    ahead.filter(|ahead| *ahead > limits::CLOCK_SKEW).count()
}

/// Corrects the times of one record, and returns how far the record was ahead of `now`.
///
/// A record decided later than `now` is moved to `now` with all of its times, so that the lengths
/// of its pauses stay. Then a time of the past is at most `now`, and the end of a pause at most as
/// far away as the longest pause: in a record decided in time, both may stem from an earlier
/// decision that was ahead. The end of a certificate's validity is the CA's and stays.
fn correct_record(record: &mut Record, now: Timestamp) -> Duration {
    let ahead = record.at.since(now);
    let past = |at: &mut Timestamp| *at = (*at - ahead).min(now);
    let until = |at: &mut Timestamp, longest| *at = (*at - ahead).min(now + longest);
    past(&mut record.at);
    match &mut record.event {
        Event::IssuanceFailed(failed) => {
            until(&mut failed.retry_at, limits::RETRY_MAX);
            failed.subset_retry_at.iter_mut().for_each(|at| until(at, limits::RETRY_MAX));
            failed.down_since.iter_mut().for_each(past);
            failed.folded.iter_mut().for_each(|Folded { since, .. }| past(since));
        }
        Event::RateLimitHit(limited) => {
            until(&mut limited.hit.until, limits::LIMIT_CLOSED_MAX);
            limited.hit.since.iter_mut().for_each(past);
        }
        Event::IssuanceStarted(_)
        | Event::OrderOpened(_)
        | Event::CertificateInstalled(_)
        | Event::IssuanceAbandoned(_)
        | Event::TxtAdded(_)
        | Event::TxtRemoved(_) => {}
    }
    ahead
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const YEAR: i64 = 365 * 86_400_000;
    const HOUR: i64 = 3_600_000;
    const NOW: i64 = 1_795_478_400_000;

    fn record(at: i64, event: &str, fields: &Value) -> Record {
        let stream = json!({"namespace": "web", "name": "shop"});
        let mut record = json!({"stream": stream, "at": at, "event": event});
        record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(record).unwrap()
    }

    fn failed(at: i64, retry_at: i64, since: i64) -> Record {
        let fields = json!({
            "class": "authorization", "detail": "403", "fingerprint": 42, "retry_at": retry_at,
            "part_retry_at": retry_at, "down_since": since,
            "folded": {"attempts": 3, "since": since},
        });
        record(at, "issuance_failed", &fields)
    }

    fn closed(at: i64, until: i64, since: i64) -> Record {
        let closing = json!({
            "scope": "account", "since": since, "until": until, "pace_ms": 1000, "detail": "429",
        });
        let fields = json!({"directory": "https://ca.example/directory", "closing": closing});
        record(at, "scope_closed", &fields)
    }

    fn corrected(mut record: Record) -> Record {
        correct_record(&mut record, Timestamp::from_millis(NOW));
        record
    }

    #[test]
    fn a_record_of_a_clock_a_year_ahead_keeps_the_lengths_of_its_pauses() {
        let ahead = NOW + YEAR;
        let at = |at| corrected(failed(at, at + HOUR, at - HOUR));
        assert_eq!(at(ahead), failed(NOW, NOW + HOUR, NOW - HOUR));
        let at = |at| corrected(closed(at, at + HOUR, at - HOUR));
        assert_eq!(at(ahead), closed(NOW, NOW + HOUR, NOW - HOUR));
    }

    #[test]
    fn a_record_decided_in_time_keeps_no_time_of_an_earlier_decision_that_was_ahead() {
        let longest = |longest: Duration| NOW + i64::try_from(longest.as_millis()).unwrap();
        let expected = failed(NOW - HOUR, longest(limits::RETRY_MAX), NOW);
        assert_eq!(corrected(failed(NOW - HOUR, NOW + YEAR, NOW + YEAR)), expected);
        let expected = closed(NOW - HOUR, longest(limits::LIMIT_CLOSED_MAX), NOW);
        assert_eq!(corrected(closed(NOW - HOUR, NOW + YEAR, NOW + YEAR)), expected);
    }

    #[test]
    fn the_end_of_a_certificate_stays_and_records_that_are_ahead_are_counted() {
        let installed =
            |at| record(at, "certificate_installed", &json!({"serial": "0a", "not_after": YEAR}));
        let of = |records| {
            let (writer, kind) = ("w".to_owned(), super::super::segment::SegmentKind::Batch);
            Segment { schema: 3, writer, kind, records }
        };
        let records = vec![installed(NOW + YEAR), installed(NOW + 300_000), installed(NOW - YEAR)];
        let mut log = BTreeMap::from([(1, of(records))]);
        assert_eq!(correct(&mut log, Timestamp::from_millis(NOW)), 1);
        let expected = vec![installed(NOW), installed(NOW), installed(NOW - YEAR)];
        assert_eq!(log, BTreeMap::from([(1, of(expected))]));
    }

    proptest! {
        /// Whatever the times of a journal are, no pause lasts longer than the longest one, a
        /// second load changes nothing, and records of a right clock stay as they are.
        #[test]
        fn any_times_end_within_the_longest_pause(
            at in any::<i64>(), until in any::<i64>(), since in any::<i64>(),
        ) {
            let now = Timestamp::from_millis(NOW);
            for record in [failed(at, until, since), closed(at, until, since)] {
                let once = corrected(record.clone());
                prop_assert!(once.at <= now);
                match &once.event {
                    Event::IssuanceFailed(failed) => {
                        prop_assert!(failed.retry_at <= now + limits::RETRY_MAX);
                        prop_assert!(failed.down_since <= Some(now));
                    }
                    Event::RateLimitHit(limited) => {
                        prop_assert!(limited.hit.until <= now + limits::LIMIT_CLOSED_MAX);
                        prop_assert!(limited.hit.since <= Some(now));
                    }
                    _ => prop_assert!(false, "no other event is made here"),
                }
                prop_assert_eq!(corrected(once.clone()), once);
            }
        }

        #[test]
        fn records_of_a_right_clock_stay_as_they_are(
            age in 0..YEAR, pause in 0..7 * 24 * HOUR, since in 0..YEAR,
        ) {
            let at = NOW - age;
            for record in [failed(at, at + pause, at - since), closed(at, at + pause, at - since)] {
                prop_assert_eq!(corrected(record.clone()), record);
            }
        }
    }
}
