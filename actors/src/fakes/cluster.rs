//! In-memory Kubernetes: Ingresses with a watch, Secrets with owners, solver Ingresses, Events.

mod distortion;
mod ports;
mod routes;
mod secret_watch;

pub use ports::OfInstall;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::DIRECTORY;
use super::keys::inspect;
use crate::domain::caa::{CaaRecord, CaaSet, climb};
use crate::domain::certificate::{CertificateView, PrivateKey, SecretView};
use crate::domain::controllers::{ClassView, ControllerRule};
use crate::domain::copied::Copied;
use crate::domain::failure::FailureClass;
use crate::domain::hash::stable_hash;
use crate::domain::ingress::{
    Edition, FILLED_TLS, IngressClass, IngressKey, IngressView, SecretKey, TlsBlock,
};
use crate::domain::issuance::OverIpv6;
use crate::domain::name::DnsName;
use crate::domain::routes::{SolverIngress, SolverName};
use crate::domain::rule_host::RuleHost;
use crate::domain::status::kube_event::KubeEvent;
use crate::domain::time::Timestamp;
use crate::ports::{Clock, IngressChange, PortError, SecretChange};
pub use distortion::Distortion;
use distortion::{Distortions, listed};

/// Calls that do not go to the API server.
const OF_THE_CA: [&str; 7] =
    ["open_order", "renewal_info", "refresh", "accept", "finalize", "download", "probe"];

/// A Secret with its data.
#[derive(Clone, Debug)]
pub struct FakeSecret {
    /// The domain's view of the Secret.
    pub view: SecretView,
    /// `tls.crt`.
    pub chain: String,
    /// UIDs of its owners.
    pub owners: BTreeSet<String>,
    /// Install that its annotation names.
    pub install: Option<String>,
}

impl FakeSecret {
    /// The view of the install `id`.
    fn seen_by(&self, id: &str) -> SecretView {
        let other = self.install.as_ref().filter(|install| *install != id);
        let other_install = other.filter(|_| self.view.ours).cloned();
        let ours = self.view.ours && other_install.is_none();
        SecretView { ours, other_install, ..self.view.clone() }
    }
}

/// Fake cluster.
pub struct FakeCluster {
    clock: Rc<dyn Clock>,
    state: RefCell<ClusterState>,
}

#[derive(Default)]
struct ClusterState {
    ingresses: BTreeMap<IngressKey, IngressView>,
    secrets: BTreeMap<SecretKey, FakeSecret>,
    /// Solver Ingresses by install and name.
    solver: BTreeMap<(&'static str, SolverName), SolverIngress>,
    /// Namespaces of users that have the solver's Service.
    services: BTreeSet<String>,
    classes: Vec<ClassView>,
    events: Vec<(IngressKey, KubeEvent)>,
    /// Times of all Events that were sent, also of those that were sent again.
    event_times: Vec<(IngressKey, Timestamp)>,
    watchers: Vec<mpsc::UnboundedSender<IngressChange>>,
    secret_watchers: Vec<mpsc::UnboundedSender<SecretChange>>,
    secret_watch_fails: bool,
    cut: BTreeSet<DnsName>,
    /// Hosts for which another Ingress has a rule.
    named: BTreeSet<DnsName>,
    /// Secrets whose certificate is not of the CA, though they have our label.
    forged: BTreeSet<SecretKey>,
    /// Ingresses whose `spec.tls` another manager has applied too.
    co_owned: BTreeSet<IngressKey>,
    unresolved: BTreeSet<DnsName>,
    /// Hosts with private addresses only.
    inside: BTreeSet<DnsName>,
    /// Answers over IPv6.
    over_ipv6: BTreeMap<DnsName, OverIpv6>,
    doubted: BTreeSet<DnsName>,
    /// `issue` records by domain; `None` where the nameserver fails.
    caa: BTreeMap<String, Option<Vec<CaaRecord>>>,
    calls: HashMap<&'static str, usize>,
    failing: HashMap<&'static str, usize>,
    /// Refusal of every write of a Secret, by namespace.
    refused_secrets: HashMap<&'static str, &'static str>,
    /// Calls that the operator has no right to.
    forbidden: BTreeSet<&'static str>,
    latency: Duration,
    /// The API server answers HTTP 429.
    busy: bool,
    uids: u64,
    distortions: Distortions,
}

/// Builds an Ingress without `spec.tls`.
pub fn ingress(namespace: &str, name: &str, hosts: &[&str]) -> IngressView {
    IngressView {
        key: IngressKey::new(namespace, name),
        uid: "".into(),
        created: Timestamp::default(),
        class: IngressClass::Default,
        tls: Vec::new(),
        tls_left_out: 0,
        rule_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        has_hostless_rule: false,
        annotations: BTreeMap::new(),
        long_annotations: Vec::new(),
        copied: Copied::default(),
        aliases: Vec::new(),
        mark: None,
        is_master: false,
        is_solver: false,
        deleting: false,
        edition: Edition::default(),
        generation: 0,
        routed: None,
    }
}

/// Builds an Ingress whose `spec.tls` contains all hosts, and a Secret with the name of the
/// Ingress.
pub fn named(namespace: &str, name: &str, hosts: &[&str]) -> IngressView {
    let tls = with_tls(name, name, hosts).tls;
    IngressView { tls, ..ingress(namespace, name, hosts) }
}

/// Builds an Ingress in namespace `web` whose `spec.tls` contains all hosts and the Secret
/// `secret`.
pub fn with_tls(name: &str, secret: &str, hosts: &[&str]) -> IngressView {
    let tls = TlsBlock {
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        secret_name: Some(secret.to_owned()),
    };
    IngressView { tls: vec![tls], ..ingress("web", name, hosts) }
}

/// Builds the Ingress `web/shop` with host `a.example.com` and the Secret `shop` in `spec.tls`.
pub fn shop() -> IngressView {
    with_tls("shop", "shop", &["a.example.com"])
}

/// Reasons of the Events, oldest first.
pub fn reasons(events: &[KubeEvent]) -> Vec<&'static str> {
    events.iter().map(|event| event.reason).collect()
}

/// Builds a Secret that is not managed by ingress-acme and contains no certificate.
pub fn foreign_secret() -> FakeSecret {
    let view = SecretView {
        ours: false,
        other_install: None,
        other_issuer: None,
        untrusted: false,
        is_tls: true,
        immutable: false,
        certificate: Err("no PEM".to_owned()),
        owners: BTreeSet::new(),
        renew: None,
        directory: None,
        ca: None,
        instead_of: None,
        account: None,
        copied: None,
    };
    FakeSecret { view, chain: "made by hand".to_owned(), owners: BTreeSet::new(), install: None }
}

/// Builds a Secret as written by the operator, with a chain and key of the fake CA.
pub fn our_secret(chain: &str, key: &str) -> FakeSecret {
    let view = SecretView {
        ours: true,
        certificate: inspect(chain, &PrivateKey::from_pem(key.to_owned())),
        directory: Some(DIRECTORY.to_owned()),
        ..foreign_secret().view
    };
    FakeSecret { view, chain: chain.to_owned(), owners: BTreeSet::new(), install: None }
}

impl FakeCluster {
    /// Creates an empty cluster.
    pub fn new(clock: Rc<dyn Clock>) -> Self {
        Self { clock, state: RefCell::default() }
    }

    /// Creates or updates an Ingress; an update keeps the UID and the time of creation. A view
    /// without an edition gets that of its fields.
    pub fn apply(&self, mut view: IngressView) {
        let mut state = self.state.borrow_mut();
        let known = state.ingresses.get(&view.key).map(|known| (known.uid.clone(), known.created));
        let fresh = state.uids;
        state.uids += 1;
        let is_dated = view.created != Timestamp::default();
        let created = if is_dated { view.created } else { self.clock.now() };
        view.generation = state.ingresses.get(&view.key).map_or(1, |known| known.generation + 1);
        (view.uid, view.created) =
            known.unwrap_or_else(|| (format!("uid-{fresh}").into(), created));
        if view.edition == Edition::default() {
            let marks: Vec<_> =
                view.annotations.iter().filter(|(name, _)| *name != FILLED_TLS).collect();
            view.edition = Edition(stable_hash((&view.class, &view.rule_hosts, marks)));
        }
        let key = view.key.clone();
        let before = (key.clone(), state.ingresses.insert(key, view.clone()));
        state.changed(IngressChange::Applied(view), before);
    }

    /// Adds an ingress class whose controller has this rule.
    pub fn add_class(&self, name: &str, rule: Option<&'static ControllerRule>) {
        let class = ClassView { name: name.into(), is_default: false, rule };
        self.state.borrow_mut().classes.push(class);
    }

    /// Installs cert-manager into the cluster, or removes it.
    pub fn install_cert_manager(&self, is_there: bool) {
        self.state.borrow_mut().notify(&IngressChange::CertManager(is_there));
    }

    /// Deletes an Ingress, and the Secrets without any other owner.
    pub fn delete(&self, key: &IngressKey) {
        let mut state = self.state.borrow_mut();
        let Some(gone) = state.ingresses.remove(key) else { return };
        let before = (key.clone(), Some(gone.clone()));
        let mut deleted = Vec::new();
        state.secrets.retain(|key, secret| {
            let owned = secret.owners.remove(&*gone.uid);
            secret.view.owners.remove(&*gone.uid);
            let is_kept = !owned || !secret.owners.is_empty();
            if !is_kept {
                deleted.push(key.clone());
            }
            is_kept
        });
        for secret in deleted {
            state.report(&SecretChange::Deleted(None, secret));
        }
        state.changed(IngressChange::Deleted(key.clone()), before);
    }

    /// Creates or replaces a Secret, like a user.
    pub fn put_secret(&self, key: &SecretKey, secret: FakeSecret) {
        let mut state = self.state.borrow_mut();
        state.before_write(key);
        state.secrets.insert(key.clone(), secret);
        state.report(&SecretChange::Applied(None));
    }

    /// Sets the annotation `ingress-acme.dev/install` of a Secret, like a user.
    ///
    /// # Panics
    /// When there is no such Secret.
    pub fn hand_over(&self, key: &SecretKey, install: &str) {
        if let Some(secret) = self.state.borrow_mut().secrets.get_mut(key) {
            secret.install = Some(install.to_owned());
        }
    }

    /// Deletes a Secret, like a user.
    pub fn delete_secret(&self, key: &SecretKey) {
        let mut state = self.state.borrow_mut();
        state.before_write(key);
        state.secrets.remove(key);
        state.report(&SecretChange::Deleted(None, key.clone()));
    }

    /// Returns a Secret with its data.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<FakeSecret> {
        self.state.borrow().secrets.get(&SecretKey::new(namespace, name)).cloned()
    }

    /// Certificates in the Secrets that the install `id` manages.
    pub(super) fn certificates(&self, id: &str) -> Vec<(SecretKey, CertificateView)> {
        let state = self.state.borrow();
        let seen = state.secrets.iter().map(|(key, secret)| (key.clone(), secret.seen_by(id)));
        let ours = seen.filter(|(_, view)| view.ours);
        ours.filter_map(|(key, view)| Some((key, view.certificate.ok()?))).collect()
    }

    /// Names in a Secret's certificate; empty without one.
    pub fn names(&self, namespace: &str, name: &str) -> Vec<String> {
        let names = |secret: FakeSecret| secret.view.certificate.map(|leaf| leaf.names);
        let names = self.secret(namespace, name).and_then(|secret| names(secret).ok());
        names.unwrap_or_default().into_iter().collect()
    }

    /// Returns the current state of an Ingress.
    pub fn view(&self, namespace: &str, name: &str) -> Option<IngressView> {
        self.state.borrow().ingresses.get(&IngressKey::new(namespace, name)).cloned()
    }

    /// Events about an Ingress, oldest first.
    pub fn events(&self, namespace: &str, name: &str) -> Vec<KubeEvent> {
        let key = IngressKey::new(namespace, name);
        let state = self.state.borrow();
        let on = state.events.iter().filter(|(about, _)| *about == key);
        on.map(|(_, kube_event)| kube_event.clone()).collect()
    }

    /// Times at which an Event of any Ingress was sent, for the first time or again.
    pub fn event_times(&self) -> Vec<(IngressKey, Timestamp)> {
        self.state.borrow().event_times.clone()
    }

    /// Number of Events so far, without those that were sent again.
    pub(super) fn events_sent(&self) -> usize {
        self.state.borrow().events.len()
    }

    /// Cuts or restores a host's route: a cut host never reaches the solver, whatever the solver
    /// Ingresses say.
    pub fn cut(&self, host: &str, cut: bool) {
        toggle(&mut self.state.borrow_mut().cut, host, cut);
    }

    /// Says that another Ingress, which nobody watches, has a rule for exactly this host: the
    /// controller chooses that rule, and no path of a wildcard.
    pub fn name_elsewhere(&self, host: &str) {
        toggle(&mut self.state.borrow_mut().named, host, true);
    }

    /// Says that a Secret with our label has a certificate of another CA.
    pub fn forge(&self, secret: &SecretKey) {
        self.state.borrow_mut().forged.insert(secret.clone());
    }

    /// Says that another manager has applied `spec.tls` and our annotation too, so that they stay
    /// when we let go of them.
    pub fn co_own_tls(&self, ingress: &IngressKey) {
        self.state.borrow_mut().co_owned.insert(ingress.clone());
    }

    /// Makes a host's name resolution fail or work again.
    pub fn unresolve(&self, host: &str, unresolved: bool) {
        toggle(&mut self.state.borrow_mut().unresolved, host, unresolved);
    }

    /// Sets the answer of a host over IPv6; by default, a host has IPv4 addresses only.
    pub fn set_over_ipv6(&self, host: &str, answer: OverIpv6) {
        self.state.borrow_mut().over_ipv6.insert(good_name(host), answer);
    }

    pub(super) fn over_ipv6(&self, host: &DnsName) -> OverIpv6 {
        self.state.borrow().over_ipv6.get(host).cloned().unwrap_or(OverIpv6::NotAsked)
    }

    /// Gives a host private addresses only, or a public one again.
    pub fn keep_inside(&self, host: &str, inside: bool) {
        toggle(&mut self.state.borrow_mut().inside, host, inside);
    }

    /// Makes the CA's validation of a host fail or work again, independently of the probe: the CA
    /// validates from outside.
    pub fn doubt(&self, host: &str, doubted: bool) {
        toggle(&mut self.state.borrow_mut().doubted, host, doubted);
    }

    /// Sets the `issue` records of a domain; `None` makes its nameserver fail.
    pub fn set_caa(&self, domain: &str, issue: Option<&[&str]>) {
        let record = |value: &&str| {
            let (tag, value) = ("issue".to_owned(), (*value).to_owned());
            CaaRecord { critical: false, tag, value }
        };
        let records = issue.map(|issue| issue.iter().map(record).collect());
        self.state.borrow_mut().caa.insert(domain.to_owned(), records);
    }

    pub(super) fn caa(&self, host: &DnsName) -> Result<CaaSet, String> {
        let state = self.state.borrow();
        for domain in climb(host) {
            match state.caa.get(domain) {
                None => {}
                Some(None) => return Err("SERVFAIL".to_owned()),
                Some(Some(records)) if records.is_empty() => {}
                Some(Some(records)) => {
                    return Ok(CaaSet { domain: domain.to_owned(), records: records.clone() });
                }
            }
        }
        Ok(CaaSet::default())
    }

    /// Refuses every write of a Secret in `namespace` for good: no right, a quota, an admission
    /// rule, or a namespace that ends.
    pub fn refuse_secrets(&self, namespace: &'static str, refusal: &'static str) {
        self.state.borrow_mut().refused_secrets.insert(namespace, refusal);
    }

    /// Takes the right to this call from the operator, or gives it back.
    pub fn forbid(&self, call: &'static str, is_forbidden: bool) {
        let forbidden = &mut self.state.borrow_mut().forbidden;
        _ = if is_forbidden { forbidden.insert(call) } else { forbidden.remove(call) };
    }

    /// Makes the next `times` calls with this name fail with a transient error.
    pub fn fail(&self, call: &'static str, times: usize) {
        self.state.borrow_mut().failing.insert(call, times);
    }

    /// Makes the API server refuse every request with HTTP 429, or serve them again. The CA and the
    /// probes go on.
    pub fn set_busy(&self, busy: bool) {
        self.state.borrow_mut().busy = busy;
    }

    pub(super) fn is_busy(&self) -> bool {
        self.state.borrow().busy
    }

    /// Sets the latency of each call.
    pub fn set_latency(&self, latency: Duration) {
        self.state.borrow_mut().latency = latency;
    }

    /// Number of port calls with this name.
    pub fn calls(&self, call: &'static str) -> usize {
        self.state.borrow().calls.get(call).copied().unwrap_or(0)
    }

    /// Lists all Ingresses again, as after an expired watch.
    pub fn relist(&self) {
        let mut state = self.state.borrow_mut();
        for change in listed(&state.ingresses) {
            state.notify(&change);
        }
    }

    pub(super) fn is_inside(&self, host: &DnsName) -> bool {
        self.state.borrow().inside.contains(host)
    }

    pub(super) fn is_unresolved(&self, host: &DnsName) -> bool {
        self.state.borrow().unresolved.contains(host)
    }

    pub(super) fn leads_to_solver(&self, host: &DnsName) -> bool {
        let state = self.state.borrow();
        let is_chosen = |rule: &&RuleHost| {
            rule.serves(host) && (rule.is_exact() || !state.named.contains(host))
        };
        !state.cut.contains(host) && state.routed_hosts().find(is_chosen).is_some()
    }

    /// Whether the CA can validate the host.
    pub(super) fn is_validated(&self, host: &DnsName) -> bool {
        self.leads_to_solver(host) && !self.state.borrow().doubted.contains(host)
    }

    /// Waits for the latency and counts the call.
    pub(super) async fn count(&self, call: &'static str) {
        let latency = self.state.borrow().latency;
        tokio::time::sleep(latency).await;
        *self.state.borrow_mut().calls.entry(call).or_default() += 1;
    }

    pub(super) async fn call(&self, call: &'static str) -> Result<(), PortError> {
        self.count(call).await;
        let mut state = self.state.borrow_mut();
        if state.busy && !OF_THE_CA.contains(&call) {
            return Err(PortError::transient(format!("{call}: 429 on demand")));
        }
        if state.forbidden.contains(call) {
            return Err(PortError::permanent(FailureClass::SecretWrite, "403: no right to get"));
        }
        match state.failing.get_mut(call) {
            Some(times) if *times > 0 => {
                *times -= 1;
                Err(PortError::transient(format!("{call}: 500 on demand")))
            }
            _ => Ok(()),
        }
    }
}

impl ClusterState {
    fn notify(&mut self, change: &IngressChange) {
        self.watchers.retain(|watcher| watcher.send(change.clone()).is_ok());
    }
}

fn good_name(host: &str) -> DnsName {
    DnsName::parse(host).expect("tests use good names")
}

fn toggle(set: &mut BTreeSet<DnsName>, host: &str, on: bool) {
    let host = good_name(host);
    if on {
        set.insert(host)
    } else {
        set.remove(&host)
    };
}
