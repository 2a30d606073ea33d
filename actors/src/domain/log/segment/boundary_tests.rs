//! Segments at their boundaries: the largest chunk, and what is a complete snapshot.

use super::*;
use crate::domain::ingress::SecretKey;
use crate::domain::issuance::{Event, IssuanceAbandoned};
use crate::domain::time::Timestamp;

/// A record with this number of bytes as JSON.
fn of_length(bytes: usize) -> Record {
    let record = |why: String| {
        let event = Event::IssuanceAbandoned(IssuanceAbandoned { why });
        Record { stream: SecretKey::new("web", "shop"), at: Timestamp::default(), event }
    };
    let empty = length(&record(String::new()));
    record("x".repeat(bytes - empty))
}

fn part(part: u32, of: u32, writer: &str) -> Segment {
    let kind = SegmentKind::Snapshot { part, of };
    Segment { schema: SCHEMA, writer: writer.to_owned(), kind, records: Vec::new() }
}

fn log(segments: impl IntoIterator<Item = Segment>) -> BTreeMap<u64, Segment> {
    (1..).zip(segments).collect()
}

/// Numbers of records in the chunks of records of these lengths.
fn counts(lengths: &[usize]) -> Vec<usize> {
    let records = lengths.iter().map(|bytes| of_length(*bytes));
    chunks(records.collect()).iter().map(Vec::len).collect()
}

#[test]
fn the_length_of_a_record_is_that_of_its_json() {
    for bytes in [200, 201, 5_000] {
        let record = of_length(bytes);
        assert_eq!(serde_json::to_vec(&record).unwrap().len(), bytes);
    }
}

#[test]
fn records_share_a_chunk_up_to_its_largest_size() {
    let half = limits::SEGMENT_BYTES / 2;
    assert_eq!(counts(&[half, half]), [2]);
    assert_eq!(counts(&[half, half + 1]), [1, 1]);
    assert_eq!(counts(&[half, half, 200]), [2, 1]);
    assert_eq!(counts(&[1_000; 100]), [100]);
    assert_eq!(counts(&[]), [0], "a log with nothing live has a snapshot too");
}

#[test]
fn a_record_larger_than_a_chunk_has_one_of_its_own() {
    let larger = limits::SEGMENT_BYTES + 1;
    assert_eq!(counts(&[larger]), [1]);
    assert_eq!(counts(&[200, larger, 200]), [1, 1, 1]);
    let records: Vec<Record> = [200, larger, 300].map(of_length).into();
    assert_eq!(chunks(records.clone()).concat(), records, "in their order");
}

#[test]
fn a_snapshot_is_complete_with_all_parts_of_one_writer() {
    assert!(is_enough(&log([part(1, 2, "a"), part(2, 2, "a")])));
    assert!(is_enough(&log([part(1, 1, "a")])));
    let incomplete = [
        [part(1, 2, "a"), part(2, 2, "b")],
        [part(1, 2, "a"), part(2, 3, "a")],
        [part(1, 3, "a"), part(2, 3, "a")],
        [part(2, 2, "a"), part(1, 2, "a")],
    ];
    for parts in incomplete {
        assert!(!is_enough(&log(parts.clone())), "{parts:?}");
    }
    assert!(!is_enough(&BTreeMap::new()));
}

#[test]
fn records_that_do_not_fit_are_counted() {
    let segment = |records: usize| Segment {
        kind: SegmentKind::Batch,
        records: vec![of_length(200); records],
        ..part(1, 1, "a")
    };
    let replay = |log: &BTreeMap<u64, Segment>| replay(log).misfits;
    assert_eq!(replay(&log([segment(0)])), 0);
    assert_eq!(replay(&log([segment(2), segment(1)])), 3, "nothing was begun");
}
