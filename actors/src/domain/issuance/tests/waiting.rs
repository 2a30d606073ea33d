//! Waits: for a retry, for a paused order, for another order of the same names, and for a limit.

use super::*;
use crate::domain::rate_limits::LimitWait;
use crate::domain::validity::renewal::RenewalWindow;

const HOUR: Duration = Duration::from_hours(1);
const SECOND: Duration = Duration::from_secs(1);

/// A failure of this class at [`now`], which is retried in a day.
fn failing_for_a_day(class: FailureClass) -> State {
    let failed = given([fail(&shop(), class)]);
    State::Failing(Failing { retry_at: now() + DAY, ..failing(&failed).clone() })
}

/// A certificate of ours with this many of its 90 days left.
fn with_days_left(days: u32) -> SecretView {
    secret(&["a.example.com"], now() - (90 - days) * DAY, 90 * DAY)
}

fn ready(found: SecretView) -> Observed {
    reached(seen_secret(Some(found)))
}

/// Next step beside these limits, with this renewal window.
fn limited(limits: &RateLimits, observed: &Observed, window: Option<&RenewalWindow>) -> Step {
    let (desired, stream) = (shop(), SecretKey::new("web", "shop"));
    let inputs = inputs(&stream, Some(&desired), observed, limits);
    let ari = window.map_or(AriStatus::None, AriStatus::Window);
    let assessment = Assessment { ari, ..inputs.assessment };
    next(&State::Idle, Inputs { assessment, ..inputs })
}

fn closed(scope: LimitScope) -> RateLimits {
    RateLimits::of([LimitHit { scope, ..hit() }], now())
}

/// Limits with a used-up share of the namespace `web`, and nothing else.
fn share_used_up() -> RateLimits {
    let share = serde_json::json!({"share": {"namespace": "web", "domain": null}});
    closed(serde_json::from_value(share).unwrap())
}

#[test]
fn an_order_of_a_moment_ago_that_the_ca_does_not_know_is_asked_for_again_and_an_older_one_is_not() {
    let (ordered, gone) = (given([begin(&shop()), opened()]), with_order(OrderStatus::Gone));
    let step = |age: Duration| look_beside(&ordered, &gone, &NONE_IN_FLIGHT, now() + age);
    assert_eq!(step(Duration::ZERO), Step::Refresh);
    assert_eq!(step(limits::ORDER_SETTLES.saturating_sub(SECOND)), Step::Refresh);
    assert!(matches!(step(limits::ORDER_SETTLES), Step::Fail(_)));
    let mut observed = Observed::default();
    observed.order_shown(gone.order.clone().unwrap(), now());
    assert!(observed.wait_until.is_some_and(|until| until > now()), "not at once");
}

#[test]
fn a_critical_certificate_is_retried_after_an_hour_if_the_failure_may_pass() {
    let step = |class: FailureClass, found: SecretView| {
        look(&failing_for_a_day(class), Some(&shop()), &ready(found))
    };
    let at = |after: Duration| Step::Done(Requeue::At(now() + after));
    assert_eq!(step(FailureClass::AcmeServer, with_days_left(2)), at(limits::EMERGENCY_PAUSE));
    assert_eq!(step(FailureClass::AcmeServer, with_days_left(30)), at(DAY), "plenty is left");
    assert_eq!(step(FailureClass::Authorization, with_days_left(2)), at(DAY), "a host leads away");
    let foreign = SecretView { ours: false, ..with_days_left(2) };
    assert_eq!(step(FailureClass::AcmeServer, foreign), at(DAY));
}

#[test]
fn the_secret_is_read_in_a_long_pause_only_and_while_its_reads_do_not_fail() {
    let State::Failing(failing) = failing_for_a_day(FailureClass::AcmeServer) else {
        unreachable!("it has failed")
    };
    let step = |retry_at: Timestamp, observed: &Observed| {
        let state = State::Failing(Failing { retry_at, ..failing.clone() });
        look(&state, Some(&shop()), observed)
    };
    let (day, hour) = (now() + DAY, now() + limits::EMERGENCY_PAUSE);
    let nothing = Observed::default();
    assert_eq!(step(day, &nothing), Step::ReadSecret);
    assert_eq!(step(hour + SECOND, &nothing), Step::ReadSecret);
    assert_eq!(step(hour, &nothing), Step::Done(Requeue::At(hour)));
    let unread = Observed { errors: 1, ..Observed::default() };
    assert_eq!(step(day, &unread), Step::Done(Requeue::At(day)));
}

#[test]
fn an_edit_does_not_wait_for_the_failures_before_it() {
    let failed = failing_for_a_day(FailureClass::AcmeServer);
    let edited = desired_with_another_name();
    assert_eq!(look(&failed, Some(&edited), &seen_secret(None)), Step::PublishRoutes);
}

#[test]
fn a_paused_order_is_resumed_at_its_time_or_dropped_at_once_by_an_edit() {
    let (stream, limits) = (SecretKey::new("web", "shop"), RateLimits::default());
    let step = |desired: &DesiredCertificate, until: Timestamp| {
        let observed = with_order(OrderStatus::Ready);
        let inputs = inputs(&stream, Some(desired), &observed, &limits);
        let ordered = given([begin(&shop()), opened()]);
        next(&ordered, Inputs { paused_until: Some(until), ..inputs })
    };
    let later = now() + HOUR;
    assert_eq!(step(&shop(), later), Step::Done(Requeue::At(later)));
    assert_eq!(step(&shop(), now()), Step::Finalize);
    let edited = desired_with_another_name();
    assert_eq!(step(&edited, later), Step::Abandon("the Ingress was edited"));
}

#[test]
fn a_job_waits_until_its_time_and_no_longer() {
    let step = |until: Timestamp| {
        look(
            &State::Idle,
            Some(&shop()),
            &Observed { wait_until: Some(until), ..seen_secret(None) },
        )
    };
    let until = now() + SECOND;
    assert_eq!(step(until), Step::Wait { until, at_ca: false });
    assert_eq!(step(now()), Step::PublishRoutes);
}

#[test]
fn an_order_ends_with_a_refusal_and_is_resumed_after_a_quarter_of_its_age_otherwise() {
    let ordered = given([begin(&shop()), opened()]);
    let step = |class: FailureClass, retry_after: Option<Duration>, age: Duration| {
        let failure = Failure { retry_after, ..Failure::new(class, "no") };
        let observed = Observed { failure: Some(failure), ..with_order(OrderStatus::Ready) };
        look_beside(&ordered, &observed, &NONE_IN_FLIGHT, now() + age)
    };
    let refused = step(FailureClass::Authorization, None, SECOND);
    assert!(matches!(refused, Step::Fail(_)), "{refused:?}");
    let after = |age: Duration, pause: Duration| Step::Done(Requeue::At(now() + age + pause));
    let server = |retry_after, age| step(FailureClass::AcmeServer, retry_after, age);
    assert_eq!(server(None, HOUR), after(HOUR, HOUR / 4));
    assert_eq!(server(Some(2 * HOUR), HOUR), after(HOUR, 2 * HOUR), "as the CA says");
    assert_eq!(server(None, 20 * HOUR), after(20 * HOUR, limits::ORDER_PAUSE_MAX));
}

#[test]
fn an_order_that_is_not_done_after_an_hour_fails() {
    let ordered = given([begin(&shop()), opened()]);
    let step = |age: Duration| {
        look_beside(&ordered, &with_order(OrderStatus::Processing), &NONE_IN_FLIGHT, now() + age)
    };
    assert_eq!(step(limits::ORDER_DEADLINE.saturating_sub(SECOND)), Step::Refresh);
    let late = step(limits::ORDER_DEADLINE);
    assert!(matches!(&late, Step::Fail(failure) if failure.class == FailureClass::AcmeServer));
}

#[test]
fn an_order_of_the_same_names_is_looked_at_after_a_quarter_of_its_age_if_it_is_at_the_same_ca() {
    let in_flight = |directory: Option<&str>| {
        let key = PrivateKey::from_pem("key".to_owned());
        let directory = directory.map(str::to_owned);
        let issuance = NewIssuance { directory, ..NewIssuance::of(shop(), key) };
        let ordered = given([Command::Begin(Box::new(issuance)), opened()]);
        let mut in_flight = InFlight::default();
        in_flight.changed(&SecretKey::new("web", "another"), &State::Idle, &ordered);
        in_flight
    };
    let at = now() + 100 * SECOND;
    let observed = Observed { secret: Some((None, at)), ..reached(Observed::default()) };
    let step = |others: &InFlight| look_beside(&State::Idle, &observed, others, at);
    assert_eq!(step(&in_flight(None)), Step::WaitForOrder(at + 25 * SECOND));
    let elsewhere = step(&in_flight(Some("https://fallback.example")));
    assert!(matches!(elsewhere, Step::Begin { .. }), "{elsewhere:?}");
}

#[test]
fn a_renewal_within_the_window_of_its_ca_counts_in_no_limit_but_that_of_requests() {
    let began = RenewalWindow { start: now() - HOUR, end: now() - SECOND, explanation: None };
    let of = |observed: &Observed, scope, window| limited(&closed(scope), observed, Some(window));
    let verified = |verified| Observed { verified, ..ready(with_days_left(45)) };
    let step = |scope, window| of(&verified(Some(true)), scope, window);
    assert!(matches!(step(LimitScope::Account, &began), Step::Begin { .. }));
    let unread = of(&verified(None), LimitScope::Account, &began);
    assert_eq!(unread, Step::VerifyCertificate, "users write Secrets");
    let by = now() + 45 * DAY;
    let waits = |scope| Step::WaitForLimit(scope, Priority { urgency: Urgency::Renewal, by });
    assert_eq!(step(LimitScope::Address, &began), waits(LimitScope::Address));
    let forged = of(&verified(Some(false)), LimitScope::Account, &began);
    assert_eq!(forged, waits(LimitScope::Account));
    // A fallback has issued it, whose window is no promise of this CA.
    let of_fallback = SecretView {
        directory: Some("https://fallback.example".into()),
        instead_of: Some(DIRECTORY.into()),
        ..with_days_left(45)
    };
    let of_fallback = Observed { verified: Some(true), ..ready(of_fallback) };
    assert_eq!(of(&of_fallback, LimitScope::Account, &began), waits(LimitScope::Account));
    // A window that begins after the last moment to renew does not count.
    let never = RenewalWindow { start: now() + DAY, end: now() + 400 * DAY, explanation: None };
    let late = limited(&closed(LimitScope::Account), &ready(with_days_left(12)), Some(&never));
    assert_eq!(late, waiting_for_limit(Urgency::Renewal, now() + 12 * DAY));
    // Nobody asked the CA about a certificate that has to be replaced for its names.
    let other = secret(&["z.example.com"], now() - 45 * DAY, 90 * DAY);
    let step = limited(&closed(LimitScope::Account), &ready(other), Some(&began));
    assert_eq!(step, Step::WaitForLimit(LimitScope::Account, Priority::FIRST));
}

#[test]
fn a_renewal_at_another_ca_has_the_place_of_a_renewal_and_no_exemption() {
    let began = RenewalWindow { start: now() - HOUR, end: now() - SECOND, explanation: None };
    let (desired, stream) = (shop(), SecretKey::new("web", "shop"));
    let step = |limits: &RateLimits, days: u32| {
        let elsewhere =
            SecretView { directory: Some("https://other.example".into()), ..with_days_left(days) };
        let observed = ready(elsewhere);
        let inputs = inputs(&stream, Some(&desired), &observed, limits);
        let assessment = Assessment { ari: AriStatus::Window(&began), ..inputs.assessment };
        next(&State::Idle, Inputs { assessment, of_known_ca: true, ..inputs })
    };
    let account = closed(LimitScope::Account);
    let waits = |urgency, days: u32| waiting_for_limit(urgency, now() + days * DAY);
    assert_eq!(step(&account, 20), waits(Urgency::Renewal, 20), "its window is of another CA");
    assert_eq!(step(&account, 8), waits(Urgency::Expiring, 8));
    assert_eq!(step(&account, 2), waits(Urgency::Expiring, 2), "no bypass");
    // A share of the namespace is left by certificates of this CA only.
    assert!(matches!(step(&share_used_up(), 8), Step::WaitForLimit(LimitScope::Share(_), _)));
}

#[test]
fn ten_critical_certificates_of_a_namespace_bypass_a_limit_in_an_hour() {
    let mut limits = closed(LimitScope::Account);
    let observed = ready(with_days_left(2));
    let step = |limits: &RateLimits| limited(limits, &observed, None);
    for _ in 0..limits::EMERGENCIES {
        assert!(matches!(step(&limits), Step::Begin { .. }));
        limits.record_bypass(&"web".into(), now());
    }
    assert_eq!(step(&limits), waiting_for_limit(Urgency::Expiring, now() + 2 * DAY));
}

#[test]
fn a_certificate_that_ends_soon_is_outside_of_the_shares_if_the_ca_has_issued_it() {
    let limits = share_used_up();
    let step = |found: SecretView, verified: Option<bool>| {
        limited(&limits, &Observed { verified, ..ready(found) }, None)
    };
    let urgency = |step: Step| {
        let Step::WaitForLimit(LimitScope::Share(_), Priority { urgency, .. }) = step else {
            panic!("{step:?}")
        };
        urgency
    };
    assert_eq!(step(with_days_left(8), None), Step::VerifyCertificate);
    assert!(matches!(step(with_days_left(8), Some(true)), Step::Begin { .. }));
    assert_eq!(urgency(step(with_days_left(8), Some(false))), Urgency::Expiring);
    assert_eq!(urgency(step(with_days_left(20), None)), Urgency::Renewal);
    let first = limited(&limits, &reached(seen_secret(None)), None);
    assert_eq!(urgency(first), Urgency::First);
}

#[test]
fn a_limit_of_the_ca_holds_also_what_is_outside_of_the_shares() {
    let share = share_used_up().closed(now()).next().unwrap().hit.clone();
    let account = LimitHit { until: now() + HOUR, ..hit() };
    let limits = RateLimits::of([share, account], now());
    let observed = Observed { verified: Some(true), ..ready(with_days_left(8)) };
    let step = limited(&limits, &observed, None);
    assert_eq!(step, waiting_for_limit(Urgency::Expiring, now() + 8 * DAY));
}

#[test]
fn the_place_in_a_queue_names_the_scope_and_the_words_of_the_ca() {
    let (mut limits, stream) = (closed(LimitScope::Account), SecretKey::new("web", "shop"));
    assert!(limits.enqueue(&LimitScope::Account, &stream, Priority::FIRST, now()));
    let LimitWait { scope, detail, turn, .. } = limits.waiting(&stream).unwrap();
    assert_eq!(
        (scope.to_string().as_str(), &*detail, turn),
        ("this account", "too many", now() + DAY)
    );
}

#[test]
fn a_subset_that_is_renewed_waits_as_a_renewal() {
    let two = desired("shop", &["a.example.com", "b.example.com"]);
    let two = DesiredCertificate { partial: true, ..two };
    let failed = Failure::new(FailureClass::Authorization, "no").about(names(&["b.example.com"]));
    let key = PrivateKey::from_pem("key".to_owned());
    let subset = NewIssuance { names: shop().names, ..NewIssuance::of(two.clone(), key) };
    let started = given([Command::Fail(two.attempted(), failed), Command::Begin(Box::new(subset))]);
    let mut observed = ready(with_days_left(20));
    observed.routes = Some(two.routes.clone());
    let step = look_barred(&started, Some(&two), &observed, Some(&LimitScope::Account));
    assert_eq!(step, waiting_for_limit(Urgency::Renewal, now() + 20 * DAY));
}
