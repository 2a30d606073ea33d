//! CAA records before an order, on fakes: a definite answer that forbids the CA costs no order, and
//! nothing else stops one.

use std::time::Duration;

use ingress_acme_actors::fakes::{Fakes, shop};

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

fn is_issued(fakes: &Fakes) -> bool {
    fakes.cluster.secret("web", "shop").is_some()
}

/// An operator with the Ingress `shop` a minute ago, and these `issue` records of its domain.
async fn with_records(records: Option<&[&str]>) -> Fakes {
    let fakes = Fakes::default();
    fakes.operator(Fakes::settings()).await;
    fakes.cluster.set_caa("example.com", records);
    fakes.cluster.apply(shop());
    fakes.pass(MINUTE).await;
    fakes
}

fn renewed(fakes: &Fakes, value: &str) {
    let mut view = shop();
    view.annotations.insert("renew".to_owned(), value.to_owned());
    fakes.cluster.apply(view);
}

#[test]
fn a_record_that_forbids_the_ca_stops_the_order_and_the_event_names_it_and_the_way_out() {
    Fakes::paused(async {
        for records in [
            &[";"][..],
            &["other.example"],
            &["ca.example; accounturi=https://ca.example/account/2"],
            &["ca.example; validationmethods=dns-01"],
        ] {
            let fakes = with_records(Some(records)).await;
            fakes.pass(DAY / 2).await;
            assert_eq!((fakes.ca.orders(), is_issued(&fakes)), (0, false), "{records:?}");
            let events = fakes.cluster.events("web", "shop");
            let [event] = &events[..] else { panic!("{events:?}") };
            for part in ["example.com (0 issue", records[0], r#"0 issue "ca.example""#, "renew"] {
                assert!(event.note.contains(part), "{part}: {}", event.note);
            }
            fakes.cluster.set_caa("example.com", Some(&[]));
            renewed(&fakes, "now");
            fakes.pass(MINUTE).await;
            assert!(is_issued(&fakes), "{records:?}");
        }
    });
}

#[test]
fn records_that_allow_the_account_and_a_resolver_that_fails_stop_no_order() {
    Fakes::paused(async {
        let own = "ca.example; accounturi=https://ca.example/account/1; validationmethods=http-01";
        for records in [Some(&[][..]), Some(&["ca.example"]), Some(&[";", own]), None] {
            let fakes = with_records(records).await;
            assert!(is_issued(&fakes), "{records:?}");
            assert_eq!(fakes.cluster.calls("caa"), 1, "{records:?}");
        }
    });
}

/// A resolver inside the cluster may have another view of the domain.
#[test]
fn a_wrong_answer_inside_the_cluster_delays_the_order_by_a_day_at_most() {
    Fakes::paused(async {
        let fakes = with_records(Some(&[";"])).await;
        fakes.pass(DAY + DAY / 4).await;
        assert!(is_issued(&fakes));
        assert_eq!(fakes.ca.orders(), 1);
    });
}

#[test]
fn a_certificate_that_is_there_is_renewed_whatever_the_records_say() {
    Fakes::paused(async {
        let fakes = with_records(Some(&[])).await;
        fakes.cluster.set_caa("example.com", Some(&[";"]));
        renewed(&fakes, "now");
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.ca.issued().len(), 2);
    });
}
