//! Account key that all CAs of a file share. It has a Secret of its own, so that the order of the
//! CAs, and whether one leaves the file, mean nothing to it.
//!
//! Where there is no such Secret yet, the key is that of the first CA that has an account: the
//! flags named that CA before, and its account stays.
//!
//! A rollover of the shared key changes the key of the accounts that the flags stored, too. Their
//! Secrets get both keys before a CA is asked, so that an operator that has flags again, also one
//! of release 0.1.0, finds out which of them the account has.

use std::cell::RefCell;
use std::rc::Rc;

use async_trait::async_trait;
use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::ports::{AccountStore, ExternalAccount, PortError, StoredAccount};

/// Largest number of attempts of one write to an account of the flags.
const WRITES: u32 = 5;

/// Store of the shared key. What it stores names no account: each CA has its own for the key.
pub struct SharedKey {
    shared: Rc<dyn AccountStore>,
    /// Accounts of the CAs as the flags stored them, in the order of the file.
    before: RefCell<Vec<Rc<dyn AccountStore>>>,
    /// Whether this is the store of a command: a read stores nothing.
    only_looks: bool,
    /// Version of the shared key that the accounts of the flags have got from this process.
    written_through: RefCell<Option<String>>,
}

impl SharedKey {
    /// The key is in `shared`, or in the first account of `before`.
    pub fn new(shared: Rc<dyn AccountStore>, before: Vec<Rc<dyn AccountStore>>) -> Self {
        let before = RefCell::new(before);
        Self { shared, before, only_looks: false, written_through: RefCell::default() }
    }

    /// The CAs of the file are others.
    pub fn now_beside(&self, before: Vec<Rc<dyn AccountStore>>) {
        *self.before.borrow_mut() = before;
        self.written_through.take();
    }

    /// The same for commands: a read stores nothing.
    #[must_use]
    pub fn looking(self) -> Self {
        Self { only_looks: true, ..self }
    }

    /// Gives the accounts of the flags the keys of the shared one.
    async fn write_through(&self, shared: &StoredAccount) -> Result<(), PortError> {
        let before = self.before.borrow().clone();
        for store in before {
            write_beside(&*store, shared).await?;
        }
        *self.written_through.borrow_mut() = Some(shared.version.clone());
        Ok(())
    }

    /// The same after a write. A command stops where an account of the flags cannot be written: it
    /// asks the CA next. The operator goes on with the shared key.
    async fn has_stored(&self, shared: &StoredAccount) -> Result<(), PortError> {
        if self.only_looks {
            return self.write_through(shared).await;
        }
        self.try_to_write_through(shared).await;
        Ok(())
    }

    /// The same after a read, which of a command stores nothing.
    async fn has_read(&self, shared: &StoredAccount) {
        let is_new = self.written_through.borrow().as_ref() != Some(&shared.version);
        if is_new && !self.only_looks {
            self.try_to_write_through(shared).await;
        }
    }

    async fn try_to_write_through(&self, shared: &StoredAccount) {
        if let Err(error) = self.write_through(shared).await {
            if matches!(error, PortError::Permanent(_)) {
                // It would be told once a minute, until somebody mends the Secret.
                *self.written_through.borrow_mut() = Some(shared.version.clone());
            }
            tracing::warn!(%error, "the account that an operator with flags would use does not get the key of --cas-file");
        }
    }
}

/// Gives an account of the flags the keys of the shared one, if the key was the same.
async fn write_beside(store: &dyn AccountStore, shared: &StoredAccount) -> Result<(), PortError> {
    for _ in 0..WRITES {
        let Some(own) = store.load().await? else { return Ok(()) };
        let Some(wanted) = beside(&own, shared) else { return Ok(()) };
        if store.replace(&wanted).await?.is_some() {
            return Ok(());
        }
    }
    Err(PortError::transient("the accounts of the flags are changed by other processes; try again"))
}

/// The account of the flags with the keys of the shared one; `None` if there is no difference, or
/// the key is one of its own. During a rollover the account at the CA may have either key: the one
/// of before, or the next one, which whoever is refused with the former asks the CA about.
fn beside(own: &StoredAccount, shared: &StoredAccount) -> Option<StoredAccount> {
    // A next key of another rollover is the only copy of a key that the CA may have.
    let is_foreign = own.next.as_ref().is_some_and(|next| !has_key(shared, next));
    if !is_related(own, shared) || is_foreign {
        return None;
    }
    let (old, new) = match (&shared.next, &shared.former) {
        (Some(next), _) => (&shared.key, next),
        (None, Some(former)) => (former, &shared.key),
        (None, None) => (&shared.key, &shared.key),
    };
    // Whoever has made the new key that of the account has asked the CA.
    let is_new = own.key == *new;
    let (key, next) = (if is_new { new } else { old }, (!is_new && old != new).then_some(new));
    // A new key is found at the CA again: the account of before may have refused the change.
    let url = own.url.clone().filter(|_| own.key == *key);
    let (key, next, retired) = (key.clone(), next.cloned(), shared.retired.clone());
    let wanted = StoredAccount { key, next, former: None, retired, url, ..own.clone() };
    (wanted != *own).then_some(wanted)
}

/// Whether an account of the flags has, or had, the shared key.
pub fn is_related(own: &StoredAccount, shared: &StoredAccount) -> bool {
    [Some(&own.key), own.next.as_ref()].into_iter().flatten().any(|key| has_key(shared, key))
}

fn has_key(shared: &StoredAccount, key: &PrivateKey) -> bool {
    let before = shared.former.iter().chain(&shared.retired);
    [&shared.key].into_iter().chain(&shared.next).chain(before).any(|one| one == key)
}

#[async_trait(?Send)]
impl AccountStore for SharedKey {
    async fn load(&self) -> Result<Option<StoredAccount>, PortError> {
        if let Some(shared) = self.shared.load().await? {
            self.has_read(&shared).await;
            // A URL would be that of the account at one of the CAs.
            return Ok(Some(StoredAccount { url: None, ..shared }));
        }
        let before = self.before.borrow().clone();
        for store in before {
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
        let shared = self.shared.create(key, next).await?;
        self.has_stored(&shared).await?;
        Ok(shared)
    }

    async fn replace(&self, account: &StoredAccount) -> Result<Option<StoredAccount>, PortError> {
        let replaced = self.shared.replace(account).await?;
        if let Some(shared) = &replaced {
            self.has_stored(shared).await?;
        }
        Ok(replaced)
    }

    async fn external_account(&self) -> Result<Option<ExternalAccount>, PortError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
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
            let (key, next, retired) = (key.clone(), next.cloned(), Vec::new());
            let (former, url) = (None, None);
            let stored = StoredAccount { key, next, former, retired, url, directory, version };
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

    /// The key and the next one of an account.
    fn keys(of: &Rc<Memory>) -> (String, Option<String>, Option<String>) {
        let StoredAccount { key, next, url, .. } = of.0.borrow().clone().unwrap();
        (key.pem().to_owned(), next.map(|next| next.pem().to_owned()), url)
    }

    #[tokio::test]
    async fn an_account_of_the_flags_has_each_key_before_the_ca_does() {
        let [shared, own, foreign] = [(); 3].map(|()| Rc::new(Memory::default()));
        let before = || [&own, &foreign].map(|one| one.clone() as Rc<dyn AccountStore>).to_vec();
        let store = SharedKey::new(shared.clone(), before());
        for (of, text) in [(&shared, "0"), (&own, "0"), (&foreign, "other")] {
            let stored = of.create(&key(text), None).await.unwrap();
            let url = Some(format!("of {text}"));
            of.replace(&StoredAccount { url, ..stored }).await.unwrap();
        }
        let at = shared.0.borrow().clone().unwrap();
        let begun = StoredAccount { next: Some(key("1")), ..at };
        store.replace(&begun).await.unwrap();
        let either = ("0".to_owned(), Some("1".to_owned()), Some("of 0".to_owned()));
        assert_eq!(keys(&own), either);
        let promoted = StoredAccount { key: key("1"), next: None, former: Some(key("0")), ..begun };
        store.replace(&promoted).await.unwrap();
        assert_eq!(keys(&own), either, "the CA may have either still");
        let ended = StoredAccount { former: None, retired: vec![key("0")], ..promoted };
        store.replace(&ended).await.unwrap();
        assert_eq!(keys(&own), ("1".to_owned(), None, None));
        assert_eq!(own.0.borrow().clone().unwrap().retired, [key("0")]);
        assert_eq!(keys(&foreign), ("other".to_owned(), None, Some("of other".to_owned())));

        // The next key of a rollover by other means stays.
        let at = foreign.0.borrow().clone().unwrap();
        let begun = StoredAccount { key: key("1"), next: Some(key("9")), ..at };
        assert_eq!(beside(&begun, &ended), None);

        // A run that was cut off between the two writes is made up for by whoever reads next.
        let next = Some(key("2"));
        shared.replace(&StoredAccount { next, version: "9".to_owned(), ..ended }).await.unwrap();
        SharedKey::new(shared.clone(), before()).looking().load().await.unwrap();
        assert_eq!(keys(&own), ("1".to_owned(), None, None), "a look stores nothing");
        store.load().await.unwrap();
        assert_eq!(keys(&own), ("1".to_owned(), Some("2".to_owned()), None));
    }
}
