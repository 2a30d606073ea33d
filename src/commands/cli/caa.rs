//! `caa`: the CAA record of a domain.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use ingress_acme_actors::domain::name::DnsName;

use super::cluster::ClusterArgs;
use super::{LETS_ENCRYPT, directory, own_namespace, run};

/// Flags of `caa`.
#[derive(Debug, Args)]
pub struct CaaArgs {
    /// The host, such as shop.example.com, or a wildcard, such as '*.example.com'
    #[arg(value_name = "HOST", value_parser = host)]
    pub host: DnsName,
    /// ACME directory of the CA
    #[arg(long, env = "INGRESS_ACME_ACME_DIRECTORY", default_value = LETS_ENCRYPT, value_name = "URL",
          value_parser = directory)]
    pub acme_directory: url::Url,
    /// The file of `run --cas-file`: a record for each of its CAs
    #[arg(
        long,
        env = "INGRESS_ACME_CAS_FILE",
        value_name = "YAML",
        conflicts_with = "acme_directory"
    )]
    pub cas_file: Option<PathBuf>,
    /// Only the CA of this name in that file
    #[arg(long, value_name = "NAME", requires = "cas_file")]
    pub ca: Option<String>,
    /// The operator's own namespace, where its ACME account is; also --operator-namespace [default:
    /// that of the pod, or ingress-acme]
    #[arg(
        long,
        visible_alias = "operator-namespace",
        env = "INGRESS_ACME_NAMESPACE",
        value_name = "NS"
    )]
    pub namespace: Option<String>,
    /// File with an additional root certificate to trust for connections to the ACME directory
    #[arg(long, env = "INGRESS_ACME_ACME_CA_FILE", value_name = "PEM")]
    pub acme_ca_file: Option<PathBuf>,
    /// DNS server to ask [default: those of /etc/resolv.conf]
    #[arg(long, env = "INGRESS_ACME_NAMESERVER", value_name = "ADDR[:PORT]", value_parser = run::nameserver)]
    pub nameserver: Option<SocketAddr>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help of the command")]
    pub cluster: ClusterArgs,
}

impl CaaArgs {
    /// The operator's namespace.
    pub fn own_namespace(&self) -> String {
        own_namespace(self.namespace.clone())
    }
}

pub(super) fn host(text: &str) -> Result<DnsName, String> {
    DnsName::parse_certified(text)
        .map_err(|why| format!("`{text}` is not the name of a host: {why}"))
}
