//! Secret checker: finds deleted TLS Secrets, which are replaced at once. The operator asks by name
//! whether each one exists, a few each second, or watches them where its user gave it the right to.
//! The scanner reads whole Secrets each hour.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::stream::{self, StreamExt};
use tracing::{debug, info};

use crate::context::OperatorContext;
use crate::dedup::registry::Registry;
use crate::domain::desired::index::{WatchScope, covers};
use crate::domain::ingress::SecretKey;
use crate::domain::issuance::State;
use crate::domain::limits;
use crate::domain::scheduling::secret_checks::SecretChecks;
use crate::ports::{PortError, SecretChange, SecretWatch, bounded};
use crate::reporting::metrics::Source;

/// Actor that checks the Secrets.
pub(crate) struct SecretChecker {
    checking: Rc<Checking>,
    checks: SecretChecks,
    /// Largest number of requests in a second.
    most: usize,
    /// Whether the checks of an earlier second are in flight.
    is_busy: bool,
    watch: Option<Rc<dyn SecretWatch>>,
    /// Scopes whose watch reports deletions. Their Secrets are not asked for.
    watched: HashSet<WatchScope>,
    /// For each scope with a list under way: known Secrets that were not in the list so far.
    unlisted: HashMap<WatchScope, HashSet<SecretKey>>,
}

/// Everything that one check uses.
struct Checking {
    context: Rc<OperatorContext>,
    registry: Rc<Registry>,
}

/// Secrets that were not checked because the API server failed, and the pause that follows.
#[derive(Default)]
struct Failed {
    unchecked: Vec<SecretKey>,
    pause: Option<Duration>,
}

impl SecretChecker {
    /// Creates a checker that sends `most` requests in a second at most, or none, about Secrets
    /// that `watch` does not report.
    pub(crate) fn new(
        context: Rc<OperatorContext>,
        registry: Rc<Registry>,
        watch: Option<Rc<dyn SecretWatch>>,
        most: usize,
    ) -> Self {
        Self {
            checking: Rc::new(Checking { context, registry }),
            checks: SecretChecks::default(),
            most,
            is_busy: false,
            watch,
            watched: HashSet::new(),
            unlisted: HashMap::new(),
        }
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        if self.is_busy {
            return;
        }
        let now = self.checking.context.clock.now();
        let due = self.checks.next(self.most, now, || self.checking.all(&self.watched));
        if due.is_empty() {
            return;
        }
        self.is_busy = true;
        let checking = self.checking.clone();
        let checked = async move { checking.check(due).await };
        ctx.spawn(checked.into_actor(self).map(|failed, checker, _| {
            checker.is_busy = false;
            if let Some(pause) = failed.pause {
                let until = checker.checking.context.clock.now() + pause;
                checker.checks.pause(failed.unchecked, until);
            }
        }));
    }
}

impl Actor for SecretChecker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if self.most > 0 {
            ctx.run_interval(limits::SECRET_CHECKS_TICK, Self::tick);
        }
        if let Some(watch) = &self.watch {
            ctx.add_stream(watch.watch());
        }
    }
}

impl StreamHandler<SecretChange> for SecretChecker {
    fn handle(&mut self, change: SecretChange, _: &mut Self::Context) {
        match change {
            SecretChange::ListBegins(scope) => {
                let known = self.checking.known(&scope);
                self.unlisted.insert(scope, known);
            }
            SecretChange::Listed(secret) => {
                self.unlisted.values_mut().for_each(|unlisted| _ = unlisted.remove(&secret));
            }
            SecretChange::ListEnds(scope) => {
                let gone = self.unlisted.remove(&scope).unwrap_or_default();
                for secret in &gone {
                    self.checking.is_gone(secret);
                }
                self.watched.insert(scope);
            }
            SecretChange::Applied(scope) => self.reports(scope),
            SecretChange::Deleted(scope, secret) => {
                self.reports(scope);
                self.checking.is_gone(&secret);
            }
            SecretChange::Failed(scope) => _ = self.watched.remove(&scope),
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {
        self.watched.clear(); // the requests by name go on
    }
}

impl SecretChecker {
    /// Notes that the watch of `scope` reports changes (again), after its list.
    fn reports(&mut self, scope: WatchScope) {
        if !self.unlisted.contains_key(&scope) {
            self.watched.insert(scope);
        }
    }
}

impl Checking {
    /// All Secrets with a certificate of ours that are not `watched`, the most recently changed
    /// ones first: installed by this process, then by the end of their validity.
    fn all(&self, watched: &HashSet<WatchScope>) -> Vec<SecretKey> {
        let ledger = &self.context.ledger;
        let is_watched =
            |secret: &SecretKey| watched.iter().any(|scope| covers(scope, &secret.namespace));
        let known = self.context.dates.expiries.read(|expiries| {
            expiries
                .iter()
                .filter(|(secret, _)| !is_watched(secret))
                .map(|(secret, validity)| (secret.clone(), validity.not_after))
                .collect::<Vec<_>>()
        });
        let mut all: Vec<_> = known
            .into_iter()
            .map(|(secret, not_after)| {
                (Reverse((ledger.installed(&secret).map(|one| one.at), not_after)), secret)
            })
            .collect();
        all.sort_unstable();
        all.into_iter().map(|(_, secret)| secret).collect()
    }

    /// Secrets of `scope` with a certificate of ours.
    fn known(&self, scope: &WatchScope) -> HashSet<SecretKey> {
        self.context.dates.expiries.read(|expiries| {
            let all = expiries.iter().map(|(secret, _)| secret);
            all.filter(|secret| covers(scope, &secret.namespace)).cloned().collect()
        })
    }

    /// Checks a few Secrets. The first error ends the checks of this second.
    async fn check(&self, due: Vec<SecretKey>) -> Failed {
        let mut checks = stream::iter(due)
            .map(async |secret| {
                let exists = self.exists(&secret).await;
                (secret, exists)
            })
            .buffered(limits::SECRET_CHECKS_AT_ONCE);
        let mut failed = Failed::default();
        while let Some((secret, exists)) = checks.next().await {
            match exists {
                Ok(true) => {}
                Ok(false) => self.is_gone(&secret),
                // Such an answer is the same in the next round: it is of this Secret alone.
                Err(PortError::Permanent(failure)) => {
                    debug!(%secret, detail = failure.detail, "the Secret cannot be checked");
                }
                Err(PortError::Transient { detail, retry_after }) => {
                    debug!(%secret, detail, "the checks of Secrets pause");
                    let pause = retry_after.unwrap_or_default().max(limits::SECRET_CHECKS_PAUSE);
                    failed.pause = failed.pause.max(Some(pause));
                    failed.unchecked.push(secret);
                }
            }
        }
        failed
    }

    /// Whether the Secret exists. One that no Ingress names any more, or that a job works on, is
    /// not asked for.
    async fn exists(&self, secret: &SecretKey) -> Result<bool, PortError> {
        let context = &self.context;
        let is_idle = context.ledger.with(secret, |state| *state == State::Idle);
        if !is_idle || !context.index.borrow().is_wanted(secret) {
            return Ok(true);
        }
        bounded(limits::KUBE_CALL, "API server", context.tls_secrets.exists(secret)).await
    }

    /// Notifies the first owner of a Secret that is gone; its job reads the Secret again.
    fn is_gone(&self, secret: &SecretKey) {
        let desired = self.context.desired(secret);
        let owner = desired.and_then(|desired| desired.owners.into_iter().next());
        if let Some(owner) = owner {
            info!(%secret, "the Secret was deleted, or lost our label");
            self.registry.notify(&owner.key.into(), Source::Check);
        }
    }
}
