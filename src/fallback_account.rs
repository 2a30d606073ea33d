//! The account at the second CA: the first one's key, registered there too.
//!
//! Challenges are answered with the thumbprint of one key, by replicas that do not know which CA asks, so both CAs must know
//! that key. Nothing more is stored: a CA answers the registration of a key that it knows with the account it has
//! (RFC 8555 §7.3.1).

use std::rc::Rc;

use async_trait::async_trait;
use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::ports::{AccountStore, ExternalAccount, PortError, StoredAccount};

/// The store of the second account.
pub struct FallbackAccount {
    /// URL of the second CA's directory.
    pub directory: String,
    /// Where the key is.
    pub first: Rc<dyn AccountStore>,
    /// Where the external account of the second CA is.
    pub second: Rc<dyn AccountStore>,
}

impl FallbackAccount {
    fn here(&self, StoredAccount { key, .. }: StoredAccount) -> StoredAccount {
        StoredAccount { key, url: None, directory: self.directory.clone() }
    }
}

#[async_trait(?Send)]
impl AccountStore for FallbackAccount {
    async fn load(&self) -> Result<Option<StoredAccount>, PortError> {
        Ok(self.first.load().await?.map(|stored| self.here(stored)))
    }

    async fn create(&self, key: &PrivateKey) -> Result<StoredAccount, PortError> {
        Ok(self.here(self.first.create(key).await?))
    }

    async fn set_url(&self, _: &str) -> Result<(), PortError> {
        Ok(())
    }

    async fn external_account(&self) -> Result<Option<ExternalAccount>, PortError> {
        self.second.external_account().await
    }
}
