//! Behaviour of the simulated CA that CAs have announced, or that the RFCs allow them. Pebble has
//! none of it.

use std::rc::Rc;
use std::time::Duration;

use ingress_acme::pki::Pki;
use ingress_acme_actors::domain::certificate::KeyAlgorithm;
use ingress_acme_actors::domain::issuance::{Methods, OrderStatus};
use ingress_acme_actors::ports::{CertificateAuthority, Keys};
use ingress_acme_sim::ca::{CAA_IDENTITY, Ca, Options};
use ingress_acme_sim::dns::Trouble;
use serde_json::{Value, json};

use crate::adapter::{Memory, acme, names, settled};
use crate::client::Answer;
use crate::simulated::authorization_error;
use crate::test_ca::{HOSTS, TestCa};

/// CA/B Forum Baseline Requirements §3.2.2.9: of five remote networks, one may fail. The words are
/// those of Boulder (`va/va.go`).
#[tokio::test]
async fn one_of_five_networks_may_get_no_answer_and_two_fail_the_validation() {
    let test_ca = TestCa::simulated_with(|options| options.remote_networks = 5);
    let client = test_ca.account().await;
    test_ca.sim().with(|ca| {
        ca.block_network(3, None);
        ca.block_network(1, Some("far.example.com"));
    });
    assert_eq!(authorization_error(&test_ca, &client, "near.example.com").await, Value::Null);
    let error = authorization_error(&test_ca, &client, "far.example.com").await;
    assert_eq!(error["type"], "urn:ietf:params:acme:error:connection");
    let detail = error["detail"].as_str().unwrap();
    let words =
        "During secondary validation: 127.0.0.1: Fetching http://far.example.com/.well-known/";
    assert!(detail.starts_with(words), "{detail}");
    assert!(detail.ends_with("Timeout during connect (likely firewall problem)"), "{detail}");
}

/// Resolvers of CAs verify DNSSEC (CA/B Forum ballot SC-085v2, from 2026-03-15) and answer SERVFAIL
/// for signatures that are wrong (RFC 4035 §5.5). The words are those of Let's Encrypt.
#[tokio::test]
async fn a_name_with_wrong_signatures_fails_at_the_ca_though_others_resolve_it() {
    let test_ca = TestCa::simulated();
    let client = test_ca.account().await;
    let zone = &test_ca.sim().zone;
    for (name, trouble, kind) in [
        ("bogus.example.com", Trouble::Bogus, "A"),
        ("bogus.example.org", Trouble::BogusCaa, "CAA"),
    ] {
        zone.set(name, Some(trouble));
        assert!(zone.resolve(name).is_ok());
        let error = authorization_error(&test_ca, &client, name).await;
        assert_eq!(error["type"], "urn:ietf:params:acme:error:dns");
        let words = format!(
            "DNS problem: SERVFAIL looking up {kind} for {name} - the domain's nameservers may be malfunctioning"
        );
        assert!(error["detail"].as_str().unwrap().ends_with(&words), "{error}");
    }
}

/// RFC 8657, which CAs must obey from 2027-03-15 (CA/B Forum ballot SC-098v2).
#[tokio::test]
async fn a_caa_record_of_another_account_or_another_method_is_a_refusal() {
    let test_ca = TestCa::simulated();
    let client = test_ca.account().await;
    let (own, zone) = (client.account_url(), &test_ca.sim().zone);
    let other = format!("{own}0");
    for (name, parameter, allowed) in [
        ("own.example.com", ("accounturi", own.as_str()), true),
        ("other.example.com", ("accounturi", other.as_str()), false),
        ("http.example.com", ("validationmethods", "dns-01,http-01"), true),
        ("dns.example.com", ("validationmethods", "dns-01"), false),
    ] {
        zone.set_caa(name, &[(Some(CAA_IDENTITY), &[parameter])]);
        let error = authorization_error(&test_ca, &client, name).await;
        if allowed {
            assert_eq!(error, Value::Null, "{name}");
            continue;
        }
        let words =
            format!("While processing CAA for {name}: CAA record for {name} prevents issuance");
        assert_eq!(
            (&error["type"], &error["status"]),
            (&json!("urn:ietf:params:acme:error:caa"), &json!(403))
        );
        assert_eq!(error["detail"], words);
    }
}

/// RFC 8555 §7.1.6 has no such status of an authorization. A client waits
/// (`src/acme/deviations/statuses.rs`).
#[tokio::test]
async fn an_authorization_that_is_processing_first_is_waited_for() {
    let test_ca = TestCa::simulated_with(|options| {
        options.processing_authorizations = true;
        options.validation_delay = Duration::from_hours(1);
    });
    let client = test_ca.account().await;
    let (order, _) = client.order(&HOSTS).await;
    let (url, pending, challenge) = client.challenge(&order).await;
    assert_eq!(pending["status"], "pending");
    client.post(challenge["url"].as_str().unwrap(), Some(json!({}))).await.is(200);
    assert_eq!(client.get(&url).await.is(200).body()["status"], "processing");

    let store = Rc::new(Memory::default());
    let (acme, _) = acme(&test_ca, &store);
    test_ca.answer(acme.prepare().await.unwrap()).await;
    let order = acme.open_order(&names(&["c.example.com"]), None, None).await.unwrap().url;
    assert_eq!(acme.accept(&order, &Methods::new()).await.unwrap().status, OrderStatus::Pending);
    let (later, _) = self::acme(&test_ca, &store); // without a cached order
    assert_eq!(later.refresh(&order).await.unwrap().status, OrderStatus::Pending);
}

/// RFC 8555 §7.5: the client chooses a challenge by its type. The order of the array means nothing.
#[tokio::test]
async fn challenges_of_unknown_types_stand_in_any_order_which_the_seed_decides() {
    let places = async |seed| {
        let test_ca = TestCa::simulated_with(|options| {
            options.unknown_challenges = true;
            options.seed = seed;
        });
        let client = test_ca.account().await;
        let mut places = Vec::new();
        for number in 0..6 {
            let (order, _) = client.order(&[&format!("c{number}.example.com")]).await;
            let (_, authorization, _) = client.challenge(&order).await;
            let challenges = authorization["challenges"].as_array().unwrap().iter();
            let kinds: Vec<&str> = challenges.map(|one| one["type"].as_str().unwrap()).collect();
            assert_eq!(kinds.len(), 7);
            places.push(kinds.iter().position(|kind| *kind == "http-01").unwrap());
        }
        places
    };
    let first = places(1).await;
    assert!(first.iter().any(|place| *place != first[0]), "{first:?}");
    assert_eq!(places(1).await, first);
    assert_ne!(places(2).await, first);
}

/// RFC 9773 §4.2: a window in the past means now, and `explanationURL` is a page for people.
#[tokio::test]
async fn an_announced_revocation_is_a_window_in_the_past_with_a_page_that_explains_it() {
    let test_ca = TestCa::simulated();
    let client = test_ca.account().await;
    let (_, _, chain) = crate::behaviours::issued(&test_ca, &client).await;
    let page = "https://ca.example/incident";
    assert_eq!(test_ca.sim().with(|ca| ca.revoke_all(Duration::from_hours(24), page)), 1);
    let id = crate::behaviours::certificate_id(&crate::behaviours::leaf(&chain));
    let url = format!("{}/{id}", client.url("renewalInfo"));
    let body = Answer::of(client.http.get(&url).send().await.unwrap()).await.is(200).body();
    assert_eq!(body["explanationURL"], page);
    let end: jiff::Timestamp = body["suggestedWindow"]["end"].as_str().unwrap().parse().unwrap();
    let revoked_at = test_ca.sim().with(Ca::issued)[0].revoked_at.unwrap();
    assert_eq!(revoked_at.duration_since(end), jiff::SignedDuration::from_mins(24 * 60 + 30));
}

/// All at once: the adapter gets a certificate, in as many requests as the CA makes it send.
#[tokio::test]
async fn the_ca_of_2029_issues_a_certificate_of_45_days_to_the_adapter() {
    let test_ca = TestCa::simulated_with(|options| {
        let validation_port = options.validation_port;
        *options = Options { validation_port, ..Options::year_2029() };
    });
    test_ca.sim().with(|ca| ca.block_network(5, None));
    let store = Rc::new(Memory::default());
    let (acme, _) = acme(&test_ca, &store);
    test_ca.answer(acme.prepare().await.unwrap()).await;
    let hosts = names(&HOSTS);
    let order = acme.open_order(&hosts, None, None).await.unwrap().url;
    acme.accept(&order, &Methods::new()).await.unwrap();
    assert_eq!(settled(&acme, &order).await.status, OrderStatus::Ready);
    let key = Pki::default().generate(KeyAlgorithm::EcdsaP256).await.unwrap();
    let csr = Pki::default().request(&hosts, &key).unwrap();
    let finalized = acme.finalize(&order, &csr).await.unwrap();
    assert_eq!(finalized.status, OrderStatus::Processing);
    assert_eq!(finalized.retry_after, Some(Duration::from_secs(1)));
    assert_eq!(settled(&acme, &order).await.status, OrderStatus::Valid);
    let leaf = Pki::default().inspect(&acme.download(&order).await.unwrap(), &key).unwrap();
    let days = leaf.not_after.since(leaf.not_before).as_secs_f64() / 86_400.0;
    assert_eq!((days.round(), leaf.key_matches), (45.0, true));
}
