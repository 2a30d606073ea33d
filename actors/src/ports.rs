//! Ports: one small trait per outside system that the actors use.
//!
//! The operator's adapters and the in-memory fakes implement the traits. A caller may drop a call
//! at any await, and gives each call its deadline ([`bounded`]).

mod error;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::LocalBoxStream;
use zeroize::Zeroizing;

use crate::domain::caa::{CaaSet, Issuer};
use crate::domain::certificate::CertId;
use crate::domain::certificate::{CertificateView, KeyAlgorithm, PrivateKey, SecretStatus};
use crate::domain::controllers::ClassView;
use crate::domain::copied::Copied;
use crate::domain::desired::index::WatchScope;
use crate::domain::dns::txt::{ChallengeTarget, TxtRecord};
use crate::domain::ingress::{IngressKey, IngressRef, IngressView, SecretKey};
use crate::domain::issuance::{Methods, OrderView, OverIpv6, Reach, Record};
use crate::domain::name::DnsName;
use crate::domain::routes::SolverIngress;
use crate::domain::status::kube_event::KubeEvent;
use crate::domain::time::Timestamp;
use crate::domain::validity::renewal::RenewalWindow;
pub use error::{CreateError, JournalError, Pauses, PortError, TxtError, bounded};

/// A change of the watched Ingresses.
#[derive(Clone, Debug)]
pub enum IngressChange {
    /// A full list of the scope begins: at the start, and after the resource version of the watch
    /// has expired (HTTP 410).
    ListBegins(WatchScope),
    /// An Ingress of that list.
    Listed(IngressView),
    /// The list is complete; changes follow.
    ListEnds(WatchScope),
    /// An Ingress was created or changed.
    Applied(IngressView),
    /// An Ingress was deleted.
    Deleted(IngressKey),
    /// Whether cert-manager is in the cluster, as seen now.
    CertManager(bool),
}

/// The Ingresses of the cluster.
#[async_trait(?Send)]
pub trait IngressSource {
    /// Lists, then watches forever. Reconnects by itself, with backoff.
    fn watch(&self) -> LocalBoxStream<'static, IngressChange>;
    /// Reads one Ingress; `None` if it is gone or cannot be read.
    async fn get(&self, key: &IngressKey) -> Option<IngressView>;
}

/// Content of a TLS Secret to write.
#[derive(Clone, Debug)]
pub struct Installation {
    /// `tls.crt`: the chain in PEM, leaf first.
    pub chain: String,
    /// The leaf of the chain.
    pub leaf: CertificateView,
    /// `tls.key`: the private key of the leaf.
    pub key: PrivateKey,
    /// Owner references; `None` leaves those that the Secret has.
    pub owners: Option<BTreeSet<IngressRef>>,
    /// Value of the renew annotation that the certificate answers.
    pub renew: Option<String>,
    /// Whether a Secret that is not ours may be taken over.
    pub adopt: bool,
    /// URL of the ACME directory that issued the certificate.
    pub directory: String,
    /// URL of the configured directory, if `directory` is the fallback.
    pub instead_of: Option<String>,
    /// Value of the annotation `ingress-acme.dev/ca` that the certificate answers.
    pub ca: Option<String>,
    /// URL of the ACME account that ordered the certificate, if known.
    pub account: Option<String>,
    /// Annotations that the Secret gets too.
    pub copied: Copied,
}

/// TLS Secrets as they are. Whoever has no more than this port cannot write.
#[async_trait(?Send)]
pub trait SecretReads {
    /// Reads one Secret by name.
    async fn read(&self, secret: &SecretKey) -> Result<SecretStatus, PortError>;
    /// Whether the Secret exists. Reads no data of the Secret.
    async fn exists(&self, secret: &SecretKey) -> Result<bool, PortError>;
    /// Returns the certificate of a Secret of ours, if the CA in use issued it as far as its chain
    /// shows, and its key matches. A label alone proves nothing, because users write labels.
    async fn verified(&self, secret: &SecretKey) -> Result<Option<CertificateView>, PortError>;
}

/// TLS Secrets, and the `spec.tls` that refers to them.
#[async_trait(?Send)]
pub trait TlsSecrets: SecretReads {
    /// Writes the Secret, and returns the written Secret.
    ///
    /// # Errors
    /// `FailureClass::Conflict` if the Secret is not ours and `adopt` does not apply, or if another
    /// install has the Secret. Another writer at the same moment is a transient error.
    async fn install(
        &self,
        secret: &SecretKey,
        what: Installation,
    ) -> Result<SecretStatus, PortError>;
    /// Sets only the owner references, the copied annotations and the answered annotation `ca` of a
    /// Secret of ours; `None` leaves the owners that it has. Returns the Secret afterwards.
    async fn set_metadata(
        &self,
        secret: &SecretKey,
        owners: Option<&BTreeSet<IngressRef>>,
        copied: &Copied,
        ca: Option<&str>,
    ) -> Result<SecretStatus, PortError>;
    /// Fills in `spec.tls` of an Ingress that has none of its own, and marks the Ingress with our
    /// annotation. Succeeds without a write if the user was faster or the Ingress is gone.
    async fn fill_tls(
        &self,
        ingress: &IngressRef,
        secret: &SecretKey,
        hosts: &BTreeSet<DnsName>,
    ) -> Result<(), PortError>;
    /// Takes back the `spec.tls` that we filled in, with our annotation. Returns whether the
    /// Ingress is without `spec.tls` now: another writer may have applied the same field.
    async fn take_back_tls(&self, ingress: &IngressRef) -> Result<bool, PortError>;
}

/// Change of the watched TLS Secrets. Only their names are known.
#[derive(Clone, Debug)]
pub enum SecretChange {
    /// A full list of the scope begins: at the start, and after the resource version of the watch
    /// has expired (HTTP 410).
    ListBegins(WatchScope),
    /// A Secret of that list.
    Listed(SecretKey),
    /// The list is complete; changes follow.
    ListEnds(WatchScope),
    /// A Secret of the scope was created or changed.
    Applied(WatchScope),
    /// A Secret was deleted, or lost our label.
    Deleted(WatchScope, SecretKey),
    /// The list or watch failed. Deletions may come late until the next other change.
    Failed(WatchScope),
}

/// Watch of the TLS Secrets with our label, metadata only. Needs rights that the operator has only
/// where its user gave them.
pub trait SecretWatch {
    /// Lists, then watches forever. Reconnects by itself, with backoff.
    fn watch(&self) -> LocalBoxStream<'static, SecretChange>;
}

/// Certificate that an order replaces (RFC 9773 §5).
#[derive(Clone, Copy, Debug)]
pub struct Replaces<'a> {
    /// ARI identifier of a certificate of this CA.
    pub id: &'a CertId,
    /// Whether the same order is opened without the replacement if the CA does not accept one.
    /// `false` if a rate limit lets only a replacement pass.
    pub or_without: bool,
}

/// The ACME CA (RFC 8555). An adapter registers the account by itself at first use.
#[async_trait(?Send)]
pub trait CertificateAuthority {
    /// Returns the URL of our account (RFC 8555 §7.3), and registers the account if necessary.
    async fn account(&self) -> Result<String, PortError>;
    /// Opens an order for `names` with this ACME profile and this replacement. Returns the order
    /// with its authorizations.
    async fn open_order(
        &self,
        names: &BTreeSet<DnsName>,
        profile: Option<&str>,
        replaces: Option<Replaces<'_>>,
    ) -> Result<OrderView, PortError>;
    /// The CA and the account in terms of CAA records, as far as is known without a request.
    fn issuer(&self) -> Issuer;
    /// Returns the renewal window of a certificate (RFC 9773 §4), with the time until the next
    /// request, if the CA names one. `None` if the CA has no renewal information at all.
    async fn renewal_info(
        &self,
        id: &CertId,
    ) -> Result<Option<(RenewalWindow, Option<Duration>)>, PortError>;
    /// Fetches an order. The status of an unknown order is
    /// [`OrderStatus::Gone`](crate::domain::issuance::OrderStatus::Gone).
    async fn refresh(&self, url: &str) -> Result<OrderView, PortError>;
    /// Fetches an order with its authorizations, and what the CA offers for each of them.
    async fn offers(&self, url: &str) -> Result<OrderView, PortError>;
    /// Accepts a challenge of each pending authorization: that of its method, HTTP-01 for a name
    /// without one. Returns the order afterwards.
    async fn accept(&self, url: &str, methods: &Methods) -> Result<OrderView, PortError>;
    /// Finalizes a ready order with this CSR (DER). Returns the order afterwards.
    async fn finalize(&self, url: &str, csr: &[u8]) -> Result<OrderView, PortError>;
    /// Downloads the chain of a valid order, in PEM.
    async fn download(&self, url: &str) -> Result<String, PortError>;
}

/// Stored ACME account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredAccount {
    /// Account key, ECDSA P-256.
    pub key: PrivateKey,
    /// New key of a rollover in progress (RFC 8555 §7.3.5). The CA may have switched to this key
    /// already.
    pub next: Option<PrivateKey>,
    /// Key before a rollover that has not ended at all CAs which share the key. An account that has
    /// this key still is given the new one.
    pub former: Option<PrivateKey>,
    /// Keys before rollovers that have ended, the last one first. An account at a CA that those
    /// rollovers did not ask may still have one of them.
    pub retired: Vec<PrivateKey>,
    /// Account URL at the CA (RFC 8555 §7.3), once registered.
    pub url: Option<String>,
    /// Directory URL of the account. An account of another directory is not used.
    pub directory: String,
    /// Version of the stored account. A write replaces only this version.
    pub version: String,
}

/// External account at the CA, to which a new ACME account is bound (RFC 8555 §7.3.4).
#[derive(Clone)]
pub struct ExternalAccount {
    /// Key identifier.
    pub kid: String,
    /// MAC key, decoded.
    pub hmac: Zeroizing<Vec<u8>>,
}

/// Store of the ACME account of one directory.
#[async_trait(?Send)]
pub trait AccountStore {
    /// Returns the account, if one is stored.
    async fn load(&self) -> Result<Option<StoredAccount>, PortError>;
    /// Stores `key` as a new account unless an account exists, with the next key of a rollover that
    /// was begun elsewhere. Returns the stored account, so that two replicas that start together
    /// use one key.
    async fn create(
        &self,
        key: &PrivateKey,
        next: Option<&PrivateKey>,
    ) -> Result<StoredAccount, PortError>;
    /// Replaces keys and URL if the stored version is still `account.version`. Returns the stored
    /// account, or `None` if another writer has changed the account.
    async fn replace(&self, account: &StoredAccount) -> Result<Option<StoredAccount>, PortError>;
    /// Returns the external account for the registration, if the user has configured one.
    async fn external_account(&self) -> Result<Option<ExternalAccount>, PortError>;
}

/// Solver Ingress, or Ingress of a user with our path, after a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// `metadata.creationTimestamp` of a solver Ingress, in whole seconds.
    pub created: Option<Timestamp>,
    /// `metadata.generation`.
    pub generation: i64,
}

/// The Ingresses that route challenges to the solver.
#[async_trait(?Send)]
pub trait Routes {
    /// Lists all Ingresses with our label in the operator's namespace.
    async fn list(&self) -> Result<Vec<SolverIngress>, PortError>;
    /// Creates or updates a solver Ingress to match `ingress`, or the challenge paths of a user's
    /// Ingress, with what the solver's Service needs in the namespace of a user. Without hosts,
    /// deletes the solver Ingress or takes the paths out, and returns `None`, as for a user's
    /// Ingress that is gone. The Service goes too if the removal is the last one in the namespace
    /// (`is_last`).
    async fn write(
        &self,
        ingress: &SolverIngress,
        is_last: bool,
    ) -> Result<Option<Written>, PortError>;
    /// Copies the endpoints of the solver to the users' namespaces that have its Service, where
    /// they have changed. Without such a namespace, without a request.
    async fn copy_endpoints(&self) -> Result<(), PortError>;
}

/// The ingress classes of the cluster.
#[async_trait(?Send)]
pub trait IngressClasses {
    /// Lists the first [`limits::CLASSES_READ`](crate::domain::limits::CLASSES_READ) classes.
    async fn list(&self) -> Result<Vec<ClassView>, PortError>;
}

/// Probe of a host's challenge path, over the same way as the CA's request.
#[async_trait(?Send)]
pub trait Probe {
    /// Fetches a random token from `http://<host>/.well-known/acme-challenge/`, and checks that our
    /// solver answers.
    async fn probe(&self, host: &DnsName) -> Reach;
    /// Asks a host that was reached over IPv4 the same over IPv6, where it has addresses of both.
    async fn over_ipv6(&self, host: &DnsName) -> OverIpv6;
    /// Looks up the CAA records that apply to `host` (RFC 8659 §3).
    ///
    /// # Errors
    /// The reason in terms of DNS, if the answer is not definite.
    async fn caa(&self, host: &DnsName) -> Result<CaaSet, String>;
}

/// DNS as the CA sees it, for challenges that are answered there.
#[async_trait(?Send)]
pub trait ChallengeDns {
    /// Follows the CNAMEs of `_acme-challenge.NAME`, and finds the zone of the name that they lead
    /// to: the closest name above with a SOA record (RFC 1034 §4.3.1).
    ///
    /// # Errors
    /// The reason in terms of DNS, if the zone cannot be found.
    async fn target(&self, name: &DnsName) -> Result<ChallengeTarget, String>;
    /// Whether all authoritative servers of the record's zone that answer have the record, and at
    /// least one has.
    ///
    /// # Errors
    /// The reason in terms of DNS, if none of them answers.
    async fn has(&self, record: &TxtRecord) -> Result<bool, String>;
    /// The values of the TXT records of DNS-PERSIST-01 for `name`; none without a record.
    ///
    /// # Errors
    /// The reason in terms of DNS, if the answer is not definite.
    async fn persist_records(&self, name: &DnsName) -> Result<Vec<String>, String>;
}

/// TXT records at DNS providers. An account that is gone by now is a permanent error.
#[async_trait(?Send)]
pub trait DnsRecords {
    /// Adds the record beside others of the same name. One that is there already is no error.
    async fn add(&self, record: &TxtRecord) -> Result<(), TxtError>;
    /// Removes the record, and no other one. A record that is gone is no error.
    async fn remove(&self, record: &TxtRecord) -> Result<(), TxtError>;
}

/// Keys and certificates, without I/O.
#[async_trait(?Send)]
pub trait Keys {
    /// Generates a key.
    async fn generate(&self, algorithm: KeyAlgorithm) -> Result<PrivateKey, PortError>;
    /// Creates a CSR (PKCS #10, DER) with an empty subject and the names as `subjectAltName`.
    fn request(&self, names: &BTreeSet<DnsName>, key: &PrivateKey) -> Result<Vec<u8>, PortError>;
    /// Reads the leaf of a chain, and compares the leaf's public key with `key`.
    ///
    /// # Errors
    /// A text that names the fault of the PEM.
    fn inspect(&self, chain: &str, key: &PrivateKey) -> Result<CertificateView, String>;
}

/// One page of the numbers of all segments.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SegmentNumbers {
    /// Numbers, in any order.
    pub numbers: Vec<u64>,
    /// Token of the next page; `None` on the last one.
    pub next: Option<String>,
}

/// Store of the journal's segments, which are numbered and immutable.
#[async_trait(?Send)]
pub trait Segments {
    /// Returns one page of the numbers of all segments, without their content. `page` is the token
    /// of the page; `None` for the first one.
    async fn list(&self, page: Option<&str>) -> Result<SegmentNumbers, JournalError>;
    /// Returns one segment, if it exists.
    async fn read(&self, number: u64) -> Result<Option<Vec<u8>>, JournalError>;
    /// Creates a segment. Never changes an existing one.
    async fn create(&self, number: u64, data: &[u8]) -> Result<(), CreateError>;
    /// Deletes segments, `limits::SEGMENTS_DELETED_AT_ONCE` at most. A missing segment is no error.
    async fn delete(&self, numbers: &[u64]) -> Result<(), JournalError>;
}

/// Append-only log of all event streams.
#[async_trait(?Send)]
pub trait Journal {
    /// Appends records, which are durable on return. Only `CertificateInstalled` and `TxtRemoved`
    /// may be written later: without that record, a restart downloads the certificate of the order
    /// again, or removes a TXT record again.
    ///
    /// The journal has its own deadline, and the call must not be dropped before: records that are
    /// pending may still become durable. After [`JournalError::Fenced`] they may be durable or not,
    /// and nothing more may be decided.
    async fn append(&self, records: &[Record]) -> Result<(), JournalError>;
    /// Waits until all records appended so far are durable. The same errors as those of an append.
    async fn flush(&self) -> Result<(), JournalError>;
    /// Takes over the journal at `now`. Returns all live records, oldest first, with no time later
    /// than their rules allow at `now`.
    async fn replay(&self, now: Timestamp) -> Result<Vec<Record>, JournalError>;
    /// Waits until the journal accepts no more records from this process, which must then have no
    /// further effect.
    async fn stopped(&self);
}

/// Recorder of Kubernetes Events, which inform users about their Ingresses.
#[async_trait(?Send)]
pub trait EventRecorder {
    /// Queues an Event without waiting. An Event that does not fit the bounded queue is dropped and
    /// counted.
    fn record(&self, about: &IngressRef, kube_event: KubeEvent);
    /// Queues the Event of a state that lasts again, because the API server deletes Events. News
    /// goes before: with much in the queue the Event is dropped and counted. Within one
    /// [`period`](crate::domain::status::repeats::period) the same Event is stored once.
    fn repeat(&self, about: &IngressRef, kube_event: KubeEvent);
    /// Waits until every queued Event is sent or given up.
    async fn flush(&self);
}

/// The clock.
pub trait Clock {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
    /// Number of times that this clock turned out to be ahead, and was set back. All times that
    /// were computed before are too late then, by as much.
    fn steps_back(&self) -> u32;
}
