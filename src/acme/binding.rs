//! Registration of an account that is bound to an external one (RFC 8555 §7.3.4).
//!
//! instant-acme binds only accounts whose key it makes itself, and ours is stored before it is used: an account whose
//! key is lost cannot be used again. So this one request is written here; all others are the library's.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use http::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use http::{Method, Request, StatusCode};
use instant_acme::{BytesResponse, Error, HttpClient, Problem};
use serde::Deserialize;
use serde_json::{Value, json};

use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::ports::{ExternalAccount, PortError};

use super::CallError;
use super::account::{jwk, pkcs8};
use super::refusal;
use super::transport::{Call, Transport};

/// A nonce that the CA does not take is replaced this often (RFC 8555 §6.5).
const NONCES: u32 = 4;

/// What is needed of a directory (RFC 8555 §7.1.1).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Directory {
    new_nonce: String,
    new_account: String,
}

/// Registers `key`, bound to `external`, and returns the account's URL.
pub(super) async fn register(
    transport: &Transport,
    directory: &str,
    key: &PrivateKey,
    contacts: &[String],
    external: &ExternalAccount,
) -> Result<String, CallError> {
    let (_, _, read) = ask(transport, Method::GET, directory, None).await?;
    let listed: Directory = serde_json::from_slice(&read).map_err(Error::from)?;
    let jwk = jwk(key).map_err(|wrong| refused(&wrong))?;
    let account = json!({
        "termsOfServiceAgreed": true,
        "contact": contacts,
        "externalAccountBinding": binding(&jwk, &listed.new_account, external),
    });
    let signer = Signer::new(key)?;
    let mut nonce = None;
    for _ in 0..NONCES {
        let fresh = if let Some(nonce) = nonce.take() {
            nonce
        } else {
            let (_, headers, _) = ask(transport, Method::HEAD, &listed.new_nonce, None).await?;
            header(&headers, "replay-nonce")?
        };
        let url = &listed.new_account;
        let protected = json!({"alg": "ES256", "jwk": value(&jwk), "nonce": fresh, "url": url});
        let body = signer.sign(&protected, &account)?;
        let (status, headers, answer) = ask(transport, Method::POST, url, Some(&body)).await?;
        if status.is_success() {
            return header(&headers, LOCATION.as_str());
        }
        let problem: Problem = serde_json::from_slice(&answer).map_err(Error::from)?;
        if refusal::kind(&problem) != "badNonce" {
            return Err(Error::Api(problem).into());
        }
        nonce = header(&headers, "replay-nonce").ok();
    }
    Err(PortError::passing(format!("the CA has refused {NONCES} nonces in a row")).into())
}

/// The account key, signed with the MAC key of the external account.
fn binding(jwk: &str, url: &str, external: &ExternalAccount) -> Value {
    let protected = encode(&json!({"alg": "HS256", "kid": external.kid, "url": url}).to_string());
    let payload = encode(jwk);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &external.hmac);
    let tag = hmac::sign(&key, format!("{protected}.{payload}").as_bytes());
    let signature = BASE64_URL_SAFE_NO_PAD.encode(tag);
    json!({"protected": protected, "payload": payload, "signature": signature})
}

/// Signs as the account (RFC 7515, flattened JSON).
struct Signer(EcdsaKeyPair);

impl Signer {
    fn new(key: &PrivateKey) -> Result<Self, CallError> {
        let der = pkcs8(key)?;
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der());
        pair.map(Self).map_err(|wrong| refused(&wrong.to_string()).into())
    }

    fn sign(&self, protected: &Value, payload: &Value) -> Result<Vec<u8>, CallError> {
        let [protected, payload] = [protected, payload].map(|part| encode(&part.to_string()));
        let signed = format!("{protected}.{payload}");
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.map_err(|wrong| refused(&wrong.to_string()))?;
        let signature = BASE64_URL_SAFE_NO_PAD.encode(signature);
        let body = json!({"protected": protected, "payload": payload, "signature": signature});
        Ok(body.to_string().into_bytes())
    }
}

async fn ask(
    transport: &Transport,
    method: Method,
    url: &str,
    body: Option<&[u8]>,
) -> Result<(StatusCode, HeaderMap, Vec<u8>), CallError> {
    Call::asks("new_account");
    let request = Request::builder()
        .method(method)
        .uri(url)
        .header(CONTENT_TYPE, "application/jose+json")
        .body(body.unwrap_or_default().to_vec().into())
        .map_err(Error::from)?;
    let BytesResponse { parts, mut body } = transport.request(request).await?;
    let body = body.into_bytes().await.map_err(Error::Other)?;
    Ok((parts.status, parts.headers, body.to_vec()))
}

fn header(headers: &HeaderMap, name: &str) -> Result<String, CallError> {
    let text = headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    text.ok_or_else(|| PortError::passing(format!("the CA's answer has no {name}")).into())
}

fn encode(text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

fn refused(wrong: &str) -> PortError {
    PortError::lasting(FailureClass::Rejected, format!("the ACME account key cannot sign: {wrong}"))
}
