//! `ingress-acme demo`: the whole system in one process, on a simulated world, with what may happen to it.
//!
//! A storm of Ingresses that are edited while they come, a CA that refuses because of a rate limit, a crash in the
//! middle of it all, a certificate that runs out, an Ingress that is deleted. At the end each certificate is verified
//! as a TLS client would, and the books must balance.

mod acts;
mod checks;
mod resident;

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
use resident::Resident;

/// The whole of it; a few seconds are for the CA, the rest is what a rate limit and a crash make it wait.
const DEADLINE: Duration = Duration::from_mins(5);
/// Edits of each Ingress of the storm.
const EDITS: u32 = 4;
/// The CA refuses so many orders of the storm at first.
const OVER_THE_LIMIT: u32 = 8;
/// Then it takes one more, every so often.
const REFILL: Duration = Duration::from_secs(1);

/// `demo`.
pub async fn show(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let mut demo = Demo::begin(args.ingresses)?;
    timeout(DEADLINE, demo.play()).await.context("the demo took too long")??;
    println!("{}", demo.checks.table());
    println!("{}", demo.closing());
    let held = demo.checks.all_held();
    if args.keep {
        demo.stay().await?;
    }
    demo.end()?;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The world with its operator, and what was seen so far.
struct Demo {
    world: World,
    /// As the users of the cluster.
    client: Client,
    plan: Plan,
    /// None only while one follows another.
    operator: Option<Resident>,
    admin: SocketAddr,
    /// How many operators there were.
    lives: u32,
    /// What operators said that are gone.
    heard: Sample,
    /// Requests of operators to the API server until the storm was over.
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
        let client = Client::try_from(world.api().config(User::Admin))?;
        let admin = free_address()?;
        let operator = Some(Resident::start(&world, 1, admin)?);
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
            "A simulated world is up: API server, CA, DNS and ingress gateway, all on loopback."
        );
        println!("The operator runs in this process. Its status page: http://{admin}/\n");
        let (heard, checks) = (Sample::default(), Checks::default());
        let (lives, requests, times) = (1, 0, None);
        Ok(Self { world, client, plan, operator, admin, lives, heard, requests, times, checks })
    }

    /// Where the operator's figures are.
    fn source(&self) -> anyhow::Result<Source> {
        Source::url(format!("http://{}/metrics", self.admin).parse()?)
    }

    /// The operator is gone in an instant, and another one takes its place at the same ports.
    async fn crash(&mut self) -> anyhow::Result<()> {
        if let Ok(said) = self.source()?.sample().await {
            self.heard.add(&said);
        }
        if let Some(operator) = self.operator.take() {
            operator.crash(&self.world)?;
        }
        self.lives += 1;
        self.operator = Some(Resident::start(&self.world, self.lives, self.admin)?);
        Ok(())
    }

    fn end(self) -> anyhow::Result<()> {
        self.operator.map_or(Ok(()), Resident::end)
    }

    /// The figures of the whole.
    fn closing(&self) -> String {
        let (ca, certificates) = (self.world.ca().counts(), self.world.ca().issued().len());
        let each = self.requests / u64::from(self.plan.ingresses);
        let times = self.times.map_or_else(String::new, |times| {
            format!("; from Ingress to Secret p50 {:.2} s, p99 {:.2} s", times.p50, times.p99)
        });
        format!(
            "{certificates} certificates of {} orders; {} events, {} of them coalesced; {each} requests to the API server for \
             each certificate of the storm, scans included{times}.",
            ca.orders, self.heard.events, self.heard.coalesced
        )
    }

    /// `--keep`.
    async fn stay(&self) -> anyhow::Result<()> {
        println!("\nIt stays up until Ctrl-C. To look around:");
        println!("  http://{}/", self.admin);
        println!("  export KUBECONFIG={}", self.world.kubeconfig().display());
        println!("  ingress-acme status -A        kubectl get ingress,secret,events -A");
        Ok(tokio::signal::ctrl_c().await?)
    }
}
