//! `ingress-acme storm`: the load test that users run.
//!
//! It makes many Ingresses, edits them, and watches their Secrets come, on a simulated world with an operator of its
//! own or on the user's cluster with the operator that runs there. What the operator did is read from its metrics.
//!
//! # Layout
//! - [`plan`]: which Ingresses, decided before. [`guard`]: which CAs may be stormed.
//! - `drive`, `arrivals`, [`tally`]: makes them, sees the Secrets come, notes when.
//! - [`operator`]: what the operator says. `simulated`: a world with one.
//! - [`figures`], `report`, `charts`: what comes out. `cleanup`: what must not stay.

mod arrivals;
mod charts;
mod cleanup;
mod drive;
pub mod figures;
pub mod guard;
pub mod operator;
pub mod plan;
mod report;
mod simulated;
pub mod tally;

use std::cell::RefCell;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ingress_acme_actors::ports::Clock;
use kube::Client;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::commands::cli::{Output, StormArgs, TargetArg};
use crate::kubernetes::client;
use crate::process::clock::SystemClock;
use crate::process::replica::Terminate;
use figures::{Figures, StormRun};
use operator::{Sample, Source};
use plan::Plan;
pub use simulated::Simulated;
use tally::Tally;

/// How often the operator is asked for its figures.
const SAMPLE: Duration = Duration::from_millis(500);
/// How often it is looked whether all Secrets have come. They are read only then: reads would slow the storm down.
const LOOK: Duration = Duration::from_millis(50);
/// Longest wait for a last look at the Secrets after the deadline.
const VERIFIED_WITHIN: Duration = Duration::from_mins(2);
/// How often progress is told where there is no terminal.
const TELL: Duration = Duration::from_secs(5);
/// Longest wait for the list of the Secrets that are there before the storm.
const LISTED_WITHIN: Duration = Duration::from_mins(2);
/// Longest wait for an operator that still tells Events and takes routes down.
const IDLE_WITHIN: Duration = Duration::from_secs(20);
/// Exit code after Ctrl-C or SIGTERM.
const INTERRUPTED: u8 = 130;

/// What is stormed.
pub struct Target {
    /// As who makes the Ingresses; it must be allowed to read Secrets of all namespaces.
    pub client: Client,
    /// Where the operator's figures are.
    pub operator: Source,
}

/// How a storm is laid.
pub struct Manner {
    /// Ingresses made in a second; `None` means as fast as the API server takes them.
    pub rate: Option<f64>,
    /// Longest wait for the last certificate.
    pub deadline: Duration,
    /// Whether progress is shown.
    pub quiet: bool,
}

/// `storm`.
pub async fn lay(args: StormArgs) -> anyhow::Result<ExitCode> {
    let plan = plan(&args);
    let manner =
        Manner { rate: args.rate, deadline: args.deadline, quiet: args.output == Output::Json };
    let mut terminate = Terminate::on_signals()?;
    let (target, world) = target(&args).await?;
    let stormed = tokio::select! {
        run = storm(&target, &plan, &manner) => Some(run),
        () = terminate.wait() => None,
    };
    if !manner.quiet {
        eprintln!("deleting what the storm has made");
    }
    let cleaned = cleanup::clean(&target.client, &plan).await;
    if let Some(world) = world {
        world.end().await?;
    }
    let Some(run) = stormed else {
        cleaned?;
        eprintln!("interrupted; what the storm had made is deleted");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let done = tell(&run?, &args);
    cleaned?;
    done
}

fn plan(args: &StormArgs) -> Plan {
    let run = format!("{:x}", SystemClock::default().now().as_millis());
    Plan {
        run,
        ingresses: args.ingresses,
        edits: args.edits,
        namespaces: args.namespaces.min(args.ingresses),
        names: args.names,
        domain: args.domain.clone(),
        class: args.ingress_class.clone(),
        spec_tls: args.spec_tls,
    }
}

async fn target(args: &StormArgs) -> anyhow::Result<(Target, Option<Simulated>)> {
    if args.target == TargetArg::Sim {
        let world = Simulated::start(args.issuers).await?;
        return Ok((world.target()?, Some(world)));
    }
    let client = client::connect().await?;
    let operator = match &args.metrics_url {
        Some(url) => Source::url(url.clone())?,
        None => Source::Pods(client.clone(), args.namespace.clone()),
    };
    let directory = operator.sample().await?.directory.unwrap_or_default();
    if !args.i_know && !guard::is_harmless(&directory) {
        bail!(
            "the operator's CA is `{directory}`, which is neither a staging CA nor one in a network of your own: a storm \
             burns its rate limits for days. Point the operator at a staging directory, or say --i-know"
        );
    }
    Ok((Target { client, operator }, None))
}

fn tell(run: &StormRun, args: &StormArgs) -> anyhow::Result<ExitCode> {
    let figures = Figures::of(run);
    if let Some(file) = &args.report {
        let html = report::html(run, &figures)?;
        std::fs::write(file, html).with_context(|| format!("cannot write {}", file.display()))?;
    }
    match args.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&figures)?),
        Output::Table => println!("{}", report::table(&figures)),
    }
    if figures.right == figures.ingresses {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "{} Ingresses have no right certificate after {:?}",
        figures.ingresses - figures.right,
        args.deadline
    );
    Ok(ExitCode::FAILURE)
}

/// Lays the storm and waits for all certificates, or the deadline. What it makes stays.
pub async fn storm(target: &Target, plan: &Plan, manner: &Manner) -> anyhow::Result<StormRun> {
    let Target { client, operator } = target;
    prepare(client, plan, manner.deadline).await?;
    let before = operator.sample().await?;
    let keys = (0..plan.ingresses).map(|number| plan.key(number));
    let tally = RefCell::new(Tally::new(keys));
    let meanwhile = RefCell::new(Vec::new());
    tokio::select! {
        laid = rain(client, plan, manner, &tally) => laid?,
        () = sample(operator, &tally, &meanwhile) => {}
        () = show(plan, manner, &tally) => {}
    }
    let after = settled(operator).await?;
    let (rows, meanwhile) = (tally.into_inner().rows().to_vec(), meanwhile.into_inner());
    Ok(StormRun { plan: plan.clone(), rows, before, after, meanwhile })
}

/// Makes the namespaces, and deletes those that storms left that were killed.
pub(crate) async fn prepare(
    client: &Client,
    plan: &Plan,
    deadline: Duration,
) -> anyhow::Result<()> {
    let now = SystemClock::default().now().as_secs();
    cleanup::sweep(client, now).await?;
    let until = now + i64::try_from(deadline.as_secs()).unwrap_or(i64::MAX / 2);
    cleanup::prepare(client, plan, until).await
}

/// Makes the Ingresses with their edits, and waits for their certificates; whatever the operator is.
pub(crate) async fn rain(
    client: &Client,
    plan: &Plan,
    manner: &Manner,
    tally: &RefCell<Tally>,
) -> anyhow::Result<()> {
    let (watching, listed) = oneshot::channel();
    let laid = async {
        timeout(LISTED_WITHIN, listed).await.context("the Secrets cannot be watched")??;
        drive::drive(client, plan, manner.rate, tally).await?;
        arrived(client, plan, manner, tally).await;
        anyhow::Ok(())
    };
    tokio::select! {
        laid = laid => laid,
        () = arrivals::watch(client.clone(), tally, watching) => Ok(()),
    }
}

/// Waits until each Ingress has the right certificate, or the deadline is over.
async fn arrived(client: &Client, plan: &Plan, manner: &Manner, tally: &RefCell<Tally>) {
    let all = async {
        while !tally.borrow().all_written() {
            sleep(LOOK).await;
        }
        while !tally.borrow().all_verified() {
            arrivals::verify(client, plan, tally).await;
            sleep(LOOK).await;
        }
    };
    if timeout(manner.deadline, all).await.is_err() {
        // Those that are right are told apart from those that never came.
        _ = timeout(VERIFIED_WITHIN, arrivals::verify(client, plan, tally)).await;
    }
}

/// Asks the operator again and again; one that does not answer now is asked later.
async fn sample(
    operator: &Source,
    tally: &RefCell<Tally>,
    samples: &RefCell<Vec<(Duration, Sample)>>,
) {
    let mut ticks = interval(SAMPLE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Ok(sample) = operator.sample().await {
            let at = tally.borrow().elapsed();
            samples.borrow_mut().push((at, sample));
        }
    }
}

/// Shows how far it is: a bar in a terminal, else a line now and then.
pub(crate) async fn show(plan: &Plan, manner: &Manner, tally: &RefCell<Tally>) {
    let terminal = std::io::stderr().is_terminal() && !manner.quiet;
    let bar = ProgressBar::new(u64::from(plan.ingresses));
    bar.set_draw_target(if terminal {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    });
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} certificates, {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut last_progress = Instant::now();
    loop {
        sleep(2 * LOOK).await;
        let done = tally.borrow().written_count();
        bar.set_position(u64::try_from(done).unwrap_or_default());
        if !terminal && !manner.quiet && last_progress.elapsed() >= TELL {
            last_progress = Instant::now();
            let elapsed = tally.borrow().elapsed().as_secs();
            eprintln!("{done} of {} certificates after {elapsed} s", plan.ingresses);
        }
    }
}

/// What the operator says once nothing is going on any more.
async fn settled(operator: &Source) -> anyhow::Result<Sample> {
    let deadline = Instant::now() + IDLE_WITHIN;
    let mut last = operator.sample().await?;
    loop {
        sleep(SAMPLE).await;
        let now = operator.sample().await?;
        let quiet = now.is_idle() && now.kube_total() == last.kube_total();
        if quiet || Instant::now() > deadline {
            return Ok(now);
        }
        last = now;
    }
}
