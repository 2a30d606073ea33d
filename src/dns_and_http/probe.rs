//! Implements the port [`Probe`](ports::Probe): follows the path of a CA to a host (RFC 8555 §8.3)
//! through DNS, port 80 and redirects.
//!
//! The probe requests a random token, so that no cache and no other solver can answer. The result
//! is a hint only: a cluster may see itself differently than the world does.
//!
//! A name is resolved once, and one of these addresses is connected to. The host itself may have a
//! private address (private CA, split DNS), but is never one of the cluster's own names; a redirect
//! leads to a globally routable address, or to one that the host has. No text shows more of an
//! answer than the class of its status.

mod caa;
mod exchange;
mod families;
mod names;
mod network;
mod redirect;

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use ingress_acme_actors::domain::address::is_globally_routable;
use ingress_acme_actors::domain::caa::CaaSet;
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::issuance::{Missed, OverIpv6, Reach};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::ports;
use rustls::crypto::aws_lc_rs::default_provider;
use tokio::time::{sleep, timeout};
use url::Url;

pub use crate::dns_and_http::resolver::NameserverError;
use crate::dns_and_http::solver::{AnswerKey, Thumbprint};
use exchange::{Answer, Exchange, NoAnswer};
pub use families::Families;
pub use names::Names;
use names::search_domains;
pub(super) use names::usable;
pub use network::{ChallengeRecord, Connection, Network};
use redirect::{ClusterDomains, Redirects};

/// Number of random bytes in a token: 32 characters of base64url.
const TOKEN_BYTES: usize = 24;

/// What is told of an answer with the thumbprint of another key. The CA refuses such an answer, and
/// counts a failed validation.
const OTHER_KEY: &str = "the challenge was answered for another account key. After a rollover, a replica has the new \
    key within a minute; a load balancer that answers challenges itself needs the thumbprint that \
    `ingress-acme thumbprint` prints";

/// Reason why the probe cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No nameserver is known.
    #[error(transparent)]
    Nameserver(#[from] NameserverError),
    /// No TLS client could be created.
    #[error("no TLS client can be made for the probe: {0}")]
    Client(#[from] rustls::Error),
}

/// Adapter behind the port.
pub struct HttpProbe {
    exchange: Exchange,
    names: Names,
    cluster: ClusterDomains,
    port: u16,
    thumbprint: Thumbprint,
}

impl HttpProbe {
    /// Creates a probe that resolves names with `nameserver` (by default those of
    /// `/etc/resolv.conf`) and connects to `port` first (80 except in tests).
    pub fn new(
        nameserver: Option<std::net::SocketAddr>,
        port: u16,
        thumbprint: Thumbprint,
    ) -> Result<Self, ProbeError> {
        Self::with(Names::new(nameserver)?, None, port, thumbprint)
    }

    /// Creates a probe in a network of this process, such as that of a simulated world.
    pub fn in_process(
        network: Arc<dyn Network>,
        port: u16,
        thumbprint: Thumbprint,
    ) -> Result<Self, ProbeError> {
        Self::with(Names::of(network.clone()), Some(network), port, thumbprint)
    }

    fn with(
        names: Names,
        network: Option<Arc<dyn Network>>,
        port: u16,
        thumbprint: Thumbprint,
    ) -> Result<Self, ProbeError> {
        let search = search_domains();
        let exchange = Exchange::new(default_provider().into(), network)?;
        let cluster = ClusterDomains::of_search(search.iter().map(String::as_str));
        Ok(Self { exchange, names, cluster, port, thumbprint })
    }

    async fn fetch(&self, host: &DnsName) -> Reach {
        let host = host.as_str();
        if self.cluster.contain(host) {
            let why = "it is a name of the cluster itself, which the probe does not ask";
            return Reach::silent(why);
        }
        let Some(token) = token() else { return Reach::silent("no random numbers") };
        let first = match self.names.addresses(host).await {
            Ok(first) => first,
            Err(why) => return Reach::Unresolved(cut(why.to_string(), limits::PROBE_TEXT_MAX)),
        };
        match (self.ask(host, &token, &first).await, any_public(&first)) {
            (Ok(()), true) => Reach::Reached,
            (Ok(()), false) => Reach::ReachedInside,
            (Err(NoAnswer { why, answered, .. }), public) => {
                let why = cut(why, limits::PROBE_TEXT_MAX);
                Reach::Missed(Missed { why, answered, private: !public })
            }
        }
    }

    /// Asks one IPv6 address of the host, as Let's Encrypt does first. Addresses of the two
    /// families that are not both public, or both private, are not seen by the same CA.
    async fn look_over_ipv6(&self, host: &DnsName) -> OverIpv6 {
        let host = host.as_str();
        let (Some(token), false) = (token(), self.cluster.contain(host)) else {
            return OverIpv6::NotAsked;
        };
        let Ok(all) = self.names.addresses(host).await else { return OverIpv6::NotAsked };
        let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = all.into_iter().partition(IpAddr::is_ipv6);
        let is_public = any_public(&v4);
        let mut same_kind = v6.into_iter().filter(|one| is_globally_routable(*one) == is_public);
        let (Some(one), false) = (same_kind.next(), v4.is_empty()) else {
            return OverIpv6::NotAsked;
        };
        match self.ask(host, &token, &[one]).await {
            Ok(()) => OverIpv6::Reached,
            Err(missed) if missed.silent => OverIpv6::Silent(missed.why),
            Err(missed) => OverIpv6::Elsewhere(cut(missed.why, limits::PROBE_TEXT_MAX)),
        }
    }

    /// Requests the challenge path of the host from the addresses `first`, and follows redirects.
    async fn ask(&self, host: &str, token: &str, first: &[IpAddr]) -> Result<(), NoAnswer> {
        let mut answered = false;
        let followed = self.follow(host, token, first, &mut answered).await;
        followed.map_err(|missed| NoAnswer { answered, ..missed })
    }

    /// Does so; sets `answered` once a server has answered.
    async fn follow(
        &self,
        host: &str,
        token: &str,
        first: &[IpAddr],
        answered: &mut bool,
    ) -> Result<(), NoAnswer> {
        let url = format!("http://{host}:{}/.well-known/acme-challenge/{token}", self.port);
        let rules = Redirects { host, token, port: self.port, cluster: &self.cluster };
        let rules = &rules;
        let mut url = Url::parse(&url).map_err(|wrong| wrong.to_string())?;
        let mut addresses = first.to_vec();
        for _ in 0..=limits::PROBE_REDIRECTS {
            let answer = self.exchange.get(&url, &header(&url, rules), &addresses).await?;
            *answered = true;
            if !answer.status.is_redirection() {
                return Ok(self.check_answer(&answer, rules.token)?);
            }
            let to = rules.target(&url, answer.location.as_deref());
            url = to.map_err(|why| format!("{why} ({})", origin(&answer)))?;
            addresses = self.redirected(&url, first, rules).await?;
        }
        let most = limits::PROBE_REDIRECTS;
        Err(format!("more than {most} redirects, the last to {}", rules.shown(&url)).into())
    }

    /// Resolves the target of a redirect. Only addresses of the host itself and globally routable
    /// ones remain.
    async fn redirected(
        &self,
        url: &Url,
        first: &[IpAddr],
        rules: &Redirects<'_>,
    ) -> Result<Vec<IpAddr>, String> {
        let name = url.domain().unwrap_or_default();
        if name.trim_end_matches('.') == rules.host {
            return Ok(first.to_vec()); // resolved once
        }
        let shown = || format!("a redirect to {}", rules.shown(url));
        let mut addresses = self
            .names
            .addresses(name)
            .await
            .map_err(|why| format!("{}, which does not resolve ({why})", shown()))?;
        addresses.retain(|address| is_globally_routable(*address) || first.contains(address));
        if addresses.is_empty() {
            let why = "whose address is neither public nor one of the host; it is not followed";
            return Err(format!("{}, {why}", shown()));
        }
        Ok(addresses)
    }

    fn check_answer(&self, answer: &Answer, token: &str) -> Result<(), String> {
        let body = answer.body.as_deref().and_then(|body| str::from_utf8(body).ok());
        match body.map(|body| self.thumbprint.key_of_answer(token, body)) {
            Some(AnswerKey::Ours) => Ok(()),
            Some(AnswerKey::Another) => Err(OTHER_KEY.to_owned()),
            _ => Err(format!("another server answered, {}", origin(answer))),
        }
    }
}

#[async_trait(?Send)]
impl ports::Probe for HttpProbe {
    async fn probe(&self, host: &DnsName) -> Reach {
        let late =
            |_| Reach::silent(&format!("no answer within {} s", limits::PROBE_CALL.as_secs()));
        timeout(limits::PROBE_CALL, self.fetch(host)).await.unwrap_or_else(late)
    }

    async fn over_ipv6(&self, host: &DnsName) -> OverIpv6 {
        let look = || timeout(limits::PROBE_IPV6, self.look_over_ipv6(host));
        let late = |_| OverIpv6::Silent("no answer in time".to_owned());
        let found = look().await.unwrap_or_else(late);
        if !matches!(found, OverIpv6::Elsewhere(_)) {
            return found;
        }
        sleep(limits::PROBE_IPV6_AGAIN).await;
        look().await.unwrap_or_else(late)
    }

    async fn caa(&self, host: &DnsName) -> Result<CaaSet, String> {
        self.names.caa(host).await
    }
}

fn any_public(addresses: &[IpAddr]) -> bool {
    addresses.iter().any(|address| is_globally_routable(*address))
}

fn token() -> Option<String> {
    let mut random = [0; TOKEN_BYTES];
    default_provider().secure_random.fill(&mut random).ok()?;
    Some(BASE64_URL_SAFE_NO_PAD.encode(random))
}

/// Value of the `Host` header. That of the first request never has a port, since CAs use port 80.
fn header(url: &Url, rules: &Redirects<'_>) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) if host != rules.host || port != rules.port => format!("{host}:{port}"),
        _ => host.to_owned(),
    }
}

/// Class of the status, and address of the server if everybody can see that address: a private one
/// is an inner matter of the network.
fn origin(answer: &Answer) -> String {
    let class = answer.status.as_u16() / 100;
    if is_globally_routable(answer.address) {
        return format!("HTTP {class}xx from {}", answer.address);
    }
    format!("HTTP {class}xx from a private address")
}

#[cfg(test)]
mod tests;
