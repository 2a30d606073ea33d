//! `ingress-acme demo`: the whole system in one process, in a simulated world, with typical
//! failures.
//!
//! The acts: a storm of Ingresses that are edited while being created, a CA that enforces a rate
//! limit, a crash during the storm, an expiring certificate, a deleted Ingress. Finally every
//! certificate is verified as by a TLS client, and the numbers must match.

mod acts;
mod checks;
pub mod resident;
mod tour;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use ingress_acme_sim::ca::{self, Limits, Rate};
use ingress_acme_sim::kube::User;
use ingress_acme_sim::{Options, World, free_address};
use kube::Client;
use tokio::time::timeout;

use crate::commands::cli::DemoArgs;
use crate::commands::storm::operator::{Sample, Source};
use crate::commands::storm::plan::Plan;
use checks::Checks;
use resident::OperatorThread;

/// Longest time for the demo. The CA needs a few seconds; a rate limit and a crash account for the
/// rest.
const DEADLINE: Duration = Duration::from_mins(5);
/// Time between scans of all Ingresses. A demo does not last an hour.
const SCAN_INTERVAL: Duration = Duration::from_secs(12);
/// Number of edits per Ingress of the storm.
const EDITS: u32 = 4;
/// Number of orders of the storm that the CA refuses at first.
const OVER_THE_LIMIT: u32 = 8;
/// Time after which the CA accepts one more order.
const REFILL: Duration = Duration::from_secs(1);

/// Runs `demo`.
pub async fn show(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let mut demo = Demo::begin(args.ingresses)?;
    timeout(DEADLINE, demo.run()).await.context("the demo took too long")??;
    println!("{}", demo.checks.table());
    println!("{}", demo.summary());
    let held = demo.checks.all_held();
    if args.keep {
        demo.wait_until_interrupted().await?;
    }
    demo.end()?;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The world with its operator, and the results so far.
struct Demo {
    world: World,
    /// Client with the permissions of a cluster user.
    client: Client,
    plan: Plan,
    /// `None` only between two operators.
    operator: Option<OperatorThread>,
    admin: SocketAddr,
    /// Number of operators started so far.
    starts: u32,
    /// Sum of the counters of operators that have ended.
    sample: Sample,
    /// Number of requests from operators to the API server, until the end of the storm.
    requests: u64,
    times: Option<crate::commands::storm::figures::Percentiles>,
    checks: Checks,
}

impl Demo {
    fn begin(ingresses: u32) -> anyhow::Result<Self> {
        let limit =
            Rate { count: ingresses - OVER_THE_LIMIT.min(ingresses / 2), per: Duration::ZERO };
        let limit = Rate { per: REFILL * limit.count, ..limit };
        let limits = Limits { orders: Some(limit), ..Limits::unlimited() };
        let ca = ca::Options { limits, ..ca::Options::default() };
        let world = World::start(Options { ca, ..Options::default() })?;
        // The world arrives at the present: kubectl and `status` judge by this machine's clock.
        world.clock().set_back(acts::TRAVEL);
        let client = Client::try_from(world.api().config(User::Admin))?;
        let admin = free_address()?;
        let operator = Some(OperatorThread::start(&world, 1, admin, SCAN_INTERVAL)?);
        let plan = Plan {
            run: "demo".to_owned(),
            ingresses,
            edits: EDITS,
            namespaces: 3,
            names: 2,
            domain: "example.com".to_owned(),
            class: None,
            spec_tls: true,
        };
        println!(
            "A simulated world is running: API server, CA, DNS and ingress gateway, all on loopback."
        );
        println!("The operator runs in this process. Its status page: http://{admin}/\n");
        let (sample, checks) = (Sample::default(), Checks::default());
        let (starts, requests, times) = (1, 0, None);
        Ok(Self { world, client, plan, operator, admin, starts, sample, requests, times, checks })
    }

    /// Source of the operator's metrics.
    fn source(&self) -> anyhow::Result<Source> {
        Source::url(format!("http://{}/metrics", self.admin).parse()?)
    }

    /// Crashes the operator and starts another one on the same admin port.
    async fn crash(&mut self) -> anyhow::Result<()> {
        if let Ok(said) = self.source()?.sample().await {
            self.sample.add(&said);
        }
        if let Some(operator) = self.operator.take() {
            operator.crash(&self.world)?;
        }
        self.starts += 1;
        let next = OperatorThread::start(&self.world, self.starts, self.admin, SCAN_INTERVAL)?;
        self.operator = Some(next);
        Ok(())
    }

    fn end(self) -> anyhow::Result<()> {
        self.operator.map_or(Ok(()), OperatorThread::end)
    }

    /// Formats the totals of the demo.
    fn summary(&self) -> String {
        let (ca, certificates) = (self.world.ca().counts(), self.world.ca().issued().len());
        let each = self.requests / u64::from(self.plan.ingresses);
        let times = self.times.map_or_else(String::new, |times| {
            format!("; from Ingress to Secret p50 {:.2} s, p99 {:.2} s", times.p50, times.p99)
        });
        format!(
            "{certificates} certificates of {} orders; {} events, {} of them coalesced; {each} requests to the API server for \
             each certificate of the storm, scans included{times}.",
            ca.orders, self.sample.events, self.sample.coalesced
        )
    }

    /// Waits until Ctrl-C, for `--keep`.
    async fn wait_until_interrupted(&self) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("the path of this program")?;
        let commands = tour::prepare(&self.world, &program).context("the manifest to try")?;
        println!("\nThe demo keeps running. Its status page: http://{}/", self.admin);
        println!("To look around, in another terminal:");
        for command in commands {
            println!("  {command}");
        }
        println!("Ctrl-C ends the demo.");
        Ok(tokio::signal::ctrl_c().await?)
    }
}
