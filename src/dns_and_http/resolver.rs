//! Resolvers of the program: fresh answers of given nameservers, of the system's, or of the
//! authoritative servers of a zone.

use std::net::SocketAddr;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
    ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use ingress_acme_actors::domain::limits;

const REPETITIONS: usize = 1;

/// No nameserver is known.
#[derive(Debug, thiserror::Error)]
#[error("no nameserver is known ({0}); set --nameserver")]
pub struct NameserverError(NetError);

/// Creates a resolver that asks the nameservers of `/etc/resolv.conf`.
pub(super) fn of_system() -> Result<TokioResolver, NameserverError> {
    let mut builder = TokioResolver::builder_tokio().map_err(NameserverError)?;
    limit(builder.options_mut());
    builder.build().map_err(NameserverError)
}

/// Creates a resolver that asks one of these nameservers.
pub(super) fn of(servers: &[SocketAddr]) -> Result<TokioResolver, NameserverError> {
    built(servers, |_| {})
}

/// Creates a resolver that asks one of these authoritative servers, all of which are the same one,
/// what it has itself.
pub(super) fn authoritative(servers: &[SocketAddr]) -> Result<TokioResolver, NameserverError> {
    built(servers, |options| options.recursion_desired = false)
}

fn built(
    servers: &[SocketAddr],
    change: impl FnOnce(&mut ResolverOpts),
) -> Result<TokioResolver, NameserverError> {
    let servers = servers.iter().map(|address| server(*address)).collect();
    let config = ResolverConfig::from_name_servers(servers);
    let provider = TokioRuntimeProvider::default();
    let mut builder = TokioResolver::builder_with_config(config, provider);
    limit(builder.options_mut());
    builder.options_mut().use_hosts_file = ResolveHosts::Never;
    change(builder.options_mut());
    builder.build().map_err(NameserverError)
}

fn server(address: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(address.ip(), true, connections)
}

fn limit(options: &mut ResolverOpts) {
    options.timeout = limits::DNS_QUESTION;
    options.attempts = REPETITIONS;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // Whatever their TTL is, because records may have been created a moment ago.
    options.cache_size = limits::DNS_ANSWERS_KEPT;
    options.positive_min_ttl = Some(limits::DNS_ANSWER_AGE);
    options.positive_max_ttl = Some(limits::DNS_ANSWER_AGE);
    options.negative_min_ttl = Some(limits::DNS_ANSWER_AGE);
    options.negative_max_ttl = Some(limits::DNS_ANSWER_AGE);
}

/// Formats an error as `dig` does, and short enough for an Event.
pub(super) fn words(error: &NetError) -> String {
    match error {
        error if error.is_nx_domain() => "NXDOMAIN".to_owned(),
        NetError::Dns(DnsError::NoRecordsFound(_)) if is_definite(error) => {
            "no A or AAAA record".to_owned()
        }
        NetError::Dns(DnsError::NoRecordsFound(none)) => none.response_code.to_string(),
        NetError::Dns(DnsError::ResponseCode(code)) => code.to_string(),
        NetError::Timeout => "the nameserver does not answer".to_owned(),
        error => error.to_string(),
    }
}

/// Whether the answer says that there is no such record.
pub(super) fn is_definite(error: &NetError) -> bool {
    let NetError::Dns(DnsError::NoRecordsFound(none)) = error else { return false };
    matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
}
