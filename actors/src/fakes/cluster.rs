//! Kubernetes in memory: Ingresses with a watch, Secrets with owners, solver Ingresses, Events.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{LocalBoxStream, unfold};
use tokio::sync::mpsc;

use super::ca::inspect;
use crate::domain::announcement::Announcement;
use crate::domain::certificate::{SecretStatus, SecretView};
use crate::domain::failure::FailureClass;
use crate::domain::ingress::{
    IngressClass, IngressKey, IngressRef, IngressView, SecretKey, TlsBlock,
};
use crate::domain::name::DnsName;
use crate::domain::plan::{FILLED_TLS, filled_tls_value};
use crate::domain::routes::SolverIngress;
use crate::ports::{
    Announcer, Clock, IngressChange, IngressSource, Installation, PortError, Routes, Vault,
};

/// A Secret with its data.
#[derive(Clone, Debug)]
pub struct FakeSecret {
    /// What the rules see.
    pub view: SecretView,
    /// `tls.crt`.
    pub chain: String,
    /// UIDs of its owners.
    pub owners: BTreeSet<String>,
}

/// The cluster.
pub struct FakeCluster {
    clock: Rc<dyn Clock>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    ingresses: BTreeMap<IngressKey, IngressView>,
    secrets: BTreeMap<SecretKey, FakeSecret>,
    solver: BTreeMap<String, SolverIngress>,
    announcements: Vec<(IngressKey, Announcement)>,
    watchers: Vec<mpsc::UnboundedSender<IngressChange>>,
    cut: BTreeSet<DnsName>,
    unresolved: BTreeSet<DnsName>,
    calls: HashMap<&'static str, usize>,
    failing: HashMap<&'static str, usize>,
    latency: Duration,
    uids: u64,
}

/// A plain Ingress.
pub fn ingress(namespace: &str, name: &str, hosts: &[&str]) -> IngressView {
    IngressView {
        key: IngressKey::new(namespace, name),
        uid: "".into(),
        class: IngressClass::Default,
        tls: Vec::new(),
        rule_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        annotations: BTreeMap::new(),
        other_issuer: None,
        is_solver: false,
        deleting: false,
    }
}

/// A Secret of somebody else's, with something in it that is no certificate.
pub fn foreign_secret() -> FakeSecret {
    let view = SecretView {
        ours: false,
        is_tls: true,
        immutable: false,
        certificate: Err("no PEM".to_owned()),
        owners: BTreeSet::new(),
        renew: None,
        directory: None,
    };
    FakeSecret { view, chain: "made by hand".to_owned(), owners: BTreeSet::new() }
}

impl FakeCluster {
    /// An empty one.
    pub fn new(clock: Rc<dyn Clock>) -> Self {
        Self { clock, state: RefCell::default() }
    }

    /// Makes or changes an Ingress; its uid stays.
    pub fn apply(&self, mut view: IngressView) {
        let mut state = self.state.borrow_mut();
        let known = state.ingresses.get(&view.key).map(|known| known.uid.clone());
        let fresh = state.uids;
        state.uids += 1;
        view.uid = known.unwrap_or_else(|| format!("uid-{fresh}").into());
        state.ingresses.insert(view.key.clone(), view.clone());
        state.tell(&IngressChange::Applied(view));
    }

    /// Deletes an Ingress, and the Secrets that nobody else owns.
    pub fn delete(&self, key: &IngressKey) {
        let mut state = self.state.borrow_mut();
        let Some(gone) = state.ingresses.remove(key) else { return };
        state.secrets.retain(|_, secret| {
            let owned = secret.owners.remove(&*gone.uid);
            secret.view.owners.remove(&*gone.uid);
            !owned || !secret.owners.is_empty()
        });
        state.tell(&IngressChange::Deleted(key.clone()));
    }

    /// Puts a Secret there, as a user would.
    pub fn put_secret(&self, key: &SecretKey, secret: FakeSecret) {
        self.state.borrow_mut().secrets.insert(key.clone(), secret);
    }

    /// Deletes a Secret, as a user would.
    pub fn delete_secret(&self, key: &SecretKey) {
        self.state.borrow_mut().secrets.remove(key);
    }

    /// A Secret, with its data.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<FakeSecret> {
        self.state.borrow().secrets.get(&SecretKey::new(namespace, name)).cloned()
    }

    /// Names in the certificate of a Secret; empty when there is none.
    pub fn names(&self, namespace: &str, name: &str) -> Vec<String> {
        let names = |secret: FakeSecret| secret.view.certificate.map(|leaf| leaf.names);
        let names = self.secret(namespace, name).and_then(|secret| names(secret).ok());
        names.unwrap_or_default().into_iter().collect()
    }

    /// An Ingress as it is now.
    pub fn view(&self, namespace: &str, name: &str) -> Option<IngressView> {
        self.state.borrow().ingresses.get(&IngressKey::new(namespace, name)).cloned()
    }

    /// Reasons and notes of the Events on an Ingress, in order.
    pub fn announcements(&self, namespace: &str, name: &str) -> Vec<Announcement> {
        let key = IngressKey::new(namespace, name);
        let state = self.state.borrow();
        let on = state.announcements.iter().filter(|(about, _)| *about == key);
        on.map(|(_, announcement)| announcement.clone()).collect()
    }

    /// Hosts that lead to the solver.
    pub fn routed(&self) -> Vec<String> {
        let state = self.state.borrow();
        state.solver.values().flat_map(|one| &one.hosts).map(ToString::to_string).collect()
    }

    /// From now on this host leads elsewhere, whatever the solver Ingresses say; or again to the solver.
    pub fn cut(&self, host: &str, cut: bool) {
        toggle(&mut self.state.borrow_mut().cut, host, cut);
    }

    /// From now on this host does not resolve; or again does.
    pub fn unresolve(&self, host: &str, unresolved: bool) {
        toggle(&mut self.state.borrow_mut().unresolved, host, unresolved);
    }

    /// The next `times` calls of this name fail in passing.
    pub fn fail(&self, call: &'static str, times: usize) {
        self.state.borrow_mut().failing.insert(call, times);
    }

    /// Each call takes this long.
    pub fn set_latency(&self, latency: Duration) {
        self.state.borrow_mut().latency = latency;
    }

    /// How often a port was called by this name.
    pub fn calls(&self, call: &'static str) -> usize {
        self.state.borrow().calls.get(call).copied().unwrap_or(0)
    }

    /// The watch loses its place: everything is listed anew.
    pub fn relist(&self) {
        let mut state = self.state.borrow_mut();
        for change in state.list() {
            state.tell(&change);
        }
    }

    pub(super) fn is_unresolved(&self, host: &DnsName) -> bool {
        self.state.borrow().unresolved.contains(host)
    }

    pub(super) fn leads_to_solver(&self, host: &DnsName) -> bool {
        let state = self.state.borrow();
        !state.cut.contains(host) && state.solver.values().any(|one| one.hosts.contains(host))
    }

    /// Counts a call and lets its time pass.
    pub(super) async fn count(&self, call: &'static str) {
        let latency = self.state.borrow().latency;
        tokio::time::sleep(latency).await;
        *self.state.borrow_mut().calls.entry(call).or_default() += 1;
    }

    pub(super) async fn call(&self, call: &'static str) -> Result<(), PortError> {
        self.count(call).await;
        let mut state = self.state.borrow_mut();
        match state.failing.get_mut(call) {
            Some(times) if *times > 0 => {
                *times -= 1;
                Err(PortError::passing(format!("{call}: 500 on demand")))
            }
            _ => Ok(()),
        }
    }
}

impl State {
    fn tell(&mut self, change: &IngressChange) {
        self.watchers.retain(|watcher| watcher.send(change.clone()).is_ok());
    }

    fn list(&self) -> Vec<IngressChange> {
        let listed = self.ingresses.values().cloned().map(IngressChange::Listed);
        let begins = std::iter::once(IngressChange::ListBegins(None));
        begins.chain(listed).chain([IngressChange::ListEnds(None)]).collect()
    }
}

fn toggle(set: &mut BTreeSet<DnsName>, host: &str, on: bool) {
    let host = DnsName::parse(host).expect("tests use good names");
    if on {
        set.insert(host)
    } else {
        set.remove(&host)
    };
}

impl IngressSource for FakeCluster {
    fn watch(&self) -> LocalBoxStream<'static, IngressChange> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.state.borrow_mut();
        for change in state.list() {
            sender.send(change).expect("the receiver is in the next line");
        }
        state.watchers.push(sender);
        unfold(receiver, async |mut changes| changes.recv().await.map(|change| (change, changes)))
            .boxed_local()
    }
}

#[async_trait(?Send)]
impl Vault for FakeCluster {
    async fn read(&self, secret: &SecretKey) -> Result<SecretStatus, PortError> {
        self.call("read").await?;
        Ok(self.state.borrow().secrets.get(secret).map(|secret| secret.view.clone()))
    }

    async fn install(
        &self,
        key: &SecretKey,
        what: Installation,
    ) -> Result<SecretStatus, PortError> {
        self.call("install").await?;
        let mut state = self.state.borrow_mut();
        if state.secrets.get(key).is_some_and(|there| !there.view.ours && !what.adopt) {
            return Err(PortError::lasting(FailureClass::Conflict, "it is not ours"));
        }
        let owners: BTreeSet<String> =
            what.owners.iter().map(|owner| owner.uid.to_string()).collect();
        let view = SecretView {
            ours: true,
            is_tls: true,
            immutable: false,
            certificate: inspect(&what.chain, &what.key),
            owners: owners.clone(),
            renew: what.renew,
            directory: Some(super::DIRECTORY.to_owned()),
        };
        state
            .secrets
            .insert(key.clone(), FakeSecret { view: view.clone(), chain: what.chain, owners });
        Ok(Some(view))
    }

    async fn set_owners(
        &self,
        key: &SecretKey,
        owners: &BTreeSet<IngressRef>,
    ) -> Result<SecretStatus, PortError> {
        self.call("set_owners").await?;
        let mut state = self.state.borrow_mut();
        let Some(secret) = state.secrets.get_mut(key) else { return Ok(None) };
        secret.owners = owners.iter().map(|owner| owner.uid.to_string()).collect();
        secret.view.owners = secret.owners.clone();
        Ok(Some(secret.view.clone()))
    }

    async fn fill_tls(
        &self,
        ingress: &IngressRef,
        secret: &SecretKey,
        hosts: &BTreeSet<DnsName>,
    ) -> Result<(), PortError> {
        self.call("fill_tls").await?;
        let view = self.state.borrow().ingresses.get(&ingress.key).cloned();
        let Some(mut view) = view.filter(|view| view.uid == ingress.uid) else { return Ok(()) };
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let filled = filled_tls_value(hosts.iter().map(String::as_str));
        view.tls = vec![TlsBlock { hosts, secret_name: Some(secret.name.to_string()) }];
        view.annotations.insert(FILLED_TLS.to_owned(), filled);
        self.apply(view);
        Ok(())
    }
}

#[async_trait(?Send)]
impl Routes for FakeCluster {
    async fn list(&self) -> Result<Vec<SolverIngress>, PortError> {
        self.call("list_routes").await?;
        Ok(self.state.borrow().solver.values().cloned().collect())
    }

    async fn write(&self, ingress: &SolverIngress) -> Result<(), PortError> {
        self.call("write_routes").await?;
        let solver = &mut self.state.borrow_mut().solver;
        if ingress.hosts.is_empty() {
            solver.remove(&ingress.name);
        } else {
            solver.insert(ingress.name.clone(), ingress.clone());
        }
        Ok(())
    }
}

#[async_trait(?Send)]
impl Announcer for FakeCluster {
    fn announce(&self, about: &IngressRef, announcement: Announcement) {
        tracing::debug!(ingress = %about.key, at = %self.clock.now(), ?announcement, "announced");
        self.state.borrow_mut().announcements.push((about.key.clone(), announcement));
    }

    async fn flush(&self) {}
}
