//! The journal on fake segments: refused records, snapshots of many live streams, failed deletes.
//! Each test counts the writes.

use std::time::Duration;

use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::domain::desired::desired_certificate::DesiredCertificate;
use ingress_acme_actors::domain::desired::index::Index;
use ingress_acme_actors::domain::desired::selection::Selection;
use ingress_acme_actors::domain::failure::{Failure, FailureClass};
use ingress_acme_actors::domain::ingress::SecretKey;
use ingress_acme_actors::domain::issuance::{Command, NewIssuance, Record, State, apply, decide};
use ingress_acme_actors::domain::log::segment::{Segment, SegmentKind, replay};
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::fakes::{Fakes, ingress, reasons, shop, with_tls};
use ingress_acme_actors::journal::segmented::SegmentedJournal;
use ingress_acme_actors::ports::{Journal, JournalError};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const MIB: usize = 1 << 20;

fn desired(name: &str) -> DesiredCertificate {
    let mut index = Index::new(Selection::default(), None);
    index.apply(with_tls(name, name, &[&format!("{name}.example.com")]));
    index.desired(&SecretKey::new("web", name)).expect("it was just asked for")
}

/// The start of an issuance with a renew annotation of this length.
fn started(name: &str, renew: usize, at: Timestamp) -> Record {
    let desired = DesiredCertificate { renew: Some("x".repeat(renew)), ..desired(name) };
    let beginning = NewIssuance::of(desired, PrivateKey::from_pem("k".to_owned()));
    let event = decide(&State::Idle, Command::Begin(Box::new(beginning)), at).expect("it is legal");
    Record { stream: SecretKey::new("web", name), at, event }
}

/// A failure of a certificate that has failed eight times already.
fn failed(name: &str, at: Timestamp) -> Vec<Record> {
    let (desired, mut state, mut records) = (desired(name), State::Idle, Vec::new());
    for _ in 0..8 {
        let words = "the CA could not validate it: Fetching http://a.example.com/.well-known/acme-challenge/: Timeout during connect";
        let failure = Failure::new(FailureClass::Authorization, words);
        let event = decide(&state, Command::Fail(desired.attempted(), failure), at);
        let event = event.expect("it is legal");
        state = apply(state, &event, at).expect("it is legal");
        records.push(Record { stream: SecretKey::new("web", name), at, event });
    }
    records
}

async fn opened(fakes: &Fakes, writer: &str) -> SegmentedJournal {
    let journal = SegmentedJournal::new(fakes.segments.clone(), writer.to_owned());
    journal.replay(fakes.clock.now()).await.expect("the journal is legal");
    journal
}

fn creates(fakes: &Fakes) -> usize {
    fakes.cluster.calls("journal_create")
}

fn ends_with_a_snapshot(fakes: &Fakes) -> bool {
    let last = fakes.segments.last();
    last.is_some_and(|last| matches!(last.kind, SegmentKind::Snapshot { .. }))
}

fn streams(fakes: &Fakes) -> Vec<String> {
    let replayed = replay(&fakes.segments.log());
    replayed.live.records().map(|record| record.stream.name.to_string()).collect()
}

#[test]
fn a_record_that_is_too_large_is_refused_to_its_caller_and_the_others_become_durable() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.segments.refuse_above(MIB);
        let journal = opened(&fakes, "first").await;
        let (now, before) = (fakes.clock.now(), creates(&fakes));
        let [good, bad, other] =
            [("a", 0), ("b", 2 * MIB), ("c", 0)].map(|(name, renew)| [started(name, renew, now)]);
        let (good, bad, other) =
            tokio::join!(journal.append(&good), journal.append(&bad), journal.append(&other));
        assert_eq!((good, other), (Ok(()), Ok(())));
        let error = bad.expect_err("it is too large");
        assert!(matches!(error, JournalError::Refused(_)), "{error}");
        assert!(error.to_string().contains("was not written"), "{error}");
        assert!(creates(&fakes) - before <= 4, "{} creates", creates(&fakes) - before);
        assert_eq!(streams(&fakes), ["a", "c"]);
        let later = creates(&fakes);
        assert_eq!(journal.append(&[started("d", 0, now)]).await, Ok(()), "the journal goes on");
        fakes.pass(HOUR).await;
        assert_eq!(
            creates(&fakes) - later,
            2,
            "the record and the snapshot, and the refused one never"
        );
        assert_eq!(streams(&fakes), ["a", "c", "d"]);
    });
}

#[test]
fn a_refused_segment_is_halved_until_the_refused_record_is_left_alone() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.segments.refuse_above(60_000);
        let journal = opened(&fakes, "first").await;
        let (now, before) = (fakes.clock.now(), creates(&fakes));
        let length = |n| if n == 37 { 70_000 } else { 0 };
        let records: Vec<[Record; 1]> =
            (0..64).map(|n| [started(&format!("s{n:02}"), length(n), now)]).collect();
        let appends = records.iter().map(|records| journal.append(records));
        let outcomes = futures_util::future::join_all(appends).await;
        let refused: Vec<usize> =
            (0..64).filter(|n| matches!(outcomes[*n], Err(JournalError::Refused(_)))).collect();
        assert_eq!(refused, [37]);
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 63);
        assert_eq!(streams(&fakes).len(), 63);
        assert!(creates(&fakes) - before <= 16, "{} creates", creates(&fakes) - before);
    });
}

#[test]
fn a_refusal_after_a_lost_answer_is_success_where_the_segment_exists() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let journal = opened(&fakes, "first").await;
        fakes.cluster.fail("journal_create", 1);
        let record = [started("a", 5_000, fakes.clock.now())];
        let refuse = async {
            fakes.pass(MINUTE / 120).await;
            fakes.segments.refuse_above(1_000);
        };
        let (appended, ()) = tokio::join!(journal.append(&record), refuse);
        assert_eq!(appended, Ok(()), "the first attempt was written");
        assert_eq!(streams(&fakes), ["a"]);
    });
}

#[test]
fn an_issuance_that_the_journal_refuses_fails_and_its_neighbour_is_served() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.segments.refuse_above(3_000);
        let hosts: Vec<String> =
            (0..90).map(|n| format!("h{n:02}.{}.example.com", "x".repeat(50))).collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        fakes.cluster.apply(ingress("web", "large", &hosts));
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.ca.issued().len(), 1, "the neighbour has its certificate");
        let events = fakes.cluster.events("web", "large");
        assert!(reasons(&events).contains(&"Failed"), "{events:?}");
        assert!(events.iter().any(|event| event.note.contains("was not written")), "{events:?}");
        let before = creates(&fakes);
        fakes.pass(24 * HOUR).await;
        assert!(creates(&fakes) - before <= 40, "{} creates in a day", creates(&fakes) - before);
        assert_eq!(fakes.ca.orders(), 1, "nothing is ordered that is not journaled");
    });
}

#[test]
fn a_journal_that_refuses_everything_is_asked_rarely() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.segments.refuse_above(0);
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        let before = creates(&fakes);
        fakes.pass(24 * HOUR).await;
        assert!(creates(&fakes) - before <= 100, "{} creates in a day", creates(&fakes) - before);
        assert_eq!(fakes.ca.orders(), 0);
        fakes.segments.refuse_above(MIB);
        fakes.pass(2 * HOUR).await;
        assert_eq!(fakes.ca.issued().len(), 1, "it goes on by itself");
    });
}

/// Writes a log of 20,000 streams that fail for good, and then records of another stream until a
/// snapshot has replaced it.
async fn twenty_thousand_failing(fakes: &Fakes) -> SegmentedJournal {
    let (journal, now) = (opened(fakes, "first").await, fakes.clock.now());
    let each = failed("s", now).pop().expect("eight failures");
    for thousand in 0..20 {
        let stream = |n| SecretKey::new("web", &format!("s{}", thousand * 1_000 + n));
        let records: Vec<Record> =
            (0..1_000).map(|n| Record { stream: stream(n), ..each.clone() }).collect();
        journal.append(&records).await.expect("it is written");
    }
    for n in 0..32 {
        if ends_with_a_snapshot(fakes) {
            break;
        }
        journal.append(&[started(&format!("m{n}"), 0, now)]).await.expect("it is written");
        fakes.pass(Duration::from_secs(1)).await; // a snapshot may follow
    }
    assert!(ends_with_a_snapshot(fakes));
    journal
}

#[test]
fn twenty_thousand_failing_streams_cost_an_append_one_write() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let journal = twenty_thousand_failing(&fakes).await;
        let bytes: usize = fakes.segments.log().values().map(|one| one.encode().len()).sum();
        assert!(bytes < 12 * MIB, "one record per stream: {bytes}");
        let now = fakes.clock.now();
        let before = creates(&fakes);
        for n in 0..10 {
            journal.append(&[started(&format!("n{n}"), 0, now)]).await.expect("it is written");
        }
        assert_eq!(creates(&fakes) - before, 10, "ten appends");
        let before = creates(&fakes);
        for n in 0..100 {
            journal.append(&[started(&format!("l{n}"), 0, now)]).await.expect("it is written");
            fakes.pass(MINUTE).await; // idle
        }
        let writes = creates(&fakes) - before;
        assert!(writes <= 230, "an append costs two writes at most: {writes}");
    });
}

#[test]
fn an_append_is_durable_before_the_snapshot_after_it_fails() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let journal = opened(&fakes, "first").await;
        let now = fakes.clock.now();
        let record = |n: usize| [started(&format!("s{n}"), 0, now)];
        for n in 0..31 {
            journal.append(&record(n)).await.expect("it is written");
        }
        let last = *fakes.segments.log().keys().next_back().expect("there are some");
        let fence = Segment {
            schema: 3,
            writer: "another".to_owned(),
            kind: SegmentKind::Fence,
            records: Vec::new(),
        };
        fakes.segments.put(last + 2, fence.encode()); // the number of the snapshot
        assert_eq!(journal.append(&record(31)).await, Ok(()));
        journal.stopped().await;
        assert_eq!(journal.append(&record(32)).await, Err(JournalError::Fenced));
        assert_eq!(streams(&fakes).len(), 32);
    });
}

#[test]
fn segments_that_could_not_be_deleted_are_deleted_later() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let journal = opened(&fakes, "first").await;
        let now = fakes.clock.now();
        let segments = || fakes.segments.log().len();
        fakes.cluster.fail("journal_delete", 1);
        for n in 0..40 {
            let record = started(&format!("s{n}"), 0, now);
            journal.append(&[record]).await.expect("it is written");
        }
        assert!(segments() > 32, "the segments before the snapshot are still there");
        fakes.pass(MINUTE).await;
        assert_eq!(segments(), 2, "the fence and the snapshot");
        fakes.cluster.fail("journal_delete", 1);
        journal.append(&[started("last", 0, now)]).await.expect("it is written");
        fakes.pass(MINUTE).await;
        assert!(segments() > 2);
        drop(journal);
        let journal = opened(&fakes, "second").await;
        fakes.pass(MINUTE).await;
        assert_eq!(segments(), 3, "two fences and the snapshot");
        assert_eq!(streams(&fakes).len(), 41);
        drop(journal);
    });
}

/// The record that a certificate is installed is written up to two seconds later.
#[test]
fn after_a_drain_the_journal_has_all_and_the_next_process_asks_the_ca_for_nothing() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let operator = fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop());
        while fakes.cluster.secret("web", "shop").is_none() {
            fakes.pass(Duration::from_millis(10)).await;
        }
        operator.drain().await.expect("the actors run");
        fakes.kill();
        let asked = || ["refresh", "download", "install"].map(|call| fakes.cluster.calls(call));
        let before = asked();
        fakes.operator(Fakes::settings()).await;
        fakes.pass(MINUTE).await;
        assert_eq!(asked(), before);
        assert!(replay(&fakes.segments.log()).live.is_empty(), "nothing is in flight");
    });
}

#[test]
fn a_flush_says_so_when_a_record_before_it_is_not_in_the_journal() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let (journal, now) = (opened(&fakes, "first").await, fakes.clock.now());
        let mut state = State::Idle;
        let begun = started("shop", 1, now);
        let commands = [
            Command::Opened("https://ca.example/order/1".to_owned()),
            Command::Installed { serial: "01".to_owned(), not_after: now },
        ];
        state = apply(state, &begun.event, now).expect("it is legal");
        journal.append(&[begun]).await.expect("it is written");
        assert_eq!(journal.flush().await, Ok(()), "of nothing");
        let others = opened(&fakes, "second").await; // it fences the first one
        for command in commands {
            let event = decide(&state, command, now).expect("it is legal");
            state = apply(state, &event, now).expect("it is legal");
            let record = Record { stream: SecretKey::new("web", "shop"), at: now, event };
            if matches!(state, State::Idle) {
                // No caller waits for this record.
                assert_eq!(journal.append(std::slice::from_ref(&record)).await, Ok(()));
            } else {
                others.append(std::slice::from_ref(&record)).await.expect("it leads");
            }
        }
        assert_eq!(journal.flush().await, Err(JournalError::Fenced));
    });
}
