//! Signed requests that instant-acme does not support (RFC 7515 flattened JSON, RFC 8555 §6.2):
//! signed by an account key before its registration or by a certificate's key, and POSTs to further
//! URLs.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    RSA_PKCS1_SHA256,
};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Method, Request, StatusCode};
use instant_acme::{BytesResponse, Error, HttpClient, Problem};
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, PublicKeyData,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::RSAPublicKey;
use zeroize::Zeroizing;

use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::ports::PortError;

use super::call::Call;
use super::transport::Transport;
use super::{CallError, problem};

/// Largest number of attempts for one request, each with a fresh nonce (RFC 8555 §6.5).
const NONCES: u32 = 4;

/// Returns the public key as a JWK (RFC 7517) in the canonical form for thumbprints.
///
/// # Errors
/// When the key is unreadable or of an unsupported type; the text says which.
pub(super) fn jwk(key: &PrivateKey) -> Result<String, String> {
    Ok(read(key)?.1)
}

/// Parses the key pair; also returns the public key as in [`jwk`].
fn read(key: &PrivateKey) -> Result<(KeyPair, String), String> {
    let unreadable = |wrong| format!("the private key cannot be read: {wrong}");
    let pair =
        KeyPair::from_pem(key.pem()).map_err(|wrong| cut(unreadable(wrong), limits::QUOTED_MAX))?;
    let jwk = if pair.is_compatible(&PKCS_ECDSA_P256_SHA256) {
        on_curve("P-256", pair.der_bytes())?
    } else if pair.is_compatible(&PKCS_ECDSA_P384_SHA384) {
        on_curve("P-384", pair.der_bytes())?
    } else if pair.is_compatible(&PKCS_RSA_SHA256) {
        of_rsa(pair.der_bytes())?
    } else {
        return Err("the private key is neither ECDSA P-256, nor P-384, nor RSA".to_owned());
    };
    Ok((pair, jwk))
}

/// JWK of an EC key (RFC 7518 §6.2.1). Thumbprints require this member order and no whitespace (RFC
/// 7638 §3.2).
fn on_curve(curve: &str, point: &[u8]) -> Result<String, String> {
    // Uncompressed point (SEC 1 §2.3.3): 4, x, y.
    let [4, point @ ..] = point else {
        return Err("the private key's public point is compressed".to_owned());
    };
    let (x, y) = point.split_at(point.len() / 2);
    let [x, y] = [x, y].map(|half| BASE64_URL_SAFE_NO_PAD.encode(half));
    Ok(format!(r#"{{"crv":"{curve}","kty":"EC","x":"{x}","y":"{y}"}}"#))
}

/// JWK of an RSA key (RFC 7518 §6.3.1): numbers have no leading zeros.
fn of_rsa(der: &[u8]) -> Result<String, String> {
    let (_, key) = RSAPublicKey::from_der(der)
        .map_err(|wrong| format!("the private key's public half cannot be read: {wrong}"))?;
    let [e, n] = [key.exponent, key.modulus].map(|number| {
        let zeros = number.iter().take_while(|octet| **octet == 0).count();
        BASE64_URL_SAFE_NO_PAD.encode(&number[zeros..])
    });
    Ok(format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#))
}

/// Signs requests with one key.
pub(super) struct Signer {
    jwk: String,
    pair: Pair,
}

enum Pair {
    /// Key with its JWS algorithm (RFC 7518 §3.1).
    Ecdsa(&'static str, EcdsaKeyPair),
    Rsa(rsa::KeyPair),
}

/// Sender of a request: `jwk` or `kid` in the JWS header (RFC 8555 §6.2).
#[derive(Clone, Copy)]
pub(super) enum Sender<'a> {
    /// The key itself; the request contains the public key.
    Key,
    /// The account with this URL.
    Account(&'a str),
}

impl Signer {
    /// Loads an ECDSA P-256, ECDSA P-384 or RSA key (PKCS #8).
    pub(super) fn new(key: &PrivateKey) -> Result<Self, CallError> {
        let unusable = |wrong: &dyn std::fmt::Display| CallError::Port(refused(wrong));
        let (pair, jwk) = read(key).map_err(|wrong| unusable(&wrong))?;
        let der = PrivatePkcs8KeyDer::from_pem_slice(key.pem().as_bytes());
        let der = Zeroizing::new(der.map_err(|wrong| unusable(&wrong))?);
        let der = der.secret_pkcs8_der();
        let on = |alg, algorithm| Ok::<_, CallError>(Pair::Ecdsa(alg, ecdsa(algorithm, der)?));
        let pair = if pair.is_compatible(&PKCS_ECDSA_P256_SHA256) {
            on("ES256", &ECDSA_P256_SHA256_FIXED_SIGNING)?
        } else if pair.is_compatible(&PKCS_ECDSA_P384_SHA384) {
            on("ES384", &ECDSA_P384_SHA384_FIXED_SIGNING)?
        } else {
            Pair::Rsa(rsa::KeyPair::from_pkcs8(der).map_err(|wrong| unusable(&wrong))?)
        };
        Ok(Self { jwk, pair })
    }

    /// The public key as a JWK.
    pub(super) fn jwk(&self) -> Value {
        serde_json::from_str(&self.jwk).unwrap_or_default()
    }

    /// Signs a request to `url`. An inner JWS has no nonce (RFC 8555 §7.3.5); a request without a
    /// payload is a POST-as-GET (§6.3).
    pub(super) fn sign(
        &self,
        url: &str,
        (sender, nonce): (Sender<'_>, Option<&str>),
        payload: Option<&Value>,
    ) -> Result<Value, CallError> {
        let mut header = json!({ "alg": self.algorithm(), "url": url });
        match sender {
            Sender::Key => header["jwk"] = self.jwk(),
            Sender::Account(kid) => header["kid"] = kid.into(),
        }
        if let Some(nonce) = nonce {
            header["nonce"] = nonce.into();
        }
        let protected = encode(&header.to_string());
        let payload = payload.map_or_else(String::new, |payload| encode(&payload.to_string()));
        let signature = self.signature(format!("{protected}.{payload}").as_bytes())?;
        Ok(json!({ "protected": protected, "payload": payload, "signature": signature }))
    }

    fn algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::Ecdsa(algorithm, _) => algorithm,
            Pair::Rsa(_) => "RS256",
        }
    }

    fn signature(&self, signed: &[u8]) -> Result<String, CallError> {
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Ecdsa(_, pair) => pair.sign(&random, signed).map(|made| made.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut made = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, signed, &mut made).map(|()| made)
            }
        };
        let signature = signature.map_err(|wrong| refused(&wrong))?;
        Ok(BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

fn ecdsa(
    algorithm: &'static aws_lc_rs::signature::EcdsaSigningAlgorithm,
    der: &[u8],
) -> Result<EcdsaKeyPair, CallError> {
    EcdsaKeyPair::from_pkcs8(algorithm, der).map_err(|wrong| refused(&wrong).into())
}

/// Encodes text as base64url.
pub(super) fn encode(text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

fn refused(wrong: &dyn std::fmt::Display) -> PortError {
    PortError::permanent(FailureClass::Rejected, format!("the key cannot sign: {wrong}"))
}

/// Successful response of the CA.
pub(super) struct SignedAnswer {
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl SignedAnswer {
    /// Returns a response header; a missing one is an error.
    pub(super) fn header(&self, name: &str) -> Result<String, CallError> {
        header(&self.headers, name)
    }
}

/// Sends a signed request to `url`. Retries with a new nonce if the CA rejects the nonce.
/// `endpoint` is the metric label.
pub(super) async fn post(
    transport: &Transport,
    (endpoint, url): (&'static str, &str),
    (signer, sender): (&Signer, Sender<'_>),
    payload: Option<&Value>,
) -> Result<SignedAnswer, CallError> {
    let mut nonce = None;
    for _ in 0..NONCES {
        let fresh =
            if let Some(nonce) = nonce.take() { nonce } else { new_nonce(transport).await? };
        let body = signer.sign(url, (sender, Some(&fresh)), payload)?.to_string().into_bytes();
        Call::set_endpoint(endpoint);
        let (status, headers, body) = ask(transport, Method::POST, url, body).await?;
        if status.is_success() {
            return Ok(SignedAnswer { headers, body });
        }
        let problem: Problem = serde_json::from_slice(&body).map_err(Error::from)?;
        if problem::kind(&problem) != "badNonce" {
            return Err(Error::Api(problem).into());
        }
        nonce = header(&headers, "replay-nonce").ok();
    }
    Err(PortError::transient(format!("the CA has refused {NONCES} nonces in a row")).into())
}

async fn new_nonce(transport: &Transport) -> Result<String, CallError> {
    let url = resource(transport, "new_nonce").await?;
    let (_, headers, _) = ask(transport, Method::HEAD, &url, Vec::new()).await?;
    header(&headers, "replay-nonce")
}

/// Returns the URL of a CA resource by endpoint name; fetches the directory if necessary.
pub(super) async fn resource(
    transport: &Transport,
    endpoint: &'static str,
) -> Result<String, CallError> {
    if let Some(url) = transport.url_of(endpoint) {
        return Ok(url);
    }
    if let Some(directory) = transport.url_of("directory") {
        ask(transport, Method::GET, &directory, Vec::new()).await?;
    }
    transport.url_of(endpoint).ok_or_else(|| CallError::Acme(Error::Unsupported(endpoint)))
}

async fn ask(
    transport: &Transport,
    method: Method,
    url: &str,
    body: Vec<u8>,
) -> Result<(StatusCode, HeaderMap, Vec<u8>), CallError> {
    let request = Request::builder()
        .method(method)
        .uri(url)
        .header(CONTENT_TYPE, "application/jose+json")
        .body(body.into())
        .map_err(Error::from)?;
    let BytesResponse { parts, mut body } = transport.request(request).await?;
    let body = body.into_bytes().await.map_err(Error::Other)?;
    Ok((parts.status, parts.headers, body.to_vec()))
}

fn header(headers: &HeaderMap, name: &str) -> Result<String, CallError> {
    let text = headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    text.ok_or_else(|| PortError::transient(format!("the CA's answer has no {name}")).into())
}

#[cfg(test)]
mod tests;
