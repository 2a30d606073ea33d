//! DNS-PERSIST-01 records (draft-ietf-acme-dns-persist).

use crate::domain::caa::Issuer;
use crate::domain::dns::txt::RecordName;
use crate::domain::name::DnsName;
use crate::domain::time::Timestamp;

/// Whether one of the records at the name lets the issuer's account prove `name` at `now`.
pub fn permits(_records: &[String], _issuer: &Issuer, _name: &DnsName, _now: Timestamp) -> bool {
    false
}

/// The record by which the account proves `name`.
pub fn record_to_set(issuer: &Issuer, name: &DnsName) -> String {
    let at = RecordName::of_persist(name).map(|at| at.to_string()).unwrap_or_default();
    let domain = issuer.domains.first().map_or("", String::as_str);
    format!("{at}. IN TXT \"{domain}\"")
}
