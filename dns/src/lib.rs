//! TXT records at DNS providers by the library `dns-update`.
//!
//! A crate of its own, because the functions of the library are generic over the type of a name, so
//! that all of its providers are compiled into the crate that calls them. This one is compiled for
//! size (`Cargo.toml` of the workspace): a write waits for a provider, not for the processor.

pub use dns_update;

use dns_update::{DnsRecord, DnsRecordType, DnsUpdater, Error};

/// Client of one account at a provider.
pub struct TxtClient(DnsUpdater);

impl TxtClient {
    /// Wraps a client of the library.
    pub fn new(updater: DnsUpdater) -> Self {
        Self(updater)
    }

    /// Adds a value beside others of the name.
    ///
    /// # Errors
    /// Those of the provider.
    pub async fn add(&self, name: &str, zone: &str, value: &str, ttl: u32) -> Result<(), Error> {
        let values = vec![DnsRecord::TXT(value.to_owned())];
        self.0.add_to_rrset(name, DnsRecordType::TXT, ttl, values, zone).await
    }

    /// Removes a value of the name, and no other one.
    ///
    /// # Errors
    /// Those of the provider.
    pub async fn remove(&self, name: &str, zone: &str, value: &str) -> Result<(), Error> {
        let values = vec![DnsRecord::TXT(value.to_owned())];
        self.0.remove_from_rrset(name, DnsRecordType::TXT, values, zone).await
    }

    /// Whether the name has the value.
    ///
    /// # Errors
    /// Those of the provider.
    pub async fn has(&self, name: &str, zone: &str, value: &str) -> Result<bool, Error> {
        let values = self.0.list_rrset(name, DnsRecordType::TXT, zone).await?;
        Ok(values.contains(&DnsRecord::TXT(value.to_owned())))
    }
}
