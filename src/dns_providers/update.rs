//! Providers of the library `dns-update`.

use async_trait::async_trait;
use dns_update::{DnsRecord, DnsRecordType, DnsUpdater};
use ingress_acme_actors::domain::dns::txt::TxtRecord;

use super::error::{Kind, ProviderError};
use super::records::{TTL, Writer};

/// Client of one account.
pub(super) struct Update(pub(super) DnsUpdater);

impl Update {
    /// Whether the provider has the record. `None` if it does not say.
    async fn has(&self, record: &TxtRecord) -> Option<bool> {
        let (name, zone) = (record.name.as_str(), record.zone.as_str());
        let listed = self.0.list_rrset(name, DnsRecordType::TXT, zone).await.ok()?;
        Some(listed.contains(&DnsRecord::TXT(record.value.clone())))
    }
}

#[async_trait]
impl Writer for Update {
    async fn add(&self, record: &TxtRecord) -> Result<(), ProviderError> {
        let (name, zone) = (record.name.as_str(), record.zone.as_str());
        let values = vec![DnsRecord::TXT(record.value.clone())];
        let added = self.0.add_to_rrset(name, DnsRecordType::TXT, TTL, values, zone).await;
        let error = match added.map_err(ProviderError::from) {
            // Some providers refuse a value that is there.
            Err(error) if error.kind == Kind::Request => error,
            done => return done,
        };
        if self.has(record).await == Some(true) { Ok(()) } else { Err(error) }
    }

    async fn remove(&self, record: &TxtRecord) -> Result<(), ProviderError> {
        let (name, zone) = (record.name.as_str(), record.zone.as_str());
        let values = vec![DnsRecord::TXT(record.value.clone())];
        let removed = self.0.remove_from_rrset(name, DnsRecordType::TXT, values, zone).await;
        Ok(removed?)
    }
}
