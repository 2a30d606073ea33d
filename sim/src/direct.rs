//! The simulated servers without sockets, in the caller's runtime and on tokio's clock: days pass
//! in seconds where that clock is paused. Requests come through [`InProcess`], and the hosts of the
//! Ingresses are asked through the gateway's table.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::SimError;
use crate::ca::{self, Ca};
use crate::clock::Clock;
use crate::dns::Zone;
use crate::exchange::{InProcess, Request, Response};
use crate::gateway;
use crate::kube::ApiServer;

/// Answers a challenge of the solver: path, then status and body.
pub type Solver = Arc<dyn Fn(&str) -> (u16, String) + Send + Sync>;

/// A world without sockets.
pub struct DirectWorld {
    /// The Kubernetes API server.
    pub api: ApiServer,
    /// The CA.
    pub ca: Ca,
    /// Names with trouble.
    pub zone: Zone,
    /// Time of the API server and the CA.
    pub clock: Clock,
    /// The ingress controller.
    pub gateway: Arc<gateway::State>,
    /// Hosts, as a client outside of the cluster reaches them.
    pub hosts: InProcess,
    solvers: Arc<Mutex<Option<Solver>>>,
}

impl DirectWorld {
    /// Starts all servers at the time `now`; `seed` determines all randomness of them. The gateway
    /// has to be led to the API server ([`gateway::State::follow`]).
    ///
    /// # Errors
    /// No key could be made.
    pub fn start(now: Timestamp, seed: u64, options: ca::Options) -> Result<Self, SimError> {
        crate::pki::choose_provider();
        let (clock, zone) = (Clock::of_tokio(now), Zone::default());
        let api = ApiServer::in_process(clock.clone(), seed);
        let (gateway, solvers) = (Arc::<gateway::State>::default(), Arc::default());
        let hosts = hosts(&gateway, &solvers);
        let options = ca::Options { seed, ..options };
        let ca = Ca::in_process(options, clock.clone(), zone.clone(), hosts.clone())?;
        Ok(Self { api, ca, zone, clock, gateway, hosts, solvers })
    }

    /// Puts a solver behind the solver's Service, in place of those before.
    pub fn set_solver(&self, solver: Solver) {
        *self.solvers.lock().unwrap_or_else(PoisonError::into_inner) = Some(solver);
    }
}

/// Time that a request to a host takes.
const LATENCY: Duration = Duration::from_millis(5);

fn hosts(gateway: &Arc<gateway::State>, solvers: &Arc<Mutex<Option<Solver>>>) -> InProcess {
    let (gateway, solvers) = (Arc::clone(gateway), Arc::clone(solvers));
    Arc::new(move |request: Request| {
        let (gateway, solvers) = (Arc::clone(&gateway), Arc::clone(&solvers));
        Box::pin(async move {
            tokio::time::sleep(LATENCY).await;
            let solver = || {
                let solvers = solvers.lock().unwrap_or_else(PoisonError::into_inner);
                solvers.clone()
            };
            let host = request.host.split(':').next().unwrap_or_default();
            match gateway.service(host, &request.path) {
                None => Response::new(404, "no route\n"),
                Some((service, false)) => Response::new(200, service),
                Some((_, true)) => match solver() {
                    None => Response::new(503, "no solver answers\n"),
                    Some(solver) => {
                        let (status, body) = solver(&request.path);
                        Response::new(status, body)
                    }
                },
            }
        })
    })
}
