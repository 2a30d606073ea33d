//! Entry point: one runtime, one command, one exit code. [`ingress_acme::process::assembly`] builds
//! the parts of `run`.

use std::process::ExitCode;
use std::sync::Arc;

use clap::FromArgMatches;
use ingress_acme::commands::caa;
use ingress_acme::commands::cli::{Cli, Command, RunArgs};
use ingress_acme::commands::completions;
use ingress_acme::commands::doctor;
use ingress_acme::commands::log_level;
use ingress_acme::commands::man;
use ingress_acme::commands::owners;
use ingress_acme::commands::pause;
use ingress_acme::commands::plan;
use ingress_acme::commands::program::CalledAs;
use ingress_acme::commands::record;
use ingress_acme::commands::revoke;
use ingress_acme::commands::rollover;
use ingress_acme::commands::status;
use ingress_acme::commands::thumbprint;
use ingress_acme::kubernetes::client;
use ingress_acme::process::assembly::{Environment, Network, assemble};
use ingress_acme::process::clock::SystemClock;
use ingress_acme::process::instance;
use ingress_acme::process::logging;
use ingress_acme::process::replica::Exit;
use ingress_acme::process::succession::Succession;
use ingress_acme::process::terminate::Terminate;

fn main() -> ExitCode {
    let called_as = CalledAs::read(std::env::args_os().next().as_deref());
    if called_as == CalledAs::Completion {
        return completions::answer(&std::env::args().skip(1).collect::<Vec<_>>());
    }
    let cli = Cli::from_arg_matches(&called_as.command().get_matches());
    let cli = cli.unwrap_or_else(|error| error.exit());
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
    if !matches!(command, Command::Run(_)) {
        logging::start_command();
    }
    match command {
        Command::Run(args) => operate(*args).await,
        Command::Plan(args) => plan::show(*args).await,
        Command::Doctor(args) => doctor::show(*args).await,
        Command::Status(args) => status::list(args).await,
        Command::Explain(args) => status::explain(args).await,
        Command::Renew(args) => status::renew(args).await,
        Command::Revoke(args) => revoke::revoke(args).await,
        Command::RemoveOwners(args) => owners::remove(args).await,
        Command::Caa(args) => caa::show(args).await,
        Command::Record(args) => record::show(args).await,
        Command::Pause(args) => pause::pause(args).await,
        Command::Resume(args) => pause::resume(args).await,
        Command::Rollover(args) => rollover::roll_over(args).await,
        Command::Thumbprint(args) => thumbprint::show(args).await,
        Command::LogLevel(args) => log_level::show_or_change(args).await,
        Command::Completions(args) => Ok(completions::show(&args)),
        Command::Man(args) => man::show(&args),
        #[cfg(feature = "sim")]
        Command::Demo(args) => ingress_acme::commands::demo::show(args).await,
        #[cfg(feature = "sim")]
        Command::Storm(args) => ingress_acme::commands::storm::run(*args).await,
    }
}

/// Carries out `run`.
async fn operate(args: RunArgs) -> anyhow::Result<ExitCode> {
    let logging = logging::start_operator(args.log_format);
    // First: a signal that comes before would end the process without a drain, or be lost.
    let (terminate, received) = (Terminate::on_signals()?, Succession::received());
    let terminate = terminate.inherited(received.terminating_for());
    let (pod, clock) = (instance::name(), Arc::new(SystemClock::default()));
    let client = client::connect().await?;
    let environment = Environment { client, pod, clock, network: Network::default() };
    let replica = assemble(args, &environment, received)?;
    replica.health.set_log_filter(logging.filter.clone());
    let exit = replica.run(terminate).await?;
    if let Exit::Done = exit {
        logging.end().await; // a process that has to restart does so at once
    }
    exit.carry_out()
}
