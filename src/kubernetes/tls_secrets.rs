//! TLS Secrets, one at a time and by name, and `spec.tls` of the Ingresses that use them.
//!
//! # How a Secret is written
//! Always by server-side apply with our field manager, so that owner references and annotations that we give up
//! really go, and those of others stay. (A create by POST would own its fields as an `Update` of the same
//! manager, and no later apply could take them away.)
//!
//! - **There was none**: applied without force. A Secret that somebody else made meanwhile is never merged into:
//!   another type is refused, because `type` is immutable, and one of type `kubernetes.io/tls` always has both
//!   data keys, which are its maker's, so that ours conflict. The same holds where its managed fields were
//!   cleared: the API server then owns them as `before-first-apply`.
//! - **There is one that is ours or may be taken over**: applied with force and with the `resourceVersion` that
//!   was read, so that it is the very one that was judged.
//!
//! In both cases an answer 409 leads to one more read and one more decision. Known limit: who rewrites
//! `metadata.managedFields` by hand to hide data, within the moment between our read and our write, is overwritten.
//!
//! # What is kept
//! No certificate and no key; only what a write must know of the last reads (the private module `seen`), bounded.

mod fields;
mod seen;
mod spec_tls;
mod view;

use std::cell::RefCell;
use std::collections::BTreeSet;

use async_trait::async_trait;
use ingress_acme_actors::domain::certificate::{SecretStatus, SecretView};
use ingress_acme_actors::domain::ingress::{IngressRef, SecretKey};
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::ports::{Installation, PortError, TlsSecrets};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};

use crate::kubernetes::client::{FIELD_MANAGER, port_error};
use fields::{installed, same_with_owners};
use seen::{LastRead, Memory, Write, write_for};
pub use view::Held;
use view::{hold, view, wipe};

/// Secrets whose last read is remembered; a write of one that is not reads it again.
const REMEMBERED: usize = 4096;

/// TLS Secrets of all namespaces.
pub struct KubeTlsSecrets {
    client: Client,
    /// From a read to the write that follows it; saves the second read.
    seen: RefCell<Memory>,
}

/// Why one attempt to write did not work.
enum Refusal {
    /// By our own rule: what is there must not be overwritten.
    Conflict(PortError),
    /// By the API server.
    Api(kube::Error),
}

impl KubeTlsSecrets {
    /// Nothing is read yet.
    pub fn new(client: Client) -> Self {
        Self { client, seen: RefCell::new(Memory::holding(REMEMBERED)) }
    }

    fn api(&self, key: &SecretKey) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    async fn look(&self, key: &SecretKey) -> Result<Option<Secret>, PortError> {
        let secret = self.api(key).get_opt(&key.name).await;
        secret.map_err(|error| port_error(error, &format!("read Secret {key}")))
    }

    /// Reads one Secret with its key, as only a user's command needs it.
    pub async fn hold(&self, key: &SecretKey) -> Result<Option<Held>, PortError> {
        Ok(self.look(key).await?.map(hold))
    }

    /// One attempt, for what was seen of the Secret.
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

/// The Secret may have changed since it was seen: 409, or 422 where another type is there by now.
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
        self.seen.borrow_mut().remember(key, LastRead::of(secret.as_ref()));
        Ok(secret.map(view))
    }

    async fn install(
        &self,
        key: &SecretKey,
        what: Installation,
    ) -> Result<SecretStatus, PortError> {
        let remembered = self.seen.borrow_mut().take(key);
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
        self.seen.borrow_mut().take(key);
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
