//! Kubernetes ports of the fake cluster.

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{LocalBoxStream, unfold};
use tokio::sync::mpsc;

use super::super::keys::inspect;
use super::{FakeCluster, FakeSecret};
use crate::domain::certificate::{CertificateView, SecretStatus, SecretView};
use crate::domain::desired::plan::filled_tls_value;
use crate::domain::failure::FailureClass;
use crate::domain::ingress::{
    FILLED_TLS, IngressKey, IngressRef, IngressView, SecretKey, TlsBlock,
};
use crate::domain::name::DnsName;
use crate::domain::routes::SolverIngress;
use crate::domain::status::kube_event::KubeEvent;
use crate::ports::{
    EventRecorder, IngressChange, IngressSource, Installation, PortError, Routes, TlsSecrets,
};

#[async_trait(?Send)]
impl IngressSource for FakeCluster {
    async fn get(&self, key: &IngressKey) -> Option<IngressView> {
        self.state.borrow().ingresses.get(key).cloned()
    }

    fn watch(&self) -> LocalBoxStream<'static, IngressChange> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.state.borrow_mut();
        for change in state.list() {
            sender.send(change).expect("the receiver is in the next line");
        }
        state.watchers.push(sender);
        unfold(receiver, async |mut changes| changes.recv().await.map(|change| (change, changes)))
            .boxed_local()
    }
}

#[async_trait(?Send)]
impl TlsSecrets for FakeCluster {
    async fn read(&self, secret: &SecretKey) -> Result<SecretStatus, PortError> {
        self.call("read").await?;
        Ok(self.state.borrow().secrets.get(secret).map(|secret| secret.view.clone()))
    }

    async fn exists(&self, secret: &SecretKey) -> Result<bool, PortError> {
        self.call("exists").await?;
        Ok(self.state.borrow().secrets.contains_key(secret))
    }

    async fn verified(&self, key: &SecretKey) -> Result<Option<CertificateView>, PortError> {
        self.call("verified").await?;
        let state = self.state.borrow();
        let secret = state.secrets.get(key).filter(|_| !state.forged.contains(key));
        let ours = secret.filter(|one| one.view.ours);
        let certificate = ours.and_then(|one| one.view.certificate.as_ref().ok());
        Ok(certificate.filter(|one| one.key_matches).cloned())
    }

    async fn install(
        &self,
        key: &SecretKey,
        what: Installation,
    ) -> Result<SecretStatus, PortError> {
        self.call("install").await?;
        let mut state = self.state.borrow_mut();
        if state.secrets.get(key).is_some_and(|there| !there.view.ours && !what.adopt) {
            return Err(PortError::permanent(FailureClass::Conflict, "it is not ours"));
        }
        let owners: BTreeSet<String> =
            what.owners.iter().map(|owner| owner.uid.to_string()).collect();
        let view = SecretView {
            ours: true,
            is_tls: true,
            immutable: false,
            certificate: inspect(&what.chain, &what.key),
            owners: owners.clone(),
            renew: what.renew,
            directory: Some(what.directory),
            instead_of: what.instead_of,
        };
        state
            .secrets
            .insert(key.clone(), FakeSecret { view: view.clone(), chain: what.chain, owners });
        Ok(Some(view))
    }

    async fn set_owners(
        &self,
        key: &SecretKey,
        owners: &BTreeSet<IngressRef>,
    ) -> Result<SecretStatus, PortError> {
        self.call("set_owners").await?;
        let mut state = self.state.borrow_mut();
        let Some(secret) = state.secrets.get_mut(key) else { return Ok(None) };
        secret.owners = owners.iter().map(|owner| owner.uid.to_string()).collect();
        secret.view.owners = secret.owners.clone();
        Ok(Some(secret.view.clone()))
    }

    async fn fill_tls(
        &self,
        ingress: &IngressRef,
        secret: &SecretKey,
        hosts: &BTreeSet<DnsName>,
    ) -> Result<(), PortError> {
        self.call("fill_tls").await?;
        let view = self.state.borrow().ingresses.get(&ingress.key).cloned();
        let Some(mut view) = view.filter(|view| view.uid == ingress.uid) else { return Ok(()) };
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let filled = filled_tls_value(hosts.iter().map(String::as_str));
        view.tls = vec![TlsBlock { hosts, secret_name: Some(secret.name.to_string()) }];
        view.annotations.insert(FILLED_TLS.to_owned(), filled);
        self.apply(view);
        Ok(())
    }
}

#[async_trait(?Send)]
impl Routes for FakeCluster {
    async fn list(&self) -> Result<Vec<SolverIngress>, PortError> {
        self.call("list_routes").await?;
        Ok(self.state.borrow().solver.values().cloned().collect())
    }

    async fn write(&self, ingress: &SolverIngress) -> Result<(), PortError> {
        self.call("write_routes").await?;
        let solver = &mut self.state.borrow_mut().solver;
        if ingress.hosts.is_empty() {
            solver.remove(&ingress.name);
        } else {
            solver.insert(ingress.name.clone(), ingress.clone());
        }
        Ok(())
    }
}

#[async_trait(?Send)]
impl EventRecorder for FakeCluster {
    fn record(&self, about: &IngressRef, kube_event: KubeEvent) {
        tracing::debug!(ingress = %about.key, at = %self.clock.now(), ?kube_event, "announced");
        self.state.borrow_mut().events.push((about.key.clone(), kube_event));
    }

    async fn flush(&self) {}
}
