//! CAA records by DNS: the search from a host up to its top-level domain (RFC 8659 §3).

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::rdata::CAA;
use hickory_resolver::proto::rr::{RData, RecordType};
use ingress_acme_actors::domain::caa::{CaaRecord, CaaSet, climb};
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;

use super::names::{Names, Source};
use crate::dns_and_http::resolver::{is_definite, words};

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
        RData::CAA(caa) => Some(caa),
        _ => None,
    });
    bounded(caa.collect())
}

/// The records, unless they are too many or too long: one that is not read may be the one that lets
/// the CA issue, so that the first of them decide nothing.
fn bounded(found: Vec<&CAA>) -> Result<Vec<CaaRecord>, String> {
    let (count, most) = (found.len(), limits::CAA_RECORDS);
    if count > most {
        return Err(format!("it has {count} CAA records, but at most {most} are read"));
    }
    let (longest, most) = (found.iter().map(|caa| caa.value.len()).max(), limits::CAA_VALUE);
    match longest.filter(|longest| *longest > most) {
        Some(bytes) => {
            Err(format!("a CAA record there has {bytes} bytes, but at most {most} are read"))
        }
        None => Ok(found.into_iter().map(record).collect()),
    }
}

fn record(caa: &CAA) -> CaaRecord {
    let value = String::from_utf8_lossy(&caa.value).into_owned();
    CaaRecord { critical: caa.issuer_critical, tag: cut(caa.tag.as_str(), limits::CAA_TAG), value }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A record with this value, which may be no issuer at all.
    fn caa(value: Vec<u8>) -> CAA {
        let mut caa = CAA::new_issue(false, None, Vec::new());
        caa.value = value;
        caa
    }

    #[test]
    fn a_record_beyond_the_bound_makes_the_answer_unknown_and_does_not_forbid() {
        let read = |records: &[CAA]| bounded(records.iter().collect());
        let mut records = vec![caa(b"other.example".to_vec()); limits::CAA_RECORDS];
        assert_eq!(read(&records).unwrap().len(), limits::CAA_RECORDS);
        records.push(caa(b"letsencrypt.org".to_vec()));
        assert!(read(&records).unwrap_err().contains("33 CAA records, but at most 32"));
        let long = caa(vec![b'x'; limits::CAA_VALUE + 1]);
        assert!(read(&[long]).unwrap_err().contains("1025 bytes, but at most 1024"));
    }

    proptest! {
        #[test]
        fn any_caa_records_are_read_whole_or_refused_in_a_short_text(
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1_100), 0..40),
        ) {
            let records: Vec<CAA> = values.into_iter().map(caa).collect();
            match bounded(records.iter().collect()) {
                Ok(read) => prop_assert_eq!(read.len(), records.len()),
                Err(why) => prop_assert!(why.len() < 100, "{}", why),
            }
        }
    }
}
