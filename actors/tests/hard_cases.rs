//! Hard cases on fakes and a paused clock. docs/testing.md maps each to its tests in all suites.

use std::time::Duration;

use ingress_acme_actors::domain::ingress::{
    IngressClass, IngressKey, IngressView, SecretKey, TlsBlock,
};
use ingress_acme_actors::fakes::{
    DIRECTORY, FakeSecret, Fakes, Retries, foreign_secret, named as ingress, our_secret, reasons,
    shop, with_tls,
};
use ingress_acme_actors::operator::Settings;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn told(fakes: &Fakes, name: &str, reason: &str) -> Vec<String> {
    let events = fakes.cluster.events("web", name).into_iter();
    events.filter(|event| event.reason == reason).map(|event| event.note).collect()
}

fn annotated(mut view: IngressView, annotation: &str, value: &str) -> IngressView {
    view.annotations.insert(annotation.to_owned(), value.to_owned());
    view
}

/// Let's Encrypt answers the second order with the open first one, whose certificate has the key of
/// the first Secret.
#[test]
fn two_ingresses_with_one_host_and_two_secrets_get_a_certificate_each_and_no_failure() {
    let gaps = [Duration::ZERO, SECOND / 50, SECOND / 20, SECOND / 10];
    let latencies = [Duration::ZERO, SECOND / 50, SECOND / 5, 2 * SECOND];
    for (gap, latency) in latencies.iter().flat_map(|latency| gaps.map(|gap| (gap, *latency))) {
        Fakes::paused(async move {
            let fakes = Fakes::default();
            fakes.ca.reuse_orders();
            fakes.operator(Fakes::settings()).await;
            fakes.cluster.set_latency(latency);
            let names = ["one", "two", "three"];
            for name in names {
                fakes.cluster.apply(with_tls(name, name, &["a.example.com"]));
                fakes.pass(gap).await;
            }
            fakes.pass(5 * MINUTE).await;
            for name in names {
                let secret = fakes.cluster.secret("web", name).expect("a Secret");
                let certificate = secret.view.certificate.expect("a certificate");
                assert!(certificate.key_matches, "{name} after {latency:?}");
                let told = fakes.cluster.events("web", name);
                assert_eq!(reasons(&told), ["Issued"], "{latency:?}: {told:?}");
            }
            assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (3, 3), "{latency:?}");
            assert_eq!(fakes.ca.most_open_for_one_set(), 1);
            fakes.assert_stable().await;
        });
    }
}

#[test]
fn an_order_for_the_same_names_goes_on_when_the_one_before_is_dropped_or_its_process_is_killed() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.ca.reuse_orders();
        fakes.ca.stall(true);
        fakes.cluster.apply(with_tls("one", "one", &["a.example.com"]));
        fakes.operator(Fakes::settings()).await;
        fakes.pass(MINUTE).await;
        fakes.cluster.apply(with_tls("two", "two", &["a.example.com"]));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.ca.orders(), 1, "the second waits");
        fakes.kill();
        fakes.operator(Fakes::settings()).await;
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.ca.orders(), 1, "also after a restart");
        fakes.ca.stall(false);
        fakes.cluster.delete(&IngressKey::new("web", "one"));
        fakes.pass(2 * MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "two"), ["a.example.com"]);
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (2, 1));
        fakes.assert_stable().await;
    });
}

#[test]
fn a_host_in_spec_tls_alone_is_routed_to_the_solver_and_gets_its_certificate_without_a_warning() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        let hosts = vec!["tls-only.example.com".to_owned()];
        let tls = vec![TlsBlock { hosts, secret_name: Some("shop".to_owned()) }];
        let class = IngressClass::Named("internal".into());
        fakes.cluster.apply(IngressView {
            tls,
            class,
            ..ingress("web", "shop", &["a.example.com"])
        });
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["tls-only.example.com"]);
        assert_eq!(reasons(&fakes.cluster.events("web", "shop")), ["Issued"]);
        assert_eq!((fakes.ca.orders(), fakes.cluster.calls("write_routes")), (1, 2));
        fakes.assert_stable().await;
    });
}

/// Another controller writes its own content again and again: with our label, or without.
#[test]
fn a_secret_that_is_overwritten_again_and_again_costs_no_more_than_one_that_is_deleted() {
    let others: [fn() -> FakeSecret; 2] = [|| our_secret("damaged", "another key"), foreign_secret];
    for (content, expected) in others.into_iter().zip([5, 1]) {
        Fakes::paused(async move {
            let fakes = Fakes::default();
            fakes.operator(Settings { guards: true, ..Fakes::settings() }).await;
            fakes.cluster.apply(shop());
            fakes.cluster.apply(with_tls("other", "other", &["b.example.com"]));
            for _ in 0..48 {
                fakes.pass(HOUR).await;
                fakes.cluster.put_secret(&SecretKey::new("web", "shop"), content());
            }
            fakes.pass(2 * HOUR).await;
            let of = |host: &str| {
                let issued = fakes.ca.issued();
                issued.iter().filter(|names| names.iter().any(|one| one.as_str() == host)).count()
            };
            // Four at once, and one more after 42 hours; what is not ours is left alone.
            assert_eq!((of("a.example.com"), of("b.example.com")), (expected, 1));
            let reason = if expected == 1 { "Conflict" } else { "Waiting" };
            assert!(!told(&fakes, "shop", reason).is_empty(), "{reason}");
        });
    }
}

#[test]
fn a_certificate_that_has_expired_on_arrival_is_never_written() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.ca.set_life(Duration::ZERO);
        fakes.cluster.apply(shop());
        fakes.pass(30 * SECOND).await;
        assert_eq!(fakes.cluster.calls("install"), 0);
        let failed = told(&fakes, "shop", "Failed");
        assert!(failed[0].contains("is not used: the certificate expired at"), "{failed:?}");
        fakes.ca.set_life(90 * DAY);
        fakes.pass(2 * MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["a.example.com"]);
        assert_eq!((fakes.ca.orders(), fakes.cluster.calls("install")), (2, 1));
        fakes.assert_stable().await;
    });
}

#[test]
fn a_request_that_the_ca_never_answers_is_given_up_and_repeated_and_costs_no_second_order() {
    for method in ["open_order", "accept", "refresh", "finalize", "download"] {
        Fakes::paused(async move {
            let fakes = Fakes::default();
            fakes.operator(Fakes::settings()).await;
            fakes.ca.be_silent_for(method);
            fakes.cluster.apply(shop());
            fakes.pass(5 * MINUTE).await;
            assert_eq!(fakes.cluster.names("web", "shop"), ["a.example.com"], "{method}");
            assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (1, 1), "{method}");
            fakes.assert_stable().await;
        });
    }
}

#[test]
fn an_order_that_stays_processing_is_given_up_after_an_hour_and_one_new_order_follows() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.ca.stall(true);
        fakes.cluster.apply(shop());
        fakes.pass(59 * MINUTE).await;
        assert_eq!((fakes.ca.orders(), told(&fakes, "shop", "Failed").len()), (1, 0));
        assert!(fakes.cluster.calls("refresh") <= 800, "{}", fakes.cluster.calls("refresh"));
        fakes.ca.stall(false);
        fakes.pass(10 * MINUTE).await;
        let failed = told(&fakes, "shop", "Failed");
        assert!(failed[0].contains("has not finished the order opened at"), "{failed:?}");
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (2, 1));
        assert_eq!(fakes.cluster.names("web", "shop"), ["a.example.com"]);
        fakes.assert_stable().await;
    });
}

#[test]
fn an_order_that_the_ca_no_longer_knows_is_followed_by_one_new_order() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.ca.stall(true);
        fakes.cluster.apply(shop());
        fakes.pass(5 * MINUTE).await;
        fakes.ca.forget_orders();
        fakes.ca.stall(false);
        fakes.pass(10 * MINUTE).await;
        let failed = told(&fakes, "shop", "Failed");
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert!(failed[0].contains("no longer knows the order"), "{failed:?}");
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (2, 1));
        fakes.assert_stable().await;
    });
}

/// The answer to the request to finalize is lost, and so is the process.
#[test]
fn an_order_that_was_finalized_before_is_not_finalized_again_and_its_certificate_is_installed() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.apply(shop());
        fakes.cluster.fail("download", 6);
        fakes.operator(Fakes::settings()).await;
        fakes.pass(20 * SECOND).await;
        assert_eq!(fakes.cluster.calls("finalize"), 1);
        fakes.kill();
        fakes.cluster.fail("download", 0);
        fakes.operator(Fakes::settings()).await;
        fakes.pass(2 * MINUTE).await;
        assert_eq!(fakes.cluster.calls("finalize"), 1);
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (1, 1));
        assert_eq!(fakes.cluster.names("web", "shop"), ["a.example.com"]);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_host_that_is_no_punycode_costs_no_order_and_is_told_and_its_neighbours_are_served() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(with_tls("bad", "bad", &["xn--99999999.example.com", "c.example.com"]));
        fakes.cluster.apply(with_tls("good", "good", &["xn--bcher-kva.example.com"]));
        fakes.pass(DAY).await;
        assert_eq!(fakes.cluster.names("web", "good"), ["xn--bcher-kva.example.com"]);
        assert_eq!(fakes.ca.orders(), 1);
        let failed = told(&fakes, "bad", "Failed");
        assert!(failed[0].contains("`xn--99999999`, which is not valid Punycode"), "{failed:?}");
        fakes.cluster.apply(with_tls("bad", "bad", &["c.example.com"]));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "bad"), ["c.example.com"]);
        fakes.assert_stable().await;
    });
}

/// 0.1.0 asked the CA for every such host, and a private CA may have issued.
#[test]
fn a_host_that_is_no_punycode_is_renewed_where_a_certificate_of_ours_has_it() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.ca.set_life(6 * DAY);
        let (from, until) = (fakes.clock.now() - DAY, fakes.clock.now() + 5 * DAY);
        let hosts = ["c.example.com", "xn--99999999.example.com"];
        let chain = format!("key|{}|{}|{}|7", hosts.join(","), from.as_millis(), until.as_millis());
        fakes.cluster.put_secret(&SecretKey::new("web", "shop"), our_secret(&chain, "key"));
        fakes.cluster.apply(with_tls("shop", "shop", &hosts));
        fakes.operator(Fakes::settings()).await;
        fakes.pass(4 * DAY).await;
        assert_eq!(fakes.ca.issued().len(), 1, "renewed");
        assert_eq!(fakes.cluster.names("web", "shop"), hosts);
        assert!(told(&fakes, "shop", "Failed").is_empty());
        fakes.assert_stable().await;
    });
}

#[test]
fn an_ingress_that_opts_out_keeps_its_secret_which_is_not_renewed_and_back_in_it_is() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.ca.set_life(6 * DAY);
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        let chain = fakes.cluster.secret("web", "shop").expect("a Secret").chain;
        fakes.cluster.apply(annotated(shop(), "enabled", "false"));
        fakes.pass(10 * DAY).await;
        assert_eq!(fakes.ca.orders(), 1);
        assert_eq!(fakes.cluster.secret("web", "shop").expect("it stays").chain, chain);
        assert_eq!(reasons(&fakes.cluster.events("web", "shop")), ["Issued"], "no Event about it");
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (2, 2));
        fakes.assert_stable().await;
    });
}

#[test]
fn a_switch_from_staging_to_production_issues_each_certificate_once_again_and_a_restart_none() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let count = 20;
        for n in 0..count {
            let name = format!("i{n}");
            fakes.cluster.apply(with_tls(&name, &name, &[&format!("h{n}.example.com")]));
        }
        let staging = "https://staging.example/directory".to_owned();
        fakes.operator(Settings { directory: staging, ..Fakes::settings() }).await;
        fakes.pass(5 * MINUTE).await;
        assert_eq!(fakes.ca.issued().len(), count);
        for start in 0..3 {
            fakes.kill();
            fakes.operator(Fakes::settings()).await;
            fakes.pass(DAY).await;
            assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (40, 40), "start {start}");
        }
        for n in 0..count {
            let secret = fakes.cluster.secret("web", &format!("i{n}")).expect("a Secret");
            assert_eq!(secret.view.directory.as_deref(), Some(DIRECTORY));
        }
        assert!(fakes.ca.replaced().is_empty(), "a certificate of another CA is not replaced");
        fakes.assert_stable().await;
    });
}

#[test]
fn a_namespace_whose_secrets_are_refused_for_good_is_told_and_delays_nobody_and_costs_one_order() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.refuse_secrets("full", "HTTP 403: exceeded quota: no-secrets");
        fakes.operator(Fakes::settings()).await;
        for n in 0..10 {
            let host = format!("full{n}.example.com");
            fakes.cluster.apply(ingress("full", &format!("f{n}"), &[&host]));
        }
        fakes.pass(10 * SECOND).await;
        for n in 0..20 {
            fakes.cluster.apply(ingress("web", &format!("s{n}"), &[&format!("s{n}.example.com")]));
        }
        fakes.pass(MINUTE).await;
        let there = (0..20).filter(|n| fakes.cluster.secret("web", &format!("s{n}")).is_some());
        assert_eq!(there.count(), 20);
        fakes.pass(20 * HOUR).await;
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (30, 30), "the chains are kept");
        let events = fakes.cluster.events("full", "f0");
        assert!(events.iter().any(|one| one.note.contains("exceeded quota")), "{events:?}");
        // The pauses grow to an hour. The recorder joins equal Events into one series.
        assert!(events.len() <= 40, "{} Events", events.len());
        fakes.assert_only_retries(10, Retries { attempts: 240, orders: 10 }).await;
    });
}
