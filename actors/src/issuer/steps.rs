//! Each step: one port call under its deadline, and what it changes in the run's knowledge or in the ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::timeout;
use tracing::{debug, error, info};

use super::Office;
use crate::domain::announcement::Announcement;
use crate::domain::desk::Run;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::issuance::{Chain, Command, Issuance, OrderView, Reach, Seen, State, Step};
use crate::domain::limits;
use crate::domain::validity::{Reason, judge, renewal};
use crate::domain::wish::Wish;
use crate::ledger::CommitError;
use crate::messages::Publish;
use crate::metrics::Kind;
use crate::ports::{Installation, JournalError, PortError};

/// The step's name in metrics.
pub(super) fn name(step: &Step) -> &'static str {
    match step {
        Step::ReadSecret => "read_secret",
        Step::PublishRoutes => "publish_routes",
        Step::Probe => "probe",
        Step::Begin(_) => "begin",
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
        Step::Wait { .. } | Step::Done(_) => "none",
    }
}

impl Office {
    /// Takes one step. All errors end up in the run's knowledge, for [`next`](crate::domain::issuance::next) to
    /// decide on.
    pub(super) async fn take(&self, step: Step, run: &mut Run) {
        let Some(wish) = self.index.borrow().wish(&run.stream) else {
            return self.abandon(run, "no Ingress wants it any more").await;
        };
        match step {
            Step::ReadSecret => self.read_secret(run).await,
            Step::PublishRoutes => self.publish_routes(run, wish).await,
            Step::Probe => self.probe_hosts(run, &wish).await,
            Step::Begin(reason) => self.begin(run, wish, &reason).await,
            Step::OpenOrder => self.open_order(run).await,
            Step::Refresh | Step::Accept | Step::Finalize => self.advance(step, run).await,
            Step::Download => self.download(run).await,
            Step::Install => self.install(run, &wish).await,
            Step::UpdateOwners => self.update_owners(run, &wish).await,
            Step::FillTls => self.fill_tls(run, &wish).await,
            Step::Abandon(why) => self.abandon(run, why).await,
            Step::Fail(failure) => self.fail(run, failure).await,
            Step::Wait { .. } | Step::Done(_) => {}
        }
    }

    async fn read_secret(&self, run: &mut Run) {
        let read = bounded(limits::KUBE_CALL, "API server", self.vault.read(&run.stream)).await;
        if let Some(status) = self.succeeded(run, FailureClass::SecretWrite, read) {
            if let Some(Ok(certificate)) = status.as_ref().map(|secret| &secret.certificate) {
                self.metrics.certificate(&run.stream, certificate.not_after, renewal(certificate));
            }
            run.seen.secret = Some((status, self.clock.now()));
        }
    }

    async fn publish_routes(&self, run: &mut Run, wish: Wish) {
        let publish = Publish { stream: run.stream.clone(), routes: wish.routes };
        let published = async {
            let answer = self.routes.publish.send(publish).await;
            answer.unwrap_or_else(|gone| Err(PortError::passing(gone.to_string())))
        };
        let published = bounded(limits::ROUTE_CALL, "API server", published).await;
        if self.succeeded(run, FailureClass::SecretWrite, published).is_some() {
            run.seen.routes = true;
            run.seen.progressed();
        }
    }

    /// Hosts that were reached are not probed again.
    async fn probe_hosts(&self, run: &mut Run, wish: &Wish) {
        let reached = |host| run.seen.reach.get(host) == Some(&Reach::Reached);
        let (known, unknown): (Vec<_>, Vec<_>) = wish.names.iter().partition(|host| reached(host));
        let probes = stream::iter(unknown).map(|host| async move {
            let late = |_| Reach::Elsewhere("no answer in time".to_owned());
            let found = timeout(limits::PROBE_CALL, self.probe.probe(host)).await;
            (host.clone(), found.unwrap_or_else(late))
        });
        let probed: Vec<_> = probes.buffer_unordered(limits::PROBES_AT_ONCE).collect().await;
        let known = known.into_iter().map(|host| (host.clone(), Reach::Reached));
        let reach: BTreeMap<_, _> = known.chain(probed).collect();
        run.seen.probed(reach, self.clock.now());
        if let Some((host, found)) = run.seen.unreached() {
            debug!(%host, ?found, "not reached");
        }
    }

    async fn begin(&self, run: &mut Run, wish: Wish, reason: &Reason) {
        let made = bounded(limits::KEY_CALL, "key maker", self.keys.generate(wish.algorithm)).await;
        let Some(key) = self.succeeded(run, FailureClass::InvalidSpec, made) else { return };
        info!(%reason, names = wish.names.len(), "a certificate is needed");
        let issuing = Announcement::issuing(&wish, reason);
        let told = wish.clone();
        if self.commit(run, Command::Begin(Box::new(wish), key)).await {
            run.seen.progressed();
            self.notices.announce(&told, &issuing);
        }
    }

    async fn open_order(&self, run: &mut Run) {
        let Some(issuance) = self.issuance(run) else { return };
        let profile = issuance.profile.as_deref();
        let opened = self.authority.open_order(&issuance.names, profile);
        let opened = bounded(limits::CA_CALL, "CA", opened).await;
        let Some(order) = self.succeeded(run, FailureClass::AcmeServer, opened) else { return };
        if self.commit(run, Command::Opened(order.url.clone())).await {
            run.seen.order_shown(order, self.clock.now());
        }
    }

    /// Looks at the order, has it validated, or finalizes it: all are answered by the order as it is then.
    async fn advance(&self, step: Step, run: &mut Run) {
        let Some(url) = self.order_url(run) else { return };
        let call = async {
            match step {
                Step::Refresh => self.authority.refresh(&url).await,
                Step::Accept => self.authority.accept(&url).await,
                _ => self.authority.finalize(&url, &self.certificate_request(run)?).await,
            }
        };
        let shown: Result<OrderView, PortError> = bounded(limits::CA_CALL, "CA", call).await;
        if let Some(order) = self.succeeded(run, FailureClass::AcmeServer, shown) {
            run.seen.order_shown(order, self.clock.now());
        }
    }

    fn certificate_request(&self, run: &Run) -> Result<Vec<u8>, PortError> {
        let issuance = self.issuance(run).ok_or_else(|| PortError::passing("there is no order"))?;
        self.keys.request(&issuance.names, &issuance.key)
    }

    async fn download(&self, run: &mut Run) {
        let (Some(url), Some(issuance)) = (self.order_url(run), self.issuance(run)) else { return };
        let chain = bounded(limits::CA_CALL, "CA", self.authority.download(&url)).await;
        let Some(pem) = self.succeeded(run, FailureClass::AcmeServer, chain) else { return };
        match self.keys.inspect(&pem, &issuance.key) {
            Ok(leaf) => {
                run.seen.chain = Some(Chain { pem, leaf });
                run.seen.progressed();
            }
            Err(why) => {
                let detail = format!("the CA's chain cannot be used: {why}");
                run.seen.failure = Some(Failure::new(FailureClass::BadCertificate, detail));
            }
        }
    }

    async fn install(&self, run: &mut Run, wish: &Wish) {
        let (Some(issuance), Some(chain)) = (self.issuance(run), run.seen.chain.clone()) else {
            return;
        };
        let started_at = issuance.started_at;
        let kind = self.kind(run, wish);
        let what = Installation {
            chain: chain.pem,
            key: issuance.key,
            owners: wish.owners.clone(),
            renew: issuance.renew,
            adopt: wish.adopt,
        };
        let installed = self.vault.install(&run.stream, what);
        let installed = bounded(limits::KUBE_CALL, "API server", installed).await;
        if let Err(PortError::Passing { .. }) = installed {
            run.seen.secret = None; // it may have changed under us: read it again before the next try
        }
        let Some(status) = self.succeeded(run, FailureClass::SecretWrite, installed) else {
            return;
        };
        let (serial, not_after) = (chain.leaf.serial.clone(), chain.leaf.not_after);
        if self.commit(run, Command::Installed { serial, not_after }).await {
            let now = self.clock.now();
            self.metrics.issued(kind, now.since(started_at));
            self.metrics.certificate(&run.stream, not_after, renewal(&chain.leaf));
            run.seen = Seen { secret: Some((status, now)), ..Seen::default() };
        }
    }

    async fn update_owners(&self, run: &mut Run, wish: &Wish) {
        let updated = self.vault.set_owners(&run.stream, &wish.owners);
        let updated = bounded(limits::KUBE_CALL, "API server", updated).await;
        if let Some(status) = self.succeeded(run, FailureClass::SecretWrite, updated) {
            run.seen.secret = Some((status, self.clock.now()));
        }
    }

    async fn fill_tls(&self, run: &mut Run, wish: &Wish) {
        for ingress in &wish.fill {
            let filled = self.vault.fill_tls(ingress, &run.stream, &wish.names);
            let filled = bounded(limits::KUBE_CALL, "API server", filled).await;
            if self.succeeded(run, FailureClass::SecretWrite, filled).is_none() {
                return;
            }
        }
        run.seen.filled = true;
    }

    async fn abandon(&self, run: &mut Run, why: &'static str) {
        if self.commit(run, Command::Abandon(why)).await {
            let secret = run.seen.secret.take();
            run.seen = Seen { secret, ..Seen::default() };
        }
    }

    /// Journals a failure of the newest wish.
    pub(super) async fn fail(&self, run: &mut Run, failure: Failure) {
        let Some(wish) = self.index.borrow().wish(&run.stream) else {
            return self.abandon(run, "no Ingress wants it any more").await;
        };
        if self.commit(run, Command::Fail(wish.fingerprint(), failure)).await {
            run.seen = Seen::default();
        }
    }

    /// Tells the user when an order is kept for later: that is no journaled failure.
    pub(super) fn tell_of_hold_up(&self, run: &Run, wish: &Wish) {
        let ordered = self.ledger.with(&run.stream, |state| matches!(state, State::Ordered { .. }));
        if let Some(failure) = run.seen.failure.as_ref().filter(|_| ordered) {
            self.notices.announce(wish, &Announcement::held_up(wish, &failure.detail));
        }
    }

    /// Commits; the journal's own trouble is a passing error of the run. Returns whether it was done.
    async fn commit(&self, run: &mut Run, command: Command) -> bool {
        let now = self.clock.now();
        match self.ledger.commit(&run.stream, command, now).await {
            Ok((event, before)) => {
                let wish = self.index.borrow().wish(&run.stream);
                if let Some(wish) = wish
                    && let Some(announcement) = Announcement::of_event(&event, &before, &wish)
                {
                    self.notices.announce(&wish, &announcement);
                }
                return true;
            }
            Err(CommitError::Journal(JournalError::Fenced)) => {
                error!("another process leads; this one stops here");
                run.seen.wait_until = Some(now + limits::IN_FLIGHT_MAX);
            }
            Err(CommitError::Journal(error @ JournalError::Unavailable(_))) => {
                debug!(%error, "the journal is tried again");
                run.seen.journal_stumbled(now);
            }
            Err(bug @ (CommitError::Refused(_) | CommitError::Illegal(_))) => {
                error!(%bug, "this is a bug; the run waits before it goes on");
                run.seen.wait_until = Some(now + limits::BUSY_RETRY);
            }
        }
        false
    }

    /// What the certificate about to be installed replaces.
    fn kind(&self, run: &Run, wish: &Wish) -> Kind {
        let secret = run.seen.secret.as_ref().and_then(|(secret, _)| secret.as_ref());
        match judge(secret, wish, &self.directory, self.clock.now()) {
            Err(reason) if reason.is_first() => Kind::First,
            Err(Reason::DueForRenewal(_) | Reason::Requested) => Kind::Renew,
            _ => Kind::Replace,
        }
    }

    fn issuance(&self, run: &Run) -> Option<Issuance> {
        self.ledger.with(&run.stream, |state| state.issuance().cloned())
    }

    fn order_url(&self, run: &Run) -> Option<String> {
        self.ledger.with(&run.stream, |state| match state {
            State::Ordered { url, .. } => Some(url.clone()),
            _ => None,
        })
    }

    /// Takes a port's answer: an error becomes a pause or, when it lasts, the run's failure. `class` is what a
    /// passing error counts as when there are too many.
    fn succeeded<T>(
        &self,
        run: &mut Run,
        class: FailureClass,
        answer: Result<T, PortError>,
    ) -> Option<T> {
        match answer {
            Ok(value) => return Some(value),
            Err(PortError::Passing { detail, retry_after }) => {
                debug!(%detail, ?retry_after, "a passing error");
                run.seen.stumbled(Failure { class, detail, retry_after }, self.clock.now());
            }
            Err(PortError::Lasting(failure)) => run.seen.failure = Some(failure),
        }
        None
    }
}

/// Every port call has a deadline; running into it is a passing error.
async fn bounded<T>(
    limit: Duration,
    whom: &str,
    call: impl Future<Output = Result<T, PortError>>,
) -> Result<T, PortError> {
    let late = |_| Err(PortError::passing(format!("the {whom} did not answer within {limit:?}")));
    timeout(limit, call).await.unwrap_or_else(late)
}
