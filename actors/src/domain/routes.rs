//! Routes from hosts to our solver: shared solver Ingresses, edited in batches.
//!
//! Each solver Ingress serves one class and at most [`limits::HOSTS_PER_SOLVER_INGRESS`] hosts.
//! Every job that validates a host holds its route. After the last release a route stays for
//! [`limits::ROUTE_LINGER`], and is removed with the next batch.
//!
//! A solver Ingress is younger than the users' Ingresses of its hosts, because some controllers
//! give a host with all its paths to the oldest Ingress that names it: an older solver Ingress
//! would take the site off the air. For the same reason the hosts of its rules are those of the
//! rules that serve a name, which may be a wildcard.

mod placement;
mod put_backs;
mod seen;
mod shard;
#[cfg(test)]
mod tests;
mod withdrawals;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::desired::desired_certificate::Route;
use crate::domain::ingress::{IngressClass, IngressKey, SecretKey};
use crate::domain::limits;
use crate::domain::rule_host::RuleHost;
use crate::domain::solver_place::SolverPlace;
use crate::domain::time::{Timestamp, doubled};
use put_backs::PutBacks;
pub(crate) use put_backs::Unplaced;
pub use seen::Seen;
use shard::SolverShard;
use withdrawals::Withdrawals;

/// Namespace and name of a solver Ingress.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SolverName {
    /// `metadata.namespace`, of a user; `None` for the operator's own.
    pub namespace: Option<Arc<str>>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl SolverName {
    /// The name of an Ingress in a user's namespace.
    pub fn of(key: &IngressKey) -> Self {
        Self { namespace: Some(key.namespace.clone()), name: key.name.clone() }
    }

    /// A name in the operator's own namespace.
    pub fn own(name: &str) -> Self {
        Self { namespace: None, name: name.into() }
    }
}

impl fmt::Display for SolverName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// An Ingress that routes challenges to the solver, observed or desired: one of ours, or a user's
/// with our path. No hosts means: delete, or take the path out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SolverIngress {
    /// Its namespace and name.
    pub name: SolverName,
    /// Class, copied from the users' Ingresses.
    pub class: IngressClass,
    /// Place of the routes.
    pub place: SolverPlace,
    /// Hosts of its rules, one each.
    pub hosts: BTreeSet<RuleHost>,
    /// `metadata.creationTimestamp`, in whole seconds; `None` where it is not observed, and of a
    /// user's Ingress, whose age decides nothing.
    pub created: Option<Timestamp>,
    /// `metadata.generation`, which orders what is observed and what was written.
    pub generation: i64,
}

impl SolverIngress {
    fn route(&self, host: &RuleHost) -> Route {
        Route { class: self.class.clone(), rule: host.clone(), place: self.place.clone() }
    }
}

/// All routes, desired and published.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    routes: BTreeMap<Route, HeldRoute>,
    shards: BTreeMap<SolverName, SolverShard>,
    put_backs: PutBacks,
    withdrawals: Withdrawals,
    /// Hosts that the write in flight removes.
    withdrawing: Vec<Route>,
    /// Failed writes in a row that only removed hosts, by solver Ingress.
    refused_removals: HashMap<SolverName, u32>,
    /// Sorted. Nearly every job has one, and a set would allocate room for eleven.
    of_stream: HashMap<SecretKey, Vec<Route>>,
}

#[derive(Debug)]
struct HeldRoute {
    shard: SolverName,
    by: HashSet<SecretKey>,
    /// Creation of the newest user Ingress with the host, as last heard.
    newest: Timestamp,
    /// Solver Ingress that had the host before, and may have it still.
    leaves: Option<SolverName>,
    /// Removal time, set while no job holds the route.
    until: Option<Timestamp>,
}

impl HeldRoute {
    fn new(shard: &SolverName, newest: Timestamp) -> Self {
        Self { shard: shard.clone(), by: HashSet::new(), newest, leaves: None, until: None }
    }
}

impl RouteTable {
    /// Compares the observed solver Ingresses of the operator's namespace with the desired ones,
    /// and marks those that differ for a new write. Unknown solver Ingresses come from an earlier
    /// process and are adopted.
    pub(crate) fn compare(&mut self, found: Vec<SolverIngress>, now: Timestamp) {
        let names: BTreeSet<SolverName> = found.iter().map(|one| one.name.clone()).collect();
        let own = self.shards.iter_mut().filter(|(name, _)| name.namespace.is_none());
        for (name, shard) in own {
            if !names.contains(name) {
                shard.dirty |= !shard.hosts.is_empty();
                shard.is_gone();
            }
        }
        for one in found {
            match self.shards.get_mut(&one.name) {
                Some(shard) => {
                    shard.dirty |= shard.hosts != one.hosts;
                    shard.is_now(&one);
                }
                None => self.found(one, now),
            }
        }
    }

    /// Adopts a solver Ingress of an earlier process. Its hosts are removed after
    /// [`limits::ROUTE_GRACE`] unless a job claims them.
    fn found(&mut self, found: SolverIngress, now: Timestamp) {
        for host in &found.hosts {
            let route = found.route(host);
            let until = Some(now + limits::ROUTE_GRACE);
            let held = HeldRoute { until, ..HeldRoute::new(&found.name, Timestamp::default()) };
            self.routes.entry(route).or_insert(held);
        }
        let mut shard = SolverShard::new(found.class.clone(), found.place.clone());
        // One in a user's namespace is written at once: its endpoints may be of the earlier
        // process.
        shard.dirty = found.hosts.is_empty() || found.name.namespace.is_some();
        shard.is_now(&found);
        shard.hosts = found.hosts;
        self.shards.insert(found.name, shard);
    }

    /// Whether all routes that the job of `stream` needs are written. `writing` names the solver
    /// Ingress whose write is in flight, which counts as not written. A host that the API server
    /// has accepted is in place, whatever else of its solver Ingress is not.
    pub(crate) fn is_in_place(&self, stream: &SecretKey, writing: Option<&SolverName>) -> bool {
        let in_place = |route: &Route| {
            let Some(held) = self.routes.get(route) else { return true };
            let old = held.leaves.as_ref().filter(|old| **old != held.shard);
            let old = old.and_then(|name| self.shards.get(name));
            if old.is_some_and(|old| old.taken.contains(&route.rule)) {
                return false; // an answer may be that of the old one
            }
            let name = &held.shard;
            self.shards.get(name).is_none_or(|shard| {
                let waits = shard.dirty || writing == Some(name);
                !waits || (shard.has(&route.rule) && shard.hosts.contains(&route.rule))
            })
        };
        self.of_stream.get(stream).into_iter().flatten().all(in_place)
    }

    /// Time from which an answer of the solver shows the routes of `stream`, and not those of an
    /// earlier publication; `None` for at once.
    pub(crate) fn settled_at(&self, stream: &SecretKey) -> Option<Timestamp> {
        let settled_at = |route: &Route| {
            let held = self.routes.get(route)?;
            let shard = self.shards.get(&held.shard)?;
            let is_doubted = self.put_backs.are_known(&held.shard);
            let stays = is_doubted.then_some(shard.written + limits::ROUTE_LAG);
            stays.max(self.withdrawals.settled_at(route))
        };
        let routes = self.of_stream.get(stream).into_iter().flatten();
        routes.filter_map(settled_at).max()
    }

    fn shards_of(&self, stream: &SecretKey) -> impl Iterator<Item = &SolverName> {
        let routes = self.of_stream.get(stream).into_iter().flatten();
        routes.filter_map(|route| self.routes.get(route)).map(|held| &held.shard)
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
        self.withdrawals.forget_settled(now);
        self.put_backs.end_pauses(now);
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
            shard.dirty |= shard.hosts.remove(&route.rule);
        }
        self.routes.values().filter_map(|held| held.until).min()
    }

    /// Returns the next solver Ingress to write, and assumes that the write succeeds; call
    /// [`failed`](Self::failed) if not. Those that the jobs of `waiting` need come first, in order,
    /// because there may be hundreds of others: one for each class that a tenant invents. A failed
    /// one is skipped until its retry time, so the others proceed. Those that only lose hosts come
    /// last, so that a host which moves is routed all the time.
    pub(crate) fn next_write<'a>(
        &mut self,
        waiting: impl IntoIterator<Item = &'a SecretKey>,
        now: Timestamp,
    ) -> Option<SolverIngress> {
        let due = |shard: &SolverShard| shard.dirty && shard.not_before.is_none_or(|at| at <= now);
        let is_due = |name: &&SolverName| self.shards.get(*name).is_some_and(due);
        let needed = waiting.into_iter().find_map(|stream| self.shards_of(stream).find(is_due));
        let due_shards = || self.shards.iter().filter(|(_, shard)| due(shard));
        let gains = || due_shards().find(|(_, shard)| !shard.hosts.is_subset(&shard.taken));
        let any = || gains().or_else(|| due_shards().next()).map(|(name, _)| name);
        let name = needed.or_else(any)?.clone();
        let shard = self.shards.get_mut(&name)?;
        shard.dirty = false;
        shard.not_before = None;
        shard.leaving.extend(shard.taken.difference(&shard.hosts).cloned());
        shard.is_being_deleted = shard.hosts.is_empty();
        let (class, place, hosts) = (shard.class.clone(), shard.place.clone(), shard.hosts.clone());
        let write = SolverIngress { name, class, place, hosts, created: None, generation: 0 };
        self.withdrawing = shard.leaving.iter().map(|host| write.route(host)).collect();
        Some(write)
    }

    /// Records a successful write, with the creation time that the API server has set. Hosts that
    /// are not younger there than their user Ingresses, by its clock, move to another one.
    pub(crate) fn written(&mut self, write: &SolverIngress, now: Timestamp) {
        self.withdrawals_ended(now);
        self.refused_removals.remove(&write.name);
        let Some(shard) = self.shards.get_mut(&write.name) else { return };
        if shard.is_being_deleted && shard.hosts.is_empty() {
            self.shards.remove(&write.name);
            return;
        }
        shard.is_being_deleted = false;
        shard.is_now(write);
        shard.written = now;
        let mut too_old = Vec::new();
        for host in &shard.hosts {
            let route = write.route(host);
            let Some(held) = self.routes.get(&route) else { continue };
            too_old.extend(shard.young_from(held.newest, now).map(|from| (route, from)));
        }
        for (route, from) in too_old {
            self.move_to_a_younger(&route, Some(from));
        }
    }

    /// Whether no other solver Ingress is in the user's namespace of `write`, or may be there.
    pub(crate) fn is_last(&self, write: &SolverIngress) -> bool {
        let is_other = |(name, shard): (&SolverName, &SolverShard)| {
            let is_there = !shard.hosts.is_empty() || !shard.taken.is_empty();
            name.namespace == write.name.namespace && *name != write.name && is_there
        };
        write.name.namespace.is_some() && !self.shards.iter().any(is_other)
    }

    /// Drops a solver Ingress in a user's namespace that the operator may not remove.
    pub(crate) fn forget(&mut self, name: &SolverName) {
        self.withdrawing.clear();
        self.refused_removals.remove(name);
        if self.shards.get(name).is_some_and(|shard| shard.hosts.is_empty()) {
            self.shards.remove(name);
        }
    }

    /// Counts the withdrawals of a write that has ended: one that failed may have been accepted.
    fn withdrawals_ended(&mut self, now: Timestamp) {
        for route in std::mem::take(&mut self.withdrawing) {
            self.withdrawals.record(route, now);
        }
    }

    /// Whether the job of `stream` waits for a host of this write, which failed.
    pub(crate) fn waits_for(&self, stream: &SecretKey, write: &SolverIngress) -> bool {
        let shard = self.shards.get(&write.name);
        let mut routes = self.of_stream.get(stream).into_iter().flatten();
        routes.any(|route| {
            let held = self.routes.get(route).is_some_and(|held| held.shard == write.name);
            let has = shard.is_some_and(|shard| shard.has(&route.rule));
            held && !has && write.hosts.contains(&route.rule)
        })
    }

    /// Records a failed write, and returns the pause before its retry, which includes later
    /// changes: [`limits::ROUTE_RETRY`], and ever longer for a write that only removes hosts. No
    /// job waits for a removal, and a webhook that refuses one does so for ever.
    pub(crate) fn failed(&mut self, write: SolverIngress, now: Timestamp) -> Duration {
        self.withdrawals_ended(now);
        let SolverIngress { name, hosts, .. } = write;
        let known = self.shards.get(&name);
        let has = |host| known.is_some_and(|shard| shard.has(host));
        let pause = if hosts.iter().all(has) {
            let refused = self.refused_removals.entry(name.clone()).or_default();
            let pause = doubled(limits::ROUTE_RETRY, *refused, limits::ROUTE_RETRY_MAX);
            *refused = refused.saturating_add(1);
            pause
        } else {
            self.refused_removals.remove(&name);
            limits::ROUTE_RETRY
        };
        if let Some(shard) = self.shards.get_mut(&name) {
            (shard.dirty, shard.is_being_deleted) = (true, false);
            shard.not_before = Some(now + pause);
        }
        pause
    }
}
