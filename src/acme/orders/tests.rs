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
use crate::acme::deviations::{Answer, read_liberally};

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
        let endpoint = if url.contains("authorization") { "authorization" } else { "order" };
        let (status, headers) = (http::StatusCode::OK, http::HeaderMap::new());
        let mut answer = Answer { status, headers, body: body.into() };
        read_liberally(endpoint, &url, &mut answer);
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
        for refused in [order.view().await.map(drop), order.accept().await.map(drop)] {
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
    let other = json!([
        {"type": "dns-01", "url": "https://ca.example/dns", "token": "t", "status": "invalid"},
        {"type": "http-01", "url": "https://ca.example/challenge", "token": "t", "status": "pending"},
    ]);
    assert_eq!(view_of("pending", other).await.status, OrderStatus::Pending);
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
