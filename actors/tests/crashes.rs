//! Crashes after every single port call, each with a restart on the same journal and the same CA:
//! no state is lost, and no certificate is issued twice.

#![allow(
    clippy::disallowed_methods,
    reason = "how long a replay takes is measured on a real clock"
)]

use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::domain::desired::index::Index;
use ingress_acme_actors::domain::desired::selection::Selection;
use ingress_acme_actors::domain::ingress::SecretKey;
use ingress_acme_actors::domain::issuance::{Command, NewIssuance, Record, State, decide};
use ingress_acme_actors::domain::log::segment::{Segment, replay};
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::fakes::{CrashPoint, Fakes, ingress, named, shop};
use ingress_acme_actors::journal::ledger::Ledger;
use ingress_acme_actors::journal::segmented::SegmentedJournal;
use ingress_acme_actors::operator::{Settings, start};
use ingress_acme_actors::ports::{Journal, JournalError};

/// Prints a figure directly to stderr, past the test runner's capture, so that CI's output shows
/// the figure.
macro_rules! figure {
    ($($text:tt)*) => {
        _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("figure: {}\n", format_args!($($text)*)))
    };
}

const MINUTE: Duration = Duration::from_mins(1);

/// Orders opened, and whether the first operator died within `calls` port calls.
struct Outcome {
    orders: usize,
    died: bool,
}

/// Kills the first operator after `calls` port calls and lets a second one finish.
fn killed_after(calls: u64, prepare: impl FnOnce(&Fakes) + 'static) -> Outcome {
    Fakes::paused(async move {
        let fakes = Fakes::default();
        prepare(&fakes);
        let crash_point = fakes.operator_crashing_after(Fakes::settings(), calls);
        fakes.pass(5 * MINUTE).await;
        let died = crash_point.has_ended();
        fakes.kill();
        fakes.operator(Fakes::settings()).await;
        fakes.pass(10 * MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["a.example.com"], "killed after {calls}");
        assert_eq!(fakes.ca.issued().len(), 1, "killed after {calls}");
        let secret = fakes.cluster.secret("web", "shop").expect("it was just there");
        let leaf = secret.view.certificate.expect("it is a certificate");
        assert!(leaf.key_matches, "killed after {calls}: the key is the journaled one");
        assert!(fakes.cluster.routed().is_empty(), "killed after {calls}: the routes have gone");
        let log = replay(&fakes.segments.log());
        assert!(log.live.is_empty(), "killed after {calls}: nothing is live");
        assert!(log.needed.len() <= 1, "killed after {calls}: the log is one segment when idle");
        fakes.assert_stable().await;
        Outcome { orders: fakes.ca.orders(), died }
    })
}

#[test]
fn killed_after_any_call_there_is_one_certificate_and_an_order_more_only_when_its_url_was_lost() {
    let mut with_two_orders = Vec::new();
    let mut calls = 1;
    loop {
        let outcome = killed_after(calls, |fakes| fakes.cluster.apply(shop()));
        if !outcome.died {
            break;
        }
        assert!(outcome.orders <= 2, "killed after {calls}: {} orders", outcome.orders);
        if outcome.orders == 2 {
            with_two_orders.push(calls);
        }
        calls += 1;
    }
    assert!(calls > 12, "the whole way was walked: {calls} calls");
    // Only a kill between the CA's answer to new-order and the journal's answer to the URL costs a
    // second order.
    assert!(with_two_orders.len() <= 1, "{with_two_orders:?}");
}

#[test]
fn killed_after_any_call_of_a_storm_each_ingress_has_one_certificate() {
    for calls in (1..160).step_by(7) {
        Fakes::paused(async move {
            let fakes = Fakes::default();
            for n in 0..10 {
                fakes.cluster.apply(ingress(
                    "web",
                    &format!("s{n}"),
                    &[&format!("s{n}.example.com")],
                ));
            }
            fakes.operator_crashing_after(Fakes::settings(), calls);
            fakes.pass(5 * MINUTE).await;
            fakes.kill();
            fakes.operator(Fakes::settings()).await;
            fakes.pass(10 * MINUTE).await;
            assert_eq!(fakes.ca.issued().len(), 10, "killed after {calls}");
            assert!(fakes.ca.orders() <= 14, "killed after {calls}: {}", fakes.ca.orders());
            assert!(replay(&fakes.segments.log()).live.is_empty(), "killed after {calls}");
            fakes.assert_stable().await;
        });
    }
}

#[test]
fn killed_again_and_again_it_gets_there() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.apply(shop());
        for calls in 4..30 {
            fakes.operator_crashing_after(Fakes::settings(), calls);
            fakes.pass(MINUTE / 2).await;
            fakes.kill();
        }
        fakes.operator(Fakes::settings()).await;
        fakes.pass(10 * MINUTE).await;
        assert_eq!(fakes.ca.issued().len(), 1);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_writer_that_was_deposed_is_fenced_before_any_further_effect() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await; // deposed by the next line, unnoticed
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop());
        fakes.pass(10 * MINUTE).await;
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (1, 1));
        assert_eq!(fakes.cluster.names("web", "shop"), ["a.example.com"]);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_storm_writes_the_journal_less_than_once_a_certificate_and_a_lone_one_four_times_at_most() {
    for (ingresses, most) in [(1, 4 + 1), (200, 200)] {
        Fakes::paused(async move {
            let fakes = Fakes::default();
            let settings =
                ingress_acme_actors::operator::Settings { issuers: 16, ..Fakes::settings() };
            fakes.operator(settings).await;
            fakes.cluster.set_latency(Duration::from_millis(20));
            for n in 0..ingresses {
                fakes.cluster.apply(ingress(
                    "web",
                    &format!("s{n}"),
                    &[&format!("s{n}.example.com")],
                ));
            }
            fakes.pass(10 * MINUTE).await;
            let writes = fakes.cluster.calls("journal_create");
            figure!("{ingresses} certificates: {writes} journal writes, the fence included");
            assert_eq!(fakes.ca.issued().len(), ingresses);
            assert!(writes <= most, "{writes}");
        });
    }
}

/// A journal that stores nothing and takes no time, as the baseline of a comparison.
struct NoJournal;

#[async_trait(?Send)]
impl Journal for NoJournal {
    async fn append(&self, _: &[Record]) -> Result<(), JournalError> {
        Ok(())
    }

    async fn flush(&self) -> Result<(), JournalError> {
        Ok(())
    }

    async fn replay(&self, _: Timestamp) -> Result<Vec<Record>, JournalError> {
        Ok(Vec::new())
    }

    async fn stopped(&self) {
        std::future::pending::<()>().await;
    }
}

/// Time of a storm of 200 Ingresses with 16 issuers on the paused clock, with 20 ms per port call.
fn storm_time(journal: Option<Rc<dyn Journal>>) -> Duration {
    Fakes::paused(async move {
        let fakes = Fakes::default();
        fakes.cluster.set_latency(Duration::from_millis(20));
        for n in 0..200 {
            fakes.cluster.apply(ingress("web", &format!("s{n}"), &[&format!("s{n}.example.com")]));
        }
        let mut ports = fakes.ports(&Rc::new(CrashPoint::default()));
        ports.journal = journal.unwrap_or(ports.journal);
        let settings = Settings { issuers: 16, ..Fakes::settings() };
        drop(start(ports, settings, fakes.shown.clone(), None).await.expect("it is legal"));
        let began = fakes.clock.now();
        while fakes.ca.issued().len() < 200 {
            fakes.pass(Duration::from_millis(10)).await;
        }
        fakes.clock.now().since(began)
    })
}

#[test]
fn the_journal_slows_a_storm_by_little() {
    let (with, without) = (storm_time(None), storm_time(Some(Rc::new(NoJournal))));
    let ratio = with.as_secs_f64() / without.as_secs_f64();
    figure!(
        "a storm of 200 at pool 16 takes {with:?} with the journal, {without:?} without: {ratio:.3} times"
    );
    assert!(ratio < 1.2, "the clock is a paused one, so this is exact: {ratio}");
}

#[test]
fn ten_thousand_live_streams_are_replayed() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let desired = |n: usize| {
            let mut index = Index::new(Selection::default(), None);
            index.apply(named("web", &format!("s{n}"), &[&format!("s{n}.example.com")]));
            index.desired(&SecretKey::new("web", &format!("s{n}"))).expect("it was just asked for")
        };
        let journal = SegmentedJournal::new(fakes.segments.clone(), "first".to_owned());
        journal.replay(fakes.clock.now()).await.expect("it is empty");
        let key = "k".repeat(241); // length of an ECDSA key in PEM
        let began = |n| {
            let beginning = NewIssuance::of(desired(n), PrivateKey::from_pem(key.clone()));
            let command = Command::Begin(Box::new(beginning));
            let event = decide(&State::Idle, command, fakes.clock.now()).expect("it is legal");
            Record { stream: desired(n).secret, at: fakes.clock.now(), event }
        };
        let records: Vec<Record> = (0..10_000).map(began).collect();
        journal.append(&records).await.expect("it is written");
        let again = Rc::new(SegmentedJournal::new(fakes.segments.clone(), "second".to_owned()));
        let started = std::time::Instant::now();
        let opened = Ledger::open(again, fakes.shown.metrics.clone(), fakes.clock.now()).await;
        let ledger = opened.expect("it is legal");
        figure!("10,000 live streams replayed in {:?} (this build)", started.elapsed());
        let mut live = 0;
        ledger.for_each_live(|_, _| live += 1);
        assert_eq!(live, 10_000);
        let largest = fakes.segments.log().values().map(|segment| segment.encode().len()).max();
        assert!(largest <= Some(512 * 1024), "{largest:?}");
    });
}

#[test]
fn a_journal_write_whose_answer_is_lost_is_found_and_not_repeated() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.fail("journal_create", 2);
        fakes.cluster.apply(shop());
        fakes.pass(10 * MINUTE).await;
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (1, 1));
        fakes.assert_stable().await;
    });
}

/// Golden journal files, one per schema. A file here never changes: the next schema gets a new
/// file.
#[test]
fn a_journal_of_every_schema_is_still_read() {
    let files = [
        ("1", include_str!("golden/journal-schema-1.json"), 3),
        ("2", include_str!("golden/journal-schema-2.json"), 3),
        ("3", include_str!("golden/journal-schema-3.json"), 4),
    ];
    for (schema, golden, live) in files {
        let segments: std::collections::BTreeMap<u64, Segment> = (1..)
            .zip(golden.lines())
            .map(|(number, line)| {
                let read = Segment::decode(number, line.as_bytes());
                (number, read.unwrap_or_else(|error| panic!("schema {schema}: {error}")))
            })
            .collect();
        assert_eq!(replay(&segments).live.len(), live, "schema {schema}");
        for (segment, line) in segments.values().zip(golden.lines()) {
            assert_eq!(
                String::from_utf8_lossy(&segment.encode()),
                line,
                "schema {schema} is written as it was"
            );
        }
    }
}
