//! `ingress-acme storm`: the load test for users.
//!
//! Creates many Ingresses, edits them and watches for their Secrets, either in a simulated world
//! with its own operator or in the user's cluster with the operator there. The operator's metrics
//! supply its figures.
//!
//! # Layout
//! - [`mod@plan`]: the Ingresses, decided in advance. [`harmless_ca`]: CAs allowed in a storm.
//! - `drive`, `arrivals`, [`tally`]: create Ingresses, watch for Secrets, record times.
//! - [`operator`]: the operator's metrics. `simulated`: a world with an operator.
//! - [`figures`], `report`, `charts`: results. `cleanup`: removal of all created objects.

mod arrivals;
mod charts;
mod cleanup;
mod drive;
pub mod figures;
pub mod harmless_ca;
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
use ingress_acme_sim::ca;
use kube::Client;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::commands::cli::{CaArg, Output, StormArgs, TargetArg};
use crate::process::clock::SystemClock;
use crate::process::terminate::Terminate;
use figures::{Figures, StormRun};
use operator::{Sample, Source};
use plan::Plan;
pub use simulated::Simulated;
use tally::Tally;

/// Time between samples of the operator's metrics.
const SAMPLE: Duration = Duration::from_millis(500);
/// Time between checks whether all Secrets were written. Secrets are read only after that, since
/// reads would slow down the storm.
const LOOK: Duration = Duration::from_millis(50);
/// Longest time for a last check of the Secrets after the deadline.
const VERIFIED_WITHIN: Duration = Duration::from_mins(2);
/// Time between progress messages without a terminal.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// Longest time for the list of the Secrets that exist before the storm.
const LISTED_WITHIN: Duration = Duration::from_mins(2);
/// Longest wait for an operator that still sends Events and removes routes.
const IDLE_WITHIN: Duration = Duration::from_secs(20);
/// Exit code after Ctrl-C or SIGTERM.
const INTERRUPTED: u8 = 130;

/// Target of a storm.
pub struct Target {
    /// Client that creates the Ingresses. Must be allowed to read Secrets of all namespaces.
    pub client: Client,
    /// Source of the operator's metrics.
    pub operator: Source,
}

/// Parameters of a storm's execution.
pub struct LoadOptions {
    /// Ingresses created per second. `None`: as fast as the API server accepts them.
    pub rate: Option<f64>,
    /// Longest wait for the last certificate.
    pub deadline: Duration,
    /// Whether progress is hidden.
    pub quiet: bool,
}

/// Runs `storm`.
pub async fn run(args: StormArgs) -> anyhow::Result<ExitCode> {
    let plan = plan(&args);
    let options = LoadOptions {
        rate: args.rate,
        deadline: args.deadline,
        quiet: args.output == Output::Json,
    };
    let mut terminate = Terminate::on_signals()?;
    let (target, world) = target(&args).await?;
    let stormed = tokio::select! {
        run = storm(&target, &plan, &options) => Some(run),
        () = terminate.wait() => None,
    };
    if !options.quiet {
        eprintln!("deleting the objects that the storm created");
    }
    let cleaned = cleanup::clean(&target.client, &plan).await;
    if let Some(world) = world {
        world.end().await?;
    }
    let Some(run) = stormed else {
        cleaned?;
        eprintln!("interrupted; the objects that the storm created are deleted");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let done = print_result(&run?, &args);
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
        let ca = match args.ca {
            CaArg::Today => ca::Options::default(),
            CaArg::Year2029 => ca::Options::year_2029(),
        };
        let world = Simulated::start(args.issuers, ca).await?;
        return Ok((world.target()?, Some(world)));
    }
    let client = args.cluster.connect().await?;
    let operator = match &args.metrics_url {
        Some(url) => Source::url(url.clone())?,
        None => Source::Pods(client.clone(), args.namespace.clone()),
    };
    let directory = operator.sample().await?.directory.unwrap_or_default();
    if !args.i_know && !harmless_ca::is_harmless(&directory) {
        bail!(
            "the operator's CA is `{directory}`, which is neither a staging CA nor one in your own network: a storm \
             uses up its rate limits for days. Point the operator at a staging directory, or use --i-know"
        );
    }
    Ok((Target { client, operator }, None))
}

fn print_result(run: &StormRun, args: &StormArgs) -> anyhow::Result<ExitCode> {
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
        "{} Ingresses do not have the right certificate after {:?}",
        figures.ingresses - figures.right,
        args.deadline
    );
    Ok(ExitCode::FAILURE)
}

/// Runs the storm and waits for all certificates, or until the deadline. The created objects
/// remain.
pub async fn storm(
    target: &Target,
    plan: &Plan,
    options: &LoadOptions,
) -> anyhow::Result<StormRun> {
    let Target { client, operator } = target;
    prepare(client, plan, options.deadline).await?;
    let before = operator.sample().await?;
    let secrets = (0..plan.ingresses).map(|number| plan.secret(number));
    let tally = RefCell::new(Tally::new(secrets));
    let meanwhile = RefCell::new(Vec::new());
    tokio::select! {
        finished = create_and_wait(client, plan, options, &tally) => finished?,
        () = sample(operator, &tally, &meanwhile) => {}
        () = show(plan, options, &tally) => {}
    }
    let after = settled(operator).await?;
    let (rows, meanwhile) = (tally.into_inner().rows().to_vec(), meanwhile.into_inner());
    Ok(StormRun { plan: plan.clone(), rows, before, after, meanwhile })
}

/// Creates the namespaces, and deletes those left by killed storms.
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

/// Creates and edits the Ingresses, and waits for their certificates. Works with any operator.
pub(crate) async fn create_and_wait(
    client: &Client,
    plan: &Plan,
    options: &LoadOptions,
    tally: &RefCell<Tally>,
) -> anyhow::Result<()> {
    let (watching, listed) = oneshot::channel();
    let finished = async {
        timeout(LISTED_WITHIN, listed).await.context("the Secrets cannot be watched")??;
        drive::drive(client, plan, options.rate, tally).await?;
        arrived(client, plan, options, tally).await;
        anyhow::Ok(())
    };
    tokio::select! {
        finished = finished => finished,
        () = arrivals::watch(client.clone(), tally, watching) => Ok(()),
    }
}

/// Waits until each Ingress has the right certificate, or until the deadline.
async fn arrived(client: &Client, plan: &Plan, options: &LoadOptions, tally: &RefCell<Tally>) {
    let all = async {
        while !tally.borrow().all_written() {
            sleep(LOOK).await;
        }
        while !tally.borrow().all_verified() {
            arrivals::verify(client, plan, tally).await;
            sleep(LOOK).await;
        }
    };
    if timeout(options.deadline, all).await.is_err() {
        // Distinguishes right certificates from missing ones.
        _ = timeout(VERIFIED_WITHIN, arrivals::verify(client, plan, tally)).await;
    }
}

/// Samples the operator's metrics periodically. A failed sample is skipped.
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

/// Shows progress: a bar in a terminal, otherwise a line from time to time.
pub(crate) async fn show(plan: &Plan, options: &LoadOptions, tally: &RefCell<Tally>) {
    let terminal = std::io::stderr().is_terminal() && !options.quiet;
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
        if !terminal && !options.quiet && last_progress.elapsed() >= PROGRESS_EVERY {
            last_progress = Instant::now();
            let elapsed = tally.borrow().elapsed().as_secs();
            eprintln!("{done} of {} certificates after {elapsed} s", plan.ingresses);
        }
    }
}

/// Returns the operator's metrics once the operator is idle, or after [`IDLE_WITHIN`].
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
