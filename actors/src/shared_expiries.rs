//! Expiries of all certificates, shared between the actors, which write them, and the thread of a
//! scrape.

use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::ingress::SecretKey;
use crate::domain::time::Timestamp;
use crate::domain::validity::expiries::{Expiries, Validity};

/// Handle on the expiries. All clones share one table.
#[derive(Clone, Debug, Default)]
pub struct SharedExpiries(Arc<RwLock<Expiries>>);

impl SharedExpiries {
    /// Records the validity of the certificate in `secret`; `None` if the Secret holds none of
    /// ours.
    pub fn record(&self, secret: &SecretKey, validity: Option<Validity>) {
        self.write(|expiries| expiries.record(secret, validity));
    }

    /// Records the renewal time that the CA suggests for the certificate in `secret` (RFC 9773).
    pub(crate) fn set_renewal(&self, secret: &SecretKey, at: Timestamp) {
        self.write(|expiries| expiries.set_renewal(secret, at));
    }

    /// Forgets a Secret that no Ingress names any more.
    pub fn forget(&self, secret: &SecretKey) {
        self.write(|expiries| expiries.forget(secret));
    }

    /// Calls `look` with all expiries. Writers wait until `look` returns, so keep the call short.
    pub fn read<R>(&self, look: impl FnOnce(&Expiries) -> R) -> R {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut Expiries)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}
