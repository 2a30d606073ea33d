//! Command line. Names and flags are a contract, because other programs use them. Every flag can
//! also be set in the environment.

mod account;
mod caa;
mod choices;
mod cluster;
mod doctor;
mod ingresses;
mod log_level;
mod pause;
mod reason;
mod record;
mod run;
mod serving;
mod shell;
#[cfg(feature = "sim")]
mod sim;
mod thumbprint;

use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use ingress_acme_actors::domain::limits;

pub use account::{AtTheCa, RevokeArgs, RolloverArgs};
pub use caa::CaaArgs;
pub use choices::{GuardsArg, LogFormatArg, ManageArg, PublicCaArg};
pub use cluster::{ClusterArgs, DryRun, DryRunArgs, IngressArgs, IngressName, ScopeArgs};
pub use doctor::{DoctorArgs, ReportOutput};
pub use ingresses::{ExplainArgs, ListOutput, PlanArgs, RemoveOwnersArgs, RenewArgs, StatusArgs};
pub use log_level::LogLevelArgs;
pub use pause::{PauseArgs, ResumeArgs};
pub use reason::Reason;
pub use record::{RecordArgs, RecordOutput};
pub(crate) use run::contact;
pub use run::{AdapterConfig, FallbackDirectory, RunArgs};
pub use serving::ServingArgs;
pub use shell::{CompletionsArgs, ManArgs};
#[cfg(feature = "sim")]
pub use sim::{CaArg, DemoArgs, StormArgs, TargetArg};
pub use thumbprint::{LoadBalancer, ThumbprintArgs};

/// Let's Encrypt's production directory.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// Gives every Ingress a valid TLS certificate from an ACME CA.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator
    Run(Box<RunArgs>),
    /// Tell what the operator would do for each Ingress, before it is installed: nothing is written
    Plan(Box<PlanArgs>),
    /// Check an install, and one Ingress: each line says what to do. Nothing is written
    Doctor(Box<DoctorArgs>),
    /// List Ingresses with the state of their certificates
    Status(StatusArgs),
    /// Show everything about one Ingress: what it asks for, what exists, what happens next
    Explain(ExplainArgs),
    /// Request new certificates for one Ingress or many, even if the current ones are valid
    Renew(RenewArgs),
    /// Revoke the certificates of one Ingress at their CA, and request new ones
    Revoke(RevokeArgs),
    /// Remove the owner references of TLS Secrets, so that they stay when their Ingresses are
    /// deleted
    RemoveOwners(RemoveOwnersArgs),
    /// Stop new orders of the operator: certificates that are not there yet wait, renewals go on
    Pause(PauseArgs),
    /// Allow new orders again after `pause`
    Resume(ResumeArgs),
    /// Give the ACME account a new key
    Rollover(RolloverArgs),
    /// Print the CAA record that locks a domain to this ACME account, and what is there now
    Caa(CaaArgs),
    /// Print the DNS-PERSIST-01 record by which this ACME account proves a name, and what is there
    /// now
    Record(RecordArgs),
    /// Print the thumbprint of the ACME account's key, with which a load balancer can answer
    /// challenges itself
    Thumbprint(ThumbprintArgs),
    /// Show what a running operator logs, or change it for a while. Runs where its admin port is:
    /// in its pod, or with that port forwarded
    LogLevel(LogLevelArgs),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
    /// Print the manual page of a command, or write all pages to a directory
    Man(ManArgs),
    /// See the whole system at work on this machine, in a simulated world
    #[cfg(feature = "sim")]
    Demo(DemoArgs),
    /// Load test: many Ingresses at once, in a simulated world or on a cluster
    #[cfg(feature = "sim")]
    Storm(Box<StormArgs>),
}

/// `-o` of `storm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

fn own_namespace(given: Option<String>) -> String {
    let given = given.or_else(|| std::env::var("POD_NAMESPACE").ok());
    given.filter(|name| !name.is_empty()).unwrap_or_else(|| "ingress-acme".to_owned())
}

/// A DNS label (RFC 1123), as every namespace's name is.
fn namespace(text: &str) -> Result<String, String> {
    let legal = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    let bounded = !text.starts_with('-') && !text.ends_with('-');
    if !(1..=63).contains(&text.len()) || !bounded || !text.bytes().all(legal) {
        return Err(format!("`{text}` is not the name of a namespace"));
    }
    Ok(text.to_owned())
}

/// RFC 8555 §6.1 asks for https. The URL is kept in an annotation of each Secret, which is read in
/// part.
pub(crate) fn directory(text: &str) -> Result<url::Url, String> {
    if text.len() > limits::URL_MAX {
        let (length, most) = (text.len(), limits::URL_MAX);
        return Err(format!("the URL has {length} bytes; at most {most} are accepted"));
    }
    let url = text.parse::<url::Url>().ok().filter(|url| url.scheme() == "https" && url.has_host());
    url.ok_or_else(|| format!("`{text}` is not an https URL"))
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("`{text}` is not a duration such as 500ms, 30s, 5m or 1h"))?;
    let parsed: Duration = parsed.try_into().map_err(|_| format!("`{text}` is negative"))?;
    if parsed > limits::FLAG_MAX {
        let hours = limits::FLAG_MAX.as_secs() / 3600;
        return Err(format!("`{text}` is longer than {hours}h"));
    }
    Ok(parsed)
}
