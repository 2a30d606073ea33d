//! An account whose key others may replace (RFC 8555 §7.3.5): `ingress-acme rollover` writes the new one into its
//! Secret, and every replica follows.

use std::time::Duration;

use tokio::time::Instant;

use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::ports::{PortError, StoredAccount};

use super::account::{AccountState, Accounts, thumbprint, unusable};
use super::{Acme, CallError};

/// So long after a new key was found, a CA of many servers may not know it everywhere.
const SETTLES_WITHIN: Duration = Duration::from_mins(5);

/// A CA says so of a signature that is not of the account's key: Boulder, Pebble and others `malformed` (RFC 8555 §6.2
/// leaves the type open), some `unauthorized`. Both are said of other things, too.
pub(super) fn may_be_about_the_key(kind: &str) -> bool {
    matches!(kind, "malformed" | "unauthorized")
}

/// The key that a rollover is on its way to. One that nobody can read is none: the CA cannot have been asked for it.
pub(super) fn next_of(stored: &StoredAccount) -> Option<&PrivateKey> {
    stored.next.as_ref().filter(|key| thumbprint(key).is_ok())
}

/// The account after its rollover to the next key.
pub(super) fn promoted(stored: &StoredAccount, next: PrivateKey, url: String) -> StoredAccount {
    StoredAccount {
        previous: Some(stored.key.clone()),
        key: next,
        next: None,
        url: Some(url),
        ..stored.clone()
    }
}

impl Acme {
    /// Looks at the stored account, should its key be another one by now. The CA is not asked.
    pub async fn follow(&self) -> Result<(), PortError> {
        let mut known = self.accounts.known.lock().await;
        let changed = self.accounts.look(&mut known).await?;
        drop(known);
        if changed {
            self.orders.borrow_mut().clear();
        }
        Ok(())
    }

    /// Whether the account was why the CA refused what began then, and is another one now, so that the same is worth another
    /// try.
    pub(super) async fn recovered(&self, kind: &str, began: Instant) -> bool {
        if kind == "accountDoesNotExist" {
            tracing::warn!("the CA does not know the ACME account; its key is registered again");
            self.accounts.forget(true).await;
        } else if may_be_about_the_key(kind) {
            let settled = self.accounts.settle(began).await;
            match settled
                .map_err(|error| error.into_port_error("the ACME account cannot be looked at"))
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

    /// What is told of a refusal of this kind: it passes while a new key of the account may not be known all over the CA.
    pub(super) async fn while_it_settles(&self, kind: &str, port_error: PortError) -> PortError {
        let switched = self.accounts.known.lock().await.switched;
        let settles = switched.is_some_and(|at| at.elapsed() < SETTLES_WITHIN);
        if !settles || !may_be_about_the_key(kind) {
            return port_error;
        }
        PortError::transient(format!(
            "{port_error}; the account's key was just replaced, and the CA may not know that everywhere"
        ))
    }
}

impl Accounts {
    /// Reads the Secret; whether the account is another one than was known. One that is gone changes nothing: this
    /// process goes on with what it has.
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

    /// The CA says that a request was not signed with the account's key: finds out whether it has another one. A rollover
    /// that was cut off after the CA had agreed is finished here.
    async fn settle(&self, began: Instant) -> Result<bool, CallError> {
        let mut known = self.known.lock().await;
        if known.switched.is_some_and(|at| at >= began) {
            return Ok(true); // another call has found out meanwhile
        }
        if self.look(&mut known).await? {
            return Ok(true);
        }
        self.finish(&mut known).await
    }

    /// Where a rollover was begun, asks the CA whether the next key is the account's already, and then stores that.
    pub(super) async fn finish(&self, known: &mut AccountState) -> Result<bool, CallError> {
        let Some(stored) = known.stored.clone() else { return Ok(false) };
        let Some((next, url)) = self.rolled_over(&stored).await? else { return Ok(false) };
        tracing::warn!("a rollover of the ACME account's key was cut off; it is finished");
        let promoted = promoted(&stored, next, url);
        match self.store.replace(&promoted).await? {
            Some(stored) => Ok(self.adopt(known, stored)?),
            None => Ok(self.look(known).await?),
        }
    }

    /// The next key and the account's URL, where the CA has that key for the account already.
    async fn rolled_over(
        &self,
        stored: &StoredAccount,
    ) -> Result<Option<(PrivateKey, String)>, CallError> {
        let Some(next) = next_of(stored) else { return Ok(None) };
        let url = self.of_key(next).await?.map(|account| account.id().to_owned());
        // One that is another account's is none of this one's.
        let url = url.filter(|url| stored.url.as_ref().is_none_or(|stored| stored == url));
        Ok(url.map(|url| (next.clone(), url)))
    }

    /// Key and URL of the account that is stored; nothing is made and nothing registered.
    pub(super) async fn registered(&self) -> Result<(PrivateKey, String), CallError> {
        let stored = self.store.load().await?;
        let Some(stored) = stored else { return Err(no_account()) };
        if let Some(rolled_over) = self.rolled_over(&stored).await? {
            return Ok(rolled_over);
        }
        if let Some(url) = stored.url {
            return Ok((stored.key, url));
        }
        let account = self.of_key(&stored.key).await?.ok_or_else(no_account)?;
        Ok((stored.key, account.id().to_owned()))
    }
}

/// There is no account, or the CA does not know it.
pub(super) fn no_account() -> CallError {
    CallError::lacking(
        "the CA has no account of ours in the operator's namespace; check --namespace and --acme-directory".to_owned(),
    )
}
