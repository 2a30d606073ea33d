//! The operator under test, run as its own process against a world.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{OperatorError, StartError};
use crate::ports::Port;
use crate::process::{Process, Program, tail};
use crate::world::reserve;
use ingress_acme_sim::gateway::State;

const READY_WITHIN: Duration = Duration::from_mins(1);
/// A drain has to be shorter.
const ENDS_WITHIN: Duration = Duration::from_mins(1);
/// One question of the readiness probe.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// What to run.
#[derive(Clone, Debug)]
pub struct OperatorOptions {
    /// The `ingress-acme` executable.
    pub binary: PathBuf,
    /// Appended to `run`; a flag given here replaces the default of that name.
    pub extra_args: Vec<String>,
    /// Environment on top of the test's own.
    pub env: Vec<(String, String)>,
}

impl OperatorOptions {
    /// The defaults: no extra arguments, no extra environment.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self { binary: binary.into(), extra_args: Vec::new(), env: Vec::new() }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.extra_args.extend(args.into_iter().map(Into::into));
        self
    }
}

/// What the world tells an operator about itself.
pub(crate) struct Surroundings<'a> {
    pub(crate) acme_directory: String,
    pub(crate) acme_ca_file: &'a Path,
    pub(crate) kubeconfig: &'a Path,
    pub(crate) nameserver: SocketAddr,
    pub(crate) gateway_port: u16,
    pub(crate) gateway: &'a Arc<State>,
    pub(crate) http: &'a reqwest::Client,
    pub(crate) directory: &'a Path,
    /// Unique in the world.
    pub(crate) number: u32,
}

/// A running (or ended) operator; dropped, it is killed.
pub struct Operator {
    process: Mutex<Process>,
    log: PathBuf,
    /// Kept although it may not be used, when an argument says otherwise.
    _ports: [Port; 2],
    admin: SocketAddr,
    solver: SocketAddr,
    gateway: Arc<State>,
    http: reqwest::Client,
}

impl Operator {
    pub(crate) fn spawn(
        options: OperatorOptions,
        world: &Surroundings<'_>,
    ) -> Result<Self, StartError> {
        let ports = [reserve()?, reserve()?];
        let [solver, admin] = ports.each_ref().map(Port::address);
        let OperatorOptions { binary, extra_args, env } = options;
        let solver = address_in(&extra_args, "--solver-bind").unwrap_or(solver);
        let admin = address_in(&extra_args, "--admin-bind").unwrap_or(admin);
        let name = format!("operator-{}", world.number);
        let log = world.directory.join(format!("{name}.log"));
        let mut environment = vec![
            ("KUBECONFIG".to_owned(), world.kubeconfig.display().to_string()),
            // Two operators share this host's name; as Pods they would not.
            ("POD_NAME".to_owned(), name.clone()),
        ];
        environment.extend(env);
        let args = arguments(&defaults(world, solver, admin), &extra_args);
        let program = Program { name, path: binary, args, env: environment, log: log.clone() };
        let process = Mutex::new(program.start()?);
        world.gateway.add_solver(solver);
        let (gateway, http) = (Arc::clone(world.gateway), world.http.clone());
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

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// URL of the admin port, without a slash at its end.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// Where challenges are answered.
    pub fn solver_address(&self) -> SocketAddr {
        self.solver
    }

    /// Its stdout and stderr.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Whether it has not ended yet.
    pub fn is_running(&self) -> bool {
        self.exit_code().is_none()
    }

    /// Its exit code once it has ended; 128 + n after signal n.
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

    /// Sends SIGKILL and waits until it is gone; does nothing when it is.
    pub async fn kill(&self) {
        // The exit code of a process that has ended stays what it is.
        let _ = self.signal("KILL");
        self.ended().await;
    }

    /// Waits, without a deadline, until it ends; returns the exit code.
    pub async fn ended(&self) -> i32 {
        let mut exit = self.process().exit();
        // An error means that the reporting thread is gone, and so the process.
        exit.wait_for(Option::is_some).await.ok().and_then(|code| *code).unwrap_or(-1)
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // Before its port may become someone else's.
        self.gateway.remove_solver(self.solver);
    }
}

fn defaults(
    world: &Surroundings<'_>,
    solver: SocketAddr,
    admin: SocketAddr,
) -> Vec<(&'static str, String)> {
    vec![
        ("--acme-directory", world.acme_directory.clone()),
        ("--acme-ca-file", world.acme_ca_file.display().to_string()),
        ("--contact", "mailto:ops@example.com".into()),
        ("--namespace", "ingress-acme".into()),
        ("--solver-bind", solver.to_string()),
        ("--admin-bind", admin.to_string()),
        ("--nameserver", world.nameserver.to_string()),
        ("--probe-port", world.gateway_port.to_string()),
        // More at once make Pebble wedge.
        ("--issuers", "4".into()),
    ]
}

/// `run`, the defaults that `extra` does not replace, then `extra`: a flag
/// given twice would be refused.
fn arguments(defaults: &[(&str, String)], extra: &[String]) -> Vec<String> {
    let replaced = |flag: &str| extra.iter().any(|arg| is_flag(arg, flag));
    let kept = defaults.iter().filter(|(flag, _)| !replaced(flag));
    let kept = kept.map(|(flag, value)| format!("{flag}={value}"));
    std::iter::once("run".to_owned()).chain(kept).chain(extra.iter().cloned()).collect()
}

fn is_flag(argument: &str, flag: &str) -> bool {
    argument.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

/// The address an argument gives, as `--flag=ADDR` or `--flag ADDR`.
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
