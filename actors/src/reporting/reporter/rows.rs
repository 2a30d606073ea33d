//! Rows that several answers share: failures, rate limits, and jobs, which the pool describes.

use std::collections::HashSet;

use actix::prelude::*;
use serde::{Serialize, Serializer};

use crate::domain::ingress::SecretKey;
use crate::domain::issuance::Failing;
use crate::domain::rate_limits::{ActiveLimit, LimitWait};
use crate::domain::scheduling::scheduler::Scheduler;
use crate::domain::time::Timestamp;
use crate::domain::top_k::top_k;
use crate::pool::actor::Pool;

/// Failures of a certificate in a row, and the time of the retry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FailureDump {
    /// Class of the last failure.
    pub class: &'static str,
    /// Text of the last failure.
    pub detail: String,
    /// Number of failures in a row.
    pub attempts: u32,
    /// Time of the first failure.
    #[serde(serialize_with = "as_text")]
    pub since: Timestamp,
    /// Earliest time of the next attempt.
    #[serde(serialize_with = "as_text")]
    pub retry_at: Timestamp,
}

impl FailureDump {
    pub(super) fn of(failing: &Failing) -> Self {
        Self {
            class: failing.class.label(),
            detail: failing.detail.to_string(),
            attempts: failing.attempts,
            since: failing.since,
            retry_at: failing.retry_at,
        }
    }
}

/// An active rate limit and its queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ClosedDump {
    /// Name of the CA, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Scope of the limit.
    pub scope: String,
    /// Time at which the next order may pass.
    #[serde(serialize_with = "as_text")]
    pub opens: Timestamp,
    /// Number of waiting Secrets.
    pub waiting: u32,
    /// Estimated admission time of the last one, if nothing changes.
    #[serde(serialize_with = "as_text")]
    pub last: Timestamp,
    /// Message of the CA.
    pub detail: String,
}

impl ClosedDump {
    /// The limit of the only CA, or of `ca`.
    pub(super) fn of(closed: ActiveLimit<'_>, ca: Option<String>) -> Self {
        let ActiveLimit { hit, opens, waiting, last } = closed;
        let at = ca.as_ref().map(|ca| format!(" at CA {ca}")).unwrap_or_default();
        let (scope, detail) = (format!("{}{at}", hit.scope), hit.detail.clone());
        Self { ca, scope, opens, waiting, last, detail }
    }
}

/// Place of a certificate in a limit queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct WaitDump {
    /// Scope of the limit.
    pub scope: String,
    /// Estimated admission time, if nothing changes.
    #[serde(serialize_with = "as_text")]
    pub turn: Timestamp,
    /// Message of the CA.
    pub detail: String,
}

impl WaitDump {
    pub(super) fn of(waiting: LimitWait) -> Self {
        let LimitWait { ca, scope, detail, turn } = waiting;
        let at = ca.map(|ca| format!(" at CA {ca}")).unwrap_or_default();
        Self { scope: format!("{scope}{at}"), turn, detail }
    }
}

/// One job of the pool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct JobDump {
    /// Secret of the job.
    pub secret: String,
    /// `queued`, `running` or `parked`.
    pub phase: &'static str,
    /// Time of the first request.
    #[serde(serialize_with = "as_text")]
    pub since: Timestamp,
    #[serde(skip)]
    pub(super) key: SecretKey,
}

/// Serializes a time as RFC 3339, for users and other programs. The journal writes milliseconds
/// instead.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
pub(super) fn as_text<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

/// Serializes a time that may be missing as RFC 3339.
#[expect(clippy::ref_option, reason = "serde passes fields so")]
pub(super) fn as_text_if_any<S: Serializer>(
    at: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    at.as_ref().map(Timestamp::to_string).serialize(serializer)
}

/// To the pool: return the Secrets of all jobs.
#[derive(Debug, Message)]
#[rtype(result = "HashSet<SecretKey>")]
pub(super) struct AtWork;

impl Handler<AtWork> for Pool {
    type Result = MessageResult<AtWork>;

    fn handle(&mut self, _: AtWork, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.scheduler().describe().map(|(secret, ..)| secret.clone()).collect())
    }
}

/// To the pool: describe these jobs.
#[derive(Debug, Message)]
#[rtype(result = "Vec<JobDump>")]
pub(super) struct DescribeJobs(pub(super) Which);

/// Selection of jobs.
#[derive(Debug)]
pub(super) enum Which {
    /// Existing jobs of these Secrets.
    Of(HashSet<SecretKey>),
    /// At most this many jobs: running first, then parked, then queued ones.
    First(usize),
}

impl Handler<DescribeJobs> for Pool {
    type Result = Vec<JobDump>;

    fn handle(&mut self, DescribeJobs(which): DescribeJobs, _: &mut Context<Self>) -> Vec<JobDump> {
        jobs(self.scheduler(), &which)
    }
}

type Described<'a> = (&'a SecretKey, &'static str, Timestamp);

fn jobs(scheduler: &Scheduler, which: &Which) -> Vec<JobDump> {
    match which {
        Which::Of(wanted) => {
            scheduler.describe().filter(|(secret, ..)| wanted.contains(secret)).map(dump).collect()
        }
        Which::First(count) => {
            top_k(scheduler.describe(), 0, *count, order).into_iter().map(dump).collect()
        }
    }
}

fn order<'a>((secret, phase, since): &Described<'a>) -> (u8, Timestamp, &'a SecretKey) {
    let rank = match *phase {
        "running" => 0,
        "parked" => 1,
        _ => 2,
    };
    (rank, *since, *secret)
}

fn dump((secret, phase, since): Described) -> JobDump {
    JobDump { secret: secret.to_string(), phase, since, key: secret.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ingress::IngressKey;
    use crate::domain::scheduling::priority::Priority;
    use crate::domain::scheduling::queue::Lane;

    fn scheduler() -> Scheduler {
        let mut scheduler = Scheduler::new(1, 10);
        for (name, at) in [("a", 3), ("b", 1), ("c", 2)] {
            let (ingress, stream) = (IngressKey::new("web", name), SecretKey::new("web", name));
            scheduler
                .request(
                    &ingress.into(),
                    [(stream, Lane::New(Priority::FIRST))],
                    Timestamp::from_secs(at),
                )
                .unwrap();
        }
        _ = scheduler.next_job(Timestamp::from_secs(4)).unwrap();
        scheduler
    }

    fn described(which: &Which) -> Vec<String> {
        jobs(&scheduler(), which)
            .into_iter()
            .map(|run| format!("{} {}", run.secret, run.phase))
            .collect()
    }

    #[test]
    fn those_that_get_on_come_before_those_that_wait_longest() {
        assert_eq!(described(&Which::First(2)), ["web/a running", "web/b queued"]);
        assert_eq!(described(&Which::First(10)).len(), 3);
    }

    #[test]
    fn runs_of_chosen_secrets_are_reported_where_there_are_any() {
        let wanted = ["c", "none"].map(|name| SecretKey::new("web", name));
        assert_eq!(described(&Which::Of(wanted.into())), ["web/c queued"]);
    }
}
