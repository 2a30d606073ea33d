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
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use zeroize::Zeroize;

use super::catalog;
use super::credentials::Credentials;
use super::provider::Cluster;
use super::records::{Account, DnsProviders, Loaded, NameLocks, writes_at_once};
use crate::kubernetes::client::scope_watch::{ScopeWatch, Watched, Watching};

/// The DNS accounts of the operator's namespace.
pub struct Accounts {
    /// The accounts as they are now. The first change is the end of the first list, or that no list
    /// is allowed.
    pub accounts: watch::Receiver<Arc<DnsAccounts>>,
    /// Records that are written with them.
    pub records: Rc<dyn DnsRecords>,
    /// Secrets that cannot be used, each again every [`limits::EVENT_REPEAT`].
    pub refused: mpsc::Receiver<RefusedSecret>,
}

/// A Secret that cannot be used as an account.
#[derive(Clone, Debug)]
pub struct RefusedSecret {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// What is wrong with the Secret, without a value of its keys, and what is used meanwhile.
    pub reason: String,
}

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
    let (refusals, refused) = mpsc::channel(limits::DNS_ACCOUNTS);
    let store = Store {
        cluster: Cluster { client, namespace: namespace.to_owned(), clock },
        read: BTreeMap::new(),
        listed: None,
        is_full: false,
        is_listed: false,
        loaded: loaded_sender,
        accounts: accounts_sender,
        refusals,
        metrics: metrics.clone(),
    };
    let watch = tokio::spawn(store.run());
    let records = Rc::new(DnsProviders { loaded, names: NameLocks::default(), watch });
    Accounts { accounts, records, refused }
}

/// A Secret that was read.
struct ReadSecret {
    /// `metadata.resourceVersion`.
    version: Option<String>,
    /// The account of the newest version that can be used; `None` if there is none.
    account: Option<(DnsAccount, Arc<Account>)>,
    /// Why this version cannot be used, if it cannot.
    refusal: Option<RefusedSecret>,
}

/// All Secrets with the label.
struct Store {
    cluster: Cluster,
    read: BTreeMap<String, ReadSecret>,
    /// Secrets of a list that is not complete yet.
    listed: Option<BTreeMap<String, ReadSecret>>,
    /// Whether a Secret was left out, so that the end of another one makes room.
    is_full: bool,
    /// Whether a list was complete, or is not allowed.
    is_listed: bool,
    loaded: watch::Sender<Arc<Loaded>>,
    accounts: watch::Sender<Arc<DnsAccounts>>,
    refusals: mpsc::Sender<RefusedSecret>,
    metrics: Metrics,
}

impl Store {
    async fn run(mut self) {
        let first = Instant::now() + limits::EVENT_REPEAT;
        let mut again = tokio::time::interval_at(first, limits::EVENT_REPEAT);
        loop {
            let labels = Some(format!("{LABEL}=true"));
            let watching = Watching { plural: "DNS accounts", rights: "install.yaml", labels };
            let scope = Some(self.cluster.namespace.as_str().into());
            let mut watch = ScopeWatch::<Secret>::new(&self.cluster.client, &scope, watching);
            loop {
                tokio::select! {
                    watched = watch.next() => if self.take(watched) {
                        break;
                    },
                    // Kubernetes deletes an Event after an hour.
                    _ = again.tick() => self.tell_refused(),
                }
            }
        }
    }

    fn tell_refused(&self) {
        self.read.values().filter_map(|read| read.refusal.as_ref()).for_each(|one| self.tell(one));
    }

    fn tell(&self, refused: &RefusedSecret) {
        let RefusedSecret { name, reason, .. } = refused;
        tracing::warn!(account = name, reason, "a DNS account's Secret cannot be used");
        // With as many waiting, the log and the metric have to do.
        _ = self.refusals.try_send(refused.clone());
    }

    /// Takes an event of the watch. Returns whether all Secrets must be listed again.
    fn take(&mut self, watched: Watched<Secret>) -> bool {
        match watched {
            Watched::Failed(reason) => {
                // Nobody waits for a list that is not allowed.
                if reason == "forbidden" && !std::mem::replace(&mut self.is_listed, true) {
                    self.accounts.send_modify(|_| ());
                }
                return false;
            }
            Watched::Event(watcher::Event::Init) => {
                // A list that broke off has taken some of those that were read before.
                self.read.extend(self.listed.replace(BTreeMap::new()).unwrap_or_default());
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
                let known = known.and_then(|known| known.account);
                let (account, refusal) = self.account(&name, &secret, known);
                if let Some(refusal) = &refusal {
                    self.tell(refusal);
                }
                ReadSecret { version, account, refusal }
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

    /// The account of a Secret, and why this version of the Secret cannot be used. Then the account
    /// stays as it was: an edit with a mistake ends no renewal.
    fn account(
        &self,
        name: &str,
        secret: &Secret,
        known: Option<(DnsAccount, Arc<Account>)>,
    ) -> (Option<(DnsAccount, Arc<Account>)>, Option<RefusedSecret>) {
        let writes = known.as_ref().map(|(_, writing)| writing.writes.clone());
        match usable(name, secret, &self.cluster, writes.unwrap_or_else(writes_at_once)) {
            Ok((account, writing)) => {
                let provider = account.provider.as_str();
                tracing::info!(account = name, provider, "a DNS account is read");
                (Some((account, Arc::new(writing))), None)
            }
            Err(reason) => {
                let refused = refused(name, secret, &reason, known.is_some());
                (known, Some(refused))
            }
        }
    }

    fn publish(&mut self) {
        let usable = self.read.values().filter_map(|read| read.account.as_ref());
        let accounts: Vec<_> = usable.clone().map(|(account, _)| account.clone()).collect();
        let writing = usable.map(|(account, writing)| (account.name.clone(), writing.clone()));
        let writing: BTreeMap<_, _> = writing.collect();
        let wrong = self.read.values().filter(|read| read.refusal.is_some()).count();
        self.metrics.dns_accounts(accounts.len(), wrong);
        // The writers first, so that no account is named without its writer.
        self.loaded.send_replace(Arc::new(Loaded { writing }));
        let accounts = DnsAccounts::new(accounts);
        let is_first = !std::mem::replace(&mut self.is_listed, true);
        self.accounts.send_if_modified(|known| {
            let is_new = **known != accounts;
            if is_new {
                *known = Arc::new(accounts);
            }
            is_new || is_first
        });
    }
}

fn refused(name: &str, secret: &Secret, reason: &str, is_kept: bool) -> RefusedSecret {
    let meanwhile = if is_kept {
        "until it is mended, the account is used as it was, and a process that starts cannot use it"
    } else {
        "there is no such account until it is mended"
    };
    let uid = secret.metadata.uid.clone().unwrap_or_default();
    let reason = format!("This Secret cannot be used as a DNS account: {reason}; {meanwhile}");
    RefusedSecret { name: name.to_owned(), uid, reason }
}

/// Reads a Secret as the account that the operator would have of it after a start.
///
/// # Errors
/// The fault of the Secret, without a value of its keys.
pub(crate) fn account_of(
    secret: &Secret,
    client: &Client,
    clock: Arc<dyn Clock + Send + Sync>,
) -> Result<DnsAccount, String> {
    let metadata = &secret.metadata;
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let cluster = Cluster { client: client.clone(), namespace, clock };
    let name = metadata.name.as_deref().unwrap_or_default();
    usable(name, secret, &cluster, writes_at_once()).map(|(account, _)| account)
}

/// Reads a Secret as an account. No value of the provider's keys is in the error.
fn usable(
    name: &str,
    secret: &Secret,
    cluster: &Cluster,
    writes: Arc<Semaphore>,
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
    let (name, title) = (account.provider.clone(), provider.title);
    Ok((account, Account { provider: name, title, writer, redaction, writes }))
}
