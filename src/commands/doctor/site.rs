//! One Ingress and its hosts: the plan of its certificates, DNS, routes over both families, CAA.

use std::collections::BTreeSet;
use std::net::IpAddr;

use futures_util::future::join;
use ingress_acme_actors::domain::caa::{CaaSet, Issuer};
use ingress_acme_actors::domain::doctor::class::Asked;
use ingress_acme_actors::domain::doctor::hosts::{self, Addresses, CaOfHost, Route, Served};
use ingress_acme_actors::domain::doctor::{Fact, Finding};
use ingress_acme_actors::domain::ingress::{IngressKey, IngressView};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::domain::public_name::PublicCa;
use ingress_acme_actors::domain::rule_host::RuleHost;
use ingress_acme_actors::domain::solver_place::PlaceChoices;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::ListParams;
use tokio::time::timeout;

use super::authority::Authorities;
use super::cluster::Cluster;
use super::deployment::Setup;
use crate::commands::plan;
use crate::dns_and_http::probe::{HttpProbe, Names};
use crate::dns_and_http::solver::Thumbprint;
use crate::kubernetes::client::{MANAGED_BY, MANAGED_BY_LABEL};
use crate::kubernetes::ingresses::view;
use crate::kubernetes::solver_ingresses;
use crate::process::public_ca::public_ca;

/// An Ingress; empty where none is asked for.
pub(super) struct Site {
    pub(super) served: Fact<Option<Served>>,
    /// Its class, with the place of its solver route.
    pub(super) class: Option<Asked>,
    /// Names of its certificates, or its hosts where it gets none.
    pub(super) names: Vec<DnsName>,
    /// Addresses in its status.
    addresses: Vec<IpAddr>,
    /// Hosts whose challenge path is routed to the solver now.
    routed: Fact<BTreeSet<RuleHost>>,
    /// Name of the CA of its certificates, where a file names several.
    ca: Option<String>,
    is_public_ca: bool,
}

impl Site {
    fn without(served: Fact<Option<Served>>) -> Self {
        Self {
            served,
            class: None,
            names: Vec::new(),
            addresses: Vec::new(),
            routed: Ok(BTreeSet::new()),
            ca: None,
            is_public_ca: false,
        }
    }

    /// Reads the Ingress, if one is asked for.
    pub(super) async fn read(cluster: &Cluster, setup: &Setup, key: Option<&IngressKey>) -> Self {
        let Some(key) = key else { return Self::without(Ok(None)) };
        let api: Api<Ingress> = Api::namespaced(cluster.client.clone(), &key.namespace);
        let ingress = match cluster.ask(api.get_opt(&key.name)).await {
            Ok(Some(ingress)) => ingress,
            Ok(None) => return Self::without(Ok(None)),
            Err(why) => return Self::without(Err(why)),
        };
        let routed = routed(cluster, setup, &ingress);
        let (planned, routed) = join(planned(cluster, setup, key), routed).await;
        let (served, names) = match planned {
            Ok((served, names)) => (Ok(Some(served)), names),
            Err(why) => (Err(why), Vec::new()),
        };
        let view = view(&ingress);
        let names = if names.is_empty() { view.rule_hosts.clone() } else { names };
        let own_namespace = Some(cluster.own.clone());
        let (ca, is_public_ca) = ca_of(setup, &view, &names).await;
        let places = PlaceChoices { classes: setup.flags.solver_places.clone(), own_namespace };
        Self {
            served,
            class: Some(Asked::Ingress(view.class.clone(), places.choice(&view))),
            names: names.iter().filter_map(|name| DnsName::parse(name).ok()).collect(),
            addresses: addresses(&ingress),
            routed,
            ca,
            is_public_ca,
        }
    }

    /// Looks at one host: DNS, the route over each family, and what its CAA records say of each CA.
    pub(super) async fn look_at(
        &self,
        host: &DnsName,
        (names, probe): (&Names, &HttpProbe),
        issuers: &[(Option<&str>, &Issuer)],
    ) -> Vec<Finding> {
        let (asked, caa) = join(probe.by_family(host), caa(names, host)).await;
        let text = host.as_str();
        let addresses = asked.as_ref().map_err(Clone::clone).map(|found| Addresses {
            found: found.addresses.clone(),
            of_ingress: self.addresses.clone(),
            is_public_ca: self.is_public_ca,
        });
        let mut findings = vec![hosts::dns(text, &addresses)];
        let answers = asked.map(|found| found.answers).unwrap_or_default();
        let has_other_family = answers.len() > 1;
        let routed = self.routed.as_ref().ok();
        let is_routed = routed.map(|routed| routed.iter().any(|rule| rule.serves(host)));
        findings.extend(answers.into_iter().map(|(address, answer)| {
            hosts::route(text, &Route { address, answer, is_routed, has_other_family })
        }));
        let differ = caa.as_ref().is_ok_and(|found| !found.records.is_empty());
        let number = if differ { issuers.len() } else { 1 };
        findings.extend(issuers.iter().take(number).map(|(name, issuer)| {
            let is_meant = name.is_none() || *name == self.ca.as_deref();
            hosts::caa(host, CaOfHost { issuer, name: *name, is_meant }, &caa)
        }));
        findings
    }
}

/// The CA of the certificates of an Ingress by name, where a file names several, and whether it
/// certifies public names only.
async fn ca_of(setup: &Setup, ingress: &IngressView, names: &[String]) -> (Option<String>, bool) {
    let chosen = setup.cas.as_ref().and_then(|cas| cas.as_ref().ok()).map(|cas| {
        let (namespace, names) = (&*ingress.key.namespace, names.iter().map(String::as_str));
        cas.choose(namespace, &names, ingress.annotation("ca"), None).ca
    });
    let (name, directory) = match chosen {
        Some(ca) => (Some(ca.name.clone()), &ca.directory),
        None => (None, &setup.directory),
    };
    let public = match chosen.and_then(|ca| ca.public) {
        Some(public) => public,
        None => public_ca(setup.flags.serving.public_ca, directory).await,
    };
    (name, public != PublicCa::No)
}

/// The resolver and the probe of the operator, with its account's key where the user may read that.
pub(super) fn probe(setup: &Setup, authorities: &Authorities) -> Fact<(Names, HttpProbe)> {
    let thumbprint = Thumbprint::default();
    if let Some(known) = authorities.thumbprint.clone() {
        thumbprint.set(known);
    }
    let names = Names::new(setup.nameserver).map_err(|error| error.to_string())?;
    let probe = HttpProbe::new(setup.nameserver, setup.probe_port, thumbprint);
    Ok((names, probe.map_err(|error| error.to_string())?))
}

async fn caa(names: &Names, host: &DnsName) -> Fact<CaaSet> {
    let found = timeout(limits::DOCTOR_DNS, names.caa(host)).await;
    found.unwrap_or_else(|_| Err("the nameserver does not answer".to_owned()))
}

/// Certificates of the Ingress by the rules of the operator, and their names.
async fn planned(
    cluster: &Cluster,
    setup: &Setup,
    key: &IngressKey,
) -> Fact<(Served, Vec<String>)> {
    let plan = plan::of_one(&cluster.client, key, (&setup.flags.serving, &cluster.own));
    let planned = timeout(limits::DOCTOR_PLAN, plan).await;
    let late = |_| format!("not read within {} s", limits::DOCTOR_PLAN.as_secs());
    planned.map_err(late)?.map_err(|error| format!("{error:#}"))
}

/// Hosts whose challenge path is routed to the solver now: those of solver Ingresses in the
/// operator's namespace and in that of the Ingress, and of the Ingress itself.
async fn routed(cluster: &Cluster, setup: &Setup, ingress: &Ingress) -> Fact<BTreeSet<RuleHost>> {
    let ours = ListParams::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"));
    let ours = ours.limit(limits::DOCTOR_LISTED);
    let mut found = vec![ingress.clone()];
    let namespaces: BTreeSet<&str> =
        [Some(cluster.own.as_str()), ingress.metadata.namespace.as_deref()]
            .into_iter()
            .flatten()
            .collect();
    for namespace in namespaces {
        let api: Api<Ingress> = Api::namespaced(cluster.client.clone(), namespace);
        found.extend(cluster.ask(api.list(&ours)).await?.items);
    }
    let install = setup.flags.install_id.as_ref().unwrap_or(&cluster.own);
    let routes = found.iter().filter_map(|one| solver_ingresses::routed(one, install));
    Ok(routes.flat_map(|routes| routes.hosts).collect())
}

/// Addresses in the status of an Ingress.
fn addresses(ingress: &Ingress) -> Vec<IpAddr> {
    let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let entries = status.iter().flat_map(|status| status.ingress.iter().flatten());
    entries.filter_map(|entry| entry.ip.as_deref()?.parse().ok()).collect()
}
