//! Solver Ingresses of the fake cluster, and challenge paths in users' Ingresses.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::ports::OfInstall;
use super::{ClusterState, FakeCluster, ingress};
use crate::domain::ingress::{IngressKey, IngressView, RoutedHosts};
use crate::domain::routes::SolverIngress;
use crate::domain::rule_host::RuleHost;
use crate::domain::solver_place::SolverPlace;
use crate::domain::time::Timestamp;
use crate::ports::{IngressChange, PortError, Routes, Written};

#[async_trait(?Send)]
impl Routes for OfInstall {
    async fn list(&self) -> Result<Vec<SolverIngress>, PortError> {
        self.cluster.call("list_routes").await?;
        let state = self.cluster.state.borrow();
        let own = state.solver.iter().filter(|((install, _), _)| *install == self.id);
        Ok(own.map(|(_, ingress)| ingress.clone()).collect())
    }

    async fn write(
        &self,
        ingress: &SolverIngress,
        is_last: bool,
    ) -> Result<Option<Written>, PortError> {
        self.cluster.call("write_routes").await?;
        let now = Timestamp::from_secs(self.cluster.clock.now().as_secs());
        let mut state = self.cluster.state.borrow_mut();
        if let Some(namespace) = &ingress.name.namespace {
            if ingress.hosts.is_empty() && is_last {
                state.services.remove(&**namespace);
            } else {
                state.services.insert(namespace.to_string());
            }
            return Ok(state.write_of_a_user(ingress, now));
        }
        let name = (self.id, ingress.name.clone());
        if ingress.hosts.is_empty() {
            state.solver.remove(&name);
            return Ok(None);
        }
        let created = state.solver.get(&name).map_or(Some(now), |known| known.created);
        state.solver.insert(name, SolverIngress { created, ..ingress.clone() });
        Ok(Some(Written { created, generation: 1 }))
    }

    async fn copy_endpoints(&self) -> Result<(), PortError> {
        Ok(())
    }
}

impl ClusterState {
    /// Writes a route in a user's namespace, and shows it to the watches.
    fn write_of_a_user(&mut self, wanted: &SolverIngress, now: Timestamp) -> Option<Written> {
        let namespace = wanted.name.namespace.as_deref()?;
        let key = IngressKey::new(namespace, &wanted.name.name);
        let is_solver = !matches!(wanted.place, SolverPlace::InPlace(_));
        let known = self.ingresses.get(&key).cloned();
        if is_solver && wanted.hosts.is_empty() {
            let gone = self.ingresses.remove(&key)?;
            self.changed(IngressChange::Deleted(key.clone()), (key, Some(gone)));
            return None;
        }
        let made = || IngressView { is_solver, created: now, ..ingress(namespace, &key.name, &[]) };
        let mut view = known.clone().or_else(|| is_solver.then(made))?;
        view.generation += 1;
        let (created, generation) = (is_solver.then_some(view.created), view.generation);
        let routed = RoutedHosts { hosts: wanted.hosts.clone(), writer: None };
        view.routed = (!wanted.hosts.is_empty()).then(|| Box::new(routed));
        self.ingresses.insert(key.clone(), view.clone());
        self.changed(IngressChange::Applied(view), (key, known));
        (!wanted.hosts.is_empty()).then_some(Written { created, generation })
    }

    /// Hosts with a route to the solver.
    pub(super) fn routed_hosts(&self) -> impl Iterator<Item = &RuleHost> {
        let of_users = self.ingresses.values().filter_map(|view| view.routed.as_deref());
        let all = self.solver.values().map(|solver| &solver.hosts);
        all.chain(of_users.map(|routed| &routed.hosts)).flatten()
    }
}

impl FakeCluster {
    /// Hosts with a route to the solver.
    pub fn routed(&self) -> Vec<String> {
        self.state.borrow().routed_hosts().map(ToString::to_string).collect()
    }

    /// Namespaces of users that have the solver's Service.
    pub fn services(&self) -> BTreeSet<String> {
        self.state.borrow().services.clone()
    }

    /// Takes our path out of an Ingress, as a `GitOps` tool does by the manifest that it has.
    ///
    /// # Panics
    /// When there is no such Ingress.
    pub fn put_back(&self, key: &IngressKey, writer: &str) {
        let mut state = self.state.borrow_mut();
        let known = state.ingresses.get(key).cloned().expect("tests put back what is there");
        let mut view = known.clone();
        view.generation += 1;
        if let Some(routed) = &mut view.routed {
            **routed = RoutedHosts { writer: Some(writer.into()), ..RoutedHosts::default() };
        }
        state.ingresses.insert(key.clone(), view.clone());
        state.changed(IngressChange::Applied(view), (key.clone(), Some(known)));
    }
}
