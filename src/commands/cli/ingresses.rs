//! Flags of the commands about Ingresses: `plan`, `status`, `explain`, `renew` and `remove-owners`.

use clap::{Args, ValueEnum};

use super::cluster::{ClusterArgs, DryRunArgs, IngressArgs, IngressName, ScopeArgs};
use super::serving::ServingArgs;
use super::{namespace, own_namespace};

/// Flags of `plan`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "a doc comment of a group would become the help of the command")]
pub struct PlanArgs {
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Output format
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: ListOutput,
    #[command(flatten)]
    pub serving: ServingArgs,
    /// The operator's own namespace, which has the DNS accounts [default: that of the pod, or
    /// ingress-acme]
    #[arg(long, env = "INGRESS_ACME_NAMESPACE", value_name = "NS")]
    pub operator_namespace: Option<String>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

impl PlanArgs {
    /// The operator's namespace.
    pub fn own_namespace(&self) -> String {
        own_namespace(self.operator_namespace.clone())
    }
}

/// Flags of `status`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "a doc comment of a group would become the help of the command")]
pub struct StatusArgs {
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Output format
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: ListOutput,
    /// After the list, print each row that changes, until Ctrl-C
    #[arg(short = 'w', long)]
    pub watch: bool,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `-o` of `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ListOutput {
    /// For people.
    #[default]
    Table,
    /// The table with more columns.
    Wide,
    /// For programs.
    Json,
    /// The same fields as YAML.
    Yaml,
    /// The names alone, as kubectl takes them.
    Name,
}

/// Flags of `explain`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "a doc comment of a group would become the help of the command")]
pub struct ExplainArgs {
    #[command(flatten)]
    pub one: IngressArgs,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Flags of `renew`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "a doc comment of a group would become the help of the command")]
pub struct RenewArgs {
    /// The Ingress: its name, or NAMESPACE/NAME
    #[arg(value_name = "NAME", required_unless_present_any = ["all_namespaces", "selector"],
          conflicts_with_all = ["all_namespaces", "selector"])]
    pub ingress: Option<IngressName>,
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// With -A or -l: do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub dry: DryRunArgs,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Flags of `remove-owners`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "a doc comment of a group would become the help of the command")]
pub struct RemoveOwnersArgs {
    /// Namespace [default: that of the kubeconfig's context]
    #[arg(short = 'n', long, conflicts_with = "all_namespaces", value_parser = namespace)]
    pub namespace: Option<String>,
    /// All namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub dry: DryRunArgs,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}
