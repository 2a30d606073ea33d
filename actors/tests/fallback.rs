//! A fallback CA, used when the first has failed for a long time; on a paused clock.

use std::time::Duration;

use ingress_acme_actors::domain::failure::{Failure, FailureClass};
use ingress_acme_actors::fakes::{DIRECTORY, FALLBACK_DIRECTORY, Fakes, Retries, named as ingress};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// A world with a fallback CA, whose first CA fails every order.
fn outage() -> Fakes {
    let fakes = Fakes::default();
    fakes.fallback_after.set(Some(6 * HOUR));
    fakes.ca.refuse(Some(Failure::new(FailureClass::AcmeServer, "serverInternal")));
    fakes
}

/// A world whose two CAs both fail, `time` after an Ingress was created; and the number of orders
/// attempted until then.
async fn both_fail_for(time: Duration) -> (Fakes, usize) {
    let fakes = outage();
    fakes.fallback.refuse(Some(Failure::new(FailureClass::AcmeServer, "serverInternal")));
    fakes.operator(Fakes::settings()).await;
    fakes.cluster.apply(ingress("web", "shop", &["a.example.com"]));
    fakes.pass(time).await;
    let asked = fakes.cluster.calls("open_order");
    (fakes, asked)
}

fn issued(fakes: &Fakes) -> (usize, usize) {
    (fakes.ca.issued().len(), fakes.fallback.issued().len())
}

fn directory(fakes: &Fakes) -> Option<String> {
    fakes.cluster.secret("web", "shop")?.view.directory
}

#[test]
fn the_second_is_asked_when_the_first_has_failed_for_long_and_the_first_again_at_renewal() {
    Fakes::paused(async {
        let fakes = outage();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(ingress("web", "shop", &["a.example.com"]));
        fakes.pass(5 * HOUR).await;
        assert_eq!(fakes.fallback.orders(), 0);
        fakes.pass(HOUR + 10 * MINUTE).await;
        assert_eq!(issued(&fakes), (0, 1));
        assert_eq!(directory(&fakes).as_deref(), Some(FALLBACK_DIRECTORY));
        let events = fakes.cluster.events("web", "shop");
        assert!(events.iter().any(|one| one.note.contains(FALLBACK_DIRECTORY)), "{events:?}");

        // A recovered first CA is no reason to replace a valid certificate.
        fakes.ca.refuse(None);
        fakes.kill();
        fakes.operator(Fakes::settings()).await;
        fakes.pass(50 * DAY).await;
        assert_eq!(issued(&fakes), (0, 1));
        fakes.pass(12 * DAY).await;
        assert_eq!(issued(&fakes), (1, 1));
        assert_eq!(directory(&fakes).as_deref(), Some(DIRECTORY));
        fakes.assert_stable().await;
    });
}

/// The first CA of the fakes is a private one, and the fallback CA a known public one.
#[test]
fn a_public_fallback_is_told_no_internal_name() {
    Fakes::paused(async {
        let fakes = outage();
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(ingress("web", "shop", &["a.example.com"]));
        fakes.cluster.apply(ingress("web", "inner", &["db.internal", "b.example.com"]));
        fakes.pass(DAY).await;
        assert_eq!((issued(&fakes), fakes.fallback.orders()), ((0, 1), 1));
        fakes.ca.refuse(None);
        fakes.pass(2 * DAY).await;
        assert_eq!(fakes.cluster.names("web", "inner").len(), 2, "by the first CA");
        assert_eq!(fakes.fallback.orders(), 1);
        fakes.assert_stable().await;
    });
}

#[test]
fn a_first_that_is_busy_for_long_is_not_waited_for() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.fallback_after.set(Some(6 * HOUR));
        fakes.ca.set_busy_until(fakes.clock.now() + 3 * DAY);
        fakes.operator(Fakes::settings()).await;
        for number in 0..50 {
            let host = format!("h{number}.example.com");
            fakes.cluster.apply(ingress("web", &format!("i{number}"), &[&host]));
        }
        fakes.pass(5 * HOUR).await;
        assert_eq!(issued(&fakes), (0, 0));
        fakes.pass(2 * HOUR).await;
        assert_eq!(issued(&fakes), (0, 50));
        fakes.assert_stable().await;
    });
}

#[test]
fn a_host_that_cannot_be_validated_is_no_reason_to_ask_another_ca() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.fallback_after.set(Some(6 * HOUR));
        fakes.cluster.doubt("a.example.com", true);
        fakes.cluster.unresolve("b.example.com", true);
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(ingress("web", "a", &["a.example.com"]));
        fakes.cluster.apply(ingress("web", "b", &["b.example.com"]));
        fakes.pass(3 * DAY).await;
        assert_eq!(fakes.fallback.orders(), 0);
        fakes.assert_only_retries(2, Retries { attempts: 146, orders: 1 }).await;
    });
}

#[test]
fn without_a_second_ca_the_first_is_asked_on() {
    Fakes::paused(async {
        let fakes = outage();
        fakes.fallback_after.set(None);
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(ingress("web", "shop", &["a.example.com"]));
        fakes.pass(3 * DAY).await;
        assert_eq!(fakes.fallback.orders(), 0);
        fakes.ca.refuse(None);
        fakes.pass(25 * HOUR).await;
        assert_eq!(issued(&fakes), (1, 0));
        fakes.assert_stable().await;
    });
}

#[test]
fn when_both_fail_they_are_asked_in_turn_and_seldom() {
    Fakes::paused(async {
        let (fakes, asked) = both_fail_for(5 * DAY).await;
        assert!((8..=16).contains(&asked), "{asked} orders asked for");
        fakes.ca.refuse(None);
        fakes.pass(2 * DAY).await;
        assert_eq!(issued(&fakes), (1, 0));
        fakes.assert_stable().await;
    });
}

#[test]
fn an_order_at_the_second_ca_is_gone_on_with_there_wherever_the_operator_dies() {
    for calls in (0..60).step_by(3) {
        Fakes::paused(async move {
            let fakes = outage();
            fakes.fallback_after.set(Some(Duration::ZERO));
            fakes.cluster.apply(ingress("web", "shop", &["a.example.com"]));
            fakes.operator_crashing_after(Fakes::settings(), calls);
            fakes.pass(5 * MINUTE).await;
            fakes.kill();
            fakes.operator(Fakes::settings()).await;
            fakes.pass(HOUR).await;
            assert_eq!(issued(&fakes), (0, 1), "killed after {calls} calls");
            assert!(fakes.fallback.orders() <= 2, "killed after {calls} calls");
            fakes.assert_stable().await;
        });
    }
}

#[test]
fn an_order_that_is_open_when_the_first_ca_fails_is_not_waited_for_a_day() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.fallback_after.set(Some(6 * HOUR));
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.fail("refresh", 100_000);
        fakes.cluster.apply(ingress("web", "shop", &["a.example.com"]));
        fakes.pass(10 * MINUTE).await;
        assert_eq!(fakes.ca.orders(), 1);
        fakes.cluster.fail("refresh", 0);
        fakes.ca.set_busy_until(fakes.clock.now() + 5 * DAY);
        fakes.pass(8 * HOUR).await;
        assert_eq!(issued(&fakes), (0, 1));
        fakes.assert_stable().await;
    });
}

#[test]
fn a_restart_does_not_ask_the_second_ca_out_of_turn() {
    Fakes::paused(async {
        let (fakes, asked) = both_fail_for(3 * DAY).await;
        for _ in 0..20 {
            fakes.kill();
            fakes.operator(Fakes::settings()).await;
            fakes.pass(MINUTE).await;
        }
        let more = fakes.cluster.calls("open_order") - asked;
        assert!(more <= 2, "{more} orders asked for");
        fakes.assert_only_retries(1, Retries { attempts: 2, orders: 2 }).await;
    });
}

#[test]
fn what_was_begun_at_a_second_ca_that_is_not_in_use_any_more_is_begun_anew_at_the_first() {
    for calls in 8..24 {
        Fakes::paused(async move {
            let fakes = outage();
            fakes.fallback_after.set(Some(Duration::ZERO));
            fakes.cluster.apply(ingress("web", "shop", &["a.example.com"]));
            fakes.operator_crashing_after(Fakes::settings(), calls);
            fakes.pass(5 * MINUTE).await;
            fakes.kill();
            let (orders, done) = (fakes.fallback.orders(), directory(&fakes).is_some());
            fakes.ca.refuse(None);
            fakes.fallback_after.set(None);
            fakes.operator(Fakes::settings()).await;
            fakes.pass(HOUR).await;
            assert_eq!(fakes.fallback.orders(), orders, "killed after {calls} calls");
            let expected = if done { FALLBACK_DIRECTORY } else { DIRECTORY };
            assert_eq!(directory(&fakes).as_deref(), Some(expected), "killed after {calls} calls");
            fakes.assert_stable().await;
        });
    }
}
