//! `revoke` and `rollover`: what is asked of the CA by hand.

use std::path::PathBuf;

use clap::Args;
use ingress_acme_actors::domain::ingress::IngressKey;

use super::{LETS_ENCRYPT, directory, own_namespace};
use crate::revoke::Reason;

/// Flags of both.
#[derive(Debug, Args)]
pub struct AtTheCa {
    /// The operator's own namespace, where its ACME account is [default: that of the pod, or ingress-acme]
    #[arg(long, env = "INGRESS_ACME_NAMESPACE", value_name = "NS")]
    pub namespace: Option<String>,
    /// File with a further root certificate that the directory's own TLS may use
    #[arg(long, env = "INGRESS_ACME_ACME_CA_FILE", value_name = "PEM")]
    pub acme_ca_file: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
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
    /// The Ingress
    #[arg(value_name = "NS/NAME")]
    pub ingress: IngressKey,
    /// Why; the CA publishes it
    #[arg(long, value_enum, default_value_t)]
    pub reason: Reason,
    /// Do not ask for new certificates: the hosts stay with revoked ones
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
          value_parser = directory)]
    pub acme_directory: url::Url,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help of the command")]
    pub at: AtTheCa,
}
