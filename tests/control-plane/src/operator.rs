//! The operator under test, run as its own process against a world.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{OperatorError, StartError};
use crate::ports::Port;
use crate::process::{Process, Program, tail};
use crate::setup::reserve;
use ingress_acme_sim::gateway::State;

const READY_WITHIN: Duration = Duration::from_mins(1);
/// Deadline of an operator's end; a drain must be shorter.
const ENDS_WITHIN: Duration = Duration::from_mins(1);
/// Timeout of one readiness request.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Options of an operator process.
#[derive(Clone, Debug)]
pub struct OperatorOptions {
    /// The `ingress-acme` executable.
    pub binary: PathBuf,
    /// Arguments after `run`; a flag given here replaces the default of the same name.
    pub extra_args: Vec<String>,
    /// Environment in addition to the test's own.
    pub env: Vec<(String, String)>,
    /// Flags that an older release does not have, and which are left out of the defaults.
    pub without: Vec<&'static str>,
}

impl OperatorOptions {
    /// Options without extra arguments or environment.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self { binary: binary.into(), extra_args: Vec::new(), env: Vec::new(), without: Vec::new() }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.extra_args.extend(args.into_iter().map(Into::into));
        self
    }
}

/// Settings that an operator gets from its world.
pub(crate) struct OperatorEnvironment<'a> {
    pub(crate) acme_directory: String,
    pub(crate) acme_ca_file: &'a Path,
    pub(crate) kubeconfig: &'a Path,
    pub(crate) nameserver: SocketAddr,
    pub(crate) gateway_port: u16,
    pub(crate) gateway: Option<&'a Arc<State>>,
    pub(crate) http: &'a reqwest::Client,
    pub(crate) directory: &'a Path,
    /// Number of the operator, unique in the world.
    pub(crate) number: u32,
}

/// An operator process, running or ended; killed on drop.
pub struct Operator {
    process: Mutex<Process>,
    log: PathBuf,
    /// Reserved ports, kept even if an argument selects others.
    _ports: [Port; 2],
    admin: SocketAddr,
    solver: SocketAddr,
    /// The simulated gateway, if the world has one.
    gateway: Option<Arc<State>>,
    http: reqwest::Client,
}

impl Operator {
    pub(crate) fn spawn(
        options: OperatorOptions,
        world: &OperatorEnvironment<'_>,
    ) -> Result<Self, StartError> {
        let ports = [reserve()?, reserve()?];
        let [solver, admin] = ports.each_ref().map(Port::address);
        let OperatorOptions { binary, extra_args, env, without } = options;
        let solver = address_in(&extra_args, "--solver-bind").unwrap_or(solver);
        let admin = address_in(&extra_args, "--admin-bind").unwrap_or(admin);
        let name = format!("operator-{}", world.number);
        let log = world.directory.join(format!("{name}.log"));
        let mut environment = vec![
            ("KUBECONFIG".to_owned(), world.kubeconfig.display().to_string()),
            // Two operators share this host's name, unlike two Pods.
            ("POD_NAME".to_owned(), name.clone()),
            // Tests end many operators, and the gateway knows each end at once. Releases without
            // the flag pass over the variable.
            ("INGRESS_ACME_SOLVER_LINGER".to_owned(), "0s".to_owned()),
        ];
        environment.extend(env);
        let mut defaults = defaults(world, solver, admin);
        defaults.retain(|(flag, _)| !without.contains(flag));
        let args = arguments(&defaults, &extra_args);
        let program = Program { name, path: binary, args, env: environment, log: log.clone() };
        let process = Mutex::new(program.start()?);
        if let Some(gateway) = world.gateway {
            gateway.add_solver(solver);
        }
        let (gateway, http) = (world.gateway.cloned(), world.http.clone());
        Ok(Self { process, log, _ports: ports, admin, solver, gateway, http })
    }

    /// Waits until `/readyz` answers 200, at most 60 s.
    pub async fn ready(&self) -> Result<(), StartError> {
        let url = format!("{}/readyz", self.admin_url());
        let readiness = self.process().readiness();
        let is_ready = async || {
            let answer = self.http.get(&url).timeout(ANSWERS_WITHIN).send().await;
            answer.is_ok_and(|answer| answer.status() == 200)
        };
        readiness.wait(READY_WITHIN, is_ready).await
    }

    /// Process ID.
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// URL of the admin port, without a trailing slash.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// Address of the challenge solver.
    pub fn solver_address(&self) -> SocketAddr {
        self.solver
    }

    /// Log file with stdout and stderr.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Whether the process has not ended yet.
    pub fn is_running(&self) -> bool {
        self.exit_code().is_none()
    }

    /// Exit code once the process has ended; 128 + n after signal n.
    pub fn exit_code(&self) -> Option<i32> {
        self.process().exit_code()
    }

    /// Sends a signal by its name without `SIG`, such as `USR1`.
    pub fn signal(&self, signal: &str) -> Result<(), OperatorError> {
        let failed = |source| OperatorError::Signal { signal: signal.to_owned(), source };
        self.process().signal(signal).map_err(failed)
    }

    /// Sends SIGTERM and waits at most 60 s; returns the exit code.
    pub async fn terminate(&self) -> Result<i32, OperatorError> {
        self.signal("TERM")?;
        let still_running =
            || OperatorError::StillRunning { waited: ENDS_WITHIN, log: tail(&self.log) };
        tokio::time::timeout(ENDS_WITHIN, self.ended()).await.map_err(|_| still_running())
    }

    /// Sends SIGKILL and waits for the end; does nothing if the process has ended.
    pub async fn kill(&self) {
        // The exit code of an ended process does not change.
        let _ = self.signal("KILL");
        self.ended().await;
    }

    /// Waits without a deadline for the end; returns the exit code.
    pub async fn ended(&self) -> i32 {
        let mut exit = self.process().exit();
        // An error means that the reporting thread is gone, and with it the process.
        exit.wait_for(Option::is_some).await.ok().and_then(|code| *code).unwrap_or(-1)
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // Unregisters the solver before another process may get its port.
        if let Some(gateway) = &self.gateway {
            gateway.remove_solver(self.solver);
        }
    }
}

fn defaults(
    world: &OperatorEnvironment<'_>,
    solver: SocketAddr,
    admin: SocketAddr,
) -> Vec<(&'static str, String)> {
    vec![
        ("--acme-directory", world.acme_directory.clone()),
        ("--acme-ca-file", world.acme_ca_file.display().to_string()),
        ("--contact", "mailto:ops@example.com".into()),
        ("--namespace", "ingress-acme".into()),
        ("--solver-bind", solver.to_string()),
        // One listener, because several operators run on one machine.
        ("--admin-bind", admin.to_string()),
        ("--metrics-bind", admin.to_string()),
        ("--health-bind", admin.to_string()),
        ("--nameserver", world.nameserver.to_string()),
        ("--probe-port", world.gateway_port.to_string()),
        // More issuers at once make Pebble wedge.
        ("--issuers", "4".into()),
    ]
}

/// `run`, the defaults not replaced in `extra`, then `extra`: a repeated flag would be refused.
fn arguments(defaults: &[(&str, String)], extra: &[String]) -> Vec<String> {
    let replaced = |flag: &str| extra.iter().any(|arg| is_flag(arg, flag));
    let kept = defaults.iter().filter(|(flag, _)| !replaced(flag));
    let kept = kept.map(|(flag, value)| format!("{flag}={value}"));
    std::iter::once("run".to_owned()).chain(kept).chain(extra.iter().cloned()).collect()
}

fn is_flag(argument: &str, flag: &str) -> bool {
    argument.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

/// Address given by an argument, as `--flag=ADDR` or `--flag ADDR`.
fn address_in(args: &[String], flag: &str) -> Option<SocketAddr> {
    let at = args.iter().position(|arg| is_flag(arg, flag))?;
    let value = args[at].split_once('=').map(|(_, value)| value);
    value.or_else(|| args.get(at + 1).map(String::as_str))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(args: &[&str]) -> Vec<String> {
        args.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_default_gives_way_to_the_same_flag_in_either_form() {
        let defaults = [("--issuers", "4".into()), ("--namespace", "n".into())];
        for own in [&["--issuers", "9"][..], &["--issuers=9"]] {
            let expected = [&["run", "--namespace=n"], own].concat();
            assert_eq!(arguments(&defaults, &strings(own)), strings(&expected));
        }
    }

    #[test]
    fn a_longer_flag_of_the_same_beginning_replaces_nothing() {
        let defaults = [("--settle", "1s".into())];
        let args = arguments(&defaults, &strings(&["--settle-max=5s"]));
        assert_eq!(args, ["run", "--settle=1s", "--settle-max=5s"]);
    }

    #[test]
    fn an_address_is_found_in_either_form() {
        let expected = "127.0.0.1:80".parse().ok();
        for args in [&["x", "--admin-bind", "127.0.0.1:80"][..], &["--admin-bind=127.0.0.1:80"]] {
            assert_eq!(address_in(&strings(args), "--admin-bind"), expected);
        }
    }
}
