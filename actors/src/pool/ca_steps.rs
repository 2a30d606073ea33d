//! Steps at the CA: key, order, validation, finalization and download.

use std::collections::BTreeSet;

use tracing::{debug, info};

use super::job_runner::{FallbackCa, JobRunner};
use crate::domain::certificate::CertId;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::issuance::{Chain, Command, Issuance, NewIssuance, OrderView, Step};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::scheduling::scheduler::Job;
use crate::domain::status::kube_event::KubeEvent;
use crate::domain::time::Timestamp;
use crate::domain::validity::check::IssueReason;
use crate::ports::{CertificateAuthority, PortError, Replaces, bounded};

impl JobRunner {
    /// The CA of an issuance: the first one, or the fallback CA.
    pub(super) fn ca(&self, issuance: &Issuance) -> &dyn CertificateAuthority {
        let of_it =
            |fallback: &&FallbackCa| issuance.directory.as_ref() == Some(&fallback.directory);
        let fallback = self.ports.fallback.as_ref().filter(of_it);
        fallback.map_or(&*self.ports.ca, |fallback| &*fallback.ca)
    }

    pub(super) async fn begin(
        &self,
        job: &mut Job,
        desired: DesiredCertificate,
        (names, directory): (BTreeSet<DnsName>, Option<String>),
        reason: &IssueReason,
    ) {
        let made =
            bounded(limits::KEY_CALL, "key generator", self.ports.keys.generate(desired.algorithm))
                .await;
        let Some(key) = self.succeeded(job, FailureClass::InvalidSpec, made) else { return };
        info!(%reason, names = names.len(), "a certificate is needed");
        // An Event follows a failure or an unusual reason. Otherwise the Event Issued is enough.
        let failed = self.context.ledger.with(&job.stream, |state| state.failing().is_some());
        let elsewhere = directory.as_deref();
        let event = (failed || reason.is_explained() || elsewhere.is_some()).then(|| {
            (desired.clone(), KubeEvent::issuing(&desired.secret, &names, reason, elsewhere))
        });
        let beginning = NewIssuance { desired, names, directory, key };
        if self.commit(job, Command::Begin(Box::new(beginning))).await {
            job.observed.reset_errors();
            if let Some((desired, issuing)) = event {
                self.context.events.record(&desired, &issuing);
            }
        }
    }

    pub(super) async fn open_order(&self, job: &mut Job) {
        let Some(issuance) = self.issuance(job) else { return };
        self.context.ledger.asks_for_order(&job.stream, self.context.clock.now());
        if job.observed.opened.is_none() {
            let id = self.replaced(job, &issuance).await;
            let barred = self.is_barred(job, &issuance);
            let replaces = id.as_ref().map(|id| Replaces { id, or_without: !barred });
            let (names, profile) = (&issuance.names, issuance.profile.as_deref());
            let opened = self.ca(&issuance).open_order(names, profile, replaces);
            let opened = bounded(limits::CA_CALL, "CA", opened).await;
            job.observed.opened = self.succeeded(job, FailureClass::AcmeServer, opened);
        }
        let Some(order) = job.observed.opened.clone() else { return };
        if self.commit(job, Command::Opened(order.url.clone())).await {
            job.observed.opened = None;
            let (rate_limits, now) = (&self.context.limits.rate_limits, self.context.clock.now());
            rate_limits.borrow_mut().order_opened(&job.stream, now);
            let replaced = order.replaces;
            job.observed.order_shown(order, now);
            if !replaced {
                self.count_in_shares(job, &issuance, now);
            }
            let paced = rate_limits.borrow().paced(&job.stream.namespace, &issuance.names, now);
            for hit in paced {
                self.commit(job, Command::LimitHit(self.context.directory.clone(), hit)).await;
            }
        }
    }

    /// Counts an order of the first CA in the shares of its namespace. An order that the CA
    /// accepted as a replacement counts in no limit of Let's Encrypt's (RFC 9773 §5).
    fn count_in_shares(&self, job: &Job, issuance: &Issuance, now: Timestamp) {
        if issuance.directory.is_some() {
            return;
        }
        let (namespace, limits) = (&job.stream.namespace, &self.context.limits);
        let index = self.context.index.borrow();
        let others = |domain: Option<&str>| index.is_needed_elsewhere(namespace, domain);
        let hits = limits.shares.borrow_mut().ordered(namespace, &issuance.names, others, now);
        for hit in hits {
            limits.rate_limits.borrow_mut().close(hit);
        }
    }

    /// Whether a rate limit blocks the order, which then bypasses the limit. A bypass of the first
    /// CA's limit is counted.
    fn is_barred(&self, job: &Job, issuance: &Issuance) -> bool {
        let (stream, now) = (&job.stream, self.context.clock.now());
        let mut rate_limits = self.context.limits.rate_limits.borrow_mut();
        let barred = rate_limits.blocking(stream, &issuance.names, false, now).is_some();
        if barred && issuance.directory.is_none() {
            rate_limits.record_bypass(&stream.namespace, now);
        }
        barred
    }

    /// ARI identifier of the certificate that this issuance replaces (RFC 9773 §5): one of ours,
    /// from the same CA and account, that is still valid and shares a name. The order of another
    /// account is a plain one also where a rate limit would let a replacement pass: the CA answers
    /// it by the limit.
    async fn replaced(&self, job: &Job, issuance: &Issuance) -> Option<CertId> {
        let directory = issuance.directory.as_ref().unwrap_or(&self.context.directory);
        let secret = job.observed.found()?;
        let leaf = secret.issued_by(directory)?;
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
        let account = bounded(limits::CA_CALL, "CA", self.ca(issuance).account()).await;
        account.inspect_err(|error| debug!(%error, "the account is not known")).ok()
    }

    /// Fetches the order, accepts its challenges, or finalizes the order. The CA answers each with
    /// the order.
    pub(super) async fn advance(&self, step: Step, job: &mut Job) {
        let (Some(url), Some(issuance)) = (self.order_url(job), self.issuance(job)) else { return };
        let ca = self.ca(&issuance);
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
        let chain = bounded(limits::CA_CALL, "CA", self.ca(&issuance).download(&url)).await;
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
