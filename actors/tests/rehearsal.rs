//! Rehearsal of failed validations at another CA, on fakes and a paused clock.

use std::time::Duration;

use ingress_acme_actors::domain::failure::{Failure, FailureClass};
use ingress_acme_actors::fakes::{Fakes, shop, with_tls};
use ingress_acme_actors::operator::Settings;

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
const HOST: &str = "a.example.com";

/// A world with a rehearsal CA, whose CAs cannot validate the host of the Ingress.
async fn doubted() -> Fakes {
    let fakes = Fakes::default();
    fakes.rehearses.set(true);
    fakes.operator(Fakes::settings()).await;
    fakes.cluster.doubt(HOST, true);
    fakes.cluster.apply(shop());
    fakes.pass(MINUTE).await;
    fakes
}

#[test]
fn a_name_that_failed_is_validated_elsewhere_before_the_ca_is_asked_again() {
    Fakes::paused(async {
        let fakes = doubted().await;
        assert_eq!((fakes.ca.orders(), fakes.rehearsal.orders()), (1, 0), "the first is no retry");
        fakes.pass(DAY / 2).await;
        let rehearsals = fakes.rehearsal.orders();
        assert_eq!(fakes.ca.orders(), 1);
        assert!((3..=10).contains(&rehearsals), "{rehearsals} rehearsals in half a day");
        let events = fakes.cluster.events("web", "shop");
        let last = &events.last().unwrap().note;
        for part in ["rehearsal at https://rehearsal.example/directory", HOST, "404"] {
            assert!(last.contains(part), "{part}: {last}");
        }
        fakes.cluster.doubt(HOST, false);
        fakes.pass(DAY + MINUTE).await;
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (2, 1));
        assert_eq!(fakes.rehearsal.issued().len(), 0);
        assert!(fakes.cluster.secret("web", "shop").is_some());
    });
}

/// The rehearsal CA may be unable to reach a host that the first CA reaches.
#[test]
fn a_rehearsal_ca_that_never_validates_a_host_keeps_no_name_for_longer_than_a_day() {
    Fakes::paused(async {
        let fakes = doubted().await;
        fakes.pass(10 * DAY).await;
        let orders = fakes.ca.orders();
        assert!((5..=11).contains(&orders), "{orders} orders in ten days");
    });
}

#[test]
fn a_rehearsal_ca_that_is_down_or_refuses_or_never_ends_holds_up_nothing() {
    Fakes::paused(async {
        for trouble in 0..4 {
            let fakes = doubted().await;
            match trouble {
                0 => fakes.rehearsal.set_busy_until(fakes.clock.now() + 1_000 * DAY),
                1 => {
                    let policy = Failure::new(FailureClass::Policy, "not here");
                    fakes.rehearsal.refuse(Some(policy));
                }
                // CAs answer so to a deactivated account, too.
                2 => {
                    let refused = Failure::new(FailureClass::Authorization, "unauthorized");
                    fakes.rehearsal.refuse(Some(refused));
                }
                _ => fakes.rehearsal.never_validate(),
            }
            fakes.cluster.doubt(HOST, false);
            fakes.pass(DAY).await;
            assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (2, 1), "{trouble}");
        }
    });
}

/// Let's Encrypt counts failed validations of its own environment only.
#[test]
fn failed_rehearsals_count_in_no_guard_of_the_ca() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.rehearses.set(true);
        fakes.operator(Settings { guards: true, ..Fakes::settings() }).await;
        fakes.cluster.doubt(HOST, true);
        for attempt in 0..8 {
            let mut view = shop();
            view.annotations.insert("renew".to_owned(), attempt.to_string());
            fakes.cluster.apply(view);
            fakes.pass(2 * MINUTE).await;
        }
        assert_eq!(fakes.ca.orders(), 1);
        assert!(fakes.rehearsal.orders() >= 5, "{}", fakes.rehearsal.orders());
        fakes.cluster.doubt(HOST, false);
        let mut view = shop();
        view.annotations.insert("renew".to_owned(), "last".to_owned());
        fakes.cluster.apply(view);
        fakes.pass(2 * MINUTE).await;
        assert_eq!(fakes.ca.issued().len(), 1, "no guard waits for the hour to end");
    });
}

#[test]
fn only_the_names_that_failed_are_rehearsed() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.rehearses.set(true);
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.doubt(HOST, true);
        fakes.cluster.apply(with_tls("shop", "shop", &[HOST, "b.example.com"]));
        fakes.pass(2 * DAY).await;
        let rehearsed = fakes.rehearsal.ordered();
        fakes.cluster.apply(with_tls("shop", "shop", &["b.example.com", "c.example.com"]));
        fakes.pass(MINUTE).await;
        assert!(fakes.cluster.secret("web", "shop").is_some());
        assert_eq!(fakes.rehearsal.ordered(), rehearsed, "these names have not failed");
        assert!(!rehearsed.is_empty());
        assert!(rehearsed.iter().all(|names| *names == [HOST]), "{rehearsed:?}");
    });
}
