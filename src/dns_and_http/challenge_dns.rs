//! Implements the port [`ChallengeDns`](ports::ChallengeDns): DNS as the CA sees it.
//!
//! A challenge may be delegated by CNAME records of `_acme-challenge.NAME`, which are followed. The
//! zone of the record is the closest name above with a SOA record. Whether a record has arrived is
//! asked of all authoritative servers of the zone, and not of a resolver, which remembers that the
//! record was missing; where only resolvers can be reached, `--dns01-resolvers` names them.

mod lookups;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::dns::txt::{ChallengeTarget, RecordName, TxtRecord};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::ports;
use tokio::time::timeout;

use crate::dns_and_http::probe::{ChallengeRecord, NameserverError, Network};
use lookups::Nameservers;

/// Port of authoritative servers.
const DNS_PORT: u16 = 53;

/// Adapter behind the port.
pub struct ChallengeRecords(Source);

/// Where answers come from.
enum Source {
    Nameservers(Box<Nameservers>),
    InProcess(Arc<dyn Network>),
}

impl ChallengeRecords {
    /// Creates an adapter that asks `resolvers` for everything. Without any, it asks the
    /// authoritative servers for TXT records of DNS-01, and `nameserver`, by default those of
    /// `/etc/resolv.conf`, for the rest.
    ///
    /// # Errors
    /// No nameserver is known.
    pub fn new(
        nameserver: Option<SocketAddr>,
        resolvers: &[SocketAddr],
    ) -> Result<Self, NameserverError> {
        let found = if resolvers.is_empty() {
            Nameservers::with_authoritative(nameserver, DNS_PORT)?
        } else {
            Nameservers::only_resolvers(resolvers)?
        };
        Ok(Self(Source::Nameservers(Box::new(found))))
    }

    /// Creates an adapter in a network of this process, such as that of a simulated world.
    pub fn in_process(network: Arc<dyn Network>) -> Self {
        Self(Source::InProcess(network))
    }

    async fn alias(&self, name: &RecordName) -> Result<Option<RecordName>, String> {
        let target = match &self.0 {
            Source::Nameservers(servers) => servers.alias(name).await?,
            Source::InProcess(network) => {
                network.challenge(name.as_str(), ChallengeRecord::Alias).await?.pop()
            }
        };
        let read = |target: String| {
            RecordName::parse(&target)
                .map_err(|bad| format!("its CNAME record leads to `{target}`, which {bad}"))
        };
        target.map(read).transpose()
    }

    async fn is_zone(&self, name: &str) -> Result<bool, String> {
        match &self.0 {
            Source::Nameservers(servers) => servers.is_zone(name).await,
            Source::InProcess(network) => {
                Ok(!network.challenge(name, ChallengeRecord::Zone).await?.is_empty())
            }
        }
    }

    /// Follows the CNAME records of a name.
    async fn followed(&self, name: &DnsName) -> Result<RecordName, String> {
        let too_long = || format!("the name of the challenge of {name} would be too long");
        let first = RecordName::of_challenge(name).ok_or_else(too_long)?;
        let mut passed = vec![first.clone()];
        let mut last = first;
        while let Some(next) = self.alias(&last).await.map_err(at(last.as_str()))? {
            if passed.contains(&next) {
                return Err(format!("the CNAME records lead in a circle, back to {next}"));
            }
            if passed.len() > limits::DNS_ALIASES {
                return Err(format!("more than {} CNAME records in a row", limits::DNS_ALIASES));
            }
            passed.push(next.clone());
            last = next;
        }
        Ok(last)
    }

    /// The closest name above `name`, or itself, that has a SOA record.
    async fn zone(&self, name: &RecordName) -> Result<RecordName, String> {
        let mut above = Some(name.as_str());
        while let Some(domain) = above {
            if self.is_zone(domain).await.map_err(at(domain))? {
                return RecordName::parse(domain).map_err(|bad| format!("{domain} {bad}"));
            }
            above = domain.split_once('.').map(|(_, parent)| parent);
        }
        Err(format!("no domain above {name} has a SOA record, so its zone is not known"))
    }

    async fn find(&self, name: &DnsName) -> Result<ChallengeTarget, String> {
        let name = self.followed(name).await?;
        let zone = self.zone(&name).await?;
        Ok(ChallengeTarget { name, zone })
    }

    /// The texts at a name, of each server that was asked.
    async fn texts(&self, record: &TxtRecord) -> Result<Vec<Answer>, String> {
        let name = record.name.as_str();
        match &self.0 {
            Source::Nameservers(servers) => {
                let asked = servers.to_ask(&record.zone).await?;
                Ok(join_all(asked.iter().map(|server| lookups::texts(server, name))).await)
            }
            Source::InProcess(network) => {
                Ok(vec![network.challenge(name, ChallengeRecord::Text).await])
            }
        }
    }

    async fn persistent(&self, name: &DnsName) -> Result<Vec<String>, String> {
        let Some(name) = RecordName::of_persist(name) else { return Ok(Vec::new()) };
        let found = match &self.0 {
            Source::Nameservers(servers) => lookups::texts(servers.resolver(), name.as_str()).await,
            Source::InProcess(network) => {
                network.challenge(name.as_str(), ChallengeRecord::Text).await
            }
        };
        found.and_then(bounded).map_err(at(name.as_str()))
    }
}

/// Texts of a server, or why it has not answered.
type Answer = Result<Vec<String>, String>;

/// Whether all servers that answer have the value.
fn all_have(answers: Vec<Answer>, value: &str) -> Result<bool, String> {
    let (mut answered, mut all, mut silent) = (false, true, None);
    for answer in answers {
        match answer {
            Ok(texts) => {
                answered = true;
                all &= texts.iter().any(|text| text == value);
            }
            Err(why) => silent = silent.or(Some(why)),
        }
    }
    if answered { Ok(all) } else { Err(silent.unwrap_or_else(|| "no server was asked".to_owned())) }
}

/// The records, unless they are too many or too long: one that is not read may be the one that
/// counts.
fn bounded(texts: Vec<String>) -> Result<Vec<String>, String> {
    let (count, most) = (texts.len(), limits::PERSIST_RECORDS);
    if count > most {
        return Err(format!("it has {count} TXT records, but at most {most} are read"));
    }
    let longest = texts.iter().map(String::len).max().unwrap_or_default();
    let most = limits::PERSIST_VALUE;
    if longest > most {
        return Err(format!("a TXT record there has {longest} bytes, but at most {most} are read"));
    }
    Ok(texts)
}

fn at(name: &str) -> impl Fn(String) -> String {
    move |why| format!("{name}: {why}")
}

/// Runs a look-up under its deadline. A reason is cut, for it goes into Events.
async fn in_time<T>(look: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let late = |_| Err("the nameservers do not answer in time".to_owned());
    let found = timeout(limits::CHALLENGE_DNS, look).await.unwrap_or_else(late);
    found.map_err(|why| cut(why, limits::PROBE_TEXT_MAX))
}

#[async_trait(?Send)]
impl ports::ChallengeDns for ChallengeRecords {
    async fn target(&self, name: &DnsName) -> Result<ChallengeTarget, String> {
        in_time(self.find(name)).await
    }

    async fn has(&self, record: &TxtRecord) -> Result<bool, String> {
        in_time(async { all_have(self.texts(record).await?, &record.value) })
            .await
            .map_err(at(record.name.as_str()))
    }

    async fn persist_records(&self, name: &DnsName) -> Result<Vec<String>, String> {
        in_time(self.persistent(name)).await
    }
}
