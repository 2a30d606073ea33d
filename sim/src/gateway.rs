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
mod routing;
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
use routing::Backend;
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
    /// Time between the observation of a route and its activation.
    delay: Mutex<Duration>,
}

impl Gateway {
    /// Starts the gateway, which listens at once. Routes appear as reported by the API server of
    /// `cluster` and are active `delay` later.
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
    /// Sets the delay before new routes become active.
    pub fn set_delay(&self, delay: Duration) {
        *self.delay.lock().unwrap_or_else(PoisonError::into_inner) = delay;
    }

    /// Gives each host to the oldest Ingress that names the host, as some controllers do, instead
    /// of merging the paths of all.
    pub fn set_oldest_owns(&self, oldest_owns: bool) {
        self.table.write().unwrap_or_else(PoisonError::into_inner).oldest_owns = oldest_owns;
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

    fn observe(&self, event: Event<Ingress>) {
        let delay = *self.delay.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.observe(event, Instant::now() + delay);
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
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.backend(host, path, Instant::now()).cloned()
    }
}
