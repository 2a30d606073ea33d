//! A dry run on a paused clock: it tells its plans, and writes nothing but Events.

use std::rc::Rc;
use std::time::Duration;

use ingress_acme_actors::domain::ingress::SecretKey;
use ingress_acme_actors::domain::mode::Mode;
use ingress_acme_actors::domain::status::kube_event::KubeEvent;
use ingress_acme_actors::dry_run::without_writes;
use ingress_acme_actors::fakes::{CrashPoint, Fakes, WRITES, foreign_secret, ingress, with_tls};
use ingress_acme_actors::operator::{Operator, Settings, start};

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
/// Starts a dry run in the process of the test, beside other operators.
async fn dry_run(fakes: &Fakes) -> Operator {
    let ports = without_writes(fakes.ports(&Rc::new(CrashPoint::default())));
    let settings = Settings { mode: Mode::DryRun, ..Fakes::settings() };
    start(ports, settings, fakes.shown.clone(), None).await.expect("it needs no journal")
}

fn told(fakes: &Fakes, name: &str) -> KubeEvent {
    let events = fakes.cluster.events("web", name);
    let [told] = &events[..] else { panic!("one Event for {name}: {events:?}") };
    assert!(told.note.starts_with("Dry run, nothing is changed. "), "{}", told.note);
    told.clone()
}

fn counts(fakes: &Fakes) -> Vec<String> {
    let registry = fakes.shown.metrics.registry("0", "", &fakes.shown.expiries);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
    let counts =
        text.lines().filter_map(|line| line.strip_prefix("ingress_acme_dry_run_certificates"));
    let mut counts: Vec<String> = counts.map(str::to_owned).collect();
    counts.sort();
    counts
}

/// Port calls that change something, or ask the CA.
fn writes(fakes: &Fakes) -> Vec<usize> {
    let all = WRITES.into_iter().chain(["renewal_info"]);
    all.map(|call| fakes.cluster.calls(call)).filter(|count| *count > 0).collect()
}

#[test]
fn each_ingress_is_told_once_what_would_be_done_and_nothing_else_is_written_for_a_day() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.apply(ingress("web", "new", &["new.example.com"]));
        fakes.cluster.apply(with_tls("block", "own", &["block.example.com"]));
        fakes.cluster.apply(with_tls("taken", "taken-tls", &["taken.example.com"]));
        fakes.cluster.put_secret(&SecretKey::new("web", "taken-tls"), foreign_secret());
        fakes.cluster.apply(ingress("web", "wild", &["*.example.com"]));
        let operator = dry_run(&fakes).await;
        fakes.pass(DAY).await;
        let new = told(&fakes, "new");
        let would = "A certificate for new.example.com would be ordered into Secret new-tls (new order): \
                     there is no Secret yet, and spec.tls would be filled in";
        assert!(new.reason == "Planned" && new.note.ends_with(would), "{new:?}");
        let block = told(&fakes, "block");
        assert!(block.note.contains("into Secret own") && !block.note.contains("spec.tls"));
        let taken = told(&fakes, "taken");
        assert!(taken.note.contains("There would be no certificate of ours"), "{}", taken.note);
        assert_eq!(told(&fakes, "wild").reason, "Skipped");
        let labels = ["kept\"} 0", "new\"} 2", "refused\"} 1", "renewal\"} 0", "undecided\"} 0"];
        assert_eq!(counts(&fakes), labels.map(|label| format!("{{plan=\"{label}")));
        assert!(writes(&fakes).is_empty(), "{:?}", writes(&fakes));
        assert_eq!(fakes.cluster.calls("probe"), 0, "no route of ours would answer");
        fakes.cluster.delete(&"web/new".parse().unwrap());
        fakes.pass(MINUTE).await;
        assert!(counts(&fakes).contains(&"{plan=\"new\"} 1".to_owned()), "{:?}", counts(&fakes));
        drop(operator);
    });
}

#[test]
fn beside_an_operator_a_dry_run_agrees_with_it_and_takes_nothing_from_it() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(ingress("web", "shop", &["shop.example.com"]));
        fakes.pass(MINUTE).await;
        let before = writes(&fakes);
        let dry = dry_run(&fakes).await;
        fakes.pass(10 * MINUTE).await;
        assert_eq!(writes(&fakes), before, "all is good, and nobody writes");
        assert!(counts(&fakes).contains(&"{plan=\"kept\"} 1".to_owned()), "{:?}", counts(&fakes));
        fakes.cluster.apply(ingress("web", "more", &["more.example.com"]));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "more-tls"), ["more.example.com"]);
        assert_eq!(fakes.ca.orders(), 2, "the operator leads and orders as before");
        drop(dry);
    });
}
