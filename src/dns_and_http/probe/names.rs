//! DNS for the probe: fresh answers of one nameserver, or of the system's nameservers.

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

/// Number of addresses tried. The first one that accepts a connection is used.
const ADDRESSES: usize = 3;
/// Timeout of one query. The query and its one retry must leave time for HTTP.
const QUESTION: Duration = Duration::from_millis(1_500);
const REPETITIONS: usize = 1;
/// Longest time an answer is cached. Short, since a record may have been created a moment ago;
/// negative answers are never cached.
const REMEMBERED: Duration = Duration::from_secs(5);
/// Maximum number of cached answers. Each name is queried a few times in short succession.
const KEPT: u64 = 1_024;

/// No nameserver is known.
#[derive(Debug, thiserror::Error)]
#[error("no nameserver is known ({0}); set --nameserver")]
pub struct NameserverError(NetError);

/// A name without addresses, with the reason in terms of DNS.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unresolved(String);

/// Resolves host names. Cheap to clone.
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

    /// Resolves `host`, IPv4 first, since more clusters reach themselves by IPv4.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Unresolved> {
        // The final dot disables search domains, which CAs do not have.
        let found = self.0.lookup_ip(format!("{}.", host.trim_end_matches('.'))).await;
        let mut addresses: Vec<IpAddr> =
            found.map_err(|error| Unresolved(words(&error)))?.iter().collect();
        addresses.retain(|address| !must_not_connect(*address));
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

/// Whether `address` must not be contacted: link-local (used by no website, but by the metadata
/// service of a cloud), unspecified, multicast or broadcast.
fn must_not_connect(address: IpAddr) -> bool {
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

/// Formats an error as `dig` does, and short enough for an Event.
fn words(error: &NetError) -> String {
    match error {
        error if error.is_nx_domain() => "NXDOMAIN".to_owned(),
        NetError::Dns(DnsError::NoRecordsFound(_)) => "no A or AAAA record".to_owned(),
        NetError::Dns(DnsError::ResponseCode(code)) => code.to_string(),
        NetError::Timeout => "the nameserver does not answer".to_owned(),
        error => error.to_string(),
    }
}
