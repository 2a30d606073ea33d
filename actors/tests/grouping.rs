//! One certificate for many Ingresses, on a paused clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ingress_acme_actors::domain::ingress::{IngressKey, IngressView, TlsBlock};
use ingress_acme_actors::fakes::{Fakes, ingress};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn grouped(number: usize) -> IngressView {
    let host = format!("shop-{number}.example.com");
    let mut view = ingress("web", &format!("i{number}"), &[&host]);
    view.annotations.insert("group".to_owned(), "true".to_owned());
    view
}

/// Name of the Secret in an Ingress's `spec.tls`.
fn secret_of(fakes: &Fakes, name: &str) -> String {
    let view = fakes.cluster.view("web", name).expect("it is there");
    let block = view.tls.first().expect("it has spec.tls");
    block.secret_name.clone().expect("it names a Secret")
}

fn secrets(fakes: &Fakes, count: usize) -> BTreeSet<String> {
    (0..count).map(|number| secret_of(fakes, &format!("i{number}"))).collect()
}

/// Asserts that the certificate named by each Ingress's `spec.tls` covers the Ingress's host.
fn assert_served(fakes: &Fakes, count: usize) {
    for number in 0..count {
        let secret = secret_of(fakes, &format!("i{number}"));
        let names = fakes.cluster.names("web", &secret);
        assert!(names.contains(&format!("shop-{number}.example.com")), "i{number}: {names:?}");
        assert!(names.len() <= 25, "{} names in {secret}", names.len());
    }
}

#[test]
fn twenty_ingresses_of_one_domain_share_one_certificate() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        (0..20).for_each(|number| fakes.cluster.apply(grouped(number)));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.ca.orders(), 1);
        assert_eq!(secrets(&fakes, 20), ["group-example.com".to_owned()].into());
        assert_served(&fakes, 20);
        let owners = fakes.cluster.secret("web", "group-example.com").expect("it is there").owners;
        assert_eq!(owners.len(), 20);
    });
}

#[test]
fn a_hundred_have_a_few_and_neither_a_restart_nor_a_deletion_orders_one_more() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        (0..100).for_each(|number| fakes.cluster.apply(grouped(number)));
        fakes.pass(5 * MINUTE).await;
        assert_served(&fakes, 100);
        let secrets_of_group = secrets(&fakes, 100);
        assert!((4..=10).contains(&secrets_of_group.len()), "{secrets_of_group:?}");
        assert_eq!(fakes.ca.orders(), secrets_of_group.len());

        fakes.kill();
        fakes.operator(Fakes::settings()).await;
        fakes.pass(2 * HOUR).await;
        for number in 40..100 {
            fakes.cluster.delete(&IngressKey::new("web", &format!("i{number}")));
        }
        fakes.pass(2 * HOUR).await;
        assert_eq!(fakes.ca.orders(), secrets_of_group.len());
        assert_served(&fakes, 40);

        // Renewal drops the names of deleted Ingresses.
        fakes.pass(65 * DAY).await;
        assert!(fakes.ca.orders() <= 2 * secrets_of_group.len(), "{} orders", fakes.ca.orders());
        let names: usize =
            secrets(&fakes, 40).iter().map(|secret| fakes.cluster.names("web", secret).len()).sum();
        assert_eq!(names, 40);
    });
}

#[test]
fn who_joins_changes_one_certificate_and_the_twenty_sixth_name_splits_it() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        (0..24).for_each(|number| fakes.cluster.apply(grouped(number)));
        fakes.pass(MINUTE).await;
        fakes.cluster.apply(grouped(24));
        fakes.pass(MINUTE).await;
        assert_eq!((fakes.ca.orders(), secrets(&fakes, 25).len()), (2, 1));
        fakes.cluster.apply(grouped(25));
        fakes.pass(MINUTE).await;
        assert_eq!((fakes.ca.orders(), secrets(&fakes, 26).len()), (4, 2));
        assert_served(&fakes, 26);

        // Split buckets stay split; otherwise an Ingress that comes and goes would cost two orders
        // each time.
        for _ in 0..3 {
            fakes.cluster.delete(&IngressKey::new("web", "i25"));
            fakes.pass(MINUTE).await;
            fakes.cluster.apply(grouped(25));
            fakes.pass(MINUTE).await;
        }
        assert_eq!(fakes.ca.orders(), 4);
    });
}

#[test]
fn a_host_that_leads_nowhere_does_not_cost_the_others_theirs() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.unresolve("shop-7.example.com", true);
        fakes.operator(Fakes::settings()).await;
        (0..20).for_each(|number| fakes.cluster.apply(grouped(number)));
        fakes.pass(10 * MINUTE).await;
        assert_eq!(
            (fakes.ca.orders(), fakes.cluster.names("web", "group-example.com").len()),
            (1, 19)
        );
        fakes.cluster.unresolve("shop-7.example.com", false);
        fakes.pass(15 * MINUTE).await;
        assert_served(&fakes, 20);
    });
}

#[test]
fn who_cannot_share_is_given_the_reason_and_has_its_own() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        let block = TlsBlock { hosts: Vec::new(), secret_name: Some("mine".to_owned()) };
        fakes.cluster.apply(IngressView { tls: vec![block], ..grouped(0) });
        let hosts = ["a.example.com", "a.example.org"].map(str::to_owned).to_vec();
        fakes.cluster.apply(IngressView { rule_hosts: hosts, ..grouped(1) });
        fakes.pass(MINUTE).await;
        assert_eq!(
            (secret_of(&fakes, "i0"), secret_of(&fakes, "i1")),
            ("mine".into(), "i1-tls".into())
        );
        for name in ["i0", "i1"] {
            let events = fakes.cluster.events("web", name);
            assert!(
                events.iter().any(|one| one.note.contains("ingress-acme.dev/group")),
                "{events:?}"
            );
        }
    });
}

#[test]
fn who_leaves_has_a_certificate_of_its_own_and_the_others_keep_theirs() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        (0..3).for_each(|number| fakes.cluster.apply(grouped(number)));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.ca.orders(), 1);
        let mut alone = fakes.cluster.view("web", "i0").expect("it is there");
        alone.annotations.remove("group");
        fakes.cluster.apply(alone);
        let mut elsewhere = fakes.cluster.view("web", "i1").expect("it is there");
        elsewhere.rule_hosts.push("www.example.org".to_owned());
        fakes.cluster.apply(elsewhere);
        fakes.pass(MINUTE).await;
        let named = ["i0", "i1", "i2"].map(|name| secret_of(&fakes, name));
        assert_eq!(named, ["i0-tls", "i1-tls", "group-example.com"]);
        assert_eq!(fakes.cluster.names("web", "i0-tls"), ["shop-0.example.com"]);
        assert_eq!(fakes.cluster.names("web", "i1-tls"), ["shop-1.example.com", "www.example.org"]);
        assert_eq!(fakes.ca.orders(), 3);
    });
}

#[test]
fn who_has_a_certificate_and_joins_is_served_all_the_time() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        let alone = IngressView { annotations: BTreeMap::default(), ..grouped(0) };
        fakes.cluster.apply(alone);
        fakes.pass(MINUTE).await;
        assert_eq!(secret_of(&fakes, "i0"), "i0-tls");
        let mut joined = fakes.cluster.view("web", "i0").expect("it is there");
        joined.annotations.insert("group".to_owned(), "true".to_owned());
        fakes.cluster.apply(joined);
        fakes.pass(MINUTE).await;
        assert_eq!(secret_of(&fakes, "i0"), "group-example.com");
        assert_served(&fakes, 1);
        assert!(fakes.cluster.secret("web", "i0-tls").is_some(), "it goes with its Ingress");
    });
}

#[test]
fn who_moves_to_a_certificate_that_does_without_its_host_keeps_the_one_it_has() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        let mut alone = grouped(7);
        alone.annotations.clear();
        fakes.cluster.apply(alone);
        fakes.pass(MINUTE).await;
        fakes.cluster.doubt("shop-7.example.com", true);
        (0..3).for_each(|number| fakes.cluster.apply(grouped(number)));
        let mut joins = fakes.cluster.view("web", "i7").expect("it is there");
        joins.annotations.insert("group".to_owned(), "true".to_owned());
        fakes.cluster.apply(joins);
        fakes.pass(20 * MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "group-example.com").len(), 3);
        assert_eq!(
            (secret_of(&fakes, "i1"), secret_of(&fakes, "i7")),
            ("group-example.com".into(), "i7-tls".into())
        );
        fakes.cluster.doubt("shop-7.example.com", false);
        fakes.pass(2 * DAY).await;
        assert_eq!(secret_of(&fakes, "i7"), "group-example.com");
    });
}

#[test]
fn who_joins_a_group_with_a_bad_host_does_not_wait_for_what_is_known() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.doubt("shop-0.example.com", true);
        fakes.operator(Fakes::settings()).await;
        (0..3).for_each(|number| fakes.cluster.apply(grouped(number)));
        fakes.pass(10 * MINUTE).await;
        for number in 3..8 {
            fakes.cluster.apply(grouped(number));
            fakes.pass(2 * MINUTE).await;
            assert_eq!(fakes.cluster.names("web", "group-example.com").len(), number);
        }
    });
}
