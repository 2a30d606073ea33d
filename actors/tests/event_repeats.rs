//! Events over a day on a paused clock: while a state lasts, its owner finds the reason at any
//! time, though the API server deletes Events after an hour; and few Events are sent.

use std::collections::BTreeMap;
use std::time::Duration;

use ingress_acme_actors::domain::failure::{Failure, FailureClass};
use ingress_acme_actors::domain::ingress::{IngressKey, SecretKey};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::domain::new_orders::NewOrders;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::fakes::{Fakes, foreign_secret, named as ingress, with_tls};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// `--event-ttl` of kube-apiserver.
const KEPT: Duration = Duration::from_hours(1);

/// Times of the Events of each Ingress, in order.
fn times(fakes: &Fakes) -> BTreeMap<IngressKey, Vec<Timestamp>> {
    let mut times: BTreeMap<IngressKey, Vec<Timestamp>> = BTreeMap::new();
    for (key, at) in fakes.cluster.event_times() {
        times.entry(key).or_default().push(at);
    }
    times
}

/// Asserts that an Event is there at any time from the first one on until `end`.
fn assert_readable(key: &IngressKey, times: &[Timestamp], end: Timestamp) {
    let ends = times.iter().skip(1).copied().chain([end]);
    for (sent, next) in times.iter().zip(ends) {
        let pause = next.since(*sent);
        assert!(pause < KEPT, "{key}: nothing to read from {sent} for {pause:?}");
    }
}

/// Repetitions of one Event in a day.
fn repeats_of_a_day() -> usize {
    usize::try_from(DAY.as_secs().div_ceil(limits::EVENT_REPEAT.as_secs())).expect("a few")
}

/// Ingresses that never get a certificate, each for another reason.
fn troubled(fakes: &Fakes) {
    let host = |name: &str| format!("{name}.example.com");
    for name in ["elsewhere", "unresolved", "refused", "limited", "silent"] {
        fakes.cluster.apply(ingress("web", name, &[&host(name)]));
    }
    fakes.cluster.apply(ingress("web", "wild", &["*.example.com"]));
    fakes.cluster.cut(&host("elsewhere"), true);
    fakes.cluster.unresolve(&host("unresolved"), true);
    fakes.ca.set_policy(|names| {
        let names: Vec<&str> = names.iter().map(DnsName::as_str).collect();
        match &names[..] {
            ["refused.example.com"] => {
                Some(Failure::new(FailureClass::Authorization, "HTTP 404 instead of 200"))
            }
            ["limited.example.com"] => {
                let limited = Failure::new(FailureClass::RateLimited, "too many certificates");
                Some(Failure { retry_after: Some(5 * DAY), ..limited })
            }
            ["silent.example.com"] => Some(Failure::new(FailureClass::AcmeServer, "HTTP 500")),
            _ => None,
        }
    });
    let taken = SecretKey::new("web", "taken-tls");
    fakes.cluster.put_secret(&taken, foreign_secret());
    fakes.cluster.apply(with_tls("taken", "taken-tls", &[&host("taken")]));
}

#[test]
fn the_reason_is_there_at_any_time_of_a_day_with_few_events_and_across_a_takeover() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(ingress("web", "good", &["good.example.com"]));
        fakes.pass(MINUTE).await;
        troubled(&fakes);
        fakes.pass(8 * HOUR + 7 * MINUTE).await;
        fakes.kill();
        fakes.pass(8 * MINUTE).await;
        fakes.operator(Fakes::settings()).await;
        fakes.pass(8 * HOUR).await;
        fakes.new_orders.send_replace(NewOrders::of(Some("stopped")));
        fakes.cluster.apply(ingress("web", "late", &["late.example.com"]));
        fakes.pass(8 * HOUR).await;
        let (times, end) = (times(&fakes), fakes.clock.now());
        let names: Vec<&str> = times.keys().map(|key| &*key.name).collect();
        let troubled =
            ["elsewhere", "late", "limited", "refused", "silent", "taken", "unresolved", "wild"];
        assert_eq!(names, [&["elsewhere", "good"][..], &troubled[1..]].concat());
        for (key, times) in &times {
            if &*key.name == "good" {
                assert_eq!(times.len(), 1, "a good certificate is told once");
                continue;
            }
            assert_readable(key, times, end);
            // Two starts of a leader, the attempts and the changes of the state come on top.
            let most = repeats_of_a_day() + 20;
            assert!(times.len() <= most, "{key}: {} Events, {most} at most", times.len());
        }
    });
}

#[test]
fn five_thousand_ingresses_with_a_problem_are_all_readable_within_the_budget_of_events() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        for number in 0..5_000 {
            let namespace = if number % 100 == 0 { "small" } else { "large" };
            fakes.cluster.apply(ingress(namespace, &format!("i{number}"), &["*.example.com"]));
        }
        fakes.operator(Fakes::settings()).await;
        let began = fakes.clock.now();
        fakes.pass(limits::EVENT_REPEAT_START / 2).await;
        let first = fakes.cluster.event_times().len();
        assert_eq!(first, 5_000, "each is told once at the start");
        fakes.pass(2 * HOUR).await;
        let (times, end) = (times(&fakes), fakes.clock.now());
        for (key, times) in &times {
            assert_readable(key, times, end);
        }
        let sent = fakes.cluster.event_times();
        let most = 5_000 * (2 * HOUR.as_secs()).div_ceil(limits::EVENT_REPEAT.as_secs());
        let again = u64::try_from(sent.len() - first).unwrap();
        // The first look of a leader has a whole period.
        assert!(again <= most + 5_000, "{again} Events");
        let mut slots: BTreeMap<u64, usize> = BTreeMap::new();
        for (_, at) in &sent[first..] {
            let slot = at.since(began).as_secs() / limits::EVENT_REPEAT_SLOT.as_secs();
            *slots.entry(slot).or_default() += 1;
        }
        let largest = slots.into_values().max().unwrap();
        assert!(largest <= limits::EVENTS_REPEATED, "{largest} Events in ten seconds");
    });
}
