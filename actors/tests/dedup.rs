//! Deduplication actors: the registry and the dedup actors in front of a slow downstream.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use ingress_acme_actors::dedup::actor::DedupDependencies;
use ingress_acme_actors::dedup::registry::Registry;
use ingress_acme_actors::domain::ingress::IngressKey;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::scheduling::dedup::{Phase, SettleTimes};
use ingress_acme_actors::domain::scheduling::reconcile_key::ReconcileKey;
use ingress_acme_actors::domain::scheduling::requeue::Requeue;
use ingress_acme_actors::fakes::Fakes;
use ingress_acme_actors::messages::Reconcile;
use ingress_acme_actors::reporting::metrics::{Metrics, Source};
use tokio::time::{Instant, sleep};

/// Start time and key of each job.
type Runs = Rc<RefCell<Vec<(Duration, String)>>>;

/// A pool that works one second per key, ten for `slow`, and fails `failing` the first time.
struct SlowPool {
    began: Instant,
    runs: Runs,
}

impl Actor for SlowPool {
    type Context = Context<Self>;
}

impl Handler<Reconcile> for SlowPool {
    type Result = ResponseFuture<Requeue>;

    fn handle(&mut self, Reconcile(key, _): Reconcile, _: &mut Context<Self>) -> Self::Result {
        let ReconcileKey::Ingress(key) = key else { panic!("{key} is an orphan") };
        let first = !self.runs.borrow().iter().any(|(_, run)| *run == *key.name);
        self.runs.borrow_mut().push((self.began.elapsed(), key.name.to_string()));
        let work = if &*key.name == "slow" { 10 } else { 1 };
        let fails = first && &*key.name == "failing";
        Box::pin(async move {
            sleep(Duration::from_secs(work)).await;
            if fails { Requeue::Busy } else { Requeue::AwaitChange }
        })
    }
}

struct Setup {
    registry: Rc<Registry>,
    runs: Runs,
    metrics: Metrics,
    pool: Addr<SlowPool>,
}

fn setup() -> Setup {
    let runs = Runs::default();
    let pool = SlowPool { began: Instant::now(), runs: runs.clone() }.start();
    let fakes = Fakes::default();
    let downstream = DedupDependencies {
        pool: Rc::new(pool.clone().recipient()),
        settle_times: SettleTimes::default(),
        clock: fakes.clock.clone(),
    };
    let metrics = Metrics::default();
    Setup { registry: Registry::new(downstream, metrics.clone()), runs, metrics, pool }
}

impl Setup {
    fn notify(&self, name: &str) {
        self.registry.notify(&IngressKey::new("web", name).into(), Source::Watch);
    }

    /// Start times of each key's jobs, in tenths of a second.
    fn starts(&self) -> BTreeMap<String, Vec<u128>> {
        let mut starts = BTreeMap::<_, Vec<_>>::new();
        for (at, key) in &*self.runs.borrow() {
            starts.entry(key.clone()).or_default().push(at.as_millis() / 100);
        }
        starts
    }
}

async fn millis(millis: u64) {
    sleep(Duration::from_millis(millis)).await;
}

#[test]
fn fifty_events_over_eight_keys_a_pause_and_fifty_more_are_two_runs_a_key() {
    Fakes::paused(async {
        let setup = setup();
        (0..50).for_each(|n| setup.notify(&format!("key-{}", n % 8)));
        millis(1500).await;
        (0..50).for_each(|n| setup.notify(&format!("key-{}", n % 8)));
        millis(20_000).await;
        let starts = setup.starts();
        assert_eq!(starts.len(), 8);
        for (key, starts) in starts {
            assert_eq!(starts, [10, 25], "{key} runs after its settle window, and once more");
        }
        assert_eq!(setup.metrics.event_counts(), (100, 84));
        assert!(setup.registry.is_empty(), "idle actors have retired");
    });
}

#[test]
fn events_of_one_key_never_eat_those_of_another() {
    Fakes::paused(async {
        let setup = setup();
        (0..500).for_each(|_| setup.notify("loud"));
        setup.notify("quiet");
        millis(1100).await;
        (0..500).for_each(|_| setup.notify("loud"));
        setup.notify("late");
        millis(10_000).await;
        let starts = setup.starts();
        assert_eq!(starts["loud"].len(), 2);
        assert_eq!(starts["quiet"], [10]);
        assert_eq!(starts["late"].len(), 1);
    });
}

#[test]
fn a_failing_downstream_releases_its_key() {
    Fakes::paused(async {
        let setup = setup();
        setup.notify("failing");
        millis(3000).await;
        assert_eq!(setup.starts()["failing"], [10]);
        setup.notify("failing");
        millis(3000).await;
        assert_eq!(
            setup.starts()["failing"],
            [10, 40],
            "an event runs without waiting for the retry"
        );
        assert!(setup.registry.is_empty());
    });
}

#[test]
fn a_failed_key_comes_back_by_itself() {
    Fakes::paused(async {
        let setup = setup();
        setup.notify("failing");
        millis(40_000).await;
        assert_eq!(setup.starts()["failing"], [10, 320]);
    });
}

#[test]
fn a_downstream_that_is_gone_is_asked_again_and_again_without_a_key_getting_stuck() {
    struct Gone;
    impl Actor for Gone {
        type Context = Context<Self>;
    }
    impl Handler<Reconcile> for Gone {
        type Result = ResponseFuture<Requeue>;
        fn handle(&mut self, _: Reconcile, ctx: &mut Context<Self>) -> Self::Result {
            ctx.stop();
            Box::pin(std::future::pending())
        }
    }
    Fakes::paused(async {
        let fakes = Fakes::default();
        let pool = Rc::new(Gone.start().recipient());
        let settle_times = SettleTimes::default();
        let downstream = DedupDependencies { pool, settle_times, clock: fakes.clock.clone() };
        let registry = Registry::new(downstream, Metrics::default());
        registry.notify(&IngressKey::new("web", "a").into(), Source::Watch);
        registry.notify(&IngressKey::new("web", "b").into(), Source::Watch);
        millis(3 * 3_600_000).await;
        let phases = registry.phases();
        assert_eq!(phases.len(), 2);
        assert!(
            phases.iter().all(|(_, phase)| format!("{phase:?}").starts_with("Waiting")),
            "{phases:?}"
        );
    });
}

#[test]
fn a_slow_key_does_not_hold_up_others() {
    Fakes::paused(async {
        let setup = setup();
        setup.notify("slow");
        setup.notify("other");
        millis(1500).await;
        setup.notify("third");
        millis(20_000).await;
        let starts = setup.starts();
        assert_eq!((&starts["slow"][..], &starts["other"][..]), (&[10][..], &[10][..]));
        assert_eq!(starts["third"], [25]);
        assert!(setup.pool.connected());
    });
}

#[test]
fn a_constant_stream_on_one_key_still_runs_within_the_maximum_wait() {
    Fakes::paused(async {
        let setup = setup();
        for _ in 0..200 {
            setup.notify("busy");
            millis(100).await;
        }
        let starts = &setup.starts()["busy"];
        assert_eq!(starts[0], 50, "the maximum wait is 5 s");
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] <= 60), "{starts:?}");
    });
}

#[test]
fn thousands_of_new_ingresses_of_one_namespace_have_actors_in_turn_and_delay_no_scan_and_no_other()
{
    Fakes::paused(async {
        let setup = setup();
        let count = limits::DEDUP_ACTORS + 1;
        (0..count).for_each(|n| setup.notify(&format!("key-{n}")));
        assert_eq!(setup.registry.len(), count, "all have work");
        let last = IngressKey::new("web", &format!("key-{}", count - 1));
        assert!(matches!(setup.registry.phase(&last), Some(Phase::Settling(_))), "it waits");
        setup.registry.notify(&IngressKey::new("other", "new").into(), Source::Watch);
        setup.notify("key-2000"); // coalesced
        setup.registry.notify(&IngressKey::new("web", "key-1999").into(), Source::Scan);
        millis(1_100).await;
        let starts = setup.starts();
        assert_eq!(starts["new"], [10]);
        assert_eq!(starts["key-1999"], [10], "what a scan finds may be urgent");
        assert!(starts.len() <= 2 + limits::DEDUP_ACTORS / 2, "{}", starts.len());
        millis(60_000).await;
        let starts = setup.starts();
        assert_eq!(starts.len(), count + 1);
        assert!(starts.values().all(|starts| starts.len() == 1), "each has one job");
        assert!(setup.registry.is_empty());
        let (events, coalesced) = setup.metrics.event_counts();
        assert_eq!((events, coalesced), (count as u64 + 3, 2));
    });
}
