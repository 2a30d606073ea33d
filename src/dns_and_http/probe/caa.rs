//! CAA records by DNS: the search from a host up to its top-level domain (RFC 8659 §3).

use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::CAA;
use hickory_resolver::proto::rr::{RData, RecordType};
use ingress_acme_actors::domain::caa::{CaaRecord, CaaSet, climb};
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;

use super::names::{Names, Source, words};

impl Names {
    /// Looks up the CAA records of the closest domain that has any. An alias is followed by the
    /// resolver.
    ///
    /// # Errors
    /// The first answer that is not definite, such as SERVFAIL. A CA must not issue then either,
    /// but may see another answer.
    pub async fn caa(&self, host: &DnsName) -> Result<CaaSet, String> {
        for domain in climb(host) {
            let records = match &self.0 {
                Source::Nameservers(resolver) => records(resolver, domain).await,
                Source::InProcess(network) => network.caa(domain).await,
            };
            let failed = |why| cut(format!("{domain}: {why}"), limits::PROBE_TEXT_MAX);
            let records = records.map_err(failed)?;
            if !records.is_empty() {
                return Ok(CaaSet { domain: domain.to_owned(), records });
            }
        }
        Ok(CaaSet::default())
    }
}

/// The records of this very domain.
async fn records(resolver: &TokioResolver, domain: &str) -> Result<Vec<CaaRecord>, String> {
    let found = match resolver.lookup(format!("{domain}."), RecordType::CAA).await {
        Ok(found) => found,
        Err(error) if is_definite(&error) => return Ok(Vec::new()),
        Err(error) => return Err(words(&error)),
    };
    let caa = found.answers().iter().filter_map(|answer| match &answer.data {
        RData::CAA(caa) => Some(record(caa)),
        _ => None,
    });
    Ok(caa.take(limits::CAA_RECORDS).collect())
}

/// Whether the answer says that there is no such record.
fn is_definite(error: &NetError) -> bool {
    let NetError::Dns(DnsError::NoRecordsFound(none)) = error else { return false };
    matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
}

fn record(caa: &CAA) -> CaaRecord {
    let most = caa.value.len().min(limits::CAA_VALUE);
    let value = String::from_utf8_lossy(&caa.value[..most]).into_owned();
    CaaRecord { critical: caa.issuer_critical, tag: cut(caa.tag.as_str(), limits::CAA_TAG), value }
}
