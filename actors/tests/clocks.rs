//! Clocks that are wrong for a while: nothing waits for longer than its rule says, neither in the
//! journal nor in memory, and no certificate is ordered twice. The API server and the CA have right
//! clocks of their own.

use std::time::Duration;

use ingress_acme_actors::domain::desired::index::Index;
use ingress_acme_actors::domain::desired::selection::Selection;
use ingress_acme_actors::domain::failure::{Failure, FailureClass};
use ingress_acme_actors::domain::ingress::{IngressView, SecretKey};
use ingress_acme_actors::domain::issuance::Event;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::log::segment::Segment;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::domain::validity::renewal::RenewalWindow;
use ingress_acme_actors::fakes::{Fakes, named as ingress, shop};
use ingress_acme_actors::operator::{Operator, stepped_back};
use ingress_acme_actors::reporting::reporter::Describe;
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(365 * 24);

/// One replica on a machine whose clock may be wrong.
struct Replica {
    fakes: Fakes,
    operator: Operator,
    restarts: u32,
}

impl Replica {
    async fn started(fakes: Fakes) -> Self {
        let operator = fakes.operator(Fakes::settings()).await;
        Self { fakes, operator, restarts: 0 }
    }

    /// Passes `time` of the true clock. Starts the operator anew when its clock has stepped back,
    /// as `src/process/replica.rs` does.
    async fn pass(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        let stepped_back = |fakes: &Fakes| stepped_back(fakes.process_clock());
        while tokio::time::timeout_at(end, stepped_back(&self.fakes)).await.is_ok() {
            self.restart().await;
        }
    }

    async fn restart(&mut self) {
        self.fakes.kill();
        self.operator = self.fakes.operator(Fakes::settings()).await;
        self.restarts += 1;
    }

    fn issued(&self) -> usize {
        self.fakes.ca.issued().len()
    }

    /// Sites whose orders the CA refuses in different ways, for an hour at most: a rate limit, an
    /// error of its own, a name that is forbidden for now, a busy moment; and a host that is away.
    fn trouble(&self) {
        let Fakes { ca, cluster, clock, .. } = &self.fakes;
        ca.set_policy(|names| {
            let is = |host: &str| names.iter().any(|name| name.as_str().starts_with(host));
            let (class, retry_after) = match () {
                () if is("limited") => (FailureClass::RateLimited, Some(HOUR)),
                () if is("down") => (FailureClass::AcmeServer, None),
                () if is("forbidden") => (FailureClass::Policy, None),
                () => return None,
            };
            let failure = Failure { retry_after, ..Failure::new(class, "not now") };
            Some(failure.about(names.iter().cloned()))
        });
        cluster.cut("away.example.com", true);
        for name in ["limited", "down", "forbidden", "away", "good"] {
            cluster.apply(site(name));
        }
        ca.set_busy_until(clock.now() + MINUTE / 2);
    }

    fn end_of_trouble(&self) {
        self.fakes.ca.refuse(None);
        self.fakes.cluster.cut("away.example.com", false);
    }

    /// Asserts that no time in memory or in the journal is further away than the longest rate limit
    /// or pause of a day and a tenth.
    async fn assert_no_long_waits(&self) {
        let latest = self.fakes.clock.now() + limits::LIMIT_CLOSED_MAX;
        let dump = self.operator.reporter.send(Describe).await.expect("it lives");
        let dump = serde_json::to_value(dump).expect("it is JSON");
        for at in times(&dump) {
            assert!(at <= latest.to_string(), "{at} is after {latest}: {dump}");
        }
    }
}

/// All times in a JSON value, as RFC 3339 in UTC.
fn times(value: &Value) -> Vec<String> {
    let is_time = |word: &&str| word.len() == 20 && word.contains('T') && word.ends_with('Z');
    match value {
        Value::String(text) => text.split(' ').filter(is_time).map(str::to_owned).collect(),
        Value::Array(all) => all.iter().flat_map(times).collect(),
        Value::Object(all) => {
            // The words of the CA may name the end of a certificate.
            let ours = all.iter().filter(|(key, _)| *key != "detail");
            ours.flat_map(|(_, value)| times(value)).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn journaled_pauses_limits_and_orders_of_a_clock_a_year_ahead_end_in_time() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.machine.set_ahead(YEAR);
        let mut replica = Replica::started(fakes).await;
        replica.trouble();
        replica.pass(10 * MINUTE).await;
        replica.fakes.kill(); // for example with its node, whose clock was wrong
        replica.fakes.machine.set_ahead(Duration::ZERO);
        replica.restart().await;
        replica.assert_no_long_waits().await;
        replica.end_of_trouble();
        replica.pass(2 * HOUR).await;
        for name in ["limited", "down", "away", "good"] {
            let host = format!("{name}.example.com");
            assert_eq!(replica.fakes.cluster.names("web", name), [host], "in two hours");
        }
        replica.pass(DAY + HOUR).await;
        let forbidden = replica.fakes.cluster.names("web", "forbidden");
        assert_eq!(forbidden, ["forbidden.example.com"], "in a day and its jitter");
        assert!(replica.issued() <= 6, "one looked expired to the wrong clock");
        replica.fakes.assert_stable().await;
    });
}

#[test]
fn an_order_of_a_clock_a_year_ahead_is_given_up_a_day_after_the_load() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.machine.set_ahead(YEAR);
        for call in ["refresh", "accept"] {
            fakes.cluster.fail(call, usize::MAX);
        }
        let mut replica = Replica::started(fakes).await;
        replica.fakes.cluster.apply(shop());
        replica.pass(5 * MINUTE).await;
        assert_eq!(replica.fakes.ca.orders(), 1);
        replica.fakes.machine.set_ahead(Duration::ZERO);
        replica.restart().await;
        replica.pass(27 * HOUR).await;
        assert!(replica.fakes.cluster.calls("open_order") > 1, "the order is tried for a day");
        for call in ["refresh", "accept"] {
            replica.fakes.cluster.fail(call, 0);
        }
        replica.pass(3 * HOUR).await;
        assert_eq!(replica.issued(), 1);
        replica.fakes.assert_stable().await;
    });
}

#[test]
fn a_process_that_starts_with_a_clock_a_year_ahead_recovers() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.machine.set_ahead(YEAR);
        let mut replica = Replica::started(fakes).await;
        replica.trouble();
        replica.pass(MINUTE).await;
        replica.fakes.machine.set_ahead(Duration::ZERO);
        replica.pass(2 * limits::CLOCK_BACK).await;
        assert_eq!(replica.restarts, 1, "as soon as the step back is sure");
        assert_eq!(replica.fakes.process_clock().now(), replica.fakes.clock.now());
        replica.assert_no_long_waits().await;
        replica.end_of_trouble();
        replica.pass(27 * HOUR).await;
        let all = ["limited", "down", "forbidden", "away", "good"];
        let there = all.map(|name| replica.fakes.cluster.names("web", name).len());
        assert_eq!((there, replica.restarts), ([1; 5], 1), "{all:?}");
        assert!(replica.issued() <= 6, "one looked expired to the wrong clock");
        replica.fakes.assert_stable().await;
    });
}

#[test]
fn a_clock_that_is_a_year_off_for_a_minute_in_a_storm_changes_nothing() {
    for ahead in [true, false] {
        Fakes::paused(async move {
            let mut replica = Replica::started(Fakes::default()).await;
            replica.fakes.cluster.set_latency(Duration::from_millis(500));
            for n in 0..50 {
                replica.fakes.cluster.apply(site(&format!("s{n}")));
            }
            replica.trouble();
            replica.pass(MINUTE / 6).await;
            assert!(replica.issued() < 50, "the storm is not over: {}", replica.issued());
            let machine = replica.fakes.machine.clone();
            if ahead {
                machine.set_ahead(YEAR);
            } else {
                machine.set_behind(YEAR);
            }
            replica.pass(Duration::from_secs(58)).await;
            machine.set_ahead(Duration::ZERO);
            replica.assert_no_long_waits().await;
            replica.end_of_trouble();
            replica.pass(27 * HOUR).await;
            assert_eq!((replica.issued(), replica.restarts), (55, 0), "ahead: {ahead}");
            replica.fakes.assert_stable().await;
        });
    }
}

#[test]
fn after_an_hour_a_year_ahead_certificates_follow_the_right_clock_again() {
    Fakes::paused(async {
        let mut replica = Replica::started(Fakes::default()).await;
        let right = replica.fakes.clock.clone();
        // The CA suggests a renewal in five days, whatever the operator's clock says.
        let start = right.now() + 5 * DAY;
        let window = RenewalWindow { start, end: start + DAY, explanation: None };
        replica.fakes.ca.set_suggestions(move |_| Some(window.clone()));
        replica.fakes.cluster.apply(shop());
        replica.pass(HOUR).await;
        assert_eq!(replica.issued(), 1);
        replica.fakes.machine.set_ahead(YEAR);
        replica.trouble();
        replica.pass(HOUR).await;
        replica.fakes.machine.set_ahead(Duration::ZERO);
        replica.pass(2 * limits::CLOCK_BACK).await;
        assert_eq!(replica.restarts, 1);
        replica.assert_no_long_waits().await;
        replica.end_of_trouble();
        replica.pass(27 * HOUR).await;
        let all = ["limited", "down", "forbidden", "away", "good"];
        let there = all.map(|name| replica.fakes.cluster.names("web", name).len());
        assert_eq!(there, [1; 5], "{all:?}");
        let before = replica.issued();
        replica.pass(3 * DAY).await;
        assert_eq!(replica.issued(), before, "nothing is due");
        replica.pass(2 * DAY).await;
        assert!(replica.issued() > before, "renewed when the CA suggests");
        replica.fakes.ca.set_suggestions(|_| None);
        replica.fakes.assert_stable().await;
    });
}

fn site(name: &str) -> IngressView {
    ingress("web", name, &[&format!("{name}.example.com")])
}

/// Fingerprint of the desired certificate, as in journals.
fn fingerprint(name: &str) -> Value {
    let mut index = Index::new(Selection::default(), None);
    index.apply(site(name));
    let desired = index.desired(&SecretKey::new("web", name)).expect("it was just asked for");
    serde_json::to_value(desired.fingerprint()).expect("it is a number")
}

/// Lines of a journal of 0.1.0 (schema 3 without folded failures), decided at `at`: a certificate
/// that failed eight times, one that is forbidden, one in order, and a closed account.
fn journal_of_0_1_0(at: Timestamp) -> Vec<String> {
    let (at, hour) = (at.as_millis(), 3_600_000);
    let stream = |name: &str| json!({"namespace": "web", "name": name});
    let failed = |name: &str, class: &str, pause: i64| {
        json!({
            "stream": stream(name), "at": at, "event": "issuance_failed", "class": class,
            "detail": "the words of the CA", "fingerprint": fingerprint(name),
            "retry_at": at + pause,
        })
    };
    let mut records = vec![failed("failing", "authorization", hour); 8];
    records.push(failed("forbidden", "policy", 24 * hour));
    records.push(json!({
        "stream": stream("ordered"), "at": at, "event": "issuance_started",
        "names": ["ordered.example.com"], "algorithm": "ecdsa-p256", "profile": null, "renew": null,
        "fingerprint": fingerprint("ordered"), "key": "a key",
    }));
    let url = "https://ca.example/order/lost";
    records
        .push(json!({"stream": stream("ordered"), "at": at, "event": "order_opened", "url": url}));
    let closing = json!({
        "scope": "account", "until": at + hour, "pace_ms": 1010, "detail": "too many new orders",
    });
    records.push(json!({
        "stream": stream("failing"), "at": at, "event": "scope_closed",
        "directory": ingress_acme_actors::fakes::DIRECTORY, "closing": closing,
    }));
    let segment = |kind: &str, records: &[Value]| {
        json!({"schema": 3, "writer": "0.1.0", "kind": kind, "records": records}).to_string()
    };
    vec![segment("fence", &[]), segment("batch", &records)]
}

#[test]
fn a_journal_of_0_1_0_from_the_future_closes_nothing_and_is_rewritten_with_right_times() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        for (number, line) in (1..).zip(journal_of_0_1_0(fakes.clock.now() + YEAR)) {
            fakes.segments.put(number, line.into_bytes());
        }
        for name in ["failing", "forbidden", "ordered"] {
            fakes.cluster.apply(site(name));
        }
        let mut replica = Replica::started(fakes).await;
        replica.assert_no_long_waits().await;
        replica.pass(2 * HOUR).await;
        assert_eq!(replica.issued(), 2, "two have waited for an hour");
        let (log, now) = (replica.fakes.segments.log(), replica.fakes.clock.now());
        let records = log.values().flat_map(|segment: &Segment| &segment.records);
        for record in records {
            assert!(record.at <= now, "{record:?}");
            if let Event::IssuanceFailed(failed) = &record.event {
                assert!(failed.retry_at <= now + DAY, "{record:?}");
            }
        }
        replica.pass(DAY).await;
        assert_eq!(replica.issued(), 3, "and one for a day");
        replica.fakes.assert_stable().await;
    });
}
