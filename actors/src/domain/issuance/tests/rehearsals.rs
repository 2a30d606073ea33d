//! Names that failed at the CA are validated at the rehearsal CA first.

use super::*;

/// Next step of two hosts that failed because of `failed`, of which `rehearsed` were rehearsed.
fn step(rehearses: bool, class: FailureClass, failed: &[&str], rehearsed: &[&str]) -> Step {
    let two = desired("shop", &["a.example.com", "b.example.com"]);
    let failure = Failure::new(class, "no").about(names(failed));
    let state = given([Command::Fail(two.attempted(), failure)]);
    let due = State::Failing(Failing { retry_at: now(), ..failing(&state).clone() });
    let observed = Observed {
        routes: Some(two.routes.clone()),
        reach: two.names.iter().map(|name| (name.clone(), Reach::Reached)).collect(),
        caa: Some((two.names.clone(), None)),
        rehearsed: names(rehearsed),
        ..seen_secret(None)
    };
    let (stream, limits) = (SecretKey::new("web", "shop"), RateLimits::default());
    next(&due, Inputs { rehearses, ..inputs(&stream, Some(&two), &observed, &limits) })
}

#[test]
fn a_name_that_the_ca_could_not_validate_is_rehearsed_before_the_next_order() {
    use FailureClass::{Authorization, Policy};
    let rehearse = |hosts: &[&str]| Step::Rehearse(names(hosts));
    let all = ["a.example.com", "b.example.com"];
    let failed = |hosts: &[&str]| step(true, Authorization, hosts, &[]);
    assert_eq!(failed(&["b.example.com"]), rehearse(&["b.example.com"]));
    assert_eq!(failed(&[]), rehearse(&all), "any of them may be meant");
    let begins = |step: Step| matches!(step, Step::Begin { .. });
    assert!(begins(failed(&["z.example.com"])), "it is no host any more");
    assert!(begins(step(true, Authorization, &["b.example.com"], &["b.example.com"])));
    assert!(begins(step(true, Policy, &["b.example.com"], &[])), "no validation failed");
    assert!(begins(step(false, Authorization, &["b.example.com"], &[])), "there is no such CA");
}

#[test]
fn nothing_is_rehearsed_for_a_certificate_that_runs_out_or_long_after_the_failure() {
    let failed = given([fail(&shop(), FailureClass::Authorization)]);
    let step = |found: Option<SecretView>, age: Duration| {
        let (last, retry_at) = (now() - age, now());
        let due = State::Failing(Failing { last, retry_at, ..failing(&failed).clone() });
        let observed = reached(seen_secret(found));
        let (desired, stream) = (shop(), SecretKey::new("web", "shop"));
        let limits = RateLimits::default();
        let inputs = inputs(&stream, Some(&desired), &observed, &limits);
        next(&due, Inputs { rehearses: true, ..inputs })
    };
    let rehearse = Step::Rehearse(shop().names);
    let second = Duration::from_secs(1);
    assert_eq!(step(None, Duration::ZERO), rehearse);
    assert_eq!(step(None, limits::REHEARSALS.saturating_sub(second)), rehearse);
    assert!(matches!(step(None, limits::REHEARSALS), Step::Begin { .. }));
    let with_days_left =
        |days: u32| Some(secret(&["a.example.com"], now() - (90 - days) * DAY, 90 * DAY));
    assert_eq!(step(with_days_left(20), Duration::ZERO), rehearse);
    assert!(matches!(step(with_days_left(8), Duration::ZERO), Step::Begin { .. }));
}
