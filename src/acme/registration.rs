//! Registration and look-up of accounts (RFC 8555 §7.3), with external account binding (§7.3.4).
//!
//! instant-acme registers without contacts, and binds only accounts with a key that it generates.
//! Several CAs refuse a registration without a contact, and our key is stored before its first use,
//! because an account whose key is lost is unusable; so this module sends the requests itself.

use aws_lc_rs::hmac;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use http::header::LOCATION;
use serde_json::{Value, json};

use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::ports::ExternalAccount;

use super::CallError;
use super::jws::{Sender, Signer, encode, post, resource};
use super::transport::Transport;

/// Registers `key`, or finds its account (RFC 8555 §7.3.1), and returns the account's URL. Contacts
/// are sent where there are any, and a binding where `external` is given.
pub(super) async fn register(
    transport: &Transport,
    key: &PrivateKey,
    contacts: &[String],
    external: Option<&ExternalAccount>,
) -> Result<String, CallError> {
    let mut account = json!({ "termsOfServiceAgreed": true });
    if !contacts.is_empty() {
        account["contact"] = contacts.into();
    }
    send(transport, key, account, external).await
}

/// Returns the URL of the account of `key` (RFC 8555 §7.3.1). Some CAs require the binding for this
/// too.
pub(super) async fn look_up(
    transport: &Transport,
    key: &PrivateKey,
    external: Option<&ExternalAccount>,
) -> Result<String, CallError> {
    let agreed = json!({ "termsOfServiceAgreed": true, "onlyReturnExisting": true });
    send(transport, key, agreed, external).await
}

async fn send(
    transport: &Transport,
    key: &PrivateKey,
    mut account: Value,
    external: Option<&ExternalAccount>,
) -> Result<String, CallError> {
    let (url, signer) = (resource(transport, "new_account").await?, Signer::new(key)?);
    if let Some(external) = external {
        account["externalAccountBinding"] = binding(&signer.jwk().to_string(), &url, external);
    }
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
