//! Which hosts lead their challenges to our solver: shared solver Ingresses, edited in batches.
//!
//! One solver Ingress per class and shard of [`limits::HOSTS_PER_SOLVER_INGRESS`] hosts. A host is held by the
//! streams that validate it; released by the last one, it lingers a little and goes with the next batch.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::ingress::{IngressClass, SecretKey};
use super::limits;
use super::name::DnsName;
use super::time::Timestamp;
use super::wish::{Route, stable_hash};

/// A solver Ingress as it is, or as it should be. Without hosts it should not be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SolverIngress {
    /// `metadata.name`, in the operator's namespace.
    pub name: String,
    /// Copied from the users' Ingresses.
    pub class: IngressClass,
    /// One rule each.
    pub hosts: BTreeSet<DnsName>,
}

/// All routes, wanted and in place.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: BTreeMap<Route, Held>,
    shards: BTreeMap<String, Shard>,
    of_stream: HashMap<SecretKey, BTreeSet<Route>>,
}

#[derive(Debug)]
struct Held {
    shard: String,
    by: HashSet<SecretKey>,
    /// Set while nobody holds it: when it goes.
    until: Option<Timestamp>,
}

#[derive(Debug)]
struct Shard {
    class: IngressClass,
    hosts: BTreeSet<DnsName>,
    dirty: bool,
    /// Its last write failed: the others go first.
    not_before: Option<Timestamp>,
}

impl RouteTable {
    /// Takes in a solver Ingress found at start; its hosts go after a grace time unless someone claims them. One
    /// that was written here meanwhile holds nothing of an earlier process any more.
    pub fn found(&mut self, found: SolverIngress, now: Timestamp) {
        if self.shards.contains_key(&found.name) {
            return;
        }
        for host in &found.hosts {
            let route = Route { class: found.class.clone(), host: host.clone() };
            let until = Some(now + limits::ROUTE_GRACE);
            let held = Held { shard: found.name.clone(), by: HashSet::new(), until };
            self.routes.entry(route).or_insert(held);
        }
        let dirty = found.hosts.is_empty();
        self.shards.insert(
            found.name,
            Shard { class: found.class, hosts: found.hosts, dirty, not_before: None },
        );
    }

    /// `stream` needs these routes. Returns the solver Ingresses they are in.
    pub fn hold(&mut self, stream: &SecretKey, routes: &BTreeSet<Route>) -> BTreeSet<String> {
        let mut shards = BTreeSet::new();
        for route in routes {
            let shard = match self.routes.get(route) {
                Some(held) => held.shard.clone(),
                None => self.assign(route),
            };
            let held = self.routes.entry(route.clone());
            let held = held.or_insert_with(|| Held {
                shard: shard.clone(),
                by: HashSet::new(),
                until: None,
            });
            held.by.insert(stream.clone());
            held.until = None;
            shards.insert(shard);
        }
        self.of_stream.entry(stream.clone()).or_default().extend(routes.iter().cloned());
        shards
    }

    /// `stream` needs its routes no more; those that nobody else holds go a little later.
    pub fn release(&mut self, stream: &SecretKey, now: Timestamp) {
        for route in self.of_stream.remove(stream).unwrap_or_default() {
            let Some(held) = self.routes.get_mut(&route) else { continue };
            held.by.remove(stream);
            if held.by.is_empty() {
                held.until = Some(now + limits::ROUTE_LINGER);
            }
        }
    }

    /// Takes out what is past its time; returns when to look again.
    pub fn expire(&mut self, now: Timestamp) -> Option<Timestamp> {
        let due = |held: &Held| held.until.is_some_and(|until| until <= now);
        let gone: Vec<Route> = self
            .routes
            .iter()
            .filter(|(_, held)| due(held))
            .map(|(route, _)| route.clone())
            .collect();
        for route in gone {
            let Some(held) = self.routes.remove(&route) else { continue };
            let Some(shard) = self.shards.get_mut(&held.shard) else { continue };
            shard.dirty |= shard.hosts.remove(&route.host);
        }
        self.routes.values().filter_map(|held| held.until).min()
    }

    /// The next solver Ingress to be written, now taken to be as it should be; call [`failed`](Self::failed)
    /// when it could not be. One that failed waits a little, and holds up no other.
    pub fn next_write(&mut self, now: Timestamp) -> Option<SolverIngress> {
        let due = |shard: &Shard| shard.dirty && shard.not_before.is_none_or(|at| at <= now);
        let (name, shard) = self.shards.iter_mut().find(|(_, shard)| due(shard))?;
        shard.dirty = false;
        shard.not_before = None;
        let write = SolverIngress {
            name: name.clone(),
            class: shard.class.clone(),
            hosts: shard.hosts.clone(),
        };
        if write.hosts.is_empty() {
            let name = name.clone();
            self.shards.remove(&name);
        }
        Some(write)
    }

    /// A write did not work: it is to be done again, with what has changed since.
    pub fn failed(&mut self, write: SolverIngress, now: Timestamp) {
        let SolverIngress { name, class, hosts } = write;
        let shard = Shard { class, hosts, dirty: true, not_before: None };
        let shard = self.shards.entry(name).or_insert(shard);
        shard.dirty = true;
        shard.not_before = Some(now + limits::ROUTE_RETRY);
    }

    /// Whether a solver Ingress waits to be written.
    pub fn is_dirty(&self, name: &str) -> bool {
        self.shards.get(name).is_some_and(|shard| shard.dirty)
    }

    /// Hosts in place or about to be.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is no route.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// The first shard of the class with room; a host appears once in each.
    fn assign(&mut self, route: &Route) -> String {
        let fits = |shard: &Shard| {
            shard.class == route.class && shard.hosts.len() < limits::HOSTS_PER_SOLVER_INGRESS
        };
        let open = self.shards.iter().find(|(_, shard)| fits(shard)).map(|(name, _)| name.clone());
        let name = open.unwrap_or_else(|| self.free_name(&route.class));
        let shard = Shard {
            class: route.class.clone(),
            hosts: BTreeSet::new(),
            dirty: true,
            not_before: None,
        };
        let shard = self.shards.entry(name.clone()).or_insert(shard);
        shard.hosts.insert(route.host.clone());
        shard.dirty = true;
        name
    }

    fn free_name(&self, class: &IngressClass) -> String {
        let class = stable_hash(class) & 0xffff_ffff;
        (0..=u32::MAX)
            .map(|shard| format!("ingress-acme-solver-{class:08x}-{shard}"))
            .find(|name| !self.shards.contains_key(name))
            .expect("there are more numbers than shards")
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::names;
    use super::*;

    fn routes(hosts: &[&str]) -> BTreeSet<Route> {
        let route = |host| Route { class: IngressClass::Default, host };
        names(hosts).into_iter().map(route).collect()
    }

    fn stream(name: &str) -> SecretKey {
        SecretKey::new("web", name)
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn hosts_gather_into_one_write() {
        let mut table = RouteTable::default();
        table.hold(&stream("a"), &routes(&["a.example.com"]));
        table.hold(&stream("b"), &routes(&["b.example.com"]));
        assert_eq!(
            table.next_write(at(0)).unwrap().hosts,
            names(&["a.example.com", "b.example.com"])
        );
        assert_eq!(table.next_write(at(0)), None);
    }

    #[test]
    fn a_host_stays_while_anyone_holds_it_and_lingers_after() {
        let mut table = RouteTable::default();
        table.hold(&stream("a"), &routes(&["a.example.com"]));
        table.hold(&stream("b"), &routes(&["a.example.com"]));
        table.next_write(at(0));
        table.release(&stream("a"), at(0));
        assert_eq!(table.expire(at(60)), None);
        table.release(&stream("b"), at(60));
        assert_eq!(table.expire(at(60)), Some(at(70)));
        assert_eq!(table.next_write(at(0)), None);
        assert_eq!(table.expire(at(70)), None);
        assert!(table.next_write(at(0)).unwrap().hosts.is_empty());
        assert!(table.is_empty());
    }

    #[test]
    fn a_host_that_is_still_there_needs_no_write() {
        let mut table = RouteTable::default();
        table.hold(&stream("a"), &routes(&["a.example.com"]));
        table.next_write(at(0));
        table.release(&stream("a"), at(0));
        table.hold(&stream("a"), &routes(&["a.example.com"]));
        assert_eq!(table.expire(at(100)), None);
        assert_eq!(table.next_write(at(0)), None);
    }

    #[test]
    fn a_shard_never_grows_past_its_bound() {
        let mut table = RouteTable::default();
        for n in 0..250 {
            table.hold(&stream("a"), &routes(&[&format!("h{n}.example.com")]));
        }
        let sizes: Vec<usize> =
            std::iter::from_fn(|| table.next_write(at(0))).map(|w| w.hosts.len()).collect();
        assert_eq!(sizes, [100, 100, 50]);
    }

    #[test]
    fn what_is_found_at_start_goes_unless_it_is_claimed() {
        let mut table = RouteTable::default();
        let hosts = names(&["old.example.com", "live.example.com"]);
        let found = SolverIngress { name: "found".into(), class: IngressClass::Default, hosts };
        table.found(found, at(0));
        assert_eq!(
            table.hold(&stream("live"), &routes(&["live.example.com"])),
            ["found".to_owned()].into()
        );
        assert_eq!(table.next_write(at(0)), None);
        table.expire(at(0) + limits::ROUTE_GRACE);
        assert_eq!(table.next_write(at(0)).unwrap().hosts, names(&["live.example.com"]));
    }

    #[test]
    fn a_failed_write_is_done_again_with_what_came_since() {
        let mut table = RouteTable::default();
        table.hold(&stream("a"), &routes(&["a.example.com"]));
        let write = table.next_write(at(0)).unwrap();
        table.hold(&stream("b"), &routes(&["b.example.com"]));
        table.failed(write, at(0));
        assert_eq!(table.next_write(at(0)), None);
        assert_eq!(table.next_write(at(0) + limits::ROUTE_RETRY).unwrap().hosts.len(), 2);
    }

    #[test]
    fn a_solver_ingress_that_cannot_be_written_holds_up_no_other() {
        let mut table = RouteTable::default();
        table.hold(&stream("a"), &routes(&["a.example.com"]));
        let write = table.next_write(at(0)).unwrap();
        table.failed(write, at(0));
        let class = IngressClass::Named("other".into());
        let other =
            Route { class: class.clone(), host: names(&["b.example.com"]).pop_first().unwrap() };
        table.hold(&stream("b"), &[other].into());
        assert_eq!(table.next_write(at(0)).unwrap().class, class);
    }
}
