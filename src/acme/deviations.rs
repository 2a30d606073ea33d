//! Deviations of CAs from RFC 8555, read liberally before instant-acme sees the answer.
//!
//! instant-acme refuses a whole answer because of one field that is missing, of another type or of
//! an unknown value. The order behind that answer exists all the same, and counts in the CA's
//! limits. So an answer is made readable wherever its meaning is plain, and each kind of deviation
//! is logged once. What each kind is, and who has seen it, is in `docs/cas.md`.
//!
//! All functions are pure; [`Transport`](super::transport) applies them.

mod directory;
mod objects;
mod problems;
mod statuses;

use std::collections::BTreeSet;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use http::{Method, StatusCode};
use ingress_acme_actors::domain::limits;
use serde_json::Value;
use url::Url;

pub(super) use directory::lacking;

/// One kind of deviation, as a sentence about the CA.
pub(super) type Deviation = &'static str;

/// Deviation: URLs are relative, or not secured by TLS.
const RELATIVE: Deviation = "names relative URLs, or its own with http";
/// Deviation: a field has another type.
const OTHER_TYPE: Deviation = "has fields of other types than RFC 8555";

/// Kinds of deviations of one answer.
pub(super) type Deviations = BTreeSet<Deviation>;

/// Response of the CA.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Pause until the next question for a renewal window where the CA names none (RFC 9773 §4.3.3).
const RENEWAL_INFO_PAUSE: HeaderValue = HeaderValue::from_static("21600");

/// Makes the answer of `endpoint` to a request to `url` readable. Returns what deviated.
pub(super) fn read_liberally(endpoint: &str, url: &str, answer: &mut Answer) -> Deviations {
    let mut found = Deviations::new();
    absolute_location(url, &mut answer.headers, &mut found);
    if answer.status.is_success() && problems::is_problem(&answer.body) {
        found.insert("answers with a status of success and a problem document");
        answer.status = problems::status(&answer.body);
    }
    if !answer.status.is_success() {
        if !answer.status.is_redirection() {
            problems::rewrite(answer, &mut found);
        }
        return found;
    }
    read_success(endpoint, url, answer, &mut found);
    found
}

fn read_success(endpoint: &str, url: &str, answer: &mut Answer, found: &mut Deviations) {
    let rewrite = match endpoint {
        "new_nonce" => return nonce(answer, found),
        "certificate" => return certificate(&mut answer.body, found),
        "renewal_info" => return renewal_info(&mut answer.headers, found),
        "directory" => directory::rewrite,
        "new_order" => objects::rewrite_new_order,
        "order" | "finalize" => objects::rewrite_order,
        "authorization" => objects::rewrite_authorization,
        "challenge" => objects::rewrite_challenge,
        _ => return,
    };
    let Ok(mut object @ Value::Object(_)) = serde_json::from_slice::<Value>(&answer.body) else {
        return;
    };
    let mut of_body = Deviations::new();
    rewrite(&mut object, url, &mut of_body);
    if !of_body.is_empty() {
        answer.body = object.to_string().into();
    }
    found.append(&mut of_body);
}

fn nonce(answer: &mut Answer, found: &mut Deviations) {
    if answer.status != StatusCode::OK {
        found.insert("answers newNonce with another status than 200");
        answer.status = StatusCode::OK;
    }
}

fn renewal_info(headers: &mut HeaderMap, found: &mut Deviations) {
    if !headers.contains_key(RETRY_AFTER) {
        found.insert("gives renewal information without Retry-After");
        headers.insert(RETRY_AFTER, RENEWAL_INFO_PAUSE);
    }
}

/// Method of a repeated request for a nonce, where the CA does not know HEAD (RFC 8555 §7.2 has
/// both).
pub(super) fn other_nonce_method(endpoint: &str, status: StatusCode) -> Option<Method> {
    let refuses = matches!(
        status,
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED | StatusCode::NOT_FOUND
    );
    (endpoint == "new_nonce" && refuses).then_some(Method::GET)
}

/// Where a redirect of the directory leads: over TLS only. All other requests are signed for their
/// URL (RFC 8555 §6.4).
pub(super) fn redirected(endpoint: &str, url: &str, answer: &Answer) -> Option<String> {
    if endpoint != "directory" || !answer.status.is_redirection() {
        return None;
    }
    let location = answer.headers.get(LOCATION)?.to_str().ok()?;
    let next = Url::parse(url).ok()?.join(location).ok()?;
    (next.scheme() == "https").then(|| next.into())
}

/// Makes `Location` absolute: orders and accounts are known by it (RFC 8555 §7.3, §7.4).
fn absolute_location(url: &str, headers: &mut HeaderMap, found: &mut Deviations) {
    let Some(location) = headers.get(LOCATION).and_then(|value| value.to_str().ok()) else {
        return;
    };
    let absolute = absolute(location, url).and_then(|url| HeaderValue::from_str(&url).ok());
    if let Some(absolute) = absolute {
        found.insert(RELATIVE);
        headers.insert(LOCATION, absolute);
    }
}

/// The absolute form of a relative URL, and the https form of one that names the server of `base`
/// with http, as a CA behind a proxy that ends TLS does (RFC 8555 §6.1 asks for https); `None` for
/// any other text.
fn absolute(text: &str, base: &str) -> Option<String> {
    let of_http = text.strip_prefix("http://");
    if let Some((rest, server)) = of_http.zip(base.strip_prefix("https://"))
        && rest.split('/').next() == server.split('/').next()
    {
        return Some(format!("https://{rest}"));
    }
    if text.is_empty() || !matches!(Url::parse(text), Err(url::ParseError::RelativeUrlWithoutBase))
    {
        return None;
    }
    let joined = Url::parse(base).ok()?.join(text).ok()?;
    (joined.as_str().len() <= limits::URL_MAX).then(|| joined.into())
}

/// Rewrites one certificate in DER as PEM (RFC 8555 §7.4.2 allows other formats only on request),
/// and a chain in another order than the RFC's.
fn certificate(body: &mut Bytes, found: &mut Deviations) {
    if !body.starts_with(&[0x30, 0x82]) {
        if let Some(chain) = str::from_utf8(body).ok().and_then(crate::pki::ordered) {
            found.insert("returns chains in another order, or with other certificates in them");
            *body = chain.into();
        }
        return;
    }
    found.insert("returns a certificate in DER, without its chain");
    *body = crate::pki::to_pem(body).into();
}

#[cfg(test)]
mod tests;
