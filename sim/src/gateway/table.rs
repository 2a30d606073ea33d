//! Routes of all Ingresses, updated from watch events and indexed by host.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::networking::v1::Ingress;
use kube::runtime::watcher::Event;

use super::routing::{Backend, Route, parent, routes_of};
use super::rules::{Merging, Rules};

/// Annotation that named the class before `spec.ingressClassName`.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// Annotation of masters and minions (F5 NGINX).
const MERGEABLE: &str = "nginx.org/mergeable-ingress-type";

/// Namespace and name.
type Key = (String, String);
/// Routes of one host, by Ingress.
type Routes = BTreeMap<Key, Vec<Claim>>;

/// A route with what decides whether it counts.
#[derive(Clone, Debug)]
struct Claim {
    route: Route,
    class: Option<String>,
    /// Value of the annotation of F5 NGINX about merging.
    mergeable: Option<String>,
    /// `creationTimestamp` of the Ingress, in seconds.
    created: i64,
}

/// Routes of the gateway.
#[derive(Debug, Default)]
pub(super) struct Table {
    current: Ingresses,
    /// Ingresses of a re-list in progress; the old routes work until the re-list is complete.
    relisted: Ingresses,
    pub(super) rules: Rules,
}

/// Ingresses with their routes, indexed by host: a load test has many, and a request concerns one
/// host.
#[derive(Debug, Default)]
struct Ingresses {
    /// Routes by host; the empty host matches any host, `*.` one label.
    by_host: HashMap<String, Routes>,
    hosts: HashMap<Key, Vec<String>>,
}

impl Ingresses {
    fn insert(&mut self, key: Key, routes: Vec<Claim>) {
        self.remove(&key);
        let mut hosts = Vec::new();
        for claim in routes {
            let host = claim.route.host().unwrap_or_default().to_owned();
            let same_host = self.by_host.entry(host.clone()).or_default();
            same_host.entry(key.clone()).or_default().push(claim);
            hosts.push(host);
        }
        self.hosts.insert(key, hosts);
    }

    fn remove(&mut self, key: &Key) {
        for host in self.hosts.remove(key).unwrap_or_default() {
            let Some(routes) = self.by_host.get_mut(&host) else { continue };
            routes.remove(key);
            if routes.is_empty() {
                self.by_host.remove(&host);
            }
        }
    }

    /// Routes that a request may take: those of the most specific host that any Ingress names. No
    /// controller goes on to a less specific host where none of them has the path.
    fn candidates(&self, host: &str, rules: &Rules) -> Vec<&Claim> {
        let wildcard = parent(host).map(|parent| format!("*.{parent}"));
        let hosts = [Some(host.to_owned()), wildcard, Some(String::new())];
        let routes = hosts.into_iter().flatten().filter_map(|host| self.by_host.get(&host));
        let admitted = routes.map(|routes| admitted(routes, rules));
        admitted.into_iter().find(|routes| !routes.is_empty()).unwrap_or_default()
    }
}

/// Routes of one host that the controller takes in. The last Ingress by name comes first.
fn admitted<'a>(routes: &'a Routes, rules: &Rules) -> Vec<&'a Claim> {
    let is_seen = |(key, routes): &(&Key, &Vec<Claim>)| {
        let class = routes.first().and_then(|claim| claim.class.as_deref());
        rules.sees(&key.0, class)
    };
    let mut seen: Vec<(&Key, &Vec<Claim>)> = routes.iter().rev().filter(is_seen).collect();
    let is_solver = |routes: &[Claim]| routes.iter().all(|claim| claim.route.backend.is_solver());
    if rules.merging == Merging::AddressPerIngress {
        seen.retain(|(_, routes)| !is_solver(routes));
    }
    let created = |routes: &[Claim]| routes.first().map(|claim| claim.created);
    let oldest = seen.iter().min_by_key(|(key, routes)| (created(routes), *key));
    let is = |routes: &[Claim], kind: &str| {
        routes.iter().any(|claim| claim.mergeable.as_deref() == Some(kind))
    };
    if let Some((owner, owning)) = oldest.copied() {
        let is_master = is(owning, "master");
        seen.retain(|(key, routes)| match rules.merging {
            Merging::ByPath | Merging::AddressPerIngress => true,
            Merging::OldestHasHost => *key == owner || (is_master && is(routes, "minion")),
            Merging::OldestNamespaceHasHost => key.0 == owner.0,
        });
    }
    seen.into_iter().flat_map(|(_, routes)| routes).collect()
}

impl Table {
    /// Applies one watch event.
    pub(super) fn observe(&mut self, event: Event<Ingress>) {
        match event {
            Event::Apply(ingress) => self.current.insert(key_of(&ingress), claims_of(&ingress)),
            Event::Delete(ingress) => self.current.remove(&key_of(&ingress)),
            Event::Init => self.relisted = Ingresses::default(),
            Event::InitApply(ingress) => {
                self.relisted.insert(key_of(&ingress), claims_of(&ingress));
            }
            Event::InitDone => self.current = std::mem::take(&mut self.relisted),
        }
    }

    /// Returns the Service for a request; among equal routes, the first Ingress by name wins.
    pub(super) fn backend(&self, host: &str, path: &str) -> Option<&Backend> {
        let candidates = self.current.candidates(host, &self.rules).into_iter();
        candidates
            .filter_map(|Claim { route, .. }| Some((route.rank(host, path)?, route)))
            .max_by_key(|(rank, _)| *rank)
            .map(|(_, route)| &route.backend)
    }
}

fn claims_of(ingress: &Ingress) -> Vec<Claim> {
    let created = ingress.metadata.creation_timestamp.as_ref();
    let created = created.map_or(0, |created| created.0.as_second());
    let class = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.clone());
    let annotation = |name: &str| ingress.metadata.annotations.as_ref()?.get(name).cloned();
    let class = class.or_else(|| annotation(CLASS_ANNOTATION));
    let mergeable = annotation(MERGEABLE);
    let claim = |route| {
        let (class, mergeable) = (class.clone(), mergeable.clone());
        Claim { route, class, mergeable, created }
    };
    routes_of(ingress).into_iter().map(claim).collect()
}

fn key_of(ingress: &Ingress) -> Key {
    let metadata = &ingress.metadata;
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ingress(name: &str, hosts: &[&str]) -> Ingress {
        let rules: Vec<Value> = hosts
            .iter()
            .map(|host| {
                let backend = json!({"service": {"name": format!("{name}-backend")}});
                let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
                json!({"host": host, "http": {"paths": [path]}})
            })
            .collect();
        serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": name}, "spec": {"rules": rules},
        }))
        .expect("a well-formed Ingress")
    }

    /// The Ingress `namespace/name` for `/deep` of `a.example`, created at this hour.
    fn created(namespace: &str, name: &str, service: &str, hour: u32) -> Event<Ingress> {
        let mut one = serde_json::to_value(ingress(name, &["a.example"])).unwrap();
        one["metadata"]["namespace"] = json!(namespace);
        one["metadata"]["creationTimestamp"] = json!(format!("2026-11-26T{hour:02}:00:00Z"));
        one["spec"]["ingressClassName"] = json!(format!("{name}-class"));
        let path = &mut one["spec"]["rules"][0]["http"]["paths"][0];
        path["path"] = json!("/deep");
        path["backend"]["service"]["name"] = json!(service);
        Event::Apply(serde_json::from_value(one).unwrap())
    }

    fn service<'a>(table: &'a Table, host: &str) -> Option<&'a str> {
        table.backend(host, "/deep").map(|backend| backend.service.as_str())
    }

    fn table(events: impl IntoIterator<Item = Event<Ingress>>) -> Table {
        let mut table = Table::default();
        events.into_iter().for_each(|event| table.observe(event));
        table
    }

    #[test]
    fn a_route_comes_with_its_ingress_and_goes_with_it() {
        let mut table = table([Event::Apply(ingress("web", &["a.example"]))]);
        assert_eq!(service(&table, "a.example"), Some("web-backend"));
        assert_eq!(service(&table, "b.example"), None);
        table.observe(Event::Delete(ingress("web", &["a.example"])));
        assert_eq!(service(&table, "a.example"), None);
    }

    #[test]
    fn a_relist_keeps_routes_working_until_it_is_done_and_drops_what_is_gone() {
        let mut table = table([Event::Apply(ingress("old", &["old.example"]))]);
        table.observe(Event::Init);
        table.observe(Event::InitApply(ingress("new", &["new.example"])));
        assert_eq!(service(&table, "old.example"), Some("old-backend"));
        table.observe(Event::InitDone);
        assert_eq!(service(&table, "old.example"), None);
        assert_eq!(service(&table, "new.example"), Some("new-backend"));
    }

    #[test]
    fn where_the_oldest_ingress_has_a_host_the_paths_of_others_are_ignored() {
        let (old, new) = (created("shop", "z-old", "old", 8), created("shop", "a-new", "new", 9));
        let mut table = table([old.clone(), new]);
        assert_eq!(service(&table, "a.example"), Some("new"), "the first by name");
        table.rules.merging = Merging::OldestHasHost;
        assert_eq!(service(&table, "a.example"), Some("old"));
        let Event::Apply(old) = old else { unreachable!("it is applied") };
        table.observe(Event::Delete(old));
        assert_eq!(service(&table, "a.example"), Some("new"));
    }

    #[test]
    fn where_the_oldest_ingress_is_a_master_its_minions_have_their_paths() {
        let marked = |event: Event<Ingress>, kind: &str| {
            let Event::Apply(mut ingress) = event else { unreachable!("it is applied") };
            let kind = (MERGEABLE.to_owned(), kind.to_owned());
            ingress.metadata.annotations = Some([kind].into());
            Event::Apply(ingress)
        };
        let (old, new) = (created("shop", "z", "old", 8), created("acme", "a", "new", 9));
        let at = |kinds: [&str; 2]| {
            let events = [marked(old.clone(), kinds[0]), marked(new.clone(), kinds[1])];
            let mut table = table(events);
            table.rules.merging = Merging::OldestHasHost;
            service(&table, "a.example").map(str::to_owned)
        };
        assert_eq!(at(["master", "minion"]).as_deref(), Some("new"), "the first by name");
        assert_eq!(at(["master", ""]).as_deref(), Some("old"));
        assert_eq!(at(["", "minion"]).as_deref(), Some("old"));
    }

    #[test]
    fn where_a_host_belongs_to_a_namespace_that_of_the_oldest_ingress_has_it() {
        let mut table = table([
            created("shop", "b", "old", 8),
            created("shop", "a", "same", 10),
            created("acme", "a", "other", 9),
        ]);
        assert_eq!(service(&table, "a.example"), Some("other"), "the first by name");
        table.rules.merging = Merging::OldestNamespaceHasHost;
        assert_eq!(service(&table, "a.example"), Some("same"));
    }

    #[test]
    fn where_each_ingress_has_an_address_the_solver_gets_no_request() {
        let solver = || created("acme", "a", "ingress-acme-solver", 8);
        let mut table = table([solver(), created("shop", "b", "own", 9)]);
        assert_eq!(service(&table, "a.example"), Some("ingress-acme-solver"));
        table.rules.merging = Merging::AddressPerIngress;
        assert_eq!(service(&table, "a.example"), Some("own"));
    }

    #[test]
    fn what_a_controller_does_not_see_has_no_route() {
        let mut table = table([created("shop", "b", "b", 8), created("acme", "a", "a", 9)]);
        table.rules.unseen_classes = ["a-class".to_owned()].into();
        assert_eq!(service(&table, "a.example"), Some("b"));
        table.rules.unseen_namespaces = ["shop".to_owned()].into();
        assert_eq!(service(&table, "a.example"), None);
    }

    #[test]
    fn a_host_that_is_named_has_no_path_of_the_wildcard() {
        let named = created("shop", "named", "named", 8);
        let table = table([Event::Apply(ingress("wild", &["*.example", ""])), named]);
        assert_eq!(service(&table, "b.example"), Some("wild-backend"));
        assert_eq!(table.backend("a.example", "/other"), None);
    }

    #[test]
    fn of_two_equal_routes_the_first_ingress_by_name_wins() {
        let one = |name| Event::Apply(ingress(name, &["a.example"]));
        assert_eq!(service(&table(["b", "a"].map(one)), "a.example"), Some("a-backend"));
    }
}
