//! Events per second through the watcher's index, the registry and the dedup actors, with a
//! downstream that answers at once.
//!
//! The goal of `watcher_to_dedup` is at most three times the time of `plain_loop`, which puts the
//! same views into a table. `cargo bench --bench dedup` prints both, and `make bench` lists the
//! ratio in its table.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::stream::{self, LocalBoxStream, StreamExt};
use ingress_acme_actors::dedup::actor::DedupDependencies;
use ingress_acme_actors::dedup::registry::Registry;
use ingress_acme_actors::domain::desired::index::Index;
use ingress_acme_actors::domain::desired::selection::Selection;
use ingress_acme_actors::domain::ingress::{IngressKey, IngressView, SecretKey};
use ingress_acme_actors::domain::scheduling::dedup::SettleTimes;
use ingress_acme_actors::domain::scheduling::reconcile_key::ReconcileKey;
use ingress_acme_actors::domain::scheduling::requeue::Requeue;
use ingress_acme_actors::fakes::{Fakes, ingress};
use ingress_acme_actors::messages::{Listed, NewIngresses, Reconcile, SeenRoutes};
use ingress_acme_actors::ports::{IngressChange, IngressSource};
use ingress_acme_actors::reporting::metrics::{Metrics, Source};
use ingress_acme_actors::shared_expiries::SharedExpiries;
use ingress_acme_actors::sources::watcher::{Told, Watcher};

struct AtOnce;

impl Actor for AtOnce {
    type Context = Context<Self>;
}

impl Handler<Reconcile> for AtOnce {
    type Result = ResponseFuture<Requeue>;

    fn handle(&mut self, _: Reconcile, _: &mut Context<Self>) -> Self::Result {
        Box::pin(async { Requeue::AwaitChange })
    }
}

fn registry() -> Rc<Registry> {
    let pool = Rc::new(AtOnce.start().recipient());
    let clock = Fakes::default().clock;
    Registry::new(
        DedupDependencies { pool, settle_times: SettleTimes::default(), clock },
        Metrics::default(),
    )
}

impl Handler<NewIngresses> for AtOnce {
    type Result = ();

    fn handle(&mut self, _: NewIngresses, _: &mut Context<Self>) {}
}

impl Handler<SeenRoutes> for AtOnce {
    type Result = ();

    fn handle(&mut self, _: SeenRoutes, _: &mut Context<Self>) {}
}

impl Handler<Listed> for AtOnce {
    type Result = ();

    fn handle(&mut self, _: Listed, _: &mut Context<Self>) {}
}

/// Changes in the order of a watch, after an empty list.
struct Changes(RefCell<Vec<IngressChange>>);

#[async_trait::async_trait(?Send)]
impl IngressSource for Changes {
    async fn get(&self, _: &IngressKey) -> Option<IngressView> {
        None
    }

    fn watch(&self) -> LocalBoxStream<'static, IngressChange> {
        stream::iter(self.0.take()).chain(stream::pending()).boxed_local()
    }
}

/// Edits spread over `ingresses` Ingresses: each edit changes the hosts of one.
fn changes(ingresses: usize, edits: usize) -> Vec<IngressChange> {
    let edit = |n: usize| {
        let host = format!("host-{n}.example.com");
        IngressChange::Applied(ingress("web", &format!("{}", n % ingresses), &[&host]))
    };
    let listed = [IngressChange::ListBegins(None), IngressChange::ListEnds(None)];
    listed.into_iter().chain((0..edits).map(edit)).collect()
}

/// Runs the changes through the watcher actor with its index, the registry and the dedup actors.
fn watched(changes: Vec<IngressChange>) {
    Fakes::paused(async move {
        let (registry, metrics) = (registry(), Metrics::default());
        let index = Rc::new(RefCell::new(Index::new(Selection::default(), None)));
        let source = Rc::new(Changes(RefCell::new(changes)));
        let at_once = AtOnce.start();
        let told = Told {
            scanner: at_once.clone().recipient(),
            newcomers: at_once.clone().recipient(),
            routes: at_once.recipient(),
        };
        let expiries = SharedExpiries::default();
        let fails = Rc::new(|_: &SecretKey| false);
        Watcher::new(source, index, registry.clone(), told, fails, metrics, expiries).start();
        tokio::time::sleep(Duration::from_millis(1)).await;
        while !registry.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
}

/// Puts the views of the changes into a table by key: the least that anything can do which keeps
/// the newest view of each Ingress. Drops each older view and, at the end, the table. There are no
/// plans, hosts, Secrets, actors, timers or metrics.
fn put_into_table(changes: Vec<IngressChange>) {
    let mut table = HashMap::new();
    for change in changes {
        if let IngressChange::Applied(view) = change {
            table.insert(view.key.clone(), view);
        }
    }
    drop(black_box(table));
}

/// Notifies the registry of keys only, like the scanner.
fn events(keys: usize, events: usize) {
    Fakes::paused(async move {
        let registry = registry();
        let keys: Vec<ReconcileKey> =
            (0..keys).map(|n| IngressKey::new("web", &n.to_string()).into()).collect();
        for n in 0..events {
            registry.notify(&keys[n % keys.len()], Source::Watch);
            if n % 1000 == 0 {
                tokio::task::yield_now().await;
            }
        }
        while !registry.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
}

/// Runs edits through the index and the registry, like the watcher: each edit changes an Ingress's
/// hosts.
fn edits(ingresses: usize, edits: usize) {
    Fakes::paused(async move {
        let registry = registry();
        let mut index = Index::new(Selection::default(), None);
        for n in 0..edits {
            let (name, host) = (format!("{}", n % ingresses), format!("host-{n}.example.com"));
            for key in index.apply(ingress("web", &name, &[&host])) {
                registry.notify(&key.into(), Source::Watch);
            }
            if n % 1000 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
}

fn bench(criterion: &mut Criterion) {
    const EVENTS: usize = 100_000;
    let mut group = criterion.benchmark_group("dedup");
    group.sample_size(10).throughput(Throughput::Elements(u64::try_from(EVENTS).expect("small")));
    for keys in [8, 10_000] {
        group.bench_with_input(
            BenchmarkId::new("events_over_keys", keys),
            &keys,
            |bencher, keys| {
                bencher.iter(|| events(*keys, EVENTS));
            },
        );
    }
    group.bench_function("watcher_to_dedup", |bencher| {
        let setup = || changes(10_000, EVENTS);
        bencher.iter_batched(setup, watched, BatchSize::PerIteration);
    });
    group.bench_function("plain_loop", |bencher| {
        let setup = || changes(10_000, EVENTS);
        bencher.iter_batched(setup, put_into_table, BatchSize::PerIteration);
    });
    group.bench_function("edits_of_10000_ingresses", |bencher| {
        bencher.iter(|| edits(10_000, EVENTS));
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
