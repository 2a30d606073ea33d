//! The switch for new orders on a paused clock: waits, work that goes on, and the end of the waits
//! when new orders are allowed again.

use std::time::Duration;

use ingress_acme_actors::domain::new_orders::NewOrders;
use ingress_acme_actors::fakes::{Fakes, ingress, reasons};
use ingress_acme_actors::reporting::reporter::{GetOverview, ListIngresses, Search};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Moves the switch to the position of this value of the annotation.
fn annotate(fakes: &Fakes, value: Option<&str>) {
    fakes.new_orders.send_replace(NewOrders::of(value));
}

fn stopped(fakes: &Fakes) -> bool {
    let registry = fakes.shown.metrics.registry("0", "", &fakes.shown.expiries);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
    let line = |value| text.contains(&format!("\ningress_acme_new_orders_stopped {value}\n"));
    assert!(line(0) || line(1), "{text}");
    line(1)
}

fn host(name: &str) -> String {
    format!("{name}.example.com")
}

fn sites(fakes: &Fakes, names: &[&str]) {
    for name in names {
        fakes.cluster.apply(ingress("web", name, &[&host(name)]));
    }
}

#[test]
fn new_certificates_wait_for_months_while_the_others_are_renewed_and_go_on_without_an_edit() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let operator = fakes.operator(Fakes::settings()).await;
        sites(&fakes, &["old"]);
        fakes.pass(MINUTE).await;
        annotate(&fakes, Some("stopped: incident 42"));
        sites(&fakes, &["new", "other"]);
        fakes.pass(200 * DAY).await;
        assert!(stopped(&fakes));
        let renewed = fakes.ca.orders();
        assert!((3..=4).contains(&renewed), "{renewed} orders, all of the one that was there");
        assert!(fakes.ca.ordered().iter().all(|names| *names == [host("old")]));
        assert_eq!(fakes.cluster.secret("web", "new-tls").map(drop), None);
        assert_eq!(fakes.cluster.calls("probe"), renewed, "no host that waits is probed");
        let [told] = &fakes.cluster.events("web", "new")[..] else { panic!("one Event") };
        assert_eq!(told.reason, "Waiting");
        for text in ["incident 42", "new.example.com", "resume", "ingress-acme.dev/new-orders-"] {
            assert!(told.note.contains(text), "{text} in {}", told.note);
        }
        let overview = operator.reporter.send(GetOverview { rows: 9 }).await.unwrap();
        let said = "New orders are stopped (incident 42). Certificates that wait: 2";
        assert_eq!(overview.notices, [said]);
        let query = ListIngresses { search: Search::default(), limit: 9, offset: 0 };
        let rows = operator.reporter.send(query).await.unwrap().ingresses;
        let waits = rows.iter().map(|row| (&*row.name, row.certificates[0].stopped));
        assert_eq!(waits.collect::<Vec<_>>(), [("new", true), ("old", false), ("other", true)]);
        annotate(&fakes, None);
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.ca.orders(), renewed + 2);
        assert_eq!(fakes.cluster.names("web", "new-tls"), [host("new")]);
        assert_eq!(fakes.cluster.names("web", "other-tls"), [host("other")]);
        assert!(!stopped(&fakes));
        let overview = operator.reporter.send(GetOverview { rows: 9 }).await.unwrap();
        assert!(overview.notices.is_empty());
    });
}

#[test]
fn an_order_that_is_open_at_the_stop_ends_and_its_challenge_is_answered() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.fail("finalize", 8);
        sites(&fakes, &["shop"]);
        fakes.pass(MINUTE).await;
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (1, 0));
        annotate(&fakes, Some("stopped"));
        fakes.pass(MINUTE / 4).await;
        assert!(!fakes.cluster.routed().is_empty(), "the CA may ask at any moment");
        fakes.pass(10 * MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop-tls"), [host("shop")]);
        assert_eq!(fakes.ca.orders(), 1);
        assert!(fakes.cluster.routed().is_empty());
    });
}

#[test]
fn a_stop_outlives_kills_and_an_open_order_is_resumed_by_the_next_leader() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.fail("finalize", 20);
        sites(&fakes, &["open"]);
        fakes.pass(MINUTE).await;
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (1, 0));
        annotate(&fakes, Some("stopped"));
        sites(&fakes, &["new"]);
        for _ in 0..3 {
            fakes.pass(MINUTE).await;
            fakes.kill();
            fakes.operator(Fakes::settings()).await;
        }
        fakes.pass(30 * MINUTE).await;
        assert!(stopped(&fakes), "the new leader shows it from its start");
        assert_eq!(fakes.cluster.names("web", "open-tls"), [host("open")]);
        assert_eq!(fakes.ca.orders(), 1);
        fakes.kill();
        annotate(&fakes, None); // while nobody leads
        fakes.operator(Fakes::settings()).await;
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "new-tls"), [host("new")]);
        assert_eq!(fakes.ca.orders(), 2);
    });
}

#[test]
fn a_host_that_is_added_waits_for_the_renewal_and_one_that_is_removed_does_not() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        let hosts = [host("a"), host("b"), host("c")];
        fakes.cluster.apply(ingress("web", "shop", &[&hosts[0], &hosts[1]]));
        fakes.pass(MINUTE).await;
        annotate(&fakes, Some("stopped"));
        fakes.cluster.apply(ingress("web", "shop", &[&hosts[0]]));
        fakes.pass(10 * MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop-tls"), hosts[..1]);
        fakes.cluster.apply(ingress("web", "shop", &[&hosts[0], &hosts[2]]));
        fakes.pass(50 * DAY).await;
        assert_eq!((fakes.ca.orders(), fakes.cluster.names("web", "shop-tls").len()), (2, 1));
        fakes.pass(20 * DAY).await;
        assert_eq!((fakes.ca.orders(), fakes.cluster.names("web", "shop-tls").len()), (3, 2));
    });
}

#[test]
fn a_value_that_is_not_understood_stops_nothing_and_the_page_says_so() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        annotate(&fakes, Some("true"));
        let operator = fakes.operator(Fakes::settings()).await;
        sites(&fakes, &["shop"]);
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop-tls"), [host("shop")]);
        assert!(!stopped(&fakes));
        let notices = operator.reporter.send(GetOverview { rows: 9 }).await.unwrap().notices;
        let [said] = &notices[..] else { panic!("a value that means nothing is told") };
        assert!(said.contains("\"true\"") && said.contains("go on"), "{said}");
    });
}

#[test]
fn a_switch_that_is_moved_all_the_time_loses_no_certificate_and_orders_none_twice() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        let names: Vec<String> = (0..20).map(|number| format!("s{number}")).collect();
        for (number, name) in names.iter().enumerate() {
            annotate(&fakes, (number % 2 == 0).then_some("stopped"));
            fakes.cluster.apply(ingress("web", name, &[&host(name)]));
            fakes.pass(Duration::from_millis(700)).await;
        }
        annotate(&fakes, None);
        fakes.pass(2 * MINUTE).await;
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (20, 20));
        for name in &names {
            let told = reasons(&fakes.cluster.events("web", name));
            assert_eq!(told.iter().filter(|reason| **reason == "Issued").count(), 1, "{told:?}");
            assert!(told.iter().filter(|reason| **reason == "Waiting").count() <= 11, "{told:?}");
        }
    });
}

#[test]
fn an_ingress_that_goes_while_it_waits_costs_nothing_when_new_orders_are_allowed() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        annotate(&fakes, Some("stopped"));
        let operator = fakes.operator(Fakes::settings()).await;
        sites(&fakes, &["shop", "stays"]);
        fakes.pass(HOUR).await;
        fakes.cluster.delete(&"web/shop".parse().unwrap());
        fakes.pass(MINUTE).await;
        let notices = operator.reporter.send(GetOverview { rows: 9 }).await.unwrap().notices;
        assert!(notices[0].ends_with("wait: 1"), "{notices:?}");
        annotate(&fakes, None);
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.ca.ordered(), [[host("stays")]]);
    });
}
