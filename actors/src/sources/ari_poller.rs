//! ARI poller: fetches the renewal window of each certificate (RFC 9773) at the pace that the CA
//! wants, and notifies the registry of certificates whose renewal time has come.

use std::rc::Rc;

use actix::prelude::*;
use futures_util::stream::{self, StreamExt};
use tracing::{debug, info};

use crate::context::OperatorContext;
use crate::dedup::registry::Registry;
use crate::domain::certificate::CertId;
use crate::domain::ingress::SecretKey;
use crate::domain::limits;
use crate::ports::{CertificateAuthority, PortError, bounded};
use crate::reporting::metrics::Source;

/// Actor that polls the renewal windows.
pub(crate) struct AriPoller {
    poll: Rc<Poll>,
    /// Whether a round is in flight.
    polling: bool,
    rounds: Option<SpawnHandle>,
}

/// Everything that one request uses.
struct Poll {
    context: Rc<OperatorContext>,
    ca: Rc<dyn CertificateAuthority>,
    registry: Rc<Registry>,
}

impl AriPoller {
    /// Creates a poller of `ca`. The first round follows after [`limits::ARI_ROUND`].
    pub(crate) fn new(
        context: Rc<OperatorContext>,
        ca: Rc<dyn CertificateAuthority>,
        registry: Rc<Registry>,
    ) -> Self {
        Self { poll: Rc::new(Poll { context, ca, registry }), polling: false, rounds: None }
    }

    fn round(&mut self, ctx: &mut Context<Self>) {
        if self.polling {
            return;
        }
        let due = self.poll.due();
        if due.is_empty() {
            return;
        }
        self.polling = true;
        let poll = self.poll.clone();
        let polled = async move {
            let ask = |(secret, id): (SecretKey, CertId)| {
                let poll = poll.clone();
                async move { poll.ask(&secret, &id).await }
            };
            let mut answers = stream::iter(due).map(ask).buffer_unordered(limits::ARI_AT_ONCE);
            let mut supported = true;
            while let Some(answered) = answers.next().await {
                supported &= answered;
            }
            supported
        };
        ctx.spawn(polled.into_actor(self).map(|supported, poller, ctx| {
            poller.polling = false;
            if !supported {
                poller.stop(ctx);
            }
        }));
    }

    /// Stops for good, because the CA has no renewal information.
    fn stop(&mut self, ctx: &mut Context<Self>) {
        let Some(rounds) = self.rounds.take() else { return };
        ctx.cancel_future(rounds);
        self.poll.context.dates.windows.borrow_mut().are_unsupported();
        info!("the CA suggests no renewal times (RFC 9773); certificates are renewed by age");
    }
}

impl Actor for AriPoller {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.rounds = Some(ctx.run_interval(limits::ARI_ROUND, Self::round));
    }
}

impl Poll {
    /// Returns the certificates of the next round; none while the CA is busy. Forgets Secrets that
    /// no Ingress names.
    fn due(&self) -> Vec<(SecretKey, CertId)> {
        let (context, now) = (&self.context, self.context.clock.now());
        if context.limits.rate_limits.borrow().busy_until(now).is_some() {
            return Vec::new();
        }
        let (index, mut windows) = (context.index.borrow(), context.dates.windows.borrow_mut());
        let mut due = windows.due(limits::ARI_ROUND_SIZE, now);
        due.retain(|(secret, _)| {
            let wanted = index.is_wanted(secret);
            if !wanted {
                windows.forget(secret);
            }
            wanted
        });
        due
    }

    /// Fetches the renewal window of one certificate. Returns `false` if the CA has no renewal
    /// information.
    async fn ask(&self, secret: &SecretKey, id: &CertId) -> bool {
        let answer = bounded(limits::CA_CALL, "CA", self.ca.renewal_info(id)).await;
        let now = self.context.clock.now();
        let mut windows = self.context.dates.windows.borrow_mut();
        match answer {
            Ok(None) => return false,
            Ok(Some((window, again))) => {
                debug!(%secret, start = %window.start, end = %window.end, "the CA suggests a renewal window");
                let instant = window.instant(id);
                windows.answered(secret, id, window, again, now);
                drop(windows);
                self.context.dates.expiries.set_renewal(secret, instant);
                if instant <= now {
                    self.notify(secret);
                }
            }
            Err(error) => {
                debug!(%secret, %error, "the CA returned no renewal window");
                let again = match error {
                    PortError::Transient { retry_after, .. } => retry_after,
                    // Such an answer is the same a minute later.
                    PortError::Permanent(failure) => failure.retry_after.or(Some(limits::ARI_POLL)),
                };
                windows.unanswered(secret, id, again, now);
            }
        }
        true
    }

    /// Notifies the first owner of the Secret, so that a reconciliation checks its certificates.
    fn notify(&self, secret: &SecretKey) {
        let desired = self.context.desired(secret);
        let owner = desired.and_then(|desired| desired.owners.into_iter().next());
        if let Some(owner) = owner {
            self.registry.notify(&owner.key.into(), Source::Scan);
        }
    }
}
