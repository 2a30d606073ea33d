//! HTTP of the adapters that are not the library's: one small document each way.

use ingress_acme_actors::domain::limits;
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, RequestBuilder, StatusCode};
use std::time::Duration;

use super::error::{Kind, ProviderError};
use crate::acme::body_within;
use crate::kubernetes::client::detail;

/// A client without redirects and without compression, so that an answer is as long as its body.
pub(super) fn client() -> Result<Client, String> {
    let builder = Client::builder().redirect(reqwest::redirect::Policy::none());
    let builder = builder.no_gzip().no_deflate();
    let client = builder.timeout(limits::DNS_PROVIDER_REQUEST).user_agent(crate::USER_AGENT);
    client.build().map_err(|error| format!("no TLS client can be made: {error}"))
}

/// Base URL of a server, without a final slash.
pub(super) fn base(key: &str, url: &str) -> Result<String, String> {
    let parsed = url::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let is_plain = parsed.is_some_and(|url| url.query().is_none() && url.fragment().is_none());
    let wrong = || format!("key `{key}` is not a URL that begins with https:// or http://");
    is_plain.then(|| url.trim_end_matches('/').to_owned()).ok_or_else(wrong)
}

/// Sends a request, and returns the body of a good answer.
pub(super) async fn send(request: RequestBuilder) -> Result<Vec<u8>, ProviderError> {
    let passing = |error: reqwest::Error| ProviderError::new(Kind::Passing, detail(&error));
    let mut answer = request.send().await.map_err(passing)?;
    let status = answer.status();
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|seconds| seconds.trim().parse().ok());
    let body = body_within(&mut answer, limits::DNS_ANSWER).await.map_err(passing)?;
    let Some(body) = body else {
        let long = format!("its answer is larger than {} bytes", limits::DNS_ANSWER);
        return Err(ProviderError::new(Kind::Request, long));
    };
    if status.is_success() { Ok(body) } else { Err(refused(status, &body, retry_after)) }
}

fn refused(status: StatusCode, body: &[u8], retry_after: Option<u64>) -> ProviderError {
    let words = format!("HTTP {}: {}", status.as_u16(), String::from_utf8_lossy(body).trim());
    let error = ProviderError::of_status(status.as_u16(), words);
    let retry_after = retry_after.map(Duration::from_secs);
    ProviderError {
        retry_after: retry_after.map(|named| named.min(limits::RETRY_AFTER_MAX)),
        ..error
    }
}
