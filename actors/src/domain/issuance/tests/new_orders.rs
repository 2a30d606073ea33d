//! The switch for new orders: waits and work that goes on while they are stopped.

use super::*;

static STOPPED: NewOrders = NewOrders::Stopped { reason: String::new() };

/// Next step while new orders are stopped.
fn stopped(state: &State, desired: &DesiredCertificate, found: Option<SecretView>) -> Step {
    let (stream, limits) = (SecretKey::new("web", "shop"), RateLimits::default());
    let observed = Observed { routes: Some(desired.routes.clone()), ..seen_secret(found) };
    let reach = desired.names.iter().map(|name| (name.clone(), Reach::Reached)).collect();
    let observed = Observed { reach, caa: Some((desired.names.clone(), None)), ..observed };
    let inputs = inputs(&stream, Some(desired), &observed, &limits);
    next(state, Inputs { new_orders: &STOPPED, ..inputs })
}

fn two() -> DesiredCertificate {
    desired("shop", &["a.example.com", "b.example.com"])
}

/// A Secret of ours with this many of its 90 days left; none of them if `days` is negative.
fn days_left(hosts: &[&str], days: i64) -> SecretView {
    let age = Duration::from_hours(u64::try_from(90 - days).unwrap() * 24);
    secret(hosts, now() - age, 90 * DAY)
}

fn begins(step: &Step) -> bool {
    matches!(step, Step::Begin { .. })
}

#[test]
fn a_certificate_that_is_not_there_waits_before_anything_is_routed_or_probed() {
    let unread = Observed::default();
    let (stream, limits, shop) =
        (SecretKey::new("web", "shop"), RateLimits::default(), super::shop());
    let step = |observed: &Observed| {
        let inputs = inputs(&stream, Some(&shop), observed, &limits);
        next(&State::Idle, Inputs { new_orders: &STOPPED, ..inputs })
    };
    assert_eq!(step(&unread), Step::ReadSecret);
    assert_eq!(step(&seen_secret(None)), Step::WaitForNewOrders);
    let unreadable =
        SecretView { certificate: Err("no PEM".to_owned()), ..days_left(&["a.example.com"], 60) };
    assert_eq!(stopped(&State::Idle, &shop, Some(unreadable)), Step::WaitForNewOrders);
}

#[test]
fn a_certificate_is_renewed_however_old_it_is_and_whatever_the_reason() {
    for days in [20, 2, 0, -1, -400] {
        let found = days_left(&["a.example.com"], days);
        assert!(begins(&stopped(&State::Idle, &shop(), Some(found))), "{days}");
    }
    let found = days_left(&["a.example.com"], 80);
    let requested = DesiredCertificate { renew: Some("now".into()), ..shop() };
    assert!(begins(&stopped(&State::Idle, &requested, Some(found.clone()))));
    let elsewhere = SecretView { directory: Some("https://other".into()), ..found.clone() };
    assert!(begins(&stopped(&State::Idle, &shop(), Some(elsewhere))));
    let other_key =
        found.certificate.clone().map(|one| CertificateView { key_matches: false, ..one });
    let broken = SecretView { certificate: other_key, ..found };
    assert!(begins(&stopped(&State::Idle, &shop(), Some(broken))));
}

#[test]
fn a_host_that_was_never_certified_waits_until_the_renewal_of_the_others_is_due() {
    let found = |days| Some(days_left(&["a.example.com"], days));
    assert_eq!(stopped(&State::Idle, &two(), found(80)), Step::WaitForNewOrders);
    assert_eq!(stopped(&State::Idle, &two(), found(34)), Step::WaitForNewOrders);
    assert!(begins(&stopped(&State::Idle, &two(), found(20))), "one order for both");
    assert!(begins(&stopped(&State::Idle, &two(), found(-30))));
    let others = Some(days_left(&["c.example.com"], -30));
    assert_eq!(stopped(&State::Idle, &two(), others), Step::WaitForNewOrders);
    let more = Some(days_left(&["a.example.com", "b.example.com", "c.example.com"], 80));
    assert!(begins(&stopped(&State::Idle, &two(), more)), "all hosts were certified before");
}

#[test]
fn a_secret_that_is_handed_over_is_renewed_unless_nobody_trusts_its_certificate() {
    let adopting = DesiredCertificate { adopt: true, adopts_at_once: true, ..shop() };
    let foreign = SecretView { ours: false, ..days_left(&["a.example.com"], 2) };
    assert!(begins(&stopped(&State::Idle, &adopting, Some(foreign.clone()))));
    let untrusted = SecretView { untrusted: true, ..foreign };
    assert_eq!(stopped(&State::Idle, &adopting, Some(untrusted)), Step::WaitForNewOrders);
}

#[test]
fn an_issuance_waits_until_its_order_is_open_and_not_after_that() {
    let started = given([begin(&shop())]);
    assert_eq!(stopped(&started, &shop(), None), Step::WaitForNewOrders);
    let renewal = Some(days_left(&["a.example.com"], 2));
    assert_eq!(stopped(&started, &shop(), renewal), Step::OpenOrder);
    let (stream, limits, shop) =
        (SecretKey::new("web", "shop"), RateLimits::default(), super::shop());
    let step = |state: &State, observed: &Observed| {
        let inputs = inputs(&stream, Some(&shop), observed, &limits);
        next(state, Inputs { new_orders: &STOPPED, ..inputs })
    };
    let order = with_order(OrderStatus::Pending).order;
    let unjournaled = Observed { opened: order, ..reached(seen_secret(None)) };
    assert_eq!(step(&started, &unjournaled), Step::OpenOrder, "its record is to be written");
    let ordered = given([begin(&shop), opened()]);
    assert_eq!(step(&ordered, &with_order(OrderStatus::Ready)), Step::Finalize);
    assert_eq!(step(&ordered, &with_chain(&["a.example.com"])), Step::Install);
}

#[test]
fn the_fallback_ca_gets_no_new_order_either() {
    let failing = given([fail(&shop(), FailureClass::AcmeServer)]);
    let State::Failing(failing) = failing else { unreachable!("it has failed") };
    let past = now() - 2 * DAY;
    let failing = Failing { retry_at: past, down_since: Some(past), last: past, ..failing };
    let (stream, limits, shop) =
        (SecretKey::new("web", "shop"), RateLimits::default(), super::shop());
    let observed = reached(seen_secret(None));
    let fallback =
        Fallback { directory: "https://fallback.example", after: DAY, is_limited: false };
    let inputs =
        Inputs { fallbacks: &[fallback], ..inputs(&stream, Some(&shop), &observed, &limits) };
    let step = |new_orders| next(&State::Failing(failing.clone()), Inputs { new_orders, ..inputs });
    assert!(begins(&step(&ALLOWED)));
    assert_eq!(step(&STOPPED), Step::WaitForNewOrders);
}
