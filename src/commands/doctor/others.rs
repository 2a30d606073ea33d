//! Other installs and issuers in the cluster.

use std::collections::BTreeSet;

use ingress_acme_actors::domain::doctor::Fact;
use ingress_acme_actors::domain::doctor::installs::{OtherInstall, Others};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::new_orders::LEASE;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::ListParams;

use super::cluster::{Cluster, lease_of};
use super::deployment::Deployments;
use crate::kubernetes::api_groups::{CERT_MANAGER, names};

/// Finds them by our label on Deployments, by our Lease, and by cert-manager's API group.
pub(super) async fn find(cluster: &Cluster, deployments: &Deployments) -> Fact<Others> {
    let cert_manager = cluster.ask(names(&cluster.client)).await?;
    let cert_manager = cert_manager.iter().any(|group| group == CERT_MANAGER);
    let (mut installs, mut unread) = (Vec::new(), None);
    match &deployments.others {
        Ok(others) => installs.extend(
            others
                .iter()
                .map(|one| OtherInstall { name: one.facts.name.clone(), serves: one.serves() }),
        ),
        Err(why) => unread = Some(format!("other namespaces may not be looked at by you: {why}")),
    }
    let leading = leading_elsewhere(cluster).await.unwrap_or_default();
    let unknown = leading.into_iter().filter(|namespace| {
        let within = format!("{namespace}/");
        !installs.iter().any(|one| one.name.starts_with(&within))
    });
    let unknown: Vec<OtherInstall> = unknown
        .map(|namespace| OtherInstall { name: format!("{namespace}/{LEASE}"), serves: None })
        .collect();
    installs.extend(unknown);
    Ok(Others { installs, cert_manager, unread })
}

/// Other namespaces with a Lease of our name that somebody renews. One who may not list them sees
/// none: Deployments show the same.
async fn leading_elsewhere(cluster: &Cluster) -> Fact<BTreeSet<String>> {
    let api: Api<Lease> = Api::all(cluster.client.clone());
    let named = ListParams::default().fields(&format!("metadata.name={LEASE}"));
    let leases = cluster.ask(api.list(&named.limit(limits::DOCTOR_LISTED))).await?;
    let now = cluster.now();
    let live = leases.items.into_iter().filter_map(|lease| {
        let namespace = lease.metadata.namespace.clone()?;
        let renewed = lease_of(lease).renewed.zip(now);
        let is_live = renewed.is_some_and(|(at, now)| now.since(at) <= limits::LEASE_STALE);
        (is_live && namespace != cluster.own).then_some(namespace)
    });
    Ok(live.collect())
}
