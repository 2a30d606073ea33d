//! Certificates for a subset of the names when the others fail, on a paused clock.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use ingress_acme_actors::domain::failure::{Failure, FailureClass};
use ingress_acme_actors::domain::ingress::IngressView;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::fakes::{Fakes, Retries, ingress};
use ingress_acme_actors::operator::Settings;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

const HOSTS: [&str; 3] = ["a.example.com", "b.example.com", "bad.example.com"];

fn shop(opted_in: bool) -> IngressView {
    let mut view = ingress("web", "shop", &HOSTS);
    if opted_in {
        view.annotations.insert("partial".to_owned(), "true".to_owned());
    }
    view
}

fn issued(fakes: &Fakes) -> Vec<String> {
    let line =
        |names: &BTreeSet<DnsName>| names.iter().map(DnsName::as_str).collect::<Vec<_>>().join(" ");
    fakes.ca.issued().iter().map(line).collect()
}

#[test]
fn without_asking_for_it_nobody_gets_less_than_all_names() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.doubt("bad.example.com", true);
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop(false));
        fakes.pass(2 * DAY).await;
        assert!(issued(&fakes).is_empty());
        fakes.assert_only_retries(1, Retries { attempts: 2, orders: 2 }).await;
    });
}

#[test]
fn the_names_that_can_be_had_get_a_certificate_and_the_bad_one_is_named() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.doubt("bad.example.com", true);
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop(true));
        fakes.pass(6 * MINUTE).await;
        assert_eq!(issued(&fakes), ["a.example.com b.example.com"]);
        let events = fakes.cluster.events("web", "shop");
        let partly =
            events.iter().find(|one| one.reason == "PartlyIssued").expect("an Event PartlyIssued");
        assert!(partly.note.contains("It leaves out bad.example.com"), "{}", partly.note);
        assert!(!fakes.cluster.view("web", "shop").expect("it is there").tls.is_empty());

        // The full set is retried on the ordinary backoff of failures; no other set is tried.
        fakes.pass(2 * DAY).await;
        assert_eq!(issued(&fakes).len(), 1);
        assert!(fakes.ca.orders() <= 8, "{} orders", fakes.ca.orders());
        fakes.cluster.doubt("bad.example.com", false);
        fakes.pass(25 * HOUR).await;
        assert_eq!(issued(&fakes).last().map(String::as_str), Some(&*HOSTS.join(" ")));
        fakes.pass(2 * DAY).await;
        assert_eq!(issued(&fakes).len(), 2);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_host_that_does_not_resolve_is_done_without_and_joins_when_it_does() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.unresolve("bad.example.com", true);
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop(true));
        fakes.pass(4 * MINUTE).await;
        assert!(issued(&fakes).is_empty(), "its record may be on the way");
        fakes.pass(10 * MINUTE).await;
        assert_eq!(issued(&fakes), ["a.example.com b.example.com"]);
        fakes.cluster.unresolve("bad.example.com", false);
        fakes.pass(11 * MINUTE).await;
        assert_eq!(issued(&fakes).last().map(String::as_str), Some(&*HOSTS.join(" ")));
        assert_eq!(fakes.ca.orders(), 2, "the CA was asked for what could be had");
        fakes.assert_stable().await;
    });
}

#[test]
fn a_restart_does_without_the_same_names() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.doubt("bad.example.com", true);
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop(true));
        fakes.pass(10 * MINUTE).await;
        let orders = fakes.ca.orders();
        for _ in 0..20 {
            fakes.kill();
            fakes.operator(Fakes::settings()).await;
            fakes.pass(MINUTE / 20).await;
        }
        assert_eq!((issued(&fakes).len(), fakes.ca.orders()), (1, orders));
        fakes.assert_only_retries(1, Retries { attempts: 2, orders: 2 }).await;
    });
}

#[test]
fn a_certificate_for_all_names_is_given_up_only_when_it_is_about_to_end() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let settings = Settings { scan_interval: 6 * HOUR, ..Fakes::settings() };
        fakes.operator(settings).await;
        fakes.cluster.apply(shop(true));
        fakes.pass(MINUTE).await;
        assert_eq!(issued(&fakes).len(), 1);
        fakes.cluster.doubt("bad.example.com", true);
        // Renewal is due with a third of the 90 days left; after 81 days, a tenth is left.
        fakes.pass(80 * DAY).await;
        assert_eq!(issued(&fakes).len(), 1);
        fakes.pass(2 * DAY).await;
        assert_eq!(issued(&fakes).len(), 2);
        assert_eq!(issued(&fakes)[1], "a.example.com b.example.com");
        fakes.pass(50 * DAY).await;
        assert_eq!(issued(&fakes).len(), 2, "a part has its own life");
        fakes.pass(20 * DAY).await;
        assert_eq!(issued(&fakes).len(), 3);
        fakes.assert_only_retries(1, Retries { attempts: 2, orders: 2 }).await;
    });
}

#[test]
fn a_name_that_is_served_stays_so_when_another_is_added_to_it_and_one_fails() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop(true));
        fakes.pass(MINUTE).await;
        fakes.cluster.doubt("bad.example.com", true);
        let mut more = fakes.cluster.view("web", "shop").expect("it is there");
        more.rule_hosts.push("new.example.com".to_owned());
        fakes.cluster.apply(more);
        fakes.pass(2 * DAY).await;
        assert_eq!(issued(&fakes), [HOSTS.join(" ")]);
        fakes.assert_only_retries(1, Retries { attempts: 2, orders: 2 }).await;
    });
}

#[test]
fn hosts_that_fail_one_after_the_other_cost_few_orders() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        let hosts: Vec<String> = (0..40).map(|number| format!("h{number}.example.com")).collect();
        let (known, refused) = (hosts.clone(), Rc::new(Cell::new(0)));
        let counted = refused.clone();
        // The CA refuses the first name of every order.
        fakes.ca.set_policy(move |names| {
            counted.set(counted.get() + 1);
            let first = names.iter().find(|name| known.contains(&name.to_string()))?;
            Some(Failure::new(FailureClass::Authorization, "no").about([first.clone()]))
        });
        let mut view =
            ingress("web", "shop", &hosts.iter().map(String::as_str).collect::<Vec<_>>());
        view.annotations.insert("partial".to_owned(), "true".to_owned());
        fakes.cluster.apply(view);
        fakes.pass(3 * HOUR).await;
        assert!(refused.get() <= 8, "{} orders", refused.get());
        fakes.pass(7 * DAY).await;
        assert!(refused.get() <= 30, "{} orders", refused.get());
        fakes.assert_only_retries(1, Retries { attempts: 2, orders: 3 }).await;
    });
}

#[test]
fn a_part_is_issued_once_though_its_dates_look_wrong() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.doubt("bad.example.com", true);
        fakes.ca.set_life(Duration::ZERO + MINUTE);
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop(true));
        fakes.pass(20 * MINUTE).await;
        assert!(issued(&fakes).len() <= 16, "{} certificates", issued(&fakes).len());
    });
}
