//! Messages between the actors. They carry keys and answers, never Kubernetes objects.

use std::collections::HashMap;
use std::sync::Arc;

use actix::prelude::*;

use crate::domain::desired::desired_certificate::WantedRoute;
use crate::domain::desired::index::WatchScope;
use crate::domain::ingress::{IngressClass, SecretKey};
use crate::domain::routes::Seen;
use crate::domain::rule_host::RuleHost;
use crate::domain::scheduling::reconcile_key::ReconcileKey;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::scheduling::scheduler::{Job, JobStatus};
use crate::domain::time::Timestamp;
use crate::ports::PortError;

/// To a dedup actor: the Ingress or its certificates may have changed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Changed;

/// To the pool: reconcile this key, whose first event arrived at this time; `None` for a requeue.
/// The answer comes when the jobs of all its Secrets have ended.
#[derive(Debug, Message)]
#[rtype(result = "Requeue")]
pub struct Reconcile(pub ReconcileKey, pub Option<Timestamp>);

/// To an issuer: run this job until it ends or has to wait.
#[derive(Debug, Message)]
#[rtype(result = "JobDone")]
pub(crate) struct RunJob(pub Box<Job>);

/// Answer of an issuer: the job and its status.
#[derive(Debug)]
pub(crate) struct JobDone(pub Box<Job>, pub JobStatus);

impl<A, M> actix::dev::MessageResponse<A, M> for JobDone
where
    A: Actor,
    M: Message<Result = Self>,
{
    fn handle(self, _: &mut A::Context, tx: Option<actix::dev::OneshotSender<Self>>) {
        if let Some(tx) = tx {
            let _ = tx.send(self); // without the pool, no job continues
        }
    }
}

/// To the route keeper: route the challenge paths of these hosts to the solver. The answer comes
/// when the routes are written, with the time from which the solver answers by them alone; `None`
/// if it does already.
#[derive(Debug, Message)]
#[rtype(result = "Result<Option<Timestamp>, PortError>")]
pub(crate) struct Publish {
    /// Secret of the job that needs the routes.
    pub stream: SecretKey,
    /// Hosts and their ingress classes.
    pub routes: Arc<[WantedRoute]>,
}

/// To the route keeper: include these routes, which jobs need soon, in the next write.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct PrefetchRoutes(pub Vec<(SecretKey, Arc<[WantedRoute]>)>);

/// To the route keeper: the job of this Secret needs its routes no longer.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Withdraw(pub SecretKey);

/// To the route keeper: there are new Ingresses with rules for these hosts, created at these times.
/// A wildcard or hostless rule counts in its class alone, because many Ingresses have the same one.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct NewIngresses(pub HashMap<(Option<IngressClass>, RuleHost), Timestamp>);

/// To the route keeper: the watch shows these routes in users' namespaces, or that they are gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SeenRoutes(pub Vec<Seen>);

/// To the route keeper: begin no more writes. The answer comes when no write is in flight: from
/// then on the solver Ingresses may belong to another replica.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct StopWriting;

/// To the scanner: the first full list of the Ingresses of this scope is complete.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Listed(pub WatchScope);

/// To the pool: start no more queued jobs. The answer comes when no job holds a slot.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;

/// To the pool: the switch for new orders has moved.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct SwitchMoved;
