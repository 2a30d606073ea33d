//! What a provider of the catalog is, and how the client of an account is made.

use std::sync::Arc;

use ingress_acme_actors::ports::Clock;
use ingress_acme_dns::dns_update::DnsUpdater;
use ingress_acme_dns::{TxtClient, dns_update};
use kube::Client;

use super::credentials::Credentials;
pub use super::credentials::Key;
use super::records::Writer;

/// A provider.
pub struct Provider {
    /// Value of the key `provider`.
    pub name: &'static str,
    /// Name in texts.
    pub title: &'static str,
    /// Keys of its accounts, beside those of all accounts.
    pub keys: &'static [Key],
    pub(super) make: Make,
}

/// Makes the client of an account, by an adapter of ours.
type MakeOwn = fn(&Credentials, &Cluster) -> Result<Box<dyn Writer>, String>;

/// How the client of an account is made.
pub(super) enum Make {
    /// By the library.
    Library(fn(&Credentials) -> dns_update::Result<DnsUpdater>),
    /// By an adapter of ours.
    Own(MakeOwn),
    /// Not at all: the account grants zones for DNS-PERSIST-01.
    Nothing,
}

/// What adapters of ours need: the operator's namespace, where some providers are objects, and the
/// time.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) client: Client,
    pub(super) namespace: String,
    /// Clock of signatures.
    pub(super) clock: Arc<dyn Clock + Send + Sync>,
}

impl Provider {
    /// Makes the client of an account. Sends no request. `None` for an account that writes nothing.
    pub(super) fn writer(
        &self,
        credentials: &Credentials,
        cluster: &Cluster,
    ) -> Result<Option<Box<dyn Writer>>, String> {
        Ok(match self.make {
            Make::Library(make) => {
                // Without roots the library would panic.
                super::http::client()?;
                let made = make(credentials).map_err(|error| error.to_string())?;
                Some(Box::new(TxtClient::new(made)))
            }
            Make::Own(make) => Some(make(credentials, cluster)?),
            Make::Nothing => None,
        })
    }
}
