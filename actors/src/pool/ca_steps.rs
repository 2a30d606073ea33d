//! Steps at the CA: key, order, validation, finalization and download.

use std::collections::BTreeSet;
use std::rc::Rc;

use tracing::{debug, info};

use super::job_runner::JobRunner;
use crate::domain::cas::Source;
use crate::domain::certificate::{CertId, KeyAlgorithm, PrivateKey};
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::issuance::{Chain, ChosenCa, Command, Issuance, NewIssuance, OrderView, Step};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::scheduling::scheduler::Job;
use crate::domain::status::kube_event::KubeEvent;
use crate::domain::time::Timestamp;
use crate::domain::validity::check::IssueReason;
use crate::ports::{CertificateAuthority, PortError, Replaces, bounded};

impl JobRunner {
    /// The CA of an issuance; `None` if it is no longer configured, on which the next look at the
    /// job decides.
    pub(super) fn ca(&self, issuance: &Issuance) -> Option<Rc<dyn CertificateAuthority>> {
        Some(self.context.cas.set().of(issuance)?.ca.clone())
    }

    /// Directory of the CA of an issuance.
    fn directory_of(&self, issuance: &Issuance) -> String {
        let first = || self.context.cas.set().cas.first.directory.clone();
        issuance.directory.clone().unwrap_or_else(first)
    }

    pub(super) async fn begin(
        &self,
        job: &mut Job,
        desired: DesiredCertificate,
        (names, directory): (BTreeSet<DnsName>, Option<String>),
        reason: &IssueReason,
    ) {
        let algorithm = self.algorithm(&desired, directory.as_deref());
        let made = self.ports.keys.generate(algorithm);
        let made = bounded(limits::KEY_CALL, "key generator", made).await;
        let Some(key) = self.succeeded(job, FailureClass::InvalidSpec, made) else { return };
        info!(%reason, names = names.len(), "a certificate is needed");
        // An Event follows a failure or an unusual reason. Otherwise the Event Issued is enough.
        let failed = self.context.ledger.with(&job.stream, |state| state.failing().is_some());
        let beginning = self.new_issuance(job, desired.clone(), (names.clone(), directory), key);
        let ca = beginning.ca.as_ref();
        let fallback = ca.map_or(beginning.directory.as_deref(), |ca| {
            ca.fallback.then_some(ca.directory.as_str())
        });
        let event = (failed || reason.is_explained() || fallback.is_some())
            .then(|| KubeEvent::issuing(&desired.secret, &names, reason, fallback));
        if self.commit(job, Command::Begin(Box::new(beginning))).await {
            job.observed.reset_errors();
            if let Some(issuing) = event {
                self.context.events.record(&desired, &issuing);
            }
        }
    }

    /// Algorithm of the key for an issuance at the CA of `directory`.
    fn algorithm(&self, desired: &DesiredCertificate, directory: Option<&str>) -> KeyAlgorithm {
        let cas = &self.context.cas.set().cas;
        cas.algorithm_at(directory.unwrap_or(&cas.first.directory), desired)
    }

    /// The issuance of `names` at the CA of `directory`, as [`Cas::mark`] names it.
    ///
    /// [`Cas::mark`]: crate::domain::cas::Cas::mark
    fn new_issuance(
        &self,
        job: &Job,
        desired: DesiredCertificate,
        (names, directory): (BTreeSet<DnsName>, Option<String>),
        key: PrivateKey,
    ) -> NewIssuance {
        let (set, found) = (self.context.cas.set(), job.observed.found());
        let choice = set.cas.choice_for(&desired, found);
        let named = directory.clone().unwrap_or_else(|| set.cas.first.directory.clone());
        // A CA that the Ingress did not choose has profiles of its own.
        let is_chosen = named == choice.ca.directory && choice.refusal.is_none();
        let own = || set.cas.at(&named).and_then(|ca| ca.profile.clone());
        let profile = if is_chosen { desired.profile.clone() } else { own() };
        let algorithm = self.algorithm(&desired, Some(&named));
        if set.cas.source == Source::Flags {
            return NewIssuance { desired, names, directory, ca: None, profile, algorithm, key };
        }
        let before = found.and_then(|found| found.ca.clone());
        let asked = if choice.refusal.is_some() { before } else { desired.ca.clone() };
        let fallback = named != choice.ca.directory;
        // Release 0.1.0 has one CA, the first one here, and drops issuances of others.
        let directory = directory.filter(|_| named != set.cas.first.directory);
        let ca = Some(ChosenCa { directory: named, fallback, asked });
        NewIssuance { desired, names, directory, ca, profile, algorithm, key }
    }

    pub(super) async fn open_order(&self, job: &mut Job) {
        let Some(issuance) = self.issuance(job) else { return };
        self.context.ledger.asks_for_order(&job.stream, self.context.clock.now());
        if job.observed.opened.is_none() {
            let id = self.replaced(job, &issuance).await;
            let barred = self.is_barred(job, &issuance);
            let replaces = id.as_ref().map(|id| Replaces { id, or_without: !barred });
            let (names, profile) = (&issuance.names, issuance.profile.as_deref());
            let Some(ca) = self.ca(&issuance) else { return };
            let opened = ca.open_order(names, profile, replaces);
            let opened = bounded(limits::CA_CALL, "CA", opened).await;
            job.observed.opened = self.succeeded(job, FailureClass::AcmeServer, opened);
        }
        let Some(order) = job.observed.opened.clone() else { return };
        if self.commit(job, Command::Opened(order.url.clone())).await {
            job.observed.opened = None;
            let (directory, now) = (self.directory_of(&issuance), self.context.clock.now());
            let limits = self.context.cas.limits(&directory);
            let rate_limits = &limits.rate_limits;
            rate_limits.borrow_mut().order_opened(&job.stream, now);
            let replaced = order.replaces;
            job.observed.order_shown(order, now);
            if !replaced {
                self.count_in_shares(job, &issuance, now);
            }
            let paced = rate_limits.borrow().paced(&job.stream.namespace, &issuance.names, now);
            for hit in paced {
                self.commit(job, Command::LimitHit(directory.clone(), hit)).await;
            }
        }
    }

    /// Counts an order in the shares of its namespace, but for one of a fallback CA. An order that
    /// the CA accepted as a replacement counts in no limit of Let's Encrypt's (RFC 9773 §5).
    fn count_in_shares(&self, job: &Job, issuance: &Issuance, now: Timestamp) {
        if issuance.is_fallback {
            return;
        }
        let limits = self.context.cas.limits(&self.directory_of(issuance));
        let namespace = &job.stream.namespace;
        let index = self.context.index.borrow();
        let others = |domain: Option<&str>| index.is_needed_elsewhere(namespace, domain);
        let hits = limits.shares.borrow_mut().ordered(namespace, &issuance.names, others, now);
        for hit in hits {
            limits.rate_limits.borrow_mut().close(hit);
        }
    }

    /// Whether a rate limit of the CA blocks the order, which then bypasses the limit. A bypass is
    /// counted.
    fn is_barred(&self, job: &Job, issuance: &Issuance) -> bool {
        let (stream, now) = (&job.stream, self.context.clock.now());
        let limits = self.context.cas.limits(&self.directory_of(issuance));
        let mut rate_limits = limits.rate_limits.borrow_mut();
        let barred = rate_limits.blocking(stream, &issuance.names, false, now).is_some();
        if barred {
            rate_limits.record_bypass(&stream.namespace, now);
        }
        barred
    }

    /// ARI identifier of the certificate that this issuance replaces (RFC 9773 §5): one of ours,
    /// from the same CA and account, that is still valid and shares a name. The order of another
    /// account is a plain one also where a rate limit would let a replacement pass: the CA answers
    /// it by the limit.
    async fn replaced(&self, job: &Job, issuance: &Issuance) -> Option<CertId> {
        let secret = job.observed.found()?;
        let leaf = secret.issued_by(&self.directory_of(issuance))?;
        let shared = issuance.names.iter().any(|name| leaf.is_for(name));
        let id = leaf.id.clone().filter(|_| shared && self.context.clock.now() < leaf.not_after)?;
        if secret.account.is_some()
            && let Some(account) = self.account(issuance).await
            && !secret.is_of_account(&account)
        {
            debug!(account, was = secret.account, "the certificate is one of another account");
            return None;
        }
        Some(id)
    }

    /// URL of the account that orders the certificate of an issuance; `None` while it cannot be
    /// found out. Nothing depends on the account but a request that the CA may refuse.
    pub(super) async fn account(&self, issuance: &Issuance) -> Option<String> {
        let ca = self.ca(issuance)?;
        let account = bounded(limits::CA_CALL, "CA", ca.account()).await;
        account.inspect_err(|error| debug!(%error, "the account is not known")).ok()
    }

    /// Fetches the order, accepts its challenges, or finalizes the order. The CA answers each with
    /// the order.
    pub(super) async fn advance(&self, step: Step, job: &mut Job) {
        let (Some(url), Some(issuance)) = (self.order_url(job), self.issuance(job)) else { return };
        let Some(ca) = self.ca(&issuance) else { return };
        let call = async {
            match &step {
                Step::Refresh => ca.refresh(&url).await,
                Step::ReadOffers => ca.offers(&url).await,
                Step::Accept(methods) => ca.accept(&url, methods).await,
                _ => {
                    ca.finalize(&url, &self.ports.keys.request(&issuance.names, &issuance.key)?)
                        .await
                }
            }
        };
        let shown: Result<OrderView, PortError> = bounded(limits::CA_CALL, "CA", call).await;
        if let Some(order) = self.succeeded(job, FailureClass::AcmeServer, shown) {
            job.observed.order_shown(order, self.context.clock.now());
            job.observed.in_dns.offers_read = step == Step::ReadOffers;
        }
    }

    pub(super) async fn download(&self, job: &mut Job) {
        let (Some(url), Some(issuance)) = (self.order_url(job), self.issuance(job)) else { return };
        let Some(ca) = self.ca(&issuance) else { return };
        let chain = bounded(limits::CA_CALL, "CA", ca.download(&url)).await;
        let Some(pem) = self.succeeded(job, FailureClass::AcmeServer, chain) else { return };
        match self.ports.keys.inspect(&pem, &issuance.key) {
            Ok(leaf) => {
                job.observed.chain = Some(Chain { pem, leaf });
                job.observed.reset_errors();
            }
            Err(why) => {
                let detail = format!("the CA's chain cannot be used: {why}");
                let failure = Failure::new(FailureClass::BadCertificate, detail);
                // Retried before the order fails.
                job.observed.on_transient_error(failure, self.context.clock.now());
            }
        }
    }
}
