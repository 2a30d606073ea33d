//! The cost of decisions: one certificate through the domain core, and a storm through the whole
//! operator on fakes.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::domain::desired::desired_certificate::DesiredCertificate;
use ingress_acme_actors::domain::desired::index::Index;
use ingress_acme_actors::domain::desired::selection::Selection;
use ingress_acme_actors::domain::ingress::SecretKey;
use ingress_acme_actors::domain::issuance::{Command, NewIssuance, State, apply, decide};
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::fakes::{Fakes, ingress, named};

fn desired() -> DesiredCertificate {
    let mut index = Index::new(Selection::default(), None);
    index.apply(named("web", "shop", &["shop.example.com", "www.example.com"]));
    index.desired(&SecretKey::new("web", "shop")).expect("it was just asked for")
}

/// Decides and applies the three commands of one certificate: begin, opened, installed.
fn one_stream(desired: &DesiredCertificate) -> State {
    let now = Timestamp::from_secs(0);
    let key = PrivateKey::from_pem("key".to_owned());
    let commands = [
        Command::Begin(Box::new(NewIssuance::of(desired.clone(), key))),
        Command::Opened("https://ca.example/order/1".to_owned()),
        Command::Installed { serial: "01".to_owned(), not_after: now },
    ];
    commands.into_iter().fold(State::Idle, |state, command| {
        let event = decide(&state, command, now).expect("a legal command");
        apply(state, &event, now).expect("a legal event")
    })
}

/// A storm on fakes that answer at once, which leaves only the operator's own work.
fn storm(ingresses: usize) {
    Fakes::paused(async move {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        for n in 0..ingresses {
            fakes.cluster.apply(ingress("web", &format!("s{n}"), &[&format!("s{n}.example.com")]));
        }
        while fakes.ca.issued().len() < ingresses {
            fakes.pass(Duration::from_secs(1)).await;
        }
    });
}

fn bench(criterion: &mut Criterion) {
    let desired = desired();
    criterion.bench_function("decide_and_apply_one_certificate", |bencher| {
        bencher.iter(|| one_stream(&desired));
    });
    let mut group = criterion.benchmark_group("operator_on_fakes");
    group.sample_size(10).throughput(Throughput::Elements(500));
    group.bench_function("storm_of_500", |bencher| bencher.iter(|| storm(500)));
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
