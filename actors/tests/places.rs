//! Routes to the solver in users' namespaces: they are undone whatever happens, and nobody is
//! fought for them.

use std::time::Duration;

use ingress_acme_actors::domain::desired::selection::Selection;
use ingress_acme_actors::domain::ingress::{IngressKey, IngressView};
use ingress_acme_actors::domain::solver_place::{ClassPlace, PlaceChoice, PlaceChoices};
use ingress_acme_actors::fakes::{Fakes, ingress, named, shop};
use ingress_acme_actors::operator::Settings;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

fn placed(mut view: IngressView, place: &str) -> IngressView {
    view.annotations.insert("solver-place".to_owned(), place.to_owned());
    view
}

/// Asserts that nothing of ours is left in users' namespaces.
fn assert_undone(fakes: &Fakes, when: &str) {
    assert_eq!(fakes.cluster.routed(), [""; 0], "{when}");
    assert!(fakes.cluster.services().is_empty(), "{when}: {:?}", fakes.cluster.services());
    let solver = fakes.cluster.view("web", "ingress-acme-solver");
    assert_eq!(solver, None, "{when}");
}

#[test]
fn killed_after_any_call_a_route_in_a_users_namespace_is_undone() {
    for place in ["in-place", "namespace"] {
        let mut calls = 1;
        let died = |calls: u64| {
            Fakes::paused(async move {
                let fakes = Fakes::default();
                fakes.cluster.apply(placed(shop(), place));
                let crash_point = fakes.operator_crashing_after(Fakes::settings(), calls);
                fakes.pass(5 * MINUTE).await;
                let died = crash_point.has_ended();
                fakes.kill();
                fakes.operator(Fakes::settings()).await;
                fakes.pass(10 * MINUTE).await;
                let when = format!("{place}, killed after {calls}");
                assert_eq!(fakes.cluster.names("web", "shop"), ["a.example.com"], "{when}");
                assert_eq!(fakes.ca.issued().len(), 1, "{when}");
                assert_undone(&fakes, &when);
                fakes.assert_stable().await;
                died
            })
        };
        while died(calls) {
            calls += 1;
        }
        assert!(calls > 12, "the whole way was walked: {calls} calls");
    }
}

#[test]
fn the_place_of_a_class_is_that_of_the_flag_and_many_ingresses_of_a_namespace_share_one() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let classes = vec![ClassPlace { class: None, place: PlaceChoice::Namespace }];
        let places = PlaceChoices { classes, own_namespace: None };
        let selection = Selection { places, ..Selection::default() };
        fakes.operator(Settings { selection, ..Fakes::settings() }).await;
        for number in 0..20 {
            let (name, host) = (format!("s{number}"), format!("s{number}.example.com"));
            fakes.cluster.apply(ingress(["web", "shop"][number % 2], &name, &[&host]));
        }
        fakes.cluster.apply(placed(named("other", "own", &["own.example.com"]), "shared"));
        fakes.cluster.set_latency(SECOND);
        fakes.pass(20 * SECOND).await;
        assert_eq!(fakes.cluster.services(), ["shop", "web"].map(str::to_owned).into());
        fakes.cluster.set_latency(Duration::ZERO);
        fakes.pass(5 * MINUTE).await;
        assert_eq!(fakes.ca.issued().len(), 21);
        assert_undone(&fakes, "when all are done");
        fakes.assert_stable().await;
    });
}

#[test]
fn an_ingress_that_a_gitops_tool_puts_back_is_left_and_its_user_told_which_one_it_is() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let key = IngressKey::new("web", "shop");
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(placed(shop(), "in-place"));
        fakes.cluster.apply(ingress("other", "shop", &["b.example.com"]));
        fakes.cluster.set_latency(3 * SECOND); // the tool is faster
        let (mut put_back, mut writes) = (0, Vec::new());
        for _ in 0..24 {
            let before = fakes.cluster.calls("write_routes");
            for _ in 0..60 * 60 {
                fakes.pass(SECOND).await;
                let has_path = fakes.cluster.routed().contains(&"a.example.com".to_owned());
                if has_path {
                    fakes.cluster.put_back(&key, "argocd-controller");
                    put_back += 1;
                }
            }
            writes.push(fakes.cluster.calls("write_routes") - before);
        }
        assert_eq!(fakes.cluster.calls("accept"), 1, "the CA is asked for the neighbour alone");
        assert_eq!(fakes.ca.issued().len(), 1, "that of its neighbour");
        // Twice, and the mark is taken off; with a pause of an hour at least.
        assert!(
            put_back <= 2 * 24 && writes.iter().all(|writes| *writes <= 8),
            "{put_back} {writes:?}"
        );
        let events = fakes.cluster.events("web", "shop");
        let told: Vec<_> =
            events.iter().filter(|event| event.note.contains("argocd-controller")).collect();
        assert!(!told.is_empty(), "{events:?}");
        assert!(
            told[0].note.contains("ignore spec.rules") && told[0].reason == "Unreachable",
            "{told:?}"
        );
        fakes.cluster.set_latency(Duration::ZERO);
        // The tool learns to leave the rules alone.
        fakes.pass(26 * HOUR).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["a.example.com"]);
        assert_undone(&fakes, "at the end");
        fakes.assert_stable().await;
    });
}

#[test]
fn an_unknown_place_is_told_and_the_place_of_the_class_is_used() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(placed(shop(), "inplace"));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["a.example.com"]);
        let events = fakes.cluster.events("web", "shop");
        let is_told =
            events.iter().any(|event| event.note.contains("solver-place: `inplace` is none of"));
        assert!(is_told, "{events:?}");
        fakes.assert_stable().await;
    });
}

#[test]
fn an_ingress_that_is_deleted_meanwhile_leaves_nothing() {
    for place in ["in-place", "namespace"] {
        Fakes::paused(async move {
            let fakes = Fakes::default();
            fakes.operator(Fakes::settings()).await;
            fakes.cluster.set_latency(SECOND);
            fakes.cluster.apply(placed(shop(), place));
            while fakes.cluster.routed().is_empty() {
                fakes.pass(SECOND / 4).await;
            }
            fakes.cluster.delete(&IngressKey::new("web", "shop"));
            fakes.pass(5 * MINUTE).await;
            assert_undone(&fakes, place);
            fakes.assert_stable().await;
        });
    }
}
