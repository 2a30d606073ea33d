//! Account key that all CAs of a file share. It has a Secret of its own, so that the order of the
//! CAs, and whether one leaves the file, mean nothing to it.
//!
//! Where there is no such Secret yet, the key is that of the first CA that has an account: the
//! flags named that CA before, and its account stays.

use std::rc::Rc;

use async_trait::async_trait;
use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::ports::{AccountStore, ExternalAccount, PortError, StoredAccount};

/// Store of the shared key. What it stores names no account: each CA has its own for the key.
pub struct SharedKey {
    shared: Rc<dyn AccountStore>,
    /// Accounts of the CAs as the flags stored them, in the order of the file.
    before: Vec<Rc<dyn AccountStore>>,
    /// Whether a key that is found there is left there.
    only_looks: bool,
}

impl SharedKey {
    /// The key is in `shared`, or in the first account of `before`.
    pub fn new(shared: Rc<dyn AccountStore>, before: Vec<Rc<dyn AccountStore>>) -> Self {
        Self { shared, before, only_looks: false }
    }

    /// The same for commands: a read stores nothing.
    #[must_use]
    pub fn looking(self) -> Self {
        Self { only_looks: true, ..self }
    }
}

#[async_trait(?Send)]
impl AccountStore for SharedKey {
    async fn load(&self) -> Result<Option<StoredAccount>, PortError> {
        if let Some(shared) = self.shared.load().await? {
            // A URL would be that of the account at one of the CAs.
            return Ok(Some(StoredAccount { url: None, ..shared }));
        }
        for store in &self.before {
            if let Some(account) = store.load().await? {
                if self.only_looks {
                    return Ok(Some(StoredAccount { url: None, ..account }));
                }
                // After a rollover that has not ended, the CA may know either key.
                let (key, next) = (&account.key, account.next.as_ref());
                return self.shared.create(key, next).await.map(Some);
            }
        }
        Ok(None)
    }

    async fn create(
        &self,
        key: &PrivateKey,
        next: Option<&PrivateKey>,
    ) -> Result<StoredAccount, PortError> {
        self.shared.create(key, next).await
    }

    async fn replace(&self, account: &StoredAccount) -> Result<Option<StoredAccount>, PortError> {
        self.shared.replace(account).await
    }

    async fn external_account(&self) -> Result<Option<ExternalAccount>, PortError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A store in memory.
    #[derive(Default)]
    struct Memory(RefCell<Option<StoredAccount>>);

    #[async_trait(?Send)]
    impl AccountStore for Memory {
        async fn load(&self) -> Result<Option<StoredAccount>, PortError> {
            Ok(self.0.borrow().clone())
        }

        async fn create(
            &self,
            key: &PrivateKey,
            next: Option<&PrivateKey>,
        ) -> Result<StoredAccount, PortError> {
            let (directory, version) = ("shared".to_owned(), "1".to_owned());
            let (key, next, former, url) = (key.clone(), next.cloned(), None, None);
            let stored = StoredAccount { key, next, former, url, directory, version };
            Ok(self.0.borrow_mut().get_or_insert(stored).clone())
        }

        async fn replace(&self, to: &StoredAccount) -> Result<Option<StoredAccount>, PortError> {
            Ok(self.0.borrow_mut().insert(to.clone()).clone().into())
        }

        async fn external_account(&self) -> Result<Option<ExternalAccount>, PortError> {
            Ok(None)
        }
    }

    fn key(text: &str) -> PrivateKey {
        PrivateKey::from_pem(text.to_owned())
    }

    #[tokio::test]
    async fn the_key_is_that_of_the_first_account_and_stays_when_the_cas_change() {
        let [shared, none, old] = [(); 3].map(|()| Rc::new(Memory::default()));
        let store = |before: &[&Rc<Memory>]| {
            let before = before.iter().map(|&one| one.clone() as Rc<dyn AccountStore>).collect();
            SharedKey::new(shared.clone(), before)
        };
        assert_eq!(store(&[&none, &old]).load().await.unwrap(), None);
        old.create(&key("old"), Some(&key("next"))).await.unwrap();
        let seen = store(&[&none, &old]).looking().load().await.unwrap().unwrap();
        assert_eq!((seen.key.pem(), shared.0.borrow().is_none()), ("old", true));
        let found = store(&[&none, &old]).load().await.unwrap().unwrap();
        assert_eq!((found.key.pem(), found.next), ("old", Some(key("next"))));
        none.create(&key("other"), None).await.unwrap();
        let after = store(&[&none]).load().await.unwrap().unwrap();
        assert_eq!(after.key.pem(), "old", "whatever CAs there are");
    }
}
