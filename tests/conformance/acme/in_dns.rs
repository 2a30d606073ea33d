//! Names that are proved in DNS, through the operator's adapter on both CAs: DNS-01 and
//! DNS-PERSIST-01.

use std::collections::BTreeMap;
use std::rc::Rc;

use ingress_acme::acme::Acme;
use ingress_acme::pki::Pki;
use ingress_acme_actors::domain::certificate::KeyAlgorithm;
use ingress_acme_actors::domain::dns::persist::{Meaning, meaning, value_to_set};
use ingress_acme_actors::domain::issuance::{Method, Methods, Offers, OrderStatus};
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::ports::{CertificateAuthority, Keys};

use crate::adapter::{Memory, Requests, acme, count, names, on_both, settled};
use crate::test_ca::{HOSTS, TestCa};

/// An adapter with a registered account.
async fn registered(test_ca: &TestCa<'_>) -> (Acme, Requests) {
    let (acme, requests) = acme(test_ca, &Rc::new(Memory::default()));
    acme.account().await.unwrap();
    (acme, requests)
}

/// Opens an order and returns its URL, and what the CA offers for each name.
async fn opened(acme: &Acme, hosts: &[&str]) -> (String, BTreeMap<DnsName, Offers>) {
    let order = acme.open_order(&names(hosts), None, None).await.unwrap();
    let offered = acme.offers(&order.url).await.unwrap();
    let each = offered.authorizations.into_iter().map(|one| {
        assert!(!one.accepted);
        (one.name, one.offers)
    });
    let offers: BTreeMap<DnsName, Offers> = each.collect();
    assert!(offers.keys().eq(&names(hosts)), "{offers:?}");
    (order.url, offers)
}

fn all_by(method: Method, hosts: &[&str]) -> Methods {
    names(hosts).into_iter().map(|name| (name, method)).collect()
}

/// Finalizes the order, whose certificate must have these names.
async fn issued(acme: &Acme, url: &str, hosts: &[&str]) {
    assert_eq!(settled(acme, url).await.status, OrderStatus::Ready);
    let key = Pki::default().generate(KeyAlgorithm::EcdsaP256).await.unwrap();
    let request = Pki::default().request(&names(hosts), &key).unwrap();
    acme.finalize(url, &request).await.unwrap();
    assert_eq!(settled(acme, url).await.status, OrderStatus::Valid);
    let chain = acme.download(url).await.unwrap();
    let certificate = Pki::default().inspect(&chain, &key).unwrap();
    assert!(certificate.names.iter().map(String::as_str).eq(hosts.iter().copied()));
}

async fn refused(acme: &Acme, url: &str, words: &str) {
    match settled(acme, url).await.status {
        OrderStatus::Invalid(failure) => {
            assert!(failure.detail.contains(words), "{}", failure.detail);
            assert_eq!(failure.names.len(), 1);
        }
        status => panic!("{status:?}"),
    }
}

async fn a_wildcard_and_its_domain_have_two_values_at_one_name(test_ca: &TestCa<'_>) {
    let (acme, requests) = registered(test_ca).await;
    let (hosts, at) = (["*.two.example.com", "two.example.com"], "_acme-challenge.two.example.com");
    let (url, offers) = opened(&acme, &hosts).await;
    let values: Vec<&String> = offers.values().filter_map(|one| one.dns_01.as_ref()).collect();
    assert!(values.len() == 2 && values[0] != values[1]);
    for value in values {
        test_ca.add_txt(at, value).await;
    }
    acme.accept(&url, &all_by(Method::Dns01, &hosts)).await.unwrap();
    let counts = ["new_order", "authorization", "challenge"].map(|of| count(&requests, of));
    assert_eq!(counts, [1, 2, 2], "as many as of HTTP-01: each authorization is read once");
    issued(&acme, &url, &hosts).await;
    test_ca.clear_txt(at).await;
}

async fn a_wrong_value_ends_the_order(test_ca: &TestCa<'_>) {
    let (acme, _) = registered(test_ca).await;
    let hosts = ["*.wrong.example.com"];
    let (url, _) = opened(&acme, &hosts).await;
    test_ca.add_txt("_acme-challenge.wrong.example.com", "wrong").await;
    acme.accept(&url, &all_by(Method::Dns01, &hosts)).await.unwrap();
    refused(&acme, &url, "*.wrong.example.com: ").await;
}

async fn a_challenge_is_delegated_by_an_alias(test_ca: &TestCa<'_>) {
    let (acme, _) = registered(test_ca).await;
    let hosts = ["*.alias.example.com"];
    let (url, offers) = opened(&acme, &hosts).await;
    test_ca.set_alias("_acme-challenge.alias.example.com", "alias.acme.example.net").await;
    for value in offers.values().filter_map(|one| one.dns_01.as_ref()) {
        test_ca.add_txt("alias.acme.example.net", value).await;
    }
    acme.accept(&url, &all_by(Method::Dns01, &hosts)).await.unwrap();
    issued(&acme, &url, &hosts).await;
}

async fn one_host_is_proved_over_http_and_a_wildcard_in_dns(test_ca: &TestCa<'_>) {
    let (acme, _) = registered(test_ca).await;
    test_ca.answer(acme.prepare().await.unwrap()).await;
    let hosts = ["*.mixed.example.com", HOSTS[0]];
    let (url, offers) = opened(&acme, &hosts).await;
    let wildcard = DnsName::parse_certified(hosts[0]).unwrap();
    let value = offers[&wildcard].dns_01.as_ref().unwrap();
    test_ca.add_txt("_acme-challenge.mixed.example.com", value).await;
    acme.accept(&url, &[(wildcard, Method::Dns01)].into()).await.unwrap();
    issued(&acme, &url, &hosts).await;
}

async fn one_persistent_record_proves_a_wildcard_and_its_domain_without_a_write(
    test_ca: &TestCa<'_>,
) {
    let (acme, _) = registered(test_ca).await;
    let issuer = acme.fetch_issuer().await.unwrap();
    let hosts = ["*.persist.example.com", "persist.example.com"];
    let value = value_to_set(&issuer, &DnsName::parse_certified(hosts[0]).unwrap()).unwrap();
    test_ca.add_txt("_validation-persist.persist.example.com", &value).await;
    for host in hosts {
        let (url, offers) = opened(&acme, &[host]).await;
        let issuers = offers.values().filter_map(|one| one.dns_persist_01.as_ref());
        assert_eq!(issuers.collect::<Vec<_>>(), [&issuer.domains]);
        acme.accept(&url, &all_by(Method::DnsPersist01, &[host])).await.unwrap();
        issued(&acme, &url, &[host]).await;
    }
}

/// The rules of the operator say the same before the CA is asked.
async fn a_persistent_record_that_is_over_or_without_its_policy_is_refused(test_ca: &TestCa<'_>) {
    let (acme, _) = registered(test_ca).await;
    let issuer = acme.fetch_issuer().await.unwrap();
    let apex = DnsName::parse("example.com").unwrap();
    let bare = value_to_set(&issuer, &apex).unwrap();
    let cases = [
        ("over", format!("{bare}; policy=wildcard; persistUntil=1000000000"), "persistUntil"),
        ("bare", bare, "policy mismatch"),
    ];
    for (label, record, words) in cases {
        let host = format!("*.{label}.example.com");
        let name = DnsName::parse_certified(&host).unwrap();
        let now = Timestamp::from_secs(1_800_000_000);
        assert_ne!(meaning(&record, &issuer, &name, now), Meaning::Fits);
        test_ca.add_txt(&format!("_validation-persist.{label}.example.com"), &record).await;
        let (url, _) = opened(&acme, &[&host]).await;
        acme.accept(&url, &all_by(Method::DnsPersist01, &[&host])).await.unwrap();
        refused(&acme, &url, words).await;
    }
}

#[tokio::test]
async fn names_are_proved_in_dns() {
    on_both(async |test_ca: &TestCa<'_>| {
        a_wildcard_and_its_domain_have_two_values_at_one_name(test_ca).await;
        a_wrong_value_ends_the_order(test_ca).await;
        a_challenge_is_delegated_by_an_alias(test_ca).await;
        one_host_is_proved_over_http_and_a_wildcard_in_dns(test_ca).await;
        one_persistent_record_proves_a_wildcard_and_its_domain_without_a_write(test_ca).await;
        a_persistent_record_that_is_over_or_without_its_policy_is_refused(test_ca).await;
    })
    .await;
}
