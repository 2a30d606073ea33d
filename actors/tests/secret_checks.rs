//! Deleted TLS Secrets, on fakes: requests by name are counted, and the time until the Secret is
//! back passes on a paused clock.

use std::time::Duration;

use ingress_acme_actors::domain::ingress::{IngressKey, SecretKey};
use ingress_acme_actors::fakes::{Fakes, named as ingress, shop};
use ingress_acme_actors::operator::Settings;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
/// A minute, the quiet second before a job, and the job itself.
const SOON: Duration = Duration::from_secs(64);

fn settings() -> Settings {
    Settings { secret_checks: 10, ..Fakes::settings() }
}

/// An operator with `count` certificates.
async fn with_certificates(count: usize) -> Fakes {
    certificates(Fakes::default(), count).await
}

async fn certificates(fakes: Fakes, count: usize) -> Fakes {
    fakes.operator(settings()).await;
    for n in 0..count {
        let (name, host) = (format!("s{n}"), format!("s{n}.example.com"));
        fakes.cluster.apply(ingress("web", &name, &[&host]));
    }
    while fakes.ca.issued().len() < count {
        fakes.pass(SECOND).await;
    }
    fakes.pass(MINUTE).await;
    fakes
}

fn is_there(fakes: &Fakes, name: &str) -> bool {
    fakes.cluster.secret("web", name).is_some()
}

#[test]
fn a_deleted_secret_is_back_within_a_minute_among_six_hundred() {
    Fakes::paused(async {
        let fakes = with_certificates(600).await;
        let checks = fakes.cluster.calls("exists");
        for name in ["s0", "s300", "s599"] {
            fakes.cluster.delete_secret(&SecretKey::new("web", name));
        }
        fakes.pass(SOON).await;
        assert!(["s0", "s300", "s599"].iter().all(|name| is_there(&fakes, name)));
        assert_eq!(fakes.ca.issued().len(), 603);
        let checks = fakes.cluster.calls("exists") - checks;
        assert!((600..=650).contains(&checks), "{checks} requests in 64 s");
    });
}

#[test]
fn two_thousand_take_longer_and_no_more_requests_and_the_newest_are_first() {
    Fakes::paused(async {
        let fakes = with_certificates(2_000).await;
        fakes.pass(200 * SECOND).await;
        let (reads, checks) = (fakes.cluster.calls("read"), fakes.cluster.calls("exists"));
        fakes.pass(200 * SECOND).await;
        let checks = fakes.cluster.calls("exists") - checks;
        assert!((1_990..=2_010).contains(&checks), "{checks} requests in 200 s");
        assert!(fakes.cluster.calls("read") - reads <= 200, "whole Secrets are read by the scan");
        fakes.cluster.delete_secret(&SecretKey::new("web", "s7"));
        fakes.pass(204 * SECOND).await;
        assert!(is_there(&fakes, "s7"));
        fakes.pass(200 * SECOND).await; // the round in which it is the newest
        fakes.cluster.delete_secret(&SecretKey::new("web", "s7"));
        fakes.pass(204 * SECOND).await;
        assert!(is_there(&fakes, "s7"));
        assert_eq!(fakes.ca.issued().len(), 2_002);
    });
}

#[test]
fn the_checks_pause_when_the_api_server_fails_and_go_on_afterwards() {
    Fakes::paused(async {
        let fakes = with_certificates(600).await;
        fakes.cluster.fail("exists", usize::MAX);
        let checks = fakes.cluster.calls("exists");
        fakes.pass(10 * MINUTE).await;
        let checks = fakes.cluster.calls("exists") - checks;
        assert!((10..=220).contains(&checks), "{checks} requests in ten minutes of trouble");
        fakes.cluster.fail("exists", 0);
        fakes.cluster.delete_secret(&SecretKey::new("web", "s7"));
        fakes.pass(2 * MINUTE).await;
        assert!(is_there(&fakes, "s7"));
        fakes.assert_stable().await;
    });
}

#[test]
fn a_secret_that_is_deleted_again_and_again_ends_at_the_guard() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Settings { guards: true, ..settings() }).await;
        fakes.cluster.apply(shop());
        for _ in 0..120 {
            fakes.pass(MINUTE).await;
            fakes.cluster.delete_secret(&SecretKey::new("web", "shop"));
        }
        assert_eq!(fakes.ca.issued().len(), 4);
        fakes.pass(48 * 60 * MINUTE).await; // the guard admits the next
        fakes.assert_stable().await;
    });
}

#[test]
fn without_checks_nobody_asks() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Settings { secret_checks: 0, ..settings() }).await;
        fakes.cluster.apply(shop());
        fakes.pass(10 * MINUTE).await;
        assert_eq!(fakes.cluster.calls("exists"), 0);
    });
}

/// Time for the quiet second before a job, and the job itself.
const AT_ONCE: Duration = Duration::from_secs(4);

/// An operator with the right to watch Secrets, and `count` certificates.
async fn watching(count: usize) -> Fakes {
    let fakes = Fakes::default();
    fakes.watches_secrets.set(true);
    certificates(fakes, count).await
}

#[test]
fn with_a_watch_a_deleted_secret_is_back_within_seconds_among_any_number_and_none_is_asked_for() {
    Fakes::paused(async {
        let fakes = watching(2_000).await;
        let checks = fakes.cluster.calls("exists");
        for name in ["s0", "s1000", "s1999"] {
            fakes.cluster.delete_secret(&SecretKey::new("web", name));
        }
        fakes.pass(AT_ONCE).await;
        assert!(["s0", "s1000", "s1999"].iter().all(|name| is_there(&fakes, name)));
        assert_eq!(fakes.ca.issued().len(), 2_003);
        fakes.pass(10 * MINUTE).await;
        assert_eq!(fakes.cluster.calls("exists"), checks);
    });
}

#[test]
fn a_secret_that_was_deleted_while_the_watch_failed_is_found_by_the_next_list_or_by_name() {
    Fakes::paused(async {
        let fakes = watching(2_000).await;
        fakes.cluster.fail_secret_watch(true);
        fakes.cluster.delete_secret(&SecretKey::new("web", "s0"));
        fakes.cluster.fail_secret_watch(false);
        fakes.pass(AT_ONCE).await;
        assert!(is_there(&fakes, "s0"), "the list does not have it");
        fakes.cluster.fail_secret_watch(true);
        let checks = fakes.cluster.calls("exists");
        fakes.cluster.delete_secret(&SecretKey::new("web", "s1"));
        fakes.pass(5 * MINUTE).await;
        assert!(is_there(&fakes, "s1"), "it is asked for by name");
        assert!(fakes.cluster.calls("exists") > checks);
        fakes.cluster.fail_secret_watch(false);
        fakes.pass(5 * MINUTE).await;
        let checks = fakes.cluster.calls("exists");
        fakes.pass(5 * MINUTE).await;
        assert_eq!(fakes.cluster.calls("exists"), checks);
        assert_eq!(fakes.ca.issued().len(), 2_002);
    });
}

#[test]
fn a_secret_that_goes_with_its_ingress_is_not_ordered_again() {
    Fakes::paused(async {
        let fakes = watching(3).await;
        fakes.cluster.delete(&IngressKey::new("web", "s1"));
        fakes.pass(10 * MINUTE).await;
        assert!(!is_there(&fakes, "s1"));
        assert_eq!(fakes.ca.issued().len(), 3);
    });
}
