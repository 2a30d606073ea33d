//! Does an Ingress need anything? Asked by the scanner before deduplication; the issuer asks again after it.

use tracing::debug;

use crate::domain::certificate::CertId;
use crate::domain::certificate::SecretView;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::ingress::{IngressKey, SecretKey};
use crate::domain::issuance::State;
use crate::domain::limits;
use crate::domain::time::Timestamp;
use crate::domain::validity::check::{check_installed, serves};
use crate::domain::validity::expiries::Validity;
use crate::pool::issuer::OperatorContext;

impl OperatorContext {
    /// Whether there is work for this Ingress. A Secret that cannot be read is work: the issuer reads it again.
    pub async fn needs_reconcile(&self, key: &IngressKey) -> bool {
        if self.events.has_unreported_problem(&self.index.borrow(), key) {
            return true;
        }
        let secrets = self.index.borrow().secrets(key);
        for secret in secrets {
            let Some(desired) = self.index.borrow().desired(&secret) else { continue };
            if self.secret_needs_reconcile(&secret, &desired).await {
                return true;
            }
        }
        false
    }

    async fn secret_needs_reconcile(
        &self,
        secret: &SecretKey,
        desired: &DesiredCertificate,
    ) -> bool {
        let now = self.clock.now();
        if self.ledger.with(secret, |state| *state != State::Idle) {
            return true; // whoever is asked for it knows when it goes on, and waits until then
        }
        let read = tokio::time::timeout(limits::KUBE_CALL, self.tls_secrets.read(secret)).await;
        let Ok(Ok(status)) = read else {
            debug!(%secret, "the Secret could not be read; the issuer will try");
            return true;
        };
        self.saw(secret, status.as_ref());
        self.is_work(secret, status.as_ref(), desired, now)
    }

    /// Keeps the dates of what was found in a Secret, unless the last Ingress that wanted it went meanwhile.
    pub(crate) fn saw(&self, secret: &SecretKey, found: Option<&SecretView>) {
        if self.index.borrow().is_wanted(secret) {
            let mut renewal_windows = self.renewal_windows.borrow_mut();
            renewal_windows.seen(secret, found, &self.directory, self.clock.now());
            let ari = renewal_windows.of(secret, id(found));
            self.metrics.secret(secret, Validity::of(found, ari));
        }
    }

    fn is_work(
        &self,
        key: &SecretKey,
        found: Option<&SecretView>,
        desired: &DesiredCertificate,
        now: Timestamp,
    ) -> bool {
        if found.is_some_and(|found| !found.ours && serves(found, desired, now)) {
            return false;
        }
        let orphan =
            |uid: &str| found.is_some_and(|found| found.ours && !found.owners.contains(uid));
        let installed_at = self.ledger.installed_at(key);
        let renewal_windows = self.renewal_windows.borrow();
        let ari = renewal_windows.of(key, id(found));
        match check_installed(found, desired, &self.directory, ari, installed_at, now) {
            Err(_) => true,
            Ok(()) => {
                !desired.fill.is_empty() || desired.owners.iter().any(|owner| orphan(&owner.uid))
            }
        }
    }
}

/// How its CA knows the certificate that was found.
pub(crate) fn id(found: Option<&SecretView>) -> Option<&CertId> {
    found?.certificate.as_ref().ok()?.id.as_ref()
}
