//! The whole world of a test: the cluster, the CA, DNS and the gateway between them.

mod boot;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ingress_acme_sim::ca::Ca;
use ingress_acme_sim::gateway::{Gateway, Rules, State};
use kube::Client;

use crate::options::Options;
pub(crate) use boot::kube_client;

use crate::audit::{self, AuditEntry};
use crate::controllers::{Controller, ControllerEnvironment};
use crate::dns::Dns;
use crate::error::{OperatorError, StartError};
use crate::kubernetes::Cluster;
use crate::manifest::apply_yaml;
use crate::operator::{Operator, OperatorEnvironment, OperatorOptions};
use crate::pebble;
use crate::ports::Port;
use crate::process::Process;
use crate::setup::{Setup, reserve};

/// Port of a real ingress controller, where HTTP-01 begins (RFC 8555 §8.3).
const CONTROLLER_PORT: u16 = 80;

/// A running control plane with everything around the operator.
///
/// Dropping the world ends all its processes and waits for their end, then deletes its directory,
/// unless the thread is panicking or [`World::keep_files`] was called. Operators should be dropped
/// before their world. All methods need the tokio runtime that started the world.
pub struct World {
    // Fields drop from top to bottom: the directory goes last.
    servers: Servers,
    ca_ports: pebble::Ports,
    /// Port of the gateway; a real controller has [`CONTROLLER_PORT`].
    gateway_port: Option<Port>,
    cluster: Cluster,
    admin: Client,
    /// Manifest applied by [`World::install`].
    manifest: PathBuf,
    /// Number of operators and real controllers started so far; numbers their logs and Pods.
    started: AtomicU32,
    setup: Setup,
}

/// A second Pebble, ended on drop.
pub struct AnotherPebble {
    process: Process,
    ports: pebble::Ports,
}

impl AnotherPebble {
    /// URL of its ACME directory.
    pub fn directory(&self) -> String {
        self.ports.directory_url()
    }

    /// Number of orders created.
    pub fn orders_created(&self) -> usize {
        pebble::orders_created(&read(self.process.log()))
    }
}

/// All running parts. Fields drop from top to bottom: users before the parts that they use.
struct Servers {
    simulated_ca: Option<Ca>,
    gateway: Option<Gateway>,
    controllers: Process,
    ca: Mutex<Process>,
    dns: Dns,
    apiserver: Mutex<Process>,
    etcd: Process,
}

impl World {
    /// Starts a world with the operator's manifest installed.
    ///
    /// Takes about 10 s; the very first start also builds the servers, for minutes.
    pub async fn start() -> Result<Self, StartError> {
        Self::start_with(Options::default()).await
    }

    /// Starts a world with other options.
    pub async fn start_with(options: Options) -> Result<Self, StartError> {
        let world = boot::boot(options).await?;
        world.install().await?;
        Ok(world)
    }

    /// Applies the operator's manifest; [`World::start`] has already done so once.
    ///
    /// No Pods start, because neither a Deployment controller nor a scheduler runs. The RBAC takes
    /// effect: the operator's token has the rights that the manifest grants its service account.
    pub async fn install(&self) -> Result<(), StartError> {
        let manifest = &self.manifest;
        let what = format!("read {}", manifest.display());
        let yaml = fs::read_to_string(manifest).map_err(StartError::io(what))?;
        apply_yaml(&self.admin, &yaml)
            .await
            .map_err(|source| StartError::Install { manifest: manifest.clone(), source })
    }

    /// Starts an operator and waits for readiness.
    pub async fn start_operator(&self, options: OperatorOptions) -> Result<Operator, StartError> {
        let operator = self.spawn_operator(options)?;
        operator.ready().await?;
        Ok(operator)
    }

    /// Starts an operator without waiting; see [`Operator::ready`].
    pub fn spawn_operator(&self, options: OperatorOptions) -> Result<Operator, StartError> {
        let environment = OperatorEnvironment {
            acme_directory: self.acme_directory(),
            acme_ca_file: &self.setup.root_file,
            kubeconfig: &self.cluster.operator_kubeconfig,
            nameserver: self.nameserver(),
            gateway_port: self.gateway_port(),
            gateway: self.gateway(),
            http: &self.setup.http,
            directory: self.setup.directory.path(),
            number: self.started.fetch_add(1, Ordering::Relaxed),
        };
        Operator::spawn(options, &environment)
    }

    /// Starts Traefik with further flags on [`Options::controller`], and waits for readiness.
    pub async fn start_traefik(&self, args: &[String]) -> Result<Controller, StartError> {
        self.controller_environment().traefik(args).await
    }

    /// Starts Contour and Envoy on [`Options::controller`], and waits for readiness.
    pub async fn start_contour(&self) -> Result<Controller, StartError> {
        self.controller_environment().contour().await
    }

    fn controller_environment(&self) -> ControllerEnvironment<'_> {
        ControllerEnvironment {
            setup: &self.setup,
            admin: &self.admin,
            kubeconfig: self.admin_kubeconfig(),
            number: self.started.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Client with all rights.
    pub fn admin(&self) -> Client {
        self.admin.clone()
    }

    /// Kubeconfig of a user with all rights, for command lines.
    pub fn admin_kubeconfig(&self) -> &Path {
        &self.cluster.admin_kubeconfig
    }

    /// Kubeconfig of the operator's service account.
    pub fn operator_kubeconfig(&self) -> &Path {
        &self.cluster.operator_kubeconfig
    }

    /// Path of `kubectl` of the cluster's release.
    pub fn kubectl_program(&self) -> PathBuf {
        self.setup.binaries.path("kubectl")
    }

    /// `kubectl` of the cluster's release, as a user with all rights; killed on drop.
    pub fn kubectl(&self) -> tokio::process::Command {
        let mut kubectl = tokio::process::Command::new(self.kubectl_program());
        // Its cache of the API's resources is this world's, too.
        kubectl.env("KUBECONFIG", self.admin_kubeconfig());
        kubectl.env("KUBECACHEDIR", self.directory().join("kubectl"));
        kubectl.stdin(Stdio::null()).kill_on_drop(true);
        kubectl
    }

    /// Client with the operator's rights, to test its RBAC.
    pub async fn operator_client(&self) -> Result<Client, StartError> {
        kube_client(self.operator_kubeconfig()).await
    }

    /// URL of the operators' ACME directory: the simulated CA's if there is one, otherwise
    /// Pebble's.
    pub fn acme_directory(&self) -> String {
        let simulated = self.servers.simulated_ca.as_ref().map(Ca::directory_url);
        simulated.unwrap_or_else(|| self.ca_ports.directory_url())
    }

    /// URL of Pebble's ACME directory, also beside a simulated CA.
    pub fn pebble_directory(&self) -> String {
        self.ca_ports.directory_url()
    }

    /// Starts another Pebble, with accounts and orders of its own, and waits for readiness.
    pub async fn start_another_pebble(&self) -> Result<AnotherPebble, StartError> {
        self.start_pebble_with(self.nameserver()).await
    }

    /// Starts another Pebble that asks this name server.
    pub async fn start_pebble_with(
        &self,
        nameserver: SocketAddr,
    ) -> Result<AnotherPebble, StartError> {
        let ports = pebble::Ports::reserve(reserve)?;
        let routes = (self.gateway_port(), nameserver);
        let options = Options::default();
        let program = pebble::program("another-pebble", &self.setup, &ports, routes, &options)?;
        let process = program.start()?;
        ports.ready(process.readiness(), &self.setup.http).await?;
        Ok(AnotherPebble { process, ports })
    }

    /// The simulated CA, if [`Options::simulated_ca`] is set.
    pub fn simulated_ca(&self) -> Option<&Ca> {
        self.servers.simulated_ca.as_ref()
    }

    /// Adds a solver to the gateway, for programs other than operators.
    pub fn add_solver(&self, address: SocketAddr) {
        if let Some(gateway) = self.gateway() {
            gateway.add_solver(address);
        }
    }

    /// Undoes [`World::add_solver`].
    pub fn remove_solver(&self, address: SocketAddr) {
        if let Some(gateway) = self.gateway() {
            gateway.remove_solver(address);
        }
    }

    /// PEM file with the root of the ACME directory's own TLS certificate.
    pub fn acme_ca_file(&self) -> &Path {
        &self.setup.root_file
    }

    /// Address of the DNS server, which resolves every name to 127.0.0.1, or to
    /// [`Options::controller`].
    pub fn nameserver(&self) -> SocketAddr {
        self.servers.dns.port.address()
    }

    /// Port of the gateway on 127.0.0.1, or of the real controller, to which the CA sends its
    /// validations.
    pub fn gateway_port(&self) -> u16 {
        self.gateway_port.as_ref().map_or(CONTROLLER_PORT, Port::number)
    }

    fn gateway(&self) -> Option<&Arc<State>> {
        self.servers.gateway.as_ref().map(Gateway::state)
    }

    /// Sets the rules of the simulated ingress controller.
    pub fn set_rules(&self, rules: Rules) {
        if let Some(gateway) = self.gateway() {
            gateway.set_rules(rules);
        }
    }

    /// Delays new routes by this time; existing routes are not affected.
    pub fn set_route_delay(&self, delay: Duration) {
        if let Some(gateway) = self.gateway() {
            gateway.set_delay(delay);
        }
    }

    /// Root of the certificates issued by the CA, in PEM; changes with each [`World::restart_ca`].
    pub async fn issuing_roots_pem(&self) -> Result<String, reqwest::Error> {
        self.root_pem(0).await
    }

    /// Root of an alternate chain, numbered from 1, in PEM. `PEBBLE_ALTERNATE_ROOTS` in
    /// [`Options::ca_env`] sets their number.
    pub async fn root_pem(&self, number: u32) -> Result<String, reqwest::Error> {
        let answer = self.setup.http.get(self.ca_ports.roots_url(number)).send().await?;
        answer.error_for_status()?.text().await
    }

    /// Number of certificates issued by the CA, over all its restarts.
    pub fn certificates_issued(&self) -> usize {
        pebble::certificates_issued(&self.ca_log())
    }

    /// Number of orders created by the CA, over all its restarts.
    pub fn orders_created(&self) -> usize {
        pebble::orders_created(&self.ca_log())
    }

    /// Number of authorizations that the CA could not validate, over all its restarts.
    pub fn validations_failed(&self) -> usize {
        pebble::validations_failed(&self.ca_log())
    }

    fn ca_log(&self) -> String {
        read(locked(&self.servers.ca).log())
    }

    /// All finished requests to the API server, oldest first.
    pub fn audit(&self) -> Vec<AuditEntry> {
        audit::parse(&read(&self.cluster.audit_log))
    }

    /// Makes DNS answer this host's name with SERVFAIL.
    pub async fn dns_fail(&self, host: &str) -> Result<(), reqwest::Error> {
        self.servers.dns.set_failing(&self.setup.http, host, true).await
    }

    /// Undoes [`World::dns_fail`].
    pub async fn dns_restore(&self, host: &str) -> Result<(), reqwest::Error> {
        self.servers.dns.set_failing(&self.setup.http, host, false).await
    }

    /// Makes DNS resolve this host's name to this address.
    pub async fn dns_resolve(&self, host: &str, address: Ipv4Addr) -> Result<(), reqwest::Error> {
        self.servers.dns.resolve(&self.setup.http, host, address).await
    }

    /// Adds a TXT record beside others of the name.
    pub async fn add_txt(&self, host: &str, value: &str) -> Result<(), reqwest::Error> {
        self.servers.dns.add_txt(&self.setup.http, host, value).await
    }

    /// Removes all TXT records of the name.
    pub async fn clear_txt(&self, host: &str) -> Result<(), reqwest::Error> {
        self.servers.dns.clear_txt(&self.setup.http, host).await
    }

    /// Sets the CNAME record of the name.
    pub async fn set_alias(&self, host: &str, target: &str) -> Result<(), reqwest::Error> {
        self.servers.dns.set_alias(&self.setup.http, host, target).await
    }

    /// Whether the CA serves its directory, but hangs on requests that need its database. Takes up
    /// to 13 s; a paused or ended CA is not wedged.
    pub async fn ca_is_wedged(&self) -> bool {
        self.ca_ports.wedged(&self.setup.http, self.setup.root_ca.root_pem()).await
    }

    /// Restarts the CA at the same URL; the CA loses all accounts and orders, and gets another
    /// issuing root.
    pub async fn restart_ca(&self) -> Result<(), StartError> {
        let readiness = {
            let mut ca = locked(&self.servers.ca);
            ca.restart()?;
            ca.readiness()
        };
        self.ca_ports.ready(readiness, &self.setup.http).await
    }

    /// Stops the CA (SIGSTOP): connections are accepted, but never answered.
    pub fn pause_ca(&self) -> Result<(), OperatorError> {
        signal(&self.servers.ca, "STOP")
    }

    /// Undoes [`World::pause_ca`].
    pub fn resume_ca(&self) -> Result<(), OperatorError> {
        signal(&self.servers.ca, "CONT")
    }

    /// Kills the API server and starts another on the same data.
    pub async fn restart_apiserver(&self) -> Result<(), StartError> {
        let readiness = {
            let mut apiserver = locked(&self.servers.apiserver);
            apiserver.restart()?;
            apiserver.readiness()
        };
        self.cluster.api_ready(readiness, &self.setup.http).await
    }

    /// Stops the API server (SIGSTOP): connections are accepted, but never answered.
    pub fn pause_apiserver(&self) -> Result<(), OperatorError> {
        signal(&self.servers.apiserver, "STOP")
    }

    /// Undoes [`World::pause_apiserver`].
    pub fn resume_apiserver(&self) -> Result<(), OperatorError> {
        signal(&self.servers.apiserver, "CONT")
    }

    /// Directory with the logs, keys and kubeconfigs of this world.
    pub fn directory(&self) -> &Path {
        self.setup.directory.path()
    }

    /// Keeps [`World::directory`] on drop and prints its path, as after a panic.
    pub fn keep_files(&self) {
        self.setup.directory.keep();
    }

    /// Process ID of the API server.
    pub fn apiserver_pid(&self) -> u32 {
        locked(&self.servers.apiserver).pid()
    }

    /// Process IDs of all servers.
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

/// Text of a log; empty if there is no log yet.
fn read(log: &Path) -> String {
    fs::read(log).map_or_else(|_| String::new(), |log| String::from_utf8_lossy(&log).into_owned())
}
