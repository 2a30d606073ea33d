//! Observations of a job in DNS. They are never journaled, because a job can observe everything
//! again.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::challenge::Method;
use crate::domain::dns::method::{DnsFacts, Persist};
use crate::domain::dns::txt::TxtRecord;
use crate::domain::name::DnsName;
use crate::domain::time::Timestamp;

/// Observations of a job in DNS. Lost at a restart of the process, as all observations are.
#[derive(Clone, Debug, Default)]
pub(crate) struct InDns {
    /// Answers of DNS about each name that is proved there.
    pub facts: BTreeMap<DnsName, DnsFacts>,
    /// Whether the authorizations of the order were read.
    pub offers_read: bool,
    /// Records that this job has written.
    pub added: BTreeSet<TxtRecord>,
    /// Time at which the last of them was written.
    pub added_at: Option<Timestamp>,
    /// Number of looks for them at the authoritative servers.
    pub looks: u32,
    /// Whether they were seen there.
    pub seen: bool,
}

impl InDns {
    /// The method that probably proves a name, as far as DNS was looked at.
    pub(crate) fn method(&self, name: &DnsName) -> Method {
        match self.facts.get(name).map(|facts| &facts.persist) {
            None => Method::Http01,
            Some(Persist::Fits) => Method::DnsPersist01,
            Some(_) => Method::Dns01,
        }
    }
}
