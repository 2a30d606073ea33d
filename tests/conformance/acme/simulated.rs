//! Behaviour of the simulated CA alone: rate limits, faults on demand, and checks that Pebble
//! lacks.

use std::rc::Rc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64URL, Engine};
use ingress_acme::pki::Pki;
use ingress_acme_actors::domain::certificate::KeyAlgorithm;
use ingress_acme_actors::domain::issuance::{Methods, OrderStatus};
use ingress_acme_actors::ports::{CertificateAuthority, Keys};
use ingress_acme_control_plane::eventually;
use ingress_acme_sim::ca::{Ca, Limits, Rate};
use ingress_acme_sim::clock::Clock;
use ingress_acme_sim::dns::Trouble;
use ingress_acme_sim::faults::Chances;
use ingress_acme_sim::trust::verify_chain;
use serde_json::{Value, json};

use crate::adapter::{Memory, acme, count, names};
use crate::client::{By, Client, wanted};
use crate::test_ca::{HOSTS, SOON, TestCa};

/// Like [`validate`], with a host that gives the right answer.
pub(crate) async fn authorization_error(
    test_ca: &TestCa<'_>,
    client: &Client,
    name: &str,
) -> Value {
    test_ca.answer(client.thumbprint()).await;
    validate(client, name).await
}

/// Orders a certificate for `name` and returns the error of the http-01 challenge; null means
/// success.
async fn validate(client: &Client, name: &str) -> Value {
    let (order, _) = client.order(&[name]).await;
    let (authorization, _, challenge) = client.challenge(&order).await;
    client.post(challenge["url"].as_str().unwrap(), Some(json!({}))).await.is(200);
    eventually(SOON, "the validation", async || {
        let body = client.get(&authorization).await.is(200).body();
        (body["status"] != "pending").then(|| body["challenges"][0]["error"].clone())
    })
    .await
}

#[tokio::test]
async fn a_limit_is_reported_with_when_it_is_over() {
    let test_ca = TestCa::simulated();
    let limits = Limits { orders: Some(Rate { count: 1, per: SOON }), ..Limits::unlimited() };
    test_ca.sim().with(|ca| ca.set_limits(limits));
    let client = test_ca.account().await;
    client.order(&HOSTS).await;
    let refused = client.post(&client.url("newOrder"), Some(wanted(&["x.example.com"]))).await;
    let refused = refused.refuses(429, "rateLimited");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    let said = refused.body()["detail"].as_str().unwrap().to_owned();
    assert!(
        said.starts_with("too many new orders (1) from this account in the last 30s"),
        "{said}"
    );
    assert_eq!(test_ca.sim().with(Ca::counts).rate_limited, 1);
}

#[tokio::test]
async fn a_limit_can_name_a_date() {
    let test_ca = TestCa::simulated_with(|options| {
        options.retry_after_as_date = true;
        options.limits.load.new_order = Some(Rate { count: 1, per: SOON });
    });
    let client = test_ca.account().await;
    client.order(&HOSTS).await;
    let refused = client.post(&client.url("newOrder"), Some(wanted(&HOSTS))).await;
    assert!(refused.refuses(503, "rateLimited").header("retry-after").ends_with(" GMT"));
}

#[tokio::test]
async fn each_failed_validation_says_what_was_wrong() {
    let test_ca = TestCa::simulated();
    let client = test_ca.account().await;
    let error = validate(&client, "solverless.example.com").await;
    let detail = error["detail"].as_str().unwrap();
    assert!(detail.starts_with("127.0.0.1: Invalid response from http://solverless"), "{detail}");
    assert!(detail.ends_with(": 503"), "{detail}");
    let zone = &test_ca.sim().zone;
    zone.set("nx.example.com", Some(Trouble::NxDomain));
    zone.set("servfail.example.com", Some(Trouble::ServFail));
    zone.set("dead.example.com", Some(Trouble::Dead));
    test_ca.sim().with(|ca| ca.set_caa("caa.example.com", true));
    for (name, kind, words) in [
        ("nx.example.com", "dns", "DNS problem: NXDOMAIN looking up A for nx.example.com"),
        ("servfail.example.com", "dns", "DNS problem: SERVFAIL looking up A for servfail.example"),
        ("dead.example.com", "connection", "Fetching http://dead.example.com/.well-known/acme"),
        ("caa.example.com", "caa", "CAA record for caa.example.com prevents issuance"),
    ] {
        let error = authorization_error(&test_ca, &client, name).await;
        assert_eq!(error["type"], format!("urn:ietf:params:acme:error:{kind}"), "{error}");
        assert!(error["detail"].as_str().unwrap().contains(words), "{error}");
    }
    test_ca.answer("somebody-elses-thumbprint".to_owned()).await;
    let stranger = test_ca.account().await;
    let error = validate(&stranger, "a.example.com").await;
    let words = "The key authorization file from the server did not match this challenge";
    assert!(error["detail"].as_str().unwrap().starts_with(words), "{error}");
    let counts = test_ca.sim().with(Ca::counts);
    assert_eq!((counts.validations_passed, counts.validations_failed), (0, 6));
}

#[tokio::test]
async fn names_against_its_policy_are_each_reported() {
    let test_ca = TestCa::simulated();
    test_ca.sim().with(|ca| ca.forbid("example.org", true));
    let client = test_ca.account().await;
    let names = wanted(&["a.example.com", "a.b.example.org", "*.example.net", "*.example.org"]);
    let refused = client.post(&client.url("newOrder"), Some(names)).await;
    let body = refused.refuses(400, "rejectedIdentifier").body();
    let answer: Vec<_> = body["subproblems"].as_array().unwrap().iter().collect();
    assert_eq!(answer.len(), 2, "{body}");
    assert_eq!(answer[0]["identifier"]["value"], "*.example.org");
    let redundant = wanted(&["a.example.com", "*.example.com"]);
    client.post(&client.url("newOrder"), Some(redundant)).await.refuses(400, "malformed");
}

#[tokio::test]
async fn an_unknown_challenge_stands_beside_the_one_that_can_be_met() {
    let test_ca = TestCa::simulated();
    let client = test_ca.account().await;
    let (order, _) = client.order(&HOSTS).await;
    let (_, authorization, _) = client.challenge(&order).await;
    let mut challenges = authorization["challenges"].as_array().unwrap().iter();
    let unknown = challenges.find(|challenge| challenge["type"] == "dns-account-01").unwrap();
    let refused = client.post(unknown["url"].as_str().unwrap(), Some(json!({}))).await;
    refused.refuses(400, "malformed");
}

#[tokio::test]
async fn a_new_account_must_be_bound_where_that_is_required() {
    let secret = b"0123456789abcdef0123456789abcdef".to_vec();
    let eab = Some(("kid-1".to_owned(), secret.clone()));
    let test_ca = TestCa::simulated_with(|options| options.eab = eab);
    let client = test_ca.client().await;
    assert_eq!(client.directory["meta"]["externalAccountRequired"], true);
    client.register().await.refuses(403, "externalAccountRequired");
    let url = client.url("newAccount");
    let bind = |secret: &[u8]| {
        let header = json!({ "alg": "HS256", "kid": "kid-1", "url": url }).to_string();
        let [protected, payload] =
            [header, client.jwk().to_string()].map(|part| BASE64URL.encode(part));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let tag = hmac::sign(&key, format!("{protected}.{payload}").as_bytes());
        let signature = BASE64URL.encode(tag);
        let binding = json!({ "protected": protected, "payload": payload, "signature": signature });
        json!({ "termsOfServiceAgreed": true, "externalAccountBinding": binding })
    };
    client.post(&url, Some(bind(b"wrong"))).await.refuses(403, "unauthorized");
    client.post(&url, Some(bind(&secret))).await.is(201);
}

#[tokio::test]
async fn an_authorization_and_an_open_order_are_used_again() {
    let test_ca = TestCa::simulated();
    let client = test_ca.account().await;
    let (_, first) = client.order(&HOSTS).await;
    let (_, second) = client.order(&HOSTS).await;
    assert_eq!(first, second);
    assert_eq!(authorization_error(&test_ca, &client, HOSTS[0]).await, Value::Null);
    let (order, _) = client.order(&HOSTS[..1]).await;
    assert_eq!(order["status"], "ready");
}

#[tokio::test]
async fn trouble_comes_on_demand_and_goes() {
    let test_ca = TestCa::simulated();
    let client = test_ca.account().await;
    let always = Chances { failed: 1.0, ..Chances::default() };
    test_ca.sim().with(|ca| ca.faults().set(always));
    let account = client.account_url();
    let ask = async || client.send(&account, &client.sign(&json!({}), None)).await;
    ask().await.refuses(500, "serverInternal");
    let always = Chances { throttled: 1.0, ..Chances::default() };
    test_ca.sim().with(|ca| ca.faults().set(always));
    assert_eq!(ask().await.refuses(429, "rateLimited").header("retry-after"), "1");
    let always = Chances { unanswered: 1.0, ..Chances::default() };
    test_ca.sim().with(|ca| ca.faults().set(always));
    let broken = client.http.get(test_ca.directory()).send().await;
    let broken = match broken {
        Ok(response) => response.bytes().await.is_err(),
        Err(_) => true,
    };
    assert!(broken);
    test_ca.sim().with(|ca| ca.faults().set(Chances::default()));
    client.post(&account, Some(json!({}))).await.is(200);
    test_ca.sim().with(|ca| ca.set_bad_nonces(1.0));
    let nonce = client.fresh_nonce().await;
    let signed = client.sign(&client.header(&account, &nonce), None);
    client.send(&account, &signed).await.refuses(400, "badNonce");
}

#[tokio::test]
async fn a_frozen_ca_answers_nothing_and_then_what_it_was_asked() {
    let test_ca = TestCa::simulated();
    test_ca.sim().with(|ca| ca.freeze(true));
    let (directory, trust) = (test_ca.directory(), test_ca.trust());
    let mut asking = Box::pin(Client::new(&directory, &trust));
    let silent = tokio::time::timeout(Duration::from_millis(300), &mut asking).await;
    assert!(silent.is_err());
    test_ca.sim().with(|ca| ca.freeze(false));
    asking.await;
}

#[tokio::test]
async fn what_takes_time_says_when_to_look_again() {
    let test_ca = TestCa::simulated_with(|options| {
        options.retry_after = Some(7);
        options.processing_delay = Duration::from_hours(1);
        options.validation_delay = Duration::from_hours(1);
    });
    let client = test_ca.account().await;
    let (order, url) = client.order(&HOSTS).await;
    assert_eq!(client.get(&url).await.is(200).header("retry-after"), "7");
    let (authorization, _, challenge) = client.challenge(&order).await;
    let answer = client.post(challenge["url"].as_str().unwrap(), Some(json!({}))).await.is(200);
    assert_eq!(
        (answer.body()["status"].as_str(), answer.header("retry-after")),
        (Some("processing"), "7")
    );
    assert_eq!(client.get(&authorization).await.is(200).header("retry-after"), "7");
}

#[tokio::test]
async fn a_ca_that_validates_within_the_request_is_followed_at_once() {
    let test_ca = TestCa::simulated_with(|options| options.validate_within_request = true);
    let store = Rc::new(Memory::default());
    let (acme, requests) = acme(&test_ca, &store);
    test_ca.answer(acme.prepare().await.unwrap()).await;
    let hosts = names(&HOSTS);
    let url = acme.open_order(&hosts, None, None).await.unwrap().url;
    assert_eq!(acme.accept(&url, &Methods::new()).await.unwrap().status, OrderStatus::Ready);
    let key = Pki::default().generate(KeyAlgorithm::EcdsaP256).await.unwrap();
    let csr = Pki::default().request(&hosts, &key).unwrap();
    assert_eq!(acme.finalize(&url, &csr).await.unwrap().status, OrderStatus::Valid);
    assert!(Pki::default().inspect(&acme.download(&url).await.unwrap(), &key).unwrap().key_matches);
    let each = ["new_order", "authorization", "challenge", "order", "finalize", "certificate"]
        .map(|endpoint| count(&requests, endpoint));
    assert_eq!(each, [1, 2, 2, 1, 1, 1], "two names, and no request but these");
}

#[tokio::test]
async fn a_certificate_has_a_second_chain_under_another_root() {
    let test_ca = TestCa::simulated();
    let client = test_ca.account().await;
    assert_eq!(authorization_error(&test_ca, &client, HOSTS[0]).await, Value::Null);
    let (order, _) = client.order(&HOSTS[..1]).await;
    let mut params = rcgen::CertificateParams::new(vec![HOSTS[0].to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let request = params.serialize_request(&rcgen::KeyPair::generate().unwrap());
    let csr = json!({ "csr": BASE64URL.encode(request.unwrap().der()) });
    let order = client.post(order["finalize"].as_str().unwrap(), Some(csr)).await.is(200).body();
    let chain = client.get(order["certificate"].as_str().unwrap()).await.is(200);
    let links = chain.headers.get_all("link").iter().map(|link| link.to_str().unwrap());
    let alternate = links.filter(|link| link.contains("alternate")).collect::<String>();
    let other = alternate.trim_start_matches('<').split('>').next().unwrap();
    let other = client.get(other).await.is(200).text;
    let (root, other_root) = test_ca.sim().with(|ca| (ca.root_pem(), ca.other_root_pem()));
    let under = |chain: &str, root: &str| {
        verify_chain(chain, root, &HOSTS[..1], Clock::default().now()).is_ok()
    };
    assert!(under(&chain.text, &root) && under(&other, &other_root));
    assert!(!under(&chain.text, &other_root) && !under(&other, &root));
}

#[tokio::test]
async fn a_request_may_be_signed_for_localhost_too() {
    let test_ca = TestCa::simulated();
    let directory = test_ca.directory().replace("127.0.0.1", "localhost");
    let client = Client::new(&directory, &test_ca.trust()).await;
    client.register().await.is(201);
    assert!(matches!(&*client.by.lock().unwrap(), By::Account(url) if url.contains("localhost")));
    client.order(&HOSTS).await;
}
