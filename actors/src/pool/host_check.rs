//! Steps of a job that check chains: which namespaces hold certificates for contested hosts, and
//! whether a certificate that expires soon is one of the CA. Users write Secrets and labels.

use std::collections::BTreeSet;

use tracing::info;

use super::job_runner::JobRunner;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::desired::host_claims::Owner;
use crate::domain::failure::FailureClass;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::scheduling::scheduler::Job;
use crate::host_holders::{HostHolders, LookedAt};
use crate::ports::{PortError, bounded};

impl JobRunner {
    /// Reads the Secrets that decide on undecided hosts, and records the holders. A Secret that
    /// cannot be read is a transient error of the job, unless another one shows a certificate.
    pub(super) async fn check_hosts(&self, job: &mut Job, desired: &DesiredCertificate) {
        let (index, tls_secrets) = (&*self.context.index, &*self.context.tls_secrets);
        let holders = HostHolders { index, tls_secrets, clock: &*self.context.clock };
        let looked_at = holders.look(&job.stream.namespace, &desired.undecided).await;
        let LookedAt { hosts, unread } = looked_at;
        let read = match unread {
            None => {
                self.log_owners(&hosts);
                Ok(())
            }
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
    fn log_owners(&self, hosts: &BTreeSet<DnsName>) {
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
}
