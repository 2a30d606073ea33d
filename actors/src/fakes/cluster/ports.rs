//! Kubernetes ports of the fake cluster.

use std::collections::BTreeSet;
use std::rc::Rc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{LocalBoxStream, unfold};
use tokio::sync::mpsc;

use super::super::keys::inspect;
use super::distortion::listed;
use super::{FakeCluster, FakeSecret, foreign_secret};
use crate::domain::certificate::{CertificateView, SecretStatus, SecretView};
use crate::domain::controllers::ClassView;
use crate::domain::copied::Copied;
use crate::domain::desired::plan::filled_tls_value;
use crate::domain::failure::FailureClass;
use crate::domain::ingress::{
    FILLED_TLS, IngressKey, IngressRef, IngressView, SecretKey, TlsBlock,
};
use crate::domain::name::DnsName;
use crate::domain::status::kube_event::KubeEvent;
use crate::ports::{
    EventRecorder, IngressChange, IngressClasses, IngressSource, Installation, PortError,
    SecretChange, SecretReads, TlsSecrets,
};

#[async_trait(?Send)]
impl IngressSource for FakeCluster {
    async fn get(&self, key: &IngressKey) -> Option<IngressView> {
        self.state.borrow().ingresses.get(key).cloned()
    }

    fn watch(&self) -> LocalBoxStream<'static, IngressChange> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.state.borrow_mut();
        for change in listed(&state.ingresses) {
            sender.send(change).expect("the receiver is in the next line");
        }
        state.watchers.push(sender);
        unfold(receiver, async |mut changes| changes.recv().await.map(|change| (change, changes)))
            .boxed_local()
    }
}

/// The fake cluster as the ports of one install.
pub struct OfInstall {
    /// The cluster.
    pub cluster: Rc<FakeCluster>,
    /// `--install-id`, and the namespace of its solver Ingresses.
    pub id: &'static str,
}

#[async_trait(?Send)]
impl SecretReads for OfInstall {
    async fn read(&self, secret: &SecretKey) -> Result<SecretStatus, PortError> {
        self.cluster.call("read").await?;
        let read = self.cluster.state.borrow_mut().read_secret(secret);
        Ok(read.map(|secret| secret.seen_by(self.id)))
    }

    async fn exists(&self, secret: &SecretKey) -> Result<bool, PortError> {
        self.cluster.call("exists").await?;
        Ok(self.cluster.state.borrow().secrets.contains_key(secret))
    }

    async fn verified(&self, key: &SecretKey) -> Result<Option<CertificateView>, PortError> {
        self.cluster.call("verified").await?;
        let state = self.cluster.state.borrow();
        let secret = state.secrets.get(key).filter(|_| !state.forged.contains(key));
        let ours = secret.map(|one| one.seen_by(self.id)).filter(|view| view.ours);
        let certificate = ours.and_then(|view| view.certificate.ok());
        Ok(certificate.filter(|one| one.key_matches))
    }
}

#[async_trait(?Send)]
impl TlsSecrets for OfInstall {
    async fn install(
        &self,
        key: &SecretKey,
        what: Installation,
    ) -> Result<SecretStatus, PortError> {
        self.cluster.call("install").await?;
        let mut state = self.cluster.state.borrow_mut();
        if let Some(refusal) = state.refused_secrets.get(&*key.namespace) {
            return Err(PortError::permanent(FailureClass::SecretWrite, *refusal));
        }
        if state.is_conflict(key) {
            return Err(PortError::transient("install: 409 Conflict"));
        }
        state.before_write(key);
        let found = state.secrets.get(key);
        let there = found.map(|secret| secret.seen_by(self.id));
        let refused =
            |view: SecretView| !view.ours && (!what.adopt || view.other_install.is_some());
        if there.is_some_and(refused) {
            return Err(PortError::permanent(FailureClass::Conflict, "it is not ours"));
        }
        let uids = |owners: BTreeSet<IngressRef>| {
            owners.iter().map(|owner| owner.uid.to_string()).collect()
        };
        let present = || found.map(|secret| secret.owners.clone()).unwrap_or_default();
        let owners: BTreeSet<String> = what.owners.map_or_else(present, uids);
        let view = SecretView {
            ours: true,
            certificate: inspect(&what.chain, &what.key),
            owners: owners.clone(),
            renew: what.renew,
            directory: Some(what.directory),
            instead_of: what.instead_of,
            ca: what.ca,
            account: what.account,
            copied: what.copied.mark(),
            ..foreign_secret().view
        };
        let (install, chain) = (Some(self.id.to_owned()), what.chain);
        let written = FakeSecret { view: view.clone(), chain, owners, install };
        state.secrets.insert(key.clone(), written);
        state.report(&SecretChange::Applied(None));
        Ok(Some(view))
    }

    async fn set_metadata(
        &self,
        key: &SecretKey,
        owners: Option<&BTreeSet<IngressRef>>,
        copied: &Copied,
        ca: Option<&str>,
    ) -> Result<SecretStatus, PortError> {
        self.cluster.call("set_metadata").await?;
        let mut state = self.cluster.state.borrow_mut();
        if state.is_conflict(key) {
            return Err(PortError::transient("set_metadata: 409 Conflict"));
        }
        state.before_write(key);
        let Some(secret) = state.secrets.get_mut(key) else { return Ok(None) };
        if let Some(owners) = owners {
            secret.owners = owners.iter().map(|owner| owner.uid.to_string()).collect();
            secret.view.owners = secret.owners.clone();
        }
        secret.view.copied = copied.mark();
        secret.view.ca = ca.map(Into::into);
        secret.install = Some(self.id.to_owned());
        Ok(Some(secret.view.clone()))
    }

    async fn fill_tls(
        &self,
        ingress: &IngressRef,
        secret: &SecretKey,
        hosts: &BTreeSet<DnsName>,
    ) -> Result<(), PortError> {
        self.cluster.call("fill_tls").await?;
        let view = self.cluster.state.borrow().ingresses.get(&ingress.key).cloned();
        let Some(mut view) = view.filter(|view| view.uid == ingress.uid) else { return Ok(()) };
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let filled = filled_tls_value(hosts.iter().map(String::as_str));
        view.tls = vec![TlsBlock { hosts, secret_name: Some(secret.name.to_string()) }];
        view.annotations.insert(FILLED_TLS.to_owned(), filled);
        self.cluster.apply(view);
        Ok(())
    }

    async fn take_back_tls(&self, ingress: &IngressRef) -> Result<bool, PortError> {
        self.cluster.call("take_back_tls").await?;
        let view = self.cluster.state.borrow().ingresses.get(&ingress.key).cloned();
        let Some(mut view) = view.filter(|view| view.uid == ingress.uid) else { return Ok(false) };
        if self.cluster.state.borrow().co_owned.contains(&ingress.key) {
            return Ok(false);
        }
        let ours = view.annotations.remove(FILLED_TLS).is_some();
        if ours {
            view.tls = Vec::new();
            self.cluster.apply(view);
        }
        Ok(ours)
    }
}

#[async_trait(?Send)]
impl IngressClasses for FakeCluster {
    async fn list(&self) -> Result<Vec<ClassView>, PortError> {
        self.call("list_classes").await?;
        Ok(self.state.borrow().classes.clone())
    }
}

#[async_trait(?Send)]
impl EventRecorder for FakeCluster {
    fn record(&self, about: &IngressRef, kube_event: KubeEvent) {
        tracing::debug!(ingress = %about.key, at = %self.clock.now(), ?kube_event, "announced");
        let mut state = self.state.borrow_mut();
        state.event_times.push((about.key.clone(), self.clock.now()));
        state.events.push((about.key.clone(), kube_event));
    }

    fn repeat(&self, about: &IngressRef, kube_event: KubeEvent) {
        assert!(kube_event.lasts, "{kube_event:?} is of a moment");
        self.state.borrow_mut().event_times.push((about.key.clone(), self.clock.now()));
    }

    async fn flush(&self) {}
}
