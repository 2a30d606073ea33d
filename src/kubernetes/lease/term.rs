//! A term of leadership, renewed in the background until lost or released.

use std::ops::ControlFlow;

use k8s_openapi::api::coordination::v1 as api;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::{CALL, Lease, NAME, RENEW, RENEW_DEADLINE, RETRY, micro_time, params};
use crate::kubernetes::client::detail;

/// Number of attempts to release the Lease.
const RELEASES: u32 = 3;

/// A term of leadership. If dropped without [`release`](Self::release), the term ends after the
/// Lease's duration.
pub struct Term {
    lease: Lease,
    /// True once the term is lost.
    lost: watch::Receiver<bool>,
    renewals: JoinHandle<()>,
}

impl Term {
    /// Starts the renewals. `held` is the Lease as written; the term counts from `at`.
    pub(super) fn begin(lease: Lease, held: api::Lease, at: Instant) -> Self {
        tracing::info!(lease = NAME, me = lease.me, "became leader");
        let (lost_sender, lost) = watch::channel(false);
        let renewals = tokio::spawn(keep(lease.clone(), held, at, lost_sender));
        Self { lease, lost, renewals }
    }

    /// Waits until the term is lost. No work may be started after that.
    pub async fn lost(&self) {
        // A dropped sender means that the renewals have ended.
        _ = self.lost.clone().wait_for(|lost| *lost).await;
    }

    /// Returns a receiver that turns true when the term is lost.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.lost.clone()
    }

    /// Ends the term so that another replica can lead at once. Takes a few seconds at most. If the
    /// release fails, the Lease expires by itself.
    pub async fn release(self) {
        self.renewals.abort();
        for _ in 0..RELEASES {
            match timeout(CALL, self.lease.free()).await {
                Ok(Ok(())) => {
                    return tracing::info!(lease = NAME, me = self.lease.me, "Lease released");
                }
                // Retry: a renewal was still in flight, or another client edited the Lease.
                Ok(Err(kube::Error::Api(status))) if status.code == 409 => {}
                Ok(Err(error)) => return self.not_released(&detail(&error)),
                Err(_) => return self.not_released("no answer in time"),
            }
        }
        self.not_released("it changed at each attempt");
    }

    fn not_released(&self, error: &str) {
        let me = &self.lease.me;
        tracing::warn!(
            lease = NAME,
            me,
            error,
            "not released; the next leader waits until it expires"
        );
    }
}

impl Drop for Term {
    fn drop(&mut self) {
        self.renewals.abort();
    }
}

/// Renews the Lease until the term is lost.
async fn keep(
    lease: Lease,
    mut held: api::Lease,
    mut renewed: Instant,
    lost_sender: watch::Sender<bool>,
) {
    let why = loop {
        sleep_until(renewed + RENEW).await;
        match timeout_at(renewed + RENEW_DEADLINE, lease.renew(&mut held)).await {
            Ok(ControlFlow::Continue(at)) => renewed = at,
            Ok(ControlFlow::Break(why)) => break why,
            Err(_) => break "it could not be renewed in time",
        }
    };
    tracing::warn!(lease = NAME, me = lease.me, why, "no longer leading");
    lost_sender.send_replace(true);
}

impl Lease {
    /// Retries until the Lease is renewed or lost. The caller sets the deadline. Returns the time
    /// before the request was sent, because other candidates may count from then on.
    async fn renew(&self, held: &mut api::Lease) -> ControlFlow<&'static str, Instant> {
        loop {
            let at = Instant::now();
            held.spec.get_or_insert_default().renew_time = Some(micro_time(self.clock.now()));
            let error = match timeout(CALL, self.api.replace(NAME, &params(), held)).await {
                Ok(Ok(now)) => {
                    self.see(Some(&now));
                    *held = now;
                    return ControlFlow::Continue(at);
                }
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                    return ControlFlow::Break("it was deleted");
                }
                Ok(Err(kube::Error::Api(status))) if status.code == 409 => {
                    match timeout(CALL, self.api.get_opt(NAME)).await {
                        Ok(Ok(now)) if !self.holds(now.as_ref()) => {
                            return ControlFlow::Break("another replica holds it");
                        }
                        Ok(Ok(Some(now))) => {
                            self.see(Some(&now));
                            *held = now;
                            continue;
                        }
                        _ => "it changed and cannot be read".to_owned(),
                    }
                }
                Ok(Err(error)) => detail(&error),
                Err(_) => "no answer in time".to_owned(),
            };
            tracing::warn!(lease = NAME, me = self.me, error, "not renewed; trying again");
            sleep(RETRY / 2).await;
        }
    }

    /// Releases the Lease if this candidate still holds it.
    async fn free(&self) -> Result<(), kube::Error> {
        let found = self.api.get_opt(NAME).await?;
        let Some(mut lease) = found.filter(|lease| self.holds(Some(lease))) else { return Ok(()) };
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.renew_time = Some(micro_time(self.clock.now()));
        self.api.replace(NAME, &params(), &lease).await.map(drop)
    }

    fn holds(&self, lease: Option<&api::Lease>) -> bool {
        let holder = lease.and_then(|lease| lease.spec.as_ref()?.holder_identity.as_deref());
        holder == Some(&self.me)
    }
}
