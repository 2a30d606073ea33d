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
use hickory_resolver::system_conf::read_system_conf;
use ingress_acme_actors::domain::address::is_forbidden;
use ingress_acme_actors::domain::limits;

/// Timeout of one query. The query and its one retry must leave time for HTTP.
const QUESTION: Duration = Duration::from_millis(1_500);
const REPETITIONS: usize = 1;
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

    /// Resolves `host`, IPv4 first, since more clusters reach themselves by IPv4. Addresses that
    /// must never be contacted are left out.
    pub(super) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Unresolved> {
        // The final dot disables search domains, which CAs do not have.
        let found = self.0.lookup_ip(format!("{}.", host.trim_end_matches('.'))).await;
        let found = found.map_err(|error| Unresolved(words(&error)))?;
        let addresses = usable(found.iter());
        if addresses.is_empty() {
            return Err(Unresolved(
                "no A or AAAA record with an address that may be asked".to_owned(),
            ));
        }
        Ok(addresses)
    }
}

/// The first addresses of an answer that may be contacted, IPv4 first.
fn usable(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let allowed = addresses.map(|address| address.to_canonical());
    let mut allowed: Vec<IpAddr> =
        allowed.filter(|address| !is_forbidden(*address)).take(limits::PROBE_ADDRESSES).collect();
    allowed.sort_by_key(IpAddr::is_ipv6);
    allowed
}

/// Search domains of the system, which in a pod contain the cluster's domain; none if
/// `/etc/resolv.conf` cannot be read.
pub(super) fn search_domains() -> Vec<String> {
    let search = read_system_conf().map(|(config, _)| config.search().to_vec());
    search.unwrap_or_default().iter().map(ToString::to_string).collect()
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
    // An answer may have 64 KiB, and records may have been created a moment ago.
    options.cache_size = 0;
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
