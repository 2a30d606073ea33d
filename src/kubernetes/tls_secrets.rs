//! TLS Secrets, read and written by name, and `spec.tls` of the Ingresses that use them.
//!
//! # How a Secret is written
//! All writes use server-side apply with a field manager of ours, so that owner references and
//! annotations that we stop applying are removed, and those of other managers stay. (A create by
//! POST would own its fields as an `Update` of the same manager; no later apply could remove those
//! fields.) The manager that has created a Secret applies all its later versions.
//!
//! - **Secret absent**: applied without force. A Secret created by another client in the meantime
//!   is never merged into. A different type is rejected because `type` is immutable. A Secret of
//!   type `kubernetes.io/tls` always has both data keys, owned by its creator, so our apply
//!   conflicts. The same holds if its managed fields were cleared: the API server then assigns the
//!   fields to `before-first-apply`; and for a Secret that another install has created, because
//!   its manager has another name.
//! - **Secret present, and ours or to be adopted**: applied with force and with the
//!   `resourceVersion` of the last read, so that the write applies to the checked version only.
//!
//! In both cases, a remembered read that turns out to be outdated (409, 422, or refused by our own
//! check) leads to one more read and one more decision. Known limit: if a client edits
//! `metadata.managedFields` by hand to hide data, between our read and our write, that data is
//! overwritten.
//!
//! An apply is answered with the metadata only: with the data, the API server would send back the
//! private key, and the chain would be read once more.
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
use std::rc::Rc;

use async_trait::async_trait;
use ingress_acme_actors::domain::certificate::{CertificateView, SecretStatus, SecretView};
use ingress_acme_actors::domain::copied::Copied;
use ingress_acme_actors::domain::ingress::{IngressRef, SecretKey};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::domain::said::Said;
use ingress_acme_actors::ports::{Installation, PortError, SecretReads, TlsSecrets};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use tokio::sync::Semaphore;

use crate::kubernetes::client::{is_ours, port_error, refuses_owners};
use crate::pki::Issuers;
pub(crate) use fields::is_ingress;
use fields::{CHAIN, ingresses, installed, same_with_metadata};
use last_read::{LastRead, Memory, Write, manager_for, write_for};
pub(crate) use spec_tls::is_owned_empty;
pub use view::Held;
use view::{applied, hold, other_install, view, wipe};

/// Number of Secrets whose last read is remembered. A write to any other Secret reads first.
const REMEMBERED: usize = 4096;

/// TLS Secrets of all namespaces.
pub struct KubeTlsSecrets {
    client: Client,
    /// Last reads, each kept until the write that follows. Saves a second read.
    last_reads: RefCell<Memory>,
    issuers: Rc<RefCell<Issuers>>,
    /// Name of this install on its Secrets; `None` for a user's command, for which each Secret with
    /// our label is ours.
    install: Option<String>,
    /// Reads in flight.
    reads: Semaphore,
    /// Secrets with our label and a certificate of another CA: they are read again each hour.
    foreign: RefCell<Said<SecretKey>>,
}

/// Reason why one write attempt failed.
enum Refusal {
    /// The Secret cannot be read, or must not be overwritten.
    Port(PortError),
    /// Refused by the API server.
    Api(kube::Error),
}

impl KubeTlsSecrets {
    /// Creates the adapter without sending a request.
    pub fn new(client: Client) -> Self {
        let last_reads = RefCell::new(Memory::holding(REMEMBERED));
        let reads = Semaphore::new(limits::SECRET_READS);
        let foreign = RefCell::default();
        Self { client, last_reads, issuers: Rc::default(), install: None, reads, foreign }
    }

    /// Names this install on the Secrets that it writes, and leaves those of other installs alone.
    #[must_use]
    pub fn of_install(self, id: &str) -> Self {
        Self { install: Some(id.to_owned()), ..self }
    }

    /// Accepts only these issuers as the CAs in use; others, once they are changed.
    #[must_use]
    pub fn accepting(self, issuers: Rc<RefCell<Issuers>>) -> Self {
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

    /// Makes one write attempt, based on a new read.
    async fn write_after_a_read(
        &self,
        key: &SecretKey,
        what: &Installation,
    ) -> Result<SecretView, Refusal> {
        let mut read = self.look(key).await.map_err(Refusal::Port)?;
        read.iter_mut().for_each(wipe);
        let (last, owners) = (self.last_read(read.as_ref()), read.as_ref().map(ingresses));
        self.write(key, what, (&last, &owners.unwrap_or_default())).await
    }

    /// Makes one write attempt, based on the last read of the Secret.
    async fn write(
        &self,
        key: &SecretKey,
        what: &Installation,
        (last, owners): (&LastRead, &[OwnerReference]),
    ) -> Result<SecretView, Refusal> {
        let write = write_for(key, last, what.adopt).map_err(Refusal::Port)?;
        let secret = installed(key, what, self.install.as_deref(), owners);
        let written = match write {
            Write::Create => self.apply(key, secret, None, false).await,
            Write::Replace { resource_version, manager } => {
                let mut secret = secret;
                secret.metadata.resource_version = Some(resource_version);
                self.apply(key, secret, manager, true).await
            }
        };
        let leaf = || Ok(what.leaf.clone());
        let view = |metadata| applied(&metadata, leaf(), self.install.as_deref());
        written.map(view).map_err(Refusal::Api)
    }

    fn last_read(&self, read: Option<&Secret>) -> LastRead {
        LastRead::of(read, self.install.as_deref())
    }

    fn view(&self, secret: Secret) -> SecretView {
        let untrusted = self.is_untrusted(&secret);
        SecretView { untrusted, ..view(secret, self.install.as_deref()) }
    }

    /// Whether the Secret is not ours, and its chain leads to no root that browsers trust.
    fn is_untrusted(&self, secret: &Secret) -> bool {
        if !self.issuers.borrow().are_public() || is_ours(&secret.metadata) {
            return false;
        }
        let chain = secret.data.as_ref().and_then(|data| data.get(CHAIN));
        let chain = chain.and_then(|chain| str::from_utf8(&chain.0).ok());
        chain.is_some_and(|chain| self.issuers.borrow().check(chain).is_err())
    }

    /// Applies the Secret as `manager`, and as this install's own manager where it has none. The
    /// answer has the metadata only: the rest is what was applied.
    async fn apply(
        &self,
        key: &SecretKey,
        mut secret: Secret,
        manager: Option<String>,
        force: bool,
    ) -> Result<ObjectMeta, kube::Error> {
        let manager = manager.unwrap_or_else(|| manager_for(self.install.as_deref()));
        let params = PatchParams { force, ..PatchParams::apply(&manager) };
        let patch = Patch::Apply(&secret);
        let answer = self.api(key).patch_metadata(&key.name, &params, &patch).await;
        wipe(&mut secret);
        answer.map(|secret| secret.metadata)
    }
}

/// Whether the Secret may have changed since the last read: 409, or 422 if its type is different
/// now.
fn may_be_outdated(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Port(_) => true,
        Refusal::Api(kube::Error::Api(status)) => matches!(status.code, 409 | 422),
        Refusal::Api(_) => false,
    }
}

/// Whether the owners of the Secret must stay. That is no reason to let its certificate expire.
fn is_about_owners(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Api(error) if refuses_owners(error))
}

#[async_trait(?Send)]
impl SecretReads for KubeTlsSecrets {
    async fn read(&self, key: &SecretKey) -> Result<SecretStatus, PortError> {
        let secret = self.look(key).await?;
        self.last_reads.borrow_mut().remember(key, self.last_read(secret.as_ref()));
        Ok(secret.map(|secret| self.view(secret)))
    }

    async fn exists(&self, key: &SecretKey) -> Result<bool, PortError> {
        let found = self.api(key).get_metadata_opt(&key.name).await;
        let found = found.map_err(|error| port_error(error, &format!("look for Secret {key}")))?;
        Ok(found.is_some())
    }

    async fn verified(&self, key: &SecretKey) -> Result<Option<CertificateView>, PortError> {
        let Some(secret) = self.look(key).await? else { return Ok(None) };
        let other = other_install(&secret.metadata, self.install.as_deref()).is_some();
        let Held { view, chain, .. } = hold(secret);
        let ours = view.ours && !other;
        let certificate = view.certificate.ok().filter(|one| ours && one.key_matches);
        if let Some(Err(why)) = certificate.as_ref().map(|_| self.issuers.borrow().check(&chain)) {
            if self.foreign.borrow_mut().is_news(key.clone(), &why) {
                tracing::warn!(secret = %key, why, "a Secret with our label has a certificate of another CA");
            }
            return Ok(None);
        }
        self.foreign.borrow_mut().has_ended(key);
        Ok(certificate)
    }
}

#[async_trait(?Send)]
impl TlsSecrets for KubeTlsSecrets {
    async fn install(
        &self,
        key: &SecretKey,
        what: Installation,
    ) -> Result<SecretStatus, PortError> {
        let mut what = what;
        // The owners of a Secret are not remembered.
        let remembered = self.last_reads.borrow_mut().take(key).filter(|_| what.owners.is_some());
        if let Some(last) = remembered {
            match self.write(key, &what, (&last, &[])).await {
                Ok(secret) => return Ok(Some(secret)),
                Err(refusal) if may_be_outdated(&refusal) => {}
                Err(refusal) if is_about_owners(&refusal) => what.owners = None,
                Err(refusal) => return Err(refused(refusal, key)),
            }
        }
        let mut written = self.write_after_a_read(key, &what).await;
        if written.as_ref().is_err_and(is_about_owners) {
            what.owners = None;
            written = self.write_after_a_read(key, &what).await;
        }
        written.map(Some).map_err(|refusal| refused(refusal, key))
    }

    async fn set_metadata(
        &self,
        key: &SecretKey,
        owners: Option<&BTreeSet<IngressRef>>,
        copied: &Copied,
        ca: Option<&str>,
    ) -> Result<SecretStatus, PortError> {
        self.last_reads.borrow_mut().take(key);
        let Some(read) = self.look(key).await? else { return Ok(None) };
        let write = write_for(key, &self.last_read(Some(&read)), false)?;
        let Write::Replace { manager, .. } = write else { return Ok(None) };
        let uids = |owners: &BTreeSet<IngressRef>| {
            owners.iter().map(|owner| owner.uid.to_string()).collect()
        };
        let (install, annotations) = (self.install.as_deref(), (copied, ca));
        let changed = same_with_metadata(&read, owners, annotations, install);
        let mut annotated = same_with_metadata(&read, None, annotations, install);
        let now = self.view(read);
        let is_annotated = now.copied == copied.mark() && now.ca.as_deref() == ca;
        if owners.is_none_or(|owners| now.owners == uids(owners)) && is_annotated {
            wipe(&mut annotated);
            return Ok(Some(now));
        }
        let written = self.apply(key, changed, manager.clone(), false).await;
        if written.as_ref().is_err_and(refuses_owners) && !is_annotated {
            // Who may not change the owners may change the rest. The refusal is told.
            _ = self.apply(key, annotated, manager, false).await;
        } else {
            wipe(&mut annotated);
        }
        let doing = format!("set the metadata of Secret {key}");
        let view = |metadata| Some(applied(&metadata, now.certificate, install));
        written.map(view).map_err(|error| port_error(error, &doing))
    }

    async fn fill_tls(
        &self,
        ingress: &IngressRef,
        secret: &SecretKey,
        hosts: &BTreeSet<DnsName>,
    ) -> Result<(), PortError> {
        spec_tls::fill(&self.client, ingress, secret, hosts).await
    }

    async fn take_back_tls(&self, ingress: &IngressRef) -> Result<bool, PortError> {
        spec_tls::take_back(&self.client, ingress).await
    }
}

fn refused(refusal: Refusal, key: &SecretKey) -> PortError {
    match refusal {
        Refusal::Port(error) => error,
        Refusal::Api(error) => port_error(error, &format!("write Secret {key}")),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::future::{join, join_all};
    use http::{Request, Response};
    use kube::client::Body;

    use super::*;

    /// An API server that takes a second for each Secret of namespace `slow`, and has none. Counts
    /// the most requests at a time.
    fn slow_server(most: &Arc<AtomicUsize>) -> Client {
        let (most, open) = (most.clone(), Arc::new(AtomicUsize::new(0)));
        let server = tower::service_fn(move |request: Request<Body>| {
            let (most, open) = (most.clone(), open.clone());
            async move {
                most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                if request.uri().path().contains("/slow/") {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                open.fetch_sub(1, Ordering::SeqCst);
                let none = r#"{"status": "Failure", "reason": "NotFound", "code": 404}"#;
                let answer =
                    Response::builder().status(404).body(Body::from(none.as_bytes().to_vec()));
                Ok::<_, Infallible>(answer.expect("a status and a body are a response"))
            }
        });
        Client::new(server, "web")
    }

    #[tokio::test(start_paused = true)]
    async fn few_secrets_are_read_at_once_and_those_of_another_namespace_have_their_turn() {
        let most = Arc::new(AtomicUsize::new(0));
        let secrets = KubeTlsSecrets::new(slow_server(&most));
        let read = async |namespace: &str, number: usize| {
            let key = SecretKey::new(namespace, &format!("s{number}"));
            match number % 2 {
                0 => secrets.read(&key).await.map(|found| found.is_none()),
                _ => secrets.verified(&key).await.map(|found| found.is_none()),
            }
        };
        let slow = join_all((0..20 * limits::SECRET_READS).map(|number| read("slow", number)));
        let (slow, other) = join(slow, read("other", 0)).await;
        assert!(slow.into_iter().all(|read| read.is_ok_and(|is_absent| is_absent)));
        assert!(other.is_ok_and(|is_absent| is_absent), "its neighbour is read");
        assert_eq!(most.load(Ordering::SeqCst), limits::SECRET_READS);
    }
}
