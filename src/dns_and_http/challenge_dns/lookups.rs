//! Questions to resolvers and to the authoritative servers of a zone.

use std::net::{IpAddr, SocketAddr};

use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use ingress_acme_actors::domain::dns::txt::RecordName;
use ingress_acme_actors::domain::limits;

use super::{Answer, NameserverError};
use crate::dns_and_http::probe::usable;
use crate::dns_and_http::resolver::{self, is_definite, words};

/// Servers of DNS.
pub(super) struct Nameservers {
    /// Asked for CNAME, SOA and NS records and addresses.
    resolver: TokioResolver,
    texts: Texts,
}

/// Where the TXT records of a zone are asked for.
enum Texts {
    /// At its authoritative servers, on this port.
    Authoritative(u16),
    /// At each of these resolvers.
    Resolvers(Vec<TokioResolver>),
}

impl Nameservers {
    pub(super) fn with_authoritative(
        nameserver: Option<SocketAddr>,
        port: u16,
    ) -> Result<Self, NameserverError> {
        let resolver = match nameserver {
            Some(address) => resolver::of(&[address])?,
            None => resolver::of_system()?,
        };
        Ok(Self { resolver, texts: Texts::Authoritative(port) })
    }

    pub(super) fn only_resolvers(all: &[SocketAddr]) -> Result<Self, NameserverError> {
        let each = all.iter().map(|address| resolver::of(&[*address]));
        let texts = Texts::Resolvers(each.collect::<Result<_, _>>()?);
        Ok(Self { resolver: resolver::of(all)?, texts })
    }

    pub(super) fn resolver(&self) -> &TokioResolver {
        &self.resolver
    }

    /// Target of the CNAME record of this very name.
    pub(super) async fn alias(&self, name: &RecordName) -> Result<Option<String>, String> {
        let records = records(&self.resolver, name.as_str(), RecordType::CNAME).await?;
        Ok(records.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if is_at(record, name.as_str()) => Some(target.0.to_ascii()),
            _ => None,
        }))
    }

    /// Whether this very name has a SOA record. The answer about an alias has that of another name.
    pub(super) async fn is_zone(&self, name: &str) -> Result<bool, String> {
        let records = records(&self.resolver, name, RecordType::SOA).await?;
        let is_soa = |record: &Record| matches!(record.data, RData::SOA(_)) && is_at(record, name);
        Ok(records.iter().any(is_soa))
    }

    /// The servers to ask for TXT records of a zone.
    pub(super) async fn to_ask(&self, zone: &RecordName) -> Result<Vec<TokioResolver>, String> {
        let port = match &self.texts {
            Texts::Resolvers(all) => return Ok(all.clone()),
            Texts::Authoritative(port) => *port,
        };
        let named = records(&self.resolver, zone.as_str(), RecordType::NS).await?;
        let names = named.iter().filter_map(|record| match &record.data {
            RData::NS(server) => Some(server.0.to_ascii()),
            _ => None,
        });
        let names: Vec<String> = names.take(limits::DNS_SERVERS).collect();
        let addresses = join_all(names.iter().map(|name| self.addresses(name))).await;
        let servers = addresses.into_iter().filter(|addresses| !addresses.is_empty());
        let servers = servers.filter_map(|addresses| {
            let at = |address: &IpAddr| SocketAddr::new(*address, port);
            resolver::authoritative(&addresses.iter().map(at).collect::<Vec<_>>()).ok()
        });
        let servers: Vec<_> = servers.collect();
        if servers.is_empty() {
            return Err(format!("no name server of the zone {zone} has an address"));
        }
        Ok(servers)
    }

    /// Addresses of a name server; none where it does not resolve.
    async fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let name = format!("{}.", name.trim_end_matches('.'));
        let found = self.resolver.lookup_ip(name).await;
        let mut found = found.map(|found| usable(found.iter())).unwrap_or_default();
        found.truncate(limits::DNS_SERVER_ADDRESSES);
        found
    }
}

/// Texts of the TXT records of a name; bytes that are no UTF-8 are replaced.
pub(super) async fn texts(server: &TokioResolver, name: &str) -> Answer {
    let records = records(server, name, RecordType::TXT).await?;
    let texts = records.iter().filter_map(|record| match &record.data {
        RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
        _ => None,
    });
    Ok(texts.collect())
}

/// All records of the answer, those of aliases among them.
async fn records(
    server: &TokioResolver,
    name: &str,
    kind: RecordType,
) -> Result<Vec<Record>, String> {
    // The final dot disables search domains, which CAs do not have.
    match server.lookup(format!("{name}."), kind).await {
        Ok(found) => Ok(found.answers().to_vec()),
        Err(error) if is_definite(&error) => Ok(Vec::new()),
        Err(error) => Err(words(&error)),
    }
}

fn is_at(record: &Record, name: &str) -> bool {
    let owner = record.name.to_ascii();
    owner.trim_end_matches('.').eq_ignore_ascii_case(name)
}
