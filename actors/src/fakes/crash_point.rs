//! Ports that stop at a crash point: every later call hangs forever, as if the process were gone.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::LocalBoxStream;

use crate::domain::caa::{CaaSet, Issuer};
use crate::domain::certificate::{CertId, CertificateView, SecretStatus};
use crate::domain::controllers::ClassView;
use crate::domain::copied::Copied;
use crate::domain::dns::txt::{ChallengeTarget, TxtRecord};
use crate::domain::ingress::{IngressKey, IngressRef, IngressView, SecretKey};
use crate::domain::issuance::{Methods, OrderView, OverIpv6, Reach};
use crate::domain::name::DnsName;
use crate::domain::routes::SolverIngress;
use crate::domain::status::kube_event::KubeEvent;
use crate::domain::validity::renewal::RenewalWindow;
use crate::ports::{
    CertificateAuthority, ChallengeDns, CreateError, DnsRecords, EventRecorder, IngressChange,
    IngressClasses, IngressSource, Installation, JournalError, PortError, Probe, Replaces, Routes,
    SecretReads, SegmentNumbers, Segments, TlsSecrets, TxtError, Written,
};

/// Crash point of one operator, measured in port calls.
#[derive(Debug, Default)]
pub struct CrashPoint {
    calls: Cell<u64>,
    dies_after: Cell<Option<u64>>,
}

impl CrashPoint {
    /// Crashes after `calls` port calls. The last call still has its effect, but its result is
    /// lost.
    pub fn end_after(&self, calls: u64) {
        self.dies_after.set(Some(calls));
    }

    /// Whether the crash point is reached.
    pub fn has_ended(&self) -> bool {
        self.is_over()
    }

    /// Number of port calls so far.
    pub fn calls(&self) -> u64 {
        self.calls.get()
    }

    fn is_over(&self) -> bool {
        self.dies_after.get().is_some_and(|last| self.calls.get() >= last)
    }

    /// Runs a call. Hangs instead if the crash point is reached before the call or before its
    /// result.
    async fn call<T>(&self, call: impl Future<Output = T>) -> T {
        self.wait_if_over().await;
        let answer = call.await;
        self.calls.set(self.calls.get() + 1);
        self.wait_if_over().await;
        answer
    }

    async fn wait_if_over(&self) {
        if self.is_over() {
            std::future::pending::<()>().await;
        }
    }
}

/// A port with a crash point.
pub(super) struct Crashable<P: ?Sized> {
    pub(super) port: Rc<P>,
    pub(super) crash_point: Rc<CrashPoint>,
}

#[async_trait(?Send)]
impl<P: IngressSource + 'static> IngressSource for Crashable<P> {
    async fn get(&self, key: &IngressKey) -> Option<IngressView> {
        self.crash_point.call(self.port.get(key)).await
    }

    fn watch(&self) -> LocalBoxStream<'static, IngressChange> {
        let crash_point = self.crash_point.clone();
        let watched = self.port.watch().then(move |change| {
            let crash_point = crash_point.clone();
            async move {
                crash_point.wait_if_over().await;
                change
            }
        });
        watched.boxed_local()
    }
}

#[async_trait(?Send)]
impl<P: SecretReads> SecretReads for Crashable<P> {
    async fn read(&self, secret: &SecretKey) -> Result<SecretStatus, PortError> {
        self.crash_point.call(self.port.read(secret)).await
    }

    async fn exists(&self, secret: &SecretKey) -> Result<bool, PortError> {
        self.crash_point.call(self.port.exists(secret)).await
    }

    async fn verified(&self, secret: &SecretKey) -> Result<Option<CertificateView>, PortError> {
        self.crash_point.call(self.port.verified(secret)).await
    }
}

#[async_trait(?Send)]
impl<P: TlsSecrets> TlsSecrets for Crashable<P> {
    async fn install(
        &self,
        secret: &SecretKey,
        what: Installation,
    ) -> Result<SecretStatus, PortError> {
        self.crash_point.call(self.port.install(secret, what)).await
    }

    async fn set_metadata(
        &self,
        secret: &SecretKey,
        owners: Option<&BTreeSet<IngressRef>>,
        copied: &Copied,
        ca: Option<&str>,
    ) -> Result<SecretStatus, PortError> {
        self.crash_point.call(self.port.set_metadata(secret, owners, copied, ca)).await
    }

    async fn fill_tls(
        &self,
        ingress: &IngressRef,
        secret: &SecretKey,
        hosts: &BTreeSet<DnsName>,
    ) -> Result<(), PortError> {
        self.crash_point.call(self.port.fill_tls(ingress, secret, hosts)).await
    }

    async fn take_back_tls(&self, ingress: &IngressRef) -> Result<bool, PortError> {
        self.crash_point.call(self.port.take_back_tls(ingress)).await
    }
}

#[async_trait(?Send)]
impl<P: DnsRecords> DnsRecords for Crashable<P> {
    async fn add(&self, record: &TxtRecord) -> Result<(), TxtError> {
        self.crash_point.call(self.port.add(record)).await
    }

    async fn remove(&self, record: &TxtRecord) -> Result<(), TxtError> {
        self.crash_point.call(self.port.remove(record)).await
    }
}

#[async_trait(?Send)]
impl<P: ChallengeDns> ChallengeDns for Crashable<P> {
    async fn target(&self, name: &DnsName) -> Result<ChallengeTarget, String> {
        self.crash_point.call(self.port.target(name)).await
    }

    async fn has(&self, record: &TxtRecord) -> Result<bool, String> {
        self.crash_point.call(self.port.has(record)).await
    }

    async fn persist_records(&self, name: &DnsName) -> Result<Vec<String>, String> {
        self.crash_point.call(self.port.persist_records(name)).await
    }
}

#[async_trait(?Send)]
impl<P: CertificateAuthority> CertificateAuthority for Crashable<P> {
    async fn account(&self) -> Result<String, PortError> {
        self.crash_point.call(self.port.account()).await
    }

    async fn open_order(
        &self,
        names: &BTreeSet<DnsName>,
        profile: Option<&str>,
        replaces: Option<Replaces<'_>>,
    ) -> Result<OrderView, PortError> {
        self.crash_point.call(self.port.open_order(names, profile, replaces)).await
    }

    fn issuer(&self) -> Issuer {
        self.port.issuer()
    }

    async fn renewal_info(
        &self,
        id: &CertId,
    ) -> Result<Option<(RenewalWindow, Option<Duration>)>, PortError> {
        self.crash_point.call(self.port.renewal_info(id)).await
    }

    async fn refresh(&self, url: &str) -> Result<OrderView, PortError> {
        self.crash_point.call(self.port.refresh(url)).await
    }

    async fn offers(&self, url: &str) -> Result<OrderView, PortError> {
        self.crash_point.call(self.port.offers(url)).await
    }

    async fn accept(&self, url: &str, methods: &Methods) -> Result<OrderView, PortError> {
        self.crash_point.call(self.port.accept(url, methods)).await
    }

    async fn finalize(&self, url: &str, csr: &[u8]) -> Result<OrderView, PortError> {
        self.crash_point.call(self.port.finalize(url, csr)).await
    }

    async fn download(&self, url: &str) -> Result<String, PortError> {
        self.crash_point.call(self.port.download(url)).await
    }
}

#[async_trait(?Send)]
impl<P: Routes> Routes for Crashable<P> {
    async fn list(&self) -> Result<Vec<SolverIngress>, PortError> {
        self.crash_point.call(self.port.list()).await
    }

    async fn write(
        &self,
        ingress: &SolverIngress,
        is_last: bool,
    ) -> Result<Option<Written>, PortError> {
        self.crash_point.call(self.port.write(ingress, is_last)).await
    }

    async fn copy_endpoints(&self) -> Result<(), PortError> {
        self.port.copy_endpoints().await
    }
}

#[async_trait(?Send)]
impl<P: IngressClasses> IngressClasses for Crashable<P> {
    async fn list(&self) -> Result<Vec<ClassView>, PortError> {
        self.crash_point.call(self.port.list()).await
    }
}

#[async_trait(?Send)]
impl<P: Probe> Probe for Crashable<P> {
    async fn probe(&self, host: &DnsName) -> Reach {
        self.crash_point.call(self.port.probe(host)).await
    }

    async fn over_ipv6(&self, host: &DnsName) -> OverIpv6 {
        self.crash_point.call(self.port.over_ipv6(host)).await
    }

    async fn caa(&self, host: &DnsName) -> Result<CaaSet, String> {
        self.crash_point.call(self.port.caa(host)).await
    }
}

#[async_trait(?Send)]
impl<P: Segments> Segments for Crashable<P> {
    async fn list(&self, page: Option<&str>) -> Result<SegmentNumbers, JournalError> {
        self.crash_point.call(self.port.list(page)).await
    }

    async fn read(&self, number: u64) -> Result<Option<Vec<u8>>, JournalError> {
        self.crash_point.call(self.port.read(number)).await
    }

    async fn create(&self, number: u64, data: &[u8]) -> Result<(), CreateError> {
        self.crash_point.call(self.port.create(number, data)).await
    }

    async fn delete(&self, numbers: &[u64]) -> Result<(), JournalError> {
        self.crash_point.call(self.port.delete(numbers)).await
    }
}

#[async_trait(?Send)]
impl<P: EventRecorder> EventRecorder for Crashable<P> {
    fn record(&self, about: &IngressRef, kube_event: KubeEvent) {
        if !self.crash_point.is_over() {
            self.port.record(about, kube_event);
        }
    }

    fn repeat(&self, about: &IngressRef, kube_event: KubeEvent) {
        if !self.crash_point.is_over() {
            self.port.repeat(about, kube_event);
        }
    }

    async fn flush(&self) {
        self.crash_point.call(self.port.flush()).await;
    }
}
