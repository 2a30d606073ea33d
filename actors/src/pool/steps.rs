//! Steps of a job: port calls under their deadlines. This file dispatches them, commits
//! their results to the ledger, and turns port errors into pauses or failures of the job.

use tracing::{debug, error};

use super::job_runner::JobRunner;
use crate::domain::cas::Ca;
use crate::domain::desired::desired_certificate::{Attempted, DesiredCertificate};
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::issuance::{AfterRefusal, Command, Event, Issuance, Observed, State, Step};
use crate::domain::limits;
use crate::domain::rate_limits::LimitHit;
use crate::domain::scheduling::scheduler::Job;
use crate::domain::status::kube_event::KubeEvent;
use crate::journal::ledger::CommitError;
use crate::ports::{JournalError, PortError};

impl JobRunner {
    /// Takes one step for the desired certificate that the step was decided on. Errors become
    /// observations of the job, on which [`next`](crate::domain::issuance::next) decides.
    pub(super) async fn take(
        &self,
        step: Step,
        job: &mut Job,
        desired: Option<DesiredCertificate>,
    ) {
        let Some(desired) = desired else {
            return self.abandon(job, "no Ingress needs it any more").await;
        };
        let directory = self.directory(job, &desired);
        match step {
            Step::ReadSecret => self.read_secret(job, &desired).await,
            Step::CheckHosts => self.check_hosts(job, &desired).await,
            Step::VerifyCertificate => self.verify_certificate(job).await,
            Step::PublishRoutes => self.publish_routes(job, desired).await,
            Step::Probe(hosts) => self.probe_hosts(job, &hosts, &desired).await,
            Step::LookUpCaa(hosts) => self.look_up_caa(job, &desired, hosts).await,
            Step::LookUpDns(names) => self.look_up_dns(job, names).await,
            Step::Rehearse(hosts) => self.rehearse(job, &desired, hosts).await,
            Step::Begin { reason, names, directory } => {
                self.begin(job, desired, (names, directory), &reason).await;
            }
            Step::OpenOrder => self.open_order(job).await,
            Step::AddTxt(records) => self.add_txt(job, records).await,
            Step::LookForTxt(records) => self.look_for_txt(job, records).await,
            Step::Refresh | Step::ReadOffers | Step::Accept(_) | Step::Finalize => {
                self.advance(step, job).await;
            }
            Step::Download => self.download(job).await,
            Step::Install => self.install(job, &desired).await,
            Step::UpdateOwners => self.update_owners(job, &desired).await,
            Step::FillTls => self.fill_tls(job, &desired).await,
            Step::Abandon(why) => self.abandon(job, why).await,
            Step::Fail(failure) => self.fail(job, failure).await,
            Step::Wait { .. }
            | Step::WaitForOrder(_)
            | Step::WaitForNewOrders
            | Step::WaitForLimit(..)
            | Step::Done(_) => {}
        }
        let hit = job.observed.take_limit_hit(self.context.clock.now());
        self.record_limits(job, &directory, hit).await;
    }

    /// Directory of the CA that a step asks: that of the issuance, or of the desired certificate.
    fn directory(&self, job: &Job, desired: &DesiredCertificate) -> String {
        let (set, issuance) = (self.context.cas.set(), self.issuance(job));
        let named = issuance.as_ref().and_then(|issuance| issuance.directory.clone());
        let deciding = || set.deciding(issuance.as_ref(), Some(desired), job.observed.found());
        named.unwrap_or_else(|| deciding().ca.directory.clone())
    }

    /// Records rate limit hits of the CA of `directory`: in memory for later jobs, and in the
    /// journal for the next start.
    pub(super) async fn record_limits(
        &self,
        job: &mut Job,
        directory: &str,
        limit_hits: impl IntoIterator<Item = LimitHit>,
    ) {
        let limits = self.context.cas.limits(directory);
        for hit in limit_hits {
            let hit = limits.rate_limits.borrow_mut().close(hit);
            if let Some(hit) = hit {
                self.commit(job, Command::LimitHit(directory.to_owned(), hit)).await;
            }
        }
    }

    async fn abandon(&self, job: &mut Job, why: &'static str) {
        if self.commit(job, Command::Abandon(why)).await {
            let secret = job.observed.secret.take();
            job.observed = Observed { secret, ..Observed::default() };
        }
    }

    /// Journals a failure of the newest desired certificate.
    pub(super) async fn fail(&self, job: &mut Job, mut failure: Failure) {
        let Some(desired) = self.context.desired(&job.stream) else {
            return self.abandon(job, "no Ingress needs it any more").await;
        };
        failure.names.retain(|name| desired.names.contains(name) || desired.covered.contains(name)); // a CA may name others
        let directory = self.directory(job, &desired);
        let set = self.context.cas.set();
        let is_public = set.cas.at(&directory).is_some_and(Ca::is_public);
        let pause = job.observed.pause_after(&failure).filter(|_| is_public);
        failure.retry_after = failure.retry_after.max(pause);
        let counts = failure.class == FailureClass::Authorization && !job.observed.failed_rehearsal;
        let failed = counts.then(|| failure.names.clone());
        let edition = job.observed.edition.unwrap_or(desired.edition);
        let attempted = Attempted { edition, ..desired.attempted() };
        if self.commit(job, Command::Fail(attempted, failure)).await {
            job.observed = Observed::default();
            let (failed, now) = (failed.unwrap_or_default(), self.context.clock.now());
            let limits = self.context.cas.limits(&directory);
            let limit_hits = limits.guards.borrow_mut().failed(&failed, now);
            self.record_limits(job, &directory, limit_hits).await;
        }
    }

    /// Records an Event for an order that is kept for later. The journal has no failure then.
    pub(super) fn report_hold_up(&self, job: &Job, desired: &DesiredCertificate) {
        if let Some(failure) = &job.observed.failure {
            let kube_event = KubeEvent::held_up(desired, &failure.detail);
            self.context.events.report_held_up(desired, &kube_event);
        }
    }

    /// Commits a command and records its Event. Returns whether the journal took the event; an
    /// unavailable journal is a transient error of the job.
    pub(super) async fn commit(&self, job: &mut Job, command: Command) -> bool {
        let (now, follow_up) = (self.context.clock.now(), after_refusal(&command));
        let committed = self.context.ledger.commit(&job.stream, command, now).await;
        self.committed(job, follow_up, committed)
    }

    /// Records the Event of a commit, or takes its error as one of the job. Returns whether the
    /// journal took the event.
    pub(super) fn committed(
        &self,
        job: &mut Job,
        follow_up: AfterRefusal,
        committed: Result<(Event, State), CommitError>,
    ) -> bool {
        let now = self.context.clock.now();
        match committed {
            Ok((event, before)) => {
                if let Some(desired) = self.context.desired(&job.stream)
                    && let Some(kube_event) = KubeEvent::of_event(&event, &before, &desired)
                {
                    self.context.events.record(&desired, &kube_event);
                }
                return true;
            }
            Err(CommitError::Journal(JournalError::Fenced)) => {
                error!(
                    "the journal takes no more records: another process leads, or a write has no result; this job stops here"
                );
                job.observed.wait_until = Some(now + limits::IN_FLIGHT_MAX);
            }
            Err(CommitError::Journal(error @ JournalError::Unavailable(_))) => {
                debug!(%error, "the journal is tried again");
                job.observed.on_journal_error(now);
            }
            Err(CommitError::Journal(error @ JournalError::Refused(_))) => {
                job.observed.on_journal_refusal(follow_up, error.to_string(), now);
            }
            Err(bug @ (CommitError::Refused(_) | CommitError::Illegal(_))) => {
                error!(%bug, "this is a bug; the job waits before it continues");
                job.observed.wait_until = Some(now + limits::BUSY_RETRY);
            }
        }
        false
    }

    pub(super) fn issuance(&self, job: &Job) -> Option<Issuance> {
        self.context.ledger.with(&job.stream, |state| state.issuance().cloned())
    }

    pub(super) fn order_url(&self, job: &Job) -> Option<String> {
        self.context.ledger.with(&job.stream, |state| match state {
            State::Ordered { url, .. } => Some(url.clone()),
            _ => None,
        })
    }

    /// Unwraps the result of a port call. A transient error becomes a pause of the job, or after
    /// too many in a row a failure of `class`; a permanent error becomes the failure of the job.
    pub(super) fn succeeded<T>(
        &self,
        job: &mut Job,
        class: FailureClass,
        answer: Result<T, PortError>,
    ) -> Option<T> {
        match answer {
            Ok(value) => return Some(value),
            Err(PortError::Transient { detail, retry_after }) => {
                debug!(%detail, ?retry_after, "a transient error");
                if class == FailureClass::AcmeServer {
                    job.observed.busy = retry_after.map(|wait| (detail.clone(), wait));
                }
                job.observed.on_transient_error(
                    Failure { retry_after, ..Failure::new(class, detail) },
                    self.context.clock.now(),
                );
            }
            Err(PortError::Permanent(failure)) => job.observed.failure = Some(failure),
        }
        None
    }
}

/// What a job does after the journal has refused the record of this command. A rate limit works
/// without its record, until the next start.
fn after_refusal(command: &Command) -> AfterRefusal {
    match command {
        Command::LimitHit(..) | Command::RemoveTxt(_) => AfterRefusal::GoOn,
        Command::Begin(_) | Command::Opened(_) | Command::AddTxt(_) => AfterRefusal::Fail,
        Command::Installed { .. } | Command::Fail(..) | Command::Abandon(_) => AfterRefusal::Pause,
    }
}
