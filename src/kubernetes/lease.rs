//! Leader election with one Lease (coordination.k8s.io/v1): one of all replicas leads.
//!
//! # Guarantees
//! - Of two concurrent writes, one wins: each write carries the `resourceVersion` of its read.
//! - A leader that cannot renew for 10 s stops leading, 5 s before another replica may start.
//! - No clock of another machine is trusted: a Lease has expired when no change was seen for its
//!   duration, measured locally.
//!
//! The Lease also has the switch for new orders, an annotation that its user sets: whoever reads or
//! writes the Lease sees it, and no write of ours changes it.
//!
//! # Caveats
//! Durations use the monotonic clock, which stops while a machine is suspended: a leader may lead
//! for a moment too long after a resume. The journal then refuses its writes; the Lease only makes
//! that case rare.

mod decision;
mod term;

use std::sync::Arc;
use std::time::Duration;

use ingress_acme_actors::domain::new_orders::{LEASE, NEW_ORDERS_ANNOTATION, NewOrders};
use ingress_acme_actors::domain::said::Said;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::ports::Clock;
use k8s_openapi::api::coordination::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

pub use term::Term;

use crate::kubernetes::client::{FIELD_MANAGER, detail};
use decision::{LeaseRecord, LeaseStep, ObservedRecord, decide};

/// `metadata.name`, in the operator's namespace.
const NAME: &str = LEASE;
/// Time that other replicas wait after the last renewal they saw.
const DURATION: Duration = Duration::from_secs(15);
/// Time after a release in which a replica that cannot lead does not try again: two Lease
/// durations, so that another candidate takes the Lease, whenever that one looks.
pub const STEP_BACK: Duration = Duration::from_secs(30);
/// [`DURATION`] in seconds, as in the field of the Lease.
const DURATION_SECONDS: i32 = 15;
/// Time between renewals by a leader.
const RENEW: Duration = Duration::from_secs(5);
/// Time without a renewal after which a leader stops leading.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Time between two attempts of a waiting candidate, and after an error.
const RETRY: Duration = Duration::from_secs(2);
/// Longest time for one request. Leaves room for more than one renewal attempt within the deadline.
const CALL: Duration = Duration::from_secs(3);

/// A candidate for the operator's Lease.
#[derive(Clone)]
pub struct Lease {
    api: Api<api::Lease>,
    /// `holderIdentity`: the pod's name. Must be unique among running replicas.
    me: String,
    /// Clock for `renewTime` and `acquireTime`, which are read by people only.
    clock: Arc<dyn Clock + Send + Sync>,
    /// Switch for new orders, as last seen.
    new_orders: Arc<watch::Sender<NewOrders>>,
}

impl Lease {
    /// Creates a candidate for the Lease in the operator's namespace. `me` is the pod's name.
    pub fn new(
        client: Client,
        namespace: &str,
        me: &str,
        clock: Arc<dyn Clock + Send + Sync>,
    ) -> Self {
        let (api, new_orders) = (Api::namespaced(client, namespace), Arc::default());
        Self { api, me: me.to_owned(), clock, new_orders }
    }

    /// Returns a receiver of the switch for new orders.
    pub fn new_orders(&self) -> watch::Receiver<NewOrders> {
        self.new_orders.subscribe()
    }

    /// Looks at the switch for new orders in the Lease as read or written.
    fn see(&self, lease: Option<&api::Lease>) {
        let annotations = lease.and_then(|lease| lease.metadata.annotations.as_ref());
        let value = annotations.and_then(|all| all.get(NEW_ORDERS_ANNOTATION));
        let seen = NewOrders::of(value.map(String::as_str));
        self.new_orders.send_if_modified(|known| {
            let is_news = *known != seen;
            *known = seen;
            is_news
        });
    }

    /// Reads the switch for new orders, for a replica without leader election, and makes the Lease
    /// where there is none if `makes`, so that there is something to annotate.
    async fn look(&self, makes: bool) -> Result<(), kube::Error> {
        let found = self.api.get_opt(NAME).await?;
        self.see(found.as_ref());
        if found.is_some() || !makes {
            return Ok(());
        }
        let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
        match self.api.create(&params(), &api::Lease { metadata, spec: None }).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            made => made.map(drop),
        }
    }

    /// Follows the switch for new orders without leader election, forever. Calls `known` once the
    /// Lease has been read, or must not be read: then new orders are not stopped.
    pub async fn follow(&self, makes: bool, known: impl FnOnce()) {
        let (mut said, mut known) = (Said::default(), Some(known));
        loop {
            let looked = timeout(2 * CALL, self.look(makes)).await;
            let error = match looked {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some((detail(&error), is_forbidden(&error))),
                Err(_) => Some(("no answer in time".to_owned(), false)),
            };
            let is_known = error.as_ref().is_none_or(|(_, forbidden)| *forbidden);
            match error {
                None => said.has_ended(&()),
                Some((error, _)) if said.is_news((), error.clone()) => {
                    tracing::warn!(lease = NAME, error, "the switch for new orders cannot be read");
                }
                Some(_) => {}
            }
            if is_known && let Some(known) = known.take() {
                known();
            }
            sleep(if known.is_some() { RETRY } else { RENEW }).await;
        }
    }

    /// Waits until this candidate leads, without a time limit. Errors are logged and retried.
    pub async fn acquire(&self) -> Term {
        let mut observed = None;
        loop {
            let pause = match timeout(2 * CALL, self.attempt(&mut observed)).await {
                Ok(Ok(Attempt::Won { lease, at })) => return Term::begin(self.clone(), *lease, at),
                Ok(Ok(Attempt::Wait(pause))) => pause,
                Ok(Err(error)) => self.retry_after(&detail(&error)),
                Err(_) => self.retry_after("no answer in time"),
            };
            sleep(pause).await;
        }
    }

    fn retry_after(&self, error: &str) -> Duration {
        tracing::warn!(
            lease = NAME,
            me = self.me,
            error,
            "cannot determine the leader; trying again"
        );
        RETRY
    }

    async fn attempt(&self, observed: &mut Option<ObservedRecord>) -> Result<Attempt, kube::Error> {
        let found = self.api.get_opt(NAME).await?;
        self.see(found.as_ref());
        let at = Instant::now();
        let before = observed.take();
        *observed =
            found.as_ref().map(|lease| ObservedRecord::of(LeaseRecord::of(lease), before, at));
        let written = match decide(observed.as_ref(), &self.me, at) {
            LeaseStep::Wait(pause) => return Ok(Attempt::Wait(pause)),
            LeaseStep::Create => self.api.create(&params(), &self.held(None)).await,
            LeaseStep::Take => self.api.replace(NAME, &params(), &self.held(found)).await,
        };
        match written {
            Ok(lease) => {
                self.see(Some(&lease));
                Ok(Attempt::Won { lease: lease.into(), at })
            }
            // Another candidate wrote first.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                Ok(Attempt::Wait(RETRY))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the Lease with this candidate as its new holder.
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

/// Result of one attempt.
enum Attempt {
    /// This candidate leads. The term counts from `at`, a time before the write was sent.
    Won { lease: Box<api::Lease>, at: Instant },
    /// Another candidate leads. Retry after this time.
    Wait(Duration),
}

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403))
}

fn params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn micro_time(at: Timestamp) -> MicroTime {
    MicroTime(jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default())
}
