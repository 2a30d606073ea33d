//! One of everything: the cluster, the CA, DNS and the gateway between them.

mod boot;
mod options;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ingress_acme_sim::ca::Ca;
use ingress_acme_sim::gateway::Gateway;
use kube::Client;

pub(crate) use boot::{Ground, kube_client, reserve};
pub use options::Options;

use crate::audit::{self, AuditEntry};
use crate::dns::Dns;
use crate::error::{OperatorError, StartError};
use crate::kubernetes::Cluster;
use crate::manifest::apply_yaml;
use crate::operator::{Operator, OperatorOptions, Surroundings};
use crate::pebble;
use crate::ports::Port;
use crate::process::Process;

/// A running control plane with everything the operator meets.
///
/// Dropped, it ends all its processes and waits until they are gone, then
/// deletes its directory, unless the thread is panicking or
/// [`World::keep_files`] was called. Operators started in it should be dropped
/// first. All methods need the tokio runtime it was started in.
pub struct World {
    // Fields are dropped from top to bottom: the directory goes last.
    servers: Servers,
    ca_ports: pebble::Ports,
    gateway_port: Port,
    cluster: Cluster,
    admin: Client,
    /// What [`World::install`] applies.
    manifest: PathBuf,
    /// How many operators were started; numbers their logs and pods.
    operators: AtomicU32,
    ground: Ground,
}

/// Everything that runs; dropped from top to bottom, users before the used.
struct Servers {
    simulated_ca: Option<Ca>,
    gateway: Gateway,
    controllers: Process,
    ca: Mutex<Process>,
    dns: Dns,
    apiserver: Mutex<Process>,
    etcd: Process,
}

impl World {
    /// Starts a world with the operator's manifest installed.
    ///
    /// Takes some 10 s; the first time ever it builds the servers, for minutes.
    pub async fn start() -> Result<Self, StartError> {
        Self::start_with(Options::default()).await
    }

    /// Starts a world that differs from the default.
    pub async fn start_with(options: Options) -> Result<Self, StartError> {
        let world = boot::boot(options).await?;
        world.install().await?;
        Ok(world)
    }

    /// Applies the operator's manifest; [`World::start`] has done so once.
    ///
    /// No Pods come of it, because no scheduler runs. What counts is its RBAC:
    /// the operator's token may do what the manifest grants its service account.
    pub async fn install(&self) -> Result<(), StartError> {
        let manifest = &self.manifest;
        let what = format!("read {}", manifest.display());
        let yaml = fs::read_to_string(manifest).map_err(StartError::io(what))?;
        apply_yaml(&self.admin, &yaml)
            .await
            .map_err(|source| StartError::Install { manifest: manifest.clone(), source })
    }

    /// Runs an operator until it is ready.
    pub async fn start_operator(&self, options: OperatorOptions) -> Result<Operator, StartError> {
        let operator = self.spawn_operator(options)?;
        operator.ready().await?;
        Ok(operator)
    }

    /// Runs an operator without waiting; see [`Operator::ready`].
    pub fn spawn_operator(&self, options: OperatorOptions) -> Result<Operator, StartError> {
        let surroundings = Surroundings {
            acme_directory: self.acme_directory(),
            acme_ca_file: &self.ground.root_file,
            kubeconfig: &self.cluster.operator_kubeconfig,
            nameserver: self.nameserver(),
            gateway_port: self.gateway_port(),
            gateway: self.servers.gateway.state(),
            http: &self.ground.http,
            directory: self.ground.directory.path(),
            number: self.operators.fetch_add(1, Ordering::Relaxed),
        };
        Operator::spawn(options, &surroundings)
    }

    /// A client that may do everything.
    pub fn admin(&self) -> Client {
        self.admin.clone()
    }

    /// Kubeconfig of a user who may do everything, for command lines.
    pub fn admin_kubeconfig(&self) -> &Path {
        &self.cluster.admin_kubeconfig
    }

    /// Kubeconfig of the operator's service account.
    pub fn operator_kubeconfig(&self) -> &Path {
        &self.cluster.operator_kubeconfig
    }

    /// A client that may do what the operator may, to test its RBAC.
    pub async fn operator_client(&self) -> Result<Client, StartError> {
        kube_client(self.operator_kubeconfig()).await
    }

    /// URL of the directory that operators order of: the simulated CA's where there is one, else Pebble's.
    pub fn acme_directory(&self) -> String {
        let simulated = self.servers.simulated_ca.as_ref().map(Ca::directory_url);
        simulated.unwrap_or_else(|| self.ca_ports.directory_url())
    }

    /// The simulated CA, where [`Options::simulated_ca`] asked for one.
    pub fn simulated_ca(&self) -> Option<&Ca> {
        self.servers.simulated_ca.as_ref()
    }

    /// Where the gateway leads requests for the solver: for programs that are no operators.
    pub fn add_solver(&self, address: SocketAddr) {
        self.servers.gateway.state().add_solver(address);
    }

    /// Ends [`World::add_solver`].
    pub fn remove_solver(&self, address: SocketAddr) {
        self.servers.gateway.state().remove_solver(address);
    }

    /// PEM file of the root under which the directory's own TLS certificate is.
    pub fn acme_ca_file(&self) -> &Path {
        &self.ground.root_file
    }

    /// The DNS server, which resolves every name to 127.0.0.1.
    pub fn nameserver(&self) -> SocketAddr {
        self.servers.dns.port.address()
    }

    /// Where the gateway listens on 127.0.0.1, and where the CA validates.
    pub fn gateway_port(&self) -> u16 {
        self.gateway_port.number()
    }

    /// New routes work only after this long; those there already are not touched.
    pub fn set_route_delay(&self, delay: Duration) {
        self.servers.gateway.state().set_delay(delay);
    }

    /// The root of the certificates the CA issues, in PEM; another one after
    /// each [`World::restart_ca`].
    pub async fn issuing_roots_pem(&self) -> Result<String, reqwest::Error> {
        self.root_pem(0).await
    }

    /// The root of an alternate chain, from 1; there are as many as `PEBBLE_ALTERNATE_ROOTS` in [`Options::ca_env`] says.
    pub async fn root_pem(&self, number: u32) -> Result<String, reqwest::Error> {
        let answer = self.ground.http.get(self.ca_ports.roots_url(number)).send().await?;
        answer.error_for_status()?.text().await
    }

    /// How many certificates the CA has issued, over all its restarts.
    pub fn certificates_issued(&self) -> usize {
        pebble::certificates_issued(&self.ca_log())
    }

    /// How many orders the CA has created, over all its restarts.
    pub fn orders_created(&self) -> usize {
        pebble::orders_created(&self.ca_log())
    }

    fn ca_log(&self) -> String {
        read(locked(&self.servers.ca).log())
    }

    /// All finished requests to the API server, oldest first.
    pub fn audit(&self) -> Vec<AuditEntry> {
        audit::parse(&read(&self.cluster.audit_log))
    }

    /// From now on DNS answers this host's name with SERVFAIL.
    pub async fn dns_fail(&self, host: &str) -> Result<(), reqwest::Error> {
        self.servers.dns.set_failing(&self.ground.http, host, true).await
    }

    /// Ends [`World::dns_fail`].
    pub async fn dns_restore(&self, host: &str) -> Result<(), reqwest::Error> {
        self.servers.dns.set_failing(&self.ground.http, host, false).await
    }

    /// Whether the CA answers its directory, but hangs where it needs its
    /// database. Takes up to 13 s; a paused or ended CA is not wedged.
    pub async fn ca_is_wedged(&self) -> bool {
        self.ca_ports.wedged(&self.ground.http, self.ground.root_ca.root_pem()).await
    }

    /// Ends the CA and starts it anew at the same URL: it has forgotten all
    /// accounts and orders, and has another issuing root.
    pub async fn restart_ca(&self) -> Result<(), StartError> {
        let readiness = {
            let mut ca = locked(&self.servers.ca);
            ca.restart()?;
            ca.readiness()
        };
        self.ca_ports.ready(readiness, &self.ground.http).await
    }

    /// Stops the CA (SIGSTOP): it accepts connections but answers nothing.
    pub fn pause_ca(&self) -> Result<(), OperatorError> {
        signal(&self.servers.ca, "STOP")
    }

    /// Ends [`World::pause_ca`].
    pub fn resume_ca(&self) -> Result<(), OperatorError> {
        signal(&self.servers.ca, "CONT")
    }

    /// Kills the API server and starts it again on the same data.
    pub async fn restart_apiserver(&self) -> Result<(), StartError> {
        let readiness = {
            let mut apiserver = locked(&self.servers.apiserver);
            apiserver.restart()?;
            apiserver.readiness()
        };
        self.cluster.api_ready(readiness, &self.ground.http).await
    }

    /// Stops the API server (SIGSTOP): it accepts connections but answers nothing.
    pub fn pause_apiserver(&self) -> Result<(), OperatorError> {
        signal(&self.servers.apiserver, "STOP")
    }

    /// Ends [`World::pause_apiserver`].
    pub fn resume_apiserver(&self) -> Result<(), OperatorError> {
        signal(&self.servers.apiserver, "CONT")
    }

    /// Logs, keys and kubeconfigs of this world.
    pub fn directory(&self) -> &Path {
        self.ground.directory.path()
    }

    /// Leaves [`World::directory`] behind on drop and prints its path, as a
    /// panic does.
    pub fn keep_files(&self) {
        self.ground.directory.keep();
    }

    /// Process id of the API server.
    pub fn apiserver_pid(&self) -> u32 {
        locked(&self.servers.apiserver).pid()
    }

    /// Process ids of all servers.
    pub fn pids(&self) -> Vec<u32> {
        let (ca, apiserver) =
            (locked(&self.servers.ca).pid(), locked(&self.servers.apiserver).pid());
        vec![
            self.servers.etcd.pid(),
            apiserver,
            self.servers.controllers.pid(),
            ca,
            self.servers.dns.pid(),
        ]
    }
}

fn locked(process: &Mutex<Process>) -> MutexGuard<'_, Process> {
    process.lock().unwrap_or_else(PoisonError::into_inner)
}

fn signal(process: &Mutex<Process>, signal: &str) -> Result<(), OperatorError> {
    let failed = |source| OperatorError::Signal { signal: signal.to_owned(), source };
    locked(process).signal(signal).map_err(failed)
}

/// A log that does not exist yet is empty.
fn read(log: &Path) -> String {
    fs::read(log).map_or_else(|_| String::new(), |log| String::from_utf8_lossy(&log).into_owned())
}
