//! Rehearsal: hosts whose validation failed at the first CA are validated at another one, such as a
//! staging environment, before the first CA is asked again. No certificate is requested there.

use std::collections::BTreeSet;

use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use super::job_runner::JobRunner;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::failure::{Failure, FailureClass, poll_at};
use crate::domain::issuance::{Methods, OrderStatus};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::public_name::check_public;
use crate::domain::scheduling::scheduler::Job;
use crate::ports::{CertificateAuthority, Clock, PortError, bounded};

impl JobRunner {
    /// Has `hosts` validated. Only a failed validation fails the attempt: the rehearsal CA may be
    /// down, or refuse what the first CA takes.
    pub(super) async fn rehearse(
        &self,
        job: &mut Job,
        desired: &DesiredCertificate,
        hosts: BTreeSet<DnsName>,
    ) {
        let set = self.context.cas.set();
        let ca = set.deciding(None, Some(desired), job.observed.found()).ca;
        let rehearsal = ca
            .rehearsal
            .as_deref()
            .and_then(|directory| Some((set.cas.at(directory)?, set.client(directory)?)));
        let Some((ca, client)) = rehearsal else { return };
        let (directory, is_public) = (&*ca.directory, ca.is_public());
        let is_asked = |host: &&DnsName| !is_public || check_public(host).is_ok();
        let asked: BTreeSet<DnsName> = hosts.iter().filter(is_asked).cloned().collect();
        job.observed.rehearsed.extend(hosts);
        if asked.is_empty() {
            return;
        }
        let validation = validate(&*client.ca, &asked, &*self.context.clock);
        match timeout(limits::REHEARSAL, validation).await {
            Ok(Ok(Outcome::Validated)) => info!(directory, "the rehearsal succeeded"),
            Ok(Ok(Outcome::Failed(failure))) => {
                job.observed.failure = Some(of_rehearsal(failure, directory, asked));
                job.observed.failed_rehearsal = true;
            }
            Ok(Ok(Outcome::Nothing)) => debug!(directory, "nothing was validated"),
            Ok(Err(error)) => debug!(directory, %error, "there was no rehearsal"),
            Err(_) => debug!(directory, "the rehearsal had no result in time"),
        }
    }
}

/// Outcome of a rehearsal.
enum Outcome {
    /// All names are validated.
    Validated,
    /// A validation failed.
    Failed(Failure),
    /// No challenge was accepted: the CA still knows an earlier validation, or lost the order.
    Nothing,
}

/// The failure of the attempt. Without names, all that were asked for have failed.
fn of_rehearsal(failure: Failure, directory: &str, asked: BTreeSet<DnsName>) -> Failure {
    let detail = format!(
        "in a rehearsal at {directory}, without a request to the CA: {}. The CA itself is asked \
         a day after the last failure at the latest",
        failure.detail
    );
    let names = if failure.names.is_empty() { asked } else { failure.names };
    Failure::new(failure.class, detail).about(names)
}

/// Opens an order, and waits until all names are validated. An error says nothing about the names:
/// CAs refuse accounts and requests as `unauthorized` too.
async fn validate(
    ca: &dyn CertificateAuthority,
    names: &BTreeSet<DnsName>,
    clock: &dyn Clock,
) -> Result<Outcome, PortError> {
    let (call, mut accepted) = (limits::CA_CALL, false);
    let mut order = bounded(call, "rehearsal CA", ca.open_order(names, None, None)).await?;
    for polls in 0.. {
        match order.status {
            OrderStatus::Pending => {}
            OrderStatus::Invalid(failure) if failure.class == FailureClass::Authorization => {
                return Ok(Outcome::Failed(failure));
            }
            OrderStatus::Ready if accepted => return Ok(Outcome::Validated),
            _ => break,
        }
        if order.authorizations.iter().any(|authorization| !authorization.accepted) {
            order = bounded(call, "rehearsal CA", ca.accept(&order.url, &Methods::new())).await?;
            accepted = true;
            continue;
        }
        let now = clock.now();
        sleep(poll_at(polls, order.retry_after, now).since(now)).await;
        order = bounded(call, "rehearsal CA", ca.refresh(&order.url)).await?;
    }
    Ok(Outcome::Nothing)
}
