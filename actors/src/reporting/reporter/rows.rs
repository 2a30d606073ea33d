//! What several answers have in common: failures, and the jobs, which the pool is asked for.

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

/// What failed, and when it goes on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FailureDump {
    /// Kind of the last failure.
    pub class: &'static str,
    /// Words of the last failure.
    pub detail: String,
    /// Failures in a row.
    pub attempts: u32,
    /// Time of the first of them.
    #[serde(serialize_with = "as_text")]
    pub since: Timestamp,
    /// When it is tried again.
    #[serde(serialize_with = "as_text")]
    pub retry_at: Timestamp,
}

impl FailureDump {
    pub(super) fn of(failing: &Failing) -> Self {
        Self {
            class: failing.class.label(),
            detail: failing.detail.clone(),
            attempts: failing.attempts,
            since: failing.since,
            retry_at: failing.retry_at,
        }
    }
}

/// A scope of orders that the CA has closed, and who waits for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ClosedDump {
    /// What is closed.
    pub scope: String,
    /// When the next may pass.
    #[serde(serialize_with = "as_text")]
    pub opens: Timestamp,
    /// How many wait.
    pub waiting: u32,
    /// When the last of them has its turn, if nothing changes.
    #[serde(serialize_with = "as_text")]
    pub last: Timestamp,
    /// In the words of the CA.
    pub detail: String,
}

impl ClosedDump {
    pub(super) fn of(closed: ActiveLimit<'_>) -> Self {
        let ActiveLimit { hit, opens, waiting, last } = closed;
        let (scope, detail) = (hit.scope.to_string(), hit.detail.clone());
        Self { scope, opens, waiting, last, detail }
    }
}

/// Where a certificate waits in line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct WaitDump {
    /// What the CA takes no orders of for now.
    pub scope: String,
    /// When its turn comes, if nothing changes.
    #[serde(serialize_with = "as_text")]
    pub turn: Timestamp,
    /// In the words of the CA.
    pub detail: String,
}

impl WaitDump {
    pub(super) fn of(waiting: LimitWait) -> Self {
        let LimitWait { scope, detail, turn } = waiting;
        Self { scope: scope.to_string(), turn, detail }
    }
}

/// One job of the pool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct JobDump {
    /// Its Secret.
    pub secret: String,
    /// `queued`, `running` or `parked`.
    pub phase: &'static str,
    /// Since when it is asked for.
    #[serde(serialize_with = "as_text")]
    pub since: Timestamp,
    #[serde(skip)]
    pub(super) key: SecretKey,
}

/// RFC 3339, for eyes and for other programs; the journal writes milliseconds.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
pub(super) fn as_text<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

/// To the pool: describe these jobs.
#[derive(Debug, Message)]
#[rtype(result = "Vec<JobDump>")]
pub(super) struct DescribeJobs(pub(super) Which);

/// Which runs are meant.
#[derive(Debug)]
pub(super) enum Which {
    /// All, in any order.
    All,
    /// Those of these Secrets that there are.
    Of(HashSet<SecretKey>),
    /// So many of them, those first that get on.
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
        Which::All => scheduler.describe().map(dump).collect(),
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
        assert_eq!(described(&Which::All).len(), 3);
    }

    #[test]
    fn runs_of_chosen_secrets_are_told_where_there_are_any() {
        let wanted = ["c", "none"].map(|name| SecretKey::new("web", name));
        assert_eq!(described(&Which::Of(wanted.into())), ["web/c queued"]);
    }
}
