//! Namespaces beside each other: which one has a host, and how the limits of the CA are shared.

use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, LocalBoxStream, StreamExt};
use ingress_acme_actors::domain::desired::selection::Selection;
use ingress_acme_actors::domain::ingress::{IngressKey, IngressView, SecretKey, TlsBlock};
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::fakes::CrashPoint;
use ingress_acme_actors::fakes::{
    Fakes, Retries, foreign_secret, ingress as plain, named as ingress, our_secret,
};
use ingress_acme_actors::operator::{Observability, Ports, Settings, start};
use ingress_acme_actors::ports::{IngressChange, IngressSource};

const SECOND: Duration = Duration::from_secs(1);
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

/// The same Ingress, created long before the others.
fn older(view: IngressView) -> IngressView {
    IngressView { created: Timestamp::from_secs(-1_000_000), ..view }
}

/// Serves an Ingress, and then ends the operator.
async fn serve_and_end(fakes: &Fakes, view: IngressView) {
    fakes.operator(Fakes::settings()).await;
    fakes.cluster.apply(view);
    fakes.pass(MINUTE).await;
    fakes.kill();
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
        fakes.cluster.apply(older(site("a")));
        fakes.pass(2 * DAY).await;
        assert!(has(&fakes, "b") && !has(&fakes, "a"));
        assert_eq!((fakes.ca.orders(), told(&fakes, "a", "another namespace")), (1, 1));
        assert_eq!(told(&fakes, "b", "another namespace"), 0);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_namespace_whose_host_another_ones_job_decides_is_told_at_once() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.apply(older(site("a")));
        fakes.cluster.apply(ingress("b", "shop", &["own.example.com", HOST]));
        fakes.cluster.apply(site("c"));
        fakes.operator(Settings { issuers: 1, ..Fakes::settings() }).await;
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("b", "shop"), ["own.example.com"]);
        let texts = ["a", "b", "c"].map(|one| told(&fakes, one, "another namespace"));
        assert_eq!((texts, fakes.ca.orders()), ([0, 1, 1], 2));
    });
}

#[test]
fn a_holder_whose_secret_is_not_chosen_yet_keeps_its_host_whatever_the_number_of_its_secret_is() {
    Fakes::paused(async {
        let fakes = short_lived();
        let unfilled = || {
            let selection = Selection { leaves_tls: true, ..Selection::default() };
            Settings { selection, ..Fakes::settings() }
        };
        let taken = SecretKey::new("b", "shop-tls");
        fakes.cluster.put_secret(&taken, foreign_secret());
        fakes.operator(unfilled()).await;
        fakes.cluster.apply(plain("b", "shop", &[HOST]));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("b", "shop-tls-2"), [HOST]);
        fakes.kill();
        fakes.cluster.apply(older(site("a")));
        fakes.cluster.fail("exists", 20); // so that it is chosen late
        fakes.operator(unfilled()).await;
        fakes.pass(6 * HOUR).await;
        assert!(!has(&fakes, "a"));
        assert_eq!(fakes.ca.orders(), 1);
        fakes.pass(10 * DAY).await;
        assert!(fakes.ca.orders() >= 2 && !has(&fakes, "a"), "it is renewed");
    });
}

/// Changes of two namespaces that are watched one by one (`--watch-namespace`): the list of `b`
/// comes later, or never.
struct Scopes {
    b_after: Duration,
}

#[async_trait(?Send)]
impl IngressSource for Scopes {
    async fn get(&self, _: &IngressKey) -> Option<IngressView> {
        None
    }

    fn watch(&self) -> LocalBoxStream<'static, IngressChange> {
        let scope = |namespace: &str| Some(namespace.into());
        let begun = ["a", "b"].map(|namespace| IngressChange::ListBegins(scope(namespace)));
        let of = |namespace| {
            [IngressChange::Listed(site(namespace)), IngressChange::ListEnds(scope(namespace))]
        };
        let (of_a, of_b, b_after) = (of("a"), of("b"), self.b_after);
        let later = stream::once(async move {
            tokio::time::sleep(b_after).await;
            stream::iter(of_b)
        });
        let changes = stream::iter(begun).chain(stream::iter(of_a)).chain(later.flatten());
        changes.chain(stream::pending()).boxed_local()
    }
}

/// Starts an operator that watches two namespaces one by one.
async fn start_with_scopes(fakes: &Fakes, b_after: Duration) {
    let ports = fakes.ports(&Rc::new(CrashPoint::default()));
    let ports = Ports { ingresses: Rc::new(Scopes { b_after }), ..ports };
    let shown = Observability::default();
    start(ports, Fakes::settings(), shown, None).await.expect("the journal is legal");
}

#[test]
fn a_namespace_that_is_listed_first_takes_no_host_of_one_that_is_listed_later() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        serve_and_end(&fakes, site("b")).await;
        fakes.cluster.apply(site("a"));
        start_with_scopes(&fakes, 8 * SECOND).await;
        fakes.pass(HOUR).await;
        assert!(has(&fakes, "b") && !has(&fakes, "a"));
        assert_eq!(fakes.ca.orders(), 1);
        // The watch of this test never shows the `spec.tls` that is filled in.
        fakes.assert_only_retries(0, Retries { attempts: 24, orders: 0 }).await;
    });
}

#[test]
fn a_namespace_that_cannot_be_listed_holds_up_the_others_for_seconds_only() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.apply(site("a"));
        start_with_scopes(&fakes, 30 * DAY).await;
        fakes.pass(MINUTE).await;
        assert!(has(&fakes, "a"));
        // The watch of this test never shows the `spec.tls` that is filled in.
        fakes.assert_only_retries(0, Retries { attempts: 24, orders: 0 }).await;
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
        fakes.assert_stable().await;
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
        fakes.assert_stable().await;
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
        fakes.assert_stable().await;
    });
}

#[test]
fn a_forged_secret_with_our_label_gives_no_host() {
    Fakes::paused(async {
        let fakes = short_lived();
        let rich = SecretKey::new("a", "shop");
        serve_and_end(&fakes, site("b")).await;
        let theirs = fakes.cluster.secret("b", "shop").expect("b has a certificate");
        fakes.cluster.put_secret(&rich, our_secret(&theirs.chain, "a key of somebody else"));
        fakes.cluster.forge(&rich);
        fakes.cluster.apply(older(site("a")));
        fakes.operator(Fakes::settings()).await;
        fakes.pass(5 * DAY).await;
        assert_eq!((told(&fakes, "a", "another namespace"), fakes.ca.orders()), (1, 2));
        assert!(has(&fakes, "b"));
        fakes.assert_stable().await;
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
        fakes.assert_stable().await;
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
        fakes.assert_stable().await;
    });
}

#[test]
fn a_thousand_secrets_that_claim_a_host_do_not_hide_its_holder_after_a_restart() {
    Fakes::paused(async {
        let fakes = short_lived();
        serve_and_end(&fakes, ingress("b", "shop", &[HOST, "own.example.com"])).await;
        let block = |n| TlsBlock { hosts: Vec::new(), secret_name: Some(format!("s{n}")) };
        let tls = (0..1_000).map(block).collect();
        fakes.cluster.apply(older(IngressView { tls, ..site("a") }));
        fakes.operator(Fakes::settings()).await;
        fakes.pass(5 * DAY).await;
        let issued = fakes.ca.issued();
        assert!(issued.len() >= 2 && issued.iter().all(|names| names.len() == 2), "{issued:?}");
        fakes.assert_stable().await;
    });
}

#[test]
fn a_sharer_of_a_secret_orders_nothing_before_the_hosts_of_the_other_are_decided() {
    Fakes::paused(async {
        let fakes = short_lived();
        serve_and_end(&fakes, site("b")).await;
        let block = |host: &str| TlsBlock {
            hosts: vec![host.to_owned()],
            secret_name: Some("shared".to_owned()),
        };
        for (name, host) in [("one", HOST), ("two", "own.a.example.com")] {
            let tls = vec![block(host)];
            fakes.cluster.apply(older(IngressView { tls, ..ingress("a", name, &[]) }));
        }
        fakes.operator(Fakes::settings()).await;
        fakes.pass(DAY).await;
        assert_eq!(fakes.cluster.names("a", "shared"), ["own.a.example.com"]);
        assert_eq!(fakes.ca.orders(), 2);
        fakes.assert_stable().await;
    });
}

/// Good hosts of one namespace, each under a registered domain of its own.
fn many(fakes: &Fakes, namespace: &str, count: usize) {
    for number in 0..count {
        let host = format!("www.{namespace}-{number}.com");
        fakes.cluster.apply(ingress(namespace, &format!("i{number}"), &[&host]));
    }
}

fn issued_to(fakes: &Fakes, namespace: &str) -> usize {
    let issued = fakes.ca.issued();
    let of = |name: &DnsName| name.as_str().starts_with(&format!("www.{namespace}-"));
    issued.iter().filter(|names| names.iter().any(of)).count()
}

#[test]
fn one_namespace_does_not_spend_the_orders_of_all() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Settings { guards: true, ..Fakes::settings() }).await;
        many(&fakes, "b", 1);
        fakes.pass(MINUTE).await;
        many(&fakes, "a", 400);
        fakes.pass(10 * MINUTE).await;
        let of_a = issued_to(&fakes, "a");
        assert!((140..=160).contains(&of_a), "{of_a} of a");
        many(&fakes, "c", 1);
        fakes.pass(MINUTE).await;
        assert_eq!(issued_to(&fakes, "c"), 1, "in order at once");
        let waiting = (0..400).filter(|number| {
            let events = fakes.cluster.events("a", &format!("i{number}"));
            events.iter().any(|event| {
                event.note.contains("namespace a has used its share")
                    && event.note.contains("at about")
            })
        });
        assert!(waiting.count() >= 200);
        fakes.pass(6 * HOUR).await;
        assert_eq!(issued_to(&fakes, "a"), 400, "one every 72 s");
        assert_eq!(fakes.ca.orders(), 402);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_namespace_that_is_alone_has_all_orders() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Settings { guards: true, ..Fakes::settings() }).await;
        many(&fakes, "a", 400);
        fakes.pass(10 * MINUTE).await;
        assert_eq!(issued_to(&fakes, "a"), 400);
    });
}

#[test]
fn certificates_that_expire_soon_are_outside_the_share() {
    Fakes::paused(async {
        let fakes = short_lived();
        let settings = |most| Settings { orders_per_namespace: Some(most), ..Fakes::settings() };
        fakes.operator(settings(1_000)).await;
        many(&fakes, "a", 40);
        fakes.pass(10 * MINUTE).await;
        assert_eq!(issued_to(&fakes, "a"), 40);
        fakes.kill();
        fakes.pass(150 * HOUR).await;
        fakes.operator(settings(5)).await;
        fakes.pass(HOUR).await;
        assert_eq!(issued_to(&fakes, "a"), 80, "all are renewed before they expire");
        fakes.assert_stable().await;
    });
}

#[test]
fn forged_certificates_that_expire_soon_stay_within_the_share() {
    Fakes::paused(async {
        let fakes = short_lived();
        let settings = |most| Settings { orders_per_namespace: Some(most), ..Fakes::settings() };
        fakes.operator(settings(1_000)).await;
        many(&fakes, "a", 40);
        fakes.pass(10 * MINUTE).await;
        fakes.kill();
        fakes.ca.refuse_replacements();
        (0..40).for_each(|number| fakes.cluster.forge(&SecretKey::new("a", &format!("i{number}"))));
        fakes.pass(150 * HOUR).await;
        fakes.operator(settings(5)).await;
        fakes.pass(HOUR / 2).await;
        let renewed = issued_to(&fakes, "a") - 40;
        assert!(renewed <= 5 + 26, "{renewed} of them in half an hour");
        fakes.assert_stable().await;
    });
}
