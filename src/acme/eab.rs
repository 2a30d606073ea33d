//! Account registration with external account binding (RFC 8555 §7.3.4).
//!
//! instant-acme binds only accounts with a key that instant-acme generates. Our key is stored
//! before its first use, because an account whose key is lost is unusable; so this module sends the
//! request itself.

use aws_lc_rs::hmac;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use http::header::LOCATION;
use serde_json::{Value, json};

use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::ports::ExternalAccount;

use super::CallError;
use super::jws::{Sender, Signer, encode, post, resource};
use super::transport::Transport;

/// Registers `key` with a binding to `external` and returns the account's URL.
pub(super) async fn register(
    transport: &Transport,
    key: &PrivateKey,
    contacts: &[String],
    external: &ExternalAccount,
) -> Result<String, CallError> {
    let (url, signer) = (resource(transport, "new_account").await?, Signer::new(key)?);
    let account = json!({
        "termsOfServiceAgreed": true,
        "contact": contacts,
        "externalAccountBinding": binding(&signer.jwk().to_string(), &url, external),
    });
    let sender = (&signer, Sender::Key);
    post(transport, ("new_account", &url), sender, Some(&account)).await?.header(LOCATION.as_str())
}

/// Builds the binding: the account key as a JWK, signed with the external account's MAC key.
fn binding(jwk: &str, url: &str, external: &ExternalAccount) -> Value {
    let protected = encode(&json!({"alg": "HS256", "kid": external.kid, "url": url}).to_string());
    let payload = encode(jwk);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &external.hmac);
    let tag = hmac::sign(&key, format!("{protected}.{payload}").as_bytes());
    let signature = BASE64_URL_SAFE_NO_PAD.encode(tag);
    json!({"protected": protected, "payload": payload, "signature": signature})
}
