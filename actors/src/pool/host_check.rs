//! Steps of a job that check chains: which namespaces hold certificates for contested hosts, and
//! whether a certificate that expires soon is one of the CA. Users write Secrets and labels.

use std::collections::{BTreeSet, HashMap};

use futures_util::stream::{self, StreamExt};
use tokio::time::timeout;
use tracing::{debug, info};

use super::job_runner::JobRunner;
use crate::domain::certificate::CertificateView;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::desired::host_claims::Owner;
use crate::domain::failure::FailureClass;
use crate::domain::ingress::SecretKey;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::scheduling::scheduler::Job;
use crate::domain::time::Timestamp;
use crate::ports::{PortError, bounded};

/// Verified certificates by Secret; a Secret that could not be read is missing.
type Verified = HashMap<SecretKey, Option<CertificateView>>;

impl JobRunner {
    /// Reads the Secrets that decide on undecided hosts, and records the holders. A Secret that
    /// cannot be read is a transient error of the job, unless another one shows a certificate.
    pub(super) async fn check_hosts(&self, job: &mut Job, desired: &DesiredCertificate) {
        let namespace = &job.stream.namespace;
        let claims = self.context.index.borrow().unread_claims(namespace, &desired.undecided);
        let verified = self.verified(claims.iter().flat_map(|(_, _, secrets)| secrets)).await;
        let (now, mut unread) = (self.context.clock.now(), None);
        for (host, namespace, secrets) in &claims {
            let holds_until = holds_until(host, secrets, &verified, now);
            if holds_until.is_none()
                && let Some(secret) = secrets.iter().find(|secret| !verified.contains_key(*secret))
            {
                unread = Some(secret.clone());
                continue;
            }
            debug!(%host, %namespace, ?holds_until, "several namespaces name one host");
            let claim = (host, namespace);
            self.context.index.borrow_mut().record_holder(claim, holds_until, now);
        }
        if unread.is_none() {
            self.log_owners(claims.iter().map(|(host, ..)| host).collect());
        }
        let read = match unread {
            None => Ok(()),
            Some(secret) => Err(PortError::transient(format!(
                "Secret {secret} could not be read, which shows whether its namespace has a host of this Ingress"
            ))),
        };
        if self.succeeded(job, FailureClass::SecretWrite, read).is_some() {
            job.observed.reset_errors();
        }
        for owner in &desired.owners {
            self.context.events.report(&self.context.index.borrow(), &owner.key);
        }
    }

    /// Logs who has these hosts, where that has changed.
    fn log_owners(&self, hosts: BTreeSet<&DnsName>) {
        for host in hosts {
            let news = self.context.index.borrow_mut().owner_news(host);
            if let Some(Owner { namespace, shares }) = news {
                info!(%host, %namespace, shares, "several namespaces name one host; this one has it");
            }
        }
    }

    /// Checks that the CA issued the certificate in the Secret of the job.
    pub(super) async fn verify_certificate(&self, job: &mut Job) {
        let read = self.context.tls_secrets.verified(&job.stream);
        let read = bounded(limits::KUBE_CALL, "API server", read).await;
        if let Some(verified) = self.succeeded(job, FailureClass::SecretWrite, read) {
            job.observed.verified = Some(verified.is_some());
        }
    }

    async fn verified(&self, secrets: impl Iterator<Item = &SecretKey>) -> Verified {
        let secrets: BTreeSet<&SecretKey> = secrets.collect();
        let reads = stream::iter(secrets).map(|secret| async move {
            let read = timeout(limits::KUBE_CALL, self.context.tls_secrets.verified(secret)).await;
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
