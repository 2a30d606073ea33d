//! TLS Secrets, read and written by name, and `spec.tls` of the Ingresses that use them.
//!
//! # How a Secret is written
//! All writes use server-side apply with our field manager, so that owner references and
//! annotations that we stop applying are removed, and those of other managers stay. (A create by
//! POST would own its fields as an `Update` of the same manager; no later apply could remove those
//! fields.)
//!
//! - **Secret absent**: applied without force. A Secret created by another client in the meantime
//!   is never merged into. A different type is rejected because `type` is immutable. A Secret of
//!   type `kubernetes.io/tls` always has both data keys, owned by its creator, so our apply
//!   conflicts. The same holds if its managed fields were cleared: the API server then assigns the
//!   fields to `before-first-apply`.
//! - **Secret present, and ours or to be adopted**: applied with force and with the
//!   `resourceVersion` of the last read, so that the write applies to the checked version only.
//!
//! In both cases, a remembered read that turns out to be outdated (409, 422, or refused by our own
//! check) leads to one more read and one more decision. Known limit: if a client edits
//! `metadata.managedFields` by hand to hide data, between our read and our write, that data is
//! overwritten.
//!
//! # State
//! No certificate and no key is kept; only a bounded number of last reads, reduced to the fields
//! that a write needs (private module `last_read`).

mod fields;
mod last_read;
mod spec_tls;
mod view;

use std::cell::RefCell;
use std::collections::BTreeSet;

use async_trait::async_trait;
use ingress_acme_actors::domain::certificate::{CertificateView, SecretStatus, SecretView};
use ingress_acme_actors::domain::ingress::{IngressRef, SecretKey};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::ports::{Installation, PortError, TlsSecrets};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use tokio::sync::Semaphore;

use crate::kubernetes::client::{FIELD_MANAGER, port_error};
use crate::pki::Issuers;
use fields::{installed, same_with_owners};
use last_read::{LastRead, Memory, Write, write_for};
pub use view::Held;
use view::{hold, view, wipe};

/// Number of Secrets whose last read is remembered. A write to any other Secret reads first.
const REMEMBERED: usize = 4096;

/// TLS Secrets of all namespaces.
pub struct KubeTlsSecrets {
    client: Client,
    /// Last reads, each kept until the write that follows. Saves a second read.
    last_reads: RefCell<Memory>,
    issuers: Issuers,
    /// Reads in flight.
    reads: Semaphore,
}

/// Reason why one write attempt failed.
enum Refusal {
    /// Refused by our own check: the existing Secret must not be overwritten.
    Conflict(PortError),
    /// Refused by the API server.
    Api(kube::Error),
}

impl KubeTlsSecrets {
    /// Creates the adapter without sending a request.
    pub fn new(client: Client) -> Self {
        let last_reads = RefCell::new(Memory::holding(REMEMBERED));
        let reads = Semaphore::new(limits::SECRET_READS);
        Self { client, last_reads, issuers: Issuers::Any, reads }
    }

    /// Accepts only these issuers as the CA in use.
    #[must_use]
    pub fn accepting(self, issuers: Issuers) -> Self {
        Self { issuers, ..self }
    }

    fn api(&self, key: &SecretKey) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    /// Reads one Secret. Few are read at once, because each may be large.
    async fn look(&self, key: &SecretKey) -> Result<Option<Secret>, PortError> {
        let _few = self.reads.acquire().await; // never closed
        let secret = self.api(key).get_opt(&key.name).await;
        secret.map_err(|error| port_error(error, &format!("read Secret {key}")))
    }

    /// Reads one Secret with its key. Only a user's command needs the key.
    pub async fn hold(&self, key: &SecretKey) -> Result<Option<Held>, PortError> {
        Ok(self.look(key).await?.map(hold))
    }

    /// Makes one write attempt, based on the last read of the Secret.
    async fn write(
        &self,
        key: &SecretKey,
        what: &Installation,
        last: &LastRead,
    ) -> Result<SecretView, Refusal> {
        let write = write_for(key, last, what.adopt).map_err(Refusal::Conflict)?;
        let secret = installed(key, what);
        match write {
            Write::Create => self.apply(key, secret, false).await,
            Write::Replace { resource_version } => {
                let mut secret = secret;
                secret.metadata.resource_version = Some(resource_version);
                self.apply(key, secret, true).await
            }
        }
        .map_err(Refusal::Api)
    }

    async fn apply(
        &self,
        key: &SecretKey,
        mut secret: Secret,
        force: bool,
    ) -> Result<SecretView, kube::Error> {
        let params = PatchParams { force, ..PatchParams::apply(FIELD_MANAGER) };
        let answer = self.api(key).patch(&key.name, &params, &Patch::Apply(&secret)).await;
        wipe(&mut secret);
        answer.map(view)
    }
}

/// Whether the Secret may have changed since the last read: 409, or 422 if its type is different
/// now.
fn may_be_outdated(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Conflict(_) => true,
        Refusal::Api(kube::Error::Api(status)) => matches!(status.code, 409 | 422),
        Refusal::Api(_) => false,
    }
}

#[async_trait(?Send)]
impl TlsSecrets for KubeTlsSecrets {
    async fn read(&self, key: &SecretKey) -> Result<SecretStatus, PortError> {
        let secret = self.look(key).await?;
        self.last_reads.borrow_mut().remember(key, LastRead::of(secret.as_ref()));
        Ok(secret.map(view))
    }

    async fn exists(&self, key: &SecretKey) -> Result<bool, PortError> {
        let found = self.api(key).get_metadata_opt(&key.name).await;
        let found = found.map_err(|error| port_error(error, &format!("look for Secret {key}")))?;
        Ok(found.is_some())
    }

    async fn verified(&self, key: &SecretKey) -> Result<Option<CertificateView>, PortError> {
        let Some(Held { view, chain, .. }) = self.hold(key).await? else { return Ok(None) };
        let certificate = view.certificate.ok().filter(|one| view.ours && one.key_matches);
        if let Some(Err(why)) = certificate.as_ref().map(|_| self.issuers.check(&chain)) {
            tracing::warn!(secret = %key, why, "a Secret with our label has a certificate of another CA");
            return Ok(None);
        }
        Ok(certificate)
    }

    async fn install(
        &self,
        key: &SecretKey,
        what: Installation,
    ) -> Result<SecretStatus, PortError> {
        let remembered = self.last_reads.borrow_mut().take(key);
        if let Some(last) = remembered {
            match self.write(key, &what, &last).await {
                Ok(secret) => return Ok(Some(secret)),
                Err(refusal) if may_be_outdated(&refusal) => {}
                Err(refusal) => return Err(refused(refusal, key)),
            }
        }
        let mut read = self.look(key).await?;
        read.iter_mut().for_each(wipe);
        let written = self.write(key, &what, &LastRead::of(read.as_ref())).await;
        written.map(Some).map_err(|refusal| refused(refusal, key))
    }

    async fn set_owners(
        &self,
        key: &SecretKey,
        owners: &BTreeSet<IngressRef>,
    ) -> Result<SecretStatus, PortError> {
        self.last_reads.borrow_mut().take(key);
        let Some(read) = self.look(key).await? else { return Ok(None) };
        write_for(key, &LastRead::of(Some(&read)), false)?;
        let uids = owners.iter().map(|owner| owner.uid.to_string()).collect();
        let changed = same_with_owners(&read, owners);
        let now = view(read);
        if now.owners == uids {
            return Ok(Some(now));
        }
        let written = self.apply(key, changed, false).await;
        let doing = format!("set the owners of Secret {key}");
        written.map(Some).map_err(|error| port_error(error, &doing))
    }

    async fn fill_tls(
        &self,
        ingress: &IngressRef,
        secret: &SecretKey,
        hosts: &BTreeSet<DnsName>,
    ) -> Result<(), PortError> {
        spec_tls::fill(&self.client, ingress, secret, hosts).await
    }
}

fn refused(refusal: Refusal, key: &SecretKey) -> PortError {
    match refusal {
        Refusal::Conflict(conflict) => conflict,
        Refusal::Api(error) => port_error(error, &format!("write Secret {key}")),
    }
}
