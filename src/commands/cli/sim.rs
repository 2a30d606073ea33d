//! Flags of the commands that need the simulated world, or lay a storm on a real cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::cluster::ClusterArgs;
use super::{Output, duration, namespace};

/// Flags of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How many Ingresses the storm has
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u32).range(4..=2000))]
    pub ingresses: u32,
    /// Keep running at the end, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
}

/// Flags of `storm`.
#[derive(Debug, Args)]
pub struct StormArgs {
    /// How many Ingresses are created
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub ingresses: u32,
    /// How often each Ingress is edited right after its creation
    #[arg(long, default_value_t = 0, value_name = "M", value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub edits: u32,
    /// Where: a simulated world with an operator of its own, or the cluster of the kubeconfig
    #[arg(long, value_enum, default_value_t)]
    pub target: TargetArg,
    /// Number of namespaces for the Ingresses; they are created for the storm and deleted at the
    /// end
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub namespaces: u32,
    /// Hosts of each Ingress, all in one certificate
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub names: u32,
    /// Ingresses created per second [default: as fast as the API server accepts them]
    #[arg(long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,
    /// Domain of all hosts; in a real cluster every host must resolve to its ingress controller
    #[arg(long, default_value = "storm.example.com", value_name = "NAME")]
    pub domain: String,
    /// Class of the Ingresses [default: none]
    #[arg(long, value_name = "CLASS")]
    pub ingress_class: Option<String>,
    /// Whether the Ingresses have spec.tls; if not, the operator chooses the Secret and fills it
    /// in, with two more requests for each
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "true|false")]
    pub spec_tls: bool,
    /// Longest wait for the last certificate
    #[arg(long, default_value = "30m", value_name = "TIME", value_parser = duration)]
    pub deadline: Duration,
    /// A report with charts, in one HTML file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Output format
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: Output,
    /// Allow a storm on a CA that is neither a staging CA nor in your own network: it uses up real
    /// rate limits
    #[arg(long)]
    pub i_know: bool,
    /// Namespace of the operator in the cluster
    #[arg(long, default_value = "ingress-acme", value_name = "NS", value_parser = namespace)]
    pub namespace: String,
    /// Where the leading operator's metrics are [default: found through the API server]
    #[arg(long, value_name = "URL")]
    pub metrics_url: Option<url::Url>,
    /// Certificates worked on at once, by the operator of the simulated world
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub issuers: u16,
    /// CA of the simulated world: as CAs are today, or as announced for the years to come
    #[arg(long, value_enum, default_value_t)]
    pub ca: CaArg,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help of the command")]
    pub cluster: ClusterArgs,
}

/// `--ca`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CaArg {
    /// As Let's Encrypt was in 2026.
    #[default]
    Today,
    /// 45 days, authorizations of 7 hours, five networks that validate, slow answers.
    #[value(name = "2029")]
    Year2029,
}

/// `--target`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TargetArg {
    /// A simulated world; no cluster is needed.
    #[default]
    Sim,
    /// The cluster of `KUBECONFIG`, with the operator that runs there.
    Cluster,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: Option<f64> = text.parse().ok().filter(|rate| (0.001..=100_000.0).contains(rate));
    rate.ok_or_else(|| format!("`{text}` is not a number of Ingresses a second"))
}
