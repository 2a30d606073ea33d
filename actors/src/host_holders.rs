//! Holders of hosts that several namespaces name: reads the Secrets that show which namespace has a
//! certificate for a host, and records it in the index. Users write Secrets and labels, so that a
//! certificate counts only where the CA in use issued it.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use futures_util::stream::{self, StreamExt};
use tokio::time::timeout;
use tracing::debug;

use crate::domain::certificate::CertificateView;
use crate::domain::desired::index::Index;
use crate::domain::ingress::SecretKey;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::time::Timestamp;
use crate::ports::{Clock, SecretReads};

/// Verified certificates by Secret; a Secret that could not be read is missing.
type Verified = HashMap<SecretKey, Option<CertificateView>>;

/// The index and the Secrets that show who holds a host.
pub struct HostHolders<'a> {
    /// All Ingresses.
    pub index: &'a RefCell<Index>,
    /// Secrets.
    pub tls_secrets: &'a dyn SecretReads,
    /// The clock.
    pub clock: &'a dyn Clock,
}

/// Objects that were looked at.
#[derive(Debug, Default)]
pub struct LookedAt {
    /// Hosts that were looked at, a bounded number at a time.
    pub hosts: BTreeSet<DnsName>,
    /// A Secret that could not be read, while no other one shows a certificate of its namespace:
    /// the host stays undecided.
    pub unread: Option<SecretKey>,
}

impl HostHolders<'_> {
    /// Reads the Secrets that decide for `namespace` on undecided hosts, and records the holders.
    pub async fn look(&self, namespace: &str, undecided: &BTreeSet<DnsName>) -> LookedAt {
        let claims = self.index.borrow().unread_claims(namespace, undecided);
        let verified = self.verified(claims.iter().flat_map(|(_, _, secrets)| secrets)).await;
        let (now, mut looked_at) = (self.clock.now(), LookedAt::default());
        for (host, namespace, secrets) in claims {
            let holds_until = holds_until(&host, &secrets, &verified, now);
            let unread = secrets.into_iter().find(|secret| !verified.contains_key(secret));
            if holds_until.is_none() && unread.is_some() {
                looked_at.unread = unread;
            } else {
                debug!(%host, %namespace, ?holds_until, "several namespaces name one host");
                let claim = (&host, &namespace);
                self.index.borrow_mut().record_holder(claim, holds_until, now);
            }
            looked_at.hosts.insert(host);
        }
        looked_at
    }

    /// Looks until no host of the certificate in `secret` is undecided.
    ///
    /// # Errors
    /// A Secret that could not be read.
    pub async fn decide(&self, secret: &SecretKey) -> Result<(), SecretKey> {
        let undecided = || self.index.borrow().desired(secret).map(|desired| desired.undecided);
        while let Some(hosts) = undecided().filter(|hosts| !hosts.is_empty()) {
            if let Some(unread) = self.look(&secret.namespace, &hosts).await.unread {
                return Err(unread);
            }
        }
        Ok(())
    }

    async fn verified(&self, secrets: impl Iterator<Item = &SecretKey>) -> Verified {
        let secrets: BTreeSet<&SecretKey> = secrets.collect();
        let reads = stream::iter(secrets).map(|secret| async move {
            let read = timeout(limits::KUBE_CALL, self.tls_secrets.verified(secret)).await;
            Some((secret.clone(), read.ok()?.ok()?))
        });
        let read = reads.buffer_unordered(limits::SCAN_AT_ONCE);
        read.filter_map(std::future::ready).collect().await
    }
}

/// Latest expiry of a valid certificate for `host` in one of these Secrets.
fn holds_until(
    host: &DnsName,
    secrets: &[SecretKey],
    verified: &Verified,
    now: Timestamp,
) -> Option<Timestamp> {
    let is_valid = |certificate: &&CertificateView| {
        let begun = certificate.not_before <= now + limits::CLOCK_SKEW;
        begun && now < certificate.not_after && certificate.is_for(host)
    };
    let found = secrets.iter().filter_map(|secret| verified.get(secret)?.as_ref());
    found.filter(is_valid).map(|certificate| certificate.not_after).max()
}
