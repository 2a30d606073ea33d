//! Steps in the cluster: the Secret, routes and probes of the hosts, `spec.tls`.

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};
use tokio::time::timeout;
use tracing::debug;

use super::job_runner::JobRunner;
use crate::domain::certificate::SecretView;
use crate::domain::controllers::rule_of;
use crate::domain::desired::desired_certificate::{DesiredCertificate, WantedRoute};
use crate::domain::desired::selection::TakesBack;
use crate::domain::failure::FailureClass;
use crate::domain::ingress::IngressRef;
use crate::domain::issuance::{Chain, Command, Issuance, Observed, OverIpv6, Reach};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::scheduling::scheduler::Job;
use crate::domain::solver_place::SolverPlace;
use crate::domain::status::kube_event::KubeEvent;
use crate::domain::time::Timestamp;
use crate::domain::validity::check::{Assessment, IssueReason, answered_ca, check};
use crate::messages::Publish;
use crate::ports::{Installation, PortError, bounded};
use crate::reporting::metrics::IssueKind;

impl JobRunner {
    pub(super) async fn read_secret(&self, job: &mut Job, desired: &DesiredCertificate) {
        let read =
            bounded(limits::KUBE_CALL, "API server", self.context.tls_secrets.read(&job.stream))
                .await;
        if let Some(status) = self.succeeded(job, FailureClass::SecretWrite, read) {
            self.context.record_secret(&job.stream, status.as_ref());
            self.context.look_whether_ready(desired, status.as_ref());
            job.observed.secret = Some((status, self.context.clock.now()));
        }
    }

    pub(super) async fn publish_routes(&self, job: &mut Job, desired: DesiredCertificate) {
        if let Some(settled_at) = self.published(job, &desired).await {
            job.observed.routed(desired.routes);
            job.observed.edition = Some(desired.edition);
            job.observed.wait_until = settled_at;
        }
    }

    /// Publishes the routes; `None` if that failed.
    async fn published(
        &self,
        job: &mut Job,
        desired: &DesiredCertificate,
    ) -> Option<Option<Timestamp>> {
        let publish = Publish { stream: job.stream.clone(), routes: desired.routes.clone() };
        let published = async {
            let answer = self.ports.routes.publish.send(publish).await;
            answer.unwrap_or_else(|gone| Err(PortError::transient(gone.to_string())))
        };
        let published = bounded(limits::ROUTE_CALL, "API server", published).await;
        if matches!(published, Err(PortError::Permanent(_)))
            && job.observed.route_exactly(desired.routes.iter())
        {
            self.withdraw_routes(job).await; // a policy may refuse rules without an exact name
            return None;
        }
        // The CA was not asked, so a failed route is retried soon, like an unreachable host.
        let published = published.map_err(|error| match error {
            PortError::Permanent(failure) => {
                PortError::permanent(FailureClass::Unreachable, failure.detail)
            }
            transient @ PortError::Transient { .. } => transient,
        });
        self.succeeded(job, FailureClass::Unreachable, published)
    }

    /// Whether the routes in users' Ingresses are there still, which other programs may put back. A
    /// job whose route was put back waits until it has stayed for a while.
    async fn are_in_place(&self, job: &mut Job, desired: &DesiredCertificate) -> bool {
        let is_in_place =
            |wanted: &WantedRoute| matches!(wanted.route.place, SolverPlace::InPlace(_));
        if !desired.routes.iter().any(is_in_place) {
            return true;
        }
        let Some(settled_at) = self.published(job, desired).await else { return false };
        job.observed.wait_until = settled_at;
        settled_at.is_none()
    }

    /// Probes the next few hosts that were not reached yet. Those that are reached now are asked
    /// over IPv6 too; a difference is reported, and stops nothing.
    pub(super) async fn probe_hosts(
        &self,
        job: &mut Job,
        hosts: &BTreeSet<DnsName>,
        desired: &DesiredCertificate,
    ) {
        if !self.are_in_place(job, desired).await {
            return;
        }
        let began = self.context.clock.now();
        let few = job.observed.next_probes(hosts);
        let probes = stream::iter(few).map(|host| async move {
            let late = |_| Reach::silent("no answer in time");
            let found = timeout(limits::PROBE_CALL, self.ports.probe.probe(&host)).await;
            let found = found.unwrap_or_else(late);
            if found.is_reached() {
                self.ask_over_ipv6(&host, desired).await;
            }
            (host, found)
        });
        let probed: Vec<_> = probes.buffer_unordered(limits::PROBES_AT_ONCE).collect().await;
        let now = self.context.clock.now();
        job.observed.probed_some(probed, hosts, now.since(began), now);
        if let Some((host, found)) = job.observed.unreached() {
            debug!(%host, ?found, "the host does not lead to the solver");
        }
        if job.observed.give_up_general_rules(&desired.routes) {
            return self.withdraw_routes(job).await;
        }
        self.look_for_a_rule(job, desired).await;
    }

    /// Finds out whether the ingress controller has a rule by which a host that another server
    /// answers for will not lead to the solver.
    async fn look_for_a_rule(&self, job: &mut Job, desired: &DesiredCertificate) {
        let mut answered = job.observed.answered_elsewhere(&desired.routes).peekable();
        if answered.peek().is_none() {
            return;
        }
        let classes = self.ports.classes.list(self.context.clock.now()).await;
        let rule = answered.find_map(|(class, place)| rule_of(class, place, &classes));
        drop(answered);
        job.observed.rule = rule;
    }

    async fn ask_over_ipv6(&self, host: &DnsName, desired: &DesiredCertificate) {
        let asked = timeout(limits::PROBE_IPV6_CALL, self.ports.probe.over_ipv6(host)).await;
        let late = |_| OverIpv6::Silent("no answer in time".to_owned());
        let found = asked.unwrap_or_else(late);
        debug!(%host, ?found, "asked over IPv6");
        self.context.events.report_over_ipv6(&self.context.index.borrow(), desired, host, &found);
    }

    pub(super) async fn install(&self, job: &mut Job, desired: &DesiredCertificate) {
        let (Some(issuance), Some(chain)) = (self.issuance(job), job.observed.chain.clone()) else {
            return;
        };
        let kind = self.kind(job, desired);
        let set = self.context.cas.set();
        let ca = set.deciding(Some(&issuance), Some(desired), job.observed.found()).ca;
        let what = self.installation(&issuance, &chain, desired, &ca.directory).await;
        let installed = self.context.tls_secrets.install(&job.stream, what);
        let installed = bounded(limits::KUBE_CALL, "API server", installed).await;
        if let Err(PortError::Transient { .. }) = installed {
            job.observed.secret = None; // the Secret may have changed meanwhile
        }
        let Some(status) = self.succeeded(job, FailureClass::SecretWrite, installed) else {
            return;
        };
        self.context.judge_overdue(); // the commit forgets the failures that excuse a late one
        let (serial, not_after) = (chain.leaf.serial.clone(), chain.leaf.not_after);
        if self.commit(job, Command::Installed { serial, not_after }).await {
            let now = self.context.clock.now();
            self.context.metrics.issued(kind, now.since(issuance.started_at));
            self.context.record_secret(&job.stream, status.as_ref());
            self.context.look_whether_ready(desired, status.as_ref());
            let installed = Some(issuance.fingerprint);
            job.observed =
                Observed { secret: Some((status, now)), installed, ..Observed::default() };
            let counts = (!issuance.is_fallback).then_some(&issuance.names);
            self.count_in_guards(job, &ca.directory, counts).await;
        }
    }

    /// What is written into the Secret; `directory` is the one that the certificate is meant for.
    async fn installation(
        &self,
        issuance: &Issuance,
        chain: &Chain,
        desired: &DesiredCertificate,
        directory: &str,
    ) -> Installation {
        let of_fallback = issuance.directory.clone();
        Installation {
            chain: chain.pem.clone(),
            leaf: chain.leaf.clone(),
            key: issuance.key.clone(),
            owners: self.context.owner_references.then(|| desired.owners.clone()),
            renew: issuance.renew.clone(),
            adopt: desired.adopt,
            instead_of: issuance.is_fallback.then(|| directory.to_owned()),
            directory: of_fallback.unwrap_or_else(|| directory.to_owned()),
            ca: issuance.asked_ca.clone(),
            account: self.account(issuance).await,
            copied: desired.copied.clone(),
        }
    }

    /// Counts a certificate in the guards of its CA.
    async fn count_in_guards(
        &self,
        job: &mut Job,
        directory: &str,
        names: Option<&BTreeSet<DnsName>>,
    ) {
        let (limits, now) = (self.context.cas.limits(directory), self.context.clock.now());
        let hit = names.and_then(|names| limits.guards.borrow_mut().issued(names, now));
        self.record_limits(job, directory, hit).await;
    }

    pub(super) async fn update_owners(&self, job: &mut Job, desired: &DesiredCertificate) {
        let owners = self.context.owner_references.then_some(&desired.owners);
        let (set, found) = (self.context.cas.set(), job.observed.found());
        let directory = &set.deciding(None, Some(desired), found).ca.directory;
        let ca = found.and_then(|found| answered_ca(found, desired, directory)).map(str::to_owned);
        let (secrets, copied) = (&self.context.tls_secrets, &desired.copied);
        let updated = secrets.set_metadata(&job.stream, owners, copied, ca.as_deref());
        let updated = bounded(limits::KUBE_CALL, "API server", updated).await;
        let status = updated.as_ref().ok().cloned();
        let is_noted = |found: &SecretView| found.copied == copied.mark() && found.ca == ca;
        let what = if job.observed.found().is_none_or(is_noted) {
            "the owners of its Secret"
        } else {
            "the metadata of its Secret"
        };
        if self.attended(job, desired, what, updated.map(drop)) {
            job.observed.owned = true;
        }
        if let Some(status) = status {
            job.observed.secret = Some((status, self.context.clock.now()));
        }
    }

    /// Handles the result of a change beside a good certificate, such as owner references. A
    /// permanent error is recorded as an Event and left to the next scan, because no certificate is
    /// missing. Returns `false` if the change is retried in this job.
    fn attended(
        &self,
        job: &mut Job,
        desired: &DesiredCertificate,
        what: &str,
        answer: Result<(), PortError>,
    ) -> bool {
        let events = &self.context.events;
        if self.succeeded(job, FailureClass::SecretWrite, answer).is_some() {
            events.forget_left_undone(&desired.secret, what);
            return true;
        }
        let Some(failure) = job.observed.failure.take() else { return false };
        events.report_left_undone(desired, what, &failure.detail);
        true
    }

    pub(super) async fn fill_tls(&self, job: &mut Job, desired: &DesiredCertificate) {
        for (ingress, names) in &desired.fill {
            if desired.moving.contains(ingress) && !has(job, names) {
                continue; // its present Secret may still serve these names
            }
            let filled = self.context.tls_secrets.fill_tls(ingress, &job.stream, names);
            let filled = bounded(limits::KUBE_CALL, "API server", filled).await;
            if !self.attended(job, desired, "spec.tls", filled) {
                return;
            }
        }
        job.observed.filled = true;
        job.observed.fills_more = desired.fill_more && self.is_next_batch(job, desired);
    }

    /// Takes back the `spec.tls` of an Ingress, and says so. A failure is tried again by the next
    /// scan.
    pub(super) async fn take_back(&self, ingress: &IngressRef, why: TakesBack) {
        let taken = self.context.tls_secrets.take_back_tls(ingress);
        let taken = bounded(limits::KUBE_CALL, "API server", taken).await;
        let refusal = match taken {
            Ok(true) => {
                return self.context.events.record_on(ingress, KubeEvent::taken_back(why));
            }
            Ok(false) => "another writer has applied spec.tls too, and owns it now".to_owned(),
            Err(PortError::Transient { detail, .. }) => {
                return debug!(ingress = %ingress.key, detail, "spec.tls is taken back later");
            }
            Err(PortError::Permanent(failure)) => failure.detail.clone(),
        };
        // Another request would be refused likewise, until somebody edits the Ingress.
        if self.context.index.borrow_mut().leave_filled(&ingress.key) {
            let kube_event = KubeEvent::not_taken_back(why, &refusal);
            self.context.events.record_on(ingress, kube_event);
        }
    }

    /// Whether the Ingresses that were filled in are others than in the batch before. Otherwise the
    /// same ones are refused again and again, and the next scan is soon enough.
    fn is_next_batch(&self, job: &Job, desired: &DesiredCertificate) -> bool {
        let Some((first, _)) = desired.fill.first_key_value() else { return false };
        let mut filled = self.filled.borrow_mut();
        filled.retain(|stream, _| self.context.index.borrow().is_wanted(stream));
        filled.insert(job.stream.clone(), first.clone()).as_ref() != Some(first)
    }

    /// Kind of the certificate that is about to be installed, for metrics.
    fn kind(&self, job: &Job, desired: &DesiredCertificate) -> IssueKind {
        let found = job.observed.found();
        let windows = self.context.dates.windows.borrow();
        let (set, issuance) = (self.context.cas.set(), self.issuance(job));
        let directory = &set.deciding(issuance.as_ref(), Some(desired), found).ca.directory;
        let assessment = self.context.assessment(&windows, (directory, &set), &job.stream, found);
        match check(found, desired, &Assessment { installed: None, ..assessment }) {
            Err(reason) if reason.is_first() => IssueKind::First,
            Err(
                IssueReason::DueForRenewal(_)
                | IssueReason::Suggested { .. }
                | IssueReason::Requested,
            ) => IssueKind::Renew,
            _ => IssueKind::Replace,
        }
    }
}

/// Whether the certificate in the Secret, as read, has all of these names.
fn has(job: &Job, names: &BTreeSet<DnsName>) -> bool {
    let certificate = job.observed.found().and_then(|found| found.certificate.as_ref().ok());
    certificate.is_some_and(|one| names.iter().all(|name| one.is_for(name)))
}
