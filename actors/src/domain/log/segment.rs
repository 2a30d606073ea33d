//! Segments of the journal: numbered and immutable. A snapshot makes all earlier ones obsolete.
//!
//! A segment is a batch of records, a part of a snapshot (all live records), or a fence. A new
//! writer takes over with a fence at the number that the previous writer would use next. No I/O:
//! input and output are bytes.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use crate::domain::cut::cut;
use crate::domain::issuance::Record;
use crate::domain::limits;
use crate::domain::log::live::Live;

/// Schema version of written segments. Older versions are still read; `actors/tests/golden` has an
/// example of each.
pub const SCHEMA: u32 = 3;

/// One segment.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(from = "Stored")]
pub struct Segment {
    /// Schema version of the segment.
    pub schema: u32,
    /// Writer: one process during one term as leader.
    pub writer: String,
    /// Kind of the segment.
    pub kind: SegmentKind,
    /// Records, oldest first.
    pub records: Vec<Record>,
}

/// A segment as it is stored. Records that release 0.1.0 cannot read are in a list of their own,
/// which it passes over, because it stops at an event that it does not know. They change no state,
/// so that their order among the others does not count.
#[derive(Deserialize)]
struct Stored {
    schema: u32,
    writer: String,
    kind: SegmentKind,
    records: Vec<Record>,
    #[serde(default)]
    newer: Vec<Record>,
}

/// The same with the records of a segment that is written.
#[derive(Serialize)]
struct StoredRef<'a> {
    schema: u32,
    writer: &'a str,
    kind: SegmentKind,
    records: Vec<&'a Record>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    newer: Vec<&'a Record>,
}

impl From<Stored> for Segment {
    fn from(Stored { schema, writer, kind, mut records, newer }: Stored) -> Self {
        records.extend(newer);
        Self { schema, writer, kind, records }
    }
}

/// The field of a segment that every release reads, before the fields of its own schema.
#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    schema: u64,
}

/// Kind of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentKind {
    /// Records that follow the earlier ones.
    Batch,
    /// Start of a new writer; no records.
    Fence,
    /// Part of a snapshot of all live records. Parts have consecutive numbers. A complete snapshot
    /// makes all earlier segments obsolete.
    Snapshot {
        /// Index of the part, from 1.
        part: u32,
        /// Number of parts.
        of: u32,
    },
}

/// Reason why a segment cannot be read. The operator does not start on an unreadable journal,
/// because orders could be repeated.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreadable {
    /// Invalid JSON, or a JSON value that is not a segment.
    #[error("segment {number} of the journal cannot be read: {why}")]
    Form {
        /// Number of the segment.
        number: u64,
        /// Message of the parser.
        why: String,
    },
    /// A newer release wrote the segment.
    #[error(
        "segment {number} of the journal has schema {schema}, and this release knows {SCHEMA} at most; use the newer release"
    )]
    Newer {
        /// Number of the segment.
        number: u64,
        /// Schema version of the segment.
        schema: u32,
    },
}

/// Result of replaying a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Live records.
    pub live: Live,
    /// Records of the replayed segments, oldest first.
    pub records: Vec<Record>,
    /// Highest segment number; 0 for an empty log.
    pub last: u64,
    /// Numbers of the segments that are no longer needed.
    pub obsolete: Vec<u64>,
    /// Numbers of the fences, oldest first.
    pub fences: Vec<u64>,
    /// Numbers of the replayed segments, oldest first.
    pub needed: Vec<u64>,
    /// Number of parts of the replayed snapshot; 0 without one.
    pub parts: usize,
    /// Number of records that did not fit the state of their event stream.
    pub misfits: usize,
}

impl Segment {
    /// Encodes the segment as JSON.
    ///
    /// # Panics
    /// Never: every segment can be written as JSON.
    pub fn encode(&self) -> Vec<u8> {
        let (newer, records) = self.records.iter().partition(|record| record.event.is_newer());
        let (schema, writer, kind) = (self.schema, &*self.writer, self.kind);
        let stored = StoredRef { schema, writer, kind, records, newer };
        serde_json::to_vec(&stored).expect("a segment has string keys and no maps that fail")
    }

    /// Decodes the segment stored under `number`. Long texts of an older release are cut, so that
    /// the next snapshot has them cut too.
    ///
    /// # Errors
    /// [`Unreadable`] if the data is not a segment, or comes from a newer release.
    pub fn decode(number: u64, data: &[u8]) -> Result<Self, Unreadable> {
        let form = |error: serde_json::Error| Unreadable::Form {
            number,
            why: cut(error.to_string(), limits::QUOTED_MAX),
        };
        let Header { schema } = serde_json::from_slice(data).map_err(form)?;
        let schema = u32::try_from(schema).unwrap_or(u32::MAX);
        if schema > SCHEMA {
            return Err(Unreadable::Newer { number, schema });
        }
        let mut segment: Self = serde_json::from_slice(data).map_err(form)?;
        segment.records.iter_mut().for_each(|record| record.event.bound());
        Ok(segment)
    }
}

/// Replays the segments of a log, in the order of their numbers.
pub fn replay(segments: &BTreeMap<u64, Segment>) -> Replay {
    let start = last_snapshot(segments).unwrap_or(0);
    let mut replay =
        Replay { last: segments.keys().next_back().copied().unwrap_or(0), ..Replay::default() };
    for (number, segment) in segments {
        if segment.kind == SegmentKind::Fence {
            replay.fences.push(*number);
        } else if *number < start || is_half_a_snapshot(segments, *number, segment) {
            replay.obsolete.push(*number);
        } else {
            replay.needed.push(*number);
            replay.parts += usize::from(segment.kind != SegmentKind::Batch);
            for record in &segment.records {
                replay.misfits += usize::from(replay.live.fold(record.clone()).is_some());
                replay.records.push(record.clone());
            }
        }
    }
    replay
}

/// Whether these newest segments of a log are enough to replay the log: they have a complete
/// snapshot, which makes all earlier segments obsolete.
pub fn is_enough(newest: &BTreeMap<u64, Segment>) -> bool {
    last_snapshot(newest).is_some()
}

/// Number of the first part of the last complete snapshot.
fn last_snapshot(segments: &BTreeMap<u64, Segment>) -> Option<u64> {
    let first = |(number, segment): (&u64, &Segment)| {
        (matches!(segment.kind, SegmentKind::Snapshot { part: 1, .. })
            && is_complete(segments, *number))
        .then_some(*number)
    };
    segments.iter().rev().find_map(first)
}

/// Whether the snapshot with its first part at `first` has all parts, from one writer.
fn is_complete(segments: &BTreeMap<u64, Segment>, first: u64) -> bool {
    let Some(Segment { kind: SegmentKind::Snapshot { of, .. }, writer, .. }) = segments.get(&first)
    else {
        return false;
    };
    (1..=*of).all(|part| {
        segments.get(&(first + u64::from(part) - 1)).is_some_and(|segment| {
            segment.kind == SegmentKind::Snapshot { part, of: *of } && segment.writer == *writer
        })
    })
}

/// Whether the segment belongs to an incomplete snapshot, left by a crash. Earlier segments still
/// contain all of its records.
fn is_half_a_snapshot(segments: &BTreeMap<u64, Segment>, number: u64, segment: &Segment) -> bool {
    match segment.kind {
        SegmentKind::Snapshot { part, .. } => !is_complete(segments, number + 1 - u64::from(part)),
        _ => false,
    }
}

/// Numbers of records in the parts of a snapshot of `live`, divided as by [`chunks`]; at least one
/// part.
pub fn plan(live: &Live) -> Vec<usize> {
    divide(live.records()).into_iter().map(|part| part.len()).collect()
}

/// Part `part` (from 1) of the snapshot of `live` with this plan. One part at a time is built, so
/// that a snapshot needs the memory of one.
pub fn snapshot_part(live: &Live, plan: &[usize], part: u32, writer: &str) -> Segment {
    let index = usize::try_from(part).unwrap_or(usize::MAX).saturating_sub(1);
    let before: usize = plan.iter().take(index).sum();
    let count = plan.get(index).copied().unwrap_or_default();
    let records = live.records().skip(before).take(count).cloned().collect();
    let kind = SegmentKind::Snapshot { part, of: parts(plan) };
    Segment { schema: SCHEMA, writer: writer.to_owned(), kind, records }
}

/// Number of parts of a snapshot with this plan.
pub fn parts(plan: &[usize]) -> u32 {
    u32::try_from(plan.len()).unwrap_or(u32::MAX)
}

/// All parts of a snapshot of `live`.
pub fn snapshot(live: &Live, writer: &str) -> Vec<Segment> {
    let plan = plan(live);
    (1..=parts(&plan)).map(|part| snapshot_part(live, &plan, part, writer)).collect()
}

/// Splits records into chunks of at most [`limits::SEGMENT_BYTES`] bytes; a larger record gets a
/// chunk of its own. Returns at least one chunk, which may be empty.
pub fn chunks(records: Vec<Record>) -> Vec<Vec<Record>> {
    let lengths: Vec<usize> = divide(records.iter()).iter().map(Vec::len).collect();
    let mut records = records.into_iter();
    lengths.into_iter().map(|length| records.by_ref().take(length).collect()).collect()
}

fn divide<'a>(records: impl Iterator<Item = &'a Record>) -> Vec<Vec<&'a Record>> {
    let (mut chunks, mut chunk, mut size) = (Vec::new(), Vec::new(), 0);
    for record in records {
        let length = length(record);
        if size + length > limits::SEGMENT_BYTES && size > 0 {
            chunks.push(std::mem::take(&mut chunk));
            size = 0;
        }
        size += length;
        chunk.push(record);
    }
    chunks.push(chunk);
    chunks
}

/// Length of the record's JSON, without building the JSON.
fn length(record: &Record) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    _ = serde_json::to_writer(&mut count, record); // a record can always be written
    count.0
}

/// Whether a log of `segments` segments, `parts` of them the last snapshot, is due for the next
/// snapshot.
///
/// A snapshot rewrites all live records. The log must double before the next one, so that an append
/// costs one write, and one part of a snapshot at most, however many streams are live. A small log
/// is left until [`limits::JOURNAL_SEGMENTS`], or until the journal is idle.
pub fn is_due(segments: usize, parts: usize, idle: bool) -> bool {
    let least = if idle { 2 } else { limits::JOURNAL_SEGMENTS };
    segments >= parts.saturating_mul(2).max(least)
}

#[cfg(test)]
mod boundary_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::certificate::PrivateKey;
    use crate::domain::desired::desired_certificate::tests::desired;
    use crate::domain::ingress::SecretKey;
    use crate::domain::issuance::{Command, NewIssuance, State, decide};
    use crate::domain::time::Timestamp;

    fn started(name: &str) -> Record {
        let desired = desired("shop", &["a.example.com"]);
        let beginning = NewIssuance::of(desired, PrivateKey::from_pem("k".into()));
        let command = Command::Begin(Box::new(beginning));
        let event = decide(&State::Idle, command, Timestamp::default()).unwrap();
        Record { stream: SecretKey::new("web", name), at: Timestamp::default(), event }
    }

    fn batch(records: &[Record]) -> Segment {
        Segment {
            schema: SCHEMA,
            writer: "w".into(),
            kind: SegmentKind::Batch,
            records: records.to_vec(),
        }
    }

    fn part(part: u32, of: u32, records: &[Record]) -> Segment {
        Segment { kind: SegmentKind::Snapshot { part, of }, ..batch(records) }
    }

    fn names(replay: &Replay) -> Vec<String> {
        replay.live.records().map(|record| record.stream.name.to_string()).collect()
    }

    #[test]
    fn a_complete_snapshot_makes_all_before_it_obsolete() {
        let log = BTreeMap::from([
            (1, batch(&[started("old")])),
            (2, part(1, 2, &[started("a")])),
            (3, part(2, 2, &[started("b")])),
            (4, batch(&[started("c")])),
        ]);
        let replay = replay(&log);
        assert_eq!(names(&replay), ["a", "b", "c"]);
        assert_eq!(
            (replay.obsolete.clone(), replay.last, replay.needed, replay.parts),
            (vec![1], 4, vec![2, 3, 4], 2)
        );
    }

    #[test]
    fn a_snapshot_that_was_cut_off_says_nothing() {
        let log = BTreeMap::from([(1, batch(&[started("a")])), (2, part(1, 2, &[started("a")]))]);
        let replay = replay(&log);
        assert_eq!(names(&replay), ["a"]);
        assert_eq!(replay.obsolete, [2]);
    }

    #[test]
    fn fences_hold_their_numbers_and_say_nothing() {
        let fence = Segment { kind: SegmentKind::Fence, ..batch(&[]) };
        let log = BTreeMap::from([(7, fence), (8, part(1, 1, &[]))]);
        assert_eq!((replay(&log).fences, replay(&log).last), (vec![7], 8));
    }

    #[test]
    fn a_large_snapshot_is_cut_into_bounded_parts_and_replays_to_the_same() {
        let mut live = Live::default();
        for n in 0..4000 {
            live.keep(started(&format!("{n:05}")));
        }
        let parts = snapshot(&live, "w");
        assert!(parts.len() > 1);
        assert!(parts.iter().all(|part| part.encode().len() <= 512 * 1024));
        let log: BTreeMap<u64, Segment> = (5..).zip(parts).collect();
        assert_eq!(replay(&log).live, live);
    }

    #[test]
    fn a_snapshot_waits_until_the_log_has_doubled() {
        let due = |segments, parts| is_due(segments, parts, false);
        assert_eq!([due(31, 1), due(32, 1), due(32, 16), due(39, 20)], [false, true, true, false]);
        assert!(due(40, 20));
        let idle = |segments, parts| is_due(segments, parts, true);
        assert_eq!([idle(1, 0), idle(2, 0), idle(1, 1), idle(2, 1)], [false, true, false, true]);
        assert_eq!([idle(21, 20), idle(40, 20)], [false, true], "idleness alone rewrites nothing");
    }

    #[test]
    fn a_failure_that_an_older_release_wrote_in_full_is_read_and_the_next_snapshot_has_it_cut() {
        let text = "\\\"".repeat(300_000);
        let failed = |stream: usize| {
            format!(
                r#"{{"stream":{{"namespace":"web","name":"s{stream}"}},"at":1,"event":"issuance_failed","class":"policy","detail":"{text}","fingerprint":"0000000000000001","retry_at":2}}"#
            )
        };
        let sample = serde_json::to_value(started("s")).unwrap();
        let fingerprint = sample["fingerprint"].to_string();
        let stream = sample["stream"].to_string();
        let record = |n| {
            let record = failed(n).replace(r#""0000000000000001""#, &fingerprint);
            record.replace(&format!(r#"{{"namespace":"web","name":"s{n}"}}"#), &stream)
        };
        let records: Vec<String> = (0..8).map(record).collect();
        let json = format!(
            r#"{{"schema":3,"writer":"0.1.0","kind":"batch","records":[{}]}}"#,
            records.join(",")
        );
        let segment = Segment::decode(1, json.as_bytes()).unwrap();
        let replayed = replay(&BTreeMap::from([(1, segment)]));
        assert_eq!(replayed.records.len(), 8);
        let parts = snapshot(&replayed.live, "w");
        assert_eq!(parts.len(), 1);
        assert!(parts[0].encode().len() < 16 * 1024, "{}", parts[0].encode().len());
    }

    #[test]
    fn what_a_newer_release_wrote_is_refused_and_what_is_damaged_too() {
        let newer = Segment { schema: 99, ..batch(&[]) }.encode();
        assert_eq!(Segment::decode(3, &newer), Err(Unreadable::Newer { number: 3, schema: 99 }));
        assert!(matches!(Segment::decode(3, b"{}"), Err(Unreadable::Form { .. })));
        let segment = batch(&[started("a")]);
        assert_eq!(Segment::decode(3, &segment.encode()), Ok(segment));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_segment_or_a_bounded_reason(
            noise in ".{0,200}", cut_at in 0..2_000_usize, at in 0..2_000_usize, byte in 0..=255_u8,
            number in 0..u64::MAX,
        ) {
            let good = batch(&[started("a"), started("b")]).encode();
            let (mut flipped, mut short) = (good.clone(), good.clone());
            let index = at % flipped.len();
            flipped[index] = byte;
            short.truncate(cut_at % good.len());
            let nested = format!("{{\"schema\":3,\"x\":{}}}", "[".repeat(at * 10));
            let newer = format!("{{\"schema\":{number},\"records\":[{noise:?}]}}");
            for bytes in [noise.into_bytes(), flipped, short, nested.into_bytes(), newer.into_bytes()] {
                if let Err(why) = Segment::decode(1, &bytes) {
                    let why = why.to_string();
                    proptest::prop_assert!(!why.is_empty() && why.len() <= limits::DETAIL_MAX, "{}", why);
                }
            }
        }
    }
}
