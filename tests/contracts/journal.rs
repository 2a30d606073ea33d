//! Contract of the journal, byte by byte, since a journal in a cluster outlives its release. The
//! test of `actors/tests/golden` reads and rewrites journals of older schemas.

use ingress_acme_actors::domain::certificate::{KeyAlgorithm, PrivateKey};
use ingress_acme_actors::domain::dns::txt::{RecordName, TxtRecord};
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::hash::stable_hash;
use ingress_acme_actors::domain::ingress::{Edition, SecretKey};
use ingress_acme_actors::domain::issuance::{
    CertificateInstalled, Event, Folded, IssuanceAbandoned, IssuanceFailed, IssuanceStarted,
    OrderOpened, RateLimitHit, Record, TxtAdded,
};
use ingress_acme_actors::domain::log::live::Live;
use ingress_acme_actors::domain::log::segment::{SCHEMA, Segment, SegmentKind, snapshot};
use ingress_acme_actors::domain::rate_limits::{LimitHit, LimitScope};

use crate::events::{NOW, desired, failed, names};
use crate::{hold, lines};

fn started(algorithm: KeyAlgorithm) -> Event {
    Event::IssuanceStarted(IssuanceStarted {
        names: names(&["shop.example.com"]),
        wildcards: names(&["*.example.com"]),
        algorithm,
        profile: Some("shortlived".to_owned()),
        renew: Some("now".to_owned()),
        left_out: names(&["www.example.com"]),
        left_out_wildcards: names(&["*.example.org"]),
        directory: Some("https://second.example/directory".to_owned()),
        ca: None,
        fingerprint: desired().fingerprint(),
        key: PrivateKey::from_pem("-----BEGIN PRIVATE KEY-----\n".to_owned()),
    })
}

fn failed_in_part() -> Event {
    Event::IssuanceFailed(IssuanceFailed {
        class: FailureClass::AcmeServer,
        detail: "HTTP 503".into(),
        fingerprint: desired().fingerprint(),
        retry_at: NOW,
        names: names(&["www.example.com"]).into(),
        wildcards: names(&["*.example.com"]),
        subset_retry_at: Some(NOW),
        down_since: Some(NOW),
        at_fallback: true,
        fallback: None,
        edition: None,
        edits_until: None,
        folded: None,
    })
}

fn failed_after_edits() -> Event {
    let Event::IssuanceFailed(failed) = failed_in_part() else { unreachable!("it has failed") };
    let (edition, edits_until) = (Some(Edition(7)), Some(NOW));
    Event::IssuanceFailed(IssuanceFailed { edition, edits_until, ..failed })
}

fn folded() -> Event {
    let Event::IssuanceFailed(failed) = failed_in_part() else { unreachable!("it has failed") };
    let folded = Some(Folded { attempts: 3, since: NOW, subset_attempts: 2 });
    Event::IssuanceFailed(IssuanceFailed { folded, ..failed })
}

fn closed(scope: LimitScope) -> Event {
    let (detail, directory) = ("too many".to_owned(), "https://ca.example/directory".to_owned());
    let hit = LimitHit { scope, since: Some(NOW), until: NOW, pace_ms: 36_360, detail };
    Event::RateLimitHit(RateLimitHit { directory, hit })
}

fn txt() -> TxtAdded {
    let name = |text| RecordName::parse(text).unwrap();
    let txt = TxtRecord {
        account: "bind".to_owned(),
        provider: Some("rfc2136".to_owned()),
        zone: name("example.com"),
        name: name("_acme-challenge.example.com"),
        value: "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0".to_owned(),
        domain: names(&["example.com"]).pop_first().unwrap(),
    };
    TxtAdded { order: "https://ca.example/order/1".to_owned(), txt }
}

/// Events of every kind and form, with every field filled.
fn every() -> Vec<Event> {
    let (serial, left_out) = ("0a".to_owned(), names(&["www.example.com"]));
    let mut all: Vec<Event> =
        [KeyAlgorithm::EcdsaP256, KeyAlgorithm::EcdsaP384, KeyAlgorithm::Rsa2048]
            .map(started)
            .into();
    all.push(Event::OrderOpened(OrderOpened { url: "https://ca.example/order/1".to_owned() }));
    all.push(Event::CertificateInstalled(CertificateInstalled {
        serial,
        not_after: NOW,
        left_out,
        left_out_wildcards: names(&["*.example.com"]),
    }));
    all.push(failed_in_part());
    all.push(folded());
    all.push(failed_after_edits());
    all.extend(FailureClass::ALL.map(|class| failed(class, names(&[]))));
    let scopes = [
        LimitScope::Address,
        LimitScope::Account,
        LimitScope::Domain("example.com".to_owned()),
        LimitScope::Set(names(&["a.example.com", "b.example.com"])),
        LimitScope::Name(names(&["a.example.com"]).pop_first().unwrap()),
        LimitScope::Set(names(&["*.example.com", "example.com"])),
    ];
    all.extend(scopes.map(closed));
    all.push(Event::IssuanceAbandoned(IssuanceAbandoned {
        why: "the Ingress was edited".to_owned(),
    }));
    all.extend([Event::TxtAdded(txt()), Event::TxtRemoved(txt())]);
    all
}

/// Fails to compile for a new kind of event, as a reminder to add the kind to [`every`].
fn is_known(event: &Event) -> bool {
    match event {
        Event::IssuanceStarted(_)
        | Event::OrderOpened(_)
        | Event::CertificateInstalled(_)
        | Event::IssuanceFailed(_)
        | Event::RateLimitHit(_)
        | Event::IssuanceAbandoned(_)
        | Event::TxtAdded(_)
        | Event::TxtRemoved(_) => true,
    }
}

fn record(event: Event) -> Record {
    Record { stream: SecretKey::new("web", "shop"), at: NOW, event }
}

#[test]
fn every_record_is_written_and_counted_under_the_names_of_before() {
    let records: Vec<Record> = every().into_iter().map(record).collect();
    assert!(records.iter().all(|record| is_known(&record.event)));
    let written = records.iter().map(|record| serde_json::to_string(record).unwrap());
    hold("journal-records", &lines(written));
    let mut counted: Vec<String> =
        records.iter().map(|record| record.event.name().to_owned()).collect();
    counted.dedup();
    hold("journal-names", &lines(counted));
}

#[test]
fn every_segment_is_written_as_before() {
    let records =
        vec![record(Event::IssuanceAbandoned(IssuanceAbandoned { why: "edited".to_owned() }))];
    let writer = "ingress-acme-0 since 1795478400000".to_owned();
    let segment = |kind, records| Segment { schema: SCHEMA, writer: writer.clone(), kind, records };
    let mut all =
        vec![segment(SegmentKind::Fence, Vec::new()), segment(SegmentKind::Batch, records)];
    let mut live = Live::default();
    every().into_iter().map(record).for_each(|record| live.keep(record));
    for class in [FailureClass::Dns, FailureClass::Caa] {
        let stream = SecretKey::new("web", "failing");
        live.keep(Record { stream, at: NOW, event: failed(class, names(&[])) });
    }
    live.keep(record(Event::TxtAdded(txt())));
    live.keep(Record {
        stream: SecretKey::new("web", "new"),
        at: NOW,
        event: started(KeyAlgorithm::EcdsaP256),
    });
    all.extend(snapshot(&live, &writer));
    let written = |segment: &Segment| String::from_utf8(segment.encode()).unwrap();
    hold("journal-segments", &lines(all.iter().map(written)));
}

/// A changed hash would lose recorded failures, orphan the account and rename shared Secrets.
#[test]
fn what_is_stored_as_a_hash_is_hashed_as_before() {
    let mut all =
        vec![format!("wish: {}", serde_json::to_string(&desired().fingerprint()).unwrap())];
    for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::EcdsaP384, KeyAlgorithm::Rsa2048] {
        let desired =
            ingress_acme_actors::domain::desired::desired_certificate::DesiredCertificate {
                algorithm,
                adopt: false,
                profile: None,
                renew: None,
                ..desired()
            };
        let hash = serde_json::to_string(&desired.fingerprint()).unwrap();
        all.push(format!("plain wish, {}: {hash}", algorithm.as_str()));
    }
    all.push(format!("text: {:016x}", stable_hash("https://ca.example/directory")));
    all.push(format!("scope and time: {:016x}", stable_hash((&LimitScope::Account, NOW))));
    hold("hashes", &lines(all));
}
