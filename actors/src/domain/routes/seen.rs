//! Routes to the solver in users' namespaces, as the watch of Ingresses shows them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{RouteTable, SolverIngress, SolverName};
use crate::domain::ingress::{IngressKey, IngressView};
use crate::domain::limits;
use crate::domain::rule_host::RuleHost;
use crate::domain::solver_place::SolverPlace;
use crate::domain::time::Timestamp;

/// An Ingress in a user's namespace as the watch shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Its namespace and name.
    pub(super) name: SolverName,
    /// `metadata.generation`; `None` if it is deleted.
    pub(super) generation: Option<i64>,
    /// Its routes; `None` if it has none, or none any more.
    pub(super) solver: Option<SolverIngress>,
    /// Field manager that wrote the rules last, if it is not ours.
    pub(super) writer: Option<Arc<str>>,
}

impl Seen {
    /// Takes the routes out of the view of an Ingress.
    pub(crate) fn take(view: &mut IngressView) -> Self {
        let (generation, routed) = (std::mem::take(&mut view.generation), view.routed.take());
        let (writer, hosts) = routed.map_or((None, None), |one| (one.writer, Some(one.hosts)));
        let name = SolverName::of(&view.key);
        let place = if view.is_solver {
            SolverPlace::Namespace(view.key.namespace.clone())
        } else {
            SolverPlace::InPlace(Arc::new(view.key.clone()))
        };
        let created = view.is_solver.then_some(view.created);
        let class = view.class.clone();
        let solver = hosts.map(|hosts| SolverIngress {
            name: name.clone(),
            class,
            place,
            hosts,
            created,
            generation,
        });
        Self { name, generation: Some(generation), solver, writer }
    }

    /// An Ingress that is deleted.
    pub(crate) fn deleted(key: &IngressKey) -> Self {
        Self { name: SolverName::of(key), generation: None, solver: None, writer: None }
    }

    /// Whether the Ingress has routes.
    pub(crate) fn is_routed(&self) -> bool {
        self.solver.is_some()
    }
}

impl RouteTable {
    /// Compares an Ingress with what it should be. Unknown routes come from an earlier process and
    /// are adopted, up to a number for each namespace, because users can write what looks like
    /// them.
    pub(crate) fn seen(&mut self, seen: Seen, now: Timestamp) {
        let (found, writer) = (seen.solver, seen.writer);
        let Some(shard) = self.shards.get_mut(&seen.name) else {
            if let Some(found) = found.filter(|_| self.has_room_beside(&seen.name)) {
                self.found(found, now);
            }
            return;
        };
        if seen.generation.is_some_and(|generation| generation < shard.generation) {
            return; // from before our last write
        }
        let hosts: BTreeSet<RuleHost> =
            found.as_ref().map_or_else(BTreeSet::new, |found| found.hosts.clone());
        let mut wanted = shard.hosts.iter().filter(|host| shard.has(host));
        let lost = wanted.any(|host| !hosts.contains(host));
        match &found {
            Some(found) => shard.is_now(found),
            None => shard.is_gone(),
        }
        shard.generation = seen.generation.unwrap_or_default();
        shard.dirty |= shard.hosts != shard.taken;
        let is_in_place = matches!(shard.place, SolverPlace::InPlace(_));
        let was_put_back = is_in_place && lost && seen.generation.is_some();
        if was_put_back && self.put_backs.count(&seen.name, writer, now) {
            self.give_up(&seen.name);
        }
    }

    /// Takes all routes out of an Ingress that another writer puts back.
    fn give_up(&mut self, name: &SolverName) {
        self.routes.retain(|_, held| held.shard != *name);
        if let Some(shard) = self.shards.get_mut(name) {
            shard.hosts.clear();
            shard.dirty = true;
        }
    }

    fn has_room_beside(&self, name: &SolverName) -> bool {
        let known = self.shards.keys().filter(|known| known.namespace == name.namespace);
        known.count() < limits::SOLVERS_FOUND
    }
}
