//! `doctor`: checks of an install, and of one Ingress.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::cluster::{ClusterArgs, IngressName};
use super::{directory, namespace, own_namespace, run};

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// An Ingress that is looked at too, with its class, and with DNS, routes and CAA records of
    /// its hosts: its name, or NAMESPACE/NAME
    #[arg(value_name = "NAME")]
    pub ingress: Option<IngressName>,
    /// Namespace of the Ingress [default: that of the kubeconfig's context]
    #[arg(short = 'n', long, value_parser = namespace, requires = "ingress")]
    pub namespace: Option<String>,
    /// Output format
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: ReportOutput,
    /// The operator's own namespace [default: that of the pod, or ingress-acme]
    #[arg(long, env = "INGRESS_ACME_NAMESPACE", value_name = "NS")]
    pub operator_namespace: Option<String>,
    /// ACME directory of the CA [default: that of the operator's Deployment]
    #[arg(long, env = "INGRESS_ACME_ACME_DIRECTORY", value_name = "URL", value_parser = directory)]
    pub acme_directory: Option<url::Url>,
    /// The file of `run --cas-file`: each of its CAs is checked [default: that of the operator's
    /// Deployment, where it is readable here, as in its pod]
    #[arg(
        long,
        env = "INGRESS_ACME_CAS_FILE",
        value_name = "YAML",
        conflicts_with_all = ["acme_directory", "acme_ca_file"]
    )]
    pub cas_file: Option<PathBuf>,
    /// File with an additional root certificate to trust for connections to the ACME directory
    #[arg(long, env = "INGRESS_ACME_ACME_CA_FILE", value_name = "PEM")]
    pub acme_ca_file: Option<PathBuf>,
    /// DNS server to ask [default: those of /etc/resolv.conf]
    #[arg(long, env = "INGRESS_ACME_NAMESERVER", value_name = "ADDR[:PORT]", value_parser = run::nameserver)]
    pub nameserver: Option<SocketAddr>,
    /// Port on which hosts are asked [default: that of the operator's Deployment]
    #[arg(long, env = "INGRESS_ACME_PROBE_PORT", value_name = "PORT")]
    pub probe_port: Option<u16>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help of the command")]
    pub cluster: ClusterArgs,
}

/// `-o` of `doctor`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportOutput {
    /// One line for each check.
    #[default]
    Table,
    /// For programs.
    Json,
    /// The same fields as YAML.
    Yaml,
}

impl DoctorArgs {
    /// The operator's namespace.
    pub fn own_namespace(&self) -> String {
        own_namespace(self.operator_namespace.clone())
    }
}
