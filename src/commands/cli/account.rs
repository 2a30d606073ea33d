//! `revoke` and `rollover`: what is asked of the CA by hand.

use std::path::PathBuf;

use clap::Args;

use super::cluster::{ClusterArgs, DryRunArgs, IngressName};
use super::{LETS_ENCRYPT, Reason, directory, namespace, own_namespace};

/// Flags of both.
#[derive(Debug, Args)]
pub struct AtTheCa {
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
    /// The file of `run --cas-file`, whose CAs share one account key
    #[arg(
        long,
        env = "INGRESS_ACME_CAS_FILE",
        value_name = "YAML",
        conflicts_with = "acme_ca_file"
    )]
    pub cas_file: Option<PathBuf>,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help of the command")]
    pub dry: DryRunArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help of the command")]
    pub cluster: ClusterArgs,
}

impl AtTheCa {
    /// The operator's namespace.
    pub fn own_namespace(&self) -> String {
        own_namespace(self.namespace.clone())
    }
}

/// Flags of `revoke`.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// The Ingress: its name, or NAMESPACE/NAME
    #[arg(value_name = "NAME")]
    pub ingress: IngressName,
    /// Namespace of the Ingress [default: that of the kubeconfig's context]
    #[arg(short = 'n', value_name = "NS", value_parser = namespace)]
    pub ingress_namespace: Option<String>,
    /// Reason for the revocation; the CA publishes it
    #[arg(long, value_enum, default_value_t)]
    pub reason: Reason,
    /// Do not request new certificates: the hosts keep the revoked ones
    #[arg(long)]
    pub no_renew: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help of the command")]
    pub at: AtTheCa,
}

/// Flags of `rollover`.
#[derive(Debug, Args)]
pub struct RolloverArgs {
    /// ACME directory of the CA
    #[arg(long, env = "INGRESS_ACME_ACME_DIRECTORY", default_value = LETS_ENCRYPT, value_name = "URL",
          value_parser = directory, conflicts_with = "cas_file")]
    pub acme_directory: url::Url,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help of the command")]
    pub at: AtTheCa,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::commands::cli::{Cli, Command};

    fn revoke(args: &[&str]) -> Result<RevokeArgs, clap::Error> {
        let all = ["ingress-acme", "revoke"].iter().chain(args);
        match Cli::try_parse_from(all)?.command {
            Command::Revoke(args) => Ok(args),
            other => panic!("parsed as {other:?}"),
        }
    }

    #[test]
    fn a_revocation_asks_and_renews_unless_it_is_asked_otherwise() {
        let args = revoke(&["web/shop"]).unwrap();
        assert!(!args.at.yes && !args.no_renew);
        assert_eq!(args.reason, Reason::Unspecified);
        let args = revoke(&["web/shop", "--reason", "keyCompromise", "--yes", "--no-renew"]);
        let args = args.unwrap();
        assert!(args.at.yes && args.no_renew);
        assert_eq!(args.reason, Reason::KeyCompromise);
    }

    #[test]
    fn a_reason_that_is_a_cas_own_is_refused_with_those_there_are() {
        let refused = revoke(&["web/shop", "--reason", "cACompromise"]).unwrap_err().to_string();
        assert!(refused.contains("cessationOfOperation"), "{refused}");
    }

    #[test]
    fn a_rollover_is_for_the_directory_that_run_has_by_default() {
        let Command::Rollover(args) =
            Cli::try_parse_from(["ingress-acme", "rollover"]).unwrap().command
        else {
            panic!("it is a rollover")
        };
        assert_eq!(args.acme_directory.as_str(), LETS_ENCRYPT);
        assert!(!args.at.yes);
    }
}
