//! The step that looks up the CAA records of the hosts, before an order is opened (RFC 8659).

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};
use tokio::time::timeout;
use tracing::debug;

use super::job_runner::JobRunner;
use crate::domain::caa::{CaaSet, Issuer, Permission};
use crate::domain::challenge::Method;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::scheduling::scheduler::Job;

impl JobRunner {
    /// Looks up the CAA records of all hosts under one deadline. Whatever is not answered by then,
    /// or not definite, is left to the CA.
    pub(super) async fn look_up_caa(
        &self,
        job: &mut Job,
        desired: &DesiredCertificate,
        hosts: BTreeSet<DnsName>,
    ) {
        let set = self.context.cas.set();
        let directory = &set.deciding(None, Some(desired), job.observed.found()).ca.directory;
        let Some(client) = set.client(directory) else { return };
        let issuer = client.ca.issuer();
        let mut forbidden = Vec::new();
        if !issuer.domains.is_empty() {
            let looks = stream::iter(hosts.iter().cloned()).map(|host| async move {
                let found = self.ports.probe.caa(&host).await;
                (host, found)
            });
            let mut looks = looks.buffer_unordered(limits::PROBES_AT_ONCE);
            let all = async {
                while let Some((host, found)) = looks.next().await {
                    match found {
                        Ok(found) => {
                            let method = job.observed.in_dns.method(&host);
                            forbidden.extend(refusal(host, method, &found, &issuer));
                        }
                        Err(why) => debug!(%host, why, "the CAA records are not known"),
                    }
                }
            };
            if timeout(limits::PROBE_CALL, all).await.is_err() {
                debug!("the CAA records were not answered in time");
            }
        }
        let failure = forbidden.first().map(|(_, detail)| {
            let names = forbidden.iter().map(|(host, _)| host.clone());
            Failure::new(FailureClass::Caa, detail.as_str()).about(names)
        });
        job.observed.caa = Some((hosts, failure));
        job.observed.reset_errors();
    }
}

/// Text for the user, if the records forbid the CA to issue for the host.
fn refusal(
    host: DnsName,
    method: Method,
    found: &CaaSet,
    issuer: &Issuer,
) -> Option<(DnsName, String)> {
    let Permission::Forbidden(why) = found.permission(issuer, &host, method) else { return None };
    let ca = issuer.domains.first()?;
    let tag = if host.is_wildcard() { "issuewild" } else { "issue" };
    let detail = format!(
        "the CAA record of {} ({}) does not let {ca} issue for {host}: {why}. Add the record 0 {tag} \"{ca}\" there, or \
         remove what forbids it, then annotate the Ingress with ingress-acme.dev/renew. The CA was not asked",
        found.domain,
        found.shown(),
    );
    Some((host, detail))
}
