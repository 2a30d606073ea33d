//! DNS and a DNS provider in memory.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::cluster::FakeCluster;
use crate::domain::dns::account::{DnsAccount, DnsAccounts, Namespaces};
use crate::domain::dns::txt::{ChallengeTarget, RecordName, TxtRecord};
use crate::domain::failure::FailureClass;
use crate::domain::name::DnsName;
use crate::domain::time::Timestamp;
use crate::ports::{ChallengeDns, Clock, DnsRecords, PortError, TxtError};

/// DNS, and the provider of all accounts.
pub struct FakeDns {
    cluster: Rc<FakeCluster>,
    clock: Rc<dyn Clock>,
    accounts: watch::Sender<Arc<DnsAccounts>>,
    /// TXT records by name and value, with the time from which the servers have them.
    records: RefCell<BTreeMap<(RecordName, String), Timestamp>>,
    cnames: RefCell<BTreeMap<RecordName, RecordName>>,
    persisted: RefCell<BTreeMap<RecordName, Vec<String>>>,
    lag: Cell<Duration>,
    /// Time that a removal takes.
    removal: Cell<Duration>,
    /// By account, or by zone.
    refusal: RefCell<BTreeMap<String, PortError>>,
    silent: RefCell<BTreeSet<String>>,
}

/// A name in DNS.
///
/// # Panics
/// Where `text` is none.
#[must_use]
pub fn record_name(text: &str) -> RecordName {
    RecordName::parse(text).expect("a name in DNS")
}

/// An account `name` for one zone, of all namespaces.
#[must_use]
pub fn dns_account(name: &str, zone: &str) -> DnsAccount {
    DnsAccount {
        name: name.to_owned(),
        version: "1".to_owned(),
        provider: "rfc2136".to_owned(),
        zones: [record_name(zone)].into(),
        delegation_zones: BTreeSet::new(),
        namespaces: Namespaces::All,
    }
}

impl FakeDns {
    pub(super) fn new(cluster: Rc<FakeCluster>, clock: Rc<dyn Clock>) -> Self {
        Self {
            cluster,
            clock,
            accounts: watch::Sender::default(),
            records: RefCell::default(),
            cnames: RefCell::default(),
            persisted: RefCell::default(),
            lag: Cell::default(),
            removal: Cell::default(),
            refusal: RefCell::default(),
            silent: RefCell::default(),
        }
    }

    /// Replaces all accounts.
    pub fn set_accounts(&self, accounts: Vec<DnsAccount>) {
        self.accounts.send_replace(Arc::new(DnsAccounts::new(accounts)));
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<DnsAccounts>> {
        self.accounts.subscribe()
    }

    /// The TXT records, as name and value.
    pub fn records(&self) -> Vec<(String, String)> {
        let records = self.records.borrow();
        records.keys().map(|(name, value)| (name.to_string(), value.clone())).collect()
    }

    /// Adds a record of the user's own.
    pub fn put(&self, name: &str, value: &str) {
        let key = (record_name(name), value.to_owned());
        self.records.borrow_mut().insert(key, Timestamp::default());
    }

    /// Lets a name lead to another one.
    pub fn put_cname(&self, from: &str, to: &str) {
        self.cnames.borrow_mut().insert(record_name(from), record_name(to));
    }

    /// Sets the DNS-PERSIST-01 records of a name.
    pub fn persist(&self, name: &str, values: &[&str]) {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        self.persisted.borrow_mut().insert(record_name(name), values);
    }

    /// Time from a write until the servers have it.
    pub fn set_lag(&self, lag: Duration) {
        self.lag.set(lag);
    }

    /// Time that a removal takes.
    pub fn set_removal(&self, removal: Duration) {
        self.removal.set(removal);
    }

    /// Answers writes with this account, or in this zone, by an error; `None` ends that.
    pub fn refuse(&self, account_or_zone: &str, error: Option<PortError>) {
        let mut refusal = self.refusal.borrow_mut();
        match error {
            Some(error) => _ = refusal.insert(account_or_zone.to_owned(), error),
            None => _ = refusal.remove(account_or_zone),
        }
    }

    /// Never answers writes with this account.
    pub fn be_silent(&self, account: &str) {
        self.silent.borrow_mut().insert(account.to_owned());
    }

    /// Whether the CA sees this value for a name, after CNAMEs.
    pub(super) fn shows(&self, name: &DnsName, value: &str) -> bool {
        let Some(record) = RecordName::of_challenge(name) else { return false };
        let record = self.followed(record);
        let at = self.records.borrow().get(&(record, value.to_owned())).copied();
        at.is_some_and(|at| at <= self.clock.now())
    }

    /// Whether the CA sees a DNS-PERSIST-01 record for a name.
    pub(super) fn persists(&self, name: &DnsName) -> bool {
        let at = RecordName::of_persist(name);
        at.is_some_and(|at| self.persisted.borrow().contains_key(&at))
    }

    fn followed(&self, mut name: RecordName) -> RecordName {
        let cnames = self.cnames.borrow();
        while let Some(next) = cnames.get(&name) {
            name = next.clone();
        }
        name
    }

    async fn called(&self, call: &'static str, record: &TxtRecord) -> Result<(), PortError> {
        let account = &record.account;
        self.cluster.call(call).await?;
        if self.silent.borrow().contains(account) {
            std::future::pending::<()>().await;
        }
        if self.accounts.borrow().get(account).is_none() {
            return Err(PortError::permanent(FailureClass::Dns, format!("{account} is gone")));
        }
        let refusal = self.refusal.borrow();
        let refusal = refusal.get(account).or_else(|| refusal.get(record.zone.as_str()));
        refusal.cloned().map_or(Ok(()), Err)
    }
}

#[async_trait(?Send)]
impl DnsRecords for FakeDns {
    async fn add(&self, record: &TxtRecord) -> Result<(), TxtError> {
        self.called("dns_add", record).await?;
        let at = self.clock.now() + self.lag.get();
        let key = (record.name.clone(), record.value.clone());
        self.records.borrow_mut().entry(key).or_insert(at);
        Ok(())
    }

    async fn remove(&self, record: &TxtRecord) -> Result<(), TxtError> {
        self.called("dns_remove", record).await?;
        tokio::time::sleep(self.removal.get()).await;
        self.records.borrow_mut().remove(&(record.name.clone(), record.value.clone()));
        Ok(())
    }
}

#[async_trait(?Send)]
impl ChallengeDns for FakeDns {
    async fn target(&self, name: &DnsName) -> Result<ChallengeTarget, String> {
        self.cluster.count("dns_target").await;
        let record = RecordName::of_challenge(name).ok_or("too long")?;
        let name = self.followed(record);
        let labels: Vec<&str> = name.as_str().split('.').collect();
        let zone = record_name(&labels[labels.len().saturating_sub(2)..].join("."));
        Ok(ChallengeTarget { name, zone })
    }

    async fn has(&self, record: &TxtRecord) -> Result<bool, String> {
        self.cluster.count("dns_has").await;
        let key = (record.name.clone(), record.value.clone());
        let at = self.records.borrow().get(&key).copied();
        Ok(at.is_some_and(|at| at <= self.clock.now()))
    }

    async fn persist_records(&self, name: &DnsName) -> Result<Vec<String>, String> {
        self.cluster.count("dns_persist").await;
        let at = RecordName::of_persist(name).ok_or("too long")?;
        Ok(self.persisted.borrow().get(&at).cloned().unwrap_or_default())
    }
}
