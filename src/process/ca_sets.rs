//! Clients of the CAs of `--cas-file`, at the start and after each change of the file.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, RwLock};

use anyhow::Context;
use futures_util::future::join_all;
use ingress_acme_actors::cas::{CaClient, CaSet};
use ingress_acme_actors::domain::cas::{Ca, Cas};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::said::Said;
use ingress_acme_actors::ports::{AccountStore, Clock, StoredAccount};
use ingress_acme_actors::reporting::metrics::Metrics;
use kube::Client;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::cas_file;
use super::key_changes::follow;
use super::public_ca::{is_trusted_by_browsers, public_ca};
use crate::acme::fallback_account::FallbackAccount;
use crate::acme::proxy::is_proxied;
use crate::acme::shared_key::SharedKey;
use crate::acme::{Acme, AcmeOptions, TrustError, Wire};
use crate::commands::cli::{GuardsArg, PublicCaArg};
use crate::dns_and_http::solver::Thumbprint;
use crate::kubernetes::account_secret::AccountSecret;
use crate::pki::Issuers;

/// Name under which the shared account key is stored, in place of a directory.
const SHARED: &str = "--cas-file";

/// Everything that clients are built from.
#[derive(Clone)]
pub struct CaBuilder {
    /// Client for the cluster.
    pub client: Client,
    /// The operator's own namespace.
    pub namespace: String,
    /// Way of the requests to the CAs.
    pub wire: Wire,
    /// Counters.
    pub metrics: Metrics,
    /// Thumbprint that challenges are answered with.
    pub thumbprint: Thumbprint,
    /// `--public-ca`.
    pub public_ca: PublicCaArg,
}

/// A client, and what it was built from.
#[derive(Clone)]
struct Built {
    from: Ca,
    acme: Rc<Acme>,
    /// Name of the CA in metrics.
    name: Arc<RwLock<String>>,
}

/// The CAs of the file.
pub struct FileCas {
    path: PathBuf,
    builder: CaBuilder,
    key: Rc<SharedKey>,
    built: RefCell<BTreeMap<String, Built>>,
    /// The CAs as they were read last.
    read: RefCell<Cas>,
    sets: watch::Sender<Rc<CaSet>>,
    /// Issuers whose certificates count as those of the CAs.
    issuers: Rc<RefCell<Issuers>>,
    clock: Arc<dyn Clock + Send + Sync>,
    /// Called with the reason why a changed file is not used.
    refused: Box<dyn Fn(&str)>,
}

/// Returns the store of the account key that all CAs share.
pub(crate) fn shared_key(client: &Client, namespace: &str, cas: &Cas) -> SharedKey {
    let shared = Rc::new(shared_secret(client, namespace));
    SharedKey::new(shared, accounts_of_flags(client, namespace, cas))
}

/// The Secret of the account key of `--cas-file`.
pub(crate) fn shared_secret(client: &Client, namespace: &str) -> AccountSecret {
    AccountSecret::new(client.clone(), namespace, SHARED, None)
}

/// Prints a hint of a command without `--cas-file` beside a key that CAs of a file share, where the
/// command shows another one. Where that is not known, there is none: the command only looks.
pub(crate) async fn hint_at_the_file(client: &Client, namespace: &str, own: &StoredAccount) {
    let secret = shared_secret(client, namespace);
    let Ok(Some(shared)) = secret.load().await else { return };
    if shared.key != own.key {
        eprintln!(
            "ingress-acme: Secret {namespace}/{} has another account key, which the CAs of --cas-file share: give this command \
             --cas-file too, if the operator has a file",
            secret.name()
        );
    }
}

/// Accounts of the CAs as flags store them.
fn accounts_of_flags(client: &Client, namespace: &str, cas: &Cas) -> Vec<Rc<dyn AccountStore>> {
    let secret = |ca: &Ca| -> Rc<dyn AccountStore> {
        Rc::new(AccountSecret::new(client.clone(), namespace, &ca.directory, None))
    };
    cas.all().map(secret).collect()
}

/// Store of the account of one CA, with the shared key.
pub(crate) fn account_of(
    client: &Client,
    namespace: &str,
    ca: &Ca,
    key: &Rc<dyn AccountStore>,
) -> Rc<dyn AccountStore> {
    let external = ca.external_account.clone();
    let external = AccountSecret::new(client.clone(), namespace, &ca.directory, external);
    Rc::new(FallbackAccount::of_shared(&ca.directory, key.clone(), Rc::new(external)))
}

impl CaBuilder {
    fn client(&self, ca: &Ca, key: &Rc<dyn AccountStore>) -> Result<Built, TrustError> {
        let name = Arc::new(RwLock::new(ca.name.clone()));
        let (metrics, thumbprint, label) =
            (self.metrics.clone(), self.thumbprint.clone(), name.clone());
        let options = AcmeOptions {
            directory: ca.directory.clone(),
            extra_roots: ca.roots.clone(),
            preferred_chain: ca.preferred_chain.clone(),
            contacts: ca.contact.iter().cloned().collect(),
            wire: self.wire.clone(),
            hook: Arc::new(move |endpoint, code, took| {
                let name = label.read().map(|name| name.clone()).unwrap_or_default();
                metrics.acme_request(&name, endpoint, code, took);
            }),
            answering: Rc::new(move |new| thumbprint.set(new)),
        };
        let account = account_of(&self.client, &self.namespace, ca, key);
        Ok(Built { from: ca.clone(), acme: Rc::new(Acme::new(options, account)?), name })
    }
}

impl FileCas {
    /// Reads the file and builds the clients. Sends no request yet.
    pub fn new(
        path: PathBuf,
        builder: CaBuilder,
        clock: Arc<dyn Clock + Send + Sync>,
        refused: Box<dyn Fn(&str)>,
    ) -> anyhow::Result<Self> {
        let cas = cas_file::read(&path)?;
        let key = Rc::new(shared_key(&builder.client, &builder.namespace, &cas));
        let sets = watch::Sender::new(Rc::new(CaSet::default()));
        let (built, read) = (RefCell::default(), RefCell::new(cas.clone()));
        let issuers = Rc::new(RefCell::new(Issuers::Any));
        let file = Self { path, builder, key, built, read, sets, issuers, clock, refused };
        let set = file.set(cas)?;
        file.sets.send_replace(Rc::new(set));
        Ok(file)
    }

    /// The CAs, now and after each change.
    pub fn sets(&self) -> watch::Receiver<Rc<CaSet>> {
        self.sets.subscribe()
    }

    /// Issuers of the certificates of all CAs.
    pub fn issuers(&self) -> Rc<RefCell<Issuers>> {
        self.issuers.clone()
    }

    /// Text for people: the directory of the first CA, and the number of the others.
    pub fn shown(&self) -> String {
        let read = self.read.borrow();
        format!("{} and {} more, by --cas-file", read.first.directory, read.others.len())
    }

    /// The ACME client of the first CA, and those of the others.
    pub fn acmes(&self) -> Option<(Rc<Acme>, Vec<Rc<Acme>>)> {
        let (built, first) = (self.built.borrow(), self.read.borrow().first.directory.clone());
        let others = built.iter().filter(|(directory, _)| **directory != first);
        Some((built.get(&first)?.acme.clone(), others.map(|(_, one)| one.acme.clone()).collect()))
    }

    fn acmes_built(&self) -> BTreeMap<String, Rc<Acme>> {
        let built = self.built.borrow();
        built.iter().map(|(directory, one)| (directory.clone(), one.acme.clone())).collect()
    }

    /// Builds the clients that are missing, and drops those of CAs that have left the file.
    fn set(&self, cas: Cas) -> anyhow::Result<CaSet> {
        let (mut built, key) = (BTreeMap::new(), self.key.clone() as Rc<dyn AccountStore>);
        for ca in cas.all() {
            let former = self.built.borrow().get(&ca.directory).cloned();
            let kept = former.filter(|former| is_same_client(&former.from, ca));
            let one = if let Some(kept) = kept {
                if let Ok(mut name) = kept.name.write() {
                    name.clone_from(&ca.name);
                }
                kept
            } else {
                let built = self.builder.client(ca, &key);
                built.with_context(|| {
                    format!("CA `{}`, as the file of --cas-file has it", ca.name)
                })?
            };
            built.insert(ca.directory.clone(), one);
        }
        let clients = built.iter().map(|(directory, one)| {
            let through_proxy = is_proxied(directory);
            let guards = cas.at(directory).and_then(|ca| ca.guards);
            let guards = guards.unwrap_or_else(|| GuardsArg::Auto.are_on(directory));
            (directory.clone(), CaClient { ca: one.acme.clone(), through_proxy, guards })
        });
        let clients = clients.collect();
        *self.built.borrow_mut() = built;
        let are_trusted = cas.all().all(|ca| is_trusted_by_browsers(&ca.directory));
        *self.issuers.borrow_mut() =
            if are_trusted { Issuers::public(self.clock.clone()) } else { Issuers::Any };
        Ok(CaSet { cas: Rc::new(cas), clients })
    }

    /// Completes the CAs before the work begins. A standby has not followed the file.
    pub async fn begin(&self) -> anyhow::Result<()> {
        let last = self.read.borrow().clone();
        if let Ok(newest) = cas_file::read(&self.path)
            && self.put_to_use(newest).await.is_ok()
        {
            return Ok(());
        }
        self.put_to_use(last).await // why the newest is not used is told soon
    }

    /// Follows the file forever. A bad one changes nothing, and is told once.
    pub async fn follow(&self) {
        let mut said = Said::default();
        loop {
            sleep(limits::CAS_LOOK).await;
            match self.look().await {
                Ok(()) => said.has_ended(&()),
                Err(error) => {
                    let why = format!("{error:#}");
                    if said.is_news((), why.clone()) {
                        warn!(%why, "the file of --cas-file is not used; the CAs stay as they are");
                        self.builder.metrics.cas_refused();
                        (self.refused)(&why);
                    }
                }
            }
        }
    }

    async fn look(&self) -> anyhow::Result<()> {
        let cas = cas_file::read(&self.path)?;
        if cas == *self.read.borrow() {
            self.builder.metrics.cas_good();
            return Ok(());
        }
        self.put_to_use(cas).await
    }

    async fn put_to_use(&self, cas: Cas) -> anyhow::Result<()> {
        let known = self.acmes_built();
        let decided = decided(cas.clone(), self.builder.public_ca).await;
        let set = self.set(decided)?;
        let CaBuilder { client, namespace, .. } = &self.builder;
        self.key.now_beside(accounts_of_flags(client, namespace, &cas));
        *self.read.borrow_mut() = cas;
        let built = self.acmes_built();
        for (directory, acme) in new_clients(&known, &built) {
            if !known.contains_key(directory) {
                info!(directory, "a CA has joined the file of --cas-file");
            }
            actix::spawn(follow(Rc::downgrade(acme)));
        }
        self.sets.send_replace(Rc::new(set));
        Ok(())
    }
}

/// Finds out which CAs are public, where the file does not say so. All names are resolved at once:
/// one that does not resolve holds up no other.
pub(crate) async fn decided(mut cas: Cas, chosen: PublicCaArg) -> Cas {
    let looked_up = cas.all_mut().filter(|ca| ca.public.is_none()).map(async |ca| {
        ca.public = Some(public_ca(chosen, &ca.directory).await);
    });
    join_all(looked_up).await;
    cas
}

/// The CAs of a file, and a client for each, for commands other than `run`. Registers nothing and
/// counts no requests.
pub struct CasOfCommand {
    /// The account key that all of them share.
    pub key: Rc<dyn AccountStore>,
    /// The CAs, in order.
    pub all: Vec<(Ca, Acme)>,
}

/// Reads the file of `--cas-file` for a command. Sends no request yet.
pub fn cas_of_a_command(
    client: &Client,
    namespace: &str,
    path: &Path,
) -> anyhow::Result<CasOfCommand> {
    CasOfCommand::of(client, namespace, &cas_file::read(path)?)
}

impl CasOfCommand {
    /// Builds the clients of these CAs. Sends no request yet.
    pub(crate) fn of(client: &Client, namespace: &str, cas: &Cas) -> anyhow::Result<Self> {
        let key: Rc<dyn AccountStore> = Rc::new(shared_key(client, namespace, cas).looking());
        let made = cas.all().map(|ca| {
            let options = AcmeOptions {
                directory: ca.directory.clone(),
                extra_roots: ca.roots.clone(),
                preferred_chain: None,
                contacts: Vec::new(),
                wire: Wire::Tls,
                hook: Arc::new(|_, _, _| {}),
                answering: Rc::new(|_| {}),
            };
            let account = account_of(client, namespace, ca, &key);
            Ok((ca.clone(), Acme::new(options, account)?))
        });
        let all = made.collect::<anyhow::Result<_>>()?;
        Ok(Self { key, all })
    }
}

/// The clients that were not there before. One of another contact, root or external account is new,
/// though its CA is not: nobody follows the account key for that client yet.
fn new_clients<'a, T>(
    before: &'a BTreeMap<String, Rc<T>>,
    now: &'a BTreeMap<String, Rc<T>>,
) -> impl Iterator<Item = (&'a String, &'a Rc<T>)> {
    let is_same = |(directory, one): &(&String, &Rc<T>)| {
        before.get(*directory).is_some_and(|had| Rc::ptr_eq(had, one))
    };
    now.iter().filter(move |one| !is_same(one))
}

/// Whether the client of one serves the other, whose name and rules may differ.
fn is_same_client(one: &Ca, other: &Ca) -> bool {
    let of = |ca: &Ca| {
        let Ca { directory, roots, external_account, contact, preferred_chain, .. } = ca.clone();
        (directory, roots, external_account, contact, preferred_chain)
    };
    of(one) == of(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_was_rebuilt_is_as_new_as_that_of_a_new_ca() {
        let (kept, rebuilt) = (Rc::new(()), Rc::new(()));
        let of = |all: &[(&str, &Rc<()>)]| -> BTreeMap<String, Rc<()>> {
            all.iter().map(|&(directory, one)| (directory.to_owned(), one.clone())).collect()
        };
        let before = of(&[("a", &kept), ("b", &kept), ("gone", &kept)]);
        let now = of(&[("a", &kept), ("b", &rebuilt), ("c", &kept)]);
        let new: Vec<_> = new_clients(&before, &now).map(|(directory, _)| &**directory).collect();
        assert_eq!(new, ["b", "c"]);
    }
}
