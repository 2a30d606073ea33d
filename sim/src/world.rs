//! One of everything: the cluster, the CA, DNS and the gateway between them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::SimError;
use crate::ca::{self, Ca};
use crate::clock::Clock;
use crate::dns::Dns;
use crate::gateway::Gateway;
use crate::kube::{ApiServer, User};
use crate::pki::RootCa;

/// How a world differs from the default.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Decides on all chance.
    pub seed: u64,
    /// The CA; its validation port is set by the world.
    pub ca: ca::Options,
    /// From the moment a route is seen until it works.
    pub route_delay: Duration,
}

/// A running world; dropped, all of it ends and its files are gone.
pub struct World {
    // Dropped from top to bottom: users before the used.
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
    /// Starts everything on free ports of loopback; takes some milliseconds.
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

    /// A further CA of this world: with roots of its own, and TLS under the same.
    pub fn another_ca(&self, options: ca::Options) -> Result<Ca, SimError> {
        let (validation_port, seed) = (self.gateway.address().port(), self.seed);
        let options = ca::Options { validation_port, seed, ..options };
        Ca::start(options, self.clock.clone(), self.dns.zone().clone(), &self.root_ca)
    }

    /// The ingress controller.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The DNS server.
    pub fn dns(&self) -> &Dns {
        &self.dns
    }

    /// The time of the API server and the CA.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// PEM file of the root under which the ACME directory's own TLS certificate is.
    pub fn root_file(&self) -> PathBuf {
        self.files.path().join("root.pem")
    }

    /// Kubeconfig of a user who may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.files.path().join("admin.kubeconfig")
    }

    /// Kubeconfig of the operator, which faults concern and which is counted apart.
    pub fn operator_kubeconfig(&self) -> PathBuf {
        self.files.path().join("operator.kubeconfig")
    }

    /// Where files of this world go.
    pub fn directory(&self) -> &Path {
        self.files.path()
    }

    /// The flags of `run` by which an operator finds this world, without its ports.
    pub fn operator_flags(&self) -> Vec<String> {
        let flags = [
            ("--acme-directory", self.ca.directory_url()),
            ("--acme-ca-file", self.root_file().display().to_string()),
            ("--namespace", "ingress-acme".to_owned()),
            ("--nameserver", self.dns.address().to_string()),
            ("--probe-port", self.gateway.address().port().to_string()),
        ];
        flags.into_iter().map(|(flag, value)| format!("{flag}={value}")).collect()
    }
}

/// A port of loopback that is free at this moment, for a server that is started at once.
pub fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
