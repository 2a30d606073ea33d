//! Solver Ingresses, which route `/.well-known/acme-challenge/` of their hosts to our solver, and
//! the same path in users' own Ingresses.
//!
//! Solver Ingresses are written by server-side apply with force, since no other client manages
//! them. They have no owner reference, because the operator removes them host by host.

mod in_place;
mod services;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::ingress::{IngressClass, RoutedHosts};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::routes::{SolverIngress, SolverName};
use ingress_acme_actors::domain::rule_host::RuleHost;
use ingress_acme_actors::domain::solver_place::{SOLVER_NAMES, SOLVER_SERVICE, SolverPlace};
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::ports::{PortError, Routes, Written};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule,
    IngressServiceBackend, IngressSpec, ServiceBackendPort,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tracing::debug;

use crate::kubernetes::client::{
    CLASS_ANNOTATION, FIELD_MANAGER, IN_PLACE_ANNOTATION, IN_PLACE_MANAGER, INSTALL_ANNOTATION,
    MANAGED_BY, MANAGED_BY_LABEL, MINION, class, find, install_of, is_ours, our_label, port_error,
};
use services::{Services, gone, in_namespace};

/// Path prefix of all challenges (RFC 8555 §8.3).
const CHALLENGES: &str = "/.well-known/acme-challenge/";
/// Port of the solver Service.
const PORT: i32 = 80;
/// Annotations that keep other programs away from the challenge: it must be answered over HTTP, to
/// anybody, and no other program may act on the hosts. Each program ignores those of the others.
const HINTS: [(&str, &str); 10] = [
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
];
/// Traefik puts rules for exact names before the routers of users, whatever priority they have. A
/// wildcard or hostless rule would take the challenges of all other names too.
const PRIORITY: (&str, &str) = ("traefik.ingress.kubernetes.io/router.priority", "9000000000");

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

/// Solver Ingresses, and our paths in users' Ingresses.
pub struct SolverIngresses {
    client: Client,
    /// Ingresses of the operator's namespace.
    own: Api<Ingress>,
    /// `--install-id`: name of this install on what it makes in users' namespaces.
    install: String,
    services: Services,
    annotations: Vec<SolverAnnotation>,
}

impl SolverIngresses {
    /// Uses the operator's own namespace, which has the solver's Service.
    pub fn new(client: Client, namespace: &str, install: &str) -> Self {
        let services = Services::new(client.clone(), namespace, install);
        let own = Api::namespaced(client.clone(), namespace);
        Self { client, own, install: install.to_owned(), services, annotations: Vec::new() }
    }

    /// Adds annotations of the user's choice.
    #[must_use]
    pub fn annotated(self, annotations: Vec<SolverAnnotation>) -> Self {
        Self { annotations, ..self }
    }

    fn api(&self, name: &SolverName) -> Api<Ingress> {
        match &name.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => self.own.clone(),
        }
    }

    /// Writes a solver Ingress, in whichever namespace.
    async fn apply(&self, wanted: &SolverIngress) -> Result<Written, PortError> {
        let SolverName { namespace, name } = &wanted.name;
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let mut written = ingress(wanted, &self.annotations);
        if namespace.is_some() {
            let annotations = written.metadata.annotations.get_or_insert_default();
            annotations.insert(INSTALL_ANNOTATION.to_owned(), self.install.clone());
        }
        let patch = Patch::Apply(written);
        let doing = format!("write solver Ingress {}", wanted.name);
        let applied = self.api(&wanted.name).patch(name, &params, &patch).await;
        let applied = applied.map_err(|error| match namespace {
            Some(namespace) => in_namespace(error, &doing, namespace),
            None => port_error(error, &doing),
        })?;
        let generation = applied.metadata.generation.unwrap_or_default();
        Ok(Written { created: created(&applied), generation })
    }

    async fn delete(&self, name: &SolverName) -> Result<(), PortError> {
        let deleted = self.api(name).delete(&name.name, &DeleteParams::default()).await;
        gone(deleted.map(drop), &format!("delete solver Ingress {name}"))
    }

    /// Reads a user's Ingress; `None` if it is gone. The operator has no right to `get` Ingresses.
    async fn found(&self, wanted: &SolverIngress) -> Result<Option<Ingress>, PortError> {
        let doing = format!("read Ingress {}", wanted.name);
        let found = find(&self.api(&wanted.name), &wanted.name.name).await;
        let found = found.map_err(|error| port_error(error, &doing))?;
        Ok(found.filter(|found| found.metadata.deletion_timestamp.is_none()))
    }

    /// Puts our path into a user's Ingress, or takes it out of some rules. `None` if the Ingress is
    /// gone. The mark comes before the Service, so that a crash leaves nothing that is not found.
    async fn add_in_place(
        &self,
        wanted: &SolverIngress,
        namespace: &str,
    ) -> Result<Option<Written>, PortError> {
        let Some(mut found) = self.found(wanted).await? else { return Ok(None) };
        let edit = in_place::edit(&found, &wanted.hosts, &self.install);
        if edit.is_of_others {
            return Err(not_in_place(wanted, edit.refused.as_deref().unwrap_or_default()));
        }
        if !self.services.has(namespace) {
            self.services.may(namespace).await?;
            if !in_place::is_marked(&found) {
                let bare = Some(in_place::bare_mark(&self.install));
                found = self.patch_in_place(wanted, &found, None, bare).await?;
            }
        }
        self.services.ensure(namespace).await?;
        let mark = in_place::mark_of(&self.install, &edit.marked);
        if !in_place::is_there(&found, &edit.rules, mark.as_ref()) {
            found = self.patch_in_place(wanted, &found, Some(&edit.rules), mark).await?;
        }
        if let Some(why) = edit.refused {
            return Err(not_in_place(wanted, &why));
        }
        let generation = found.metadata.generation.unwrap_or_default();
        Ok(Some(Written { created: None, generation }))
    }

    /// Takes our path out of a user's Ingress. With the last one of the namespace the Service goes
    /// too, before the mark.
    async fn remove_in_place(
        &self,
        wanted: &SolverIngress,
        namespace: &str,
        is_last: bool,
    ) -> Result<(), PortError> {
        let mut found = self.found(wanted).await?;
        let (none, bare) = (BTreeSet::new(), in_place::bare_mark(&self.install));
        if let Some(ingress) = &found {
            let edit = in_place::edit(ingress, &none, &self.install);
            if edit.is_of_others || !in_place::is_marked(ingress) {
                found = None;
            } else if !in_place::is_there(ingress, &edit.rules, Some(&bare)) {
                let rules = Some(&*edit.rules);
                found = Some(self.patch_in_place(wanted, ingress, rules, Some(bare)).await?);
            }
        }
        if is_last {
            self.services.remove(namespace).await?;
        }
        if let Some(ingress) = &found {
            let after = self.patch_in_place(wanted, ingress, None, None).await?;
            self.disown(wanted, &after).await;
        }
        Ok(())
    }

    /// Writes the mark, and the rules if there are any.
    async fn patch_in_place(
        &self,
        wanted: &SolverIngress,
        found: &Ingress,
        rules: Option<&[IngressRule]>,
        mark: Option<String>,
    ) -> Result<Ingress, PortError> {
        let version = &found.metadata.resource_version;
        let annotations = json!({IN_PLACE_ANNOTATION: mark});
        let metadata = json!({"resourceVersion": version, "annotations": annotations});
        let mut patch = json!({"metadata": metadata});
        if let Some(rules) = rules {
            patch["spec"] = json!({"rules": rules});
        }
        let doing = format!("write the challenge path of Ingress {}", wanted.name);
        self.patch(wanted, patch).await.map_err(|error| port_error(error, &doing))
    }

    async fn patch(&self, wanted: &SolverIngress, patch: Value) -> Result<Ingress, kube::Error> {
        let params = PatchParams {
            field_manager: Some(IN_PLACE_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.api(&wanted.name).patch(&wanted.name.name, &params, &Patch::Merge(patch)).await
    }

    /// Lets go of the rules. As their manager we would otherwise be in conflict with the next
    /// server-side apply of the user, though nothing of ours is left. Not worth a failure.
    async fn disown(&self, wanted: &SolverIngress, after: &Ingress) {
        let managers = after.metadata.managed_fields.iter().flatten();
        let others = managers.filter(|entry| entry.manager.as_deref() != Some(IN_PLACE_MANAGER));
        let mut others: Vec<Value> =
            others.filter_map(|entry| serde_json::to_value(entry).ok()).collect();
        if others.is_empty() {
            others.push(json!({})); // an empty list would leave the field as it is
        }
        let version = &after.metadata.resource_version;
        let patch = json!({"metadata": {"resourceVersion": version, "managedFields": others}});
        if let Err(error) = self.patch(wanted, patch).await {
            debug!(ingress = %wanted.name, %error, "the fields of the Ingress stay managed by us");
        }
    }
}

#[async_trait(?Send)]
impl Routes for SolverIngresses {
    async fn list(&self) -> Result<Vec<SolverIngress>, PortError> {
        let ours = ListParams::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"));
        let list = self.own.list(&ours).await;
        let list = list.map_err(|error| port_error(error, "list the solver Ingresses"))?;
        let there = list.items.iter().filter(|found| found.metadata.deletion_timestamp.is_none());
        Ok(there.map(view).collect())
    }

    async fn write(
        &self,
        ingress: &SolverIngress,
        is_last: bool,
    ) -> Result<Option<Written>, PortError> {
        let is_removal = ingress.hosts.is_empty();
        let Some(namespace) = &ingress.name.namespace else {
            return if is_removal {
                self.delete(&ingress.name).await.map(|()| None)
            } else {
                self.apply(ingress).await.map(Some)
            };
        };
        match (&ingress.place, is_removal) {
            (SolverPlace::InPlace(_), false) => self.add_in_place(ingress, namespace).await,
            (SolverPlace::InPlace(_), true) => {
                self.remove_in_place(ingress, namespace, is_last).await.map(|()| None)
            }
            (_, false) => {
                let written = self.apply(ingress).await?;
                self.services.ensure(namespace).await.map(|()| Some(written))
            }
            (_, true) => {
                // The solver Ingress goes last, so that a crash in between is found.
                let removed = if is_last { self.services.remove(namespace).await } else { Ok(()) };
                self.delete(&ingress.name).await.and(removed).map(|()| None)
            }
        }
    }

    async fn copy_endpoints(&self) -> Result<(), PortError> {
        self.services.follow().await
    }
}

/// The challenge path has no place in the user's Ingress.
fn not_in_place(wanted: &SolverIngress, why: &str) -> PortError {
    PortError::permanent(
        FailureClass::Unreachable,
        format!(
            "the challenge path cannot be put into Ingress {}: {why}; choose another place by the annotation \
             ingress-acme.dev/solver-place",
            wanted.name
        ),
    )
}

/// Routes of this install to the solver, in a solver Ingress or in that of a user.
pub(crate) fn routed(ingress: &Ingress, install: &str) -> Option<RoutedHosts> {
    if !is_ours(&ingress.metadata) {
        return in_place::routed(ingress, install);
    }
    let name = ingress.metadata.name.as_deref().unwrap_or_default();
    if !name.starts_with(SOLVER_NAMES) || install_of(&ingress.metadata) != Some(install) {
        return None;
    }
    let hosts = view(ingress).hosts.into_iter().take(limits::HOSTS_PER_SOLVER_INGRESS).collect();
    Some(RoutedHosts { hosts, writer: None })
}

/// The edition of an Ingress is that of its rules without our path.
pub(super) fn without_ours(rules: &[IngressRule]) -> Vec<IngressRule> {
    let mut rules = rules.to_vec();
    for http in rules.iter_mut().filter_map(|rule| rule.http.as_mut()) {
        http.paths.retain(|path| !is_challenge_path(path));
    }
    rules
}

fn host_of(rule: &IngressRule) -> Option<RuleHost> {
    RuleHost::parse(rule.host.as_deref().unwrap_or_default())
}

/// Whether the path is exactly ours.
fn is_challenge_path(path: &HTTPIngressPath) -> bool {
    let service = path.backend.service.as_ref();
    path.path.as_deref() == Some(CHALLENGES)
        && service.is_some_and(|service| service.name == SOLVER_SERVICE)
}

fn ingress(wanted: &SolverIngress, added: &[SolverAnnotation]) -> Ingress {
    let minion = (wanted.place == SolverPlace::Minion).then_some(MINION);
    let priority = wanted.hosts.iter().all(RuleHost::is_exact).then_some(PRIORITY);
    let hints = HINTS.into_iter().chain(priority).chain(minion);
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
            name: Some(wanted.name.name.to_string()),
            labels: Some(our_label()),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(IngressSpec { ingress_class_name, rules, ..IngressSpec::default() }),
        status: None,
    }
}

fn rule(host: &RuleHost) -> IngressRule {
    let http = HTTPIngressRuleValue { paths: vec![challenge_path()] };
    IngressRule { host: host.in_a_rule().map(str::to_owned), http: Some(http) }
}

fn challenge_path() -> HTTPIngressPath {
    let port = ServiceBackendPort { number: Some(PORT), name: None };
    let service = IngressServiceBackend { name: SOLVER_SERVICE.to_owned(), port: Some(port) };
    HTTPIngressPath {
        path: Some(CHALLENGES.to_owned()),
        path_type: "Prefix".to_owned(),
        backend: IngressBackend { service: Some(service), resource: None },
    }
}

/// Converts a solver Ingress of the operator's namespace. Hosts that are not valid names are
/// omitted; the next write removes them.
fn view(found: &Ingress) -> SolverIngress {
    let rules = found.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    let annotations = found.metadata.annotations.as_ref();
    let is_minion =
        annotations.is_some_and(|all| all.get(MINION.0).is_some_and(|is| is == MINION.1));
    SolverIngress {
        name: SolverName::own(found.metadata.name.as_deref().unwrap_or_default()),
        class: class(found),
        place: if is_minion { SolverPlace::Minion } else { SolverPlace::Shared },
        hosts: rules.filter_map(host_of).collect(),
        created: created(found),
        generation: found.metadata.generation.unwrap_or_default(),
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

    fn solver(class: IngressClass, place: SolverPlace, hosts: BTreeSet<RuleHost>) -> SolverIngress {
        let name = SolverName::own("solver");
        SolverIngress { name, class, place, hosts, created: None, generation: 0 }
    }

    proptest! {
        /// The annotation of a class is copied byte for byte and adds nothing else.
        #[test]
        fn any_class_and_hosts_are_written_and_read_back(
            class in ".{1,300}",
            hosts in prop::collection::btree_set("([a-z]{1,9}|\\*)\\.example\\.com|\\*", 0..5),
        ) {
            let hosts: BTreeSet<RuleHost> =
                hosts.iter().map(|host| RuleHost::parse(host).unwrap()).collect();
            let hints = HINTS.len() + usize::from(hosts.iter().all(RuleHost::is_exact));
            let class = IngressClass::Annotated(class.as_str().into());
            let wanted = solver(class, SolverPlace::Shared, hosts);
            let text = serde_json::to_string(&ingress(&wanted, &[])).unwrap();
            let found: Ingress = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(found.metadata.annotations.as_ref().map(BTreeMap::len), Some(hints + 1));
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
            let hosts = hosts.iter().map(|host| RuleHost::parse(host).unwrap()).collect();
            let wanted = solver(class, SolverPlace::Shared, hosts);
            assert_eq!(view(&ingress(&wanted, &[])), wanted);
        }
    }

    #[test]
    fn the_guard_lets_our_own_annotations_pass() {
        let guard = include_str!("../../deploy/guard.yaml");
        let own = HINTS.iter().chain([&PRIORITY]).map(|(name, _)| *name);
        for name in own.chain([CLASS_ANNOTATION, INSTALL_ANNOTATION]) {
            let lists = guard.split("name: solverAnnotations").skip(1);
            let lists: Vec<&str> = lists.filter_map(|list| list.split(']').next()).collect();
            let has = |list: &&str| list.contains(&format!("'{name}'"));
            assert_eq!(lists.iter().filter(|list| has(list)).count(), 2, "{name} in both policies");
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
        let of_alb = IngressClass::Named("alb".into());
        for (class, place) in
            [(of_alb, SolverPlace::Minion), (IngressClass::Default, SolverPlace::Shared)]
        {
            let of_alb = class != IngressClass::Default;
            let hosts = BTreeSet::new();
            let wanted = solver(class, place, hosts);
            let written = ingress(&wanted, &all);
            assert_eq!(view(&written), wanted);
            let has =
                |name: &str| written.metadata.annotations.as_ref().unwrap().contains_key(name);
            assert_eq!([has("all"), has("alb"), has("nginx")], [true, of_alb, false]);
        }
    }
}
