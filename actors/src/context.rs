//! Context that the actors share: the state of the operator, the CAs with their limits, and the
//! validity of certificates.

use std::cell::RefCell;
use std::rc::Rc;

use crate::cas::{CaSet, OperatorCas};
use crate::dns::pauses::AccountPauses;
use crate::dns::ports::DnsPorts;
use crate::domain::cas::Source;
use crate::domain::certificate::SecretView;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::desired::index::Index;
use crate::domain::ingress::{IngressKey, SecretKey};
use crate::domain::issuance::State;
use crate::domain::mode::Mode;
use crate::domain::status::kube_event::KubeEvent;
use crate::domain::status::readiness::{Awaited, Readiness, is_missing};
use crate::domain::time::Timestamp;
use crate::domain::validity::check::{Assessment, serves};
use crate::domain::validity::expiries::{Expiries, Validity};
use crate::domain::validity::renewal::RenewalWindows;
use crate::journal::ledger::Ledger;
use crate::ports::{Clock, TlsSecrets};
use crate::reporting::event_dedup::EventDedup;
use crate::reporting::metrics::Metrics;
use crate::shared_expiries::SharedExpiries;
use crate::switch::Switch;

/// Everything that more than one actor uses.
pub(crate) struct OperatorContext {
    /// All Ingresses and their desired certificates.
    pub index: Rc<RefCell<Index>>,
    /// States of all event streams, and the journal.
    pub ledger: Rc<Ledger>,
    /// Secrets and `spec.tls`.
    pub tls_secrets: Rc<dyn TlsSecrets>,
    /// Kubernetes Events.
    pub events: EventDedup,
    /// The clock.
    pub clock: Rc<dyn Clock>,
    /// Counters and gauges.
    pub metrics: Metrics,
    /// Whether the operator does its work.
    pub mode: Mode,
    /// The operator's own namespace, where its Lease is.
    pub own_namespace: String,
    /// Name of this install on its TLS Secrets.
    pub install_id: String,
    /// Whether a Secret is owned by its Ingresses.
    pub owner_references: bool,
    /// The CAs, each with its limits.
    pub cas: OperatorCas,
    /// Renewal windows and validity of certificates.
    pub dates: CertificateDates,
    /// Ports of challenges in DNS.
    pub dns: DnsPorts,
    /// Pauses of DNS accounts that have just failed.
    pub dns_pauses: AccountPauses,
    /// Whether DNS-PERSIST-01 is in use.
    pub dns_persist_01: bool,
    /// Switch for new orders.
    pub switch: Switch,
    /// Certificates that are waited for.
    pub awaited: RefCell<Awaited>,
}

/// Renewal windows and validity of the observed certificates.
#[derive(Default)]
pub(crate) struct CertificateDates {
    /// Renewal windows that the CA suggests (RFC 9773).
    pub windows: RefCell<RenewalWindows>,
    /// Expiry and renewal time of each certificate.
    pub expiries: SharedExpiries,
}

impl OperatorContext {
    /// End of the certificate of an Ingress that ends first; where none is known, as if it had
    /// ended.
    pub(crate) fn first_expiry(&self, ingress: &IngressKey) -> Option<Timestamp> {
        let secrets = self.index.borrow().secrets(ingress);
        let ends = |expiries: &Expiries| {
            let of = |secret| expiries.validity(secret).map(|validity| validity.not_after);
            secrets.iter().map(of).min().flatten()
        };
        self.dates.expiries.read(ends)
    }

    /// Key of a DNS account in its pauses: a new version of its Secret has none.
    pub(crate) fn version_of_account(&self, account: &str) -> String {
        let accounts = self.dns.accounts.borrow();
        let version = accounts.get(account).map(|account| account.version.as_str());
        format!("{account} {}", version.unwrap_or_default())
    }

    /// Returns the newest desired certificate of a Secret; `None` if no Ingress names the Secret.
    pub(crate) fn desired(&self, secret: &SecretKey) -> Option<DesiredCertificate> {
        self.index.borrow().desired(secret)
    }

    /// Records the validity of a Secret after a read, unless no Ingress names the Secret any more.
    pub(crate) fn record_secret(&self, secret: &SecretKey, found: Option<&SecretView>) {
        if !self.index.borrow().is_wanted(secret) {
            return;
        }
        let mut windows = self.dates.windows.borrow_mut();
        let set = self.cas.set();
        let known = |directory: &str| set.client(directory).is_some();
        windows.record(secret, found, known, self.clock.now());
        let ari = windows.of(secret, found.and_then(SecretView::cert_id));
        self.dates.expiries.record(secret, Validity::of(found, ari));
        drop(windows);
        self.report_foreign(secret, found);
    }

    /// Counts the certificate of a Secret that a job has read or written: as ready in time, or as
    /// waited for from now on.
    pub(crate) fn look_whether_ready(
        &self,
        desired: &DesiredCertificate,
        found: Option<&SecretView>,
    ) {
        let (secret, now) = (&desired.secret, self.clock.now());
        if is_missing(found, desired) {
            let created = desired.routes.iter().map(|wanted| wanted.newest).max();
            let created = created.filter(|_| found.is_none());
            let mut awaited = self.awaited.borrow_mut();
            let earlier = |state: &State| awaited.earlier(state, created, now);
            let earlier = self.ledger.with(secret, earlier);
            awaited.missing(secret, earlier, now);
        } else {
            self.judge_overdue();
            if self.awaited.borrow_mut().ready(secret) {
                self.metrics.readiness(Readiness::InTime);
            }
        }
    }

    /// Forgets the certificates that nobody wants any more, and judges those whose time is over.
    pub(crate) fn look_whether_late(&self) {
        self.awaited.borrow_mut().retain(|secret| self.index.borrow().is_wanted(secret));
        self.judge_overdue();
    }

    /// Judges the certificates whose time is over.
    pub(crate) fn judge_overdue(&self) {
        let (index, now) = (self.index.borrow(), self.clock.now());
        let mut awaited = self.awaited.borrow_mut();
        while let Some(secret) = awaited.take_overdue(now) {
            let names = index.desired(&secret).map(|desired| desired.names).unwrap_or_default();
            let limits = self.cas.limits(&self.directory_of(&secret));
            let rate_limits = limits.rate_limits.borrow();
            let limit = rate_limits.blocking(&secret, &names, true, now);
            let stopped = self.switch.has(&secret);
            let judged = |state: &State| Readiness::of_overdue(state, limit.as_ref(), stopped);
            self.metrics.readiness(self.ledger.with(&secret, judged));
        }
    }

    /// Records an Event, once, for a Secret that serves and is somebody else's: that of another
    /// install, or one that browsers do not trust. Where the Secret does not serve, the failure of
    /// its job says the same.
    fn report_foreign(&self, secret: &SecretKey, found: Option<&SecretView>) {
        let told = found.and_then(|found| Some((found, self.about_foreign(secret, found)?)));
        let Some((found, kube_event)) = told else { return self.events.forget_foreign(secret) };
        let now = self.clock.now();
        if let Some(desired) = self.desired(secret).filter(|desired| serves(found, desired, now)) {
            self.events.report_foreign(&self.index.borrow(), &desired, &kube_event);
        }
    }

    fn about_foreign(&self, secret: &SecretKey, found: &SecretView) -> Option<KubeEvent> {
        if let Some(other) = &found.other_install {
            return Some(KubeEvent::of_another_install(secret, other, &self.install_id));
        }
        let certificate = found.certificate.as_ref().ok().filter(|_| found.untrusted)?;
        Some(KubeEvent::untrusted(secret, &certificate.issuer))
    }

    /// Directory of the CA that the certificate of a Secret should have, as far as its Ingresses
    /// say so.
    fn directory_of(&self, secret: &SecretKey) -> String {
        let set = self.cas.set();
        let desired = self.desired(secret);
        set.deciding(None, desired.as_ref(), None).ca.directory.clone()
    }

    /// Name of the CA that has issued the certificate of a Secret, or is to issue it; `None` where
    /// there is one CA only.
    pub(crate) fn shown_ca(&self, secret: &SecretKey) -> Option<String> {
        let set = self.cas.set();
        if set.cas.source == Source::Flags || set.cas.others.is_empty() {
            return None;
        }
        let issued_by = self.dates.windows.borrow().directory(secret).map(str::to_owned);
        let directory = issued_by.unwrap_or_else(|| self.directory_of(secret));
        Some(set.cas.at(&directory).map_or(directory, |ca| ca.name.clone()))
    }

    /// Returns the inputs for a check of a Secret at this moment, with the renewal windows in
    /// `windows`, against the CA of `directory`.
    pub(crate) fn assessment<'a>(
        &self,
        windows: &'a RenewalWindows,
        (directory, set): (&'a str, &CaSet),
        secret: &SecretKey,
        found: Option<&SecretView>,
    ) -> Assessment<'a> {
        Assessment {
            directory,
            reissues: set.cas.reissues_now(),
            ari: windows.of(secret, found.and_then(SecretView::cert_id)),
            installed: self.ledger.installed(secret),
            now: self.clock.now(),
        }
    }
}
