//! The ingress gateway: plays the ingress controller of the cluster.
//!
//! It watches all Ingresses, whatever their class, and routes by their rules. The CA validates through it, so a
//! validation passes only when the operator has really made the route to its solver. The solver's Service has no
//! endpoints here, because no kubelet runs; its requests go to the addresses of the operators that were started. Any
//! other Service answers 200 with its own name.
//!
//! It works with the simulated API server and with a real one.

mod routing;
mod serving;
mod table;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use k8s_openapi::api::networking::v1::Ingress;
use kube::runtime::watcher::Event;
use tokio::time::Instant;

use crate::SimError;
use crate::serving::Serving;
use routing::Backend;
use table::Table;

/// A running gateway; dropped, it no longer listens.
#[derive(Debug)]
pub struct Gateway {
    state: Arc<State>,
    serving: Serving,
}

/// What the gateway's thread and its users share.
#[derive(Debug, Default)]
pub struct State {
    table: RwLock<Table>,
    /// Where operators answer challenges; some may have ended.
    solvers: Mutex<Vec<SocketAddr>>,
    /// From the moment a route is seen until it works.
    delay: Mutex<Duration>,
}

impl Gateway {
    /// Listens at once; routes appear as the API server of `cluster` tells about them, and work `delay` later.
    pub fn start(
        address: SocketAddr,
        cluster: kube::Config,
        delay: Duration,
    ) -> Result<Self, SimError> {
        let state = Arc::new(State::default());
        state.set_delay(delay);
        let configure = serving::configure(&state)?;
        let watched = Arc::clone(&state);
        let watch = || serving::watch(cluster, watched);
        let serving = Serving::start("gateway", address, None, configure, watch)?;
        Ok(Self { state, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.serving.address()
    }

    /// The part that outlives the borrow of the gateway.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }
}

impl State {
    /// From now on new routes take this long until they work.
    pub fn set_delay(&self, delay: Duration) {
        *self.delay.lock().unwrap_or_else(PoisonError::into_inner) = delay;
    }

    /// Adds an address the solver's Service leads to.
    pub fn add_solver(&self, address: SocketAddr) {
        self.solvers.lock().unwrap_or_else(PoisonError::into_inner).push(address);
    }

    /// Takes it away again, before the port may belong to someone else.
    pub fn remove_solver(&self, address: SocketAddr) {
        let mut solvers = self.solvers.lock().unwrap_or_else(PoisonError::into_inner);
        solvers.retain(|solver| *solver != address);
    }

    fn solvers(&self) -> Vec<SocketAddr> {
        self.solvers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn observe(&self, event: Event<Ingress>) {
        let delay = *self.delay.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.observe(event, Instant::now() + delay);
    }

    fn backend(&self, host: &str, path: &str) -> Option<Backend> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.backend(host, path, Instant::now()).cloned()
    }
}
