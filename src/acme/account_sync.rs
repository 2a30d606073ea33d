//! Follows account key changes by other processes (RFC 8555 §7.3.5): `ingress-acme rollover` stores
//! the new key in the account Secret, and every replica reloads it.

use std::time::Duration;

use tokio::time::Instant;

use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::ports::{PortError, StoredAccount};

use super::account::{AccountState, Accounts, no_account, thumbprint, unusable};
use super::{Acme, CallError};

/// Time after a key change during which some servers of the CA may not know the new key.
const SETTLES_WITHIN: Duration = Duration::from_mins(5);

/// Whether an error of this kind may mean a wrong account key. Boulder, Pebble and others answer
/// `malformed` to a signature by another key (RFC 8555 §6.2 leaves the type open), some CAs
/// `unauthorized`. Both kinds have other causes too.
pub(super) fn may_be_about_the_key(kind: &str) -> bool {
    matches!(kind, "malformed" | "unauthorized")
}

/// Next key of a rollover in progress. An unreadable key counts as none: the CA cannot have
/// received that key.
pub(super) fn next_of(stored: &StoredAccount) -> Option<&PrivateKey> {
    stored.next.as_ref().filter(|key| thumbprint(key).is_ok())
}

/// The keys before rollovers that accounts may still have, the last one first.
pub(super) fn before(stored: &StoredAccount) -> impl Iterator<Item = &PrivateKey> {
    stored.former.iter().chain(&stored.retired).filter(|key| thumbprint(key).is_ok())
}

/// Returns the account with the next key as its key.
pub(super) fn promoted(stored: &StoredAccount, next: PrivateKey, url: String) -> StoredAccount {
    StoredAccount { key: next, next: None, url: Some(url), ..stored.clone() }
}

impl Acme {
    /// Reloads the stored account, in case its key has changed. Sends no request to the CA.
    pub async fn follow(&self) -> Result<(), PortError> {
        let mut known = self.accounts.known.lock().await;
        let changed = self.accounts.look(&mut known).await?;
        drop(known);
        if changed {
            self.orders.borrow_mut().clear();
        }
        Ok(())
    }

    /// Whether a retry may succeed: the CA refused a call that started at `began` because of the
    /// account, and the account has changed since.
    pub(super) async fn recovered(&self, kind: &str, began: Instant) -> bool {
        if kind == "accountDoesNotExist" {
            tracing::warn!("the CA does not know the ACME account; its key is registered again");
            self.accounts.forget(true).await;
        } else if may_be_about_the_key(kind) {
            let settled = self.accounts.settle(began).await;
            match settled.map_err(|error| error.into_port_error("the ACME account cannot be read"))
            {
                Ok(true) => {}
                Ok(false) => return false,
                Err(error) => {
                    tracing::warn!(%error, "it is not known whether the ACME account has another key");
                    return false;
                }
            }
        } else {
            return false;
        }
        self.orders.borrow_mut().clear();
        true
    }

    /// Turns a refusal of this kind into a transient error while some servers of the CA may not
    /// know the account's new key.
    pub(super) async fn while_it_settles(&self, kind: &str, port_error: PortError) -> PortError {
        let switched = self.accounts.known.lock().await.switched;
        let settles = switched.is_some_and(|at| at.elapsed() < SETTLES_WITHIN);
        if !settles || !may_be_about_the_key(kind) {
            return port_error;
        }
        PortError::transient(format!(
            "{port_error}; the account's key was just replaced, and not every server of the CA may know it yet"
        ))
    }
}

impl Accounts {
    /// Reloads the account Secret and returns whether the account has changed. A deleted Secret
    /// changes nothing: this process keeps the account in memory.
    pub(super) async fn look(&self, known: &mut AccountState) -> Result<bool, PortError> {
        match self.store.load().await? {
            Some(stored) => self.adopt(known, stored),
            None => Ok(false),
        }
    }

    fn adopt(&self, known: &mut AccountState, stored: StoredAccount) -> Result<bool, PortError> {
        let before = known.stored.as_ref();
        let other_key = before.is_none_or(|before| before.key != stored.key);
        let changed = other_key || before.is_some_and(|before| before.url != stored.url);
        if other_key {
            (self.answering)(thumbprint(&stored.key).map_err(|wrong| unusable(&wrong))?);
            if before.is_some() {
                tracing::info!("the ACME account has another key; challenges are answered with it");
                known.switched = Some(Instant::now());
            }
        }
        if changed {
            known.account = None;
        }
        known.stored = Some(stored);
        Ok(changed)
    }

    /// Returns whether the account has another key, after the CA refused a signature. Also finishes
    /// a rollover that was interrupted after the CA accepted the new key.
    async fn settle(&self, began: Instant) -> Result<bool, CallError> {
        let mut known = self.known.lock().await;
        if known.switched.is_some_and(|at| at >= began) {
            return Ok(true); // another call has reloaded the account meanwhile
        }
        if self.look(&mut known).await? {
            return Ok(true);
        }
        self.finish(&mut known).await
    }

    /// Finishes a rollover: if the CA already has the next key, stores the next key as the
    /// account's. Returns whether the account has changed.
    pub(super) async fn finish(&self, known: &mut AccountState) -> Result<bool, CallError> {
        let Some(stored) = known.stored.clone() else { return Ok(false) };
        let Some((next, url)) = self.rolled_over(&stored).await? else { return Ok(false) };
        tracing::warn!("a rollover of the ACME account's key was interrupted; it is finished now");
        let promoted = promoted(&stored, next, url);
        match self.store.replace(&promoted).await? {
            Some(stored) => Ok(self.adopt(known, stored)?),
            None => Ok(self.look(known).await?),
        }
    }

    /// Next key and account URL, if the CA already has the next key for this account.
    async fn rolled_over(
        &self,
        stored: &StoredAccount,
    ) -> Result<Option<(PrivateKey, String)>, CallError> {
        let Some(next) = next_of(stored) else { return Ok(None) };
        let url = self.of_key(next).await?;
        // Ignore the next key if the CA has that key for another account.
        let url = url.filter(|url| stored.url.as_ref().is_none_or(|stored| stored == url));
        Ok(url.map(|url| (next.clone(), url)))
    }

    /// Key and URL of the stored account. Creates no key and registers no account.
    pub(super) async fn registered(&self) -> Result<(PrivateKey, String), CallError> {
        let stored = self.store.load().await?;
        let Some(stored) = stored else { return Err(no_account()) };
        if let Some(rolled_over) = self.rolled_over(&stored).await? {
            return Ok(rolled_over);
        }
        // That of a key which several CAs share is the account at one of them.
        if let Some(url) = stored.url.clone().filter(|_| stored.directory == self.directory) {
            return Ok((stored.key, url));
        }
        let keys = [&stored.key].into_iter().chain(before(&stored));
        self.of_one(keys).await?.ok_or_else(no_account)
    }

    /// The first of these keys that the CA has an account of, with the URL of the account.
    pub(super) async fn of_one(
        &self,
        keys: impl Iterator<Item = &PrivateKey>,
    ) -> Result<Option<(PrivateKey, String)>, CallError> {
        for key in keys {
            if let Some(url) = self.of_key(key).await? {
                return Ok(Some((key.clone(), url)));
            }
        }
        Ok(None)
    }
}
