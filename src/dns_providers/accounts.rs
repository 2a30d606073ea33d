//! DNS accounts: a watch of the labelled Secrets in the operator's namespace. A changed Secret is
//! read again at once, and one that cannot be used leaves the others working.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use ingress_acme_actors::domain::dns::account::{DnsAccount, DnsAccounts};
use ingress_acme_actors::domain::dns::account_secret::{self, LABEL};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::ports::{Clock, DnsRecords};
use ingress_acme_actors::reporting::metrics::Metrics;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::runtime::watcher;
use tokio::sync::watch;
use zeroize::Zeroize;

use super::catalog;
use super::credentials::Credentials;
use super::provider::Cluster;
use super::records::{Account, DnsProviders, Lanes, Loaded};
use crate::kubernetes::client::scope_watch::{ScopeWatch, Watched, Watching};

/// The DNS accounts as they are now, and the records that are written with them.
pub type Accounts = (watch::Receiver<Arc<DnsAccounts>>, Rc<dyn DnsRecords>);

/// Starts the watch of the accounts in the operator's namespace on the current runtime. The watch
/// ends with the records.
pub fn dns_accounts(
    client: Client,
    namespace: &str,
    clock: Arc<dyn Clock + Send + Sync>,
    metrics: &Metrics,
) -> Accounts {
    let (loaded_sender, loaded) = watch::channel(Arc::default());
    let (accounts_sender, accounts) = watch::channel(Arc::default());
    let store = Store {
        cluster: Cluster { client, namespace: namespace.to_owned(), clock },
        read: BTreeMap::new(),
        listed: None,
        is_full: false,
        loaded: loaded_sender,
        accounts: accounts_sender,
        metrics: metrics.clone(),
    };
    let watch = tokio::spawn(store.run());
    (accounts, Rc::new(DnsProviders { loaded, watch }))
}

/// A Secret that was read.
struct ReadSecret {
    /// `metadata.resourceVersion`.
    version: Option<String>,
    /// `None` if it cannot be used.
    account: Option<(DnsAccount, Arc<Account>)>,
}

/// All Secrets with the label.
struct Store {
    cluster: Cluster,
    read: BTreeMap<String, ReadSecret>,
    /// Secrets of a list that is not complete yet.
    listed: Option<BTreeMap<String, ReadSecret>>,
    /// Whether a Secret was left out, so that the end of another one makes room.
    is_full: bool,
    loaded: watch::Sender<Arc<Loaded>>,
    accounts: watch::Sender<Arc<DnsAccounts>>,
    metrics: Metrics,
}

impl Store {
    async fn run(mut self) {
        loop {
            let labels = Some(format!("{LABEL}=true"));
            let watching = Watching { plural: "DNS accounts", rights: "install.yaml", labels };
            let scope = Some(self.cluster.namespace.as_str().into());
            let mut watch = ScopeWatch::<Secret>::new(&self.cluster.client, &scope, watching);
            while !self.take(watch.next().await) {}
        }
    }

    /// Takes an event of the watch. Returns whether all Secrets must be listed again.
    fn take(&mut self, watched: Watched<Secret>) -> bool {
        match watched {
            Watched::Failed(_) => return false,
            Watched::Event(watcher::Event::Init) => {
                self.listed = Some(BTreeMap::new());
                self.is_full = false;
                return false;
            }
            Watched::Event(watcher::Event::InitApply(secret)) => {
                self.apply(secret);
                return false;
            }
            Watched::Event(watcher::Event::InitDone) => {
                self.read = self.listed.take().unwrap_or_default();
            }
            Watched::Event(watcher::Event::Apply(secret)) => self.apply(secret),
            Watched::Event(watcher::Event::Delete(secret)) => {
                let name = secret.metadata.name.unwrap_or_default();
                if self.read.remove(&name).is_some() {
                    tracing::info!(account = name, "a DNS account is gone");
                }
                if self.is_full {
                    return true;
                }
            }
        }
        self.publish();
        false
    }

    fn apply(&mut self, mut secret: Secret) {
        let name = secret.metadata.name.clone().unwrap_or_default();
        let version = secret.metadata.resource_version.clone();
        let known = self.read.remove(&name);
        let read = match known {
            // A list names again what has not changed.
            Some(known) if known.version.is_some() && known.version == version => known,
            known => {
                let lanes = known.and_then(|known| Some(known.account?.1.lanes.clone()));
                let account = self.account(&name, &secret, lanes.unwrap_or_default());
                ReadSecret { version, account }
            }
        };
        for value in secret.data.iter_mut().flat_map(BTreeMap::values_mut) {
            value.0.zeroize();
        }
        let all = self.listed.as_mut().unwrap_or(&mut self.read);
        if all.len() >= limits::DNS_ACCOUNTS {
            let most = limits::DNS_ACCOUNTS;
            tracing::warn!(
                account = name,
                most,
                "a DNS account is not read, because there are too many"
            );
            self.is_full = true;
            return;
        }
        all.insert(name, read);
    }

    fn account(
        &self,
        name: &str,
        secret: &Secret,
        lanes: Arc<Lanes>,
    ) -> Option<(DnsAccount, Arc<Account>)> {
        match usable(name, secret, &self.cluster, lanes) {
            Ok((account, writing)) => {
                let provider = account.provider.as_str();
                tracing::info!(account = name, provider, "a DNS account is read");
                Some((account, Arc::new(writing)))
            }
            Err(reason) => {
                tracing::warn!(
                    account = name,
                    reason,
                    "a DNS account cannot be used; edit its Secret"
                );
                None
            }
        }
    }

    fn publish(&self) {
        let usable = self.read.values().filter_map(|read| read.account.as_ref());
        let accounts: Vec<_> = usable.clone().map(|(account, _)| account.clone()).collect();
        let writing = usable.map(|(account, writing)| (account.name.clone(), writing.clone()));
        let writing: BTreeMap<_, _> = writing.collect();
        self.metrics.dns_accounts(accounts.len(), self.read.len() - accounts.len());
        // The writers first, so that no account is named without its writer.
        self.loaded.send_replace(Arc::new(Loaded { writing }));
        let accounts = DnsAccounts::new(accounts);
        self.accounts.send_if_modified(|known| {
            let is_new = **known != accounts;
            if is_new {
                *known = Arc::new(accounts);
            }
            is_new
        });
    }
}

/// Reads a Secret as an account. No value of the provider's keys is in the error.
fn usable(
    name: &str,
    secret: &Secret,
    cluster: &Cluster,
    lanes: Arc<Lanes>,
) -> Result<(DnsAccount, Account), String> {
    let data = secret.data.iter().flatten();
    let data = data.map(|(key, value)| (key.as_str(), value.0.as_slice()));
    let data = account_secret::text(data).map_err(|wrong| wrong.to_string())?;
    let version = secret.metadata.resource_version.as_deref().unwrap_or_default();
    let account = account_secret::account(name, version, &data);
    let account = account.map_err(|wrong| wrong.to_string())?;
    let provider = catalog::find(&account.provider).ok_or_else(|| {
        format!("its provider `{}` is not known; docs/dns.md lists all", account.provider)
    })?;
    let credentials = Credentials::read(provider.keys, &data)?;
    let redaction = credentials.redaction();
    let writer = provider.writer(&credentials, cluster);
    let writer = writer.map_err(|wrong| redaction.redact(&wrong))?;
    Ok((account, Account { provider: provider.title, writer, redaction, lanes }))
}
