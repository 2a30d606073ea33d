//! An ACME client that sends exactly the given requests, even invalid ones.

use std::sync::Mutex;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64URL, Engine};
use serde_json::{Value, json};

/// Attempts per request, since Pebble sometimes rejects a good nonce.
const NONCES: usize = 20;

/// A response with its whole body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// Last segment of the problem's type.
    pub(crate) fn kind(&self) -> String {
        let body = self.body();
        body["type"].as_str().unwrap_or_default().rsplit(':').next().unwrap_or_default().to_owned()
    }

    /// Asserts the status and returns the response.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Asserts that the response is a problem document of this status and type.
    #[track_caller]
    pub(crate) fn refuses(self, status: u16, kind: &str) -> Self {
        assert_eq!((self.status, self.kind().as_str()), (status, kind), "{}", self.text);
        assert!(self.header("content-type").starts_with("application/problem+json"));
        self
    }
}

/// Sender named in a request.
#[derive(Clone, Debug)]
pub(crate) enum By {
    Key,
    Account(String),
}

/// A key, with or without an account.
pub(crate) struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) directory: Value,
    pair: EcdsaKeyPair,
    pub(crate) by: Mutex<By>,
    nonce: Mutex<Option<String>>,
}

impl Client {
    /// Creates a client with a new key and no account.
    pub(crate) async fn new(directory: &str, roots: &str) -> Self {
        let http = http_client(roots, Some("conformance"));
        let answer = Answer::of(http.get(directory).send().await.unwrap()).await.is(200);
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (by, nonce) = (Mutex::new(By::Key), Mutex::new(None));
        Self { http, directory: answer.body(), pair, by, nonce }
    }

    /// Creates a client with a new account.
    pub(crate) async fn registered(directory: &str, roots: &str) -> Self {
        let client = Self::new(directory, roots).await;
        client.register().await.is(201);
        client
    }

    pub(crate) async fn register(&self) -> Answer {
        *self.by.lock().unwrap() = By::Key;
        let agreed = json!({ "termsOfServiceAgreed": true });
        let answer = self.post(&self.url("newAccount"), Some(agreed)).await;
        if answer.status < 300 {
            *self.by.lock().unwrap() = By::Account(answer.header("location").to_owned());
        }
        answer
    }

    /// URL of a resource in the directory.
    pub(crate) fn url(&self, resource: &str) -> String {
        self.directory[resource].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn account_url(&self) -> String {
        match &*self.by.lock().unwrap() {
            By::Key => panic!("there is no account yet"),
            By::Account(url) => url.clone(),
        }
    }

    pub(crate) fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..]].map(|half| BASE64URL.encode(half));
        json!({ "crv": "P-256", "kty": "EC", "x": x, "y": y })
    }

    pub(crate) fn thumbprint(&self) -> String {
        // The members must be sorted (RFC 7638 §3.2); `serde_json` sorts them.
        BASE64URL.encode(digest(&SHA256, self.jwk().to_string().as_bytes()))
    }

    pub(crate) async fn fresh_nonce(&self) -> String {
        let url = self.url("newNonce");
        let answer = Answer::of(self.http.head(url).send().await.unwrap()).await.is(200);
        answer.header("replay-nonce").to_owned()
    }

    /// Valid header of a request to `url`, for tests to change.
    pub(crate) fn header(&self, url: &str, nonce: &str) -> Value {
        let mut header = json!({ "alg": "ES256", "nonce": nonce, "url": url });
        match &*self.by.lock().unwrap() {
            By::Key => header["jwk"] = self.jwk(),
            By::Account(kid) => header["kid"] = kid.clone().into(),
        }
        header
    }

    /// Signs a payload with this header; no payload means POST-as-GET.
    pub(crate) fn sign(&self, header: &Value, payload: Option<&Value>) -> Value {
        let payload = payload.map_or_else(String::new, Value::to_string);
        let [protected, payload] = [header.to_string(), payload].map(|part| BASE64URL.encode(part));
        let signed = format!("{protected}.{payload}");
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        let signature = BASE64URL.encode(signature);
        json!({ "protected": protected, "payload": payload, "signature": signature })
    }

    /// Sends a signed request unchanged.
    pub(crate) async fn send(&self, url: &str, signed: &Value) -> Answer {
        let request = self.http.post(url).header("content-type", "application/jose+json");
        let answer = Answer::of(request.body(signed.to_string()).send().await.unwrap()).await;
        let nonce = answer.header("replay-nonce");
        assert!(!nonce.is_empty(), "no Replay-Nonce (RFC 8555 §6.5): {answer:?}");
        *self.nonce.lock().unwrap() = Some(nonce.to_owned());
        answer
    }

    /// Sends a request with its header changed by `spoil`; repeats until the CA accepts the nonce.
    pub(crate) async fn post_spoiled(
        &self,
        url: &str,
        payload: Option<Value>,
        spoil: impl Fn(&mut Value),
    ) -> Answer {
        for _ in 0..NONCES {
            let known = self.nonce.lock().unwrap().take();
            let nonce = match known {
                Some(nonce) => nonce,
                None => self.fresh_nonce().await,
            };
            let mut header = self.header(url, &nonce);
            spoil(&mut header);
            let answer = self.send(url, &self.sign(&header, payload.as_ref())).await;
            if answer.kind() != "badNonce" {
                return answer;
            }
        }
        panic!("{NONCES} nonces were refused")
    }

    /// Sends a valid request.
    pub(crate) async fn post(&self, url: &str, payload: Option<Value>) -> Answer {
        self.post_spoiled(url, payload, |_| {}).await
    }

    /// Sends a POST-as-GET (RFC 8555 §6.3).
    pub(crate) async fn get(&self, url: &str) -> Answer {
        self.post(url, None).await
    }

    /// Asks for the key of `new` as the new key of this account (RFC 8555 §7.3.5).
    pub(crate) async fn roll_over(&self, new: &Self) -> Answer {
        let url = self.url("keyChange");
        let change = json!({ "account": self.account_url(), "oldKey": self.jwk() });
        let header = json!({ "alg": "ES256", "jwk": new.jwk(), "url": url });
        self.post(&url, Some(new.sign(&header, Some(&change)))).await
    }

    /// Creates an order; returns the order and its URL.
    pub(crate) async fn order(&self, names: &[&str]) -> (Value, String) {
        let answer = self.post(&self.url("newOrder"), Some(wanted(names))).await.is(201);
        (answer.body(), answer.header("location").to_owned())
    }

    /// URL and object of an order's first authorization, and its http-01 challenge.
    pub(crate) async fn challenge(&self, order: &Value) -> (String, Value, Value) {
        let url = order["authorizations"][0].as_str().unwrap().to_owned();
        let authorization = self.get(&url).await.is(200).body();
        let challenges = authorization["challenges"].as_array().unwrap();
        let http = challenges.iter().find(|challenge| challenge["type"] == "http-01");
        let http = http.unwrap().clone();
        (url, authorization, http)
    }
}

/// Payload of a new order.
pub(crate) fn wanted(names: &[&str]) -> Value {
    let identifiers: Vec<Value> =
        names.iter().map(|name| json!({ "type": "dns", "value": name })).collect();
    json!({ "identifiers": identifiers })
}

/// HTTP client that trusts only these roots.
pub(crate) fn http_client(roots: &str, user_agent: Option<&str>) -> reqwest::Client {
    // Fails if another test has already installed the provider.
    _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let roots = reqwest::Certificate::from_pem_bundle(roots.as_bytes()).unwrap();
    let builder = reqwest::Client::builder().no_proxy().tls_certs_only(roots);
    user_agent.into_iter().fold(builder, reqwest::ClientBuilder::user_agent).build().unwrap()
}
