//! Shared solver Ingresses, which route `/.well-known/acme-challenge/` of their hosts to our
//! solver.
//!
//! Written by server-side apply with force, since no other client manages them. They have no owner
//! reference, because the operator removes them host by host.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use ingress_acme_actors::domain::ingress::IngressClass;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::domain::routes::SolverIngress;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::ports::{PortError, Routes};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule,
    IngressServiceBackend, IngressSpec, ServiceBackendPort,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};

use crate::kubernetes::client::{
    CLASS_ANNOTATION, FIELD_MANAGER, MANAGED_BY, MANAGED_BY_LABEL, class, our_label, port_error,
};
use crate::kubernetes::ingresses::MINION;

/// Path prefix of all challenges (RFC 8555 §8.3).
const CHALLENGES: &str = "/.well-known/acme-challenge/";
/// Solver Service of deploy/install.yaml, in the operator's namespace.
const SERVICE: &str = "ingress-acme-solver";
/// Port of the solver Service.
const PORT: i32 = 80;
/// Annotations that keep other programs away from the challenge: it must be answered over HTTP, to
/// anybody, and no other program may act on the hosts. Each program ignores those of the others.
const HINTS: [(&str, &str); 11] = [
    // external-dns changes no record of a host because the solver Ingress names it too.
    ("external-dns.alpha.kubernetes.io/controller", "ingress-acme"),
    // ingress-nginx: no redirect to HTTPS; no allow-list and no authentication of all Ingresses.
    ("nginx.ingress.kubernetes.io/ssl-redirect", "false"),
    ("nginx.ingress.kubernetes.io/force-ssl-redirect", "false"),
    ("nginx.ingress.kubernetes.io/enable-global-auth", "false"),
    ("nginx.ingress.kubernetes.io/whitelist-source-range", "0.0.0.0/0,::/0"),
    // HAProxy Technologies' controller, haproxy-ingress, Azure's AGIC, Cilium: no redirect.
    ("haproxy.org/ssl-redirect", "false"),
    ("haproxy-ingress.github.io/ssl-redirect", "false"),
    ("ingress.kubernetes.io/ssl-redirect", "false"),
    ("appgw.ingress.kubernetes.io/ssl-redirect", "false"),
    ("ingress.cilium.io/force-https", "disabled"),
    // Traefik: before the routers of users, whatever priority they have.
    ("traefik.ingress.kubernetes.io/router.priority", "9000000000"),
];

/// An annotation that the user adds to solver Ingresses: `--solver-annotation`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SolverAnnotation {
    /// Class of the solver Ingresses; `None` for all.
    pub class: Option<String>,
    /// Name of the annotation.
    pub name: String,
    /// Value of the annotation.
    pub value: String,
}

/// Solver Ingresses of one namespace.
pub struct SolverIngresses {
    api: Api<Ingress>,
    annotations: Vec<SolverAnnotation>,
}

impl SolverIngresses {
    /// Uses the operator's own namespace, which has the solver's Service.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), annotations: Vec::new() }
    }

    /// Adds annotations of the user's choice.
    #[must_use]
    pub fn annotated(self, annotations: Vec<SolverAnnotation>) -> Self {
        Self { annotations, ..self }
    }

    async fn apply(&self, wanted: &SolverIngress) -> Result<Option<Timestamp>, PortError> {
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(ingress(wanted, &self.annotations));
        let doing = format!("write solver Ingress {}", wanted.name);
        let applied = self.api.patch(&wanted.name, &params, &patch).await;
        applied.map(|applied| created(&applied)).map_err(|error| port_error(error, &doing))
    }

    async fn delete(&self, name: &str) -> Result<(), PortError> {
        match self.api.delete(name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(port_error(error, &format!("delete solver Ingress {name}"))),
        }
    }
}

#[async_trait(?Send)]
impl Routes for SolverIngresses {
    async fn list(&self) -> Result<Vec<SolverIngress>, PortError> {
        let ours = ListParams::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"));
        let list = self.api.list(&ours).await;
        let list = list.map_err(|error| port_error(error, "list the solver Ingresses"))?;
        let there = list.items.iter().filter(|found| found.metadata.deletion_timestamp.is_none());
        Ok(there.map(view).collect())
    }

    async fn write(&self, ingress: &SolverIngress) -> Result<Option<Timestamp>, PortError> {
        if ingress.hosts.is_empty() {
            return self.delete(&ingress.name).await.map(|()| None);
        }
        self.apply(ingress).await
    }
}

fn ingress(wanted: &SolverIngress, added: &[SolverAnnotation]) -> Ingress {
    let minion = wanted.minion.then_some(MINION);
    let hints = HINTS.into_iter().chain(minion);
    let mut annotations: BTreeMap<String, String> =
        hints.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let is_meant = |added: &&SolverAnnotation| {
        added.class.as_deref().is_none_or(|class| wanted.class.name() == Some(class))
    };
    let added = added.iter().filter(is_meant);
    annotations.extend(added.map(|added| (added.name.clone(), added.value.clone())));
    let mut ingress_class_name = None;
    match &wanted.class {
        IngressClass::Named(name) => ingress_class_name = Some(name.to_string()),
        IngressClass::Annotated(name) => {
            annotations.insert(CLASS_ANNOTATION.to_owned(), name.to_string());
        }
        IngressClass::Default => {}
    }
    let rules = Some(wanted.hosts.iter().map(rule).collect());
    Ingress {
        metadata: ObjectMeta {
            name: Some(wanted.name.clone()),
            labels: Some(our_label()),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(IngressSpec { ingress_class_name, rules, ..IngressSpec::default() }),
        status: None,
    }
}

fn rule(host: &DnsName) -> IngressRule {
    let port = ServiceBackendPort { number: Some(PORT), name: None };
    let service = IngressServiceBackend { name: SERVICE.to_owned(), port: Some(port) };
    let path = HTTPIngressPath {
        path: Some(CHALLENGES.to_owned()),
        path_type: "Prefix".to_owned(),
        backend: IngressBackend { service: Some(service), resource: None },
    };
    let http = HTTPIngressRuleValue { paths: vec![path] };
    IngressRule { host: Some(host.to_string()), http: Some(http) }
}

/// Converts an Ingress of the API. Hosts that are not valid names are omitted; the next write
/// removes them.
fn view(found: &Ingress) -> SolverIngress {
    let rules = found.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    let hosts: BTreeSet<DnsName> =
        rules.filter_map(|rule| DnsName::parse(rule.host.as_deref()?).ok()).collect();
    let annotations = found.metadata.annotations.as_ref();
    SolverIngress {
        name: found.metadata.name.clone().unwrap_or_default(),
        class: class(found),
        minion: annotations.is_some_and(|all| all.get(MINION.0).is_some_and(|is| is == MINION.1)),
        hosts,
        created: created(found),
    }
}

fn created(ingress: &Ingress) -> Option<Timestamp> {
    let created = ingress.metadata.creation_timestamp.as_ref();
    created.map(|created| Timestamp::from_secs(created.0.as_second()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The annotation of a class is copied byte for byte and adds nothing else.
        #[test]
        fn any_class_and_hosts_are_written_and_read_back(
            class in ".{1,300}", hosts in prop::collection::btree_set("[a-z]{1,9}\\.example\\.com", 0..5),
        ) {
            let hosts = hosts.iter().map(|host| DnsName::parse(host).unwrap()).collect();
            let class = IngressClass::Annotated(class.as_str().into());
            let wanted = SolverIngress { name: "solver".into(), class, minion: false, hosts, created: None };
            let text = serde_json::to_string(&ingress(&wanted, &[])).unwrap();
            let found: Ingress = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(found.metadata.annotations.as_ref().map(BTreeMap::len), Some(HINTS.len() + 1));
            prop_assert_eq!(view(&found), wanted);
        }

        /// A solver Ingress that somebody has edited is read without a panic.
        #[test]
        fn any_solver_ingress_is_read(host in proptest::option::of(".{0,300}"), name in ".{0,60}") {
            let rule = IngressRule { host, http: None };
            let spec = IngressSpec { rules: Some(vec![rule]), ..IngressSpec::default() };
            let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
            let found = view(&Ingress { metadata, spec: Some(spec), status: None });
            prop_assert!(found.hosts.len() <= 1);
        }
    }

    #[test]
    fn what_is_written_reads_back_the_same_in_every_class() {
        let classes = ["nginx".into(), "old".into()];
        let [named, annotated] = classes;
        let classes =
            [IngressClass::Named(named), IngressClass::Annotated(annotated), IngressClass::Default];
        for class in classes {
            let hosts = ["a.example.com", "b.example.com"];
            let hosts = hosts.iter().map(|host| DnsName::parse(host).unwrap()).collect();
            let wanted =
                SolverIngress { name: "solver".into(), class, minion: false, hosts, created: None };
            assert_eq!(view(&ingress(&wanted, &[])), wanted);
        }
    }

    #[test]
    fn annotations_of_the_user_are_on_the_solver_ingresses_of_their_class() {
        let added = |class: Option<&str>, name: &str| SolverAnnotation {
            class: class.map(str::to_owned),
            name: name.to_owned(),
            value: "x".to_owned(),
        };
        let all = [added(None, "all"), added(Some("alb"), "alb"), added(Some("nginx"), "nginx")];
        for (class, minion) in
            [(IngressClass::Named("alb".into()), true), (IngressClass::Default, false)]
        {
            let of_alb = class != IngressClass::Default;
            let hosts = BTreeSet::new();
            let wanted =
                SolverIngress { name: "solver".into(), class, minion, hosts, created: None };
            let written = ingress(&wanted, &all);
            assert_eq!(view(&written), wanted);
            let has =
                |name: &str| written.metadata.annotations.as_ref().unwrap().contains_key(name);
            assert_eq!([has("all"), has("alb"), has("nginx")], [true, of_alb, false]);
        }
    }
}
