//! The issuer: a worker of the pool, which runs one job at a time.

use std::rc::Rc;

use actix::prelude::*;
use tracing::Instrument;

use super::job_runner::JobRunner;
use crate::messages::{JobDone, RunJob};

/// The actor.
pub struct Issuer {
    runner: Rc<JobRunner>,
}

impl Issuer {
    /// An idle worker.
    pub(crate) fn new(runner: Rc<JobRunner>) -> Self {
        Self { runner }
    }
}

impl Actor for Issuer {
    type Context = Context<Self>;
}

impl Handler<RunJob> for Issuer {
    type Result = ResponseFuture<JobDone>;

    fn handle(&mut self, RunJob(mut job): RunJob, _: &mut Context<Self>) -> Self::Result {
        let runner = self.runner.clone();
        let span = runner.span(&job);
        let ran = async move {
            let status = runner.run(&mut job).await;
            runner.spans.returned(&job, status);
            JobDone(job, status)
        };
        Box::pin(ran.instrument(span))
    }
}
