//! Rollover of the account key that the CAs of a file share (decision 13).
//!
//! The next key is stored first, then given to one CA after the other. Once a CA has it, it is the
//! key of all, with which challenges are answered, and the one before is kept as the former key:
//! accounts that have the former key still are given the new one by the operator, when it asks
//! their CA, or by the next run of the command. The rollover has ended when each CA of the file has
//! the new key. The former key is retired then and not forgotten: a CA that is not in the file of
//! the command, or is put back into that of the operator later, may have an account of that key.

use std::rc::Rc;

use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::ports::{AccountStore, PortError, StoredAccount};
use instant_acme::Error;
use tokio::time::sleep;

use super::account::{Accounts, new_key, no_account, thumbprint};
use super::account_sync::{before, next_of};
use super::fallback_account::with_next_as_key;
use super::jws::{Signer, resource};
use super::rollover::{LAG, LAGS, advice};
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
    /// The CA has refused the change. The operator asks once more with its next order there, and
    /// registers a new account with the new key if the CA refuses that too.
    Refused(PortError),
    /// The CA could not be asked. Its account has the former key, as far as is known.
    Left(PortError),
}

/// A rollover of the shared key in progress.
pub struct SharedRollover {
    store: Rc<dyn AccountStore>,
    stored: StoredAccount,
    /// The key that this run gives out.
    new: PrivateKey,
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
        let new = stored.key.clone();
        let mut rollover = Self { store, stored, new, is_complete: true };
        rollover
            .write(|stored| {
                let next = Some(new_key()?);
                Ok((!is_unfinished(stored)).then(|| StoredAccount { next, ..stored.clone() }))
            })
            .await?;
        (_, rollover.new) = keys(&rollover.stored);
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
        self.is_complete &= matches!(at, AtCa::Changed | AtCa::NoAccount);
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

    /// Retires the former key, unless a CA is left that may have it. Returns the thumbprint of the
    /// key with which challenges are answered. The former key of a later run of another process
    /// stays: only that run knows whether a CA is left.
    pub async fn end(mut self) -> Result<String, PortError> {
        if self.is_complete {
            let new = self.new.clone();
            self.write(|stored| Ok(retired(stored).filter(|_| stored.key == new))).await?;
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

impl Acme {
    /// Whether the CA offers to change the key of an account (RFC 8555 §7.3.5).
    pub async fn changes_keys(&self) -> Result<bool, PortError> {
        let found = self.within(DOING, async || {
            match resource(&self.accounts.transport, "key_change").await {
                Err(CallError::Acme(Error::Unsupported(_))) => Ok(false),
                found => found.map(|_| true),
            }
        });
        found.await
    }
}

async fn loaded(store: &dyn AccountStore) -> Result<StoredAccount, PortError> {
    store.load().await?.ok_or_else(|| no_account().into_port_error(DOING))
}

/// The keys that accounts may have still, and the new one.
fn keys(stored: &StoredAccount) -> (Vec<PrivateKey>, PrivateKey) {
    let former = before(stored).cloned();
    match next_of(stored) {
        Some(next) => ([stored.key.clone()].into_iter().chain(former).collect(), next.clone()),
        None => (former.collect(), stored.key.clone()),
    }
}

/// The account after its rollover has ended, if the former key is not retired yet.
fn retired(stored: &StoredAccount) -> Option<StoredAccount> {
    let mut retired = vec![stored.former.clone()?];
    retired.extend(stored.retired.iter().cloned());
    retired.truncate(limits::RETIRED_KEYS);
    Some(StoredAccount { former: None, retired, ..stored.clone() })
}

/// Whether the CA will not change the key of an account, whoever asks, and whenever.
fn is_final(error: &CallError) -> bool {
    let passes = matches!(error.kind(), "rateLimited" | "badNonce" | "serverInternal");
    (error.is_refusal() && !passes) || matches!(error, CallError::Acme(Error::Unsupported(_)))
}

impl Accounts {
    /// Gives the account of one of the keys `old` the key `new`, which is stored already, unless
    /// the CA has an account of that key. Returns the URL of the account, if there is one, and
    /// whether its key was another one before.
    async fn change_key(
        &self,
        old: &[PrivateKey],
        new: &PrivateKey,
    ) -> Result<Option<(String, bool)>, CallError> {
        let (mut found, mut refusal) = (None, None);
        for key in [new].into_iter().chain(old) {
            match self.of_key(key).await {
                Ok(Some(url)) => {
                    found = Some((key, url));
                    break;
                }
                Ok(None) => {}
                // Some CAs want an external account with each look-up, and accept one only once.
                Err(error) if is_final(&error) => refusal = Some(error),
                Err(error) => return Err(error),
            }
        }
        let Some((old, url)) = found else { return refusal.map_or(Ok(None), Err) };
        if old == new {
            return Ok(Some((url, false)));
        }
        let Err(error) = self.ask_for(&Signer::new(old)?, &Signer::new(new)?, &url).await else {
            return Ok(Some((self.shown(new, url).await?, true)));
        };
        // Another process may have asked for the same, or the answer was lost.
        if is_final(&error)
            && let Ok(Some(url)) = self.of_key(new).await
        {
            return Ok(Some((url, true)));
        }
        Err(error)
    }

    /// Asks the CA, which has agreed to a change, for the account of the new key: a CA may agree
    /// and change nothing, and not every server of a CA may know at once.
    async fn shown(&self, new: &PrivateKey, url: String) -> Result<String, CallError> {
        for _ in 0..=LAGS {
            match self.of_key(new).await {
                Ok(None) => sleep(LAG).await,
                Ok(Some(url)) => return Ok(url),
                Err(error) if is_final(&error) => return Ok(url), // it answers no look-ups
                Err(error) => return Err(error),
            }
        }
        let silent = format!(
            "{DOING}: the CA agreed, but does not return an account of the new key yet; both keys are stored, and the change is \
             tried again"
        );
        Err(CallError::Port(PortError::transient(silent)))
    }

    /// Gives the account that has the key before a rollover the key of now. Where the CA refuses,
    /// the caller registers a new account. Returns the URL of the account, if the CA has it, and
    /// whether its key was another one before.
    pub(super) async fn carried_over(
        &self,
        stored: &StoredAccount,
    ) -> Result<Option<(String, bool)>, CallError> {
        let former: Vec<_> = before(stored).cloned().collect();
        if former.is_empty() {
            return Ok(None);
        }
        match self.change_key(&former, &stored.key).await {
            Err(error) if is_final(&error) => {
                let error = error.into_port_error("the CA does not change the account's key");
                tracing::warn!(%error, "a new account is registered with the new key");
                Ok(None)
            }
            Ok(Some((url, true))) => {
                tracing::info!(url, "the ACME account has the key of the rollover");
                Ok(Some((url, true)))
            }
            found => found,
        }
    }
}
