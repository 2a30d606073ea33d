//! Edits of an Ingress that fails, on fakes: an edit may mend the cause, whatever it edits, so it
//! ends a pause of up to a day within a minute.

use std::time::Duration;

use ingress_acme_actors::domain::desired::index::Index;
use ingress_acme_actors::domain::failure::{Failure, FailureClass};
use ingress_acme_actors::domain::ingress::{
    Edition, IngressClass, IngressKey, IngressView, SecretKey,
};
use ingress_acme_actors::domain::issuance::{
    Command, Event, IssuanceFailed, Record, State, decide,
};
use ingress_acme_actors::fakes::{Fakes, shop, with_tls};
use ingress_acme_actors::journal::segmented::SegmentedJournal;
use ingress_acme_actors::operator::Settings;
use ingress_acme_actors::ports::Journal;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// A minute, the quiet second before a job, and the time of the job itself.
const SOON: Duration = Duration::from_secs(70);
/// Time between two edits by a controller, which is longer than a burst lasts.
const CHURN: Duration = Duration::from_secs(7);

fn annotated(annotation: &str, value: &str) -> IngressView {
    let mut view = shop();
    view.annotations.insert(annotation.to_owned(), value.to_owned());
    view
}

/// One edit of each kind. Views have no backends, labels and foreign annotations, only the edition
/// that an edit of them changes.
fn edits() -> [(&'static str, IngressView); 5] {
    [
        ("class", IngressView { class: IngressClass::Named("nginx".into()), ..shop() }),
        ("backend, label or foreign annotation", IngressView { edition: Edition(7), ..shop() }),
        ("partial", annotated("partial", "true")),
        ("profile", annotated("profile", "shortlived")),
        ("hosts", with_tls("shop", "shop", &["a.example.com", "b.example.com"])),
    ]
}

/// An operator whose CA cannot validate the host of `shop`, which waits for a day.
async fn failing() -> Fakes {
    let fakes = Fakes::default();
    fakes.operator(Fakes::settings()).await;
    fakes.cluster.doubt("a.example.com", true);
    fakes.cluster.apply(shop());
    fakes.pass(3 * HOUR).await;
    assert_eq!(fakes.ca.orders(), 4, "the fourth failure is followed by a day");
    fakes
}

fn is_issued(fakes: &Fakes) -> bool {
    fakes.cluster.secret("web", "shop").is_some()
}

#[test]
fn an_edit_of_any_kind_ends_a_pause_of_a_day_within_a_minute() {
    for (what, edit) in edits() {
        Fakes::paused(async move {
            let fakes = failing().await;
            fakes.cluster.doubt("a.example.com", false);
            fakes.pass(10 * MINUTE).await;
            assert!(!is_issued(&fakes), "{what}: nobody has edited anything");
            fakes.cluster.apply(edit);
            fakes.pass(SOON).await;
            assert!(is_issued(&fakes), "{what}");
            assert_eq!(fakes.ca.orders(), 5, "{what}");
            fakes.assert_stable().await;
        });
    }
}

#[test]
fn an_edit_while_the_operator_is_away_ends_a_pause_at_its_start() {
    Fakes::paused(async {
        let fakes = failing().await;
        fakes.kill();
        fakes.cluster.doubt("a.example.com", false);
        fakes.cluster.apply(IngressView { edition: Edition(7), ..shop() });
        fakes.operator(Fakes::settings()).await;
        fakes.pass(SOON).await;
        assert!(is_issued(&fakes));
        fakes.assert_stable().await;
    });
}

#[test]
fn an_edit_during_an_attempt_that_fails_is_tried_a_minute_later() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.ca.refuse(Some(Failure::new(FailureClass::Policy, "no")));
        fakes.cluster.set_latency(SECOND);
        fakes.cluster.apply(shop());
        while fakes.cluster.calls("probe") == 0 {
            fakes.pass(SECOND / 20).await;
        }
        fakes.cluster.apply(IngressView { edition: Edition(7), ..shop() });
        fakes.pass(30 * SECOND).await;
        assert_eq!((fakes.cluster.calls("open_order"), is_issued(&fakes)), (1, false));
        fakes.ca.refuse(None);
        fakes.pass(SOON).await;
        assert!(is_issued(&fakes));
        fakes.assert_stable().await;
    });
}

/// As an ingress controller does that notes the time in an annotation.
#[test]
fn an_annotation_that_changes_all_the_time_causes_few_attempts_and_abandons_no_order() {
    for guards in [false, true] {
        Fakes::paused(async move {
            let fakes = Fakes::default();
            fakes.operator(Settings { guards, ..Fakes::settings() }).await;
            fakes.cluster.doubt("a.example.com", true);
            let churn = async |time: Duration| {
                for n in 0..time.as_secs() / CHURN.as_secs() {
                    fakes.cluster.apply(IngressView { edition: Edition(1 + n), ..shop() });
                    fakes.pass(CHURN).await;
                }
            };
            churn(DAY).await;
            let first = fakes.ca.orders();
            assert!((10..=70).contains(&first), "{first} orders on the first day");
            churn(DAY).await;
            let more = fakes.ca.orders() - first;
            assert!((1..=40).contains(&more), "{more} orders on the second day");
            fakes.cluster.doubt("a.example.com", false);
            churn(3 * HOUR).await;
            assert!(is_issued(&fakes));
            assert_eq!(fakes.ca.issued().len(), 1);
            fakes.assert_stable().await;
        });
    }
}

#[test]
fn edits_of_an_ingress_that_is_served_cause_no_call_at_all() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        let before = (fakes.cluster.calls("read"), fakes.ca.orders());
        for n in 1..100 {
            fakes.cluster.apply(IngressView { edition: Edition(n), ..shop() });
            fakes.pass(SECOND / 10).await;
        }
        assert_eq!((fakes.cluster.calls("read"), fakes.ca.orders()), before);
        fakes.assert_stable().await;
    });
}

/// The record of a failure as release 0.1.0 (769a018) journaled it, with a pause of a day.
async fn failed_under_0_1_0(fakes: &Fakes) {
    let mut index = Index::default();
    index.apply(shop());
    let stream = SecretKey::new("web", "shop");
    let desired = index.desired(&stream).expect("it was just asked for");
    let failure = Failure::new(FailureClass::Policy, "no");
    let (at, command) = (fakes.clock.now(), Command::Fail(desired.attempted(), failure));
    let Ok(Event::IssuanceFailed(failed)) = decide(&State::Idle, command, at) else {
        panic!("it has failed")
    };
    let event = Event::IssuanceFailed(IssuanceFailed { edition: None, ..failed });
    let record = Record { stream, at, event };
    let written = serde_json::to_string(&record).expect("it is JSON");
    assert!(!written.contains("edit"), "0.1.0 knew no edition: {written}");
    let journal = SegmentedJournal::new(fakes.segments.clone(), "0.1.0".to_owned());
    journal.replay(at).await.expect("it is empty");
    journal.append(&[record]).await.expect("it is written");
}

#[test]
fn an_edit_of_any_kind_ends_a_pause_that_release_0_1_0_began() {
    for (what, edit) in edits() {
        Fakes::paused(async move {
            let fakes = Fakes::default();
            failed_under_0_1_0(&fakes).await;
            fakes.cluster.apply(shop());
            fakes.operator(Fakes::settings()).await;
            fakes.pass(10 * MINUTE).await;
            assert_eq!(fakes.cluster.calls("open_order"), 0, "{what}: nobody has edited anything");
            fakes.cluster.apply(edit);
            fakes.pass(SOON).await;
            assert!(is_issued(&fakes), "{what}");
            fakes.assert_stable().await;
        });
    }
}

#[test]
fn edits_of_a_burst_are_planned_once_and_the_newest_of_each_ingress_counts() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(shop());
        for n in 0..500 {
            fakes.cluster.apply(with_tls("shop", "shop", &[&format!("a{n}.example.com")]));
            fakes.cluster.apply(with_tls("blog", "blog", &[&format!("b{n}.example.com")]));
        }
        fakes.pass(MINUTE).await;
        let mut issued: Vec<String> =
            fakes.ca.issued().iter().flatten().map(|name| name.as_str().to_owned()).collect();
        issued.sort();
        assert_eq!(issued, ["a499.example.com", "b499.example.com"]);
        let (events, coalesced) = fakes.shown.metrics.event_counts();
        assert_eq!(events - coalesced, 2, "{events} events, one job of each Ingress");
        fakes.assert_stable().await;
    });
}

#[test]
fn a_deletion_ends_the_edits_of_a_burst_and_a_new_ingress_of_the_name_owns_the_secret() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(with_tls("other", "other", &["other.example.com"]));
        fakes.cluster.apply(with_tls("gone", "gone", &["gone.example.com"]));
        fakes.cluster.delete(&IngressKey::new("web", "gone"));
        fakes.cluster.apply(shop());
        fakes.cluster.delete(&shop().key);
        fakes.cluster.apply(shop());
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.ca.orders(), 2, "for other and shop");
        let secret = fakes.cluster.secret("web", "shop").expect("it is there");
        let uid = fakes.cluster.view("web", "shop").expect("it is there").uid;
        assert_eq!(secret.owners.iter().collect::<Vec<_>>(), [&*uid]);
        fakes.assert_stable().await;
    });
}
