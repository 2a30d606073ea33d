//! Ports of a dry run: reads pass, Events say that nothing is done, and everything else that would
//! change the cluster or ask the CA is refused before it leaves the process.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;

use crate::cas::{CaClient, CaSet};
use crate::dns::ports::DnsPorts;
use crate::domain::caa::Issuer;
use crate::domain::certificate::{CertId, CertificateView, SecretStatus};
use crate::domain::copied::Copied;
use crate::domain::cut::cut;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::ingress::{IngressRef, SecretKey};
use crate::domain::issuance::{Methods, OrderView, Record};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::routes::SolverIngress;
use crate::domain::status::kube_event::KubeEvent;
use crate::domain::time::Timestamp;
use crate::domain::validity::renewal::RenewalWindow;
use crate::operator::Ports;
use crate::ports::{
    CertificateAuthority, EventRecorder, Installation, Journal, JournalError, PortError, Replaces,
    Routes, SecretReads, TlsSecrets, Written,
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

/// Returns CAs that are never asked.
pub(crate) fn without_requests(set: &CaSet) -> CaSet {
    let clients = set.clients.iter().map(|(directory, client)| {
        let ca = Rc::new(NoCa(client.ca.clone()));
        (directory.clone(), CaClient { ca, ..client.clone() })
    });
    CaSet { cas: set.cas.clone(), clients: clients.collect() }
}

fn refused<T>() -> Result<T, PortError> {
    let what = "this is a dry run, which writes nothing but Events";
    Err(PortError::Permanent(Failure::new(FailureClass::SecretWrite, what)))
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

/// A CA that is never asked.
struct NoCa(Rc<dyn CertificateAuthority>);

#[async_trait(?Send)]
impl CertificateAuthority for NoCa {
    async fn account(&self) -> Result<String, PortError> {
        refused()
    }

    async fn open_order(
        &self,
        _: &BTreeSet<DnsName>,
        _: Option<&str>,
        _: Option<Replaces<'_>>,
    ) -> Result<OrderView, PortError> {
        refused()
    }

    /// Known without a request.
    fn issuer(&self) -> Issuer {
        self.0.issuer()
    }

    /// As if the CA had no renewal information, so that renewals follow age.
    async fn renewal_info(
        &self,
        _: &CertId,
    ) -> Result<Option<(RenewalWindow, Option<Duration>)>, PortError> {
        Ok(None)
    }

    async fn refresh(&self, _: &str) -> Result<OrderView, PortError> {
        refused()
    }

    async fn offers(&self, _: &str) -> Result<OrderView, PortError> {
        refused()
    }

    async fn accept(&self, _: &str, _: &Methods) -> Result<OrderView, PortError> {
        refused()
    }

    async fn finalize(&self, _: &str, _: &[u8]) -> Result<OrderView, PortError> {
        refused()
    }

    async fn download(&self, _: &str) -> Result<String, PortError> {
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
