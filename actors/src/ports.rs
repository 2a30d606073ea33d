//! What the world must be able to do for the actors: one small trait per outside system.
//!
//! The operator's adapters, the in-memory fakes and any later simulated world implement these. Every call may be
//! dropped at any await; the caller gives each its deadline.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::LocalBoxStream;
use zeroize::Zeroizing;

use crate::domain::certificate::CertId;
use crate::domain::certificate::{CertificateView, KeyAlgorithm, PrivateKey, SecretStatus};
use crate::domain::desired::index::WatchScope;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::ingress::{IngressKey, IngressRef, IngressView, SecretKey};
use crate::domain::issuance::{OrderView, Reach, Record};
use crate::domain::name::DnsName;
use crate::domain::routes::SolverIngress;
use crate::domain::status::kube_event::KubeEvent;
use crate::domain::time::Timestamp;
use crate::domain::validity::renewal::RenewalWindow;

/// A change of the Ingresses that are watched.
#[derive(Clone, Debug)]
pub enum IngressChange {
    /// A full list of the scope begins: at the start, and after the watch lost its place (410).
    ListBegins(WatchScope),
    /// An Ingress of that list.
    Listed(IngressView),
    /// The list is complete; the changes follow.
    ListEnds(WatchScope),
    /// An Ingress was made or changed.
    Applied(IngressView),
    /// An Ingress is gone.
    Deleted(IngressKey),
}

/// The Ingresses of the cluster.
pub trait IngressSource {
    /// Lists and watches for ever; reconnects by itself, with backoff. Begins with a list.
    fn watch(&self) -> LocalBoxStream<'static, IngressChange>;
}

/// How a port call failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PortError {
    /// It may work in a moment: a timeout, a broken connection, 5xx, a conflict of versions.
    #[error("{detail}")]
    Transient {
        /// What it was, in the words of who refused.
        detail: String,
        /// When it may be tried again, where the other side said so.
        retry_after: Option<Duration>,
    },
    /// It will not work again soon.
    #[error("{}", .0.detail)]
    Permanent(Failure),
}

impl PortError {
    /// A transient error without a word on when to retry.
    pub fn transient(detail: impl Into<String>) -> Self {
        Self::Transient { detail: detail.into(), retry_after: None }
    }

    /// A permanent error of this class.
    pub fn permanent(class: FailureClass, detail: impl Into<String>) -> Self {
        Self::Permanent(Failure::new(class, detail))
    }
}

/// Makes a port call under its deadline; running into that is a transient error.
pub async fn bounded<T>(
    limit: Duration,
    whom: &str,
    call: impl Future<Output = Result<T, PortError>>,
) -> Result<T, PortError> {
    let late = |_| Err(PortError::transient(format!("the {whom} did not answer within {limit:?}")));
    tokio::time::timeout(limit, call).await.unwrap_or_else(late)
}

/// What is written into a TLS Secret.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The chain, PEM, leaf first: `tls.crt`.
    pub chain: String,
    /// Its key: `tls.key`.
    pub key: PrivateKey,
    /// Owner references.
    pub owners: BTreeSet<IngressRef>,
    /// The renew request that it answers.
    pub renew: Option<String>,
    /// A Secret that is not ours may be taken over.
    pub adopt: bool,
    /// URL of the ACME directory that issued it.
    pub directory: String,
    /// URL of the directory in use, where that one is the fallback.
    pub instead_of: Option<String>,
}

/// TLS Secrets and what hangs on them.
#[async_trait(?Send)]
pub trait TlsSecrets {
    /// Reads one Secret by name.
    async fn read(&self, secret: &SecretKey) -> Result<SecretStatus, PortError>;
    /// Writes the Secret; fails with [`FailureClass::Conflict`] when there is one that is not ours, or that
    /// somebody else changed since it was read. Returns it as it is then.
    async fn install(
        &self,
        secret: &SecretKey,
        what: Installation,
    ) -> Result<SecretStatus, PortError>;
    /// Sets the owner references of a Secret of ours, and nothing else.
    async fn set_owners(
        &self,
        secret: &SecretKey,
        owners: &BTreeSet<IngressRef>,
    ) -> Result<SecretStatus, PortError>;
    /// Fills in `spec.tls` of an Ingress that has none of its own, with our annotation that says so. It is no
    /// error when the user was faster or the Ingress is gone.
    async fn fill_tls(
        &self,
        ingress: &IngressRef,
        secret: &SecretKey,
        hosts: &BTreeSet<DnsName>,
    ) -> Result<(), PortError>;
}

/// What an order replaces (RFC 9773 §5).
#[derive(Clone, Copy, Debug)]
pub struct Replaces<'a> {
    /// A certificate of this CA.
    pub id: &'a CertId,
    /// Where the CA does not take that, the same order is opened without it. Not so when limits allow a replacement only.
    pub or_nothing: bool,
}

/// The ACME CA (RFC 8555). Registers its account by itself when it is first needed.
#[async_trait(?Send)]
pub trait CertificateAuthority {
    /// Opens an order for the names, in this profile; with what it replaces. Returns it with its authorizations.
    async fn open_order(
        &self,
        names: &BTreeSet<DnsName>,
        profile: Option<&str>,
        replaces: Option<Replaces<'_>>,
    ) -> Result<OrderView, PortError>;
    /// When the CA suggests to renew this certificate (RFC 9773 §4), with the time until it wants to be asked again;
    /// `None` when it suggests nothing at all.
    async fn renewal_info(
        &self,
        id: &CertId,
    ) -> Result<Option<(RenewalWindow, Option<Duration>)>, PortError>;
    /// Looks at an order. An unknown one is [`OrderStatus::Gone`](crate::domain::issuance::OrderStatus::Gone).
    async fn refresh(&self, url: &str) -> Result<OrderView, PortError>;
    /// Tells the CA to validate each authorization by HTTP-01. Returns the order as it is then.
    async fn accept(&self, url: &str) -> Result<OrderView, PortError>;
    /// Finalizes a ready order with this CSR (DER). Returns the order as it is then.
    async fn finalize(&self, url: &str, csr: &[u8]) -> Result<OrderView, PortError>;
    /// Downloads the chain of a valid order, PEM.
    async fn download(&self, url: &str) -> Result<String, PortError>;
}

/// The ACME account as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredAccount {
    /// Its key, ECDSA P-256.
    pub key: PrivateKey,
    /// The key that a rollover is on its way to (RFC 8555 §7.3.5); it may be the account's already.
    pub next: Option<PrivateKey>,
    /// The key that it had before its last rollover.
    pub previous: Option<PrivateKey>,
    /// Its URL at the CA (RFC 8555 §7.3), once it is registered.
    pub url: Option<String>,
    /// The directory it belongs to; a URL of another directory is not used.
    pub directory: String,
    /// Version of what is stored: a write is for this one and no other.
    pub version: String,
}

/// An account with the CA outside of ACME, which a new ACME account is bound to (RFC 8555 §7.3.4).
#[derive(Clone)]
pub struct ExternalAccount {
    /// Its key identifier.
    pub kid: String,
    /// Its MAC key, decoded.
    pub hmac: Zeroizing<Vec<u8>>,
}

/// Where the account is kept; one per directory.
#[async_trait(?Send)]
pub trait AccountStore {
    /// The account, if there is one.
    async fn load(&self) -> Result<Option<StoredAccount>, PortError>;
    /// Stores the key unless there is an account already, and returns what is stored then: two replicas that
    /// start together end up with one key.
    async fn create(&self, key: &PrivateKey) -> Result<StoredAccount, PortError>;
    /// Writes keys and URL exactly so, if it is still in this version; returns it as it is then, or `None` when somebody
    /// else has changed it.
    async fn replace(&self, account: &StoredAccount) -> Result<Option<StoredAccount>, PortError>;
    /// The external account that a new account is bound to, where the user names one.
    async fn external_account(&self) -> Result<Option<ExternalAccount>, PortError>;
}

/// The solver Ingresses in the operator's namespace.
#[async_trait(?Send)]
pub trait Routes {
    /// All that carry our label.
    async fn list(&self) -> Result<Vec<SolverIngress>, PortError>;
    /// Makes or changes one to be exactly so; without hosts, deletes it.
    async fn write(&self, ingress: &SolverIngress) -> Result<(), PortError>;
}

/// Reaches a host's challenge path as the CA would.
#[async_trait(?Send)]
pub trait Probe {
    /// Fetches a random token from `http://<host>/.well-known/acme-challenge/` and checks that our solver answers.
    async fn probe(&self, host: &DnsName) -> Reach;
}

/// Keys and certificates; no I/O.
#[async_trait(?Send)]
pub trait Keys {
    /// Makes a key.
    async fn generate(&self, algorithm: KeyAlgorithm) -> Result<PrivateKey, PortError>;
    /// A CSR (PKCS #10, DER) with an empty subject and the names as `subjectAltName`.
    fn request(&self, names: &BTreeSet<DnsName>, key: &PrivateKey) -> Result<Vec<u8>, PortError>;
    /// Reads the leaf of a chain, and whether it belongs to the key; an error says what is wrong with the PEM.
    fn inspect(&self, chain: &str, key: &PrivateKey) -> Result<CertificateView, String>;
}

/// How the journal failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process leads: nothing may be done any more.
    #[error("another process writes the journal; this one stops before any further effect")]
    Fenced,
    /// It could not be written or read now.
    #[error("the journal is not available: {0}")]
    Unavailable(String),
}

/// How a segment could not be created.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CreateError {
    /// There is one with this number.
    #[error("there is one with this number")]
    Exists,
    /// It is not known whether it was created.
    #[error("{0}")]
    Unknown(String),
}

/// Where the journal's segments are kept: numbered and immutable.
#[async_trait(?Send)]
pub trait Segments {
    /// All of them, in any order.
    async fn list(&self) -> Result<Vec<(u64, Vec<u8>)>, JournalError>;
    /// One of them, if it is there.
    async fn read(&self, number: u64) -> Result<Option<Vec<u8>>, JournalError>;
    /// Creates one; never changes one that is there.
    async fn create(&self, number: u64, data: &[u8]) -> Result<(), CreateError>;
    /// Deletes these; it is no error when some are gone.
    async fn delete(&self, numbers: &[u64]) -> Result<(), JournalError>;
}

/// The append-only log of all streams.
#[async_trait(?Send)]
pub trait Journal {
    /// Appends; the records are durable when it returns.
    async fn append(&self, records: &[Record]) -> Result<(), JournalError>;
    /// Takes the journal over and returns all records that are still live, oldest first.
    async fn replay(&self) -> Result<Vec<Record>, JournalError>;
    /// Waits until nothing can be appended any more: this process must have no further effect.
    async fn stopped(&self);
}

/// Tells users what happens to their Ingress, by Kubernetes Events.
#[async_trait(?Send)]
pub trait EventRecorder {
    /// Queues one; never waits. What does not fit the bounded queue is dropped and counted.
    fn record(&self, about: &IngressRef, kube_event: KubeEvent);
    /// Waits until all that was queued is sent.
    async fn flush(&self);
}

/// The time.
pub trait Clock {
    /// Now.
    fn now(&self) -> Timestamp;
}
