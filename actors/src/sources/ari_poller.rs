//! Asks the CA when it suggests to renew each certificate (RFC 9773), at the pace that it wants, and passes on those
//! whose time has come.

use std::rc::Rc;

use actix::prelude::*;
use futures_util::stream::{self, StreamExt};
use tracing::{debug, info};

use crate::dedup::registry::Registry;
use crate::domain::certificate::CertId;
use crate::domain::ingress::SecretKey;
use crate::domain::limits;
use crate::pool::issuer::OperatorContext;
use crate::ports::{PortError, bounded};
use crate::reporting::metrics::Source;

/// The actor.
pub struct AriPoller {
    context: Rc<OperatorContext>,
    registry: Rc<Registry>,
    /// A round is not over yet.
    asking: bool,
    rounds: Option<SpawnHandle>,
}

impl AriPoller {
    /// One that has asked nothing.
    pub fn new(context: Rc<OperatorContext>, registry: Rc<Registry>) -> Self {
        Self { context, registry, asking: false, rounds: None }
    }

    fn round(&mut self, ctx: &mut Context<Self>) {
        if self.asking {
            return;
        }
        let now = self.context.clock.now();
        if self.context.rate_limits.borrow().busy_until(now).is_some() {
            return;
        }
        let mut due = self.context.renewal_windows.borrow_mut().due(limits::ARI_ROUND_SIZE, now);
        due.retain(|(secret, _)| self.context.is_asked_about(secret));
        if due.is_empty() {
            return;
        }
        self.asking = true;
        let (context, registry) = (self.context.clone(), self.registry.clone());
        let asked = async move {
            let ask = |(secret, id): (SecretKey, CertId)| {
                let (context, registry) = (context.clone(), registry.clone());
                async move { context.ask_when_to_renew(&registry, &secret, &id).await }
            };
            let mut asked = stream::iter(due).map(ask).buffer_unordered(limits::ARI_AT_ONCE);
            let mut supported = true;
            while let Some(answered) = asked.next().await {
                supported &= answered;
            }
            supported
        };
        ctx.spawn(asked.into_actor(self).map(|supported, keeper, ctx| {
            keeper.asking = false;
            if !supported && let Some(rounds) = keeper.rounds.take() {
                ctx.cancel_future(rounds);
                keeper.context.renewal_windows.borrow_mut().are_unsupported();
                info!(
                    "the CA suggests no renewal times (RFC 9773); certificates are renewed by age"
                );
            }
        }));
    }
}

impl Actor for AriPoller {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.rounds = Some(ctx.run_interval(limits::ARI_ROUND, Self::round));
    }
}

impl OperatorContext {
    /// A Secret that no Ingress wants any more is forgotten.
    fn is_asked_about(&self, secret: &SecretKey) -> bool {
        let wanted = self.index.borrow().is_wanted(secret);
        if !wanted {
            self.renewal_windows.borrow_mut().forget(secret);
        }
        wanted
    }

    /// Asks about one certificate; `false` when the CA has no such resource.
    async fn ask_when_to_renew(
        &self,
        registry: &Rc<Registry>,
        secret: &SecretKey,
        id: &CertId,
    ) -> bool {
        let answer = bounded(limits::CA_CALL, "CA", self.ca.renewal_info(id)).await;
        let now = self.clock.now();
        let mut renewal_windows = self.renewal_windows.borrow_mut();
        match answer {
            Ok(None) => return false,
            Ok(Some((window, again))) => {
                debug!(%secret, start = %window.start, end = %window.end, "a suggested renewal");
                let instant = window.instant(id);
                renewal_windows.answered(secret, id, window, again, now);
                drop(renewal_windows);
                self.metrics.suggested(secret, instant);
                if instant <= now {
                    self.look_at(registry, secret);
                }
            }
            Err(error) => {
                debug!(%secret, %error, "the CA does not say when to renew");
                let again = match error {
                    PortError::Transient { retry_after, .. } => retry_after,
                    PortError::Permanent(failure) => failure.retry_after,
                };
                renewal_windows.unanswered(secret, id, again, now);
            }
        }
        true
    }

    /// Whoever owns the Secret first is looked at: its certificates are.
    fn look_at(&self, registry: &Rc<Registry>, secret: &SecretKey) {
        let desired = self.index.borrow().desired(secret);
        let owner = desired.and_then(|desired| desired.owners.into_iter().next());
        owner.inspect(|owner| registry.notify(&owner.key, Source::Scan));
    }
}
