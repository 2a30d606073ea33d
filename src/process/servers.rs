//! The HTTP servers of a replica: one for each address, started before anything else.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use anyhow::Context;
use ingress_acme_actors::reporting::metrics::Metrics;
use tracing::info;

use crate::commands::cli::AdapterConfig;
use crate::dns_and_http::admin::{self, Health};
use crate::dns_and_http::any_address;
use crate::dns_and_http::listeners::{Listener, Role, SOLVER, listeners};
use crate::dns_and_http::solver::{self, Thumbprint};
use crate::process::succession::Succession;

/// HTTP servers of all ports.
#[derive(Clone)]
pub struct Servers {
    /// Address of the challenge solver.
    pub solver: SocketAddr,
    /// Addresses of health, metrics and administration.
    pub others: Vec<Listener>,
    handles: Vec<ServerHandle>,
    solver_socket: Arc<TcpListener>,
}

impl Servers {
    /// Address that serves the paths of `role`: its own one, if there is one.
    pub fn address(&self, role: Role) -> Option<SocketAddr> {
        let serving = self.others.iter().filter(|one| one.roles.contains(&role));
        serving.min_by_key(|one| one.roles.len()).map(|one| one.bind)
    }

    /// What a process that takes the place of this one receives. Its solver serves on the same
    /// socket.
    pub fn succession(&self, thumbprint: &Thumbprint) -> Succession {
        Succession::new(thumbprint, self.solver_socket.try_clone().ok())
    }

    /// Stops all servers, gracefully or at once.
    pub async fn stop(&self, graceful: bool) {
        for server in &self.handles {
            server.stop(graceful).await;
        }
    }
}

/// Listens on all ports and starts the servers, so that health is visible and challenges are
/// answered from the start: on the socket of the process before, where there was one. Each server
/// has a thread of its own.
pub fn listen(
    config: &AdapterConfig,
    health: &Health,
    thumbprint: &Thumbprint,
    metrics: &Metrics,
    received: Succession,
) -> anyhow::Result<Servers> {
    let any = any_address();
    let bind = config.solver_bind.unwrap_or(SocketAddr::new(any, SOLVER));
    let served =
        received.solver(bind).map_or_else(|| solver::socket(bind), Ok).and_then(|socket| {
            let kept = Arc::new(socket.try_clone()?);
            Ok((kept, solver::serve(socket, thumbprint.clone(), metrics)?))
        });
    let served = served.with_context(|| unheard("--solver-bind", bind))?;
    let (solver_socket, (server, solver)) = served;
    info!(address = %solver, serves = "challenges", "listening");
    let (others, handles) = (Vec::new(), vec![server.handle()]);
    let mut servers = Servers { solver, others, handles, solver_socket };
    actix::spawn(server);
    for listener in listeners(&config.binds, any) {
        let (bind, roles) = (listener.bind, listener.roles.clone());
        let flag = roles.first().map_or("--admin-bind", |role| role.flag());
        let served = admin::serve(listener, health);
        let (server, address) = served.with_context(|| unheard(flag, bind))?;
        let serves: Vec<&str> = roles.iter().map(|role| role.name()).collect();
        info!(%address, serves = serves.join(", "), "listening");
        servers.others.push(Listener { bind: address, roles });
        servers.handles.push(server.handle());
        actix::spawn(server);
    }
    actix::spawn(health.clone().beat());
    Ok(servers)
}

/// Explains an address that cannot be listened on.
fn unheard(flag: &str, bind: SocketAddr) -> String {
    let variable = flag.trim_start_matches('-').replace('-', "_").to_uppercase();
    format!(
        "{flag} {bind} cannot be listened on, so this process ends. If the address is in use, stop the \
         process that uses the address, or choose another address by {flag} or \
         INGRESS_ACME_{variable}"
    )
}
