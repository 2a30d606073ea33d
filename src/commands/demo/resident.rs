//! An operator in a thread of this process, assembled from the same parts as `run`, on the clock of
//! its world. The demo can drain or crash the operator.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Parser;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::ports::Clock;
use ingress_acme_sim::World;
use ingress_acme_sim::kube::User;
use tokio::sync::{oneshot, watch};

use crate::commands::cli::{Cli, Command, RunArgs};
use crate::kubernetes::client;
use crate::process::assembly::{Environment, Network, assemble};
use crate::process::replica::Exit;
use crate::process::servers::Servers;
use crate::process::succession::Succession;
use crate::process::terminate::Terminate;

/// The world's clock as the operator's clock.
struct WorldClock(ingress_acme_sim::clock::Clock);

impl Clock for WorldClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.now().as_millisecond())
    }

    fn steps_back(&self) -> u32 {
        0
    }
}

/// A running operator.
pub struct OperatorThread {
    servers: Servers,
    drain: watch::Sender<bool>,
    crash: oneshot::Sender<()>,
    thread: JoinHandle<anyhow::Result<ThreadEnd>>,
}

/// How the operator ended.
enum ThreadEnd {
    Ended(Exit),
    Crashed,
}

/// Inputs of the operator's thread.
struct Life {
    args: RunArgs,
    cluster: kube::Config,
    clock: Arc<WorldClock>,
    scan_interval: Duration,
    pod: String,
    drain: watch::Receiver<bool>,
    crash: oneshot::Receiver<()>,
    /// Receives the servers once they listen.
    started: mpsc::Sender<Servers>,
}

impl OperatorThread {
    /// Starts the `life`th operator in `world`, which scans all Ingresses every `scan_interval` of
    /// this machine's time. The operator leads once the Lease is acquired.
    pub fn start(
        world: &World,
        life: u32,
        admin: SocketAddr,
        scan_interval: Duration,
    ) -> anyhow::Result<Self> {
        let (drain, told_to_drain) = watch::channel(false);
        let (crash, told_to_crash) = oneshot::channel();
        let (started, listening) = mpsc::channel();
        let life = Life {
            args: flags(world, admin)?,
            cluster: world.api().config(User::Operator),
            clock: Arc::new(WorldClock(world.clock().clone())),
            scan_interval,
            pod: format!("operator-{life}"),
            drain: told_to_drain,
            crash: told_to_crash,
            started,
        };
        let thread = thread::Builder::new().name("operator".into());
        let thread = thread.spawn(|| actix::System::new().block_on(run(life)))?;
        let Ok(servers) = listening.recv() else {
            ended(thread)?;
            bail!("the operator did not start");
        };
        world.add_solver(servers.solver);
        Ok(Self { servers, drain, crash, thread })
    }

    /// Stops the operator at once, at any point: no drain, no notice to other parties.
    pub(super) fn crash(self, world: &World) -> anyhow::Result<()> {
        world.remove_solver(self.servers.solver);
        _ = self.crash.send(()); // fails if the operator has ended; reported below
        match ended(self.thread)? {
            ThreadEnd::Crashed => Ok(()),
            ThreadEnd::Ended(_) => Err(anyhow!("the operator had ended before its planned crash")),
        }
    }

    /// Drains and ends the operator.
    pub fn end(self) -> anyhow::Result<()> {
        self.drain.send_replace(true);
        match ended(self.thread)? {
            ThreadEnd::Ended(Exit::Done) => Ok(()),
            _ => Err(anyhow!("the operator did not drain")),
        }
    }
}

async fn run(life: Life) -> anyhow::Result<ThreadEnd> {
    let Life { args, cluster, clock, scan_interval, pod, drain, crash, started } = life;
    let environment =
        Environment { client: client::client(cluster)?, pod, clock, network: Network::default() };
    let mut replica = assemble(args, &environment, Succession::default())?;
    replica.settings.scan_interval = scan_interval;
    let servers = replica.servers.clone();
    _ = started.send(servers.clone()); // received by `start`
    tokio::select! {
        exit = replica.run(Terminate::on_request(drain)) => Ok(ThreadEnd::Ended(exit?)),
        Ok(()) = crash => {
            servers.stop(false).await;
            Ok(ThreadEnd::Crashed)
        }
    }
}

fn ended(thread: JoinHandle<anyhow::Result<ThreadEnd>>) -> anyhow::Result<ThreadEnd> {
    thread.join().map_err(|_| anyhow!("the operator panicked"))?
}

/// Parses the flags, given as on the command line.
fn flags(world: &World, admin: SocketAddr) -> anyhow::Result<RunArgs> {
    // One listener for all but challenges, so that a second demo finds its ports free.
    let shared = ["admin", "metrics", "health"].map(|port| format!("--{port}-bind={admin}"));
    // The demo's gateway knows at once when an operator ends.
    let own = ["--solver-bind=127.0.0.1:0", "--solver-linger=0s"].map(str::to_owned);
    let own = shared.into_iter().chain(own);
    let words = ["ingress-acme".to_owned(), "run".to_owned()].into_iter();
    let words = words.chain(world.operator_flags()).chain(own);
    match Cli::try_parse_from(words).context("the demo's own flags")?.command {
        Command::Run(args) => Ok(*args),
        _ => Err(anyhow!("the demo's own flags are not those of `run`")),
    }
}
