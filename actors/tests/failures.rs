//! Failures that have hurt before, on fakes: each test counts the orders, certificates or calls
//! that must not be wasted.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use ingress_acme_actors::domain::caa::CaaSet;
use ingress_acme_actors::domain::certificate::{CertificateView, SecretStatus};
use ingress_acme_actors::domain::controllers::ControllerRule;
use ingress_acme_actors::domain::copied::Copied;
use ingress_acme_actors::domain::failure::{Failure, FailureClass};
use ingress_acme_actors::domain::ingress::{
    IngressClass, IngressKey, IngressRef, IngressView, SecretKey,
};
use ingress_acme_actors::domain::issuance::{Event, OverIpv6, Reach, Record};
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::domain::routes::SolverIngress;
use ingress_acme_actors::domain::rule_host::RuleHost;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::fakes::{Fakes, Retries, foreign_secret, ingress, shop, with_tls};
use ingress_acme_actors::operator::{Operator, Ports};
use ingress_acme_actors::ports::{
    Clock, Installation, Journal, JournalError, PortError, Probe, Routes, SecretReads, TlsSecrets,
    Written,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn asking(mut view: IngressView, renew: &str) -> IngressView {
    view.annotations.insert("renew".to_owned(), renew.to_owned());
    view
}

/// Starts an operator with one of its ports replaced.
async fn operator_with(fakes: &Fakes, change: impl FnOnce(&mut Ports)) -> Operator {
    let operator = fakes.operator_with(change).await;
    fakes.pass(SECOND).await;
    operator
}

/// Creates an Ingress and waits for the write of its solver route, in a world where each call takes
/// a second.
async fn begin_slowly(fakes: &Fakes) {
    fakes.operator(Fakes::settings()).await;
    fakes.cluster.set_latency(SECOND);
    fakes.cluster.apply(shop());
    wait_for_call(fakes, "write_routes").await;
}

async fn wait_for_call(fakes: &Fakes, call: &'static str) {
    while fakes.cluster.calls(call) == 0 {
        fakes.pass(SECOND / 20).await;
    }
}

/// Time until the Secret exists, in multiples of `step`.
async fn wait_for_secret(fakes: &Fakes, step: Duration) -> Duration {
    let mut waited = Duration::ZERO;
    while fakes.cluster.secret("web", "shop").is_none() {
        fakes.pass(step).await;
        waited += step;
        assert!(waited < 30 * DAY, "there is no Secret");
    }
    waited
}

#[test]
fn an_edit_while_a_host_is_probed_never_sends_the_ca_to_a_host_without_a_route() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        begin_slowly(&fakes).await;
        fakes.pass(SECOND / 2).await; // the probe is in flight
        fakes.cluster.apply(with_tls("shop", "shop", &["new.example.com"]));
        wait_for_call(&fakes, "accept").await;
        assert!(fakes.cluster.routed().contains(&"new.example.com".to_owned()));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["new.example.com"]);
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (1, 1));
        fakes.assert_stable().await;
    });
}

#[test]
fn an_edit_of_the_class_while_a_host_is_probed_brings_a_route_of_that_class() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        begin_slowly(&fakes).await;
        fakes.cluster.apply(IngressView { class: IngressClass::Named("nginx".into()), ..shop() });
        wait_for_call(&fakes, "accept").await;
        assert_eq!(fakes.cluster.routed().len(), 2, "one route in each class");
        fakes.assert_stable().await;
    });
}

/// An API server whose admission rejects every solver Ingress with a rule for some hosts.
pub(crate) struct Picky {
    pub(crate) routes: Rc<dyn Routes>,
    /// Whether a rule for the host is refused.
    pub(crate) refuses: fn(&RuleHost) -> bool,
    /// Reason of the refusal.
    pub(crate) why: &'static str,
}

#[async_trait(?Send)]
impl Routes for Picky {
    async fn list(&self) -> Result<Vec<SolverIngress>, PortError> {
        self.routes.list().await
    }

    async fn copy_endpoints(&self) -> Result<(), PortError> {
        Ok(())
    }

    async fn write(
        &self,
        ingress: &SolverIngress,
        is_last: bool,
    ) -> Result<Option<Written>, PortError> {
        if ingress.hosts.iter().any(self.refuses) {
            return Err(PortError::permanent(FailureClass::SecretWrite, self.why));
        }
        self.routes.write(ingress, is_last).await
    }
}

#[test]
fn a_host_whose_route_is_refused_delays_nobody_else() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let refuses = |host: &RuleHost| host.to_string().starts_with("bad");
        let why = "host and path already defined";
        let picky = |routes| Rc::new(Picky { routes, refuses, why });
        operator_with(&fakes, |ports| ports.routes = picky(ports.routes.clone())).await;
        fakes.cluster.apply(ingress("evil", "bad", &["bad.example.com"]));
        for n in 0..20 {
            fakes.cluster.apply(ingress("web", &format!("s{n}"), &[&format!("s{n}.example.com")]));
        }
        fakes.pass(30 * SECOND).await;
        let there = (0..20).filter(|n| fakes.cluster.secret("web", &format!("s{n}-tls")).is_some());
        assert_eq!(there.count(), 20);
        assert_eq!(fakes.ca.orders(), 20);
        let events = fakes.cluster.events("evil", "bad");
        assert!(events[0].note.contains("host and path already defined"), "{events:?}");
        fakes.assert_only_retries(1, Retries { attempts: 144, orders: 0 }).await;
    });
}

#[test]
fn waiting_for_dns_does_not_make_the_first_failure_at_the_ca_cost_a_day() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.unresolve("a.example.com", true);
        fakes.cluster.apply(shop());
        fakes.pass(10 * MINUTE).await;
        let failure = Failure::new(FailureClass::Authorization, "DNS is not everywhere yet");
        fakes.ca.refuse(Some(failure));
        fakes.cluster.unresolve("a.example.com", false);
        while fakes.cluster.calls("open_order") == 0 {
            fakes.pass(SECOND).await;
        }
        fakes.pass(SECOND).await;
        fakes.ca.refuse(None);
        assert!(wait_for_secret(&fakes, SECOND).await < 2 * MINUTE);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_rate_limit_is_waited_out_as_long_as_the_ca_says_and_no_longer() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        let retry_after = Some(20 * MINUTE);
        let failure = Failure::new(FailureClass::RateLimited, "too many new orders");
        let failure = Failure { retry_after, ..failure };
        fakes.ca.refuse(Some(failure));
        fakes.cluster.apply(shop());
        fakes.pass(3 * HOUR).await;
        assert!(fakes.cluster.calls("open_order") <= 9, "{}", fakes.cluster.calls("open_order"));
        fakes.ca.refuse(None);
        assert!(wait_for_secret(&fakes, MINUTE).await <= 23 * MINUTE);
        fakes.assert_stable().await;
    });
}

/// A seed over sockets found that the turn of the deleted one passed, and its job waited for an
/// hour.
#[test]
fn an_ingress_that_is_made_again_after_its_turn_in_a_rate_limit_is_served_at_once() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        let retry_after = Some(20 * MINUTE);
        let failure = Failure::new(FailureClass::RateLimited, "too many new orders");
        fakes.ca.refuse(Some(Failure { retry_after, ..failure }));
        fakes.cluster.apply(ingress("web", "first", &["b.example.com"]));
        fakes.pass(10 * SECOND).await;
        fakes.ca.refuse(None);
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.events("web", "shop").len(), 1, "it waits");
        fakes.cluster.delete(&IngressKey::new("web", "shop"));
        fakes.pass(22 * MINUTE).await;
        fakes.cluster.apply(shop());
        assert!(wait_for_secret(&fakes, SECOND).await < MINUTE);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_spec_tls_that_is_refused_is_no_failed_certificate_and_is_seldom_tried() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.fail("fill_tls", 1_000_000);
        fakes.cluster.apply(ingress("web", "shop", &["a.example.com"]));
        fakes.pass(DAY).await;
        assert!(fakes.cluster.calls("fill_tls") < 200, "{}", fakes.cluster.calls("fill_tls"));
        let events = fakes.cluster.events("web", "shop");
        assert!(events.iter().all(|one| one.reason != "Failed"), "{events:?}");
        assert_eq!(fakes.ca.issued().len(), 1);
        fakes.cluster.fail("fill_tls", 0);
        fakes.assert_stable().await;
        assert_eq!(fakes.cluster.view("web", "shop").unwrap().tls.len(), 1);
    });
}

/// TLS Secrets with an owner reference that somebody else has set and that we cannot remove. Counts
/// the writes of owners.
struct Sticky(Rc<dyn TlsSecrets>, Rc<Cell<u32>>);

fn with_a_stranger(status: SecretStatus) -> SecretStatus {
    status.map(|mut view| {
        view.owners.insert("a-stranger".to_owned());
        view
    })
}

#[async_trait(?Send)]
impl SecretReads for Sticky {
    async fn read(&self, key: &SecretKey) -> Result<SecretStatus, PortError> {
        self.0.read(key).await.map(with_a_stranger)
    }

    async fn exists(&self, secret: &SecretKey) -> Result<bool, PortError> {
        self.0.exists(secret).await
    }

    async fn verified(&self, key: &SecretKey) -> Result<Option<CertificateView>, PortError> {
        self.0.verified(key).await
    }
}

#[async_trait(?Send)]
impl TlsSecrets for Sticky {
    async fn install(
        &self,
        key: &SecretKey,
        what: Installation,
    ) -> Result<SecretStatus, PortError> {
        self.0.install(key, what).await.map(with_a_stranger)
    }

    async fn set_metadata(
        &self,
        key: &SecretKey,
        owners: Option<&BTreeSet<IngressRef>>,
        copied: &Copied,
        ca: Option<&str>,
    ) -> Result<SecretStatus, PortError> {
        self.1.set(self.1.get() + 1);
        self.0.set_metadata(key, owners, copied, ca).await.map(with_a_stranger)
    }

    async fn fill_tls(
        &self,
        ingress: &IngressRef,
        secret: &SecretKey,
        hosts: &BTreeSet<DnsName>,
    ) -> Result<(), PortError> {
        self.0.fill_tls(ingress, secret, hosts).await
    }

    async fn take_back_tls(&self, ingress: &IngressRef) -> Result<bool, PortError> {
        self.0.take_back_tls(ingress).await
    }
}

#[test]
fn an_owner_that_cannot_be_taken_away_is_not_fought_over() {
    Fakes::paused(async {
        let (fakes, writes) = (Fakes::default(), Rc::new(Cell::new(0)));
        let counted = writes.clone();
        operator_with(&fakes, |ports| {
            ports.tls_secrets = Rc::new(Sticky(ports.tls_secrets.clone(), counted));
        })
        .await;
        fakes.cluster.apply(shop());
        fakes.pass(DAY).await;
        assert_eq!(writes.get(), 1);
        fakes.assert_stable().await;
    });
}

/// TLS Secrets of an API server that answers nothing about namespace `bad`, as behind a webhook
/// that hangs. Counts the calls.
struct Silent(Rc<dyn TlsSecrets>, Rc<Cell<u32>>);

impl Silent {
    async fn answers_for(&self, namespace: &str) {
        if namespace == "bad" {
            self.1.set(self.1.get() + 1);
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait(?Send)]
impl SecretReads for Silent {
    async fn read(&self, key: &SecretKey) -> Result<SecretStatus, PortError> {
        self.answers_for(&key.namespace).await;
        self.0.read(key).await
    }

    async fn exists(&self, key: &SecretKey) -> Result<bool, PortError> {
        self.answers_for(&key.namespace).await;
        self.0.exists(key).await
    }

    async fn verified(&self, key: &SecretKey) -> Result<Option<CertificateView>, PortError> {
        self.answers_for(&key.namespace).await;
        self.0.verified(key).await
    }
}

#[async_trait(?Send)]
impl TlsSecrets for Silent {
    async fn install(
        &self,
        key: &SecretKey,
        what: Installation,
    ) -> Result<SecretStatus, PortError> {
        self.answers_for(&key.namespace).await;
        self.0.install(key, what).await
    }

    async fn set_metadata(
        &self,
        key: &SecretKey,
        owners: Option<&BTreeSet<IngressRef>>,
        copied: &Copied,
        ca: Option<&str>,
    ) -> Result<SecretStatus, PortError> {
        self.answers_for(&key.namespace).await;
        self.0.set_metadata(key, owners, copied, ca).await
    }

    async fn fill_tls(
        &self,
        ingress: &IngressRef,
        secret: &SecretKey,
        hosts: &BTreeSet<DnsName>,
    ) -> Result<(), PortError> {
        self.answers_for(&secret.namespace).await;
        self.0.fill_tls(ingress, secret, hosts).await
    }

    async fn take_back_tls(&self, ingress: &IngressRef) -> Result<bool, PortError> {
        self.answers_for(&ingress.key.namespace).await;
        self.0.take_back_tls(ingress).await
    }
}

#[test]
fn a_call_that_is_never_answered_is_given_up_and_tried_again_and_the_neighbours_are_served() {
    Fakes::paused(async {
        let (fakes, calls) = (Fakes::default(), Rc::new(Cell::new(0)));
        let counted = calls.clone();
        operator_with(&fakes, |ports| {
            ports.tls_secrets = Rc::new(Silent(ports.tls_secrets.clone(), counted));
        })
        .await;
        // Many more than slots.
        for n in 0..40 {
            let host = format!("bad{n}.example.com");
            fakes.cluster.apply(ingress("bad", &format!("i{n}"), &[&host]));
        }
        fakes.pass(MINUTE).await;
        fakes.cluster.apply(ingress("web", "shop", &["a.example.com"]));
        fakes.pass(10 * MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop-tls"), ["a.example.com"]);
        assert!(calls.get() > 40, "{}: each is given up, and tried again", calls.get());
        assert_eq!(fakes.ca.issued().len(), 1, "nothing is ordered for what cannot be read");
    });
}

/// A clock that is wrong by a fixed duration, ahead or behind.
struct Off(Rc<dyn Clock>, Duration, bool);

impl Clock for Off {
    fn now(&self) -> Timestamp {
        let Self(clock, by, ahead) = self;
        if *ahead { clock.now() + *by } else { clock.now() - *by }
    }

    fn steps_back(&self) -> u32 {
        0
    }
}

#[test]
fn a_clock_that_is_wrong_costs_one_certificate_and_not_one_after_the_other() {
    for ahead in [true, false] {
        Fakes::paused(async move {
            let fakes = Fakes::default();
            fakes.ca.set_life(6 * DAY);
            let wrong =
                |ports: &mut Ports| ports.clock = Rc::new(Off(ports.clock.clone(), 4 * DAY, ahead));
            operator_with(&fakes, wrong).await;
            fakes.cluster.apply(shop());
            fakes.pass(11 * HOUR).await;
            assert_eq!(fakes.cluster.names("web", "shop"), ["a.example.com"], "ahead: {ahead}");
            assert_eq!(fakes.ca.issued().len(), 1, "ahead: {ahead}");
            fakes.assert_stable().await;
        });
    }
}

/// A journal that rejects the URL of an order while its flag is set.
struct Forgetful(Rc<dyn Journal>, Rc<Cell<bool>>);

#[async_trait(?Send)]
impl Journal for Forgetful {
    async fn append(&self, records: &[Record]) -> Result<(), JournalError> {
        let opens = |record: &Record| matches!(record.event, Event::OrderOpened(_));
        if self.1.get() && records.iter().any(opens) {
            return Err(JournalError::Unavailable("it is down".to_owned()));
        }
        self.0.append(records).await
    }

    async fn flush(&self) -> Result<(), JournalError> {
        self.0.flush().await
    }

    async fn replay(&self, now: Timestamp) -> Result<Vec<Record>, JournalError> {
        self.0.replay(now).await
    }

    async fn stopped(&self) {
        self.0.stopped().await;
    }
}

#[test]
fn a_journal_in_trouble_after_an_order_was_opened_opens_no_other() {
    Fakes::paused(async {
        let (fakes, down) = (Fakes::default(), Rc::new(Cell::new(true)));
        let switch = down.clone();
        operator_with(&fakes, |ports| {
            ports.journal = Rc::new(Forgetful(ports.journal.clone(), switch));
        })
        .await;
        fakes.cluster.apply(shop());
        fakes.pass(30 * MINUTE).await;
        assert_eq!(fakes.ca.orders(), 1);
        down.set(false);
        fakes.pass(3 * MINUTE).await;
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (1, 1));
        fakes.assert_stable().await;
    });
}

#[test]
fn routes_stay_while_an_order_waits_for_a_ca_that_does_not_answer() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.fail("refresh", 6);
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.routed(), ["a.example.com"]);
        fakes.pass(10 * MINUTE).await;
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (1, 1));
        assert!(fakes.cluster.routed().is_empty());
        fakes.assert_stable().await;
    });
}

#[test]
fn a_sharer_that_came_while_nobody_worked_becomes_an_owner() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.apply(with_tls("one", "shared", &["a.example.com"]));
        fakes.operator(Fakes::settings()).await;
        fakes.pass(MINUTE).await;
        fakes.kill();
        fakes.cluster.apply(with_tls("two", "shared", &["a.example.com"]));
        fakes.operator(Fakes::settings()).await;
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.secret("web", "shared").unwrap().owners.len(), 2);
        fakes.cluster.delete(&IngressKey::new("web", "one"));
        fakes.pass(MINUTE).await;
        assert!(fakes.cluster.secret("web", "shared").is_some());
        assert_eq!(fakes.ca.issued().len(), 1);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_failure_with_a_retry_in_seconds_is_retried_in_seconds_after_a_restart() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.unresolve("a.example.com", true);
        fakes.cluster.apply(shop());
        fakes.operator(Fakes::settings()).await;
        fakes.pass(25 * SECOND).await;
        fakes.kill();
        fakes.cluster.unresolve("a.example.com", false);
        fakes.operator(Fakes::settings()).await;
        assert!(wait_for_secret(&fakes, SECOND).await < MINUTE);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_spec_tls_is_filled_in_with_its_own_hosts_only_and_once() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(ingress("web", "shop", &["a.example.com"]));
        fakes.cluster.apply(with_tls("other", "shop", &["b.example.com"]));
        fakes.pass(DAY).await;
        let tls = fakes.cluster.view("web", "shop").unwrap().tls;
        assert_eq!(tls[0].hosts, ["a.example.com"]);
        assert_eq!(fakes.cluster.calls("fill_tls"), 1);
        fakes.assert_stable().await;
    });
}

#[test]
fn each_sharer_may_ask_for_a_renewal_and_one_that_stops_asking_asks_for_nothing() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        let (one, two) = ("one", "two");
        let sharer = |name| with_tls(name, "shared", &["a.example.com"]);
        fakes.cluster.apply(asking(sharer(one), "2026-01"));
        fakes.cluster.apply(asking(sharer(two), "2026-02"));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.ca.issued().len(), 1);
        fakes.cluster.apply(sharer(two));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.ca.issued().len(), 1);
        fakes.cluster.apply(asking(sharer(two), "2025-12"));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.ca.issued().len(), 2);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_certificate_that_can_never_be_written_is_tried_ever_more_seldom() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.fail("install", 1_000_000);
        fakes.cluster.apply(shop());
        fakes.pass(DAY).await;
        assert!(fakes.cluster.calls("install") < 500, "{}", fakes.cluster.calls("install"));
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (1, 1));
        fakes.cluster.fail("install", 0);
        fakes.assert_stable().await;
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (1, 1));
    });
}

#[test]
fn a_wildcard_that_somebody_made_by_hand_serves() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let mut secret = foreign_secret();
        secret.view.certificate = Ok(CertificateView {
            names: ["*.example.com".to_owned()].into(),
            not_before: fakes.clock.now() - DAY,
            not_after: fakes.clock.now() + 300 * DAY,
            id: None,
            serial: "1".to_owned(),
            issuer: "Somebody".to_owned(),
            key_matches: true,
        });
        fakes.cluster.put_secret(&SecretKey::new("web", "shop"), secret);
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop());
        fakes.pass(DAY).await;
        assert_eq!(fakes.cluster.events("web", "shop"), []);
        assert_eq!(fakes.ca.orders(), 0);
        fakes.assert_stable().await;
    });
}

/// A network in which hosts that start with `dead` drop every packet.
struct BlackHoles(Rc<dyn Probe>);

#[async_trait(?Send)]
impl Probe for BlackHoles {
    async fn probe(&self, host: &DnsName) -> Reach {
        if host.as_str().starts_with("dead") {
            tokio::time::sleep(5 * SECOND).await;
            return Reach::silent("no answer in time");
        }
        self.0.probe(host).await
    }

    async fn over_ipv6(&self, host: &DnsName) -> OverIpv6 {
        self.0.over_ipv6(host).await
    }

    async fn caa(&self, host: &DnsName) -> Result<CaaSet, String> {
        self.0.caa(host).await
    }
}

#[test]
fn a_hundred_black_holes_delay_another_namespace_by_seconds() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        operator_with(&fakes, |ports| ports.probe = Rc::new(BlackHoles(ports.probe.clone()))).await;
        for n in 0..100 {
            fakes.cluster.apply(ingress(
                "dead",
                &format!("d{n}"),
                &[&format!("dead{n}.example.com")],
            ));
        }
        fakes.pass(3 * MINUTE).await;
        fakes.cluster.apply(shop());
        let waited = wait_for_secret(&fakes, SECOND).await;
        assert!(waited < 30 * SECOND, "{waited:?}");
        fakes.assert_stable().await;
    });
}

/// Where nothing but the probe fails, the CA is asked after five minutes: the cluster may not reach
/// itself. A controller with a rule leads no challenge to the solver, and the CA would find the
/// same.
#[test]
fn a_host_that_its_controller_never_leads_to_the_solver_costs_no_order_and_the_rule_is_told() {
    static RULE: ControllerRule =
        ControllerRule { rule: "it refuses", way_out: "ask it", passed_by: &[] };
    for (rule, orders) in [(None, true), (Some(&RULE), false)] {
        Fakes::paused(async move {
            let fakes = Fakes::default();
            fakes.operator(Fakes::settings()).await;
            fakes.cluster.add_class("public", rule);
            fakes.cluster.cut("a.example.com", true);
            let class = IngressClass::Named("public".into());
            fakes.cluster.apply(IngressView { class, ..shop() });
            fakes.pass(DAY).await;
            assert_eq!(fakes.ca.orders() > 0, orders, "{rule:?}");
            let events = fakes.cluster.events("web", "shop");
            let first = events.first().unwrap();
            assert_eq!(first.reason, "Unreachable");
            assert_eq!(first.note.contains("it refuses; ask it"), !orders, "{first:?}");
            assert!(fakes.cluster.calls("list_classes") <= 24 * 6, "it is kept for ten minutes");
        });
    }
}
