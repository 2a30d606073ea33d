use std::time::Duration;

use super::*;
use crate::domain::desired::plan::tests::names;
use crate::domain::scheduling::priority::Urgency;

const HOUR: Duration = Duration::from_hours(1);

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn hit(scope: LimitScope, until: i64, pace: u64) -> LimitHit {
    LimitHit {
        scope,
        since: None,
        until: at(until),
        pace_ms: pace * 1000,
        detail: "too many".into(),
    }
}

fn priority(urgency: Urgency) -> Priority {
    Priority { urgency, ..Priority::FIRST }
}

fn secret(namespace: &str, name: &str) -> SecretKey {
    SecretKey::new(namespace, name)
}

#[test]
fn a_closed_domain_bars_its_names_and_no_others() {
    let rate_limits =
        RateLimits::of([hit(LimitScope::Domain("example.com".into()), 100, 1)], at(-1));
    let blocking = |host: &str, now| {
        rate_limits.blocking(&secret("web", "shop"), &names(&[host]), true, at(now))
    };
    assert!(blocking("a.example.com", 99).is_some());
    assert!(blocking("example.com", 99).is_some());
    assert_eq!(blocking("a.example.org", 99), None);
    assert_eq!(blocking("a.example.com", 100), None);
}

#[test]
fn an_order_waits_for_the_scope_that_opens_last() {
    let domain = LimitScope::Domain("example.com".into());
    let rate_limits =
        RateLimits::of([hit(LimitScope::Account, 10, 1), hit(domain.clone(), 20, 1)], at(-1));
    let names = names(&["a.example.com", "b.example.org"]);
    assert_eq!(rate_limits.blocking(&secret("web", "shop"), &names, true, at(0)), Some(domain));
}

#[test]
fn a_line_is_let_in_at_the_pace_of_the_limit_and_nobody_passes_it() {
    let mut rate_limits = RateLimits::of([hit(LimitScope::Account, 100, 36)], at(-1));
    let (a, b, late) = (secret("web", "a"), secret("web", "b"), secret("web", "late"));
    let hosts = names(&["a.example.com"]);
    for stream in [&a, &b] {
        assert!(rate_limits.enqueue(&LimitScope::Account, stream, Priority::FIRST, at(0)));
    }
    assert!(
        !rate_limits.enqueue(&LimitScope::Account, &a, Priority::FIRST, at(1)),
        "it is in line"
    );
    assert_eq!(rate_limits.waiting(&b).unwrap().turn, at(136));
    assert_eq!(
        (rate_limits.admit(at(99), |_| true), rate_limits.next_opening()),
        (None, Some(at(100)))
    );
    assert_eq!(rate_limits.admit(at(100), |_| true), Some(a.clone()));
    assert_eq!(rate_limits.blocking(&a, &hosts, true, at(100)), None);
    assert_eq!(rate_limits.blocking(&late, &hosts, true, at(135)), Some(LimitScope::Account));
    assert_eq!(
        (rate_limits.admit(at(135), |_| true), rate_limits.admit(at(136), |_| true)),
        (None, Some(b.clone()))
    );
    rate_limits.order_opened(&a, at(136));
    rate_limits.order_opened(&b, at(200));
    assert_eq!(rate_limits.blocking(&late, &hosts, true, at(200)), None);
    assert_eq!(rate_limits.closed(at(200)).count(), 0);
}

#[test]
fn whoever_was_let_in_and_met_a_closed_door_waits_again() {
    let mut rate_limits = RateLimits::of([hit(LimitScope::Account, 100, 36)], at(-1));
    let (a, hosts) = (secret("web", "a"), names(&["a.example.com"]));
    rate_limits.enqueue(&LimitScope::Account, &a, Priority::FIRST, at(0));
    assert_eq!(rate_limits.admit(at(100), |_| true), Some(a.clone()));
    rate_limits.close(hit(LimitScope::Account, 300, 36));
    assert_eq!(rate_limits.blocking(&a, &hosts, true, at(101)), Some(LimitScope::Account));
    assert!(rate_limits.enqueue(&LimitScope::Account, &a, Priority::FIRST, at(101)));
    assert_eq!(rate_limits.waiting(&a).unwrap().turn, at(300));
}

#[test]
fn what_ends_soon_goes_first_then_first_certificates_then_renewals_each_fairly() {
    let mut rate_limits = RateLimits::of([hit(LimitScope::Account, 0, 1)], at(-1));
    let queue = [
        ("big", "renewal", Urgency::Renewal),
        ("big", "1", Urgency::First),
        ("big", "2", Urgency::First),
        ("small", "1", Urgency::First),
        ("small", "ending", Urgency::Expiring),
    ];
    for (namespace, name, urgency) in queue {
        rate_limits.enqueue(
            &LimitScope::Account,
            &secret(namespace, name),
            priority(urgency),
            at(0),
        );
    }
    let turns = ["big/2", "big/renewal"]
        .map(|key| rate_limits.waiting(&key.parse().unwrap()).unwrap().turn);
    assert_eq!(turns, [at(3), at(4)]);
    let order: Vec<String> =
        (0..5).map(|now| rate_limits.admit(at(now), |_| true).unwrap().to_string()).collect();
    assert_eq!(order, ["small/ending", "big/1", "small/1", "big/2", "big/renewal"]);
}

#[test]
fn what_becomes_urgent_moves_up_and_what_is_done_leaves() {
    let mut rate_limits = RateLimits::of([hit(LimitScope::Account, 0, 1)], at(-1));
    let (a, b) = (secret("web", "a"), secret("web", "b"));
    rate_limits.enqueue(&LimitScope::Account, &a, priority(Urgency::Renewal), at(0));
    rate_limits.enqueue(&LimitScope::Account, &b, priority(Urgency::Renewal), at(0));
    rate_limits.enqueue(&LimitScope::Account, &b, priority(Urgency::Expiring), at(0));
    rate_limits.leave(&a, at(0));
    assert_eq!(rate_limits.closed(at(0)).map(|limit| limit.waiting).sum::<u32>(), 1);
    assert_eq!(
        (rate_limits.admit(at(0), |_| true), rate_limits.admit(at(9), |_| true)),
        (Some(b), None)
    );
}

#[test]
fn a_refusal_closes_for_as_long_as_the_ca_says_and_a_little_longer() {
    let limit = RateLimit { scope: LimitScope::Account, pace: Some(Duration::from_secs(36)) };
    let closed = LimitHit::new(&limit, HOUR, "too many", at(0));
    assert!(closed.until >= at(3600) && closed.until <= at(3660), "{closed:?}");
    assert_eq!(closed.pace_ms, 36_360, "with one in a hundred to spare");
    let unknown = LimitHit::new(
        &RateLimit { scope: LimitScope::Account, pace: None },
        Duration::ZERO,
        "",
        at(0),
    );
    assert!(unknown.until >= at(0) + limits::RATE_LIMIT_MIN);
    assert!(unknown.pace_ms >= 1000);
}

#[test]
fn those_that_nobody_wants_any_more_use_up_no_turn() {
    let mut rate_limits = RateLimits::of([hit(LimitScope::Account, 0, 36)], at(-1));
    for name in ["gone", "also-gone", "wanted"] {
        rate_limits.enqueue(&LimitScope::Account, &secret("web", name), Priority::FIRST, at(0));
    }
    let wanted = |stream: &SecretKey| !stream.name.ends_with("gone");
    assert_eq!(rate_limits.admit(at(0), wanted), Some(secret("web", "wanted")));
    assert_eq!((rate_limits.admit(at(99), wanted), rate_limits.next_opening()), (None, None));
}

#[test]
fn a_turn_that_is_not_used_is_the_next_ones() {
    let mut rate_limits = RateLimits::of([hit(LimitScope::Account, 0, 36)], at(-1));
    for name in ["dead", "good"] {
        rate_limits.enqueue(&LimitScope::Account, &secret("web", name), Priority::FIRST, at(0));
    }
    assert_eq!(rate_limits.admit(at(0), |_| true), Some(secret("web", "dead")));
    rate_limits.leave(&secret("web", "dead"), at(5));
    assert_eq!(rate_limits.admit(at(5), |_| true), Some(secret("web", "good")));
    rate_limits.order_opened(&secret("web", "good"), at(6));
    let blocking =
        rate_limits.blocking(&secret("web", "late"), &names(&["a.example.com"]), true, at(7));
    assert_eq!(blocking, Some(LimitScope::Account), "that turn was used");
}

#[test]
fn a_short_refusal_does_not_open_what_is_closed_for_long() {
    let mut rate_limits = RateLimits::of([hit(LimitScope::Account, 9_000, 36)], at(-1));
    rate_limits.close(hit(LimitScope::Account, 60, 1));
    assert_eq!(rate_limits.closed(at(0)).map(|limit| limit.opens).next(), Some(at(9_000)));
}

#[test]
fn who_waits_for_one_scope_keeps_its_turn_when_another_closes_for_longer() {
    let domain = LimitScope::Domain("example.com".into());
    let mut rate_limits = RateLimits::of([hit(domain.clone(), 100, 1)], at(-1));
    let (shop, hosts) = (secret("web", "shop"), names(&["a.example.com"]));
    rate_limits.enqueue(&domain, &shop, Priority::FIRST, at(0));
    rate_limits.close(hit(LimitScope::Account, 9_000, 1));
    assert_eq!(rate_limits.blocking(&shop, &hosts, true, at(1)), Some(domain));
    assert_eq!(
        rate_limits.blocking(&secret("web", "new"), &hosts, true, at(1)),
        Some(LimitScope::Account)
    );
}

#[test]
fn words_of_a_ca_that_mean_ages_close_for_a_week_at_most() {
    let limit = RateLimit { scope: LimitScope::Account, pace: Some(Duration::MAX) };
    let closed = LimitHit::new(&limit, Duration::MAX, "", at(0));
    assert!(closed.until <= at(0) + limits::LIMIT_MAX + limits::LIMIT_JITTER);
    let mut rate_limits = RateLimits::of([LimitHit { pace_ms: u64::MAX, ..closed }], at(-1));
    for number in 0..3_000 {
        rate_limits.enqueue(
            &LimitScope::Account,
            &secret("web", &number.to_string()),
            Priority::FIRST,
            at(0),
        );
    }
    assert_eq!(rate_limits.closed(at(0)).map(|limit| limit.waiting).sum::<u32>(), 3_000);
}

#[test]
fn a_busy_ca_is_left_alone_by_all_as_long_as_it_says() {
    let hit = LimitHit::of_busy(HOUR, "the CA answers HTTP 503", at(0));
    let mut rate_limits = RateLimits::default();
    assert!(rate_limits.close(hit.clone()).is_some());
    assert_eq!(rate_limits.close(hit), None, "that is known");
    let until = rate_limits.busy_until(at(10)).unwrap();
    assert!(until >= at(3600) && until <= at(3660), "{until}");
    let blocking =
        rate_limits.blocking(&secret("web", "a"), &names(&["a.example.com"]), true, at(10));
    assert_eq!(blocking, Some(LimitScope::Address));
    assert_eq!(rate_limits.busy_until(until), None);
}

#[test]
fn a_restart_keeps_the_pace_of_a_line() {
    let hosts = names(&["a.example.com"]);
    let mut rate_limits = RateLimits::of([hit(LimitScope::Account, 0, 36)], at(-1));
    let [a, b] = ["a", "b"].map(|name| secret("web", name));
    for stream in [&a, &b] {
        rate_limits.enqueue(&LimitScope::Account, stream, Priority::FIRST, at(0));
    }
    assert_eq!(rate_limits.admit(at(1), |_| true), Some(a.clone()));
    rate_limits.order_opened(&a, at(2));
    let paced = rate_limits.paced("web", &hosts, at(2));
    assert_eq!(paced, [hit(LimitScope::Account, 37, 36)]);
    let rate_limits = RateLimits::of(paced, at(5));
    assert_eq!(rate_limits.blocking(&b, &hosts, true, at(36)), Some(LimitScope::Account));
    assert_eq!(rate_limits.blocking(&b, &hosts, true, at(37)), None);
}

#[test]
fn who_comes_first_after_a_restart_waits_for_the_pace_and_not_for_what_is_long_over() {
    let (hosts, stream) = (names(&["a.example.com"]), secret("web", "a"));
    let blocking = |restart| {
        let rate_limits = RateLimits::of([hit(LimitScope::Account, 0, 36)], at(restart));
        rate_limits.blocking(&stream, &hosts, true, at(restart))
    };
    assert_eq!(blocking(60), Some(LimitScope::Account));
    assert_eq!(blocking(3_600), None);
}

#[test]
fn a_ca_that_says_again_that_it_is_busy_has_been_so_since_it_first_did() {
    let mut rate_limits = RateLimits::default();
    rate_limits.close(LimitHit::of_busy(HOUR, "HTTP 503", at(0)));
    let stream = secret("web", "a");
    rate_limits.enqueue(&LimitScope::Address, &stream, Priority::FIRST, at(1));
    assert_eq!(rate_limits.admit(at(4000), |_| true), Some(stream));
    assert_eq!(rate_limits.busy_since(at(4000)), None, "it may be over");
    let again = rate_limits.close(LimitHit::of_busy(HOUR, "HTTP 503", at(4001))).unwrap();
    assert_eq!(again.since, Some(at(0)));
    assert_eq!(
        RateLimits::of([again], at(4002)).busy_since(at(4002)),
        Some(at(0)),
        "after a restart too"
    );
}

#[test]
fn a_namespace_passes_what_is_closed_a_few_times_an_hour() {
    let (mut rate_limits, web) = (RateLimits::default(), "web".into());
    for secs in 0..10 {
        assert!(rate_limits.may_bypass("web", at(secs)));
        rate_limits.record_bypass(&web, at(secs));
    }
    assert!(!rate_limits.may_bypass("web", at(10)) && rate_limits.may_bypass("other", at(10)));
    assert!(rate_limits.may_bypass("web", at(3_600)));
}

#[test]
fn a_closed_domain_need_not_be_a_registered_one() {
    let rate_limits =
        RateLimits::of([hit(LimitScope::Domain("b.c.example.com".into()), 9, 1)], at(-1));
    let blocking = |host: &str| {
        rate_limits.blocking(&secret("web", "shop"), &names(&[host]), true, at(0)).is_some()
    };
    assert_eq!(
        ["x.b.c.example.com", "x.c.example.com", "b.c.example.com"].map(blocking),
        [true, false, true]
    );
}

#[test]
fn each_kind_of_scope_has_its_end_and_its_queue() {
    let domain = LimitScope::Domain("example.com".into());
    let mut rate_limits = RateLimits::default();
    assert!(rate_limits.is_empty());
    for (scope, until) in [(LimitScope::Account, 100), (domain, 50)] {
        rate_limits.close(hit(scope, until, 1));
    }
    rate_limits.enqueue(&LimitScope::Account, &secret("web", "a"), Priority::FIRST, at(0));
    assert!(!rate_limits.is_empty());
    let of = |kind: &str, now: i64| {
        let (_, opens, waiting) = rate_limits.by_kind(at(now)).find(|one| one.0 == kind).unwrap();
        (opens, waiting)
    };
    assert_eq!(of("account", 0), (Some(at(100)), 1));
    assert_eq!(of("account", 99), (Some(at(100)), 1));
    assert_eq!(of("account", 100), (None, 1), "an order may pass");
    assert_eq!((of("domain", 0), of("name", 0)), ((Some(at(50)), 0), (None, 0)));
}

#[test]
fn a_limit_that_is_over_is_shown_while_somebody_waits_behind_it() {
    let mut rate_limits = RateLimits::default();
    rate_limits.close(hit(LimitScope::Account, 100, 36));
    let shown = |rate_limits: &RateLimits, now: i64| {
        rate_limits.closed(at(now)).map(|limit| (limit.waiting, limit.last)).next()
    };
    assert_eq!(shown(&rate_limits, 99), Some((0, at(100))));
    assert_eq!(shown(&rate_limits, 100), None);
    for name in ["a", "b", "c"] {
        rate_limits.enqueue(&LimitScope::Account, &secret("web", name), Priority::FIRST, at(0));
    }
    assert_eq!(shown(&rate_limits, 100), Some((3, at(172))), "the third is admitted after two");
}

#[test]
fn an_open_limit_without_a_queue_is_forgotten_when_an_order_opens() {
    let mut rate_limits = RateLimits::default();
    rate_limits.close(hit(LimitScope::Account, 100, 36));
    let stream = secret("web", "a");
    rate_limits.order_opened(&stream, at(99));
    assert!(!rate_limits.is_empty());
    rate_limits.order_opened(&stream, at(100));
    assert!(rate_limits.is_empty());
}

#[test]
fn only_a_limit_that_is_over_and_has_a_queue_keeps_its_pace_in_the_journal() {
    let hosts = names(&["a.example.com"]);
    let mut rate_limits = RateLimits::default();
    rate_limits.close(hit(LimitScope::Account, 100, 36));
    let paced =
        |rate_limits: &RateLimits, now: i64| rate_limits.paced("web", &hosts, at(now)).len();
    for name in ["a", "b"] {
        rate_limits.enqueue(&LimitScope::Account, &secret("web", name), Priority::FIRST, at(0));
    }
    assert_eq!(paced(&rate_limits, 99), 0, "the hit itself is journaled");
    rate_limits.admit(at(100), |_| true);
    assert_eq!((paced(&rate_limits, 100), paced(&rate_limits, 135)), (1, 1));
    assert_eq!(paced(&rate_limits, 136), 0, "the next one may pass anyway");
    rate_limits.admit(at(136), |_| true);
    assert_eq!(paced(&rate_limits, 137), 0, "nobody waits");
}

#[test]
fn an_admission_that_is_not_used_passes_to_the_next_and_no_other_does() {
    let mut rate_limits = RateLimits::default();
    rate_limits.close(hit(LimitScope::Account, 100, 36));
    let (a, b) = (secret("web", "a"), secret("web", "b"));
    for stream in [&a, &b] {
        rate_limits.enqueue(&LimitScope::Account, stream, Priority::FIRST, at(0));
    }
    assert_eq!(rate_limits.admit(at(100), |_| true), Some(a.clone()));
    rate_limits.leave(&secret("web", "other"), at(101));
    assert_eq!(rate_limits.next_opening(), Some(at(136)));
    rate_limits.leave(&a, at(101));
    assert_eq!(rate_limits.next_opening(), Some(at(101)));
}

#[test]
fn a_certificate_that_has_become_urgent_moves_ahead_and_none_moves_back() {
    let mut rate_limits = RateLimits::of([hit(LimitScope::Account, 100, 1)], at(-1));
    let (first, other) = (secret("web", "first"), secret("api", "other"));
    let mut enqueue = |stream: &SecretKey, urgency| {
        rate_limits.enqueue(&LimitScope::Account, stream, priority(urgency), at(0))
    };
    assert!(enqueue(&first, Urgency::First));
    assert!(enqueue(&other, Urgency::Renewal));
    assert!(!enqueue(&first, Urgency::Renewal), "it is in line before");
    assert!(enqueue(&other, Urgency::Expiring));
    assert_eq!(rate_limits.admit(at(100), |_| true), Some(other));
    assert_eq!(rate_limits.admit(at(101), |_| true), Some(first));
}

#[test]
fn the_share_of_a_namespace_blocks_that_namespace_and_what_counts_in_shares_only() {
    let share = LimitScope::share("web", None);
    let rate_limits = RateLimits::of([hit(share.clone(), 100, 1)], at(-1));
    let blocking = |rate_limits: &RateLimits, namespace: &str, shares| {
        let hosts = names(&["a.example.com"]);
        rate_limits.blocking(&secret(namespace, "shop"), &hosts, shares, at(0))
    };
    assert_eq!(blocking(&rate_limits, "web", true), Some(share));
    assert_eq!(blocking(&rate_limits, "web", false), None);
    assert_eq!(blocking(&rate_limits, "api", true), None);
    let account = RateLimits::of([hit(LimitScope::Account, 100, 1)], at(-1));
    assert_eq!(blocking(&account, "web", false), Some(LimitScope::Account));
}

#[test]
fn each_scope_says_which_orders_it_holds_back() {
    let name = names(&["a.example.com"]).pop_first().unwrap();
    let texts = [
        (LimitScope::Address, "requests from this address"),
        (LimitScope::Account, "this account"),
        (LimitScope::Domain("example.com".into()), "certificates under example.com"),
        (LimitScope::Set(names(&["a.example.com"])), "certificates for a.example.com"),
        (LimitScope::Name(name), "orders with a.example.com"),
        (LimitScope::share("web", None), "orders of namespace web"),
        (LimitScope::share("web", Some("b.com")), "orders of namespace web under b.com"),
    ];
    for (scope, text) in texts {
        assert_eq!(scope.to_string(), text);
    }
}
