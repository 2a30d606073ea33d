//! Tells what is going on: the whole state at any time, without key material.

use std::cell::RefCell;
use std::rc::Rc;

use actix::prelude::*;
use serde::Serialize;

use crate::domain::dedup::Phase;
use crate::domain::desk::Desk;
use crate::domain::index::Index;
use crate::domain::issuance::State;
use crate::ledger::Ledger;
use crate::pool::Pool;
use crate::registry::Registry;

/// To the reporter: describe everything.
#[derive(Debug, Message)]
#[rtype(result = "StateDump")]
pub struct Describe;

/// To the pool: describe the runs.
#[derive(Debug, Message)]
#[rtype(result = "Vec<RunDump>")]
struct DescribeRuns;

/// The state of the operator, in the shape of `/debug/state`.
#[derive(Debug, Default, Serialize, MessageResponse)]
pub struct StateDump {
    /// Ingresses that are known.
    pub managed_ingresses: usize,
    /// Ingresses with something going on.
    pub ingresses: Vec<IngressDump>,
    /// Certificates in the pool.
    pub runs: Vec<RunDump>,
    /// Streams of the journal that are not idle.
    pub streams: Vec<StreamDump>,
}

/// One dedup actor.
#[derive(Debug, Serialize)]
pub struct IngressDump {
    ingress: String,
    phase: String,
}

/// One run of the pool.
#[derive(Debug, Serialize)]
pub struct RunDump {
    secret: String,
    phase: &'static str,
    since: String,
}

/// One stream.
#[derive(Debug, Serialize)]
pub struct StreamDump {
    secret: String,
    state: &'static str,
    names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureDump>,
}

/// What failed, and when it goes on.
#[derive(Debug, Serialize)]
pub struct FailureDump {
    class: &'static str,
    detail: String,
    attempts: u32,
    since: String,
    retry_at: String,
}

/// The actor.
pub struct Reporter {
    index: Rc<RefCell<Index>>,
    registry: Rc<Registry>,
    ledger: Rc<Ledger>,
    pool: Addr<Pool>,
}

impl Reporter {
    /// A reporter on these.
    pub fn new(
        index: Rc<RefCell<Index>>,
        registry: Rc<Registry>,
        ledger: Rc<Ledger>,
        pool: Addr<Pool>,
    ) -> Self {
        Self { index, registry, ledger, pool }
    }
}

impl Actor for Reporter {
    type Context = Context<Self>;
}

impl Handler<Describe> for Reporter {
    type Result = ResponseFuture<StateDump>;

    fn handle(&mut self, _: Describe, _: &mut Context<Self>) -> Self::Result {
        let mut streams = Vec::new();
        self.ledger.for_each_live(|secret, state| streams.push(stream(secret.to_string(), state)));
        let phases = self.registry.phases().into_iter();
        let ingresses = phases.map(|(key, phase)| ingress(key.to_string(), phase)).collect();
        let managed_ingresses = self.index.borrow().managed_count();
        let runs = self.pool.send(DescribeRuns);
        Box::pin(async move {
            let runs = runs.await.unwrap_or_default();
            StateDump { managed_ingresses, ingresses, runs, streams }
        })
    }
}

impl Handler<DescribeRuns> for Pool {
    type Result = Vec<RunDump>;

    fn handle(&mut self, _: DescribeRuns, _: &mut Context<Self>) -> Vec<RunDump> {
        runs(self.desk())
    }
}

fn runs(desk: &Desk) -> Vec<RunDump> {
    let run = |(secret, phase, since): (&crate::domain::ingress::SecretKey, _, _)| RunDump {
        secret: secret.to_string(),
        phase,
        since: crate::domain::time::Timestamp::to_string(&since),
    };
    desk.describe().map(run).collect()
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

fn stream(secret: String, state: &State) -> StreamDump {
    let issuance = state.issuance();
    let order = match state {
        State::Ordered { url, .. } => Some(url.clone()),
        _ => None,
    };
    StreamDump {
        secret,
        state: state.name(),
        names: issuance
            .map(|i| i.names.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        order,
        since: issuance.map(|issuance| issuance.started_at.to_string()),
        failure: state.failing().map(|failing| FailureDump {
            class: failing.class.label(),
            detail: failing.detail.clone(),
            attempts: failing.attempts,
            since: failing.since.to_string(),
            retry_at: failing.retry_at.to_string(),
        }),
    }
}
