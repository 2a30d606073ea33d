//! Contract of the Kubernetes Events: reasons, types and actions. Notes have a snapshot of their
//! own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ingress_acme_actors::domain::certificate::{KeyAlgorithm, PrivateKey};
use ingress_acme_actors::domain::copied::Copied;
use ingress_acme_actors::domain::desired::desired_certificate::DesiredCertificate;
use ingress_acme_actors::domain::desired::problem::Problem;
use ingress_acme_actors::domain::desired::selection::TakesBack;
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::ingress::{Edition, SecretKey};
use ingress_acme_actors::domain::issuance::{
    CertificateInstalled, Event, IssuanceFailed, IssuanceStarted, OrderOpened, OverIpv6, State,
    apply,
};
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::domain::public_name::NotPublic;
use ingress_acme_actors::domain::rate_limits::{LimitScope, LimitWait};
use ingress_acme_actors::domain::status::kube_event::{KubeEvent, Severity};
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::domain::validity::check::IssueReason;

use crate::{hold, lines};

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_795_478_400);

pub(crate) fn names(hosts: &[&str]) -> BTreeSet<DnsName> {
    hosts.iter().map(|host| DnsName::parse_certified(host).unwrap()).collect()
}

/// The desired certificate of `web/shop`, with every hashed field set.
pub(crate) fn desired() -> DesiredCertificate {
    DesiredCertificate {
        secret: SecretKey::new("web", "shop"),
        names: names(&["shop.example.com", "www.example.com"]),
        in_dns: BTreeSet::new(),
        covered: BTreeSet::new(),
        dns_accounts: 0,
        owners: BTreeSet::new(),
        routes: Arc::default(),
        algorithm: KeyAlgorithm::EcdsaP384,
        asks_algorithm: true,
        profile: Some("shortlived".to_owned()),
        ca: None,
        refuses_ca: false,
        adopt: true,
        adopts_at_once: false,
        grouped: false,
        keeps_surplus: false,
        partial: true,
        renew: Some("now".to_owned()),
        fill: BTreeMap::new(),
        moving: BTreeSet::new(),
        fill_more: false,
        renew_only: false,
        refused: BTreeSet::new(),
        undecided: BTreeSet::new(),
        copied: Copied::default(),
        edition: Edition::default(),
    }
}

fn over_ipv6() -> (String, KubeEvent) {
    let what = OverIpv6::Elsewhere("another server answered, HTTP 4xx".to_owned());
    let host = DnsName::parse("www.example.com").unwrap();
    let kube_event = KubeEvent::differs_over_ipv6(&host, &what).unwrap();
    ("a host leads elsewhere over IPv6".to_owned(), kube_event)
}

fn stopped(desired: &DesiredCertificate) -> (String, KubeEvent) {
    let kube_event = KubeEvent::new_orders_stopped(desired, "incident 42", "ingress-acme");
    ("new orders are stopped".to_owned(), kube_event)
}

/// Events about a Secret and a `spec.tls` that are not, or no longer, the operator's.
fn of_other_hands(secret: &SecretKey) -> [(String, KubeEvent); 3] {
    [
        ("browsers do not trust a Secret of another", KubeEvent::untrusted(secret, "Chart CA")),
        ("spec.tls is taken back", KubeEvent::taken_back(TakesBack::Minion)),
        ("spec.tls cannot be taken back", KubeEvent::not_taken_back(TakesBack::Asked, "refused")),
    ]
    .map(|(when, kube_event)| (when.to_owned(), kube_event))
}

fn not_public() -> Problem {
    Problem::NotPublic { host: "db.internal".to_owned(), why: NotPublic::Internal, others: 2 }
}

/// Problems that bounds and other Ingresses cause.
fn problems() -> [(&'static str, Problem); 15] {
    let host = || DnsName::parse("www.example.com").unwrap();
    [
        ("a class is too long", Problem::LongClass),
        ("an annotation is too long", Problem::LongAnnotation("profile")),
        ("a Secret has no valid name", Problem::BadSecretName { block: 1 }),
        ("there are too many blocks", Problem::TooManyBlocks { count: 1_001 }),
        ("another namespace has a host", Problem::HostTaken { host: host() }),
        ("several namespaces have a host", Problem::HostShared { host: host() }),
        ("many Ingresses share a Secret", Problem::ManySharers { secret: "shop".into() }),
        (
            "an annotation serves a name",
            Problem::Alias {
                annotation: "nginx.ingress.kubernetes.io/from-to-www-redirect",
                name: host(),
                others: 0,
            },
        ),
        ("a Secret may not be looked at", Problem::SecretRefused { why: "forbidden".to_owned() }),
        ("an Ingress opts out", Problem::StaysFilled { secret: "shop".to_owned() }),
        (
            "many classes of one host",
            Problem::ManyClasses { secret: "shop".into(), host: host(), others: 1 },
        ),
        ("annotations are not copied", Problem::NotCopied { count: 2 }),
        (
            "a wildcard without a DNS account",
            Problem::Unproved {
                host: DnsName::parse_certified("*.example.com").unwrap(),
                namespace: "web".into(),
                others: 1,
            },
        ),
        (
            "DNS-01 is wanted without a DNS account",
            Problem::ByHttp { host: DnsName::parse("a.example.com").unwrap(), others: 0 },
        ),
        ("a namespace is full", Problem::NamespaceFull { mebibytes: 160 }),
    ]
}

fn started(left_out: BTreeSet<DnsName>) -> Event {
    Event::IssuanceStarted(IssuanceStarted {
        names: names(&["shop.example.com"]),
        wildcards: BTreeSet::new(),
        algorithm: KeyAlgorithm::EcdsaP256,
        profile: None,
        renew: None,
        left_out,
        left_out_wildcards: BTreeSet::new(),
        directory: None,
        ca: None,
        fingerprint: desired().fingerprint(),
        key: PrivateKey::from_pem("k".to_owned()),
    })
}

pub(crate) fn failed(class: FailureClass, names: BTreeSet<DnsName>) -> Event {
    Event::IssuanceFailed(IssuanceFailed {
        class,
        detail: "the words of the CA".into(),
        fingerprint: desired().fingerprint(),
        retry_at: NOW,
        names: names.into(),
        wildcards: BTreeSet::new(),
        subset_retry_at: None,
        down_since: None,
        at_fallback: false,
        fallback: None,
        edition: None,
        edits_until: None,
        folded: None,
    })
}

fn installed(left_out: BTreeSet<DnsName>) -> Event {
    Event::CertificateInstalled(CertificateInstalled {
        serial: "0a".to_owned(),
        not_after: NOW,
        left_out,
        left_out_wildcards: BTreeSet::new(),
    })
}

/// State after these events.
fn after(events: &[Event]) -> State {
    events.iter().fold(State::Idle, |state, event| apply(state, event, NOW).unwrap())
}

/// Every Kubernetes Event, with its occasion.
fn all() -> Vec<(String, KubeEvent)> {
    let (secret, desired) = (SecretKey::new("web", "shop"), desired());
    let bad = names(&["www.example.com"]);
    let order = Event::OrderOpened(OrderOpened { url: "https://ca.example/order/1".to_owned() });
    let whole = after(&[started(BTreeSet::new()), order.clone()]);
    let failure = failed(FailureClass::Authorization, bad.clone());
    let subset = after(&[failure, started(bad.clone()), order]);
    let (scope, detail) = (LimitScope::Account, "the words of the CA".to_owned());
    let waiting = LimitWait { ca: None, scope, detail, turn: NOW };
    let misfit = "event order_opened cannot follow state idle";
    let events = |event: &Event, before: &State| KubeEvent::of_event(event, before, &desired);
    let other = KubeEvent::of_another_install(&secret, "production", "staging");
    let begun = |why, at| Some(KubeEvent::issuing(&secret, &desired.names, why, at));
    let second = Some("https://second.example");
    let mut all = vec![
        ("work begins", begun(&IssueReason::Missing, None)),
        ("work begins at the second CA", begun(&IssueReason::Missing, second)),
        ("a certificate is in its Secret", events(&installed(BTreeSet::new()), &whole)),
        ("one for a part of the names is", events(&installed(bad), &subset)),
        ("some of an Ingress is not served", KubeEvent::skipped(&[Problem::NoHosts].into())),
        ("the CA certifies public names only", KubeEvent::skipped(&[not_public()].into())),
        ("something is left undone", Some(KubeEvent::left_undone("spec.tls", "refused"))),
        ("another install has the Secret", Some(other)),
        ("the CA has closed a scope", Some(KubeEvent::waiting_for_limit(&desired, &waiting))),
        ("a record of the journal does not fit", Some(KubeEvent::set_aside(&desired, misfit))),
        ("an order waits", Some(KubeEvent::held_up(&desired, "the API server is away"))),
    ]
    .into_iter()
    .map(|(when, events)| (when.to_owned(), events.unwrap()))
    .chain([over_ipv6(), stopped(&desired)])
    .chain(of_other_hands(&secret))
    .collect::<Vec<_>>();
    for (what, problem) in problems() {
        all.push((format!("a problem: {what}"), KubeEvent::skipped(&[problem].into()).unwrap()));
    }
    for class in FailureClass::ALL {
        let events = events(&failed(class, BTreeSet::new()), &State::Idle).unwrap();
        all.push((format!("an attempt failed: {}", class.label()), events));
    }
    all
}

#[test]
fn every_event_has_the_reason_the_type_and_the_action_of_before() {
    let line = |(when, events): &(String, KubeEvent)| {
        let kind = match events.severity {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        };
        format!("{when}: {kind} {} {}", events.reason, events.action)
    };
    let all = all();
    hold("events", &lines(all.iter().map(line)));
    let reasons: BTreeSet<&str> = all.iter().map(|(_, events)| events.reason).collect();
    hold("event-reasons", &lines(reasons.into_iter().map(str::to_owned)));
}

#[test]
fn every_event_has_the_note_of_before() {
    hold(
        "event-notes",
        &lines(all().iter().map(|(when, events)| format!("{when}: {}", events.note))),
    );
}
