//! What the actors say to each other: keys and answers, never objects.

use std::collections::BTreeSet;

use actix::prelude::*;

use crate::domain::desired::desired_certificate::Route;
use crate::domain::desired::index::WatchScope;
use crate::domain::ingress::SecretKey;
use crate::domain::scheduling::reconcile_key::ReconcileKey;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::scheduling::scheduler::{Job, JobStatus};
use crate::ports::PortError;

/// To a dedup actor: something about its Ingress may have changed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Changed;

/// To the pool: see to all that this Ingress asks for, and answer when that is done.
#[derive(Debug, Message)]
#[rtype(result = "Requeue")]
pub struct Reconcile(pub ReconcileKey);

/// To an issuer: take this run as far as it goes.
#[derive(Debug, Message)]
#[rtype(result = "JobDone")]
pub struct RunJob(pub Box<Job>);

/// The issuer's answer.
#[derive(Debug)]
pub struct JobDone(pub Box<Job>, pub JobStatus);

impl<A, M> actix::dev::MessageResponse<A, M> for JobDone
where
    A: Actor,
    M: Message<Result = Self>,
{
    fn handle(self, _: &mut A::Context, tx: Option<actix::dev::OneshotSender<Self>>) {
        if let Some(tx) = tx {
            let _ = tx.send(self); // the pool is gone: so is the job
        }
    }
}

/// To the route keeper: bring the challenges of these hosts to the solver, and answer when that is done.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), PortError>")]
pub struct Publish {
    /// Who needs them.
    pub stream: SecretKey,
    /// The hosts and their classes.
    pub routes: BTreeSet<Route>,
}

/// To the route keeper: these will be needed soon; take them along with the next write.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PrefetchRoutes(pub Vec<(SecretKey, BTreeSet<Route>)>);

/// To the route keeper: this stream needs its routes no more.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Withdraw(pub SecretKey);

/// To the scanner: the first full list of the Ingresses of this scope is there.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Listed(pub WatchScope);

/// To the pool: begin nothing new, and answer when no order is in anyone's hands.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;
