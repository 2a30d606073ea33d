//! A simulated world with an operator in a separate process, so that its CPU time and memory can be
//! measured separately.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use ingress_acme_sim::ca;
use ingress_acme_sim::kube::User;
use ingress_acme_sim::{Options, World, free_address};
use kube::Client;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::Target;
use super::operator::Source;

/// Longest wait until the operator leads, which takes less than a second in this simulated cluster.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// Time between two checks whether the operator leads.
const LOOK: Duration = Duration::from_millis(50);
/// Longest wait for the operator to end. A drain takes less time.
const ENDS_WITHIN: Duration = Duration::from_mins(1);
/// Number of log lines shown if the operator ended too early.
const TAIL: usize = 20;

/// A world with an operator. Dropping this value kills the operator.
pub struct Simulated {
    operator: Child,
    world: World,
    admin: SocketAddr,
    solver: SocketAddr,
    log: PathBuf,
}

impl Simulated {
    /// Starts a world with this CA and this program as its operator, with this number of issuers.
    /// Returns once the operator leads.
    pub async fn start(issuers: u16, ca: ca::Options) -> anyhow::Result<Self> {
        Self::start_with(
            Options { ca, ..Options::default() },
            &[format!("--issuers={issuers}")],
            &std::env::current_exe()?,
        )
        .await
    }

    /// Starts `program` as the operator of a new world with `options`. `flags` are flags of `run`.
    pub async fn start_with(
        options: Options,
        flags: &[String],
        program: &std::path::Path,
    ) -> anyhow::Result<Self> {
        let world = World::start(options)?;
        Self::start_in(world, flags, program).await
    }

    /// Starts `program` as the operator of a running world. `flags` are flags of `run`.
    pub async fn start_in(
        world: World,
        flags: &[String],
        program: &std::path::Path,
    ) -> anyhow::Result<Self> {
        let (admin, solver) = (free_address()?, free_address()?);
        let log = world.directory().join("operator.log");
        let out = std::fs::File::create(&log).context("cannot write the operator's log")?;
        let operator = Command::new(program)
            .arg("run")
            .args(chosen(&world, admin, solver, flags))
            .env("KUBECONFIG", world.operator_kubeconfig())
            .env("POD_NAME", "operator")
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        world.add_solver(solver);
        let mut simulated = Self { operator, world, admin, solver, log };
        simulated.leads().await?;
        Ok(simulated)
    }

    async fn leads(&mut self) -> anyhow::Result<()> {
        let operator = self.metrics()?;
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Some(status) = self.operator.try_wait()? {
                bail!("the operator ended with {status}; its log ends with:\n{}", self.tail());
            }
            match operator.sample().await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(
                        error.context(format!("the operator does not lead:\n{}", self.tail()))
                    );
                }
                Err(_) => sleep(LOOK).await,
            }
        }
    }

    fn tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(TAIL).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn metrics(&self) -> anyhow::Result<Source> {
        Source::url(self.metrics_url().parse()?)
    }

    /// URL of the operator's metrics.
    pub fn metrics_url(&self) -> String {
        format!("http://{}/metrics", self.admin)
    }

    /// Target for a storm.
    pub fn target(&self) -> anyhow::Result<Target> {
        let client = Client::try_from(self.world.api().config(User::Admin))?;
        Ok(Target { client, operator: self.metrics()? })
    }

    /// The simulated world.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Log of the operator.
    pub fn log_path(&self) -> &std::path::Path {
        &self.log
    }

    /// Process id of the operator; `None` once the operator has ended.
    pub fn pid(&self) -> Option<u32> {
        self.operator.id()
    }

    /// Drains the operator, and waits until the process has ended.
    pub async fn end(self) -> anyhow::Result<ExitStatus> {
        self.drained().await.map(|(status, _)| status)
    }

    /// Drains the operator, and returns the world without one.
    pub async fn leave(self) -> anyhow::Result<World> {
        self.drained().await.map(|(_, world)| world)
    }

    async fn drained(mut self) -> anyhow::Result<(ExitStatus, World)> {
        let pid = self.operator.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pid = pid.with_context(|| {
            format!("the operator had ended; its log ends with:\n{}", self.tail())
        })?;
        kill_process(pid, Signal::TERM)?;
        let ended = timeout(ENDS_WITHIN, self.operator.wait()).await;
        self.world.remove_solver(self.solver);
        Ok((ended.context("the operator does not end")??, self.world))
    }
}

/// Returns `given`, preceded by those flags of the world that are not in `given`.
fn chosen(world: &World, admin: SocketAddr, solver: SocketAddr, given: &[String]) -> Vec<String> {
    // One listener for all but challenges, so that other worlds find their ports free.
    let shared = ["admin", "metrics", "health"].map(|port| format!("--{port}-bind={admin}"));
    // No other operator takes over, so that nothing is won by a later end.
    let solver = [format!("--solver-bind={solver}"), "--solver-linger=0s".to_owned()];
    let ports = shared.into_iter().chain(solver);
    let name = |flag: &str| flag.split('=').next().map(str::to_owned);
    let ours = world.operator_flags().into_iter().chain(ports);
    let kept = ours.filter(|flag| !given.iter().any(|given| name(given) == name(flag)));
    kept.chain(given.iter().cloned()).collect()
}
