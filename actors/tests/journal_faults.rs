//! Faults of the journal and of the API server that has it: records that do not fit, appends that
//! take too long, refused deletions, slow lists, and HTTP 429 for ten minutes. Each test counts
//! orders, certificates and requests.

use std::rc::Rc;
use std::time::Duration;

use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::domain::desired::desired_certificate::DesiredCertificate;
use ingress_acme_actors::domain::desired::index::Index;
use ingress_acme_actors::domain::desired::selection::Selection;
use ingress_acme_actors::domain::ingress::SecretKey;
use ingress_acme_actors::domain::issuance::{Command, Event, NewIssuance, Record, State, decide};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::log::segment::{SCHEMA, Segment, SegmentKind, replay};
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::fakes::{CrashPoint, Fakes, reasons, with_tls};
use ingress_acme_actors::journal::segmented::SegmentedJournal;
use ingress_acme_actors::operator::start;
use ingress_acme_actors::ports::{Journal, JournalError};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

fn desired(name: &str) -> DesiredCertificate {
    let mut index = Index::new(Selection::default(), None);
    index.apply(with_tls(name, name, &[&format!("{name}.example.com")]));
    index.desired(&SecretKey::new("web", name)).expect("it was just asked for")
}

fn started(name: &str, key: &str, at: Timestamp) -> Record {
    let key = PrivateKey::from_pem(key.to_owned());
    let command = Command::Begin(Box::new(NewIssuance::of(desired(name), key)));
    let event = decide(&State::Idle, command, at).expect("it is legal");
    Record { stream: SecretKey::new("web", name), at, event }
}

fn record(name: &str, event: Event, at: Timestamp) -> Record {
    Record { stream: SecretKey::new("web", name), at, event }
}

fn opened(name: &str, url: &str, at: Timestamp) -> Record {
    let order = serde_json::json!({"event": "order_opened", "url": url});
    record(name, serde_json::from_value(order).expect("an event"), at)
}

fn installed(name: &str, at: Timestamp) -> Record {
    let event =
        serde_json::json!({"event": "certificate_installed", "serial": "0a", "not_after": 0});
    record(name, serde_json::from_value(event).expect("an event"), at)
}

fn segment(kind: SegmentKind, records: Vec<Record>) -> Vec<u8> {
    Segment { schema: SCHEMA, writer: "another".to_owned(), kind, records }.encode()
}

fn apply(fakes: &Fakes, name: &str) {
    fakes.cluster.apply(with_tls(name, name, &[&format!("{name}.example.com")]));
}

fn metric(fakes: &Fakes, line: &str) -> bool {
    let registry = fakes.shown.metrics.registry("0", "", &fakes.shown.expiries);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("it is text");
    text.lines().any(|one| one == format!("ingress_acme_{line}"))
}

#[test]
fn a_stream_that_does_not_fold_is_set_aside_with_one_event_and_the_others_go_on() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.ca.set_life(4 * 24 * HOUR); // renewed after two days
        let at = fakes.clock.now();
        let all = vec![
            started("twice", "k1", at),
            started("good", "k2", at),
            started("twice", "k3", at),
            opened("lost", "https://ca.example/order/9", at),
            installed("idle", at),
        ];
        fakes.segments.put(1, segment(SegmentKind::Batch, all));
        let names = ["twice", "good", "lost", "idle"];
        for name in names {
            apply(&fakes, name);
        }
        fakes.operator(Fakes::settings()).await;
        assert!(metric(&fakes, "journal_streams_set_aside 3"));
        fakes.pass(MINUTE).await;
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (4, 4));
        let told = |name| {
            let reasons = reasons(&fakes.cluster.events("web", name));
            reasons.iter().filter(|reason| **reason == "SetAside").count()
        };
        assert_eq!(names.map(told), [1, 0, 1, 1]);
        let log = replay(&fakes.segments.log());
        assert_eq!((log.misfits, log.live.is_empty()), (0, true), "the snapshot has no misfit");
        fakes.kill();
        fakes.operator(Fakes::settings()).await;
        fakes.pass(24 * HOUR).await;
        assert!(metric(&fakes, "journal_streams_set_aside 0"));
        assert_eq!(names.map(told), [1, 0, 1, 1], "nothing is told twice");
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (4, 4));
        fakes.pass(36 * HOUR).await;
        assert_eq!(fakes.ca.issued().len(), 8, "each is renewed, also those that were set aside");
        fakes.assert_stable().await;
    });
}

#[test]
fn a_lone_snapshot_with_a_record_that_does_not_fit_is_written_anew() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let at = fakes.clock.now();
        let kind = SegmentKind::Snapshot { part: 1, of: 1 };
        fakes.segments.put(1, segment(kind, vec![started("a", "k1", at), started("a", "k2", at)]));
        let journal = SegmentedJournal::new(fakes.segments.clone(), "first".to_owned());
        assert_eq!(journal.replay(fakes.clock.now()).await.expect("it is readable").len(), 2);
        fakes.pass(MINUTE).await;
        let log = replay(&fakes.segments.log());
        assert_eq!((log.misfits, log.records.len()), (0, 1));
        let Event::IssuanceStarted(last) = &log.records[0].event else { panic!("{log:?}") };
        assert_eq!(last.key.pem(), "k2", "its writer went on with the second one");
    });
}

#[test]
fn an_append_that_takes_too_long_stops_the_journal_and_is_decided_by_the_replay() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let journal = SegmentedJournal::new(fakes.segments.clone(), "first".to_owned());
        journal.replay(fakes.clock.now()).await.expect("it is empty");
        // Answers after 19 s of 20 s, so that no request fails.
        fakes.segments.take_time(Duration::ZERO, 19 * SECOND);
        let at = fakes.clock.now();
        let large = |n: usize| {
            let mut record = started(&format!("s{n}"), "k", at);
            if let Event::IssuanceStarted(started) = &mut record.event {
                started.renew = Some("x".repeat(limits::SEGMENT_BYTES / 2));
            }
            record
        };
        let many: Vec<Record> = (0..20).map(large).collect();
        let last = started("last", "k1", at);
        let (many, answer) = tokio::join!(journal.append(&many), async {
            fakes.pass(SECOND).await; // behind the write in flight
            journal.append(std::slice::from_ref(&last)).await
        });
        assert_eq!((many, answer), (Err(JournalError::Fenced), Err(JournalError::Fenced)));
        journal.stopped().await;
        let again = started("last", "k2", at);
        assert_eq!(journal.append(&[again]).await, Err(JournalError::Fenced), "for good");
        fakes.pass(HOUR).await;
        let written = fakes.segments.log();
        assert!(written.len() < 10, "it does not write on: {}", written.len());
        assert_eq!(replay(&written).misfits, 0);
    });
}

/// Runs operators as replicas do: after the journal has stopped, and after a failed start, another
/// one begins.
async fn keep_running(fakes: &Fakes) {
    loop {
        let ports = fakes.ports(&Rc::new(CrashPoint::default()));
        let journal = ports.journal.clone();
        let life = tokio::task::LocalSet::new();
        let (settings, shown) = (Fakes::settings(), fakes.shown.clone());
        life.run_until(async move {
            if start(ports, settings, shown, None).await.is_ok() {
                journal.stopped().await;
            }
        })
        .await;
        fakes.pass(30 * SECOND).await;
    }
}

#[test]
fn an_api_server_that_answers_429_for_ten_minutes_costs_no_further_certificate() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.set_latency(Duration::from_millis(50));
        for n in 0..20 {
            apply(&fakes, &format!("s{n}"));
        }
        let trouble = async {
            while fakes.ca.issued().len() < 3 {
                fakes.pass(Duration::from_millis(10)).await;
            }
            fakes.cluster.set_busy(true);
            fakes.pass(10 * MINUTE).await;
            let (orders, asked) = (fakes.ca.orders(), creates(&fakes));
            assert!(asked < 100, "{asked} attempts to write the journal in ten minutes");
            assert!(orders < 20, "nothing is ordered that cannot be journaled: {orders}");
            fakes.cluster.set_busy(false);
            fakes.pass(30 * MINUTE).await;
            fakes.assert_stable().await;
        };
        tokio::select! {
            () = trouble => {}
            () = keep_running(&fakes) => unreachable!("it has no end"),
        }
        assert_eq!(fakes.ca.issued().len(), 20);
        let orders = fakes.ca.orders();
        assert!(orders <= 20 + 4, "an order more only where its URL was lost: {orders}");
        for n in 0..20 {
            let name = format!("s{n}");
            assert_eq!(fakes.cluster.names("web", &name), [format!("{name}.example.com")]);
        }
        let log = replay(&fakes.segments.log());
        assert_eq!((log.misfits, log.live.len()), (0, 0));
    });
}

fn creates(fakes: &Fakes) -> usize {
    fakes.cluster.calls("journal_create")
}

/// A log whose deletions have been refused: obsolete batches of large records before a snapshot of
/// one stream, and fences of old terms among them.
fn undeleted(fakes: &Fakes, segments: u64) {
    let at = fakes.clock.now();
    let fence = segment(SegmentKind::Fence, vec![]);
    let batch = segment(SegmentKind::Batch, vec![started("old", "k1", at)]);
    for number in 1..segments {
        let data = if number % 500 == 0 { &fence } else { &batch };
        fakes.segments.put(number, data.clone());
    }
    let kind = SegmentKind::Snapshot { part: 1, of: 1 };
    fakes.segments.put(segments, segment(kind, vec![started("live", "k2", at)]));
}

#[test]
fn deletions_that_are_refused_cost_a_start_one_list_and_a_few_reads_and_are_tried_again() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        undeleted(&fakes, 3_000);
        fakes.cluster.fail("journal_delete", usize::MAX);
        apply(&fakes, "live");
        fakes.operator(Fakes::settings()).await;
        let (lists, reads) =
            (fakes.cluster.calls("journal_list"), fakes.cluster.calls("journal_read"));
        assert_eq!((lists, reads), (6 + 7, 8), "pages of numbers, and the newest segments");
        fakes.pass(24 * HOUR).await;
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (1, 1));
        let attempts = fakes.cluster.calls("journal_delete");
        assert!((24..40).contains(&attempts), "{attempts} attempts in a day");
        assert!(fakes.segments.log().len() > 2_999);
        let reads = fakes.cluster.calls("journal_read");
        assert!(reads < 200, "{reads} reads: what is not deleted is not read");
        fakes.cluster.fail("journal_delete", 0);
        fakes.pass(2 * HOUR).await; // without any write
        let left = fakes.segments.log();
        let fences = left.values().filter(|one| one.kind == SegmentKind::Fence).count();
        assert_eq!((left.len(), fences), (7, 6), "the snapshot, and all fences");
        assert!(metric(&fakes, "journal_segments{state=\"obsolete\"} 0"));
        assert!(metric(&fakes, "journal_segments{state=\"needed\"} 7"));
        fakes.assert_stable().await;
    });
}

#[test]
fn a_log_that_is_listed_slowly_is_taken_over_page_by_page() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        undeleted(&fakes, 4_000);
        apply(&fakes, "live");
        // All pages together take far longer than one request may.
        fakes.segments.take_time(19 * SECOND, Duration::ZERO);
        fakes.operator(Fakes::settings()).await;
        assert_eq!(fakes.cluster.calls("journal_list"), 8 + 9, "before and after the fence");
        fakes.pass(HOUR).await;
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (1, 1));
        assert!(fakes.segments.log().len() < 20, "the others are deleted");
        fakes.assert_stable().await;
    });
}

#[test]
fn a_page_or_a_segment_that_cannot_be_read_is_asked_for_a_few_times_and_then_the_start_fails() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        undeleted(&fakes, 30);
        let replayed = async |writer: &str| {
            let journal = SegmentedJournal::new(fakes.segments.clone(), writer.to_owned());
            journal.replay(fakes.clock.now()).await.map(|records| records.len())
        };
        fakes.cluster.fail("journal_list", 2);
        fakes.cluster.fail("journal_read", 2);
        assert_eq!(replayed("first").await, Ok(1));
        for call in ["journal_list", "journal_read"] {
            fakes.cluster.fail(call, usize::MAX);
            let before = fakes.cluster.calls(call);
            assert!(matches!(replayed("second").await, Err(JournalError::Unavailable(_))));
            assert!(fakes.cluster.calls(call) - before <= 3 * limits::SEGMENTS_READ_AT_ONCE);
            fakes.cluster.fail(call, 0);
        }
    });
}
