//! Secret checker: asks for each TLS Secret by name whether it still exists, a few each second, so
//! that a deleted one is replaced within a minute or so. The scanner reads whole Secrets each hour.

use std::cmp::Reverse;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::stream::{self, StreamExt};
use tracing::{debug, info};

use crate::context::OperatorContext;
use crate::dedup::registry::Registry;
use crate::domain::ingress::SecretKey;
use crate::domain::issuance::State;
use crate::domain::limits;
use crate::domain::scheduling::secret_checks::SecretChecks;
use crate::ports::{PortError, bounded};
use crate::reporting::metrics::Source;

/// Actor that checks the Secrets.
pub(crate) struct SecretChecker {
    checking: Rc<Checking>,
    checks: SecretChecks,
    /// Largest number of requests in a second.
    most: usize,
    /// Whether the checks of an earlier second are in flight.
    is_busy: bool,
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
    /// Creates a checker that sends `most` requests in a second at most, or none.
    pub(crate) fn new(context: Rc<OperatorContext>, registry: Rc<Registry>, most: usize) -> Self {
        let checking = Rc::new(Checking { context, registry });
        Self { checking, checks: SecretChecks::default(), most, is_busy: false }
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        if self.is_busy {
            return;
        }
        let now = self.checking.context.clock.now();
        let due = self.checks.next(self.most, now, || self.checking.all());
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
    }
}

impl Checking {
    /// All Secrets with a certificate of ours, the most recently changed ones first: installed by
    /// this process, then by the end of their validity.
    fn all(&self) -> Vec<SecretKey> {
        let ledger = &self.context.ledger;
        let known = self.context.dates.expiries.read(|expiries| {
            expiries
                .iter()
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
            info!(%secret, "the Secret was deleted");
            self.registry.notify(&owner.key.into(), Source::Check);
        }
    }
}
