//! Account key rollover (RFC 8555 §7.3.5, decisions/0013).
//!
//! The new key is stored before the request to the CA, and the old key is replaced only after the
//! CA has accepted the new one. The stored keys and the CA's answers about them determine the next
//! step, so that a rollover by another process, or one interrupted at any point, is simply resumed.

mod step;

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use ingress_acme_actors::domain::caa::Issuer;
use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::ports::{PortError, StoredAccount};

use super::account::{Accounts, new_key, no_account, thumbprint};
use super::account_sync::{before, next_of, promoted};
use super::jws::{Sender, Signer, post, resource};
use super::{Acme, CallError};
use step::{Findings, KeyAnswer, RolloverStep, step};

/// Largest number of steps of one rollover; each conflict with another process adds a few.
const STEPS: u32 = 40;
/// Number of repeated queries after the CA has accepted the change: not every server of the CA may
/// know at once.
pub(super) const LAGS: u32 = 5;
/// Time between these queries.
pub(super) const LAG: Duration = Duration::from_secs(1);
/// Prefix of error messages.
const DOING: &str = "the account's key was not rolled over";

/// Prefix of error messages of a look-up.
const DOING_A_LOOK_UP: &str = "the CA did not say whether it has the account";

/// Advice for the user about a refusal of this kind.
pub(super) fn advice(kind: &str) -> Option<&'static str> {
    matches!(kind, "malformed" | "unauthorized" | "badPublicKey" | "badSignatureAlgorithm")
        .then_some("the account keeps its current key; try again later, or ask the CA")
}

/// Error: the CA has lost the account, or the account was never registered.
fn unknown_to_the_ca() -> PortError {
    let detail = format!(
        "{DOING}: the CA knows no account of the key in the Secret; the operator registers that key with its next order, and it \
         can be rolled over after that"
    );
    PortError::permanent(FailureClass::Rejected, detail)
}

/// Result of a completed rollover.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RolledOver {
    /// URL of the account, unchanged by the rollover.
    pub url: String,
    /// Thumbprint of the new key (RFC 7638).
    pub thumbprint: String,
}

/// State of one rollover: the stored account and the CA's answers.
struct Progress {
    stored: StoredAccount,
    began_with: PrivateKey,
    findings: Findings,
    /// Account URL of the next key, if the CA knows that key.
    next_url: Option<String>,
    /// Account URL of the current key, if the CA knows that key.
    url: Option<String>,
    /// The CA's refusal of the key change.
    refusal: Option<PortError>,
}

impl Acme {
    /// Replaces the account key, or finishes an interrupted rollover. The old key is discarded only
    /// after the CA has accepted the new one, which is stored before.
    pub async fn roll_over(&self) -> Result<RolledOver, PortError> {
        let stored = self.accounts.store.load().await?;
        let Some(stored) = stored else { return Err(no_account().into_port_error(DOING)) };
        let mut progress = Progress::new(stored);
        for _ in 0..STEPS {
            match step(progress.findings) {
                RolloverStep::Done => return progress.done(),
                RolloverStep::StoreNext => self.store_next(&mut progress).await?,
                RolloverStep::AskNext => self.ask_next(&mut progress).await?,
                RolloverStep::AskCurrent => self.ask_current(&mut progress).await?,
                RolloverStep::Change => self.change(&mut progress).await?,
                RolloverStep::Promote => self.promote(&mut progress).await?,
                RolloverStep::Refused => return Err(progress.refused()),
                RolloverStep::NoAccount => return Err(unknown_to_the_ca()),
            }
        }
        Err(PortError::transient(format!("{DOING}: other processes keep changing it; try again")))
    }

    /// Asks the CA for its account of the stored key, or of one that a rollover may have left
    /// there, and returns both in terms of CAA records. Registers nothing.
    pub async fn known_issuer(&self) -> Result<Option<Issuer>, PortError> {
        let stored = self.accounts.store.load().await?;
        let Some(stored) = stored else { return Ok(None) };
        let keys: Vec<_> =
            [&stored.key].into_iter().chain(next_of(&stored)).chain(before(&stored)).collect();
        let known =
            self.within(DOING_A_LOOK_UP, async || self.accounts.of_one(keys.iter().copied()).await);
        let account = known.await?.map(|(_, url)| url);
        let domains = self.accounts.transport.caa_identities();
        Ok(account.map(|url| Issuer { domains, account: Some(url) }))
    }

    async fn store_next(&self, progress: &mut Progress) -> Result<(), PortError> {
        let next = Some(new_key()?);
        let wanted = StoredAccount { next, ..progress.stored.clone() };
        self.write(progress, &wanted).await
    }

    async fn promote(&self, progress: &mut Progress) -> Result<(), PortError> {
        let (next, url) = (progress.stored.next.clone(), progress.next_url.clone());
        let (Some(next), Some(url)) = (next, url) else { return Err(progress.refused()) };
        let wanted = promoted(&progress.stored, next, url);
        self.write(progress, &wanted).await
    }

    /// Writes `what`; after a conflict, reads the stored account of another process instead. Resets
    /// the findings.
    async fn write(&self, progress: &mut Progress, what: &StoredAccount) -> Result<(), PortError> {
        let stored = match self.accounts.store.replace(what).await? {
            Some(stored) => stored,
            None => match self.accounts.store.load().await? {
                Some(stored) => stored,
                None => return Err(no_account().into_port_error(DOING)),
            },
        };
        progress.now_stored(stored);
        Ok(())
    }

    /// Asks the CA for the account of the next key. The next key is ignored if the CA has that key
    /// for another account.
    async fn ask_next(&self, progress: &mut Progress) -> Result<(), PortError> {
        let Some(next) = &progress.stored.next else { return Err(progress.refused()) };
        let agreed = progress.findings.changed && progress.refusal.is_none();
        let ours = |named: &String| progress.url.as_ref().is_none_or(|url| url == named);
        let mut named = self.account_of(next).await?.filter(ours);
        for _ in 0..LAGS {
            if named.is_some() || !agreed {
                break;
            }
            sleep(LAG).await;
            named = self.account_of(next).await?.filter(ours);
        }
        progress.findings.next = KeyAnswer::of(named.as_ref());
        progress.next_url = named;
        Ok(())
    }

    async fn ask_current(&self, progress: &mut Progress) -> Result<(), PortError> {
        progress.url = self.account_of(&progress.stored.key).await?;
        progress.findings.current = KeyAnswer::of(progress.url.as_ref());
        Ok(())
    }

    /// Returns the URL of the CA's account of this key.
    async fn account_of(&self, key: &PrivateKey) -> Result<Option<String>, PortError> {
        self.within(DOING, async || self.accounts.of_key(key).await).await
    }

    /// Requests the key change. The next step queries the next key whatever the result: the
    /// response may have been lost.
    async fn change(&self, progress: &mut Progress) -> Result<(), PortError> {
        let (Some(next), Some(url)) = (&progress.stored.next, &progress.url) else {
            return Err(progress.refused());
        };
        let changed = self.within(DOING, async || {
            let (old, new) = (Signer::new(&progress.stored.key)?, Signer::new(next)?);
            let asked = self.accounts.ask_for(&old, &new, url).await;
            asked.map_err(|error| error.advised(DOING, advice).into())
        });
        progress.refusal = changed.await.err();
        progress.findings.changed = true;
        progress.findings.next = KeyAnswer::NotAsked;
        Ok(())
    }
}

impl Accounts {
    /// Sends the key change: the new key signs the inner request, the account's old key the outer
    /// one (RFC 8555 §7.3.5).
    pub(super) async fn ask_for(
        &self,
        old: &Signer,
        new: &Signer,
        account: &str,
    ) -> Result<(), CallError> {
        let url = resource(&self.transport, "key_change").await?;
        let change = json!({"account": account, "oldKey": old.jwk()});
        let inner = new.sign(&url, (Sender::Key, None), Some(&change))?;
        let sender = (old, Sender::Account(account));
        post(&self.transport, ("key_change", &url), sender, Some(&inner)).await.map(drop)
    }
}

impl Progress {
    fn new(stored: StoredAccount) -> Self {
        let began_with = stored.key.clone();
        let findings = Findings { has_next: next_of(&stored).is_some(), ..Findings::default() };
        Self { stored, began_with, findings, next_url: None, url: None, refusal: None }
    }

    fn now_stored(&mut self, stored: StoredAccount) {
        let is_new = stored.key != self.began_with;
        self.findings =
            Findings { is_new, has_next: next_of(&stored).is_some(), ..Findings::default() };
        self.stored = stored;
    }

    fn done(self) -> Result<RolledOver, PortError> {
        let thumbprint = thumbprint(&self.stored.key)
            .map_err(|wrong| PortError::permanent(FailureClass::Rejected, wrong))?;
        Ok(RolledOver { url: self.stored.url.unwrap_or_default(), thumbprint })
    }

    fn refused(&mut self) -> PortError {
        let silent = || {
            let what = format!(
                "{DOING} completely: the CA agreed, but does not return an account of the new key yet; both keys are stored, \
                 so run the command again"
            );
            PortError::permanent(FailureClass::AcmeServer, what)
        };
        self.refusal.take().unwrap_or_else(silent)
    }
}
