//! Entry point: one runtime, one command, one exit code. [`ingress_acme::process::assembly`] builds
//! the parts of `run`.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use ingress_acme::commands::caa;
use ingress_acme::commands::cli::{Cli, Command};
use ingress_acme::commands::owners;
use ingress_acme::commands::revoke;
use ingress_acme::commands::rollover;
use ingress_acme::commands::status;
use ingress_acme::commands::thumbprint;
use ingress_acme::kubernetes::client;
use ingress_acme::process::assembly::{Environment, Network, assemble};
use ingress_acme::process::clock::SystemClock;
use ingress_acme::process::instance;
use ingress_acme::process::logging;
use ingress_acme::process::succession::Succession;
use ingress_acme::process::terminate::Terminate;

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
        Command::Run(args) => {
            // First: a signal that comes before would end the process without a drain, or be lost.
            let (terminate, received) = (Terminate::on_signals()?, Succession::received());
            let terminate = terminate.inherited(received.terminating_for());
            let (pod, clock) = (instance::name(), Arc::new(SystemClock::default()));
            let environment = Environment {
                client: client::connect().await?,
                pod,
                clock,
                network: Network::default(),
            };
            assemble(*args, &environment, received)?.run(terminate).await?.carry_out()
        }
        Command::Status(args) => status::list(args).await,
        Command::Explain(one) => status::explain(&one.ingress).await,
        Command::Renew(one) => status::renew(&one.ingress).await,
        Command::Revoke(args) => revoke::revoke(args).await,
        Command::RemoveOwners(args) => owners::remove(args).await,
        Command::Caa(args) => caa::show(args).await,
        Command::Rollover(args) => rollover::roll_over(args).await,
        Command::Thumbprint(args) => thumbprint::show(args).await,
        #[cfg(feature = "sim")]
        Command::Demo(args) => ingress_acme::commands::demo::show(args).await,
        #[cfg(feature = "sim")]
        Command::Storm(args) => ingress_acme::commands::storm::run(*args).await,
    }
}
