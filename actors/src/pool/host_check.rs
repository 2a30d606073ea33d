//! Finds out which namespaces hold certificates for contested hosts, before anything is ordered.

use std::collections::{BTreeSet, HashMap};

use actix::prelude::*;
use futures_util::stream::{self, StreamExt};
use tokio::time::timeout;
use tracing::{info, warn};

use super::actor::Pool;
use crate::context::OperatorContext;
use crate::domain::certificate::CertificateView;
use crate::domain::desired::host_claims::Holders;
use crate::domain::desired::index::ContestedHost;
use crate::domain::ingress::SecretKey;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::scheduling::reconcile_key::ReconcileKey;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::time::Timestamp;
use crate::messages::Reconcile;

/// Verified certificates by Secret; `None` where a Secret could not be read.
type Verified = HashMap<SecretKey, Option<Option<CertificateView>>>;

impl Pool {
    /// Finds out who holds the contested hosts of an Ingress, and then takes the request again. A
    /// host is looked up by one request at a time; the others come back after
    /// [`limits::HOST_CHECK`].
    pub(super) fn after_host_check(
        &mut self,
        key: ReconcileKey,
        hosts: Vec<ContestedHost>,
        ctx: &mut Context<Self>,
    ) -> ResponseFuture<Requeue> {
        if hosts.iter().any(|(host, _)| self.checking.borrow().contains(host)) {
            let again = self.context.clock.now() + limits::HOST_CHECK;
            return Box::pin(async move { Requeue::At(again) });
        }
        let names: Vec<DnsName> = hosts.iter().map(|(host, _)| host.clone()).collect();
        self.checking.borrow_mut().extend(names.iter().cloned());
        let (context, checking, pool) =
            (self.context.clone(), self.checking.clone(), ctx.address());
        Box::pin(async move {
            look_up_holders(&context, hosts).await;
            checking.borrow_mut().retain(|host| !names.contains(host));
            pool.send(Reconcile(key)).await.unwrap_or(Requeue::Busy)
        })
    }
}

/// Reads the Secrets that decide on `hosts`, and records the holders in the index.
async fn look_up_holders(context: &OperatorContext, hosts: Vec<ContestedHost>) {
    let secrets: BTreeSet<&SecretKey> = hosts.iter().flat_map(|(_, secrets)| secrets).collect();
    let count = secrets.len();
    let few = secrets.into_iter().take(limits::HOLDER_SECRETS).cloned();
    let reads = stream::iter(few).map(|secret| async {
        let read = timeout(limits::KUBE_CALL, context.tls_secrets.verified(&secret)).await;
        (secret, read.ok().and_then(Result::ok))
    });
    let verified: Verified = reads.buffer_unordered(limits::SCAN_AT_ONCE).collect().await;
    if count > limits::HOLDER_SECRETS {
        warn!(secrets = count, read = limits::HOLDER_SECRETS, "too many Secrets claim one host");
    }
    let now = context.clock.now();
    for (host, secrets) in hosts {
        let holders = holders(&host, &secrets, &verified, now);
        let namespaces = secrets.iter().map(|secret| &*secret.namespace).collect::<BTreeSet<_>>();
        let by = holders.as_ref().map(|holders| holders.keys().collect::<Vec<_>>());
        info!(%host, ?namespaces, held_by = ?by, "several namespaces name one host");
        context.index.borrow_mut().record_holders(&host, holders, now);
    }
}

/// Namespaces that hold a valid certificate for `host`; `None` if a Secret could not be read.
fn holders(
    host: &DnsName,
    secrets: &[SecretKey],
    verified: &Verified,
    now: Timestamp,
) -> Option<Holders> {
    let mut holders = Holders::new();
    for secret in secrets {
        let Some(certificate) = verified.get(secret)?.as_ref()? else { continue };
        let is_valid =
            certificate.not_before <= now + limits::CLOCK_SKEW && now < certificate.not_after;
        if is_valid && certificate.is_for(host) {
            let until = holders.entry(secret.namespace.clone()).or_insert(certificate.not_after);
            *until = certificate.not_after.max(*until);
        }
    }
    Some(holders)
}
