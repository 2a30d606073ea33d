//! The composition root: each adapter is built here, once, and the process that runs them is put together.

use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use ingress_acme::acme::{Acme, AcmeOptions};
use ingress_acme::cli::{Cli, Command, RunArgs, Surroundings};
use ingress_acme::clock::SystemClock;
use ingress_acme::lifecycle::{Process, listen};
use ingress_acme::{
    account_secret, admin, announcer, cluster, ingresses, keys, lease, logging, probe, segments,
    solver, solver_ingresses, status, vault,
};
use ingress_acme_actors::journal::SegmentedJournal;
use ingress_acme_actors::metrics::Metrics;
use ingress_acme_actors::operator::Ports;
use ingress_acme_actors::ports::Clock;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("ingress-acme: another cryptography provider is installed");
        return ExitCode::FAILURE;
    }
    actix::System::new().block_on(carry_out(cli.command)).unwrap_or_else(|error| {
        eprintln!("ingress-acme: {error:#}");
        ExitCode::FAILURE
    })
}

async fn carry_out(command: Command) -> anyhow::Result<ExitCode> {
    logging::start(matches!(command, Command::Run(_)));
    match command {
        Command::Run(args) => assemble(*args).await?.live().await?.carry_out(),
        Command::Status(args) => status::list(args).await,
        Command::Explain(one) => status::explain(&one.ingress).await,
        Command::Renew(one) => status::renew(&one.ingress).await,
        #[cfg(feature = "demo")]
        Command::Demo(args) => ingress_acme::demo::show(args).await,
    }
}

async fn assemble(args: RunArgs) -> anyhow::Result<Process> {
    let (settings, around) = args.split();
    let clock = SystemClock::default();
    let client = cluster::connect().await?;
    let metrics = Metrics::default();
    let vitals = admin::Vitals::new(metrics.registry(env!("CARGO_PKG_VERSION")));
    let thumbprints = solver::Thumbprints::default();
    let servers = listen(&around, &vitals, &thumbprints, &metrics)?;
    tracing::info!(directory = %settings.directory, namespace = around.namespace, "starting");

    let pod = std::env::var("POD_NAME").unwrap_or_else(|_| format!("pid-{}", std::process::id()));
    let writer = format!("{pod} since {}", clock.now().as_millis());
    let segments = segments::SecretSegments::new(client.clone(), &around.namespace);
    let lease = lease::Lease::new(client.clone(), &around.namespace, &pod, Arc::new(clock));
    let account =
        account_secret::AccountSecret::new(client.clone(), &around.namespace, &settings.directory);
    let options = acme_options(&settings.directory, &around, &metrics)?;
    let acme = Rc::new(Acme::new(options, Rc::new(account))?);
    let probe = probe::HttpProbe::new(around.nameserver, around.probe_port, thumbprints.clone())?;
    let (watch_metrics, event_metrics) = (metrics.clone(), metrics.clone());
    let restarted = Box::new(move |reason| watch_metrics.watch_restarted(reason));
    let dropped = Arc::new(move || event_metrics.announcement_dropped());
    let ports = Ports {
        ingresses: Rc::new(ingresses::Ingresses::new(
            client.clone(),
            &around.watch_namespaces,
            restarted,
        )),
        vault: Rc::new(vault::Secrets::new(client.clone(), &settings.directory)),
        authority: acme.clone(),
        routes: Rc::new(solver_ingresses::SolverIngresses::new(client.clone(), &around.namespace)),
        probe: Rc::new(probe),
        keys: Rc::new(keys::Pki),
        announcer: Rc::new(announcer::Events::start(client, &pod, Box::new(clock), dropped)),
        journal: Rc::new(SegmentedJournal::new(Rc::new(segments), writer)),
        clock: Rc::new(clock),
    };
    let lease = around.leader_elect.then_some(lease);
    Ok(Process { ports, settings, acme, thumbprints, lease, vitals, metrics, servers })
}

fn acme_options(
    directory: &str,
    around: &Surroundings,
    metrics: &Metrics,
) -> anyhow::Result<AcmeOptions> {
    let metrics = metrics.clone();
    let extra_roots = around.acme_ca_file.as_ref().map(std::fs::read_to_string).transpose();
    Ok(AcmeOptions {
        directory: directory.to_owned(),
        extra_roots: extra_roots.context("the file of --acme-ca-file cannot be read")?,
        contacts: around.contacts.clone(),
        hook: Arc::new(move |endpoint, code, took| metrics.acme_request(endpoint, code, took)),
    })
}
