//! Ports of a dry run: reads pass, Events say that nothing is done, and everything else that would
//! change the cluster or ask the CA is refused before it leaves the process.

use std::collections::BTreeSet;
use std::rc::Rc;

use async_trait::async_trait;

use super::no_ca::{NoCa, refused};
use crate::dns::ports::DnsPorts;
use crate::domain::certificate::{CertificateView, SecretStatus};
use crate::domain::copied::Copied;
use crate::domain::cut::cut;
use crate::domain::ingress::{IngressRef, SecretKey};
use crate::domain::issuance::Record;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::routes::SolverIngress;
use crate::domain::status::kube_event::KubeEvent;
use crate::domain::time::Timestamp;
use crate::operator::Ports;
use crate::ports::{
    EventRecorder, Installation, Journal, JournalError, PortError, Routes, SecretReads, TlsSecrets,
    Written,
};

/// Returns ports that write nothing but Events, and that have no CA.
#[must_use]
pub fn without_writes(ports: Ports) -> Ports {
    Ports {
        tls_secrets: Rc::new(ReadOnly(ports.tls_secrets)),
        ca: Rc::new(NoCa(ports.ca)),
        fallback: None,
        rehearsal: None,
        routes: Rc::new(NoRoutes),
        event_recorder: Rc::new(Announced(ports.event_recorder)),
        journal: Rc::new(NoJournal),
        dns: DnsPorts { records: DnsPorts::none().records, ..ports.dns },
        ..ports
    }
}

/// Secrets that are read.
struct ReadOnly(Rc<dyn SecretReads>);

#[async_trait(?Send)]
impl SecretReads for ReadOnly {
    async fn read(&self, secret: &SecretKey) -> Result<SecretStatus, PortError> {
        self.0.read(secret).await
    }

    async fn exists(&self, secret: &SecretKey) -> Result<bool, PortError> {
        self.0.exists(secret).await
    }

    async fn verified(&self, secret: &SecretKey) -> Result<Option<CertificateView>, PortError> {
        self.0.verified(secret).await
    }
}

#[async_trait(?Send)]
impl TlsSecrets for ReadOnly {
    async fn install(&self, _: &SecretKey, _: Installation) -> Result<SecretStatus, PortError> {
        refused()
    }

    async fn set_metadata(
        &self,
        _: &SecretKey,
        _: Option<&BTreeSet<IngressRef>>,
        _: &Copied,
        _: Option<&str>,
    ) -> Result<SecretStatus, PortError> {
        refused()
    }

    async fn fill_tls(
        &self,
        _: &IngressRef,
        _: &SecretKey,
        _: &BTreeSet<DnsName>,
    ) -> Result<(), PortError> {
        refused()
    }

    async fn take_back_tls(&self, _: &IngressRef) -> Result<bool, PortError> {
        refused()
    }
}

/// No solver Ingresses: those that are there belong to another operator.
struct NoRoutes;

#[async_trait(?Send)]
impl Routes for NoRoutes {
    async fn list(&self) -> Result<Vec<SolverIngress>, PortError> {
        Ok(Vec::new())
    }

    async fn write(&self, _: &SolverIngress, _: bool) -> Result<Option<Written>, PortError> {
        refused()
    }

    async fn copy_endpoints(&self) -> Result<(), PortError> {
        Ok(())
    }
}

/// Events that begin with the words that nothing is done.
struct Announced(Rc<dyn EventRecorder>);

impl Announced {
    fn marked(kube_event: &KubeEvent) -> KubeEvent {
        let note = format!("Dry run, nothing is changed. {}", kube_event.note);
        KubeEvent { note: cut(note, limits::EVENT_NOTE_MAX), ..*kube_event }
    }
}

#[async_trait(?Send)]
impl EventRecorder for Announced {
    fn record(&self, about: &IngressRef, kube_event: KubeEvent) {
        self.0.record(about, Self::marked(&kube_event));
    }

    fn repeat(&self, about: &IngressRef, kube_event: KubeEvent) {
        self.0.repeat(about, Self::marked(&kube_event));
    }

    async fn flush(&self) {
        self.0.flush().await;
    }
}

/// An empty journal, which takes no records: that of an operator beside is not fenced.
struct NoJournal;

#[async_trait(?Send)]
impl Journal for NoJournal {
    async fn append(&self, _: &[Record]) -> Result<(), JournalError> {
        Err(JournalError::Refused("this is a dry run".to_owned()))
    }

    async fn flush(&self) -> Result<(), JournalError> {
        Ok(())
    }

    async fn replay(&self, _: Timestamp) -> Result<Vec<Record>, JournalError> {
        Ok(Vec::new())
    }

    async fn stopped(&self) {
        std::future::pending::<()>().await;
    }
}
