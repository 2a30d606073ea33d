//! Orders of a CA that answers whatever a test wants, through instant-acme.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Request;
use instant_acme::{Account, BodyWrapper, BytesResponse, Error, HttpClient};
use proptest::prelude::*;
use rcgen::KeyPair;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};

use super::*;
use crate::acme::call::CALL;
use crate::acme::deviations::{Answer, read_liberally};
use crate::acme::transport::record;

const ORDER: &str = "https://ca.example/order/1";

/// A CA with an answer for each URL. Records the URLs that are asked.
#[derive(Clone, Default)]
struct FakeCa {
    answers: HashMap<String, String>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl HttpClient for FakeCa {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let url = request.uri().to_string();
        let body = self.answers.get(&url).cloned().unwrap_or_default();
        let kinds = ["authorization", "challenge"];
        let endpoint = kinds.into_iter().find(|kind| url.contains(kind)).unwrap_or("order");
        let (status, headers) = (http::StatusCode::OK, http::HeaderMap::new());
        let mut answer = Answer { status, headers, body: body.into() };
        read_liberally(endpoint, &url, &mut answer);
        if let Ok(call) = CALL.try_with(Call::clone) {
            record(&call, endpoint, &url, Some(&mut answer));
        }
        let body = answer.body;
        self.asked.lock().unwrap().push(url);
        let response = http::Response::builder().header("replay-nonce", "n").body(()).unwrap();
        let (parts, ()) = response.into_parts();
        Box::pin(async { Ok(BytesResponse { parts, body: Box::new(body) }) })
    }
}

impl FakeCa {
    fn new(answers: impl IntoIterator<Item = (String, String)>) -> Self {
        let urls = json!({
            "newNonce": "https://ca.example/nonce", "newAccount": "https://ca.example/account",
            "newOrder": "https://ca.example/order",
        });
        let directory = ("https://ca.example/directory".to_owned(), urls.to_string());
        let answers = answers.into_iter().chain([directory]).collect();
        Self { answers, asked: Arc::default() }
    }

    /// Fetches the order at `url`.
    async fn order(&self, url: &str) -> Result<OpenOrder, CallError> {
        let key = KeyPair::generate().unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let account = Account::builder_with_http(Box::new(self.clone()));
        let account = account
            .from_parts(
                "https://ca.example/account/1".to_owned(),
                key,
                "https://ca.example/directory".to_owned(),
            )
            .await?;
        Ok(OpenOrder::new(account.order(url.to_owned()).await?))
    }
}

fn order(status: &str, authorizations: &[String]) -> Value {
    json!({"status": status, "authorizations": authorizations, "finalize": "https://ca.example/finalize"})
}

fn authorization_urls(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("https://ca.example/authorization/{number}")).collect()
}

#[tokio::test]
async fn an_order_with_more_authorizations_than_names_is_refused_before_any_is_read() {
    for status in ["pending", "invalid", "ready"] {
        let order = order(status, &authorization_urls(limits::MAX_NAMES + 1)).to_string();
        let ca = FakeCa::new([(ORDER.to_owned(), order)]);
        let mut order = ca.order(ORDER).await.ok().unwrap();
        for refused in [order.view().await.map(drop), order.accept(&Methods::new()).await.map(drop)]
        {
            let text = refused.unwrap_err().into_port_error("x").to_string();
            assert!(text.contains("lists 101 authorizations, but at most 100"), "{text}");
        }
        let asked = ca.asked.lock().unwrap();
        assert!(!asked.iter().any(|url| url.contains("authorization")), "{asked:?}");
    }
}

#[tokio::test]
async fn orders_with_megabytes_of_text_are_cached_within_the_bound_and_the_newest_stay() {
    let url = |number: usize| format!("https://ca.example/order/{number}");
    let body = |number| {
        let mut body = order("ready", &authorization_urls(3));
        body["profile"] = json!("x".repeat(limits::ANSWER_MAX - 1_000));
        (url(number), body.to_string())
    };
    let ca = FakeCa::new((0..100).map(body));
    let mut orders = Orders::default();
    for number in 0..100 {
        orders.put(ca.order(&url(number)).await.ok().unwrap());
    }
    let (count, bytes) = orders.size();
    assert!(bytes <= limits::ORDERS_KEPT && (60..=64).contains(&count), "{count}: {bytes}");
    assert!(orders.take(&url(99)).is_some() && orders.take(&url(0)).is_none());
    let newest = ca.order(&url(98)).await.ok().unwrap();
    orders.put(newest);
    assert_eq!(orders.size().0, count - 1, "the same order is counted once");
    orders.clear();
    assert_eq!(orders.size(), (0, 0));
}

/// View of a pending order with one authorization for `a.example.com`.
async fn view_of(authorization: &str, challenges: Value) -> OrderView {
    let urls = authorization_urls(1);
    let identifier = json!({"type": "dns", "value": "a.example.com"});
    let document =
        json!({"status": authorization, "identifier": identifier, "challenges": challenges});
    let order = (ORDER.to_owned(), order("pending", &urls).to_string());
    let ca = FakeCa::new([order, (urls[0].clone(), document.to_string())]);
    ca.order(ORDER).await.ok().unwrap().view().await.ok().unwrap()
}

fn http(status: &str) -> Value {
    json!([
        {"type": "dns-persist-01", "status": "on-hold"},
        {"type": "http-01", "url": "https://ca.example/challenge", "token": "t", "status": status},
    ])
}

/// RFC 8555 §7.1.6: an authorization in any other state than `pending` or `valid` is lost.
#[tokio::test]
async fn an_authorization_that_is_lost_ends_the_order_and_names_the_host() {
    for status in ["invalid", "expired", "deactivated", "revoked"] {
        let view = view_of(status, http("pending")).await;
        let OrderStatus::Invalid(failure) = view.status else { panic!("{status}: {view:?}") };
        assert_eq!(
            failure.names.iter().map(DnsName::as_str).collect::<Vec<_>>(),
            ["a.example.com"]
        );
        let said = format!("a.example.com: its authorization is {status}");
        assert!(failure.detail.contains(&said), "{}", failure.detail);
    }
}

/// As step-ca leaves it. Otherwise the order is polled for an hour, and the reason is never told.
#[tokio::test]
async fn a_failed_challenge_ends_the_order_though_its_authorization_stays_pending() {
    let error = json!({"type": "urn:ietf:params:acme:error:incorrectResponse", "detail": "no"});
    for error in [error, Value::Null] {
        let mut challenges = http("invalid");
        challenges[1]["error"] = error.clone();
        let view = view_of("pending", challenges).await;
        let OrderStatus::Invalid(failure) = view.status else { panic!("{view:?}") };
        assert_eq!(failure.class, FailureClass::Authorization);
        let said =
            if error.is_null() { "authorization is invalid" } else { "no (incorrectResponse)" };
        assert!(failure.detail.contains(said), "{}", failure.detail);
    }
    let of = |[kind, other]: [&str; 2], status: &str| {
        json!([
            {"type": kind, "url": "https://ca.example/1", "token": "t", "status": "invalid"},
            {"type": other, "url": "https://ca.example/2", "token": "t", "status": status},
        ])
    };
    for (kinds, status) in
        [(["dns-01", "http-01"], "pending"), (["dns-persist-01", "dns-01"], "pending")]
    {
        let view = view_of("pending", of(kinds, status)).await;
        assert!(matches!(view.status, OrderStatus::Invalid(_)), "{kinds:?}: {view:?}");
    }
    for (kinds, status) in
        [(["tls-alpn-01", "http-01"], "pending"), (["dns-01", "http-01"], "processing")]
    {
        let view = view_of("pending", of(kinds, status)).await;
        assert_eq!(view.status, OrderStatus::Pending, "{kinds:?}");
    }
}

/// A pending order of a wildcard and its domain, with all challenges that Pebble offers.
fn wildcard_and_apex() -> FakeCa {
    let urls = authorization_urls(2);
    let document = |number: usize, wildcard: bool| {
        let challenge = |kind: &str| {
            json!({"type": kind, "url": format!("https://ca.example/challenge/{kind}/{number}"),
                "token": format!("t{number}"), "status": "pending"})
        };
        let mut persist = challenge("dns-persist-01");
        persist["issuer-domain-names"] = json!(["ca.example", "ca.example.net"]);
        persist.as_object_mut().unwrap().remove("token");
        let mut challenges = vec![challenge("dns-01"), challenge("dns-account-01"), persist];
        if !wildcard {
            challenges.extend([challenge("http-01"), challenge("tls-alpn-01")]);
        }
        json!({"status": "pending", "identifier": {"type": "dns", "value": "example.com"},
            "wildcard": wildcard, "challenges": challenges})
        .to_string()
    };
    let documents = [document(0, true), document(1, false)];
    let answers = urls.iter().cloned().zip(documents);
    FakeCa::new(answers.chain([(ORDER.to_owned(), order("pending", &urls).to_string())]))
}

fn names(names: &[&str]) -> Vec<DnsName> {
    names.iter().map(|name| DnsName::parse_certified(name).unwrap()).collect()
}

#[tokio::test]
async fn what_the_ca_offers_in_dns_is_known_and_each_authorization_is_read_once() {
    let ca = wildcard_and_apex();
    let mut order = ca.order(ORDER).await.ok().unwrap();
    let shown = names(&["*.example.com", "example.com"]);
    for _ in 0..2 {
        let view = Call::default().run(order.view()).await.ok().unwrap();
        assert!(order.is_untouched());
        let of: Vec<_> = view.authorizations.iter().map(|one| one.name.clone()).collect();
        assert_eq!(of, shown);
        let offers: Vec<_> = view.authorizations.into_iter().map(|one| one.offers).collect();
        let issuers = ["ca.example", "ca.example.net"].map(str::to_owned).to_vec();
        for offer in &offers {
            assert_eq!(offer.dns_persist_01.as_ref(), Some(&issuers));
            assert_eq!(offer.dns_01.as_ref().unwrap().len(), 43, "SHA-256 in base64url");
        }
        assert_ne!(offers[0].dns_01, offers[1].dns_01, "two values at one name");
    }
    ca.asked.lock().unwrap().clear();
    let methods = [Method::Dns01, Method::DnsPersist01];
    let methods: Methods = shown.iter().cloned().zip(methods).collect();
    let accepted = Call::default().run(order.accept(&methods)).await;
    assert!(matches!(accepted, Ok(false)), "the answers are no challenges: not valid yet");
    let asked = ca.asked.lock().unwrap().clone();
    let expected = ["dns-01/0", "dns-persist-01/1"];
    assert_eq!(asked, expected.map(|end| format!("https://ca.example/challenge/{end}")));
    assert!(!order.is_untouched());
}

#[tokio::test]
async fn a_method_that_the_ca_does_not_offer_is_named_with_those_that_it_offers() {
    let ca = wildcard_and_apex();
    let mut order = ca.order(ORDER).await.ok().unwrap();
    let refused = Call::default().run(order.accept(&Methods::new())).await;
    let text = refused.unwrap_err().into_port_error("x").to_string();
    let said = "the CA offers no http-01 challenge for *.example.com, only dns-01, dns-account-01, dns-persist-01";
    assert!(text.contains(said), "{text}");
    let asked = ca.asked.lock().unwrap();
    assert!(!asked.iter().any(|url| url.contains("challenge")), "{asked:?}");
}

#[tokio::test]
async fn a_wildcard_that_fails_is_named_with_its_label() {
    let urls = authorization_urls(1);
    for value in ["example.com", "*.example.com"] {
        let document = json!({"status": "expired", "wildcard": true, "challenges": [],
            "identifier": {"type": "dns", "value": value}});
        let order = (ORDER.to_owned(), order("pending", &urls).to_string());
        let ca = FakeCa::new([order, (urls[0].clone(), document.to_string())]);
        let view = ca.order(ORDER).await.ok().unwrap().view().await.ok().unwrap();
        let OrderStatus::Invalid(failure) = view.status else { panic!("{view:?}") };
        assert_eq!(failure.names.into_iter().collect::<Vec<_>>(), names(&["*.example.com"]));
        assert!(failure.detail.contains(" *.example.com: its"), "{}", failure.detail);
    }
}

#[tokio::test]
async fn an_authorization_of_unknown_status_is_waited_for_and_its_challenge_accepted_once() {
    for status in ["processing", "on-hold"] {
        for (challenge, accepted) in [("pending", false), ("processing", true), ("queued", true)] {
            let view = view_of(status, http(challenge)).await;
            assert_eq!(view.status, OrderStatus::Pending, "{status}");
            let shown: Vec<_> = view.authorizations.iter().map(|one| one.accepted).collect();
            assert_eq!(shown, [accepted], "{status} {challenge}");
        }
    }
    let ca = FakeCa::new([(ORDER.to_owned(), order("on-hold", &[]).to_string())]);
    let view = ca.order(ORDER).await.ok().unwrap().view().await.ok().unwrap();
    assert_eq!(view.status, OrderStatus::Processing);
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,40}", "[a-z]{1,5}\\.example\\.com", Just("x".repeat(5_000))]
}

fn status() -> impl Strategy<Value = String> {
    const KNOWN: [&str; 7] =
        ["pending", "ready", "processing", "valid", "invalid", "revoked", "expired"];
    prop_oneof![9 => proptest::sample::select(&KNOWN[..]).prop_map(str::to_owned), 1 => text()]
}

fn problem() -> impl Strategy<Value = Value> {
    let part = (text(), text()).prop_map(|(detail, name)| {
        json!({"type": "urn:ietf:params:acme:error:dns", "detail": detail, "identifier": {"type": "dns", "value": name}})
    });
    let kind = prop_oneof![text(), Just("urn:ietf:params:acme:error:unauthorized".to_owned())];
    (kind, text(), any::<u16>(), prop::collection::vec(part, 0..5)).prop_map(
        |(kind, detail, status, parts)| json!({"type": kind, "detail": detail, "status": status, "subproblems": parts}),
    )
}

fn authorization() -> impl Strategy<Value = String> {
    let kind = prop_oneof![Just("http-01".to_owned()), Just("dns-01".to_owned()), text()];
    let challenge = (kind, status(), proptest::option::of(problem())).prop_map(|(kind, status, error)| {
        json!({"type": kind, "url": "https://ca.example/challenge", "token": "t", "status": status, "error": error})
    });
    let whole = (status(), text(), prop::collection::vec(challenge, 0..4)).prop_map(
        |(status, name, challenges)| {
            json!({"status": status, "identifier": {"type": "dns", "value": name}, "challenges": challenges}).to_string()
        },
    );
    prop_oneof![9 => whole, 1 => text()]
}

proptest! {
    /// Whatever the CA says, the operator has a view of the order or a reason of bounded length.
    #[test]
    fn any_order_and_authorizations_are_a_bounded_view_or_a_bounded_reason(
        status in status(), error in proptest::option::of(problem()),
        authorizations in prop::collection::vec(authorization(), 0..6), odd in proptest::option::of(text()),
    ) {
        let urls = authorization_urls(authorizations.len());
        let mut document = order(&status, &urls);
        document["error"] = json!(error);
        let document = odd.unwrap_or_else(|| document.to_string());
        let answers = urls.into_iter().zip(authorizations).chain([(ORDER.to_owned(), document)]);
        let ca = FakeCa::new(answers);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let viewed = runtime.block_on(async { ca.order(ORDER).await?.view().await });
        match viewed {
            Ok(view) => {
                prop_assert!(view.authorizations.len() <= 6);
                if let OrderStatus::Invalid(failure) = view.status {
                    prop_assert!((1..=limits::DETAIL_MAX).contains(&failure.detail.len()));
                    prop_assert!(!failure.detail.chars().any(char::is_control));
                }
            }
            Err(error) => {
                let text = error.into_port_error("the CA did not return the order").to_string();
                prop_assert!((1..=2 * limits::DETAIL_MAX).contains(&text.len()), "{}", text);
            }
        }
    }
}
