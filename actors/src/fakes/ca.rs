//! In-memory CA. Keys and chains are short readable texts.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;

use super::cluster::FakeCluster;
use super::dns::FakeDns;
use super::keys::inspect;
use crate::domain::caa::Issuer;
use crate::domain::certificate::CertId;
use crate::domain::certificate::{CertificateView, KeyAlgorithm, PrivateKey};
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::issuance::{AuthorizationView, Method, Methods, Offers, OrderStatus, OrderView};
use crate::domain::name::DnsName;
use crate::domain::time::Timestamp;
use crate::domain::validity::renewal::RenewalWindow;
use crate::ports::{CertificateAuthority, Clock, Keys, PortError, Replaces};

/// Fake CA: validates a name if a solver Ingress contains the host, or if its record is in DNS.
pub struct FakeCa {
    host: &'static str,
    cluster: Rc<FakeCluster>,
    dns: Rc<FakeDns>,
    clock: Rc<dyn Clock>,
    orders: RefCell<BTreeMap<String, Order>>,
    issued: RefCell<Vec<BTreeSet<DnsName>>>,
    policy: RefCell<Policy>,
    suggest: RefCell<Suggest>,
    replaced: RefCell<Vec<CertId>>,
    life: Cell<Duration>,
    keys: Cell<u64>,
    algorithm: Cell<Option<KeyAlgorithm>>,
    most_open: Cell<usize>,
    busy_until: Cell<Timestamp>,
    first_number: Cell<usize>,
    at_once: Cell<bool>,
    knows_no_ids: Cell<bool>,
    account: Cell<u32>,
    reuses: Cell<bool>,
    stalls: Cell<bool>,
    never_validates: Cell<bool>,
    silent_for: Cell<Option<&'static str>>,
}

/// Returns the failure of a new order for these names, if any.
type Policy = Box<dyn FnMut(&BTreeSet<DnsName>) -> Option<Failure>>;

/// Returns the renewal window of a certificate; `None` for a CA without ARI.
type Suggest = Box<dyn FnMut(&CertId) -> Option<RenewalWindow>>;

#[derive(Clone)]
struct Order {
    names: BTreeSet<DnsName>,
    methods: Methods,
    accepted: bool,
    status: OrderStatus,
    chain: Option<String>,
}

impl FakeCa {
    /// Creates a CA with this host; its certificates are valid for 90 days.
    pub fn new(
        host: &'static str,
        cluster: Rc<FakeCluster>,
        dns: Rc<FakeDns>,
        clock: Rc<dyn Clock>,
    ) -> Self {
        Self {
            host,
            cluster,
            dns,
            clock,
            orders: RefCell::default(),
            issued: RefCell::default(),
            policy: RefCell::new(Box::new(|_| None)),
            suggest: RefCell::new(Box::new(|_| None)),
            replaced: RefCell::default(),
            life: Cell::new(Duration::from_hours(2160)),
            keys: Cell::new(0),
            algorithm: Cell::default(),
            most_open: Cell::new(0),
            busy_until: Cell::default(),
            first_number: Cell::new(0),
            at_once: Cell::new(false),
            knows_no_ids: Cell::default(),
            account: Cell::new(1),
            reuses: Cell::default(),
            stalls: Cell::default(),
            never_validates: Cell::default(),
            silent_for: Cell::default(),
        }
    }

    /// Algorithm of the last key.
    pub fn algorithm(&self) -> Option<KeyAlgorithm> {
        self.algorithm.get()
    }

    /// Number of orders opened so far.
    pub fn orders(&self) -> usize {
        self.orders.borrow().len()
    }

    /// Number of orders that are neither valid nor invalid.
    pub fn open_orders(&self) -> usize {
        let open = |order: &&Order| {
            !matches!(
                order.status,
                OrderStatus::Valid | OrderStatus::Invalid(_) | OrderStatus::Gone
            )
        };
        self.orders.borrow().values().filter(open).count()
    }

    /// Largest number of simultaneously open orders for one set of names.
    pub fn most_open_for_one_set(&self) -> usize {
        self.most_open.get()
    }

    fn note_open(&self, names: &BTreeSet<DnsName>) {
        let open = |order: &&Order| {
            let over = matches!(
                order.status,
                OrderStatus::Valid | OrderStatus::Invalid(_) | OrderStatus::Gone
            );
            order.names == *names && !over
        };
        let count = self.orders.borrow().values().filter(open).count();
        self.most_open.set(self.most_open.get().max(count));
    }

    /// Names of each issued certificate.
    pub fn issued(&self) -> Vec<BTreeSet<DnsName>> {
        self.issued.borrow().clone()
    }

    /// Sets the lifetime of new certificates.
    pub fn set_life(&self, life: Duration) {
        self.life.set(life);
    }

    /// Starts serial numbers at `first` + 1.
    pub fn number_from(&self, first: usize) {
        self.first_number.set(first);
    }

    /// Validates within the request to validate, as some CAs do.
    pub fn validate_at_once(&self) {
        self.at_once.set(true);
    }

    /// Answers a new order with the open one for the same names, as Let's Encrypt does.
    pub fn reuse_orders(&self) {
        self.reuses.set(true);
    }

    /// Leaves finalized orders `processing`, or issues for new ones again.
    pub fn stall(&self, stalls: bool) {
        self.stalls.set(stalls);
    }

    /// Never answers the next request with this method of the port.
    pub fn be_silent_for(&self, method: &'static str) {
        self.silent_for.set(Some(method));
    }

    /// Accepts challenges and validates no name, without a result.
    pub fn never_validate(&self) {
        self.never_validates.set(true);
    }

    /// Names of each order, in no order.
    pub fn ordered(&self) -> Vec<Vec<String>> {
        let names = |order: &Order| order.names.iter().map(ToString::to_string).collect();
        self.orders.borrow().values().map(names).collect()
    }

    /// Forgets all orders, as a CA does that was restored from a backup.
    pub fn forget_orders(&self) {
        self.orders.borrow_mut().values_mut().for_each(|order| order.status = OrderStatus::Gone);
    }

    fn reused(&self, names: &BTreeSet<DnsName>) -> Option<String> {
        let orders = self.orders.borrow();
        let open =
            |order: &Order| matches!(order.status, OrderStatus::Pending | OrderStatus::Ready);
        let mut same = orders.iter().filter(|(_, order)| order.names == *names && open(order));
        same.next().map(|(url, _)| url.clone()).filter(|_| self.reuses.get())
    }

    /// Refuses every new order with `failure`; `None` accepts orders again.
    pub fn refuse(&self, failure: Option<Failure>) {
        self.set_policy(move |_| failure.clone());
    }

    /// Answers every request before `until` with HTTP 503 and `Retry-After`.
    pub fn set_busy_until(&self, until: Timestamp) {
        self.busy_until.set(until);
    }

    /// Counts the call, and fails while the CA is busy.
    async fn called(&self, call: &'static str) -> Result<(), PortError> {
        self.cluster.call(call).await?;
        if self.silent_for.get() == Some(call) {
            self.silent_for.set(None);
            std::future::pending::<()>().await;
        }
        let (now, until) = (self.clock.now(), self.busy_until.get());
        let detail = "the CA answers HTTP 503 and does not say why".to_owned();
        let busy = PortError::transient_until(detail, Some(until.since(now)));
        if now < until { Err(busy) } else { Ok(()) }
    }

    /// Enables ARI with these renewal windows.
    pub fn set_suggestions(&self, suggest: impl FnMut(&CertId) -> Option<RenewalWindow> + 'static) {
        *self.suggest.borrow_mut() = Box::new(suggest);
    }

    /// Values of the orders' `replaces` field, oldest first.
    pub fn replaced(&self) -> Vec<CertId> {
        self.replaced.borrow().clone()
    }

    /// Accepts no order as a replacement, as for a certificate of another CA.
    pub fn refuse_replacements(&self) {
        self.knows_no_ids.set(true);
    }

    /// Registers another account, as after the loss of its Secret.
    pub fn change_account(&self) {
        self.account.set(self.account.get() + 1);
    }

    /// Calls `policy` for every new order.
    pub fn set_policy(&self, policy: impl FnMut(&BTreeSet<DnsName>) -> Option<Failure> + 'static) {
        *self.policy.borrow_mut() = Box::new(policy);
    }

    fn view(&self, url: &str) -> OrderView {
        let orders = self.orders.borrow();
        let order = orders.get(url);
        let status = order.map_or(OrderStatus::Gone, |order| order.status.clone());
        let pending = order.filter(|order| order.status == OrderStatus::Pending);
        let authorizations = pending.into_iter().flat_map(|order| {
            let accepted = order.accepted;
            let offers = Offers::default();
            order.names.iter().map(move |name| AuthorizationView {
                name: name.clone(),
                accepted,
                offers: offers.clone(),
            })
        });
        OrderView {
            url: url.to_owned(),
            status,
            authorizations: authorizations.collect(),
            retry_after: None,
            replaces: false,
        }
    }

    fn validate(&self, url: &str) {
        let mut orders = self.orders.borrow_mut();
        let Some(order) = orders.get_mut(url).filter(|order| order.accepted) else { return };
        if order.status != OrderStatus::Pending || self.never_validates.get() {
            return;
        }
        let proved = |name: &DnsName| match order.methods.get(name) {
            None | Some(Method::Http01) => self.cluster.is_validated(name),
            Some(Method::Dns01) => self.dns.shows(name, &txt_value(url, name)),
            Some(Method::DnsPersist01) => self.dns.persists(name),
        };
        let bad = order.names.iter().filter(|name| !proved(name));
        let bad: BTreeSet<DnsName> = bad.cloned().collect();
        order.status = match bad.first() {
            None => OrderStatus::Ready,
            Some(name) => {
                let detail = format!("unauthorized: {name}: Invalid response: 404");
                OrderStatus::Invalid(Failure::new(FailureClass::Authorization, detail).about(bad))
            }
        };
    }
}

/// Value of the TXT record for a name of an order.
fn txt_value(order: &str, name: &DnsName) -> String {
    format!("value of {name} in {order}")
}

/// Whether a wildcard among `names` covers the name, which Let's Encrypt refuses.
fn is_redundant(name: &DnsName, names: &BTreeSet<DnsName>) -> bool {
    name.covering_wildcard().is_some_and(|wildcard| names.contains(&wildcard))
}

#[async_trait(?Send)]
impl CertificateAuthority for FakeCa {
    async fn account(&self) -> Result<String, PortError> {
        Ok(format!("https://{}/account/{}", self.host, self.account.get()))
    }

    async fn open_order(
        &self,
        names: &BTreeSet<DnsName>,
        _: Option<&str>,
        replaces: Option<Replaces<'_>>,
    ) -> Result<OrderView, PortError> {
        self.called("open_order").await?;
        if let Some(name) = names.iter().find(|name| is_redundant(name, names)) {
            let detail = format!("malformed: {name} is redundant with a wildcard");
            return Err(PortError::permanent(FailureClass::Rejected, detail));
        }
        if let Some(failure) = (self.policy.borrow_mut())(names) {
            return Err(PortError::Permanent(failure));
        }
        let replaces = replaces.filter(|_| !self.knows_no_ids.get());
        self.replaced.borrow_mut().extend(replaces.map(|replaces| replaces.id.clone()));
        if let Some(url) = self.reused(names) {
            return Ok(self.view(&url));
        }
        let url = format!("https://{}/order/{}", self.host, self.orders());
        let order = Order {
            names: names.clone(),
            methods: Methods::new(),
            accepted: false,
            status: OrderStatus::Pending,
            chain: None,
        };
        self.orders.borrow_mut().insert(url.clone(), order);
        self.note_open(names);
        Ok(OrderView { replaces: replaces.is_some(), ..self.view(&url) })
    }

    fn issuer(&self) -> Issuer {
        let account = Some(format!("https://{}/account/1", self.host));
        Issuer { domains: vec![self.host.to_owned()], account }
    }

    async fn renewal_info(
        &self,
        id: &CertId,
    ) -> Result<Option<(RenewalWindow, Option<Duration>)>, PortError> {
        self.called("renewal_info").await?;
        Ok((self.suggest.borrow_mut())(id).map(|window| (window, None)))
    }

    async fn refresh(&self, url: &str) -> Result<OrderView, PortError> {
        self.called("refresh").await?;
        self.validate(url);
        Ok(self.view(url))
    }

    async fn offers(&self, url: &str) -> Result<OrderView, PortError> {
        self.called("offers").await?;
        let mut view = self.view(url);
        for authorization in &mut view.authorizations {
            let value = txt_value(url, &authorization.name);
            let persist = vec![self.host.to_owned()];
            authorization.offers = Offers { dns_01: Some(value), dns_persist_01: Some(persist) };
        }
        Ok(view)
    }

    async fn accept(&self, url: &str, methods: &Methods) -> Result<OrderView, PortError> {
        self.called("accept").await?;
        if let Some(order) = self.orders.borrow_mut().get_mut(url) {
            order.accepted = true;
            order.methods.clone_from(methods);
        }
        if self.at_once.get() {
            self.validate(url);
        }
        Ok(self.view(url))
    }

    async fn finalize(&self, url: &str, csr: &[u8]) -> Result<OrderView, PortError> {
        self.called("finalize").await?;
        let mut orders = self.orders.borrow_mut();
        let Some(order) = orders.get_mut(url) else { return Ok(self.view(url)) };
        if order.status == OrderStatus::Ready && self.stalls.get() {
            order.status = OrderStatus::Processing;
        }
        if order.status == OrderStatus::Ready {
            let mut issued = self.issued.borrow_mut();
            issued.push(order.names.clone());
            let until = (self.clock.now() + self.life.get()).as_millis();
            let now = self.clock.now().as_millis();
            let request = String::from_utf8_lossy(csr);
            let number = self.first_number.get() + issued.len();
            order.chain = Some(format!("{request}|{now}|{until}|{number}"));
            order.status = OrderStatus::Valid;
        }
        drop(orders);
        Ok(self.view(url))
    }

    async fn download(&self, url: &str) -> Result<String, PortError> {
        self.called("download").await?;
        let chain = self.orders.borrow().get(url).and_then(|order| order.chain.clone());
        chain.ok_or_else(|| PortError::transient("there is no certificate"))
    }
}

#[async_trait(?Send)]
impl Keys for FakeCa {
    async fn generate(&self, algorithm: KeyAlgorithm) -> Result<PrivateKey, PortError> {
        self.algorithm.set(Some(algorithm));
        self.keys.set(self.keys.get() + 1);
        Ok(PrivateKey::from_pem(format!("key-{}", self.keys.get())))
    }

    fn request(&self, names: &BTreeSet<DnsName>, key: &PrivateKey) -> Result<Vec<u8>, PortError> {
        let names: Vec<&str> = names.iter().map(DnsName::as_str).collect();
        Ok(format!("{}|{}", key.pem(), names.join(",")).into_bytes())
    }

    fn inspect(&self, chain: &str, key: &PrivateKey) -> Result<CertificateView, String> {
        inspect(chain, key)
    }
}
