//! Namespaces beside each other: which one has a host, and how the limits of the CA are shared.

use std::time::Duration;

use ingress_acme_actors::domain::desired::selection::Selection;
use ingress_acme_actors::domain::ingress::{IngressKey, IngressView, SecretKey};
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::fakes::{Fakes, ingress, our_secret};
use ingress_acme_actors::operator::Settings;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const HOST: &str = "www.example.com";

/// Settings under which several namespaces may have one host, as in 0.1.0.
fn shared() -> Settings {
    let selection = Selection { shared_hosts: true, ..Selection::default() };
    Settings { selection, ..Fakes::settings() }
}

/// A CA whose certificates live for 160 hours, so that they are renewed within days.
fn short_lived() -> Fakes {
    let fakes = Fakes::default();
    fakes.ca.set_life(160 * HOUR);
    fakes
}

fn site(namespace: &str) -> IngressView {
    ingress(namespace, "shop", &[HOST])
}

/// Number of Events of a namespace's Ingress with this text.
fn told(fakes: &Fakes, namespace: &str, text: &str) -> usize {
    let events = fakes.cluster.events(namespace, "shop");
    events.iter().filter(|event| event.note.contains(text)).count()
}

fn has(fakes: &Fakes, namespace: &str) -> bool {
    fakes.cluster.names(namespace, "shop") == [HOST]
}

#[test]
fn the_namespace_that_has_a_host_keeps_it_and_the_other_is_told_once() {
    Fakes::paused(async {
        let fakes = short_lived();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(site("b"));
        fakes.pass(MINUTE).await;
        let older = Timestamp::from_secs(-1_000_000);
        fakes.cluster.apply(IngressView { created: older, ..site("a") });
        fakes.pass(2 * DAY).await;
        assert!(has(&fakes, "b") && !has(&fakes, "a"));
        assert_eq!((fakes.ca.orders(), told(&fakes, "a", "another namespace")), (1, 1));
        assert_eq!(told(&fakes, "b", "another namespace"), 0);
    });
}

#[test]
fn when_the_owner_goes_the_next_is_served_at_once() {
    Fakes::paused(async {
        let fakes = short_lived();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(site("a"));
        fakes.pass(MINUTE).await;
        fakes.cluster.apply(site("b"));
        fakes.pass(MINUTE).await;
        assert!(!has(&fakes, "b"));
        fakes.cluster.delete(&IngressKey::new("a", "shop"));
        fakes.pass(MINUTE).await;
        assert!(has(&fakes, "b"));
    });
}

#[test]
fn an_edit_of_an_old_ingress_takes_no_host_over_also_not_by_a_restart() {
    Fakes::paused(async {
        let fakes = short_lived();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(ingress("a", "shop", &["old.example.com"]));
        fakes.pass(DAY).await;
        fakes.cluster.apply(site("b"));
        fakes.pass(MINUTE).await;
        fakes.cluster.apply(ingress("a", "shop", &["old.example.com", HOST]));
        fakes.pass(MINUTE).await;
        for _ in 0..3 {
            fakes.kill();
            fakes.operator(Fakes::settings()).await;
            fakes.pass(5 * DAY).await;
        }
        let issued = fakes.ca.issued();
        let with_host: Vec<_> = issued.iter().filter(|names| names.len() > 1).collect();
        assert!(with_host.is_empty(), "the older Ingress got {with_host:?}");
        assert_eq!(fakes.cluster.names("a", "shop"), ["old.example.com"], "its own host is served");
        assert!(has(&fakes, "b") && issued.len() >= 6, "both are renewed: {}", issued.len());
    });
}

#[test]
fn namespaces_that_both_hold_certificates_at_the_upgrade_keep_both_with_one_event_each() {
    Fakes::paused(async {
        let fakes = short_lived();
        fakes.operator(shared()).await;
        fakes.cluster.apply(site("a"));
        fakes.cluster.apply(site("b"));
        fakes.pass(MINUTE).await;
        fakes.cluster.apply(ingress("c", "shop", &["other.example.com"]));
        fakes.pass(MINUTE).await;
        assert!(has(&fakes, "a") && has(&fakes, "b"));
        fakes.kill();
        fakes.operator(Fakes::settings()).await;
        fakes.pass(HOUR).await;
        fakes.cluster.apply(ingress("c", "shop", &["other.example.com", HOST]));
        fakes.pass(15 * DAY).await;
        let renewed = fakes.ca.issued().iter().filter(|names| names.len() == 1).count();
        assert!(renewed >= 9, "{renewed} certificates in 15 days");
        let texts = ["a", "b"].map(|one| told(&fakes, one, "also has a certificate in another"));
        assert_eq!((texts, told(&fakes, "c", "another namespace")), ([1, 1], 1));
        assert_eq!(fakes.cluster.names("c", "shop"), ["other.example.com"]);
    });
}

#[test]
fn a_forged_secret_with_our_label_gives_no_host() {
    Fakes::paused(async {
        let fakes = short_lived();
        let rich = SecretKey::new("a", "shop");
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(site("b"));
        fakes.pass(MINUTE).await;
        let theirs = fakes.cluster.secret("b", "shop").expect("b has a certificate");
        fakes.kill();
        fakes.cluster.put_secret(&rich, our_secret(&theirs.chain, "a key of somebody else"));
        fakes.cluster.forge(&rich);
        let older = Timestamp::from_secs(-1_000_000);
        fakes.cluster.apply(IngressView { created: older, ..site("a") });
        fakes.operator(Fakes::settings()).await;
        fakes.pass(5 * DAY).await;
        assert_eq!((told(&fakes, "a", "another namespace"), fakes.ca.orders()), (1, 2));
        assert!(has(&fakes, "b"));
    });
}

#[test]
fn with_the_flag_several_namespaces_have_a_host() {
    Fakes::paused(async {
        let fakes = short_lived();
        fakes.operator(shared()).await;
        fakes.cluster.apply(site("a"));
        fakes.cluster.apply(site("b"));
        fakes.pass(MINUTE).await;
        assert!(has(&fakes, "a") && has(&fakes, "b"));
        assert_eq!(fakes.cluster.calls("verified"), 0);
    });
}

#[test]
fn a_thousand_claims_of_one_namespace_cost_the_owner_a_few_reads() {
    Fakes::paused(async {
        let fakes = short_lived();
        let settings = || Settings { scan_interval: 24 * HOUR, ..Fakes::settings() };
        fakes.operator(settings()).await;
        fakes.cluster.apply(site("b"));
        fakes.pass(MINUTE).await;
        for number in 0..1_000 {
            fakes.cluster.apply(ingress("a", &format!("i{number}"), &[HOST]));
        }
        fakes.pass(10 * MINUTE).await;
        fakes.kill();
        fakes.operator(settings()).await;
        fakes.pass(2 * DAY).await;
        assert_eq!(fakes.ca.orders(), 1);
        // 17 Secrets, at most once an hour.
        let reads = fakes.cluster.calls("verified");
        assert!(reads < 17 * 24 * 3, "{reads} reads in 2 days");
    });
}
