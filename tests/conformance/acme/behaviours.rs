//! Behaviour of both CAs, request by request. Where the CAs may differ, the tests assert the
//! demands of RFC 8555.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64URL, Engine};
use ingress_acme_control_plane::eventually;
use ingress_acme_sim::clock::Clock;
use ingress_acme_sim::trust::verify_chain;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde_json::{Value, json};
use x509_parser::parse_x509_certificate;
use x509_parser::pem::Pem;

use crate::client::{Answer, By, Client, http_client, wanted};
use crate::test_ca::{HOSTS, SOON, TestCa};

fn csr(names: &[&str]) -> Value {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
    json!({ "csr": BASE64URL.encode(request.der()) })
}

/// Polls a resource until its status is none of `waiting`.
async fn settled(client: &Client, url: &str, waiting: &[&str]) -> Value {
    eventually(SOON, "the CA to get on", async || {
        let body = client.get(url).await.is(200).body();
        (!waiting.contains(&body["status"].as_str().unwrap())).then_some(body)
    })
    .await
}

/// Creates an order for both hosts and makes the order ready.
async fn ready(test_ca: &TestCa<'_>, client: &Client) -> (Value, String) {
    test_ca.answer(client.thumbprint()).await;
    let (order, url) = client.order(&HOSTS).await;
    (validated(client, order, &url).await, url)
}

/// Accepts all pending challenges and returns the ready order.
async fn validated(client: &Client, order: Value, url: &str) -> Value {
    for authorization in order["authorizations"].as_array().unwrap() {
        let one = json!({ "authorizations": [authorization] });
        let (_, _, challenge) = client.challenge(&one).await;
        if challenge["status"] == "pending" {
            client.post(challenge["url"].as_str().unwrap(), Some(json!({}))).await.is(200);
        }
    }
    let order = settled(client, url, &["pending"]).await;
    assert_eq!(order["status"], "ready");
    order
}

/// Issues a certificate; returns the order, the certificate's URL and the chain.
pub(crate) async fn issued(test_ca: &TestCa<'_>, client: &Client) -> (Value, String, String) {
    let (order, url) = ready(test_ca, client).await;
    client.post(order["finalize"].as_str().unwrap(), Some(csr(&HOSTS))).await.is(200);
    let order = settled(client, &url, &["ready", "processing"]).await;
    assert_eq!(order["status"], "valid");
    let certificate = order["certificate"].as_str().unwrap().to_owned();
    let chain = client.get(&certificate).await.is(200).text;
    (order, certificate, chain)
}

pub(crate) fn leaf(chain: &str) -> Vec<u8> {
    Pem::iter_from_buffer(chain.as_bytes()).next().unwrap().unwrap().contents
}

/// ARI certificate ID (RFC 9773 §4.1).
pub(crate) fn certificate_id(leaf: &[u8]) -> String {
    let (_, certificate) = parse_x509_certificate(leaf).unwrap();
    let issuer = certificate
        .iter_extensions()
        .find_map(|extension| match extension.parsed_extension() {
            x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(id) => {
                Some(id.key_identifier.as_ref().unwrap().0)
            }
            _ => None,
        })
        .unwrap();
    format!("{}.{}", BASE64URL.encode(issuer), BASE64URL.encode(certificate.raw_serial()))
}

pub(crate) async fn the_directory_lists_resources_and_profiles(test_ca: &TestCa<'_>) {
    let directory = test_ca.client().await.directory;
    for resource in ["newNonce", "newAccount", "newOrder", "revokeCert", "keyChange", "renewalInfo"]
    {
        assert!(directory[resource].as_str().unwrap().starts_with("https://"), "{resource}");
    }
    let meta = &directory["meta"];
    assert!(meta["termsOfService"].is_string());
    assert_eq!(meta["externalAccountRequired"], false);
    let mut profiles: Vec<&String> = meta["profiles"].as_object().unwrap().keys().collect();
    profiles.sort();
    assert_eq!(profiles, test_ca.profiles());
}

pub(crate) async fn a_nonce_comes_with_head_get_and_every_answer_and_is_good_once(
    test_ca: &TestCa<'_>,
) {
    let client = test_ca.client().await;
    let got = client.http.get(client.url("newNonce")).send().await.unwrap();
    let got = Answer::of(got).await.is(204);
    assert!(!got.header("replay-nonce").is_empty());
    assert!(got.header("cache-control").contains("no-"));
    assert!(got.header("link").contains("rel=\"index\""), "{got:?}");
    client.register().await.is(201);
    let (url, nonce) = (client.account_url(), client.fresh_nonce().await);
    let signed = client.sign(&client.header(&url, &nonce), None);
    client.send(&url, &signed).await;
    // `send` asserts that the refusal brings a fresh nonce.
    client.send(&url, &signed).await.refuses(400, "badNonce");
    let made_up = client.sign(&client.header(&url, "bm9uZQ"), None);
    client.send(&url, &made_up).await.refuses(400, "badNonce");
}

pub(crate) async fn a_key_has_one_account(test_ca: &TestCa<'_>) {
    let client = test_ca.client().await;
    let existing = json!({ "onlyReturnExisting": true, "termsOfServiceAgreed": true });
    let new_account = client.url("newAccount");
    let unknown = client.post(&new_account, Some(existing.clone())).await;
    unknown.refuses(400, "accountDoesNotExist");
    let made = client.register().await.is(201);
    assert_eq!(made.body()["status"], "valid");
    let again = client.register().await.is(200);
    assert_eq!(again.header("location"), made.header("location"));
    *client.by.lock().unwrap() = By::Key;
    let found = client.post(&new_account, Some(existing)).await.is(200);
    assert_eq!(found.header("location"), made.header("location"));
}

pub(crate) async fn an_account_takes_contacts_until_it_is_deactivated(test_ca: &TestCa<'_>) {
    let client = test_ca.account().await;
    let url = client.account_url();
    let contact = json!({ "contact": ["mailto:ops@example.com"] });
    let changed = client.post(&url, Some(contact)).await.is(200);
    assert_eq!(changed.body()["contact"][0], "mailto:ops@example.com");
    let other = json!({ "contact": ["tel:1"] });
    client.post(&url, Some(other)).await.refuses(400, "unsupportedContact");
    let end = json!({ "status": "deactivated" });
    assert_eq!(client.post(&url, Some(end)).await.is(200).body()["status"], "deactivated");
    let refused = client.post(&client.url("newOrder"), Some(wanted(&HOSTS))).await;
    // Pebble's status, 403 or 401, depends on the request; RFC 8555 §7.3.6 demands the error type.
    assert!([401, 403].contains(&refused.status), "{refused:?}");
    assert_eq!(refused.kind(), "unauthorized");
}

pub(crate) async fn an_account_rolls_over_to_a_new_key(test_ca: &TestCa<'_>) {
    let (client, new) = (test_ca.account().await, test_ca.client().await);
    let account = client.account_url();
    client.roll_over(&new).await.is(200);
    let refused = client.get(&account).await;
    assert!((400..500).contains(&refused.status), "{refused:?}");
    *new.by.lock().unwrap() = By::Account(account.clone());
    assert_eq!(new.get(&account).await.is(200).body()["status"], "valid");
    // Pebble 2.10.1 answers 200 to a key of another account, and changes nothing.
    let other = test_ca.account().await;
    let refused = other.roll_over(&new).await;
    if refused.status != 200 {
        assert_eq!((refused.status, refused.header("location")), (409, account.as_str()));
    }
    other.get(&other.account_url()).await.is(200);
    new.get(&account).await.is(200);
}

pub(crate) async fn a_request_that_is_not_signed_as_it_must_be_is_refused(test_ca: &TestCa<'_>) {
    let client = test_ca.account().await;
    let order = client.url("newOrder");
    let spoiled = async |spoil: fn(&mut Value)| {
        client.post_spoiled(&order, Some(wanted(&HOSTS)), spoil).await
    };
    // RFC 8555 §6.4 demands `unauthorized`, as sent by the simulated CA; Pebble sends `malformed`.
    let elsewhere = spoiled(|header| header["url"] = "https://ca.example/new-order".into()).await;
    assert!([400, 401, 403].contains(&elsewhere.status), "{elsewhere:?}");
    assert!(["unauthorized", "malformed"].contains(&elsewhere.kind().as_str()), "{elsewhere:?}");
    let stranger = spoiled(|header| {
        let kid = header["kid"].as_str().unwrap();
        header["kid"] = format!("{}/9999999", kid.rsplit_once('/').unwrap().0).into();
    });
    stranger.await.refuses(400, "accountDoesNotExist");
    let both = spoiled(|header| header["jwk"] = json!({ "kty": "EC" })).await;
    assert_eq!(both.is(400).kind(), "malformed");
    // Pebble first notices that the algorithm does not fit the key; RFC 8555 §6.2 has an error type
    // for the algorithm.
    let algorithm = spoiled(|header| header["alg"] = "HS256".into()).await.is(400);
    assert!(["badSignatureAlgorithm", "malformed"].contains(&algorithm.kind().as_str()));
    let nonce = client.fresh_nonce().await;
    let mut forged = client.sign(&client.header(&order, &nonce), Some(&wanted(&HOSTS)));
    forged["payload"] = BASE64URL.encode(wanted(&["c.example.com"]).to_string()).into();
    assert_eq!(client.send(&order, &forged).await.is(400).kind(), "malformed");
}

pub(crate) async fn a_request_of_another_kind_is_refused(test_ca: &TestCa<'_>) {
    let client = test_ca.account().await;
    let nameless = http_client(&test_ca.trust(), None);
    let refused = nameless.get(test_ca.directory()).send().await.unwrap();
    assert_eq!(Answer::of(refused).await.is(400).kind(), "malformed", "no User-Agent");
    let json = client.http.post(client.url("newOrder")).body("{}").send().await.unwrap();
    assert_eq!(Answer::of(json).await.is(415).kind(), "malformed", "no JWS");
    let (order, url) = client.order(&HOSTS).await;
    for url in [url.as_str(), order["authorizations"][0].as_str().unwrap()] {
        let got = Answer::of(client.http.get(url).send().await.unwrap()).await;
        assert_eq!((got.status, got.kind().as_str()), (405, "malformed"), "{url}");
    }
}

pub(crate) async fn an_order_names_an_authorization_for_each_name(test_ca: &TestCa<'_>) {
    let client = test_ca.account().await;
    let (order, url) = client.order(&HOSTS).await;
    assert_eq!((&order["status"], &order["certificate"]), (&json!("pending"), &Value::Null));
    assert_eq!(order["authorizations"].as_array().unwrap().len(), HOSTS.len());
    assert!(order["expires"].is_string() && order["finalize"].is_string());
    assert!(test_ca.profiles().contains(&order["profile"].as_str().unwrap()), "{order}");
    let read = client.get(&url).await.is(200).body();
    assert_eq!(read["identifiers"].as_array().unwrap().len(), HOSTS.len());
    let (_, authorization, challenge) = client.challenge(&order).await;
    assert_eq!(authorization["status"], "pending");
    assert_eq!(authorization["identifier"]["type"], "dns");
    assert!(HOSTS.contains(&authorization["identifier"]["value"].as_str().unwrap()));
    assert_eq!(challenge["status"], "pending");
    assert!(challenge["token"].as_str().unwrap().len() >= 22, "128 bits (RFC 8555 §8.1)");
}

pub(crate) async fn an_order_that_cannot_be_is_refused(test_ca: &TestCa<'_>) {
    let client = test_ca.account().await;
    let ask = async |wanted: Value| client.post(&client.url("newOrder"), Some(wanted)).await;
    ask(json!({ "identifiers": [] })).await.refuses(400, "malformed");
    let mut gold = wanted(&HOSTS);
    gold["profile"] = "gold".into();
    ask(gold).await.refuses(400, "invalidProfile");
    // Boulder: `unsupportedIdentifier` (RFC 8555 §6.7); Pebble: `malformed`.
    let mail = ask(json!({ "identifiers": [{ "type": "email", "value": "a@example.com" }] })).await;
    assert!(["unsupportedIdentifier", "malformed"].contains(&mail.is(400).kind().as_str()));
    let nonsense = ask(wanted(&["a_b.example.com"])).await.is(400);
    assert!(["malformed", "rejectedIdentifier"].contains(&nonsense.kind().as_str()));
}

pub(crate) async fn orders_of_nobody_and_of_others_are_not_shown(test_ca: &TestCa<'_>) {
    let (client, other) = (test_ca.account().await, test_ca.account().await);
    let (_, url) = client.order(&HOSTS).await;
    let unknown = format!("{}/999999999", url.rsplit_once('/').unwrap().0);
    // Pebble sends no problem document here.
    client.get(&unknown).await.is(404);
    // Boulder hides that the order exists; Pebble sends `unauthorized`.
    let refused = other.get(&url).await;
    let answer = (refused.status, refused.kind());
    let unlike = [(404, "malformed"), (401, "unauthorized"), (403, "unauthorized")];
    assert!(unlike.map(|(status, kind)| (status, kind.to_owned())).contains(&answer), "{answer:?}");
}

pub(crate) async fn an_order_is_finalized_when_it_is_ready_with_a_csr_for_its_names_once(
    test_ca: &TestCa<'_>,
) {
    let client = test_ca.account().await;
    let (order, _) = client.order(&HOSTS).await;
    let finalize = order["finalize"].as_str().unwrap();
    client.post(finalize, Some(csr(&HOSTS))).await.refuses(403, "orderNotReady");
    let (order, url) = ready(test_ca, &client).await;
    let finalize = order["finalize"].as_str().unwrap();
    // RFC 8555 §7.4 names no error type; Boulder also sends this one.
    client.post(finalize, Some(csr(&HOSTS[..1]))).await.refuses(403, "unauthorized");
    let nonsense = client.post(finalize, Some(json!({ "csr": "AAAA" }))).await.is(400);
    assert!(["malformed", "badCSR"].contains(&nonsense.kind().as_str()), "{nonsense:?}");
    assert_eq!(client.get(&url).await.is(200).body()["status"], "ready");
    client.post(finalize, Some(csr(&HOSTS))).await.is(200);
    assert_eq!(settled(&client, &url, &["ready", "processing"]).await["status"], "valid");
    client.post(finalize, Some(csr(&HOSTS))).await.refuses(403, "orderNotReady");
}

pub(crate) async fn a_certificate_is_under_the_root_and_for_its_account_alone(
    test_ca: &TestCa<'_>,
) {
    let client = test_ca.account().await;
    let (_, url, chain) = issued(test_ca, &client).await;
    verify_chain(&chain, &test_ca.roots().await, &HOSTS, Clock::default().now()).unwrap();
    let answer = client.get(&url).await.is(200);
    assert!(answer.header("content-type").starts_with("application/pem-certificate-chain"));
    let refused = test_ca.account().await.get(&url).await;
    assert!([401, 403, 404].contains(&refused.status), "{refused:?}");
    let (leaf, now) = (leaf(&chain), unix_now());
    let (_, certificate) = parse_x509_certificate(&leaf).unwrap();
    let validity = certificate.validity();
    assert!(validity.not_before.timestamp() <= now && now < validity.not_after.timestamp());
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth);
    assert!(certificate.basic_constraints().unwrap().is_none_or(|basic| !basic.value.ca));
}

#[expect(clippy::disallowed_methods, reason = "a certificate is compared with this machine's time")]
fn unix_now() -> i64 {
    jiff::Timestamp::now().as_second()
}

pub(crate) async fn a_failed_validation_is_reported_in_the_authorization_and_ends_the_order(
    test_ca: &TestCa<'_>,
) {
    let client = test_ca.account().await;
    let (order, url) = client.order(&["c.example.com"]).await;
    let (authorization, _, challenge) = client.challenge(&order).await;
    let challenge = challenge["url"].as_str().unwrap();
    let answer = client.post(challenge, Some(json!({}))).await.is(200);
    let up =
        answer.headers.get_all("link").iter().any(|link| link.to_str().unwrap().contains("up"));
    assert!(up, "{answer:?}");
    let failed = settled(&client, &authorization, &["pending"]).await;
    assert_eq!(failed["status"], "invalid");
    let tried = &failed["challenges"].as_array().unwrap()[0];
    assert_eq!((&tried["type"], &tried["status"]), (&json!("http-01"), &json!("invalid")));
    let (error, detail) = (&tried["error"], tried["error"]["detail"].as_str().unwrap());
    assert_eq!(error["type"], "urn:ietf:params:acme:error:unauthorized");
    assert!(detail.contains("c.example.com"), "{detail}");
    assert_eq!(settled(&client, &url, &["pending"]).await["status"], "invalid");
    let again = client.post(challenge, Some(json!({}))).await;
    assert_eq!(again.is(400).kind(), "malformed");
}

pub(crate) async fn a_deactivated_authorization_ends_the_order(test_ca: &TestCa<'_>) {
    let client = test_ca.account().await;
    let (order, url) = client.order(&["d.example.com"]).await;
    let authorization = order["authorizations"][0].as_str().unwrap();
    let end = json!({ "status": "deactivated" });
    let ended = client.post(authorization, Some(end)).await.is(200);
    assert_eq!(ended.body()["status"], "deactivated");
    // RFC 8555 §7.1.6 demands `invalid`. Pebble has its own status, `deactivated`.
    let status = client.get(&url).await.is(200).body()["status"].clone();
    assert!(status == "invalid" || status == "deactivated", "{status}");
    let finalize = order["finalize"].as_str().unwrap();
    client.post(finalize, Some(csr(&["d.example.com"]))).await.refuses(403, "orderNotReady");
}

pub(crate) async fn renewal_information_is_there_until_revocation_and_names_a_window(
    test_ca: &TestCa<'_>,
) {
    let client = test_ca.account().await;
    let leaf = leaf(&issued(test_ca, &client).await.2);
    let url = format!("{}/{}", client.url("renewalInfo"), certificate_id(&leaf));
    let answer = Answer::of(client.http.get(&url).send().await.unwrap()).await.is(200);
    assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
    let window = answer.body()["suggestedWindow"].clone();
    let time = |field: &str| window[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let (_, certificate) = parse_x509_certificate(&leaf).unwrap();
    assert!(time("start") < time("end"));
    assert!(time("end").as_second() < certificate.validity().not_after.timestamp());
    assert!(time("start").as_second() > unix_now());
    let nobody = format!("{}/AAAA.AAAA", client.url("renewalInfo"));
    let unknown = Answer::of(client.http.get(nobody).send().await.unwrap()).await;
    assert!([400, 404].contains(&unknown.status), "{unknown:?}");

    let revoke = json!({ "certificate": BASE64URL.encode(&leaf), "reason": 4 });
    let revoke_url = client.url("revokeCert");
    let stranger = test_ca.account().await;
    let refused = stranger.post(&revoke_url, Some(revoke.clone())).await;
    assert!([401, 403].contains(&refused.status), "{refused:?}");
    client.post(&revoke_url, Some(revoke.clone())).await.is(200);
    client.post(&revoke_url, Some(revoke)).await.refuses(400, "alreadyRevoked");
    let answer = Answer::of(client.http.get(&url).send().await.unwrap()).await.is(200);
    let end = answer.body()["suggestedWindow"]["end"].as_str().unwrap().to_owned();
    assert!(end.parse::<jiff::Timestamp>().unwrap().as_second() < unix_now(), "{end}");
}

pub(crate) async fn a_certificate_is_replaced_once(test_ca: &TestCa<'_>) {
    let client = test_ca.account().await;
    let (_, _, chain) = issued(test_ca, &client).await;
    let replace = |id: &str| {
        let mut wanted = wanted(&HOSTS);
        wanted["replaces"] = id.into();
        wanted
    };
    let (new_order, id) = (client.url("newOrder"), certificate_id(&leaf(&chain)));
    let refused = client.post(&new_order, Some(replace("hello"))).await;
    assert_eq!(refused.is(400).kind(), "malformed");
    // Pebble knows whose certificate it is a moment after it has shown the certificate.
    let asked = async |status: u16| {
        eventually(SOON, "the certificate to be known", async || {
            let answer = client.post(&new_order, Some(replace(&id))).await;
            (answer.status == status).then_some(answer)
        })
        .await
    };
    let made = asked(201).await;
    assert_eq!(made.body()["replaces"], id);
    // Boulder refuses a second replacement from here on, Pebble once the certificate is issued.
    let order = validated(&client, made.body(), made.header("location")).await;
    client.post(order["finalize"].as_str().unwrap(), Some(csr(&HOSTS))).await.is(200);
    settled(&client, made.header("location"), &["ready", "processing"]).await;
    asked(409).await.refuses(409, "alreadyReplaced");
}
