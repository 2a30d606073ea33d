//! Ingress gateway: simulates the ingress controller of the cluster.
//!
//! The gateway watches all Ingresses, whatever their class, and routes by their rules. The CA
//! validates through the gateway, so a validation passes only if the operator has created the route
//! to its solver. The solver's Service has no endpoints here, because no kubelet runs; requests for
//! that Service go to the registered operator addresses. Any other Service answers 200 with its own
//! name.
//!
//! By default, addresses come and go at once, and a request is sent to the next address when one
//! does not answer. [`State::follow_endpoints`] makes the gateway as late and as strict as
//! kube-proxy.
//!
//! The API server can be simulated or real.

mod endpoints;
mod lag;
mod routing;
mod rules;
mod serving;
mod table;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use k8s_openapi::api::networking::v1::Ingress;
use kube::runtime::watcher::Event;
use tokio::time::Instant;

use crate::SimError;
use crate::serving::Serving;
use endpoints::Endpoints;
use lag::Lag;
use routing::Backend;
pub use rules::{Merging, Rules};
use table::Table;

/// A running gateway. Dropping the value stops the gateway.
#[derive(Debug)]
pub struct Gateway {
    state: Arc<State>,
    serving: Serving,
}

/// State shared by the gateway's thread and its users.
#[derive(Debug, Default)]
pub struct State {
    table: RwLock<Table>,
    /// Operators that answer challenges; some may have stopped.
    solvers: Mutex<Endpoints>,
    lag: Mutex<Lag>,
}

impl Gateway {
    /// Starts the gateway, which listens at once. Routes appear as reported by the API server of
    /// `cluster`, and come and go `delay` later.
    pub fn start(
        address: SocketAddr,
        cluster: kube::Config,
        delay: Duration,
    ) -> Result<Self, SimError> {
        let state = Arc::new(State::default());
        state.set_delay(delay);
        let configure = serving::configure(&state)?;
        let watched = Arc::clone(&state);
        let watch = || serving::watch_cluster(cluster, watched);
        let serving = Serving::start("gateway", address, None, configure, watch)?;
        Ok(Self { state, serving })
    }

    /// Address of the gateway.
    pub fn address(&self) -> SocketAddr {
        self.serving.address()
    }

    /// Returns the state, which can outlive the borrow of the gateway.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }
}

impl State {
    /// Sets the delay before a later write of an Ingress takes effect.
    pub fn set_delay(&self, delay: Duration) {
        self.lag().set(delay, false);
    }

    /// Delays each later write of an Ingress by another time, up to `longest`.
    pub fn vary_delay(&self, longest: Duration) {
        self.lag().set(longest, true);
    }

    /// Sets the rules of the controller, which apply at once.
    pub fn set_rules(&self, rules: Rules) {
        self.table.write().unwrap_or_else(PoisonError::into_inner).rules = rules;
    }

    /// Adds an address behind the solver's Service.
    pub fn add_solver(&self, address: SocketAddr) {
        self.endpoints().add(address, Instant::now());
    }

    /// Removes an address, before another process may get the port.
    pub fn remove_solver(&self, address: SocketAddr) {
        self.endpoints().remove(address, Instant::now());
    }

    /// Follows additions and removals of solvers `late`, and sends each request to one of them, in
    /// turn, and to no other if that one does not answer: as kube-proxy and most ingress
    /// controllers do. Applies to later additions and removals.
    pub fn follow_endpoints(&self, late: Duration) {
        self.endpoints().follow(late);
    }

    /// Solvers to try for one request, in order.
    fn solvers(&self) -> Vec<SocketAddr> {
        self.endpoints().of_a_request(Instant::now())
    }

    fn endpoints(&self) -> MutexGuard<'_, Endpoints> {
        self.solvers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lag(&self) -> MutexGuard<'_, Lag> {
        self.lag.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn observe(&self, event: Event<Ingress>) {
        self.lag().add(event, Instant::now());
        self.apply_due();
    }

    /// Applies the writes that are due.
    fn apply_due(&self) {
        let (mut lag, now) = (self.lag(), Instant::now());
        while let Some(event) = lag.due(now) {
            self.table.write().unwrap_or_else(PoisonError::into_inner).observe(event);
        }
    }

    /// Follows the Ingresses of a cluster until dropped.
    pub async fn follow(self: Arc<Self>, cluster: kube::Client) {
        serving::watch(cluster, self).await;
    }

    /// Service that a request leads to; `None` without a route. The flag is true for the solver.
    pub fn service(&self, host: &str, path: &str) -> Option<(String, bool)> {
        let backend = self.backend(host, path)?;
        let is_solver = backend.is_solver();
        Some((backend.service, is_solver))
    }

    fn backend(&self, host: &str, path: &str) -> Option<Backend> {
        self.apply_due();
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.backend(host, path).cloned()
    }
}
