//! The ingress gateway: plays the ingress controller of the cluster.
//!
//! It watches all Ingresses, whatever their class, and routes by their rules.
//! The CA validates through it, so a validation passes only when the operator
//! has really made the route to its solver. The solver's Service has no
//! endpoints here, because no kubelet runs; its requests go to the addresses
//! of the operators that were started. Any other Service answers 200 with its
//! own name.
//!
//! It lives in a thread of its own, with its own actix system, so that it
//! works whatever runtime the test uses.

mod routing;
mod serving;
mod table;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use k8s_openapi::api::networking::v1::Ingress;
use kube::runtime::watcher::Event;
use tokio::time::Instant;

use crate::error::StartError;
use routing::Backend;
use table::Table;

/// A running gateway; dropped, it no longer listens.
pub(crate) struct Gateway {
    state: Arc<State>,
    server: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

/// What the gateway's thread and the tests share.
#[derive(Debug, Default)]
pub(crate) struct State {
    table: RwLock<Table>,
    /// Where operators answer challenges; some may have ended.
    solvers: Mutex<Vec<SocketAddr>>,
    /// From the moment a route is seen until it works.
    delay: Mutex<Duration>,
}

impl Gateway {
    /// Listens at once; routes appear as the API server tells about them.
    pub(crate) fn start(
        address: SocketAddr,
        kubeconfig: PathBuf,
        delay: Duration,
    ) -> Result<Self, StartError> {
        let state = Arc::new(State::default());
        state.set_delay(delay);
        let (started, server) = mpsc::channel();
        let shared = Arc::clone(&state);
        let failed = || StartError::io(format!("start the gateway on {address}"));
        let thread = thread::Builder::new()
            .name("gateway".into())
            .spawn(move || serving::run(address, kubeconfig, &shared, &started))
            .map_err(failed())?;
        let server = server
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("its thread ended")))
            .map_err(failed())?;
        Ok(Self { state, server, thread: Some(thread) })
    }

    /// The part that outlives the borrow of the gateway.
    pub(crate) fn state(&self) -> &Arc<State> {
        &self.state
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // The command is sent by the call; the future only waits for its end.
        drop(self.server.stop(false));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    /// From now on new routes take this long until they work.
    pub(crate) fn set_delay(&self, delay: Duration) {
        *self.delay.lock().unwrap_or_else(PoisonError::into_inner) = delay;
    }

    /// Adds an address the solver's Service leads to.
    pub(crate) fn add_solver(&self, address: SocketAddr) {
        self.solvers.lock().unwrap_or_else(PoisonError::into_inner).push(address);
    }

    /// Takes it away again, before the port may belong to someone else.
    pub(crate) fn remove_solver(&self, address: SocketAddr) {
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
