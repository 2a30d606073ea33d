//! Routes of all Ingresses, updated from watch events and indexed by host.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::networking::v1::Ingress;
use kube::runtime::watcher::Event;
use tokio::time::Instant;

use super::routing::{Backend, Route, parent, routes_of};

/// Namespace and name.
type Key = (String, String);
/// Routes of one host, by Ingress.
type Routes = BTreeMap<Key, Vec<Scheduled>>;

/// A route with its activation time.
#[derive(Clone, Debug)]
struct Scheduled {
    route: Route,
    live_at: Instant,
    /// `creationTimestamp` of the Ingress, in seconds.
    created: i64,
}

/// Routes of the gateway.
#[derive(Debug, Default)]
pub(super) struct Table {
    current: Ingresses,
    /// Ingresses of a re-list in progress; the old routes work until the re-list is complete.
    relisted: Ingresses,
    /// Whether the oldest Ingress with a host has the host alone.
    pub(super) oldest_owns: bool,
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
    fn insert(&mut self, key: Key, routes: Vec<Scheduled>) {
        self.remove(&key);
        let mut hosts = Vec::new();
        for scheduled in routes {
            let host = scheduled.route.host().unwrap_or_default().to_owned();
            let same_host = self.by_host.entry(host.clone()).or_default();
            same_host.entry(key.clone()).or_default().push(scheduled);
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

    /// Returns the same route of the same Ingress, if present.
    fn known(&self, key: &Key, route: &Route) -> Option<&Scheduled> {
        let routes = self.by_host.get(route.host().unwrap_or_default())?;
        routes.get(key)?.iter().find(|known| known.route == *route)
    }

    /// Returns all routes that may match a host.
    fn candidates(&self, host: &str, oldest_owns: bool) -> impl Iterator<Item = &Scheduled> {
        let wildcard = parent(host).map(|parent| format!("*.{parent}"));
        let hosts = [Some(host.to_owned()), wildcard, Some(String::new())];
        let routes = hosts.into_iter().flatten().filter_map(|host| self.by_host.get(&host));
        routes.flat_map(move |routes| {
            let owner = oldest(routes).filter(|_| oldest_owns);
            let counts = move |(key, _): &(&Key, _)| owner.is_none_or(|owner| owner == *key);
            routes.iter().rev().filter(counts).flat_map(|(_, routes)| routes)
        })
    }
}

/// Oldest Ingress with routes of one host; among equally old ones, the first by name.
fn oldest(routes: &Routes) -> Option<&Key> {
    let created = |routes: &[Scheduled]| routes.first().map(|scheduled| scheduled.created);
    routes.iter().min_by_key(|(key, routes)| (created(routes), *key)).map(|(key, _)| key)
}

impl Table {
    /// Applies one watch event; new routes are active from `live_at`.
    pub(super) fn observe(&mut self, event: Event<Ingress>, live_at: Instant) {
        match event {
            Event::Apply(ingress) => {
                let (key, routes) = self.schedule(&ingress, live_at);
                self.current.insert(key, routes);
            }
            Event::Delete(ingress) => self.current.remove(&key_of(&ingress)),
            Event::Init => self.relisted = Ingresses::default(),
            Event::InitApply(ingress) => {
                let (key, routes) = self.schedule(&ingress, live_at);
                self.relisted.insert(key, routes);
            }
            Event::InitDone => self.current = std::mem::take(&mut self.relisted),
        }
    }

    /// Assigns activation times; a route already present keeps its time.
    fn schedule(&self, ingress: &Ingress, live_at: Instant) -> (Key, Vec<Scheduled>) {
        let key = key_of(ingress);
        let created = ingress.metadata.creation_timestamp.as_ref();
        let created = created.map_or(0, |created| created.0.as_second());
        let scheduled = |route: Route| {
            let known = self.current.known(&key, &route).cloned();
            known.unwrap_or(Scheduled { route, live_at, created })
        };
        let routes = routes_of(ingress).into_iter().map(scheduled).collect();
        (key, routes)
    }

    /// Returns the Service for a request; among equal routes, the first Ingress by name wins.
    pub(super) fn backend(&self, host: &str, path: &str, now: Instant) -> Option<&Backend> {
        self.current
            .candidates(host, self.oldest_owns)
            .filter(|scheduled| scheduled.live_at <= now)
            .filter_map(|Scheduled { route, .. }| Some((route.rank(host, path)?, route)))
            .max_by_key(|(rank, _)| *rank)
            .map(|(_, route)| &route.backend)
    }
}

fn key_of(ingress: &Ingress) -> Key {
    let metadata = &ingress.metadata;
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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

    fn service<'a>(table: &'a Table, host: &str, now: Instant) -> Option<&'a str> {
        table.backend(host, "/", now).map(|backend| backend.service.as_str())
    }

    #[test]
    fn a_route_comes_with_its_ingress_and_goes_with_it() {
        let (mut table, now) = (Table::default(), Instant::now());
        table.observe(Event::Apply(ingress("web", &["a.example"])), now);
        assert_eq!(service(&table, "a.example", now), Some("web-backend"));
        assert_eq!(service(&table, "b.example", now), None);
        table.observe(Event::Delete(ingress("web", &["a.example"])), now);
        assert_eq!(service(&table, "a.example", now), None);
    }

    #[test]
    fn a_delayed_route_works_later_and_an_edit_does_not_delay_the_others() {
        let (mut table, now) = (Table::default(), Instant::now());
        let later = now + Duration::from_secs(5);
        table.observe(Event::Apply(ingress("web", &["a.example"])), now);
        table.observe(Event::Apply(ingress("web", &["a.example", "b.example"])), later);
        assert_eq!(service(&table, "a.example", now), Some("web-backend"));
        assert_eq!(service(&table, "b.example", now), None);
        assert_eq!(service(&table, "b.example", later), Some("web-backend"));
    }

    #[test]
    fn a_relist_keeps_routes_working_until_it_is_done_and_drops_what_is_gone() {
        let (mut table, now) = (Table::default(), Instant::now());
        table.observe(Event::Apply(ingress("old", &["old.example"])), now);
        table.observe(Event::Init, now);
        table.observe(Event::InitApply(ingress("new", &["new.example"])), now);
        assert_eq!(service(&table, "old.example", now), Some("old-backend"));
        table.observe(Event::InitDone, now);
        assert_eq!(service(&table, "old.example", now), None);
        assert_eq!(service(&table, "new.example", now), Some("new-backend"));
    }

    #[test]
    fn where_the_oldest_ingress_owns_a_host_the_paths_of_others_are_ignored() {
        let (mut table, now) = (Table::default(), Instant::now());
        let created = |name: &str, path: &str, at: &str| {
            let mut one = serde_json::to_value(ingress(name, &["a.example"])).unwrap();
            one["metadata"]["creationTimestamp"] = json!(at);
            one["spec"]["rules"][0]["http"]["paths"][0]["path"] = json!(path);
            Event::Apply(serde_json::from_value(one).unwrap())
        };
        table.observe(created("z-old", "/", "2026-11-26T08:00:00Z"), now);
        table.observe(created("a-new", "/deep", "2026-11-26T09:00:00Z"), now);
        let at = |table: &Table| table.backend("a.example", "/deep", now).unwrap().service.clone();
        assert_eq!(at(&table), "a-new-backend");
        table.oldest_owns = true;
        assert_eq!(at(&table), "z-old-backend");
        table.observe(Event::Delete(ingress("z-old", &["a.example"])), now);
        assert_eq!(at(&table), "a-new-backend");
    }

    #[test]
    fn of_two_equal_routes_the_first_ingress_by_name_wins() {
        let (mut table, now) = (Table::default(), Instant::now());
        table.observe(Event::Apply(ingress("b", &["a.example"])), now);
        table.observe(Event::Apply(ingress("a", &["a.example"])), now);
        assert_eq!(service(&table, "a.example", now), Some("a-backend"));
    }
}
