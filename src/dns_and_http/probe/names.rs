//! DNS for the probe: fresh answers of one nameserver, or of those of the system.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
    ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Addresses that are tried: the first that takes the connection answers.
const ADDRESSES: usize = 3;
/// One question and its one repetition must leave time for HTTP.
const QUESTION: Duration = Duration::from_millis(1_500);
const REPETITIONS: usize = 1;
/// A record may have been made a moment ago, and its absence is never remembered.
const REMEMBERED: Duration = Duration::from_secs(5);
/// Answers kept; a storm asks for each name a few times.
const KEPT: u64 = 1_024;

/// No nameserver to ask.
#[derive(Debug, thiserror::Error)]
#[error("no nameserver is known ({0}); set --nameserver")]
pub struct NameserverError(NetError);

/// A name without addresses, and why, in the words of DNS.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unresolved(String);

/// Resolves the names of hosts. Cheap to clone.
#[derive(Clone)]
pub(super) struct Names(TokioResolver);

impl Names {
    pub(super) fn new(nameserver: Option<SocketAddr>) -> Result<Self, NameserverError> {
        let mut builder = match nameserver {
            Some(address) => TokioResolver::builder_with_config(
                ResolverConfig::from_name_servers(vec![server(address)]),
                TokioRuntimeProvider::default(),
            ),
            None => TokioResolver::builder_tokio().map_err(NameserverError)?,
        };
        limit(builder.options_mut(), nameserver.is_some());
        Ok(Self(builder.build().map_err(NameserverError)?))
    }

    /// IPv4 first: more clusters reach themselves by it.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Unresolved> {
        // With the final dot no search domain is tried: CAs have none.
        let found = self.0.lookup_ip(format!("{}.", host.trim_end_matches('.'))).await;
        let mut addresses: Vec<IpAddr> =
            found.map_err(|error| Unresolved(words(&error)))?.iter().collect();
        addresses.retain(|address| !is_link_local(*address));
        addresses.sort_by_key(IpAddr::is_ipv6);
        addresses.truncate(ADDRESSES);
        if addresses.is_empty() {
            return Err(Unresolved(
                "no A or AAAA record with an address that can be reached".to_owned(),
            ));
        }
        Ok(addresses)
    }
}

/// Addresses that no site has, but a cloud's metadata service.
fn is_link_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()
        }
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast(),
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.clone();
        Box::pin(async move {
            let addresses = names.addresses(name.as_str()).await?;
            // Port 0 stands for the URL's port.
            let sockets = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(sockets) as Addrs)
        })
    }
}

fn server(address: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(address.ip(), true, connections)
}

fn limit(options: &mut ResolverOpts, given: bool) {
    options.timeout = QUESTION;
    options.attempts = REPETITIONS;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.cache_size = KEPT;
    options.positive_max_ttl = Some(REMEMBERED);
    options.negative_max_ttl = Some(Duration::ZERO);
    if given {
        options.use_hosts_file = ResolveHosts::Never;
    }
}

/// As `dig` says it, and short enough for an Event.
fn words(error: &NetError) -> String {
    match error {
        error if error.is_nx_domain() => "NXDOMAIN".to_owned(),
        NetError::Dns(DnsError::NoRecordsFound(_)) => "no A or AAAA record".to_owned(),
        NetError::Dns(DnsError::ResponseCode(code)) => code.to_string(),
        NetError::Timeout => "the nameserver does not answer".to_owned(),
        error => error.to_string(),
    }
}
