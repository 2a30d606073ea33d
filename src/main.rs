//! The composition root: each adapter is built here, once, and the wiring of the actors is started.

use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use ingress_acme::acme::{Acme, AcmeOptions};
use ingress_acme::cli::{Cli, Command, RunArgs};
use ingress_acme::clock::SystemClock;
use ingress_acme::lifecycle::Process;
use ingress_acme::{
    account_secret, admin, announcer, cluster, ingresses, keys, lease, logging, probe, solver,
    solver_ingresses, vault,
};
use ingress_acme_actors::memory::MemoryJournal;
use ingress_acme_actors::metrics::Metrics;
use ingress_acme_actors::operator::Ports;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("ingress-acme: another cryptography provider is installed");
        return ExitCode::FAILURE;
    }
    let ended = actix::System::new().block_on(carry_out(cli.command));
    ended.unwrap_or_else(|error| {
        eprintln!("ingress-acme: {error:#}");
        ExitCode::FAILURE
    })
}

async fn carry_out(command: Command) -> anyhow::Result<ExitCode> {
    if let Command::Run(args) = command {
        logging::operator();
        logging::abort_on_panic();
        return assemble(&args).await?.live().await;
    }
    logging::command();
    match command {
        Command::Run(_) => unreachable!("carried out above"),
        Command::Status(args) => ingress_acme::status::list(args).await,
        Command::Explain(one) => ingress_acme::status::explain(&one.ingress).await,
        Command::Renew(one) => ingress_acme::status::renew(&one.ingress).await,
        #[cfg(feature = "demo")]
        Command::Demo(args) => ingress_acme::demo::show(args).await,
    }
}

async fn assemble(args: &RunArgs) -> anyhow::Result<Process> {
    let client = cluster::connect().await?;
    let metrics = Metrics::default();
    let vitals = admin::Vitals::new(metrics.registry(env!("CARGO_PKG_VERSION")));
    let (settings, namespace) = (args.settings(), args.own_namespace());
    let pod = std::env::var("POD_NAME").unwrap_or_else(|_| format!("pid-{}", std::process::id()));

    let (acme_metrics, watch_metrics, solver_metrics) = (metrics.clone(), metrics.clone(), metrics.clone());
    let extra_roots = args.acme_ca_file.as_ref().map(std::fs::read_to_string).transpose();
    let options = AcmeOptions {
        directory: settings.directory.clone(),
        extra_roots: extra_roots.context("the file of --acme-ca-file cannot be read")?,
        contacts: args.contact.iter().cloned().collect(),
        hook: Arc::new(move |endpoint, status, took| acme_metrics.acme_request(endpoint, status, took)),
    };
    let account = account_secret::AccountSecret::new(client.clone(), &namespace, &settings.directory);
    let acme = Rc::new(Acme::new(options, Rc::new(account))?);

    let thumbprints = solver::Thumbprints::default();
    let answered = Arc::new(move || solver_metrics.answered());
    let (solver, solver_address) = solver::serve(args.solver_bind, thumbprints.clone(), answered)
        .with_context(|| format!("cannot listen on --solver-bind {}", args.solver_bind))?;
    let (admin, admin_address) = admin::serve(args.admin_bind, vitals.clone())
        .with_context(|| format!("cannot listen on --admin-bind {}", args.admin_bind))?;
    tracing::info!(%solver_address, %admin_address, %namespace, directory = %settings.directory, "starting");
    let servers = vec![solver.handle(), admin.handle()];
    actix::spawn(solver);
    actix::spawn(admin);
    actix::spawn(vitals.clone().beat());

    let probe = probe::HttpProbe::new(args.nameserver, args.probe_port, thumbprints.clone())?;
    let on_error = Box::new(move |reason| watch_metrics.watch_restarted(reason));
    let clock = Rc::new(SystemClock);
    let lease = lease::Lease::new(client.clone(), &namespace, &pod, Arc::new(SystemClock));
    let ports = Ports {
        ingresses: Rc::new(ingresses::Ingresses::new(client.clone(), &args.watch_namespace, on_error)),
        vault: Rc::new(vault::Secrets::new(client.clone(), &settings.directory)),
        authority: acme.clone(),
        routes: Rc::new(solver_ingresses::SolverIngresses::new(client.clone(), &namespace)),
        probe: Rc::new(probe),
        keys: Rc::new(keys::Pki),
        announcer: Rc::new(announcer::Events::start(client, &pod, Box::new(SystemClock))),
        journal: Rc::new(MemoryJournal::default()),
        clock,
    };
    let lease = args.leader_elect.then_some(lease);
    Ok(Process { ports, settings, acme, thumbprints, lease, vitals, metrics, servers })
}
