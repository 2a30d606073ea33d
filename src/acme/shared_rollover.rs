//! Rollover of the account key that the CAs of a file share (decision 13).
//!
//! The next key is stored first, then given to one CA after the other. Once a CA has it, it is the
//! key of all, with which challenges are answered, and the one before is kept as the former key:
//! accounts that have the former key still are given the new one by the operator, when it asks
//! their CA, or by the next run of the command. The former key is forgotten when no CA is left.

use std::rc::Rc;

use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::ports::{AccountStore, PortError, StoredAccount};
use instant_acme::Error;

use super::account::{Accounts, new_key, no_account, thumbprint};
use super::account_sync::next_of;
use super::fallback_account::with_next_as_key;
use super::jws::Signer;
use super::rollover::advice;
use super::{Acme, CallError};

/// Prefix of error messages.
const DOING: &str = "the account's key was not rolled over";
/// Largest number of attempts of one write; each conflict with an operator adds one.
const WRITES: u32 = 5;

/// What has become of the key at one CA.
#[derive(Debug)]
pub enum AtCa {
    /// The account has the new key.
    Changed,
    /// The CA has no account of these keys.
    NoAccount,
    /// The CA has refused the change. The operator registers a new account with the new key there.
    Refused(PortError),
    /// The CA could not be asked. Its account has the former key, as far as is known.
    Left(PortError),
}

/// A rollover of the shared key in progress.
pub struct SharedRollover {
    store: Rc<dyn AccountStore>,
    stored: StoredAccount,
    is_complete: bool,
}

/// Whether a rollover of the shared key was begun and has not ended.
pub fn is_unfinished(stored: &StoredAccount) -> bool {
    next_of(stored).is_some() || stored.former.is_some()
}

impl SharedRollover {
    /// Stores the next key, unless a rollover was begun and not ended: then that one goes on.
    pub async fn begin(store: Rc<dyn AccountStore>) -> Result<Self, PortError> {
        let stored = loaded(&*store).await?;
        let mut rollover = Self { store, stored, is_complete: true };
        rollover
            .write(|stored| {
                let next = Some(new_key()?);
                Ok((!is_unfinished(stored)).then(|| StoredAccount { next, ..stored.clone() }))
            })
            .await?;
        Ok(rollover)
    }

    /// Gives the account at one CA the new key.
    pub async fn at(&mut self, acme: &Acme) -> Result<AtCa, PortError> {
        let (old, new) = keys(&self.stored);
        let changed = acme.within(DOING, async || {
            Ok(match acme.accounts.change_key(&old, &new).await {
                Err(error) if is_final(&error) => Err(error.advised(DOING, advice)),
                changed => Ok(changed?),
            })
        });
        let at = match changed.await {
            Ok(Ok(Some(_))) => {
                self.promote(&new).await?;
                AtCa::Changed
            }
            Ok(Ok(None)) => AtCa::NoAccount,
            Ok(Err(refusal)) => AtCa::Refused(refusal),
            Err(error) => AtCa::Left(error),
        };
        self.is_complete &= !matches!(at, AtCa::Left(_));
        Ok(at)
    }

    /// Makes the new key that of all CAs, unless it is already.
    async fn promote(&mut self, new: &PrivateKey) -> Result<(), PortError> {
        self.write(|stored| {
            if stored.key == *new {
                return Ok(None);
            }
            let is_next = next_of(stored) == Some(new);
            let lost = || PortError::transient(format!("{DOING}: another process began another"));
            is_next.then(|| Some(with_next_as_key(stored.clone(), new.clone()))).ok_or_else(lost)
        })
        .await
    }

    /// Forgets the former key, unless a CA is left that may have it. Returns the thumbprint of the
    /// key with which challenges are answered.
    pub async fn end(mut self) -> Result<String, PortError> {
        if self.is_complete {
            self.write(|stored| {
                let forgotten = StoredAccount { former: None, ..stored.clone() };
                Ok(stored.former.is_some().then_some(forgotten))
            })
            .await?;
        }
        let unusable = |wrong| PortError::permanent(FailureClass::Rejected, wrong);
        thumbprint(&self.stored.key).map_err(unusable)
    }

    /// Writes the account that `change` makes of the stored one, if any. After a conflict with
    /// another process, `change` is asked about the account of that one.
    async fn write(
        &mut self,
        change: impl Fn(&StoredAccount) -> Result<Option<StoredAccount>, PortError>,
    ) -> Result<(), PortError> {
        for _ in 0..WRITES {
            let Some(wanted) = change(&self.stored)? else { return Ok(()) };
            match self.store.replace(&wanted).await? {
                Some(stored) => {
                    self.stored = stored;
                    return Ok(());
                }
                None => self.stored = loaded(&*self.store).await?,
            }
        }
        let why = format!("{DOING}: other processes keep changing it; run the command again");
        Err(PortError::transient(why))
    }
}

async fn loaded(store: &dyn AccountStore) -> Result<StoredAccount, PortError> {
    store.load().await?.ok_or_else(|| no_account().into_port_error(DOING))
}

/// The keys that accounts may have still, and the new one.
fn keys(stored: &StoredAccount) -> (Vec<PrivateKey>, PrivateKey) {
    let former = stored.former.iter().cloned();
    match next_of(stored) {
        Some(next) => (former.chain([stored.key.clone()]).collect(), next.clone()),
        None => (former.collect(), stored.key.clone()),
    }
}

/// Whether the CA will not change the key of an account, whoever asks.
fn is_final(error: &CallError) -> bool {
    error.is_refusal() || matches!(error, CallError::Acme(Error::Unsupported(_)))
}

impl Accounts {
    /// Gives the account of one of the keys `old` the key `new`, which is stored already, unless
    /// the CA has an account of that key. Returns the URL of the account, if there is one.
    async fn change_key(
        &self,
        old: &[PrivateKey],
        new: &PrivateKey,
    ) -> Result<Option<String>, CallError> {
        if let Some(url) = self.of_key(new).await? {
            return Ok(Some(url));
        }
        let Some((old, url)) = self.of_one(old.iter()).await? else { return Ok(None) };
        let Err(error) = self.ask_for(&Signer::new(&old)?, &Signer::new(new)?, &url).await else {
            return Ok(Some(url));
        };
        // Another process may have asked for the same, or the answer was lost.
        if is_final(&error)
            && let Ok(Some(url)) = self.of_key(new).await
        {
            return Ok(Some(url));
        }
        Err(error)
    }

    /// Gives the account that has the former key the key of now. Where the CA refuses, the caller
    /// registers a new account. Returns the URL of the account, if the CA has it.
    pub(super) async fn carried_over(
        &self,
        stored: &StoredAccount,
    ) -> Result<Option<String>, CallError> {
        let Some(former) = &stored.former else { return Ok(None) };
        match self.change_key(std::slice::from_ref(former), &stored.key).await {
            Err(error) if is_final(&error) => {
                let error = error.into_port_error("the CA does not change the account's key");
                tracing::warn!(%error, "a new account is registered with the new key");
                Ok(None)
            }
            Ok(Some(url)) => {
                tracing::info!(url, "the ACME account has the key of the rollover");
                Ok(Some(url))
            }
            changed => changed,
        }
    }
}
