//! ARI poller: fetches the renewal window of each certificate (RFC 9773) at the pace that the CA
//! wants, and notifies the registry of certificates whose renewal time has come.

use std::rc::Rc;
use std::sync::Arc;

use actix::prelude::*;
use futures_util::stream::{self, StreamExt};
use tracing::{debug, info};

use crate::context::OperatorContext;
use crate::dedup::registry::Registry;
use crate::domain::certificate::CertId;
use crate::domain::ingress::SecretKey;
use crate::domain::limits;
use crate::ports::{PortError, bounded};
use crate::reporting::metrics::Source;

/// Actor that polls the renewal windows.
pub(crate) struct AriPoller {
    poll: Rc<Poll>,
    /// Whether a round is in flight.
    polling: bool,
}

/// Everything that one request uses.
struct Poll {
    context: Rc<OperatorContext>,
    registry: Rc<Registry>,
}

impl AriPoller {
    /// Creates a poller of all CAs. The first round follows after [`limits::ARI_ROUND`].
    pub(crate) fn new(context: Rc<OperatorContext>, registry: Rc<Registry>) -> Self {
        Self { poll: Rc::new(Poll { context, registry }), polling: false }
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
            let ask = |(secret, id, directory): (SecretKey, CertId, Arc<str>)| {
                let poll = poll.clone();
                async move { poll.ask(&secret, &id, &directory).await }
            };
            let asked = stream::iter(due).map(ask).buffer_unordered(limits::ARI_AT_ONCE);
            asked.collect::<()>().await;
        };
        ctx.spawn(polled.into_actor(self).map(|(), poller, _| poller.polling = false));
    }
}

impl Actor for AriPoller {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(limits::ARI_ROUND, Self::round);
    }
}

impl Poll {
    /// Returns the certificates of the next round; none of a CA while it is busy. Forgets Secrets
    /// that no Ingress names.
    fn due(&self) -> Vec<(SecretKey, CertId, Arc<str>)> {
        let (context, now) = (&self.context, self.context.clock.now());
        let set = context.cas.set();
        let may_ask = |directory: &str| {
            let limits = || context.cas.limits(directory);
            set.client(directory).is_some()
                && limits().rate_limits.borrow().busy_until(now).is_none()
        };
        let (index, mut windows) = (context.index.borrow(), context.dates.windows.borrow_mut());
        let mut due = windows.due(limits::ARI_ROUND_SIZE, may_ask, now);
        due.retain(|(secret, ..)| {
            let wanted = index.is_wanted(secret);
            if !wanted {
                windows.forget(secret);
            }
            wanted
        });
        due
    }

    /// Fetches the renewal window of one certificate. A CA without renewal information is not asked
    /// again.
    async fn ask(&self, secret: &SecretKey, id: &CertId, directory: &str) {
        let set = self.context.cas.set();
        let Some(client) = set.client(directory) else { return };
        let answer = bounded(limits::CA_CALL, "CA", client.ca.renewal_info(id)).await;
        let now = self.context.clock.now();
        let mut windows = self.context.dates.windows.borrow_mut();
        match answer {
            Ok(None) => {
                if windows.are_unsupported(directory) {
                    info!(
                        directory,
                        "the CA suggests no renewal times (RFC 9773); certificates are renewed by age"
                    );
                }
            }
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
