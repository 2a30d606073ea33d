//! Dump of the whole state, for the person on call.

use std::collections::HashMap;
use std::sync::Arc;

use actix::prelude::*;
use serde::Serialize;

use super::listing::is_none;
use super::overview::closed;
use super::rows::{ClosedDump, DescribeJobs, FailureDump, JobDump, Which};
use super::{LEADER, Reporter};
use crate::context::OperatorContext;
use crate::domain::fair_share::share;
use crate::domain::issuance::State;
use crate::domain::limits;
use crate::domain::scheduling::dedup::Phase;

/// To the reporter: describe the whole state.
#[derive(Debug, Message)]
#[rtype(result = "StateDump")]
pub struct Describe;

/// State of the operator, in the shape of `/debug/state`.
#[derive(Debug, Serialize, MessageResponse)]
pub struct StateDump {
    /// Role of this replica. Only the leader has a reporter.
    pub role: &'static str,
    /// The ACME directory in use.
    pub directory: String,
    /// Number of managed Ingresses.
    pub managed_ingresses: usize,
    /// Keys with a live dedup actor.
    pub ingresses: Vec<IngressDump>,
    /// Active rate limits.
    pub closed: Vec<ClosedDump>,
    /// Jobs in the pool.
    pub runs: Vec<JobDump>,
    /// Event streams that are not idle.
    pub streams: Vec<StreamDump>,
    /// What is left out; none if nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One dedup actor.
#[derive(Debug, Serialize)]
pub struct IngressDump {
    ingress: String,
    phase: String,
}

/// One event stream.
#[derive(Debug, Serialize)]
pub struct StreamDump {
    secret: String,
    state: &'static str,
    names: Vec<String>,
    #[serde(skip_serializing_if = "is_none")]
    names_left_out: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureDump>,
}

impl Handler<Describe> for Reporter {
    type Result = ResponseFuture<StateDump>;

    fn handle(&mut self, _: Describe, _: &mut Context<Self>) -> Self::Result {
        let (streams, more_streams) = streams(&self.context);
        let phases = self.registry.phases();
        let all = phases.len();
        let phases = phases.into_iter().take(limits::DUMPED);
        let ingresses: Vec<IngressDump> =
            phases.map(|(key, phase)| ingress(key.to_string(), phase)).collect();
        let more_ingresses = all - ingresses.len();
        let managed_ingresses = self.context.index.borrow().managed_count();
        let (role, directory) = (LEADER, self.context.cas.set().cas.first.directory.clone());
        let closed = closed(&self.context, limits::DUMPED);
        let runs = self.pool.send(DescribeJobs(Which::First(limits::DUMPED + 1)));
        Box::pin(async move {
            let mut runs = runs.await.unwrap_or_default();
            let more_runs = runs.len() > limits::DUMPED;
            runs.truncate(limits::DUMPED);
            let note = note(more_ingresses, more_runs, more_streams);
            StateDump { role, directory, managed_ingresses, ingresses, closed, runs, streams, note }
        })
    }
}

/// Says what is left out of the dump.
fn note(ingresses: usize, runs: bool, streams: usize) -> Option<String> {
    let most = limits::DUMPED;
    let runs = if runs { "further" } else { "0" };
    (ingresses + streams > 0 || runs != "0").then(|| {
        format!(
            "{ingresses} ingresses, {runs} runs and {streams} streams are left out, because there are at most {most} rows of \
             each kind; /api/v1/ingresses has all Ingresses, page by page"
        )
    })
}

/// Returns rows of the event streams, and the number of those that are left out. Each namespace has
/// the same share, so that a tenant with thousands of streams hides no other's.
fn streams(context: &OperatorContext) -> (Vec<StreamDump>, usize) {
    let (mut counts, mut all) = (HashMap::<Arc<str>, usize>::new(), 0);
    context.ledger.for_each_live(|secret, _| {
        *counts.entry(Arc::clone(&secret.namespace)).or_default() += 1;
        all += 1;
    });
    let of_each = share(counts.values().copied(), limits::DUMPED);
    let names_of_each = limits::LISTED_HOSTS / all.clamp(1, limits::DUMPED);
    let mut rows = Vec::new();
    counts.clear();
    context.ledger.for_each_live(|secret, state| {
        let count = counts.entry(Arc::clone(&secret.namespace)).or_default();
        *count += 1;
        if *count <= of_each {
            rows.push(stream(secret.to_string(), state, names_of_each));
        }
    });
    let more = all - rows.len();
    (rows, more)
}

fn ingress(ingress: String, phase: Phase) -> IngressDump {
    let phase = match phase {
        Phase::Idle => "idle".to_owned(),
        Phase::Settling(_) => "settling".to_owned(),
        Phase::InFlight { since, dirty: None } => format!("in flight since {since}"),
        Phase::InFlight { since, dirty: Some(_) } => {
            format!("in flight since {since}, once more after")
        }
        Phase::Waiting { until } => format!("waiting until {until}"),
    };
    IngressDump { ingress, phase }
}

fn stream(secret: String, state: &State, most_names: usize) -> StreamDump {
    let issuance = state.issuance();
    let names = issuance.iter().flat_map(|issuance| &issuance.names);
    let order = match state {
        State::Ordered { url, .. } => Some(url.clone()),
        _ => None,
    };
    StreamDump {
        secret,
        state: state.name(),
        names_left_out: names.clone().count().saturating_sub(most_names),
        names: names.take(most_names).map(ToString::to_string).collect(),
        order,
        since: issuance.map(|issuance| issuance.started_at.to_string()),
        failure: state.failing().map(FailureDump::of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::certificate::{KeyAlgorithm, PrivateKey};
    use crate::domain::desired::desired_certificate::tests::desired;
    use std::collections::BTreeSet;

    use crate::domain::failure::FailureClass;
    use crate::domain::ingress::SecretKey;
    use crate::domain::issuance::{Event, IssuanceFailed, IssuanceStarted, OrderOpened, apply};
    use crate::domain::rate_limits::{ActiveLimit, LimitHit, LimitScope};
    use crate::reporting::reporter::contracts::{NOW, hold, phases};

    /// Returns one state of each kind: idle, failing, started and ordered.
    fn states() -> Vec<State> {
        let desired = desired("shop", &["shop.example.com"]);
        let failed = Event::IssuanceFailed(IssuanceFailed {
            class: FailureClass::Authorization,
            detail: "the words of the CA".into(),
            fingerprint: desired.fingerprint(),
            retry_at: NOW,
            names: Arc::default(),
            wildcards: BTreeSet::new(),
            subset_retry_at: None,
            down_since: None,
            at_fallback: false,
            fallback: None,
            edition: None,
            edits_until: None,
            folded: None,
        });
        let started = Event::IssuanceStarted(IssuanceStarted {
            names: desired.names.clone(),
            wildcards: BTreeSet::new(),
            algorithm: KeyAlgorithm::default(),
            profile: None,
            renew: None,
            left_out: BTreeSet::new(),
            left_out_wildcards: BTreeSet::new(),
            directory: None,
            ca: None,
            fingerprint: desired.fingerprint(),
            key: PrivateKey::from_pem("k".to_owned()),
        });
        let opened =
            Event::OrderOpened(OrderOpened { url: "https://ca.example/order/1".to_owned() });
        let mut all = vec![State::Idle];
        for event in [failed, started, opened] {
            all.push(apply(all[all.len() - 1].clone(), &event, NOW).unwrap());
        }
        all
    }

    #[test]
    fn the_dump_has_the_keys_that_programs_read() {
        let (scope, detail) = (LimitScope::Account, "the words of the CA".to_owned());
        let hit = LimitHit { scope, since: Some(NOW), until: NOW, pace_ms: 1, detail };
        let closed = ActiveLimit { hit: &hit, opens: NOW, waiting: 2, last: NOW };
        let run = JobDump {
            secret: "web/shop".to_owned(),
            phase: "running",
            since: NOW,
            key: SecretKey::new("web", "shop"),
        };
        let ingresses = phases().into_iter().map(|phase| ingress("web/shop".to_owned(), phase));
        let dump = StateDump {
            role: LEADER,
            directory: "https://ca.example/directory".to_owned(),
            managed_ingresses: 1,
            ingresses: ingresses.collect(),
            closed: vec![ClosedDump::of(closed, None)],
            runs: vec![run],
            streams: states().iter().map(|state| stream("web/shop".to_owned(), state, 1)).collect(),
            note: None,
        };
        hold("debug-state", &serde_json::to_string_pretty(&dump).unwrap());
        let ordered = states().pop().unwrap();
        let streams = vec![stream("web/shop".to_owned(), &ordered, 0)];
        let note = note(1, true, 2);
        let dump = StateDump { ingresses: vec![], runs: vec![], streams, note, ..dump };
        hold("debug-state-left-out", &serde_json::to_string_pretty(&dump).unwrap());
    }
}
