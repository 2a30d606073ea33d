//! Choice of the Secret of an Ingress that leaves the name to us: looks at the Secrets that there
//! are, and lets the index decide. Names are looked at without their data; only a Secret that
//! exists is read.

use std::cell::RefCell;

use crate::context::OperatorContext;
use crate::domain::certificate::SecretStatus;
use crate::domain::desired::index::Index;
use crate::domain::desired::secret_names::Search;
use crate::domain::ingress::{IngressKey, SecretKey};
use crate::domain::issuance::State;
use crate::domain::limits;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::time::doubled;
use crate::ports::{PortError, SecretReads, bounded};

/// The index and the Secrets that a choice is made from.
pub struct SecretChoice<'a> {
    /// All Ingresses.
    pub index: &'a RefCell<Index>,
    /// Secrets.
    pub tls_secrets: &'a dyn SecretReads,
    /// Whether the journal has an issuance or a failure for a Secret.
    pub is_live: &'a dyn Fn(&SecretKey) -> bool,
}

/// Chooses the Secret of an Ingress with the operator's own knowledge.
///
/// # Errors
/// The Ingress has none yet, and asks again then.
pub(crate) async fn choose_secret(
    context: &OperatorContext,
    key: &IngressKey,
) -> Result<(), Requeue> {
    context.index.borrow_mut().part(key);
    let is_live = |secret: &SecretKey| context.ledger.with(secret, |state| *state != State::Idle);
    let (index, tls_secrets) = (&*context.index, &*context.tls_secrets);
    let chosen = (SecretChoice { index, tls_secrets, is_live: &is_live }).choose(key).await;
    if let Err(error) = &chosen {
        tracing::debug!(ingress = %key, %error, "the Secret of the Ingress is chosen later");
    }
    if !context.index.borrow().is_open(key) {
        return Ok(());
    }
    let Err(PortError::Permanent(failure)) = chosen else { return Err(Requeue::Busy) };
    let refusals = context.index.borrow_mut().refuse(key, &failure.detail);
    context.events.report(&context.index.borrow(), key);
    let before = refusals.saturating_sub(1);
    let pause = doubled(limits::SECRET_REFUSED, before, limits::SECRET_REFUSED_MOST);
    Err(Requeue::At(context.clock.now() + pause))
}

impl SecretChoice<'_> {
    /// Chooses the Secret of an Ingress, if its name is ours to choose and not chosen yet.
    ///
    /// # Errors
    /// A Secret could not be looked at, for now or until the operator has the right to. The choice
    /// stays open: a Secret of ours that is there would lose its renewals to a new one.
    pub async fn choose(&self, key: &IngressKey) -> Result<(), PortError> {
        if !self.index.borrow().is_open(key) {
            return Ok(());
        }
        let Some(search) = self.search(key).await? else { return Ok(()) };
        if let Some(kept) = search.kept() {
            self.index.borrow_mut().choose(key, kept);
            return Ok(());
        }
        if self.index.borrow().only_keeps(key) {
            self.index.borrow_mut().choose_none(key);
            return Ok(());
        }
        if !self.share(key).await? {
            self.keep_one_alike(key).await?;
            // The oldest one chooses for all with these hosts.
            let first = self.index.borrow().first_to_choose(key).filter(|first| first != key);
            match first {
                _ if self.share(key).await? => {}
                None => self.index.borrow_mut().choose(key, &search.free()),
                Some(first) => {
                    self.choose_for(&first).await?;
                    self.share(key).await?;
                }
            }
        }
        Ok(())
    }

    /// Chooses the Secret that another Ingress with the same hosts has, if there is one: nobody
    /// takes a free name before, because all of them would move there.
    async fn keep_one_alike(&self, key: &IngressKey) -> Result<(), PortError> {
        let alike = self.index.borrow().open_alike(key);
        for other in alike {
            let search = self.search(&other).await?;
            if let Some(kept) = search.as_ref().and_then(Search::kept) {
                self.index.borrow_mut().choose(&other, kept);
                return Ok(());
            }
        }
        Ok(())
    }

    async fn choose_for(&self, first: &IngressKey) -> Result<(), PortError> {
        if let Some(search) = self.search(first).await? {
            let name = search.kept().map_or_else(|| search.free(), str::to_owned);
            self.index.borrow_mut().choose(first, &name);
        }
        Ok(())
    }

    /// Takes the Secret of another Ingress with the same hosts, if there is one. One that a user
    /// named and that is not ours is left alone: we would order nothing for it.
    async fn share(&self, key: &IngressKey) -> Result<bool, PortError> {
        let shared = self.index.borrow().shared(key);
        for (secret, is_named) in shared {
            if is_named && self.look(&secret).await?.is_some_and(|found| !found.ours) {
                continue;
            }
            self.index.borrow_mut().choose(key, &secret.name);
            return Ok(true);
        }
        Ok(false)
    }

    /// Looks at the Secrets that the Ingress may have, or may get.
    async fn search(&self, key: &IngressKey) -> Result<Option<Search>, PortError> {
        let Some(mut search) = self.index.borrow().search(key) else { return Ok(None) };
        while let Some(name) = search.next() {
            let secret = SecretKey { namespace: key.namespace.clone(), name: name.into() };
            let found = self.look(&secret).await?;
            let is_live = (self.is_live)(&secret);
            let holder = self.index.borrow().holder(key, &secret, found.as_ref(), is_live);
            search.found(holder);
        }
        Ok(Some(search))
    }

    async fn look(&self, secret: &SecretKey) -> Result<SecretStatus, PortError> {
        let exists = self.tls_secrets.exists(secret);
        if !bounded(limits::KUBE_CALL, "API server", exists).await? {
            return Ok(None);
        }
        bounded(limits::KUBE_CALL, "API server", self.tls_secrets.read(secret)).await
    }
}
