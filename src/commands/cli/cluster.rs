//! Flags that all commands on a cluster share, with the names and the meaning of kubectl's.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::bail;
use clap::{Args, ValueEnum};
use ingress_acme_actors::domain::ingress::{BadKey, IngressKey};
use kube::Client;

use super::namespace;
use crate::kubernetes::client::{ConnectError, KubeconfigChoice, connect_to};

/// Which cluster.
#[derive(Clone, Debug, Default, Args)]
pub struct ClusterArgs {
    /// Context of the kubeconfig [default: its current context]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Kubeconfig file [default: those of KUBECONFIG, else ~/.kube/config, else the service account
    /// of the pod]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub kubeconfig: Option<PathBuf>,
}

impl ClusterArgs {
    /// Creates a client for the cluster. Sends no request.
    pub async fn connect(&self) -> Result<Client, ConnectError> {
        let Self { context, kubeconfig } = self.clone();
        connect_to(&KubeconfigChoice { kubeconfig, context }).await
    }
}

/// Which Ingresses, where a command takes many.
#[derive(Clone, Debug, Default, Args)]
pub struct ScopeArgs {
    /// Namespace of the Ingresses [default: that of the kubeconfig's context]
    #[arg(short = 'n', long, conflicts_with = "all_namespaces", value_parser = namespace)]
    pub namespace: Option<String>,
    /// All namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Only Ingresses with these labels, such as app=shop,tier!=test
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
}

impl ScopeArgs {
    /// The namespace; `None` for all.
    pub fn namespace(&self, default: &str) -> Option<String> {
        let own = || self.namespace.clone().unwrap_or_else(|| default.to_owned());
        (!self.all_namespaces).then(own)
    }
}

/// One Ingress.
#[derive(Clone, Debug, Args)]
pub struct IngressArgs {
    /// The Ingress: its name, or NAMESPACE/NAME
    #[arg(value_name = "NAME")]
    pub ingress: IngressName,
    /// Namespace of the Ingress [default: that of the kubeconfig's context]
    #[arg(short = 'n', long, value_parser = namespace)]
    pub namespace: Option<String>,
}

impl IngressArgs {
    /// The key of the Ingress.
    ///
    /// # Errors
    /// `-n` and the name have different namespaces.
    pub fn key(&self, default: &str) -> anyhow::Result<IngressKey> {
        self.ingress.key(self.namespace.as_deref(), default)
    }
}

/// Name of an Ingress, with or without its namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IngressName {
    namespace: Option<String>,
    name: String,
}

impl IngressName {
    /// The key of the Ingress in its own namespace, that of `-n`, or else in `default`.
    ///
    /// # Errors
    /// `-n` and the name have different namespaces: kubectl knows no such order of the two.
    pub fn key(&self, given: Option<&str>, default: &str) -> anyhow::Result<IngressKey> {
        if let (Some(given), Some(own)) = (given, &self.namespace)
            && given != own
        {
            bail!("-n {given} and {own}/{} name different namespaces", self.name);
        }
        let namespace = self.namespace.as_deref().or(given).unwrap_or(default);
        Ok(IngressKey::new(namespace, &self.name))
    }
}

impl FromStr for IngressName {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let own = text.contains('/').then(|| text.parse::<IngressKey>()).transpose()?;
        Ok(match own {
            Some(key) => {
                Self { namespace: Some(key.namespace.to_string()), name: key.name.to_string() }
            }
            None => Self { namespace: None, name: text.to_owned() },
        })
    }
}

/// `--dry-run`, as kubectl has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// Carry the command out.
    #[default]
    None,
    /// Print what would be done, and send nothing that changes anything.
    Client,
    /// Let the API server check the changes, and store none.
    Server,
}

impl DryRun {
    /// Whether anything is changed.
    pub fn is_on(self) -> bool {
        self != Self::None
    }

    /// Words that kubectl puts after what it would have done.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}

/// The flag `--dry-run`.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct DryRunArgs {
    /// Print what would be done, and change nothing. Without a value: client
    #[arg(long, value_enum, value_name = "none|client|server", num_args = 0..=1, require_equals = true,
          default_value_t, default_missing_value = "client", hide_possible_values = true)]
    pub dry_run: DryRun,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str, given: Option<&str>) -> Result<String, String> {
        let name: IngressName = name.parse().map_err(|error: BadKey| error.to_string())?;
        name.key(given, "default").map(|key| key.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_namespace_is_that_of_the_name_or_of_the_flag_or_of_the_context() {
        assert_eq!(key("shop", None).unwrap(), "default/shop");
        assert_eq!(key("shop", Some("web")).unwrap(), "web/shop");
        assert_eq!(key("web/shop", None).unwrap(), "web/shop");
        assert_eq!(key("web/shop", Some("web")).unwrap(), "web/shop");
        let why = key("web/shop", Some("api")).unwrap_err();
        assert_eq!(why, "-n api and web/shop name different namespaces");
        for bad in ["/shop", "web/", "a/b/c", "/"] {
            assert!(key(bad, None).unwrap_err().contains("NAMESPACE/NAME"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_name_and_namespace_make_one_key_or_a_reason(
            name in "[a-z/]{1,6}", given in proptest::option::of("[a-c]"),
        ) {
            let slashes = name.matches('/').count();
            match key(&name, given.as_deref()) {
                Ok(made) if slashes == 0 => {
                    let namespace = given.as_deref().unwrap_or("default");
                    prop_assert_eq!(made, format!("{namespace}/{name}"));
                }
                Ok(made) => {
                    prop_assert_eq!(&made, &name);
                    let fits = given.is_none_or(|given| made.starts_with(&format!("{given}/")));
                    prop_assert!(fits, "{} has another namespace", made);
                }
                Err(_) => prop_assert!(slashes > 0),
            }
        }
    }
}
