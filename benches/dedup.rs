//! Events per second through the watcher's index, registry and dedup actors, with a downstream that answers at
//! once.
//!
//! The goal is 500,000 events a second on one core: `cargo bench --bench dedup` prints `elem/s`.

use std::rc::Rc;

use actix::prelude::*;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ingress_acme_actors::dedup::Downstream;
use ingress_acme_actors::domain::dedup::{Outcome, Windows};
use ingress_acme_actors::domain::index::Index;
use ingress_acme_actors::domain::ingress::IngressKey;
use ingress_acme_actors::domain::selection::Selection;
use ingress_acme_actors::fakes::{Fakes, ingress};
use ingress_acme_actors::messages::Issue;
use ingress_acme_actors::metrics::{Metrics, Source};
use ingress_acme_actors::registry::Registry;

struct AtOnce;

impl Actor for AtOnce {
    type Context = Context<Self>;
}

impl Handler<Issue> for AtOnce {
    type Result = ResponseFuture<Outcome>;

    fn handle(&mut self, _: Issue, _: &mut Context<Self>) -> Self::Result {
        Box::pin(async { Outcome::Settled })
    }
}

fn registry() -> Rc<Registry> {
    let pool = Rc::new(AtOnce.start().recipient());
    let clock = Fakes::default().clock;
    Registry::new(Downstream { pool, windows: Windows::default(), clock }, Metrics::default())
}

/// Events as the scanner sends them: keys only.
fn events(keys: usize, events: usize) {
    Fakes::paused(async move {
        let registry = registry();
        let keys: Vec<_> = (0..keys).map(|n| IngressKey::new("web", &n.to_string())).collect();
        for n in 0..events {
            registry.observe(&keys[n % keys.len()], Source::Watch);
            if n % 1000 == 0 {
                tokio::task::yield_now().await;
            }
        }
        while !registry.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
}

/// Edits as the watcher sees them: each changes the hosts of an Ingress.
fn edits(ingresses: usize, edits: usize) {
    Fakes::paused(async move {
        let registry = registry();
        let mut index = Index::new(Selection::default(), None);
        for n in 0..edits {
            let (name, host) = (format!("{}", n % ingresses), format!("host-{n}.example.com"));
            for key in index.apply(ingress("web", &name, &[&host])) {
                registry.observe(&key, Source::Watch);
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
    group.bench_function("edits_of_10000_ingresses", |bencher| {
        bencher.iter(|| edits(10_000, EVENTS));
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
