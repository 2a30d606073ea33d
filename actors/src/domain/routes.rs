//! Routes from hosts to our solver: shared solver Ingresses, edited in batches.
//!
//! Each solver Ingress serves one class and at most [`limits::HOSTS_PER_SOLVER_INGRESS`] hosts.
//! Every job that validates a host holds its route. After the last release a route stays for
//! [`limits::ROUTE_LINGER`], and is removed with the next batch.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use crate::domain::desired::desired_certificate::Route;
use crate::domain::hash::stable_hash;
use crate::domain::ingress::{IngressClass, SecretKey};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::time::Timestamp;

/// A solver Ingress, observed or desired. No hosts means: delete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SolverIngress {
    /// `metadata.name`, in the operator's namespace.
    pub name: String,
    /// Class, copied from the users' Ingresses.
    pub class: IngressClass,
    /// Hosts, one rule each.
    pub hosts: BTreeSet<DnsName>,
}

/// All routes, desired and published.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    routes: BTreeMap<Route, HeldRoute>,
    shards: BTreeMap<String, SolverShard>,
    /// Failed writes in a row that only removed hosts, by solver Ingress.
    refused_removals: HashMap<String, u32>,
    /// Sorted. Nearly every job has one, and a set would allocate room for eleven.
    of_stream: HashMap<SecretKey, Vec<Route>>,
}

#[derive(Debug)]
struct HeldRoute {
    shard: String,
    by: HashSet<SecretKey>,
    /// Removal time, set while no job holds the route.
    until: Option<Timestamp>,
}

#[derive(Debug)]
struct SolverShard {
    class: IngressClass,
    hosts: BTreeSet<DnsName>,
    /// Hosts in the last write that the API server accepted.
    taken: BTreeSet<DnsName>,
    /// Hosts of `taken` that a write removes or may have removed.
    leaving: BTreeSet<DnsName>,
    dirty: bool,
    /// Whether the shard is reserved for one host of a refused batch.
    solo: bool,
    /// Earliest time of the next write, set after a failed one. Other shards are written meanwhile.
    not_before: Option<Timestamp>,
}

impl SolverShard {
    fn new(class: IngressClass) -> Self {
        Self {
            class,
            hosts: BTreeSet::new(),
            taken: BTreeSet::new(),
            leaving: BTreeSet::new(),
            dirty: false,
            solo: false,
            not_before: None,
        }
    }

    /// Whether the API server has the host, for certain.
    fn has(&self, host: &DnsName) -> bool {
        self.taken.contains(host) && !self.leaving.contains(host)
    }
}

impl RouteTable {
    /// Compares the observed solver Ingresses with the desired ones, and marks those that differ
    /// for a new write. Unknown solver Ingresses come from an earlier process and are adopted.
    pub(crate) fn compare(&mut self, found: Vec<SolverIngress>, now: Timestamp) {
        let names: BTreeSet<String> = found.iter().map(|one| one.name.clone()).collect();
        for (name, shard) in &mut self.shards {
            if !names.contains(name) {
                shard.dirty |= !shard.hosts.is_empty();
                shard.taken.clear();
                shard.leaving.clear();
            }
        }
        for one in found {
            match self.shards.get_mut(&one.name) {
                Some(shard) => {
                    shard.dirty |= shard.hosts != one.hosts;
                    shard.taken = one.hosts;
                    shard.leaving.clear();
                }
                None => self.found(one, now),
            }
        }
    }

    /// Adopts a solver Ingress of an earlier process. Its hosts are removed after
    /// [`limits::ROUTE_GRACE`] unless a job claims them.
    fn found(&mut self, found: SolverIngress, now: Timestamp) {
        for host in &found.hosts {
            let route = Route { class: found.class.clone(), host: host.clone() };
            let until = Some(now + limits::ROUTE_GRACE);
            let held = HeldRoute { shard: found.name.clone(), by: HashSet::new(), until };
            self.routes.entry(route).or_insert(held);
        }
        let mut shard = SolverShard::new(found.class);
        shard.dirty = found.hosts.is_empty();
        shard.taken.clone_from(&found.hosts);
        shard.hosts = found.hosts;
        self.shards.insert(found.name, shard);
    }

    /// Holds `routes` for the job of `stream`.
    pub(crate) fn hold(&mut self, stream: &SecretKey, routes: &[Route]) {
        for route in routes {
            let shard = match self.routes.get(route) {
                Some(held) => held.shard.clone(),
                None => self.assign(route),
            };
            let held = self.routes.entry(route.clone());
            let held = held.or_insert_with(|| HeldRoute {
                shard: shard.clone(),
                by: HashSet::new(),
                until: None,
            });
            held.by.insert(stream.clone());
            held.until = None;
        }
        let own = self.of_stream.entry(stream.clone()).or_default();
        for route in routes {
            if let Err(place) = own.binary_search(route) {
                own.reserve_exact(1);
                own.insert(place, route.clone());
            }
        }
    }

    /// Whether all routes that the job of `stream` needs are written. `writing` names the solver
    /// Ingress whose write is in flight, which counts as not written. A host that the API server
    /// has accepted is in place, whatever else of its solver Ingress is not.
    pub(crate) fn is_in_place(&self, stream: &SecretKey, writing: Option<&str>) -> bool {
        let in_place = |route: &Route| {
            let Some(name) = self.routes.get(route).map(|held| held.shard.as_str()) else {
                return true;
            };
            self.shards.get(name).is_none_or(|shard| {
                let waits = shard.dirty || writing == Some(name);
                !waits || (shard.has(&route.host) && shard.hosts.contains(&route.host))
            })
        };
        self.of_stream.get(stream).into_iter().flatten().all(in_place)
    }

    fn shards_of(&self, stream: &SecretKey) -> impl Iterator<Item = &str> {
        let routes = self.of_stream.get(stream).into_iter().flatten();
        routes.filter_map(|route| self.routes.get(route)).map(|held| held.shard.as_str())
    }

    /// Releases all routes of `stream`. Routes without another holder are removed after
    /// [`limits::ROUTE_LINGER`].
    pub(crate) fn release(&mut self, stream: &SecretKey, now: Timestamp) {
        for route in self.of_stream.remove(stream).unwrap_or_default() {
            let Some(held) = self.routes.get_mut(&route) else { continue };
            held.by.remove(stream);
            if held.by.is_empty() {
                held.until = Some(now + limits::ROUTE_LINGER);
            }
        }
    }

    /// Removes expired routes; returns the time of the next expiry.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Option<Timestamp> {
        let due = |held: &HeldRoute| held.until.is_some_and(|until| until <= now);
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

    /// Returns the next solver Ingress to write, and assumes that the write succeeds; call
    /// [`failed`](Self::failed) if not. Those that the jobs of `waiting` need come first, in order,
    /// because there may be hundreds of others: one for each class that a tenant invents. A failed
    /// one is skipped until its retry time, so the others proceed.
    pub(crate) fn next_write<'a>(
        &mut self,
        waiting: impl IntoIterator<Item = &'a SecretKey>,
        now: Timestamp,
    ) -> Option<SolverIngress> {
        let due = |shard: &SolverShard| shard.dirty && shard.not_before.is_none_or(|at| at <= now);
        let is_due = |name: &&str| self.shards.get(*name).is_some_and(due);
        let needed = waiting.into_iter().find_map(|stream| self.shards_of(stream).find(is_due));
        let any =
            || self.shards.iter().find(|(_, shard)| due(shard)).map(|(name, _)| name.as_str());
        let name = needed.or_else(any)?.to_owned();
        let shard = self.shards.get_mut(&name)?;
        shard.dirty = false;
        shard.not_before = None;
        shard.leaving.extend(shard.taken.difference(&shard.hosts).cloned());
        let (class, hosts) = (shard.class.clone(), shard.hosts.clone());
        if hosts.is_empty() {
            self.shards.remove(&name);
        }
        Some(SolverIngress { name, class, hosts })
    }

    /// Records a successful write.
    pub(crate) fn written(&mut self, write: &SolverIngress) {
        if let Some(shard) = self.shards.get_mut(&write.name) {
            shard.taken.clone_from(&write.hosts);
            shard.leaving.clear();
        }
        self.refused_removals.remove(&write.name);
    }

    /// Whether the job of `stream` waits for a host of this write, which failed.
    pub(crate) fn waits_for(&self, stream: &SecretKey, write: &SolverIngress) -> bool {
        let shard = self.shards.get(&write.name);
        let mut routes = self.of_stream.get(stream).into_iter().flatten();
        routes.any(|route| {
            let held = self.routes.get(route).is_some_and(|held| held.shard == write.name);
            let has = shard.is_some_and(|shard| shard.has(&route.host));
            held && !has && write.hosts.contains(&route.host)
        })
    }

    /// Records a failed write, and returns the pause before its retry, which includes later
    /// changes: [`limits::ROUTE_RETRY`], and ever longer for a write that only removes hosts. No
    /// job waits for a removal, and a webhook that refuses one does so for ever.
    pub(crate) fn failed(&mut self, write: SolverIngress, now: Timestamp) -> Duration {
        let SolverIngress { name, class, hosts } = write;
        let known = self.shards.get(&name);
        let has = |host| known.is_some_and(|shard| shard.has(host));
        let pause = if hosts.iter().all(has) {
            let refused = self.refused_removals.entry(name.clone()).or_default();
            let pause = limits::ROUTE_RETRY * 2_u32.pow((*refused).min(16));
            *refused = refused.saturating_add(1);
            pause.min(limits::ROUTE_RETRY_MAX)
        } else {
            self.refused_removals.remove(&name);
            limits::ROUTE_RETRY
        };
        let shard = self
            .shards
            .entry(name)
            .or_insert_with(|| SolverShard { hosts, ..SolverShard::new(class) });
        shard.dirty = true;
        shard.not_before = Some(now + pause);
        pause
    }

    /// Splits a write that the API server refused, for example because of one host. Each new host
    /// moves to a solver Ingress of its own, so that only the bad host is refused again. Returns
    /// `false` if the solver Ingress cannot be split further.
    pub(crate) fn isolate(&mut self, write: &SolverIngress) -> bool {
        let Some(shard) = self.shards.get_mut(&write.name).filter(|shard| !shard.solo) else {
            return false;
        };
        let new: Vec<DnsName> = write.hosts.difference(&shard.taken).cloned().collect();
        if new.is_empty() {
            return false; // a removal was refused, for whatever reason
        }
        shard.hosts.retain(|host| !new.contains(host));
        shard.dirty = shard.hosts != shard.taken;
        for host in new {
            let route = Route { class: write.class.clone(), host: host.clone() };
            let name = format!("{}-{:08x}", write.name, stable_hash(&host) & 0xffff_ffff);
            if let Some(held) = self.routes.get_mut(&route) {
                held.shard.clone_from(&name);
            }
            let hosts = BTreeSet::from([host]);
            let shard =
                SolverShard { hosts, dirty: true, solo: true, ..SolverShard::new(route.class) };
            self.shards.insert(name, shard);
        }
        true
    }

    /// Assigns `route` to the first shard of its class with room. A host appears once per class.
    fn assign(&mut self, route: &Route) -> String {
        let fits = |shard: &SolverShard| {
            let room = shard.hosts.len() < limits::HOSTS_PER_SOLVER_INGRESS;
            shard.class == route.class && room && !shard.solo
        };
        let open = self.shards.iter().find(|(_, shard)| fits(shard)).map(|(name, _)| name.clone());
        let name = open.unwrap_or_else(|| self.free_name(&route.class));
        let fresh = || SolverShard::new(route.class.clone());
        let shard = self.shards.entry(name.clone()).or_insert_with(fresh);
        shard.hosts.insert(route.host.clone());
        shard.dirty = true;
        // A job waits for the new host, whatever removals wait for.
        let removal = self.refused_removals.contains_key(&name);
        shard.not_before = shard.not_before.filter(|_| !removal);
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
    use super::*;
    use crate::domain::desired::plan::tests::names;

    /// Whether the job of a Secret needs the solver Ingress `name`.
    fn needs(table: &RouteTable, secret: &str, name: &str) -> bool {
        table.shards_of(&stream(secret)).any(|shard| shard == name)
    }

    fn routes(hosts: &[&str]) -> Vec<Route> {
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
            table.next_write([], at(0)).unwrap().hosts,
            names(&["a.example.com", "b.example.com"])
        );
        assert_eq!(table.next_write([], at(0)), None);
    }

    #[test]
    fn a_host_stays_while_anyone_holds_it_and_lingers_after() {
        let mut table = RouteTable::default();
        table.hold(&stream("a"), &routes(&["a.example.com"]));
        table.hold(&stream("b"), &routes(&["a.example.com"]));
        table.next_write([], at(0));
        table.release(&stream("a"), at(0));
        assert_eq!(table.expire(at(60)), None);
        table.release(&stream("b"), at(60));
        assert_eq!(table.expire(at(60)), Some(at(70)));
        assert_eq!(table.next_write([], at(0)), None);
        assert_eq!(table.expire(at(70)), None);
        assert!(table.next_write([], at(0)).unwrap().hosts.is_empty());
        assert!(table.routes.is_empty());
    }

    #[test]
    fn a_host_that_is_still_there_needs_no_write() {
        let mut table = RouteTable::default();
        table.hold(&stream("a"), &routes(&["a.example.com"]));
        table.next_write([], at(0));
        table.release(&stream("a"), at(0));
        table.hold(&stream("a"), &routes(&["a.example.com"]));
        assert_eq!(table.expire(at(100)), None);
        assert_eq!(table.next_write([], at(0)), None);
    }

    #[test]
    fn a_shard_never_grows_past_its_bound() {
        let mut table = RouteTable::default();
        for n in 0..250 {
            table.hold(&stream("a"), &routes(&[&format!("h{n}.example.com")]));
        }
        let sizes: Vec<usize> =
            std::iter::from_fn(|| table.next_write([], at(0))).map(|w| w.hosts.len()).collect();
        assert_eq!(sizes, [100, 100, 50]);
    }

    #[test]
    fn what_is_found_at_start_goes_unless_it_is_claimed() {
        let mut table = RouteTable::default();
        let hosts = names(&["old.example.com", "live.example.com"]);
        let found = SolverIngress { name: "found".into(), class: IngressClass::Default, hosts };
        table.compare(vec![found], at(0));
        table.hold(&stream("live"), &routes(&["live.example.com"]));
        assert!(needs(&table, "live", "found"));
        assert_eq!(table.next_write([], at(0)), None);
        table.expire(at(0) + limits::ROUTE_GRACE);
        assert_eq!(table.next_write([], at(0)).unwrap().hosts, names(&["live.example.com"]));
    }

    #[test]
    fn a_failed_write_is_done_again_with_what_came_since() {
        let mut table = RouteTable::default();
        table.hold(&stream("a"), &routes(&["a.example.com"]));
        let write = table.next_write([], at(0)).unwrap();
        table.hold(&stream("b"), &routes(&["b.example.com"]));
        _ = table.failed(write, at(0));
        assert_eq!(table.next_write([], at(0)), None);
        assert_eq!(table.next_write([], at(0) + limits::ROUTE_RETRY).unwrap().hosts.len(), 2);
    }

    #[test]
    fn what_differs_from_what_should_be_is_written_again() {
        let mut table = RouteTable::default();
        table.hold(&stream("a"), &routes(&["a.example.com"]));
        let write = table.next_write([], at(0)).unwrap();
        table.compare(vec![write.clone()], at(0));
        assert_eq!(table.next_write([], at(0)), None);
        let more =
            SolverIngress { hosts: names(&["a.example.com", "b.example.com"]), ..write.clone() };
        table.compare(vec![more], at(0));
        assert_eq!(table.next_write([], at(0)), Some(write.clone()));
        table.compare(vec![], at(0));
        assert_eq!(table.next_write([], at(0)), Some(write));
    }

    #[test]
    fn a_refused_host_is_alone_with_its_refusal() {
        let mut table = RouteTable::default();
        table.hold(&stream("old"), &routes(&["old.example.com"]));
        let write = table.next_write([], at(0)).unwrap();
        table.written(&write);
        table.hold(&stream("bad"), &routes(&["bad.example.com"]));
        table.hold(&stream("good"), &routes(&["good.example.com"]));
        let refused = table.next_write([], at(0)).unwrap();
        assert!(table.isolate(&refused));
        let solos: Vec<SolverIngress> =
            std::iter::from_fn(|| table.next_write([], at(0))).collect();
        assert_eq!(solos.len(), 2);
        for solo in solos {
            assert_eq!(solo.hosts.len(), 1);
            assert!(!table.isolate(&solo), "there is nothing left to take apart");
            assert_eq!(needs(&table, "bad", &solo.name), solo.hosts == names(&["bad.example.com"]));
        }
        assert!(table.is_in_place(&stream("old"), None));
    }

    /// An admission webhook may refuse any write because of somebody else's Ingress.
    #[test]
    fn a_refused_removal_is_tried_again_later_and_holds_up_no_other() {
        let mut table = RouteTable::default();
        table.hold(&stream("a"), &routes(&["a.example.com"]));
        table.hold(&stream("b"), &routes(&["b.example.com"]));
        let write = table.next_write([], at(0)).unwrap();
        table.written(&write);
        table.release(&stream("a"), at(0));
        let later = at(0) + limits::ROUTE_LINGER;
        table.expire(later);
        let removal = table.next_write([], later).unwrap();
        assert!(!table.isolate(&removal), "there is no new host");
        assert_eq!(table.failed(removal, later), limits::ROUTE_RETRY);
        assert_eq!(table.next_write([], later), None);
        assert!(table.is_in_place(&stream("b"), None), "its route is there");
        table.hold(&stream("d"), &routes(&["a.example.com"]));
        assert!(!table.is_in_place(&stream("d"), None), "it may have been removed");
        table.hold(&stream("c"), &routes(&["c.example.com"]));
        assert!(!table.is_in_place(&stream("c"), None));
        assert!(table.next_write([], later + limits::ROUTE_RETRY).is_some());
    }

    #[test]
    fn a_removal_that_is_always_refused_is_tried_ever_more_rarely_and_a_new_host_is_not() {
        for hosts in [&["a.example.com"][..], &["a.example.com", "b.example.com"]] {
            let mut table = RouteTable::default();
            table.hold(&stream("a"), &routes(&hosts[..1]));
            table.hold(&stream("b"), &routes(&hosts[1..]));
            let write = table.next_write([], at(0)).unwrap();
            table.written(&write);
            table.release(&stream("a"), at(0));
            let (mut now, mut tried) = (at(0) + limits::ROUTE_LINGER, 0);
            table.expire(now);
            while now < at(86_400) {
                let removal = table.next_write([], now).unwrap();
                now = now + table.failed(removal, now);
                tried += 1;
            }
            assert!((100..200).contains(&tried), "{tried} removals in a day");
            table.hold(&stream("c"), &routes(&["c.example.com"]));
            assert!(table.next_write([&stream("c")], at(86_400)).is_some(), "a job waits");
        }
    }

    #[test]
    fn a_solver_ingress_that_cannot_be_written_holds_up_no_other() {
        let mut table = RouteTable::default();
        table.hold(&stream("a"), &routes(&["a.example.com"]));
        let write = table.next_write([], at(0)).unwrap();
        _ = table.failed(write, at(0));
        let class = IngressClass::Named("other".into());
        let other =
            Route { class: class.clone(), host: names(&["b.example.com"]).pop_first().unwrap() };
        table.hold(&stream("b"), &[other]);
        assert_eq!(table.next_write([], at(0)).unwrap().class, class);
    }

    #[test]
    fn what_a_waiting_job_needs_is_written_before_the_classes_of_others() {
        let mut table = RouteTable::default();
        for number in 0..300 {
            let class = IngressClass::Named(format!("c{number}").as_str().into());
            let host = DnsName::parse(&format!("h{number}.example.com")).unwrap();
            let stream = SecretKey::new("many", &format!("s{number}"));
            table.hold(&stream, &[Route { class, host }]);
        }
        let waits = SecretKey::new("one", "shop");
        table.hold(&waits, &routes(&["shop.example.com"]));
        let first = table.next_write([&waits], at(0)).unwrap();
        assert_eq!(
            (first.class, first.hosts),
            (IngressClass::Default, names(&["shop.example.com"]))
        );
        assert!(table.next_write([&waits], at(0)).is_some_and(|other| other.name != first.name));
    }
}
