//! Providers of the library `dns-update`.

use async_trait::async_trait;
use ingress_acme_actors::domain::dns::txt::TxtRecord;
use ingress_acme_dns::TxtClient;

use super::error::{Kind, ProviderError};
use super::records::{TTL, Writer};

#[async_trait]
impl Writer for TxtClient {
    async fn add(&self, record: &TxtRecord) -> Result<(), ProviderError> {
        let (name, zone) = (record.name.as_str(), record.zone.as_str());
        let added = TxtClient::add(self, name, zone, &record.value, TTL).await;
        let error = match added.map_err(ProviderError::from) {
            // Some providers refuse a value that is there.
            Err(error) if error.kind == Kind::Request => error,
            done => return done,
        };
        match self.has(name, zone, &record.value).await {
            Ok(true) => Ok(()),
            _ => Err(error),
        }
    }

    async fn remove(&self, record: &TxtRecord) -> Result<(), ProviderError> {
        let (name, zone) = (record.name.as_str(), record.zone.as_str());
        Ok(TxtClient::remove(self, name, zone, &record.value).await?)
    }
}
