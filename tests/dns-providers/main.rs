//! DNS accounts and their providers: Secrets of a simulated API server, real name servers, and
//! stand-ins for the APIs of providers that are services.
//!
//! - `accounts`: Secrets that are read, reloaded and refused.
//! - `cluster`: providers that are objects of a cluster, on a real API server.
//! - `name_servers`: BIND by RFC 2136, and PowerDNS by its API.
//! - `protocols`: servers of lego's `httpreq` and of acme-dns.
//! - `services`: providers that are services, each behind a stand-in for its API.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod accounts;
mod cluster;
mod name_servers;
mod protocols;
mod services;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ingress_acme::dns_providers::accounts::{RefusedSecret, dns_accounts};
use ingress_acme::process::clock::SystemClock;
use ingress_acme_actors::domain::dns::account::DnsAccounts;
use ingress_acme_actors::domain::dns::account_secret::LABEL;
use ingress_acme_actors::domain::dns::txt::{RecordName, TxtRecord};
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::ports::{DnsRecords, PortError, TxtError};
use ingress_acme_actors::reporting::metrics::Metrics;
use ingress_acme_control_plane::{apply_yaml, installed};
use ingress_acme_sim::clock::Clock;
use ingress_acme_sim::kube::{ApiServer, User};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::{mpsc, watch};

/// Timeout of a wait; all awaited changes come much sooner.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// The operator's namespace.
pub(crate) const NAMESPACE: &str = "ingress-acme";

/// Whether these programs are installed. In CI they are.
pub(crate) fn are_installed(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().filter(|program| installed(program).is_none()).collect();
    let expected = std::env::var_os("CI").is_some();
    assert!(missing.is_empty() || !expected, "{missing:?}: `.ci/run` installs Debian's packages");
    if !missing.is_empty() {
        eprintln!(
            "{missing:?} not installed (Debian: bind9 bind9-dnsutils pdns-server): not tested"
        );
    }
    missing.is_empty()
}

/// The accounts of a simulated cluster, as the operator reads them.
pub(crate) struct Accounts {
    _server: Option<ApiServer>,
    admin: Client,
    pub(crate) metrics: Metrics,
    read: watch::Receiver<Arc<DnsAccounts>>,
    pub(crate) records: Rc<dyn DnsRecords>,
    pub(crate) refused: mpsc::Receiver<RefusedSecret>,
}

impl Accounts {
    pub(crate) async fn start() -> Self {
        let server = ApiServer::start(Clock::default(), 1).unwrap();
        let client = |user| Client::try_from(server.config(user)).unwrap();
        let (admin, operator) = (client(User::Admin), client(User::Operator));
        let namespace =
            format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}");
        apply_yaml(&admin, &namespace).await.unwrap();
        Self::of(admin, operator, Some(server))
    }

    pub(crate) fn of(admin: Client, operator: Client, server: Option<ApiServer>) -> Self {
        let metrics = Metrics::default();
        let clock = Arc::new(SystemClock::default());
        let dns = dns_accounts(operator, NAMESPACE, clock, &metrics);
        let (read, records, refused) = (dns.accounts, dns.records, dns.refused);
        Self { _server: server, admin, metrics, read, records, refused }
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.admin.clone(), NAMESPACE)
    }

    /// Writes an account's Secret: these keys, and no other.
    pub(crate) async fn write(&self, name: &str, keys: &[(&str, &str)]) {
        let data: BTreeMap<_, _> = keys.iter().copied().collect();
        let metadata = json!({"name": name, "labels": {LABEL: "true"}});
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data});
        let params = PatchParams::apply("test").force();
        self.secrets().patch(name, &params, &Patch::Apply(secret)).await.unwrap();
    }

    pub(crate) async fn delete(&self, name: &str) {
        self.secrets().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until the accounts are as wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(&DnsAccounts) -> bool) -> Arc<DnsAccounts> {
        let mut accounts = self.read.clone();
        let waited = tokio::time::timeout(SOON, accounts.wait_for(|accounts| wanted(accounts)));
        waited.await.expect("the accounts change").unwrap().clone()
    }

    /// Writes an account for `zone`, and waits until it can be used.
    pub(crate) async fn account(&self, name: &str, zone: &str, keys: &[(&str, &str)]) {
        let keys = [&[("zones", zone), ("namespaces", "*")], keys].concat();
        self.write(name, &keys).await;
        self.until(|accounts| accounts.get(name).is_some()).await;
    }
}

/// A record of `_acme-challenge.DOMAIN`.
pub(crate) fn record(account: &str, zone: &str, domain: &str, value: &str) -> TxtRecord {
    let domain = DnsName::parse(domain).unwrap();
    TxtRecord {
        account: account.to_owned(),
        provider: None,
        zone: RecordName::parse(zone).unwrap(),
        name: RecordName::of_challenge(&domain).unwrap(),
        value: value.to_owned(),
        domain,
    }
}

/// Text of a permanent error; panics for any other result.
pub(crate) fn permanent(result: Result<(), TxtError>) -> String {
    match result.map_err(|error| error.error) {
        Err(PortError::Permanent(failure)) => failure.detail,
        other => panic!("not a permanent error: {other:?}"),
    }
}

/// Text of a transient error; panics for any other result.
pub(crate) fn transient(result: Result<(), TxtError>) -> String {
    match result.map_err(|error| error.error) {
        Err(PortError::Transient { detail, .. }) => detail,
        other => panic!("not a transient error: {other:?}"),
    }
}
