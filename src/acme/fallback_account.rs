//! Account at the fallback CA, with the account key of the first CA.
//!
//! Challenge responses contain the thumbprint of one key, and replicas do not know which CA sends
//! the validation request; so both CAs must know the same key. Nothing else is stored: for a known
//! key, a CA answers a registration with the existing account (RFC 8555 §7.3.1). After a key change
//! at the first CA, the new key is registered here too.
//!
//! A key that all CAs of a file share belongs to none of them. A rollover changes the key at one CA
//! after the other, so that each of these accounts sees the keys of a rollover that has not ended,
//! and the first one whose CA has the next key makes that the key of all.

use std::cell::RefCell;
use std::rc::Rc;

use async_trait::async_trait;
use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::ports::{AccountStore, ExternalAccount, PortError, StoredAccount};

/// Account store of the fallback CA.
pub struct FallbackAccount {
    directory: String,
    first: Rc<dyn AccountStore>,
    fallback: Rc<dyn AccountStore>,
    /// Whether the key in `first` belongs to no CA.
    is_shared: bool,
    /// The account registered by this process.
    registered: RefCell<Option<StoredAccount>>,
}

impl FallbackAccount {
    /// Creates the store for the fallback CA's `directory`: the key is in `first`, the external
    /// account in `fallback`.
    pub fn new(
        directory: &str,
        first: Rc<dyn AccountStore>,
        fallback: Rc<dyn AccountStore>,
    ) -> Self {
        let (directory, registered) = (directory.to_owned(), RefCell::default());
        Self { directory, first, fallback, is_shared: false, registered }
    }

    /// Creates the store for the CA at `directory`, whose account has the key in `shared`.
    pub fn of_shared(
        directory: &str,
        shared: Rc<dyn AccountStore>,
        external: Rc<dyn AccountStore>,
    ) -> Self {
        Self { is_shared: true, ..Self::new(directory, shared, external) }
    }

    /// Returns the fallback account with the first account's key.
    fn with_key_of(&self, first: StoredAccount) -> StoredAccount {
        let registered = self.registered.borrow().clone();
        let same = registered.filter(|registered| registered.key == first.key);
        let (url, directory) = (same.and_then(|same| same.url), self.directory.clone());
        let next = first.next.clone().filter(|_| self.is_shared);
        StoredAccount { next, url, directory, ..first }
    }

    /// Makes the next key, which this CA has, the key of all CAs. The others may have the former
    /// one still. Returns the version of the shared key; `None` if another writer has changed it.
    async fn promote(&self, account: &StoredAccount) -> Result<Option<String>, PortError> {
        let Some(shared) = self.first.load().await? else { return Ok(None) };
        if shared.key == account.key {
            return Ok(Some(shared.version));
        }
        if shared.next.as_ref() != Some(&account.key) {
            return Ok(None);
        }
        let promoted = with_next_as_key(shared, account.key.clone());
        Ok(self.first.replace(&promoted).await?.map(|stored| stored.version))
    }
}

/// The shared key after the first CA has the next one.
pub(super) fn with_next_as_key(shared: StoredAccount, next: PrivateKey) -> StoredAccount {
    StoredAccount { former: Some(shared.key), key: next, next: None, url: None, ..shared }
}

#[async_trait(?Send)]
impl AccountStore for FallbackAccount {
    async fn load(&self) -> Result<Option<StoredAccount>, PortError> {
        Ok(self.first.load().await?.map(|first| self.with_key_of(first)))
    }

    async fn create(
        &self,
        key: &PrivateKey,
        next: Option<&PrivateKey>,
    ) -> Result<StoredAccount, PortError> {
        Ok(self.with_key_of(self.first.create(key, next).await?))
    }

    async fn replace(&self, account: &StoredAccount) -> Result<Option<StoredAccount>, PortError> {
        if self.is_shared {
            let Some(version) = self.promote(account).await? else { return Ok(None) };
            let account = StoredAccount { version, ..account.clone() };
            *self.registered.borrow_mut() = Some(account);
            return self.load().await;
        }
        *self.registered.borrow_mut() = Some(account.clone());
        Ok(Some(account.clone()))
    }

    async fn external_account(&self) -> Result<Option<ExternalAccount>, PortError> {
        self.fallback.external_account().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store with one account; a test replaces the key as a rollover would.
    struct First(RefCell<StoredAccount>);

    #[async_trait(?Send)]
    impl AccountStore for First {
        async fn load(&self) -> Result<Option<StoredAccount>, PortError> {
            Ok(Some(self.0.borrow().clone()))
        }

        async fn create(
            &self,
            _: &PrivateKey,
            _: Option<&PrivateKey>,
        ) -> Result<StoredAccount, PortError> {
            Ok(self.0.borrow().clone())
        }

        async fn replace(&self, _: &StoredAccount) -> Result<Option<StoredAccount>, PortError> {
            panic!("the first account is not the fallback's to write")
        }

        async fn external_account(&self) -> Result<Option<ExternalAccount>, PortError> {
            Ok(None)
        }
    }

    #[tokio::test]
    async fn it_has_the_firsts_key_and_a_url_of_its_own_until_the_key_is_another() {
        let key = |text: &str| PrivateKey::from_pem(text.to_owned());
        let account = StoredAccount {
            key: key("one"),
            next: Some(key("two")),
            former: None,
            retired: Vec::new(),
            url: Some("https://first.example/1".to_owned()),
            directory: "https://first.example/dir".to_owned(),
            version: "7".to_owned(),
        };
        let first = Rc::new(First(RefCell::new(account)));
        let store =
            FallbackAccount::new("https://fallback.example/dir", first.clone(), first.clone());
        let loaded = store.load().await.unwrap().unwrap();
        assert_eq!((loaded.key.pem(), &loaded.next, &loaded.url), ("one", &None, &None));
        assert_eq!(loaded.directory, "https://fallback.example/dir");

        let url = Some("https://fallback.example/9".to_owned());
        let registered = StoredAccount { url: url.clone(), ..loaded };
        store.replace(&registered).await.unwrap();
        assert_eq!(store.load().await.unwrap().unwrap().url, url);
        first.0.borrow_mut().key = key("two");
        assert_eq!(store.load().await.unwrap().unwrap().url, None, "it is to be registered");
    }
}
