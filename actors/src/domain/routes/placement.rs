//! Placement of routes: which solver Ingress has which host.

use std::collections::HashMap;

use super::{HeldRoute, RouteTable, SolverIngress, SolverName, SolverShard};
use crate::domain::desired::desired_certificate::{Route, WantedRoute};
use crate::domain::hash::stable_hash;
use crate::domain::ingress::{IngressClass, IngressKey, SecretKey};
use crate::domain::limits;
use crate::domain::rule_host::RuleHost;
use crate::domain::solver_place::{SOLVER_NAMES, SolverPlace};
use crate::domain::time::Timestamp;

impl RouteTable {
    /// Holds `routes` for the job of `stream`. A host that has a newer user Ingress than its solver
    /// Ingress moves to another one.
    pub(crate) fn hold(&mut self, stream: &SecretKey, routes: &[WantedRoute], now: Timestamp) {
        self.put_backs.end_pauses(now);
        for WantedRoute { route, newest, .. } in routes {
            // A creation in the future is one of a clock that was wrong: nothing would be younger.
            let is_wrong = newest.since(now) > limits::CREATION_SKEW;
            let newest = if is_wrong { Timestamp::default() } else { *newest };
            self.place(route, newest);
            if let Some(held) = self.routes.get_mut(route) {
                held.by.insert(stream.clone());
                held.until = None;
            }
        }
        let own = self.of_stream.entry(stream.clone()).or_default();
        for WantedRoute { route, .. } in routes {
            if let Err(place) = own.binary_search(route) {
                own.reserve_exact(1);
                own.insert(place, route.clone());
            }
        }
    }

    /// Assigns a route to a solver Ingress that is younger than `newest`.
    fn place(&mut self, route: &Route, newest: Timestamp) {
        let Some(held) = self.routes.get_mut(route) else {
            let Some(shard) = self.assign(route, newest) else { return };
            self.routes.insert(route.clone(), HeldRoute::new(&shard, newest));
            return;
        };
        held.newest = held.newest.max(newest);
        let newest = held.newest;
        if self.shards.get(&held.shard).is_some_and(|shard| !shard.is_younger_than(newest)) {
            self.move_to_a_younger(route, None);
        }
    }

    /// Takes hosts out of solver Ingresses that are older than a new Ingress with the host. Those
    /// that no job holds are removed at once. A wildcard or hostless rule moves once only: whoever
    /// creates Ingresses with the same one again and again must not hold up the others.
    pub(crate) fn outdate(
        &mut self,
        created: &HashMap<(Option<IngressClass>, RuleHost), Timestamp>,
        now: Timestamp,
    ) {
        let concerned = self.routes.iter_mut().filter_map(|(route, held)| {
            let class = (!route.rule.is_exact()).then(|| route.class.clone());
            if class.is_some() && held.leaves.is_some() && !held.by.is_empty() {
                return None;
            }
            let created = created.get(&(class, route.rule.clone()))?;
            let shard = self.shards.get(&held.shard)?;
            (!shard.is_younger_than(*created)).then(|| (route.clone(), held, *created))
        });
        let mut moved = Vec::new();
        for (route, held, created) in concerned {
            if held.by.is_empty() {
                held.until = Some(now);
            } else {
                held.newest = held.newest.max(created);
                moved.push(route);
            }
        }
        for route in moved {
            self.move_to_a_younger(&route, None);
        }
    }

    /// Moves a route to a solver Ingress that is younger than the user Ingresses of its host. A new
    /// one is created no earlier than at `from`.
    pub(super) fn move_to_a_younger(&mut self, route: &Route, from: Option<Timestamp>) {
        let Some(held) = self.routes.get(route) else { return };
        let (old, newest) = (held.shard.clone(), held.newest);
        if let Some(shard) = self.shards.get_mut(&old) {
            shard.dirty |= shard.hosts.remove(&route.rule);
        }
        let new = match from {
            None => self.assign(route, newest),
            Some(_) => None,
        };
        let new = new.unwrap_or_else(|| self.create_shard(route, from));
        if let Some(held) = self.routes.get_mut(route) {
            held.shard = new;
            held.leaves = Some(old);
        }
    }

    /// Splits a write that the API server refused, for example because of one host. Each new host
    /// moves to a solver Ingress of its own, so that only the bad host is refused again. Returns
    /// `false` if the solver Ingress cannot be split further.
    pub(crate) fn isolate(&mut self, write: &SolverIngress) -> bool {
        let can_split = |shard: &&mut SolverShard| {
            !shard.solo && !matches!(shard.place, SolverPlace::InPlace(_))
        };
        let Some(shard) = self.shards.get_mut(&write.name).filter(can_split) else {
            return false;
        };
        let new: Vec<RuleHost> = write.hosts.difference(&shard.taken).cloned().collect();
        if new.is_empty() {
            return false; // a removal was refused, for whatever reason
        }
        shard.hosts.retain(|host| !new.contains(host));
        shard.dirty = shard.hosts != shard.taken;
        if shard.hosts.is_empty() && shard.taken.is_empty() {
            self.shards.remove(&write.name); // nothing of it was ever accepted
        }
        for host in new {
            let route = write.route(&host);
            let SolverName { namespace, name } = write.name.clone();
            let name = format!("{name}-{:08x}", stable_hash(&host) & 0xffff_ffff).into();
            let name = SolverName { namespace, name };
            if let Some(held) = self.routes.get_mut(&route) {
                held.shard.clone_from(&name);
            }
            let mut shard = SolverShard::of(&route, None);
            shard.solo = true;
            self.shards.insert(name, shard);
        }
        true
    }

    /// Assigns `route` to the first shard of its class, place and kind of host with room that is
    /// younger than `newest`. A host appears once per class and place. `None` if the user's Ingress
    /// that is its place takes no more.
    fn assign(&mut self, route: &Route, newest: Timestamp) -> Option<SolverName> {
        if let SolverPlace::InPlace(key) = &route.place {
            return self.assign_in_place(route, key);
        }
        let fits = |shard: &SolverShard| {
            let room = shard.hosts.len() < limits::HOSTS_PER_SOLVER_INGRESS;
            let is_open = room && !shard.solo && !shard.is_being_deleted;
            let is_shared = shard.place == route.place && route.place != SolverPlace::Minion;
            let fits = is_shared && is_open && shard.is_younger_than(newest);
            fits && shard.class == route.class && shard.takes(&route.rule)
        };
        let Some((name, shard)) = self.shards.iter_mut().find(|(_, shard)| fits(shard)) else {
            return Some(self.create_shard(route, None));
        };
        shard.hosts.insert(route.rule.clone());
        shard.dirty = true;
        // A job waits for the new host, whatever removals wait for.
        let removal = self.refused_removals.contains_key(name);
        shard.not_before = shard.not_before.filter(|_| !removal);
        Some(name.clone())
    }

    /// Assigns `route` to the user's Ingress that is its place, unless another writer puts that
    /// back, or it has too many hosts in work.
    fn assign_in_place(&mut self, route: &Route, key: &IngressKey) -> Option<SolverName> {
        let name = SolverName::of(key);
        if self.put_backs.refused(&name).is_some() {
            return None;
        }
        let Some(shard) = self.shards.get_mut(&name) else {
            self.shards.insert(name.clone(), SolverShard::of(route, None));
            return Some(name);
        };
        if shard.hosts.len() >= limits::HOSTS_PER_SOLVER_INGRESS {
            return None;
        }
        shard.hosts.insert(route.rule.clone());
        shard.dirty = true;
        if self.refused_removals.remove(&name).is_some() {
            shard.not_before = None;
        }
        Some(name)
    }

    /// Assigns `route` to a shard of its own for now, which is created no earlier than at `from`.
    fn create_shard(&mut self, route: &Route, from: Option<Timestamp>) -> SolverName {
        let name = self.free_name(route);
        self.shards.insert(name.clone(), SolverShard::of(route, from));
        name
    }

    fn free_name(&self, route: &Route) -> SolverName {
        let class = stable_hash(&route.class) & 0xffff_ffff;
        let name = |shard| SolverName {
            namespace: route.place.namespace().cloned(),
            name: format!("{SOLVER_NAMES}{class:08x}-{shard}").into(),
        };
        (0..=u32::MAX)
            .map(name)
            .find(|name| !self.shards.contains_key(name))
            .expect("there are more numbers than shards")
    }
}
