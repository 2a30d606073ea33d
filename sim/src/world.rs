//! A complete simulated world: cluster, CA, DNS and the gateway between them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::SimError;
use crate::ca::{self, Ca};
use crate::clock::Clock;
use crate::dns::{Dns, Provider};
use crate::gateway::Gateway;
use crate::kube::{ApiServer, User};
use crate::pki::RootCa;

/// Options of a world.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Seed of all randomness.
    pub seed: u64,
    /// Options of the CA; the world sets the validation port and the seed.
    pub ca: ca::Options,
    /// Time between the observation of a route and its activation.
    pub route_delay: Duration,
}

/// A running world. Dropping the value stops all servers and removes all files.
pub struct World {
    // Fields drop from top to bottom: users before the servers they use.
    ca: Ca,
    gateway: Gateway,
    api: ApiServer,
    dns: Dns,
    clock: Clock,
    seed: u64,
    root_ca: RootCa,
    files: TempDir,
}

impl World {
    /// Starts all servers on free ports of loopback, within milliseconds.
    pub fn start(options: Options) -> Result<Self, SimError> {
        let Options { seed, ca, route_delay } = options;
        crate::pki::choose_provider();
        let files = || SimError::io("make the world's files");
        let (clock, root_ca) = (Clock::default(), RootCa::new()?);
        let dns = Dns::start()?;
        let api = ApiServer::start(clock.clone(), seed)?;
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let gateway = Gateway::start(anywhere, api.config(User::Admin), route_delay)?;
        let ca = ca::Options { validation_port: gateway.address().port(), seed, ..ca };
        let ca = Ca::start(ca, clock.clone(), dns.zone().clone(), &root_ca)?;
        let directory =
            tempfile::Builder::new().prefix("ingress-acme-").tempdir().map_err(files())?;
        let world = Self { ca, gateway, api, dns, clock, seed, root_ca, files: directory };
        fs::write(world.root_file(), world.root_ca.root_pem()).map_err(files())?;
        for (user, file) in
            [(User::Admin, world.kubeconfig()), (User::Operator, world.operator_kubeconfig())]
        {
            fs::write(file, world.api.kubeconfig(user)).map_err(files())?;
        }
        Ok(world)
    }

    /// The Kubernetes API server.
    pub fn api(&self) -> &ApiServer {
        &self.api
    }

    /// The ACME CA.
    pub fn ca(&self) -> &Ca {
        &self.ca
    }

    /// Starts another CA in this world, with its own roots for certificates and the same root for
    /// TLS.
    pub fn another_ca(&self, options: ca::Options) -> Result<Ca, SimError> {
        let (validation_port, seed) = (self.gateway.address().port(), self.seed);
        let options = ca::Options { validation_port, seed, ..options };
        Ca::start(options, self.clock.clone(), self.dns.zone().clone(), &self.root_ca)
    }

    /// The ingress controller.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Adds a ready pod of the operator behind the solver's Service: for the ingress controller,
    /// and as an `EndpointSlice`.
    pub fn add_solver(&self, address: SocketAddr) {
        self.gateway.state().add_solver(address);
        // Refused only if it is there already.
        _ = self.api.load(endpoint_slice(address));
    }

    /// Undoes [`World::add_solver`].
    pub fn remove_solver(&self, address: SocketAddr) {
        self.gateway.state().remove_solver(address);
        self.api.unload(&endpoint_slice(address));
    }

    /// The DNS server.
    pub fn dns(&self) -> &Dns {
        &self.dns
    }

    /// Starts a DNS provider that writes TXT records into this world's DNS.
    pub fn dns_provider(&self) -> Result<Provider, SimError> {
        Provider::start(self.dns.zone())
    }

    /// The clock of the API server and the CA.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Path of the root, PEM, that signs the TLS certificate of the ACME directory.
    pub fn root_file(&self) -> PathBuf {
        self.files.path().join("root.pem")
    }

    /// Path of a kubeconfig for an unrestricted user.
    pub fn kubeconfig(&self) -> PathBuf {
        self.files.path().join("admin.kubeconfig")
    }

    /// Path of the operator's kubeconfig; this user is subject to faults and counted separately.
    pub fn operator_kubeconfig(&self) -> PathBuf {
        self.files.path().join("operator.kubeconfig")
    }

    /// Directory of this world's files.
    pub fn directory(&self) -> &Path {
        self.files.path()
    }

    /// Flags of `run` that connect an operator to this world; the operator's own ports are not
    /// included.
    pub fn operator_flags(&self) -> Vec<String> {
        let flags = [
            ("--acme-directory", self.ca.directory_url()),
            ("--acme-ca-file", self.root_file().display().to_string()),
            ("--namespace", "ingress-acme".to_owned()),
            ("--nameserver", self.dns.address().to_string()),
            ("--dns01-resolvers", self.dns.address().to_string()),
            ("--probe-port", self.gateway.address().port().to_string()),
        ];
        flags.into_iter().map(|(flag, value)| format!("{flag}={value}")).collect()
    }
}

fn endpoint_slice(address: SocketAddr) -> Value {
    let name = format!("ingress-acme-solver-{}", address.port());
    let labels = json!({"kubernetes.io/service-name": "ingress-acme-solver"});
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "ingress-acme", "labels": labels},
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "http", "port": address.port(), "protocol": "TCP"}],
    })
}

/// Returns a loopback address with a currently free port, for a server that another process starts.
/// Each call returns another port, and no outgoing connection takes one of these: Linux chooses
/// from 32768 on (`ip_local_port_range`).
pub fn free_address() -> std::io::Result<SocketAddr> {
    const PORTS: std::ops::Range<u32> = 15_000..32_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = PORTS.end - PORTS.start;
    let of_process = std::process::id().wrapping_mul(97);
    for _ in PORTS {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + of_process.wrapping_add(step) % count;
        let port = u16::try_from(port).unwrap_or_default();
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener.local_addr();
        }
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
