//! The way to a host as the CA would go it (RFC 8555 §8.3): DNS, port 80, redirects; the port [`Probe`].
//!
//! A random token is asked for, so that no cache and no other solver can answer it. What is found is advice: a
//! cluster may not see itself as the world does.

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

/// Redirects that Let's Encrypt follows.
const REDIRECTS: usize = 10;
/// Longest one connection may take to come up, so that there is time for another address.
const CONNECT: Duration = Duration::from_secs(2);
/// An answer has under 200 bytes; anything longer is none.
const MAX_BODY: usize = 1_024;
/// Random bytes in a token: 32 characters of base64url.
const TOKEN_BYTES: usize = 24;

/// How the probe cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No nameserver.
    #[error(transparent)]
    Nameserver(#[from] NameserverError),
    /// No HTTP client.
    #[error("no HTTP client can be made for the probe: {0}")]
    Client(#[from] reqwest::Error),
}

/// The adapter behind the port.
pub struct HttpProbe {
    client: Client,
    port: u16,
    thumbprints: Thumbprints,
}

impl HttpProbe {
    /// Asks `nameserver` (else those of `/etc/resolv.conf`) and begins at `port` (80 but in tests). Needs the
    /// process-wide rustls provider.
    pub fn new(
        nameserver: Option<std::net::SocketAddr>,
        port: u16,
        thumbprints: Thumbprints,
    ) -> Result<Self, ProbeError> {
        let client = Client::builder()
            .dns_resolver(Names::new(nameserver)?)
            // A proxy sees the host from elsewhere; a kept connection would hide a change of DNS.
            .no_proxy()
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            // The certificate is what this is all for; CAs do not look at it here either.
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
                return self.judge(answer, &token).await;
            }
            url = self.redirected(&url, &answer)?;
        }
        Err(Reach::Elsewhere(format!("more than {REDIRECTS} redirects, the last to {url}")))
    }

    /// The port is never in the `Host` header of the first request: CAs ask port 80.
    async fn get(&self, url: &Url, host: &DnsName) -> Result<Response, reqwest::Error> {
        let mut request = self.client.get(url.clone()).header(USER_AGENT, crate::USER_AGENT);
        if url.host_str() == Some(host.as_str()) && url.port() == Some(self.port) {
            request = request.header(HOST, host.as_str());
        }
        request.send().await
    }

    /// Where an answer sends us, if a CA would go there.
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

    async fn judge(&self, mut answer: Response, token: &str) -> Result<(), Reach> {
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

/// A name that is not for this network only: the probe must not become anybody's browser inside the cluster.
fn is_public(name: &str) -> bool {
    const PRIVATE: [&str; 6] =
        ["local", "internal", "svc", "localhost", "localdomain", "home.arpa"];
    let within = |zone: &str| {
        name == zone || name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'))
    };
    name.contains('.') && !PRIVATE.into_iter().any(within)
}

/// Who answered, as the end of a sentence.
fn origin(answer: &Response) -> String {
    let address = answer.remote_addr().map(|address| address.ip().to_string());
    format!("from {}", address.as_deref().unwrap_or("an unknown address"))
}

/// Why there was no answer: the name, or the innermost cause, which names the reason in a few words.
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
