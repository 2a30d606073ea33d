//! One Ingress with all known state and the history of its certificates.

use std::collections::HashSet;

use actix::prelude::*;

use super::Reporter;
use super::listing::{IngressRow, Room};
use super::rows::{DescribeJobs, Which};
use super::search::left_alone;
use crate::domain::desired::selection::Skip;
use crate::domain::ingress::{IngressKey, SecretKey};
use crate::domain::limits;
use crate::domain::status::history::HistoryRecord;
use crate::domain::time::Timestamp;
use crate::domain::top_k::top_k;

/// To the reporter: describe one Ingress. There is no answer for one that is not known.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[rtype(result = "Option<IngressReport>")]
pub struct GetIngress(pub IngressKey);

/// One Ingress and its history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IngressReport {
    /// Time of the report.
    pub now: Timestamp,
    /// The ACME directory in use.
    pub directory: String,
    /// The Ingress and its certificates.
    pub row: IngressRow,
    /// Last records of its certificates, the newest first.
    pub history: Vec<HistoryRecord>,
}

impl Handler<GetIngress> for Reporter {
    type Result = ResponseFuture<Option<IngressReport>>;

    fn handle(&mut self, GetIngress(key): GetIngress, _: &mut Context<Self>) -> Self::Result {
        let (context, registry) = (self.context.clone(), self.registry.clone());
        let is_known = {
            let index = context.index.borrow();
            index.view(&key).is_some() && left_alone(&index, &key) != Some(&Skip::Solver)
        };
        if !is_known {
            return Box::pin(std::future::ready(None));
        }
        let room = Room::of(&context, std::slice::from_ref(&key));
        let secrets: HashSet<SecretKey> = room.secrets(&context, &key).into_iter().collect();
        let runs = self.pool.send(DescribeJobs(Which::Of(secrets.clone())));
        Box::pin(async move {
            let runs = runs.await.unwrap_or_default().into_iter();
            let runs = runs.map(|run| (run.key.clone(), run)).collect();
            let history = context.ledger.history();
            let records = secrets.iter().flat_map(|secret| history.of(secret));
            let newest = |record: &&HistoryRecord| std::cmp::Reverse(record.number);
            let records = top_k(records, 0, limits::PAGE_RECORDS, newest);
            Some(IngressReport {
                now: context.clock.now(),
                directory: context.cas.set().cas.first.directory.clone(),
                row: room.row(&context, &key, registry.phase(&key), &runs),
                history: records.into_iter().cloned().collect(),
            })
        })
    }
}
