//! Implements the port [`Probe`](ports::Probe): follows the path of a CA to a host (RFC 8555 §8.3)
//! through DNS, port 80 and redirects.
//!
//! The probe requests a random token, so that no cache and no other solver can answer. The result
//! is a hint only: a cluster may see itself differently than the world does.

mod names;

use std::error::Error as StdError;
use std::time::Duration;

use async_trait::async_trait;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use http::header::{HOST, LOCATION, USER_AGENT};
use reqwest::{Client, Response};
use rustls::crypto::aws_lc_rs::default_provider;
use url::Url;

use ingress_acme_actors::domain::issuance::Reach;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::ports;

use crate::dns_and_http::solver::Thumbprints;
pub use names::NameserverError;
use names::{Names, Unresolved};

/// Maximum number of redirects, as followed by Let's Encrypt.
const REDIRECTS: usize = 10;
/// Longest time to open one connection. Leaves time for another address.
const CONNECT: Duration = Duration::from_secs(2);
/// Maximum size of an answer. A valid one has under 200 bytes.
const MAX_BODY: usize = 1_024;
/// Number of random bytes in a token: 32 characters of base64url.
const TOKEN_BYTES: usize = 24;

/// Reason why the probe cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No nameserver is known.
    #[error(transparent)]
    Nameserver(#[from] NameserverError),
    /// No HTTP client could be created.
    #[error("no HTTP client can be made for the probe: {0}")]
    Client(#[from] reqwest::Error),
}

/// Adapter behind the port.
pub struct HttpProbe {
    client: Client,
    port: u16,
    thumbprints: Thumbprints,
}

impl HttpProbe {
    /// Creates a probe that resolves names with `nameserver` (by default those of
    /// `/etc/resolv.conf`) and connects to `port` first (80 except in tests). Requires the
    /// process-wide rustls provider.
    pub fn new(
        nameserver: Option<std::net::SocketAddr>,
        port: u16,
        thumbprints: Thumbprints,
    ) -> Result<Self, ProbeError> {
        let client = Client::builder()
            .dns_resolver(Names::new(nameserver)?)
            // A proxy sees the host from elsewhere; a kept connection would hide a DNS change.
            .no_proxy()
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            // A host may not have a valid certificate yet; CAs do not check certificates here
            // either.
            .tls_danger_accept_invalid_certs(true)
            .connect_timeout(CONNECT)
            .timeout(limits::PROBE_CALL)
            .http1_only()
            .build()?;
        Ok(Self { client, port, thumbprints })
    }

    async fn fetch(&self, host: &DnsName) -> Result<(), Reach> {
        let token = token().ok_or_else(|| Reach::Elsewhere("no random numbers".to_owned()))?;
        let path = format!("/.well-known/acme-challenge/{token}");
        let mut url = Url::parse(&format!("http://{host}:{}{path}", self.port))
            .map_err(|wrong| Reach::Elsewhere(wrong.to_string()))?;
        for _ in 0..=REDIRECTS {
            let answer = self.get(&url, host).await.map_err(|error| missed(&error))?;
            if !answer.status().is_redirection() {
                return self.check_response(answer, &token).await;
            }
            url = self.redirected(&url, &answer)?;
        }
        Err(Reach::Elsewhere(format!("more than {REDIRECTS} redirects, the last to {url}")))
    }

    /// Sends one request. The `Host` header of the first request never has a port, since CAs use
    /// port 80.
    async fn get(&self, url: &Url, host: &DnsName) -> Result<Response, reqwest::Error> {
        let mut request = self.client.get(url.clone()).header(USER_AGENT, crate::USER_AGENT);
        if url.host_str() == Some(host.as_str()) && url.port() == Some(self.port) {
            request = request.header(HOST, host.as_str());
        }
        request.send().await
    }

    /// Returns the target of a redirect, if a CA would follow the redirect.
    fn redirected(&self, from: &Url, answer: &Response) -> Result<Url, Reach> {
        let by = origin(answer);
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let to = location.and_then(|location| from.join(location).ok()).ok_or_else(|| {
            Reach::Elsewhere(format!("{} without a usable Location {by}", answer.status()))
        })?;
        let web = matches!(to.scheme(), "http" | "https");
        let port = to.port_or_known_default();
        if !web || !port.is_some_and(|port| [80, 443, self.port].contains(&port)) {
            let why = "CAs follow redirects only to ports 80 and 443";
            return Err(Reach::Elsewhere(format!("a redirect to {to}; {why}")));
        }
        if !to.domain().is_some_and(is_public) {
            let why = "CAs follow redirects only to public names";
            return Err(Reach::Elsewhere(format!("a redirect to {to}; {why}")));
        }
        Ok(to)
    }

    async fn check_response(&self, mut answer: Response, token: &str) -> Result<(), Reach> {
        let (status, by) = (answer.status(), origin(&answer));
        if !status.is_success() {
            return Err(Reach::Elsewhere(format!("HTTP {} {by}", status.as_u16())));
        }
        let mut body = Vec::new();
        while body.len() <= MAX_BODY {
            let Some(chunk) = answer.chunk().await.map_err(|error| missed(&error))? else { break };
            body.extend_from_slice(&chunk);
        }
        let ours = body.len() <= MAX_BODY
            && str::from_utf8(&body).is_ok_and(|body| self.thumbprints.is_answer(token, body));
        if ours {
            return Ok(());
        }
        Err(Reach::Elsewhere(format!("HTTP {} with another answer {by}", status.as_u16())))
    }
}

#[async_trait(?Send)]
impl ports::Probe for HttpProbe {
    async fn probe(&self, host: &DnsName) -> Reach {
        match tokio::time::timeout(limits::PROBE_CALL, self.fetch(host)).await {
            Ok(Ok(())) => Reach::Reached,
            Ok(Err(reach)) => reach,
            Err(_) => {
                Reach::Elsewhere(format!("no answer within {} s", limits::PROBE_CALL.as_secs()))
            }
        }
    }
}

fn token() -> Option<String> {
    let mut random = [0; TOKEN_BYTES];
    default_provider().secure_random.fill(&mut random).ok()?;
    Some(BASE64_URL_SAFE_NO_PAD.encode(random))
}

/// Whether `name` is public. The probe must not become a tool for requests within the cluster.
fn is_public(name: &str) -> bool {
    const PRIVATE: [&str; 6] =
        ["local", "internal", "svc", "localhost", "localdomain", "home.arpa"];
    let within = |zone: &str| {
        name == zone || name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'))
    };
    name.contains('.') && !PRIVATE.into_iter().any(within)
}

/// Address of the server that answered, as the end of a sentence.
fn origin(answer: &Response) -> String {
    let address = answer.remote_addr().map(|address| address.ip().to_string());
    format!("from {}", address.as_deref().unwrap_or("an unknown address"))
}

/// Reason for a missing answer: the DNS error, or else the innermost cause, which is short and
/// specific.
fn missed(error: &reqwest::Error) -> Reach {
    let mut innermost: &dyn StdError = error;
    while let Some(cause) = innermost.source() {
        if let Some(unresolved) = cause.downcast_ref::<Unresolved>() {
            return Reach::Unresolved(unresolved.to_string());
        }
        innermost = cause;
    }
    if error.is_timeout() {
        return Reach::Elsewhere("no answer in time".to_owned());
    }
    Reach::Elsewhere(innermost.to_string().to_lowercase())
}

#[cfg(test)]
mod tests;
