//! Each step is one port call under its deadline; what comes of it goes into the run's knowledge or the ledger.
//! Those at the CA and those in the cluster have a file each; here is what they share.

use tracing::{debug, error};

use super::OperatorContext;
use crate::domain::announcement::Announcement;
use crate::domain::desired::DesiredCertificate;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::gates::Closing;
use crate::domain::issuance::{Command, Issuance, Observed, State, Step};
use crate::domain::limits;
use crate::domain::scheduler::Run;
use crate::ledger::CommitError;
use crate::ports::{JournalError, PortError};

/// The step's name in metrics.
pub(super) fn name(step: &Step) -> &'static str {
    match step {
        Step::ReadSecret => "read_secret",
        Step::PublishRoutes => "publish_routes",
        Step::Probe(_) => "probe",
        Step::Begin { .. } => "begin",
        Step::OpenOrder => "open_order",
        Step::Refresh => "refresh",
        Step::Accept => "accept",
        Step::Finalize => "finalize",
        Step::Download => "download",
        Step::Install => "install",
        Step::UpdateOwners => "update_owners",
        Step::FillTls => "fill_tls",
        Step::Abandon(_) => "abandon",
        Step::Fail(_) => "fail",
        Step::Wait { .. } | Step::GetInLine(..) | Step::Done(_) => "none",
    }
}

impl OperatorContext {
    /// Takes one step for the desired certificate that it was decided on. All errors end up in the run's knowledge, for [`next`](crate::domain::issuance::next) to
    /// decide on.
    pub(super) async fn take(
        &self,
        step: Step,
        run: &mut Run,
        desired: Option<DesiredCertificate>,
    ) {
        let Some(desired) = desired else {
            return self.abandon(run, "no Ingress wants it any more").await;
        };
        let (names, elsewhere) = self.issuance(run).map_or_else(
            || (desired.names.clone(), None),
            |issuance| (issuance.names, issuance.directory),
        );
        match step {
            Step::ReadSecret => self.read_secret(run).await,
            Step::PublishRoutes => self.publish_routes(run, desired).await,
            Step::Probe(hosts) => self.probe_hosts(run, &hosts).await,
            Step::Begin { reason, names, directory } => {
                self.begin(run, desired, (names, directory), &reason).await;
            }
            Step::OpenOrder => self.open_order(run).await,
            Step::Refresh | Step::Accept | Step::Finalize => self.advance(step, run).await,
            Step::Download => self.download(run).await,
            Step::Install => self.install(run, &desired).await,
            Step::UpdateOwners => self.update_owners(run, &desired).await,
            Step::FillTls => self.fill_tls(run, &desired).await,
            Step::Abandon(why) => self.abandon(run, why).await,
            Step::Fail(failure) => self.fail(run, failure).await,
            Step::Wait { .. } | Step::GetInLine(..) | Step::Done(_) => {}
        }
        let closing = run.observed.closing(&names, self.clock.now());
        self.close(run, closing.filter(|_| elsewhere.is_none())).await;
    }

    /// Closes scopes, for all that come after and for the next start.
    pub(super) async fn close(&self, run: &mut Run, closings: impl IntoIterator<Item = Closing>) {
        for closing in closings {
            let closing = self.gates.borrow_mut().close(closing);
            if let Some(closing) = closing {
                self.commit(run, Command::Close(self.directory.clone(), closing)).await;
            }
        }
    }

    async fn abandon(&self, run: &mut Run, why: &'static str) {
        if self.commit(run, Command::Abandon(why)).await {
            let secret = run.observed.secret.take();
            run.observed = Observed { secret, ..Observed::default() };
        }
    }

    /// Journals a failure of the newest desired certificate.
    pub(super) async fn fail(&self, run: &mut Run, mut failure: Failure) {
        let Some(desired) = self.desired(run) else {
            return self.abandon(run, "no Ingress wants it any more").await;
        };
        failure.names.retain(|name| desired.names.contains(name)); // a CA may blame what was not asked for
        let failed = (failure.class == FailureClass::Authorization).then(|| failure.names.clone());
        if self.commit(run, Command::Fail(desired.fingerprint(), failure)).await {
            run.observed = Observed::default();
            let failed = failed.unwrap_or_default();
            let closings = self.guards.borrow_mut().failed(&failed, self.clock.now());
            self.close(run, closings).await;
        }
    }

    /// Tells the user when an order is kept for later: that is no journaled failure.
    pub(super) fn tell_of_hold_up(&self, run: &Run, desired: &DesiredCertificate) {
        if let Some(failure) = &run.observed.failure {
            self.notices.announce(desired, &Announcement::held_up(desired, &failure.detail));
        }
    }

    /// Commits; the journal's own trouble is a transient error of the run. Returns whether it was done.
    pub(super) async fn commit(&self, run: &mut Run, command: Command) -> bool {
        let now = self.clock.now();
        match self.ledger.commit(&run.stream, command, now).await {
            Ok((event, before)) => {
                if let Some(desired) = self.desired(run)
                    && let Some(announcement) = Announcement::of_event(&event, &before, &desired)
                {
                    self.notices.announce(&desired, &announcement);
                }
                return true;
            }
            Err(CommitError::Journal(JournalError::Fenced)) => {
                error!("another process leads; this one stops here");
                run.observed.wait_until = Some(now + limits::IN_FLIGHT_MAX);
            }
            Err(CommitError::Journal(error @ JournalError::Unavailable(_))) => {
                debug!(%error, "the journal is tried again");
                run.observed.journal_stumbled(now);
            }
            Err(bug @ (CommitError::Refused(_) | CommitError::Illegal(_))) => {
                error!(%bug, "this is a bug; the run waits before it goes on");
                run.observed.wait_until = Some(now + limits::BUSY_RETRY);
            }
        }
        false
    }

    pub(super) fn issuance(&self, run: &Run) -> Option<Issuance> {
        self.ledger.with(&run.stream, |state| state.issuance().cloned())
    }

    pub(super) fn order_url(&self, run: &Run) -> Option<String> {
        self.ledger.with(&run.stream, |state| match state {
            State::Ordered { url, .. } => Some(url.clone()),
            _ => None,
        })
    }

    /// Takes a port's answer: an error becomes a pause or, when it lasts, the run's failure. `class` is what a
    /// transient error counts as when there are too many.
    pub(super) fn succeeded<T>(
        &self,
        run: &mut Run,
        class: FailureClass,
        answer: Result<T, PortError>,
    ) -> Option<T> {
        match answer {
            Ok(value) => return Some(value),
            Err(PortError::Transient { detail, retry_after }) => {
                debug!(%detail, ?retry_after, "a passing error");
                if class == FailureClass::AcmeServer {
                    run.observed.busy = retry_after.map(|wait| (detail.clone(), wait));
                }
                run.observed.stumbled(
                    Failure { retry_after, ..Failure::new(class, detail) },
                    self.clock.now(),
                );
            }
            Err(PortError::Permanent(failure)) => run.observed.failure = Some(failure),
        }
        None
    }
}
