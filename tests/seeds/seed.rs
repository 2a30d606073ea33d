//! One seed: its world, its steps, and the properties at its end.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ingress_acme_actors::domain::limits;
use ingress_acme_actors::reporting::reporter::Describe;
use ingress_acme_sim::ca;
use ingress_acme_sim::direct::DirectWorld;
use ingress_acme_sim::dns::Trouble;
use ingress_acme_sim::kube::{Audited, User};

use crate::api_transport;
use crate::faults::Schedule;
use crate::replica::{Machine, Replica, Start};
use crate::users::{Users, host};

const SECOND: Duration = Duration::from_secs(1);
/// Longest pause after a failure is a day; the hours beyond are for scans.
const SETTLED_AFTER: Duration = Duration::from_hours(30);
/// Time without a write after that.
const QUIET: Duration = Duration::from_hours(24);
/// Time for which a replica that has lost its place goes on, at most.
const UNNOTICED: Duration = Duration::from_secs(10);
/// One seed of this many has replicas with a Lease: ten times the cost, by a request every five
/// seconds.
const WITH_LEASE: u64 = 64;

/// Events of one Ingress that are sent again in the quiet day, at most.
fn repeats() -> usize {
    let periods = QUIET.as_secs().div_ceil(limits::EVENT_REPEAT.as_secs());
    limits::EVENTS_REPEATED_OF_EACH * usize::try_from(periods).unwrap_or(0)
}

/// One step.
#[derive(Clone, Copy, Debug)]
enum Step {
    Edit(usize, u8),
    DeleteSecret(usize),
    OverwriteSecret(usize, bool),
    Kill,
    /// Another replica takes over while this one does not know.
    Depose,
    Dns(usize, u8, Option<Trouble>),
    /// Certificates expire at once, or live as usual.
    Expired(bool),
    /// The history of the API server is forgotten and all watches end: 410 Gone.
    Gap,
    /// Watches close.
    Close,
    /// Events come late.
    Held(bool),
    FrozenApi(bool),
    FrozenCa(bool),
    BadNonces(bool),
    /// Seconds by which the machine's clock is ahead.
    Clock(i64),
    Pass(u64),
}

/// What a seed leads to: the same for the same seed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) audit: Vec<Audited>,
    pub(crate) orders: u64,
    pub(crate) certificates: u64,
    pub(crate) faults: u64,
}

fn step(random: &mut fastrand::Rng, ingresses: usize) -> Step {
    let n = random.usize(..ingresses);
    match random.u8(..40) {
        0..12 => Step::Edit(n, random.u8(..8)),
        12..14 => Step::DeleteSecret(n),
        14..16 => Step::OverwriteSecret(n, random.bool()),
        16..18 => Step::Kill,
        18 => Step::Depose,
        19..22 => {
            let troubles = [Trouble::NxDomain, Trouble::ServFail, Trouble::Dead];
            let trouble = random.bool().then(|| troubles[random.usize(..troubles.len())]);
            Step::Dns(n, random.u8(..3), trouble)
        }
        22 => Step::Expired(random.bool()),
        23 => Step::Gap,
        24 => Step::Close,
        25 => Step::Held(random.bool()),
        26 => Step::FrozenApi(random.bool()),
        27 => Step::FrozenCa(random.bool()),
        28 => Step::BadNonces(random.bool()),
        29 => {
            let jumps = [0, 0, 600, -600, 7_200, -7_200, 20 * 86_400, -20 * 86_400];
            Step::Clock(jumps[random.usize(..jumps.len())])
        }
        30..39 => Step::Pass(random.u64(..9_000)),
        _ => Step::Pass(random.u64(..900_000)),
    }
}

/// The parties of one seed.
struct Play {
    world: Rc<DirectWorld>,
    start: Rc<Start>,
    users: Users,
    replica: Replica,
    replicas: usize,
    /// Number of changes that may each need another order.
    changes: u64,
}

/// Plays a seed to its end.
pub(crate) async fn play(seed: u64) -> Outcome {
    let mut random = fastrand::Rng::with_seed(seed);
    fastrand::seed(seed); // the jitter of the watches' backoff
    let now = "2026-11-26T08:00:00Z".parse().expect("it is a time");
    let options = ca::Options {
        validation_delay: SECOND / 2,
        processing_delay: SECOND,
        reuse_orders: random.bool(),
        reuse_authorizations: random.bool(),
        validate_within_request: random.u8(..4) == 0,
        ..ca::Options::default()
    };
    let world = Rc::new(DirectWorld::start(now, seed, options).expect("a world"));
    let follower = api_transport::client(world.api.transport(), User::Admin, None);
    let gateway = actix::spawn(world.gateway.clone().follow(follower));
    let ingresses = random.usize(5..=10);
    let users = Users::of(&world, ingresses);
    let start = Rc::new(Start {
        machine: Machine::new(world.clock.clone()),
        faults: Arc::new(Schedule::of(seed)),
        leader_elect: seed % WITH_LEASE == 1,
        world: world.clone(),
    });
    let replica = start.replica(0);
    let mut play = Play { world, start, users, replica, replicas: 1, changes: 0 };
    for n in 0..ingresses {
        play.take(Step::Edit(n, random.u8(1..8))).await;
    }
    for _ in 0..random.usize(12..30) {
        play.take(step(&mut random, ingresses)).await;
    }
    play.end_faults(ingresses);
    let outcome = play.assert_stable().await;
    gateway.abort();
    outcome
}

impl Play {
    async fn take(&mut self, step: Step) {
        tracing::debug!(?step, "step");
        let Self { world, start, users, .. } = self;
        self.changes += 1;
        match step {
            Step::Edit(n, chosen) => users.edit(n, chosen).await,
            Step::DeleteSecret(n) => users.delete_secret(n).await,
            Step::OverwriteSecret(n, expired) => users.overwrite_secret(n, expired).await,
            Step::Kill => self.replace(),
            Step::Depose => {
                let before = std::mem::replace(&mut self.replica, start.replica(self.replicas));
                self.replicas += 1;
                actix::spawn(async move {
                    tokio::time::sleep(UNNOTICED).await;
                    drop(before);
                });
            }
            Step::Dns(n, bit, trouble) => world.zone.set(&host(n, bit), trouble),
            Step::Expired(expired) => world.ca.set_life(expired.then_some(SECOND)),
            Step::Gap => {
                world.api.forget_history();
                world.api.cut_watches();
            }
            Step::Close => world.api.cut_watches(),
            Step::Held(held) => world.api.hold_watches(held),
            Step::FrozenApi(frozen) => world.api.freeze(frozen),
            Step::FrozenCa(frozen) => world.ca.freeze(frozen),
            Step::BadNonces(bad) => world.ca.set_bad_nonces(if bad { 0.3 } else { 0.0 }),
            Step::Clock(seconds) => start.machine.set_ahead(seconds),
            Step::Pass(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        }
    }

    /// Kills the replica, and starts another.
    fn replace(&mut self) {
        self.replica = self.start.replica(self.replicas);
        self.replicas += 1;
    }

    fn end_faults(&self, ingresses: usize) {
        let Self { world, start, .. } = self;
        start.faults.end();
        start.machine.set_ahead(0);
        for n in 0..ingresses {
            (0..3).for_each(|bit| world.zone.set(&host(n, bit), None));
        }
        world.ca.set_life(None);
        world.ca.freeze(false);
        world.ca.set_bad_nonces(0.0);
        world.api.hold_watches(false);
        world.api.freeze(false);
    }

    /// Asserts that all is served in the time that the rules promise, that nothing is written in
    /// the day after, and that memory is idle then.
    async fn assert_stable(&self) -> Outcome {
        tokio::time::sleep(SETTLED_AFTER).await;
        self.users.assert_served().await;
        let (writes, events) = (self.writes(), self.events());
        let orders = self.world.ca.counts().orders;
        tokio::time::sleep(QUIET).await;
        assert_eq!(self.writes(), writes, "writes in a day without a fault");
        let (events, most) = (self.events() - events, self.users.count() * repeats());
        assert!(events <= most, "{events} Events sent again, and not {most} at most");
        let counts = self.world.ca.counts();
        assert_eq!(counts.orders, orders, "orders in a day without a fault");
        self.users.assert_served().await;
        self.assert_idle().await;
        let most = 2 * self.changes + self.start.faults.met();
        assert!(counts.orders <= most, "{} orders of {most} at most", counts.orders);
        Outcome {
            audit: self.world.api.audit(),
            orders: counts.orders,
            certificates: counts.certificates,
            faults: self.start.faults.met(),
        }
    }

    async fn assert_idle(&self) {
        let reporter = self.replica.operator.borrow().as_ref().map(|one| one.reporter.clone());
        let reporter = reporter.expect("this replica leads");
        let dump = reporter.send(Describe).await.expect("it lives");
        assert!(dump.ingresses.is_empty(), "dedup actors are left: {:?}", dump.ingresses);
        assert!(dump.streams.is_empty(), "streams are left: {:?}", dump.streams);
        assert!(dump.runs.is_empty(), "jobs are left: {:?}", dump.runs);
    }

    /// Events that were sent.
    fn events(&self) -> usize {
        let sent = self.world.api.audit().into_iter();
        sent.filter(|one| one.user == User::Operator && one.resource == "events").count()
    }

    /// Writes of the operator, but of the Lease and of Events, which are sent again while an
    /// Ingress is restricted.
    fn writes(&self) -> Vec<Audited> {
        let is_write = |one: &Audited| {
            one.user == User::Operator
                && !matches!(one.verb, "get" | "list" | "watch")
                && !matches!(&*one.resource, "leases" | "events")
        };
        self.world.api.audit().into_iter().filter(is_write).collect()
    }
}
