//! The whole operator on fakes and a paused clock: the life of an Ingress from creation to
//! deletion.

use std::time::Duration;

use ingress_acme_actors::domain::desired::selection::Selection;
use ingress_acme_actors::domain::failure::{Failure, FailureClass};
use ingress_acme_actors::domain::ingress::{IngressKey, IngressView, SecretKey};
use ingress_acme_actors::domain::public_name::PublicCa;
use ingress_acme_actors::fakes::{Fakes, Retries, foreign_secret, ingress, reasons, with_tls};
use ingress_acme_actors::operator::Settings;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Settings under which only the first scan reads Secrets.
fn quiet() -> Settings {
    Settings { scan_interval: 30 * DAY, ..Fakes::settings() }
}

fn shop() -> IngressView {
    ingress("web", "shop", &["shop.example.com"])
}

fn annotated(mut view: IngressView, annotation: &str, value: &str) -> IngressView {
    view.annotations.insert(annotation.to_owned(), value.to_owned());
    view
}

#[test]
fn an_ingress_appears_and_its_secret_holds_a_certificate() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let operator = fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop-tls"), ["shop.example.com"]);
        assert_eq!(reasons(&fakes.cluster.events("web", "shop")), ["Issued"]);
        let tls = &fakes.cluster.view("web", "shop").unwrap().tls;
        assert_eq!(tls[0].secret_name.as_deref(), Some("shop-tls"));
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (1, 1));
        assert!(fakes.cluster.routed().is_empty(), "the route has gone");
        assert_eq!(fakes.cluster.calls("read"), 1, "one read of the Secret");
        assert_eq!(fakes.cluster.calls("install"), 1);
        assert_eq!(fakes.cluster.calls("write_routes"), 2, "there, and gone");
        assert!(operator.registry.is_empty());
    });
}

#[test]
fn a_spec_tls_of_the_users_own_is_not_touched() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(with_tls("shop", "shop-tls", &["shop.example.com"]));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop-tls"), ["shop.example.com"]);
        assert_eq!(fakes.cluster.calls("fill_tls"), 0);
    });
}

/// Settings for a CA that certifies public names only.
fn public_ca() -> Settings {
    with_ca(PublicCa::Yes)
}

fn with_ca(public_ca: PublicCa) -> Settings {
    let selection = Selection { public_ca, ..Selection::default() };
    Settings { selection, ..Fakes::settings() }
}

#[test]
fn a_public_ca_is_never_told_an_internal_name_and_the_neighbours_are_served() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(public_ca()).await;
        fakes.cluster.apply(ingress("web", "inner", &["db.internal", "redis.prod.svc"]));
        fakes.cluster.apply(ingress("web", "mixed", &["mixed.example.com", "nas.home.arpa"]));
        fakes.cluster.apply(shop());
        fakes.pass(2 * DAY).await;
        assert_eq!(fakes.cluster.names("web", "shop-tls"), ["shop.example.com"]);
        assert_eq!(fakes.cluster.names("web", "mixed-tls"), ["mixed.example.com"]);
        assert_eq!(fakes.ca.orders(), 2);
        assert!(fakes.cluster.secret("web", "inner-tls").is_none());
        assert_eq!(reasons(&fakes.cluster.events("web", "inner")), ["Skipped"], "told once");
        let note = &fakes.cluster.events("web", "inner")[0].note;
        assert!(note.contains("db.internal") && note.contains("--public-ca false"), "{note}");
        let filled = fakes.cluster.calls("fill_tls");
        assert_eq!(filled, 2, "spec.tls is filled in once each");
        fakes.assert_stable().await;
    });
}

#[test]
fn a_change_to_a_public_ca_leaves_what_a_private_one_has_issued_for_internal_names() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(ingress("web", "inner", &["db.internal"]));
        fakes.cluster.apply(ingress("web", "mixed", &["mixed.example.com", "nas.home.arpa"]));
        fakes.pass(MINUTE).await;
        let secrets =
            || ["inner-tls", "mixed-tls"].map(|name| fakes.cluster.secret("web", name).unwrap());
        let before = secrets().map(|secret| secret.chain);
        assert_eq!(fakes.ca.orders(), 2);
        fakes.kill();
        fakes.operator(public_ca()).await;
        fakes.pass(2 * DAY).await;
        assert_eq!(fakes.ca.orders(), 2);
        assert_eq!(secrets().map(|secret| secret.chain), before);
        assert!(reasons(&fakes.cluster.events("web", "inner")).contains(&"Skipped"));
        fakes.assert_stable().await;
    });
}

/// The CA cannot reach what has private addresses only, unless the outside has other ones.
#[test]
fn a_host_with_private_addresses_is_asked_for_once_a_day_after_the_first_refusal() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(public_ca()).await;
        for name in ["inner", "split"] {
            let host = format!("{name}.example.com");
            fakes.cluster.keep_inside(&host, true);
            fakes.cluster.apply(ingress("web", name, &[&host]));
        }
        fakes.cluster.doubt("inner.example.com", true);
        fakes.cluster.apply(ingress("web", "outer", &["outer.example.com"]));
        fakes.cluster.doubt("outer.example.com", true);
        fakes.pass(3 * DAY + HOUR).await;
        assert_eq!(
            fakes.cluster.names("web", "split-tls"),
            ["split.example.com"],
            "split DNS works"
        );
        let failures = |name: &str| {
            let events = fakes.cluster.events("web", name);
            reasons(&events).iter().filter(|reason| **reason == "Failed").count()
        };
        assert!((3..=4).contains(&failures("inner")), "{}: once a day", failures("inner"));
        assert!(failures("outer") >= 5, "{}", failures("outer"));
        fakes.assert_only_retries(2, Retries { attempts: 4, orders: 2 }).await;
    });
}

/// 0.1.0 asked every CA for every name. The CA of this test is a private one at a public address.
#[test]
fn what_a_private_ca_at_a_public_address_issued_for_internal_names_is_renewed_after_the_upgrade() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.ca.set_life(160 * HOUR);
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(ingress("web", "inner", &["db.internal"]));
        fakes.cluster.apply(ingress("web", "mixed", &["mixed.example.com", "nas.home.arpa"]));
        fakes.pass(MINUTE).await;
        fakes.kill();
        fakes.operator(with_ca(PublicCa::ByAddress)).await;
        fakes.cluster.apply(ingress("other", "inner", &["ldap.internal"]));
        fakes.cluster.apply(ingress("other", "neighbour", &["neighbour.example.com"]));
        fakes.pass(7 * DAY).await;
        let issued = |host: &str| {
            let issued = fakes.ca.issued();
            issued.iter().filter(|names| names.iter().any(|name| name.as_str() == host)).count()
        };
        assert!(issued("db.internal") >= 2, "renewed");
        assert!(issued("nas.home.arpa") >= 2, "renewed with all its names");
        assert_eq!(issued("ldap.internal"), 0, "no proof in its namespace");
        assert!(issued("neighbour.example.com") >= 1, "its neighbour is served");
        let told = |namespace| {
            let events = fakes.cluster.events(namespace, "inner");
            reasons(&events).iter().filter(|reason| **reason == "Skipped").count()
        };
        assert_eq!((told("web"), told("other")), (0, 1));
        fakes.cluster.apply(ingress("web", "new", &["new.internal"]));
        fakes.pass(MINUTE).await;
        assert_eq!(issued("new.internal"), 1, "the CA is a private one for the whole namespace");
    });
}

#[test]
fn a_restart_issues_nothing_and_only_reads() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        for n in 0..20 {
            fakes.cluster.apply(ingress(
                "web",
                &format!("shop-{n}"),
                &[&format!("s{n}.example.com")],
            ));
        }
        fakes.operator(quiet()).await;
        fakes.pass(5 * MINUTE).await;
        assert_eq!(fakes.ca.issued().len(), 20);
        fakes.kill();
        let (reads, installs) = (fakes.cluster.calls("read"), fakes.cluster.calls("install"));
        fakes.operator(quiet()).await;
        fakes.pass(5 * MINUTE).await;
        assert_eq!(fakes.ca.orders(), 20);
        assert_eq!(fakes.cluster.calls("install"), installs);
        assert_eq!(fakes.cluster.calls("read"), reads + 20, "each Secret once");
    });
}

#[test]
fn a_host_added_to_a_live_ingress_is_one_new_certificate() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        let mut live = fakes.cluster.view("web", "shop").unwrap();
        live.rule_hosts.push("www.example.com".to_owned());
        fakes.cluster.apply(live);
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop-tls"), ["shop.example.com", "www.example.com"]);
        assert_eq!(fakes.ca.issued().len(), 2);
        let tls = &fakes.cluster.view("web", "shop").unwrap().tls;
        assert_eq!(
            tls[0].hosts,
            ["shop.example.com", "www.example.com"],
            "what we filled in grows"
        );
    });
}

#[test]
fn an_edit_before_the_finalization_leaves_one_certificate_for_the_newest_names() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.set_latency(SECOND);
        fakes.cluster.apply(shop());
        while fakes.ca.orders() == 0 {
            fakes.pass(SECOND / 10).await;
        }
        fakes.cluster.apply(ingress("web", "shop", &["new.example.com"]));
        fakes.pass(2 * MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop-tls"), ["new.example.com"]);
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (2, 1));
        fakes.assert_stable().await;
    });
}

#[test]
fn a_deleted_ingress_drops_the_work_in_flight_its_secret_and_its_routes() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let operator = fakes.operator(Fakes::settings()).await;
        fakes.cluster.set_latency(SECOND);
        fakes.cluster.apply(shop());
        while fakes.ca.orders() == 0 {
            fakes.pass(SECOND / 10).await;
        }
        fakes.cluster.delete(&IngressKey::new("web", "shop"));
        fakes.pass(2 * MINUTE).await;
        assert!(fakes.cluster.secret("web", "shop-tls").is_none());
        assert_eq!(fakes.ca.issued().len(), 0);
        assert!(fakes.cluster.routed().is_empty());
        operator.ledger.for_each_live(|stream, _| panic!("the journal holds {stream}"));
        fakes.assert_stable().await;
    });
}

#[test]
fn a_secret_that_is_not_ours_is_never_overwritten_unless_it_is_handed_over() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.put_secret(&SecretKey::new("web", "shop-tls"), foreign_secret());
        let named = || with_tls("shop", "shop-tls", &["shop.example.com"]);
        fakes.cluster.apply(named());
        fakes.operator(Fakes::settings()).await;
        fakes.pass(DAY).await;
        assert_eq!(fakes.cluster.secret("web", "shop-tls").unwrap().chain, "made by hand");
        assert_eq!(reasons(&fakes.cluster.events("web", "shop")), ["Conflict"]);
        assert_eq!(fakes.ca.orders(), 0);
        fakes.cluster.apply(annotated(named(), "adopt-secret", "true"));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop-tls"), ["shop.example.com"]);
        fakes.assert_stable().await;
    });
}

#[test]
fn an_unreachable_host_costs_the_ca_nothing_and_delays_nobody() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.unresolve("dead.example.com", true);
        fakes.cluster.apply(ingress("web", "dead", &["dead.example.com"]));
        fakes.cluster.apply(shop());
        fakes.pass(30 * MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop-tls"), ["shop.example.com"]);
        assert_eq!(fakes.ca.orders(), 1);
        assert_eq!(reasons(&fakes.cluster.events("web", "dead")), ["Unreachable"]);
        fakes.cluster.unresolve("dead.example.com", false);
        fakes.pass(15 * MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "dead-tls"), ["dead.example.com"]);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_host_that_resolves_but_cannot_be_reached_from_inside_is_left_to_the_ca_after_a_while() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.cut("hairpin.example.com", true);
        fakes.cluster.apply(ingress("web", "hairpin", &["hairpin.example.com"]));
        fakes.pass(4 * MINUTE).await;
        assert_eq!(fakes.ca.orders(), 0);
        fakes.pass(20 * MINUTE).await;
        assert!(fakes.ca.orders() >= 1, "the CA was asked");
        assert!(reasons(&fakes.cluster.events("web", "hairpin")).contains(&"Failed"));
        fakes.assert_only_retries(1, Retries { attempts: 2, orders: 2 }).await;
    });
}

#[test]
fn a_refusal_of_the_ca_is_reported_in_its_words_and_backs_off_and_an_edit_clears_it() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        let words = "rejectedIdentifier: policy forbids issuing for name";
        let refusal = Failure::new(FailureClass::Policy, words);
        fakes.ca.set_policy(move |names| {
            let is_shop = names.iter().any(|name| name.as_str() == "shop.example.com");
            is_shop.then(|| refusal.clone())
        });
        fakes.cluster.apply(shop());
        fakes.cluster.apply(ingress("other", "neighbour", &["neighbour.example.com"]));
        fakes.pass(DAY).await;
        let orders = fakes.cluster.calls("open_order");
        assert_eq!(orders, 2, "one of its neighbour; the next is in a day");
        assert_eq!(fakes.cluster.names("other", "neighbour-tls"), ["neighbour.example.com"]);
        let events = fakes.cluster.events("web", "shop");
        assert!(
            events.iter().any(|one| one.reason == "Failed" && one.note.contains(words)),
            "{events:?}"
        );
        fakes.cluster.apply(ingress("web", "shop", &["other.example.com"]));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop-tls"), ["other.example.com"]);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_deleted_secret_is_found_by_the_scan() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        fakes.cluster.delete_secret(&SecretKey::new("web", "shop-tls"));
        fakes.pass(HOUR + MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop-tls"), ["shop.example.com"]);
        assert_eq!(fakes.ca.issued().len(), 2);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_scan_reads_a_secret_that_many_share_once_and_still_finds_that_it_is_gone() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(quiet()).await;
        for number in 0..50 {
            let host = format!("h{number}.example.com");
            fakes.cluster.apply(with_tls(&format!("i{number}"), "shared", &[&host]));
        }
        fakes.pass(HOUR).await;
        fakes.kill();
        let before = fakes.cluster.calls("read");
        fakes.operator(quiet()).await;
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.calls("read") - before, 1);
        fakes.kill();
        fakes.cluster.delete_secret(&SecretKey::new("web", "shared"));
        fakes.operator(quiet()).await;
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shared").len(), 50);
    });
}

#[test]
fn certificates_are_renewed_in_time_and_not_before() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.ca.set_life(6 * DAY);
        fakes.cluster.apply(shop());
        fakes.pass(2 * DAY).await;
        assert_eq!(fakes.ca.issued().len(), 1);
        fakes.pass(DAY + 2 * HOUR).await;
        assert_eq!(fakes.ca.issued().len(), 2);
        fakes.assert_stable().await;
    });
}

#[test]
fn two_ingresses_that_share_a_secret_have_one_certificate_and_the_last_one_takes_it_along() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.apply(with_tls("one", "shared", &["a.example.com"]));
        fakes.cluster.apply(with_tls("two", "shared", &["b.example.com"]));
        fakes.operator(Fakes::settings()).await;
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shared"), ["a.example.com", "b.example.com"]);
        assert_eq!(fakes.ca.issued().len(), 1);
        assert_eq!(fakes.cluster.secret("web", "shared").unwrap().owners.len(), 2);
        fakes.cluster.delete(&IngressKey::new("web", "one"));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shared"), ["b.example.com"]);
        assert_eq!(fakes.cluster.secret("web", "shared").unwrap().owners.len(), 1);
        fakes.cluster.delete(&IngressKey::new("web", "two"));
        fakes.pass(MINUTE).await;
        assert!(fakes.cluster.secret("web", "shared").is_none());
        assert_eq!(fakes.ca.issued().len(), 2);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_new_sharer_with_the_same_names_only_becomes_an_owner() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(with_tls("one", "shared", &["a.example.com"]));
        fakes.pass(MINUTE).await;
        fakes.cluster.apply(with_tls("two", "shared", &["a.example.com"]));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.secret("web", "shared").unwrap().owners.len(), 2);
        assert_eq!(fakes.ca.issued().len(), 1);
    });
}

#[test]
fn passing_errors_of_every_call_cost_neither_an_order_nor_a_certificate() {
    let calls = [
        "read",
        "write_routes",
        "open_order",
        "accept",
        "refresh",
        "finalize",
        "download",
        "install",
        "fill_tls",
    ];
    for call in calls {
        Fakes::paused(async move {
            let fakes = Fakes::default();
            fakes.operator(Fakes::settings()).await;
            fakes.cluster.fail(call, 3);
            fakes.cluster.apply(shop());
            fakes.pass(2 * MINUTE).await;
            assert_eq!(fakes.cluster.names("web", "shop-tls"), ["shop.example.com"], "{call}");
            assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (1, 1), "{call}");
            assert_eq!(fakes.cluster.view("web", "shop").unwrap().tls.len(), 1, "{call}");
            fakes.assert_stable().await;
        });
    }
}

#[test]
fn routes_of_an_earlier_process_go_though_they_could_not_be_listed_at_first() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.unresolve("gone.example.com", true);
        fakes.cluster.apply(ingress("web", "gone", &["gone.example.com"]));
        fakes.operator(quiet()).await;
        fakes.pass(8 * SECOND).await;
        assert_eq!(fakes.cluster.routed(), ["gone.example.com"]);
        fakes.kill();
        fakes.cluster.delete(&IngressKey::new("web", "gone"));
        fakes.cluster.fail("list_routes", 2);
        fakes.operator(quiet()).await;
        fakes.pass(5 * MINUTE).await;
        assert!(fakes.cluster.routed().is_empty());
        fakes.assert_stable().await;
    });
}

#[test]
fn a_certificate_that_cannot_be_written_is_kept_and_written_later() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.fail("install", 40);
        fakes.cluster.apply(shop());
        fakes.pass(2 * HOUR).await;
        assert_eq!(fakes.cluster.names("web", "shop-tls"), ["shop.example.com"]);
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (1, 1));
        assert!(reasons(&fakes.cluster.events("web", "shop")).contains(&"Waiting"));
        fakes.assert_stable().await;
    });
}

#[test]
fn an_order_in_flight_is_gone_on_with_after_a_restart() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.apply(shop());
        fakes.cluster.fail("install", 6);
        fakes.operator(Fakes::settings()).await;
        fakes.pass(45 * SECOND).await;
        assert_eq!(fakes.ca.issued().len(), 1);
        assert!(fakes.cluster.secret("web", "shop-tls").is_none());
        fakes.kill();
        fakes.operator(Fakes::settings()).await;
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop-tls"), ["shop.example.com"]);
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (1, 1));
        fakes.assert_stable().await;
    });
}

#[test]
fn bad_input_is_reported_once_and_never_reaches_the_ca() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        let long = format!("{}example.com", "abcdefg.".repeat(32));
        let bad = ["localhost", "*.example.com", "10.0.0.1", &long];
        for (n, host) in bad.iter().enumerate() {
            fakes.cluster.apply(ingress("web", &format!("bad-{n}"), &[host]));
        }
        fakes.cluster.apply(ingress("web", "bad-4", &[]));
        fakes.cluster.apply(ingress("web", "mixed", &["*.example.com", "good.example.com"]));
        fakes.pass(DAY).await;
        for n in 0..5 {
            let events = fakes.cluster.events("web", &format!("bad-{n}"));
            assert_eq!(reasons(&events), ["Skipped"], "{events:?}");
        }
        assert_eq!(fakes.cluster.names("web", "mixed-tls"), ["good.example.com"]);
        assert_eq!(fakes.ca.orders(), 1);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_new_value_of_the_renew_annotation_is_one_new_certificate() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(with_tls("shop", "shop-tls", &["shop.example.com"]));
        fakes.pass(MINUTE).await;
        let renew = annotated(with_tls("shop", "shop-tls", &["shop.example.com"]), "renew", "now");
        fakes.cluster.apply(renew);
        fakes.pass(DAY).await;
        assert_eq!(fakes.ca.issued().len(), 2);
    });
}

#[test]
fn a_storm_has_no_more_open_orders_than_slots_and_writes_few_routes() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(quiet()).await;
        fakes.cluster.set_latency(SECOND / 10);
        for n in 0..200 {
            fakes.cluster.apply(ingress("web", &format!("s{n}"), &[&format!("s{n}.example.com")]));
        }
        let mut most = 0;
        for _ in 0..6000 {
            fakes.pass(SECOND / 20).await;
            most = most.max(fakes.ca.open_orders());
        }
        assert_eq!(most, 4);
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (200, 200));
        assert_eq!(fakes.cluster.calls("read"), 200);
        assert!(
            fakes.cluster.calls("write_routes") <= 40,
            "{}",
            fakes.cluster.calls("write_routes")
        );
        assert!(fakes.cluster.routed().is_empty());
        fakes.assert_stable().await;
    });
}

#[test]
fn a_relist_and_edits_that_do_not_matter_are_no_work() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let operator = fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(with_tls("shop", "shop-tls", &["shop.example.com"]));
        fakes.pass(MINUTE).await;
        let reads = fakes.cluster.calls("read");
        fakes.cluster.relist();
        fakes.cluster.apply(with_tls("shop", "shop-tls", &["shop.example.com"]));
        fakes.pass(10 * SECOND).await;
        assert!(operator.registry.is_empty());
        assert_eq!(fakes.cluster.calls("read"), reads);
    });
}

#[test]
fn with_a_ca_that_validates_within_the_request_no_poll_is_needed() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.ca.validate_at_once();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop());
        fakes.pass(2 * MINUTE).await;
        assert!(fakes.cluster.secret("web", "shop-tls").is_some());
        let calls = ["open_order", "accept", "refresh", "finalize", "download"]
            .map(|call| fakes.cluster.calls(call));
        assert_eq!(calls, [1, 1, 0, 1, 1]);
        fakes.assert_stable().await;
    });
}
