//! The operator under the real rate limits of Let's Encrypt, on a paused clock: no refused order is
//! repeated before its time.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use ingress_acme::acme::rate_limit;
use ingress_acme_actors::domain::failure::{Failure, FailureClass};
use ingress_acme_actors::domain::ingress::SecretKey;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::fakes::{Fakes, ingress};
use ingress_acme_actors::operator::Settings;
use ingress_acme_sim::ca::{AccountLimits, Limits};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// Record of the CA's refusals: counts, and for each scope the time until which orders are refused.
#[derive(Default)]
struct FakeLimiter {
    refused: u32,
    /// Orders sent while their scope was still refused.
    repeats: u32,
    account_closed_until: i64,
    domains_closed_until: std::collections::BTreeMap<String, i64>,
}

/// Gives the fake CA these limits; returns the record of its refusals.
fn limited(fakes: &Fakes, limits: &Limits) -> Rc<RefCell<FakeLimiter>> {
    let limiter: Rc<RefCell<FakeLimiter>> = Rc::default();
    let (clock, kept, mut ration) =
        (fakes.clock.clone(), limiter.clone(), AccountLimits::new(limits));
    fakes.ca.set_policy(move |ordered| {
        let now = clock.now().as_millis();
        let mut limiter = kept.borrow_mut();
        let closed = limiter.is_closed(ordered, now);
        limiter.repeats += u32::from(closed);
        let at = jiff::Timestamp::from_millisecond(now).expect("a time of this century");
        let names: Vec<Box<str>> = ordered.iter().map(|name| name.as_str().into()).collect();
        let Err(refused) = ration.order(&names, at) else {
            ration.issued(&names, at);
            return None;
        };
        let until = refused.retry_at.expect("a time to come back").as_millisecond();
        limiter.close(&refused.detail, until);
        let retry_after = Duration::from_millis(u64::try_from(until - now).expect("it is later"));
        let failure = Failure::new(FailureClass::RateLimited, refused.detail.clone());
        let limit = Some(rate_limit(&refused.detail, ordered));
        Some(Failure { retry_after: Some(retry_after), limit, ..failure })
    });
    limiter
}

impl FakeLimiter {
    fn is_closed(&self, names: &BTreeSet<DnsName>, now: i64) -> bool {
        let under =
            |domain: &str| names.iter().any(|name| name.as_str().ends_with(&format!(".{domain}")));
        let mut domains = self.domains_closed_until.iter();
        now < self.account_closed_until
            || domains.any(|(domain, until)| now < *until && under(domain))
    }

    fn close(&mut self, detail: &str, until: i64) {
        self.refused += 1;
        if detail.contains("from this account") {
            self.account_closed_until = until;
        } else {
            let domain = detail.split('"').nth(1).expect("a domain in quotes");
            self.domains_closed_until.insert(domain.to_owned(), until);
        }
    }
}

/// Creates Ingresses in ten namespaces, each with its own registered domain.
fn storm(fakes: &Fakes, count: u32) {
    for number in 0..count {
        let namespace = format!("n{}", number % 10);
        let host = format!("www.shop-{number}.example");
        fakes.cluster.apply(ingress(&namespace, &format!("i{number}"), &[&host]));
    }
}

/// Time until `count` certificates are issued, in multiples of `step`.
async fn until_issued(fakes: &Fakes, count: usize, step: Duration) -> Duration {
    let mut waited = Duration::ZERO;
    while fakes.ca.issued().len() < count {
        fakes.pass(step).await;
        waited += step;
        assert!(waited < 60 * HOUR, "{} of {count} are issued", fakes.ca.issued().len());
    }
    waited
}

#[test]
fn two_thousand_at_once_take_the_seventeen_hours_that_the_limits_allow() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let limiter = limited(&fakes, &Limits::lets_encrypt());
        fakes.operator(Fakes::settings()).await;
        storm(&fakes, 2_000);
        let waited = until_issued(&fakes, 2_000, MINUTE).await;
        let limiter = limiter.borrow();
        assert_eq!((fakes.ca.orders(), limiter.repeats), (2_000, 0));
        assert!(limiter.refused <= 2, "{} orders were refused", limiter.refused);
        // (2000 - 300) × 36 s = 17 h. The tolerance covers the operator's margin of 1 % and a
        // minute at the start.
        assert!(waited >= 17 * HOUR && waited <= 17 * HOUR + 20 * MINUTE, "{waited:?}");
    });
}

#[test]
fn a_hundred_restarts_meanwhile_do_not_add_an_order() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let limiter = limited(&fakes, &Limits::lets_encrypt());
        storm(&fakes, 2_000);
        for _ in 0..100 {
            fakes.operator(Fakes::settings()).await;
            fakes.pass(10 * MINUTE).await;
            fakes.kill();
        }
        fakes.operator(Fakes::settings()).await;
        until_issued(&fakes, 2_000, MINUTE).await;
        fakes.pass(HOUR).await;
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (2_000, 2_000));
        let limiter = limiter.borrow();
        assert_eq!(limiter.repeats, 0);
        assert!(limiter.refused <= 5, "{} orders were refused", limiter.refused);
    });
}

#[test]
fn a_domain_that_has_had_enough_delays_no_other() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let limiter = limited(&fakes, &Limits::lets_encrypt());
        fakes.operator(Fakes::settings()).await;
        for number in 0..60 {
            let host = format!("c{number}.busy.example");
            fakes.cluster.apply(ingress("busy", &format!("i{number}"), &[&host]));
        }
        fakes.pass(10 * MINUTE).await;
        assert_eq!(fakes.ca.issued().len(), 50);
        fakes.cluster.apply(ingress("busy", "other", &["www.other.example"]));
        fakes.cluster.apply(ingress("small", "other", &["www.small.example"]));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.ca.issued().len(), 52);
        // One more every 202 minutes (168 h / 50).
        let waited = until_issued(&fakes, 62, MINUTE).await;
        assert!(waited > 33 * HOUR && waited < 35 * HOUR, "{waited:?}");
        assert_eq!(limiter.borrow().repeats, 0);
    });
}

#[test]
fn hosts_that_lead_nowhere_hold_up_nobody_in_line() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        limited(&fakes, &Limits::lets_encrypt());
        fakes.operator(Fakes::settings()).await;
        storm(&fakes, 300);
        fakes.pass(10 * MINUTE).await;
        for number in 0..100 {
            let host = format!("www.dead-{number}.example");
            fakes.cluster.unresolve(&host, true);
            fakes.cluster.apply(ingress("n0", &format!("dead-{number}"), &[&host]));
        }
        for number in 0..50 {
            let host = format!("www.good-{number}.example");
            fakes.cluster.apply(ingress("n0", &format!("good-{number}"), &[&host]));
        }
        // One every 36 s: half an hour for the 50.
        let waited = until_issued(&fakes, 350, MINUTE).await;
        assert!(waited <= 40 * MINUTE, "{waited:?}");
    });
}

#[test]
fn who_waits_is_reported_once_why_and_about_until_when() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        limited(&fakes, &Limits::lets_encrypt());
        fakes.operator(Fakes::settings()).await;
        storm(&fakes, 400);
        fakes.pass(30 * MINUTE).await;
        let waiting = (0..400).filter_map(|number| {
            let events = fakes.cluster.events(&format!("n{}", number % 10), &format!("i{number}"));
            let mut waits = events.into_iter().filter(|one| one.reason == "Waiting");
            let first = waits.next()?;
            assert_eq!(waits.count(), 0, "i{number} is told twice");
            Some(first.note)
        });
        let notes: Vec<String> = waiting.collect();
        assert!(notes.len() > 90 && notes.len() <= 100, "{} wait", notes.len());
        assert!(notes[0].contains("too many new orders (300) from this account"), "{}", notes[0]);
    });
}

#[test]
fn whoever_has_one_waits_behind_the_storm_for_its_turn_only() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        limited(&fakes, &Limits::lets_encrypt());
        fakes.operator(Fakes::settings()).await;
        for number in 0..1_000 {
            let host = format!("www.shop-{number}.example");
            fakes.cluster.apply(ingress("big", &format!("i{number}"), &[&host]));
        }
        fakes.pass(10 * MINUTE).await;
        fakes.cluster.apply(ingress("small", "one", &["www.small.example"]));
        fakes.pass(3 * MINUTE).await;
        let issued: BTreeSet<String> =
            fakes.ca.issued().iter().flatten().map(ToString::to_string).collect();
        assert!(issued.contains("www.small.example"), "{} are issued", issued.len());
        assert!(issued.len() < 400);
    });
}

#[test]
fn a_busy_ca_is_left_alone_also_by_the_next_operator() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Fakes::settings()).await;
        storm(&fakes, 20);
        fakes.pass(2 * MINUTE).await;
        fakes.ca.set_busy_until(fakes.clock.now() + HOUR);
        let before = fakes.cluster.calls("open_order");
        for number in 20..300 {
            let host = format!("www.shop-{number}.example");
            fakes.cluster.apply(ingress("web", &format!("i{number}"), &[&host]));
        }
        fakes.pass(20 * MINUTE).await;
        fakes.kill();
        fakes.operator(Fakes::settings()).await;
        fakes.pass(39 * MINUTE).await;
        let asked = fakes.cluster.calls("open_order") - before;
        assert!(asked <= Fakes::settings().issuers, "{asked} requests to a busy CA");
        fakes.pass(6 * MINUTE).await;
        assert_eq!(fakes.ca.issued().len(), 300);
    });
}

#[test]
fn a_secret_that_is_deleted_again_and_again_does_not_cost_the_last_certificate_of_the_week() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let settings = || Settings { guards: true, ..Fakes::settings() };
        fakes.operator(settings()).await;
        fakes.cluster.apply(ingress("web", "shop", &["www.example.com"]));
        for _ in 0..48 {
            fakes.pass(HOUR).await;
            fakes.cluster.delete_secret(&SecretKey::new("web", "shop-tls"));
        }
        // Four at once, and one more after 42 hours. A restart loses the counts, but keeps the
        // limit hits.
        assert_eq!(fakes.ca.orders(), 5);
        fakes.kill();
        fakes.operator(settings()).await;
        fakes.pass(10 * HOUR).await;
        assert_eq!(fakes.ca.orders(), 5);
        let events = fakes.cluster.events("web", "shop");
        assert!(
            events.iter().any(|one| one.note.contains("deletes or changes their Secret")),
            "{events:?}"
        );
    });
}

#[test]
fn a_host_that_fails_after_each_edit_keeps_a_validation_of_the_hour_for_when_it_is_right() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.operator(Settings { guards: true, ..Fakes::settings() }).await;
        fakes.cluster.doubt("www.example.com", true);
        for edit in 0..20 {
            let other = format!("edit-{edit}.example.com");
            fakes.cluster.apply(ingress("web", "shop", &["www.example.com", &other]));
            fakes.pass(MINUTE / 2).await;
        }
        assert_eq!(fakes.ca.orders(), 4);
        fakes.cluster.doubt("www.example.com", false);
        fakes.pass(20 * MINUTE).await;
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (5, 1));
    });
}
