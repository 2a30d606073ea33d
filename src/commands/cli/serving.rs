//! Flags that decide which Ingresses are served and how: those of `run` that `plan` knows too.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use ingress_acme_actors::domain::certificate::KeyAlgorithm;
use ingress_acme_actors::domain::desired::selection::Selection;

use super::choices::{ManageArg, PublicCaArg};
use super::{LETS_ENCRYPT, directory, namespace};

/// Flags that decide whether an Ingress is served.
#[derive(Clone, Debug, Args)]
pub struct ServingArgs {
    /// ACME directory of the CA
    #[arg(long, env = "INGRESS_ACME_ACME_DIRECTORY", default_value = LETS_ENCRYPT, value_name = "URL",
          value_parser = directory)]
    pub acme_directory: url::Url,
    /// File (YAML) with several CAs, in place of --acme-directory and the other flags about one CA.
    /// A change of the file counts without a restart
    #[arg(long, env = "INGRESS_ACME_CAS_FILE", value_name = "YAML",
          conflicts_with_all = ["acme_directory", "profile", "key_algorithm"])]
    pub cas_file: Option<PathBuf>,
    /// Whether the CA of --acme-directory is a public one, which certifies public names only: other
    /// names are then not ordered. `auto`: its host is that of a known public CA, or has a globally
    /// routable address
    #[arg(
        long,
        env = "INGRESS_ACME_PUBLIC_CA",
        value_enum,
        default_value_t,
        value_name = "auto|true|false"
    )]
    pub public_ca: PublicCaArg,
    /// Which Ingresses are managed: all but those with ingress-acme.dev/enabled: "false", or only
    /// those with "true"
    #[arg(long, env = "INGRESS_ACME_MANAGE", value_enum, default_value_t)]
    pub manage: ManageArg,
    /// Only Ingresses of this class; repeatable [default: any]
    #[arg(long, env = "INGRESS_ACME_INGRESS_CLASS", value_name = "CLASS", value_delimiter = ',')]
    pub ingress_class: Vec<String>,
    /// Whether spec.tls is filled in where an Ingress has none. Many controllers then redirect
    /// plain HTTP to HTTPS. The annotation ingress-acme.dev/fill-tls of an Ingress decides over it
    #[arg(long, env = "INGRESS_ACME_FILL_TLS", default_value_t = true, action = clap::ArgAction::Set,
          value_name = "true|false")]
    pub fill_tls: bool,
    /// Let Ingresses of several namespaces have a certificate for one host. By default, the
    /// namespace that has the host keeps it
    #[arg(long, env = "INGRESS_ACME_ALLOW_CROSS_NAMESPACE_HOSTS", default_value_t = false, action = clap::ArgAction::Set,
          num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    pub allow_cross_namespace_hosts: bool,
    /// Only Ingresses of this namespace; repeatable [default: all]
    #[arg(long, env = "INGRESS_ACME_WATCH_NAMESPACE", value_name = "NS", value_delimiter = ',',
          value_parser = namespace)]
    pub watch_namespace: Vec<String>,
    /// ACME profile to ask for [default: the CA's]
    #[arg(long, env = "INGRESS_ACME_PROFILE", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub profile: Option<String>,
    /// Key algorithm of new certificates, where no Ingress of a certificate has the annotation
    /// ingress-acme.dev/key-algorithm: ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072 or rsa-4096.
    /// Certificates that exist get it with their next renewal
    #[arg(long, env = "INGRESS_ACME_KEY_ALGORITHM", value_name = "ALGORITHM", default_value_t)]
    pub key_algorithm: KeyAlgorithm,
}

impl ServingArgs {
    /// What the flags select. Whether the CA is public and cert-manager is there takes look-ups.
    pub fn selection(&self) -> Selection {
        Selection {
            manage: self.manage.into(),
            classes: self.ingress_class.clone(),
            shared_hosts: self.allow_cross_namespace_hosts,
            leaves_tls: !self.fill_tls,
            ..Selection::default()
        }
    }

    /// Namespaces to watch, each once; empty means all.
    pub fn watched(&self) -> Vec<String> {
        let all: BTreeSet<String> = self.watch_namespace.iter().cloned().collect();
        all.into_iter().collect()
    }
}
