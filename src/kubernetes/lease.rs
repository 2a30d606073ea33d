//! Leader election by one Lease (coordination.k8s.io/v1): of all replicas, one leads.
//!
//! # Guarantees
//! - Of two that write at once, one wins: each write carries the `resourceVersion` that was read.
//! - A leader that cannot renew for 10 s stops to lead, 5 s before anybody else may begin.
//! - No clock of another machine is trusted: a Lease has run out when it has not changed for its duration as
//!   measured here.
//!
//! # Caveats
//! The measure is the monotonic clock, which stands still while a machine is suspended: a leader that wakes up
//! may lead for a moment too long. The journal refuses its writes then; the lease only makes that rare.

mod decision;
mod term;

use std::sync::Arc;
use std::time::Duration;

use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::ports::Clock;
use k8s_openapi::api::coordination::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

pub use term::Term;

use crate::kubernetes::client::{FIELD_MANAGER, detail};
use decision::{LeaseRecord, LeaseStep, Sighting, decide};

/// `metadata.name`, in the operator's namespace.
const NAME: &str = "ingress-acme";
/// How long others wait after the last renewal that they saw.
const DURATION: Duration = Duration::from_secs(15);
/// The same, as the field of the Lease has it.
const DURATION_SECONDS: i32 = 15;
/// A leader renews so often.
const RENEW: Duration = Duration::from_secs(5);
/// A leader that could not renew for so long leads no more.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Pause between two looks of one who waits, and after an error.
const RETRY: Duration = Duration::from_secs(2);
/// Longest one request may take, so that a renewal can be tried more than once within its deadline.
const CALL: Duration = Duration::from_secs(3);

/// A candidate for the operator's Lease.
#[derive(Clone)]
pub struct Lease {
    api: Api<api::Lease>,
    /// `holderIdentity`: the pod's name. No two that run at once may have the same.
    me: String,
    /// For `renewTime` and `acquireTime`, which people read.
    clock: Arc<dyn Clock + Send + Sync>,
}

impl Lease {
    /// In the operator's namespace; `me` is the name of the pod.
    pub fn new(
        client: Client,
        namespace: &str,
        me: &str,
        clock: Arc<dyn Clock + Send + Sync>,
    ) -> Self {
        Self { api: Api::namespaced(client, namespace), me: me.to_owned(), clock }
    }

    /// Waits until this candidate leads, however long; errors are logged and it is tried again.
    pub async fn acquire(&self) -> Term {
        let mut sighting = None;
        loop {
            let pause = match timeout(2 * CALL, self.attempt(&mut sighting)).await {
                Ok(Ok(Attempt::Won { lease, at })) => return Term::begin(self.clone(), *lease, at),
                Ok(Ok(Attempt::Wait(pause))) => pause,
                Ok(Err(error)) => self.retry_after(&detail(&error)),
                Err(_) => self.retry_after("no answer in time"),
            };
            sleep(pause).await;
        }
    }

    fn retry_after(&self, error: &str) -> Duration {
        tracing::warn!(lease = NAME, me = self.me, error, "cannot tell who leads; trying again");
        RETRY
    }

    async fn attempt(&self, sighting: &mut Option<Sighting>) -> Result<Attempt, kube::Error> {
        let found = self.api.get_opt(NAME).await?;
        let at = Instant::now();
        let before = sighting.take();
        *sighting = found.as_ref().map(|lease| Sighting::of(LeaseRecord::of(lease), before, at));
        let written = match decide(sighting.as_ref(), &self.me, at) {
            LeaseStep::Wait(pause) => return Ok(Attempt::Wait(pause)),
            LeaseStep::Create => self.api.create(&params(), &self.held(None)).await,
            LeaseStep::Take => self.api.replace(NAME, &params(), &self.held(found)).await,
        };
        match written {
            Ok(lease) => Ok(Attempt::Won { lease: lease.into(), at }),
            // Somebody else was faster.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                Ok(Attempt::Wait(RETRY))
            }
            Err(error) => Err(error),
        }
    }

    /// The Lease as it is when this candidate has just taken it.
    fn held(&self, before: Option<api::Lease>) -> api::Lease {
        let mut lease = before.unwrap_or_else(|| api::Lease {
            metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
            spec: None,
        });
        let spec = lease.spec.get_or_insert_default();
        let transitions = spec.lease_transitions.map_or(0, |number| number.saturating_add(1));
        let now = Some(micro_time(self.clock.now()));
        *spec = api::LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: Some(DURATION_SECONDS),
            acquire_time: now.clone(),
            renew_time: now,
            lease_transitions: Some(transitions),
            ..api::LeaseSpec::default()
        };
        lease
    }
}

/// What one look led to.
enum Attempt {
    /// This candidate leads; its time counts from before the write was sent.
    Won { lease: Box<api::Lease>, at: Instant },
    /// Somebody else does.
    Wait(Duration),
}

fn params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn micro_time(at: Timestamp) -> MicroTime {
    MicroTime(jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default())
}
