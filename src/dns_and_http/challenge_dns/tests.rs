//! The adapter on name servers of the simulated DNS: a resolver, and authoritative servers of which
//! each has its own records.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use ingress_acme_actors::ports::ChallengeDns;
use ingress_acme_sim::dns::{Dns, Trouble};
use proptest::prelude::*;

use super::*;

const NAME: &str = "_acme-challenge.example.com";

fn name(name: &str) -> DnsName {
    DnsName::parse_certified(name).unwrap()
}

fn record(value: &str) -> TxtRecord {
    let of = |name: &str| RecordName::parse(name).unwrap();
    TxtRecord {
        account: "dns".to_owned(),
        provider: None,
        zone: of("example.com"),
        name: of(NAME),
        value: value.to_owned(),
        domain: name("example.com"),
    }
}

/// A resolver, and an adapter that asks nobody else.
fn resolved() -> (Dns, ChallengeRecords) {
    let dns = Dns::start().unwrap();
    let adapter = ChallengeRecords::new(None, &[dns.address()]).unwrap();
    (dns, adapter)
}

async fn target(adapter: &ChallengeRecords, of: &str) -> Result<[String; 2], String> {
    let target = adapter.target(&name(of)).await?;
    Ok([target.name, target.zone].map(|name| name.to_string()))
}

#[tokio::test]
async fn a_challenge_is_written_in_the_closest_zone() {
    let (dns, adapter) = resolved();
    for of in ["example.com", "*.example.com"] {
        assert_eq!(target(&adapter, of).await.unwrap(), [NAME, "example.com"]);
    }
    let deep = "_acme-challenge.a.b.example.com";
    assert_eq!(target(&adapter, "a.b.example.com").await.unwrap(), [deep, "example.com"]);
    dns.zone().set_zone("b.example.net", &["ns.example.net"]);
    assert_eq!(target(&adapter, "*.c.b.example.net").await.unwrap()[1], "b.example.net");
    // The name of the Service is an alias of another zone's apex, whose SOA record is no zone cut.
    dns.zone().set_alias("shop.example.com", Some("example.net"));
    let [_, zone] = target(&adapter, "shop.example.com").await.unwrap();
    assert_eq!(zone, "example.com");
}

#[tokio::test]
async fn aliases_of_a_challenge_are_followed_to_the_zone_that_they_lead_to() {
    let (dns, adapter) = resolved();
    dns.zone().set_alias(NAME, Some("one.acme.example.net"));
    dns.zone().set_alias("one.acme.example.net", Some("Two.acme.example.org."));
    dns.zone().set_zone("acme.example.org", &["ns.example.org"]);
    let found = target(&adapter, "*.example.com").await.unwrap();
    assert_eq!(found, ["two.acme.example.org", "acme.example.org"]);
}

#[tokio::test]
async fn aliases_in_a_circle_or_in_a_long_row_are_an_error() {
    let (dns, adapter) = resolved();
    dns.zone().set_alias(NAME, Some("a.example.net"));
    dns.zone().set_alias("a.example.net", Some(NAME));
    let why = target(&adapter, "example.com").await.unwrap_err();
    assert!(why.contains("circle, back to _acme-challenge.example.com"), "{why}");
    for number in 0..=limits::DNS_ALIASES {
        let next = format!("n{}.example.net", number + 1);
        dns.zone().set_alias(&format!("n{number}.example.net"), Some(&next));
    }
    dns.zone().set_alias("_acme-challenge.example.org", Some("n0.example.net"));
    let why = target(&adapter, "example.org").await.unwrap_err();
    assert!(why.contains("more than 8 CNAME records in a row"), "{why}");
}

#[tokio::test]
async fn what_is_not_definite_is_an_error_that_names_the_domain() {
    let (dns, adapter) = resolved();
    dns.zone().set("example.com", Some(Trouble::ServFail));
    let why = target(&adapter, "a.example.com").await.unwrap_err();
    assert_eq!(why, "_acme-challenge.a.example.com: Server Failure");
    let why = adapter.persist_records(&name("example.com")).await.unwrap_err();
    assert_eq!(why, "_validation-persist.example.com: Server Failure");
    let why = adapter.has(&record("v")).await.unwrap_err();
    assert_eq!(why, "_acme-challenge.example.com: Server Failure");
}

#[tokio::test]
async fn a_domain_that_is_not_there_has_no_zone_and_no_records() {
    let (dns, adapter) = resolved();
    dns.zone().set("com", Some(Trouble::NxDomain));
    let why = target(&adapter, "example.com").await.unwrap_err();
    assert!(why.contains("no domain above _acme-challenge.example.com has a SOA record"), "{why}");
    assert_eq!(adapter.persist_records(&name("example.com")).await, Ok(Vec::new()));
    assert_eq!(adapter.has(&record("v")).await, Ok(false));
}

#[tokio::test]
async fn records_for_a_wildcard_and_its_domain_are_at_one_name_and_long_ones_are_put_together() {
    let (dns, adapter) = resolved();
    let long = format!("ca.example; accounturi=https://ca.example/{}", "x".repeat(400));
    for value in ["ca.example; accounturi=https://ca.example/1", &long] {
        dns.zone().add_txt("_validation-persist.example.com", value);
    }
    for of in ["example.com", "*.example.com"] {
        let found = adapter.persist_records(&name(of)).await.unwrap();
        assert_eq!(found.len(), 2);
        assert!(found.contains(&long));
    }
    dns.zone().add_txt("_validation-persist.example.net", &"x".repeat(limits::PERSIST_VALUE + 1));
    let why = adapter.persist_records(&name("example.net")).await.unwrap_err();
    assert!(why.contains("3073 bytes, but at most 3072 are read"), "{why}");
    for number in 0..=limits::PERSIST_RECORDS {
        dns.zone().add_txt("_validation-persist.example.org", &number.to_string());
    }
    let why = adapter.persist_records(&name("example.org")).await.unwrap_err();
    assert!(why.contains("33 TXT records, but at most 32"), "{why}");
}

/// Two authoritative servers of `example.com` on one port of two addresses, and an adapter that
/// finds them through a resolver.
fn authoritative() -> (Dns, [Dns; 2], ChallengeRecords) {
    let resolver = Dns::start().unwrap();
    let addresses = [2, 3].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let servers = (0..100).find_map(|_| {
        let one = Dns::start_at(SocketAddr::from((addresses[0], 0))).unwrap();
        let other = Dns::start_at(SocketAddr::from((addresses[1], one.address().port())));
        other.ok().map(|other| [one, other])
    });
    let servers = servers.unwrap();
    let zone = resolver.zone();
    zone.set_zone("example.com", &["ns1.example.net", "ns2.example.net", "gone.example.net"]);
    zone.set("gone.example.net", Some(Trouble::NxDomain));
    for (number, address) in addresses.into_iter().enumerate() {
        zone.set_address(&format!("ns{}.example.net", number + 1), address);
    }
    let port = servers[0].address().port();
    let found = Nameservers::with_authoritative(Some(resolver.address()), port).unwrap();
    (resolver, servers, ChallengeRecords(Source::Nameservers(Box::new(found))))
}

#[tokio::test]
async fn a_record_has_arrived_when_all_authoritative_servers_that_answer_have_it() {
    let (_resolver, servers, adapter) = authoritative();
    let [one, other] = [servers[0].zone(), servers[1].zone()];
    assert_eq!(adapter.has(&record("new")).await, Ok(false));
    for value in ["old", "new"] {
        one.add_txt(NAME, value);
    }
    assert_eq!(adapter.has(&record("new")).await, Ok(false), "one of two");
    other.add_txt(NAME, "new");
    tokio::time::sleep(limits::DNS_ANSWER_AGE).await;
    assert_eq!(adapter.has(&record("new")).await, Ok(true));
    assert_eq!(adapter.has(&record("old")).await, Ok(false));
    for failing in [one, other] {
        failing.set("example.com", Some(Trouble::ServFail));
    }
    let why = adapter.has(&record("new")).await.unwrap_err();
    assert_eq!(why, "_acme-challenge.example.com: Server Failure");
    one.set("example.com", None);
    assert_eq!(adapter.has(&record("new")).await, Ok(true), "the other one does not answer");
}

#[tokio::test]
async fn a_zone_without_a_reachable_server_is_an_error() {
    let (resolver, servers, adapter) = authoritative();
    drop(servers);
    let why = adapter.has(&record("new")).await.unwrap_err();
    assert!(why.starts_with("_acme-challenge.example.com: "), "{why}");
    for number in [1, 2] {
        resolver.zone().set(&format!("ns{number}.example.net"), Some(Trouble::NxDomain));
    }
    tokio::time::sleep(limits::DNS_ANSWER_AGE).await;
    let why = adapter.has(&record("new")).await.unwrap_err();
    assert!(why.contains("no name server of the zone example.com has an address"), "{why}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_left_out_in_time() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (dns, _) = resolved();
    let addresses = [silent.local_addr().unwrap(), dns.address()];
    let adapter = ChallengeRecords::new(None, &addresses).unwrap();
    dns.zone().add_txt(NAME, "new");
    assert_eq!(adapter.has(&record("new")).await, Ok(true));
    let nobody = ChallengeRecords::new(None, &addresses[..1]).unwrap();
    assert!(nobody.has(&record("new")).await.is_err());
    assert!(nobody.target(&name("example.com")).await.is_err());
}

proptest! {
    #[test]
    fn any_answers_are_a_verdict_or_the_first_reason(
        answers in prop::collection::vec(
            prop_oneof![
                prop::collection::vec("[ab]{1,2}", 0..4).prop_map(Ok),
                "[x-z]{1,3}".prop_map(Err),
            ],
            0..9,
        ),
    ) {
        let texts: Vec<&Vec<String>> = answers.iter().filter_map(|one| one.as_ref().ok()).collect();
        let expected = texts.iter().all(|texts| texts.iter().any(|text| text == "a"));
        match all_have(answers.clone(), "a") {
            Ok(verdict) => prop_assert_eq!((verdict, texts.is_empty()), (expected, false)),
            Err(why) => {
                prop_assert!(texts.is_empty());
                let first = answers.into_iter().find_map(Result::err);
                prop_assert_eq!(why, first.unwrap_or_else(|| "no server was asked".to_owned()));
            }
        }
    }

    #[test]
    fn any_texts_are_returned_whole_or_refused_in_a_short_text(
        texts in prop::collection::vec(".{0,40}|x{3000,3100}", 0..40),
    ) {
        match bounded(texts.clone()) {
            Ok(read) => prop_assert_eq!(read, texts),
            Err(why) => prop_assert!(why.len() < 100, "{}", why),
        }
    }
}
