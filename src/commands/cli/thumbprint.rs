//! `thumbprint`: HTTP-01 challenges answered by a load balancer.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::cluster::ClusterArgs;
use super::{LETS_ENCRYPT, directory, own_namespace};

/// Flags of `thumbprint`.
#[derive(Debug, Args)]
pub struct ThumbprintArgs {
    /// ACME directory of the operator's CA. The accounts of its fallback CA and of its rehearsal CA
    /// have the same key
    #[arg(long, env = "INGRESS_ACME_ACME_DIRECTORY", default_value = LETS_ENCRYPT, value_name = "URL",
          value_parser = directory, conflicts_with = "cas_file")]
    pub acme_directory: url::Url,
    /// The file of `run --cas-file`, whose CAs share one account key
    #[arg(long, env = "INGRESS_ACME_CAS_FILE", value_name = "YAML")]
    pub cas_file: Option<PathBuf>,
    /// The operator's own namespace, where its ACME account is; also --operator-namespace [default:
    /// that of the pod, or ingress-acme]
    #[arg(
        long,
        visible_alias = "operator-namespace",
        env = "INGRESS_ACME_NAMESPACE",
        value_name = "NS"
    )]
    pub namespace: Option<String>,
    /// Print configuration for this load balancer, instead of the thumbprint alone
    #[arg(long, value_enum, value_name = "PROGRAM")]
    pub snippet: Option<LoadBalancer>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help of the command")]
    pub cluster: ClusterArgs,
}

/// `--snippet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LoadBalancer {
    /// HAProxy 2.2 or newer
    Haproxy,
    /// nginx
    Nginx,
}

impl ThumbprintArgs {
    /// The operator's namespace.
    pub fn own_namespace(&self) -> String {
        own_namespace(self.namespace.clone())
    }
}
