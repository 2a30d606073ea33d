//! Rules at their boundaries: the moment and the observation at which each begins and ends.

use super::*;
use crate::domain::controllers::ControllerRule;
use crate::domain::issuance::fallback::Fallback;
use crate::domain::rate_limits::RateLimits;

const FALLBACK: &str = "https://fallback.example/directory";
const HOUR: Duration = Duration::from_hours(1);
const SECOND: Duration = Duration::from_secs(1);

/// Next step at `at`, with a fallback CA that is asked after six hours.
fn at_fallback(state: &State, observed: &Observed, limits: &RateLimits, at: Timestamp) -> Step {
    let (desired, stream) = (shop(), SecretKey::new("web", "shop"));
    let inputs = inputs(&stream, Some(&desired), observed, limits);
    let assessment = Assessment { now: at, ..inputs.assessment };
    let fallback = Fallback { directory: FALLBACK, after: 6 * HOUR, is_limited: false };
    next(state, Inputs { assessment, fallbacks: &[fallback], ..inputs })
}

/// Observations as of `at`.
fn ready(at: Timestamp) -> Observed {
    Observed { secret: Some((None, at)), ..reached(Observed::default()) }
}

fn failed_at(state: State, class: FailureClass, at: Timestamp) -> State {
    let event = decide(&state, fail(&shop(), class), at).unwrap();
    apply(state, &event, at).unwrap()
}

#[test]
fn a_refused_write_waits_until_its_time_and_no_longer() {
    let (stream, limits, desired) = (SecretKey::new("web", "shop"), RateLimits::default(), shop());
    let step = |until: Timestamp| {
        let observed = Observed { refused_until: Some(until), ..seen_secret(None) };
        next(&State::Idle, inputs(&stream, Some(&desired), &observed, &limits))
    };
    assert_eq!(step(now() + SECOND), Step::Done(Requeue::At(now() + SECOND)));
    assert_eq!(step(now()), Step::PublishRoutes);
    assert_eq!(step(now() - SECOND), Step::PublishRoutes);
}

#[test]
fn hosts_that_may_be_of_another_namespace_are_checked_before_anything_else() {
    let undecided = DesiredCertificate { undecided: names(&["a.example.com"]), ..shop() };
    let states = [State::Idle, given([begin(&shop())]), given([begin(&shop()), opened()])];
    for state in states {
        let step = look(&state, Some(&undecided), &reached(seen_secret(None)));
        assert_eq!(step, Step::CheckHosts);
    }
}

#[test]
fn an_issuance_at_a_fallback_ca_ends_when_that_ca_is_no_longer_configured() {
    let at = |directory: &str| {
        let key = PrivateKey::from_pem("key".to_owned());
        let issuance =
            NewIssuance { directory: Some(directory.to_owned()), ..NewIssuance::of(shop(), key) };
        given([Command::Begin(Box::new(issuance)), opened()])
    };
    let limits = RateLimits::default();
    let observed = with_order(OrderStatus::Ready);
    assert_eq!(at_fallback(&at(FALLBACK), &observed, &limits, now()), Step::Finalize);
    assert!(matches!(
        at_fallback(&at("https://former.example"), &observed, &limits, now()),
        Step::Abandon(_)
    ));
    assert!(matches!(look(&at(FALLBACK), Some(&shop()), &observed), Step::Abandon(_)));
}

#[test]
fn failures_of_a_valid_certificate_are_forgotten() {
    let failing = failed_at(State::Idle, FailureClass::AcmeServer, now() - 2 * DAY);
    let observed = seen_secret(Some(secret(&["a.example.com"], now(), 90 * DAY)));
    assert_eq!(
        look(&failing, Some(&shop()), &observed),
        Step::Abandon("the Secret holds a valid certificate")
    );
}

#[test]
fn a_certificate_that_was_just_installed_is_not_ordered_again_whatever_its_dates() {
    let expired = secret(&["a.example.com"], now() - 91 * DAY, 90 * DAY);
    let mut observed = reached(seen_secret(Some(expired)));
    assert!(matches!(look(&State::Idle, Some(&shop()), &observed), Step::Begin { .. }));
    observed.installed = Some(shop().fingerprint());
    assert_eq!(look(&State::Idle, Some(&shop()), &observed), Step::Done(Requeue::AwaitChange));
    let failing = failed_at(State::Idle, FailureClass::AcmeServer, now() - 2 * DAY);
    let again = Step::Done(Requeue::At(now() + limits::BUSY_RETRY));
    assert_eq!(look(&failing, Some(&shop()), &observed), again);
}

#[test]
fn an_edit_before_the_order_drops_the_issuance() {
    let edited = desired_with_another_name();
    let step = look(&given([begin(&shop())]), Some(&edited), &reached(seen_secret(None)));
    assert_eq!(step, Step::Abandon("the Ingress was edited"));
}

#[test]
fn an_order_whose_url_is_not_journaled_yet_is_journaled_first() {
    let observed =
        Observed { opened: with_order(OrderStatus::Pending).order, ..Observed::default() };
    assert_eq!(look(&given([begin(&shop())]), Some(&shop()), &observed), Step::OpenOrder);
}

#[test]
fn a_host_that_is_no_punycode_is_refused_unless_our_certificate_has_it() {
    let bad = desired("shop", &["xn--a.example.com"]);
    let mut observed = reached(seen_secret(None));
    let Step::Fail(failure) = look(&State::Idle, Some(&bad), &observed) else {
        panic!("a name that no CA can read is a failure")
    };
    assert_eq!((failure.class, failure.names), (FailureClass::InvalidSpec, bad.names.clone()));
    let ours = secret(&["xn--a.example.com"], now() - 80 * DAY, 90 * DAY);
    observed.secret = Some((Some(ours.clone()), now()));
    observed.reach = BTreeMap::from([(bad.names.first().unwrap().clone(), Reach::Reached)]);
    observed.routes = Some(bad.routes.clone());
    assert!(matches!(look(&State::Idle, Some(&bad), &observed), Step::Begin { .. }));
}

#[test]
fn the_fallback_ca_is_asked_once_the_first_has_failed_for_its_time() {
    let limits = RateLimits::default();
    let failing = failed_at(State::Idle, FailureClass::AcmeServer, now());
    let directory = |state: &State, at: Timestamp| {
        let step = at_fallback(state, &ready(at), &limits, at);
        let Step::Begin { directory, .. } = step else { panic!("{step:?}") };
        directory
    };
    assert_eq!(directory(&failing, now() + 6 * HOUR), Some(FALLBACK.to_owned()));
    assert_eq!(directory(&failing, now() + 6 * HOUR - SECOND), None);
    // A host that cannot be reached says nothing about the CA, and ends no series of its failures.
    let probed = failed_at(failing.clone(), FailureClass::Unreachable, now() + HOUR);
    assert_eq!(probed.failing().unwrap().down_since, Some(now()));
    let refused = failed_at(failing, FailureClass::Authorization, now() + HOUR);
    assert_eq!(refused.failing().unwrap().down_since, None);
    let unreachable = failed_at(State::Idle, FailureClass::Unreachable, now());
    assert_eq!(unreachable.failing().unwrap().down_since, None);
}

#[test]
fn a_busy_ca_gives_its_issuances_to_the_fallback_ca_after_the_same_time() {
    let started = given([begin(&shop())]);
    let step = |busy_for: Duration| {
        let hit = LimitHit::of_busy(DAY, "HTTP 503", now() - busy_for);
        let limits = RateLimits::of([hit], now());
        at_fallback(&started, &ready(now()), &limits, now())
    };
    assert!(matches!(step(6 * HOUR), Step::Abandon(why) if why.contains("busy")));
    assert!(!matches!(step(Duration::from_secs(6 * 3_600 - 1)), Step::Abandon(_)));
}

#[test]
fn a_forbidding_caa_record_costs_an_order_a_day_at_most_and_no_renewal() {
    let forbidden = Failure::new(FailureClass::Caa, "CAA of example.com names another CA");
    let mut observed = Observed { caa: None, ..reached(seen_secret(None)) };
    let step = |state: &State, observed: &Observed| look(state, Some(&shop()), observed);
    assert_eq!(step(&State::Idle, &observed), Step::LookUpCaa(shop().names));
    observed.caa = Some((shop().names, Some(forbidden.clone())));
    assert_eq!(step(&State::Idle, &observed), Step::Fail(forbidden.clone()));
    let waited = failed_at(State::Idle, FailureClass::Caa, now() - 2 * DAY);
    assert!(matches!(step(&waited, &observed), Step::Begin { .. }));
    let of_another_kind = failed_at(State::Idle, FailureClass::AcmeServer, now() - 2 * DAY);
    assert_eq!(step(&of_another_kind, &observed), Step::Fail(forbidden));
    let ours = secret(&["a.example.com"], now() - 80 * DAY, 90 * DAY);
    observed.secret = Some((Some(ours), now()));
    assert!(matches!(step(&State::Idle, &observed), Step::Begin { .. }));
}

#[test]
fn a_host_that_resolves_is_left_to_the_ca_after_a_while_and_one_that_does_not_is_not() {
    let step = |since: Timestamp, reach: Reach, through_proxy: bool| {
        let failing = failed_at(State::Idle, FailureClass::Unreachable, since);
        let mut observed = reached(seen_secret(None));
        observed.reach = BTreeMap::from([(shop().names.first().unwrap().clone(), reach)]);
        observed.probes = 99;
        let (stream, limits, desired) =
            (SecretKey::new("web", "shop"), RateLimits::default(), shop());
        let State::Failing(mut failing) = failing else { unreachable!() };
        failing.retry_at = now();
        let inputs = inputs(&stream, Some(&desired), &observed, &limits);
        next(&State::Failing(failing), Inputs { through_proxy, ..inputs })
    };
    let elsewhere = || Reach::elsewhere("HTTP 404");
    let long = now() - limits::PROBE_ADVISORY_AFTER;
    assert!(matches!(step(long, elsewhere(), false), Step::Begin { .. }));
    assert!(matches!(step(long + SECOND, elsewhere(), false), Step::Fail(_)));
    let unresolved = || Reach::Unresolved("NXDOMAIN".to_owned());
    assert!(matches!(step(long - DAY, unresolved(), false), Step::Fail(_)));
    // Behind a proxy, names of the Internet often do not resolve.
    assert!(matches!(step(long, unresolved(), true), Step::Begin { .. }));
    assert!(matches!(step(long + SECOND, unresolved(), true), Step::Fail(_)));
}

#[test]
fn an_order_that_cannot_be_read_is_kept_until_the_fallback_ca_is_asked_unless_it_may_be_issued() {
    let ordered = given([begin(&shop()), opened()]);
    let limits = RateLimits::default();
    let is_kept = |status: OrderStatus, after: Duration| {
        let failure = Some(Failure::new(FailureClass::AcmeServer, "HTTP 500"));
        let observed = Observed { failure, ..with_order(status) };
        let step = at_fallback(&ordered, &observed, &limits, now() + after);
        matches!(step, Step::Done(Requeue::At(_)))
    };
    assert!(is_kept(OrderStatus::Ready, Duration::from_secs(6 * 3_600 - 1)));
    assert!(!is_kept(OrderStatus::Ready, 6 * HOUR));
    for status in [OrderStatus::Processing, OrderStatus::Valid] {
        assert!(is_kept(status.clone(), limits::ORDER_LIFE.saturating_sub(SECOND)));
        assert!(!is_kept(status, limits::ORDER_LIFE));
    }
}

#[test]
fn commands_that_fit_no_state_are_refused_and_name_both() {
    let refused =
        |state: &State, command: Command| decide(state, command, now()).unwrap_err().to_string();
    let installed = Command::Installed { serial: "01".to_owned(), not_after: now() };
    assert_eq!(refused(&State::Idle, opened()), "command opened is refused in state idle");
    assert_eq!(refused(&State::Idle, installed), "command installed is refused in state idle");
    assert_eq!(
        refused(&State::Idle, Command::Abandon("x")),
        "command abandon is refused in state idle"
    );
    let started = given([begin(&shop())]);
    assert!(refused(&started, begin(&shop())).starts_with("command begin is refused in state "));
}

#[test]
fn every_result_of_a_step_is_the_event_of_its_name() {
    let ordered = given([begin(&shop()), opened()]);
    let name = |state: &State, command: Command| decide(state, command, now()).unwrap().name();
    let started = given([begin(&shop())]);
    let installed = Command::Installed { serial: "01".to_owned(), not_after: now() };
    assert_eq!(name(&State::Idle, begin(&shop())), "issuance_started");
    assert_eq!(name(&started, opened()), "order_opened");
    assert_eq!(name(&ordered, installed), "certificate_installed");
    assert_eq!(name(&started, fail(&shop(), FailureClass::Dns)), "issuance_failed");
    assert_eq!(name(&State::Idle, Command::LimitHit(DIRECTORY.to_owned(), hit())), "scope_closed");
    for state in [started, ordered, failed_at(State::Idle, FailureClass::Dns, now())] {
        assert_eq!(name(&state, Command::Abandon("edited")), "issuance_abandoned");
    }
}

#[test]
fn pauses_of_failures_at_the_same_time_differ_by_a_tenth_at_most() {
    let class = FailureClass::AcmeServer;
    let shortest = now() + class.pause(1, None);
    let ends: BTreeSet<Timestamp> = (0..50)
        .map(|number| {
            let desired = desired("shop", &[&format!("h{number}.example.com")]);
            let event = decide(&State::Idle, fail(&desired, class), now()).unwrap();
            apply(State::Idle, &event, now()).unwrap().failing().unwrap().retry_at
        })
        .collect();
    assert!(ends.len() > 20, "they are spread: {}", ends.len());
    assert!(*ends.first().unwrap() >= shortest);
    assert!(*ends.last().unwrap() <= shortest + class.pause(1, None) / 10);
}

#[test]
fn names_that_failed_are_remembered_until_others_fail() {
    let about = |state: State, hosts: &[&str]| {
        let failure = Failure::new(FailureClass::Authorization, "no").about(names(hosts));
        let command = Command::Fail(shop().attempted(), failure);
        let event = decide(&state, command, now()).unwrap();
        apply(state, &event, now()).unwrap()
    };
    let known = |state: &State| (*state.failing().unwrap().names).clone();
    let one = about(State::Idle, &["a.example.com"]);
    assert_eq!(known(&one), names(&["a.example.com"]));
    let nothing_named = failed_at(one.clone(), FailureClass::Unreachable, now());
    assert_eq!(known(&nothing_named), names(&["a.example.com"]));
    let both = about(one, &["a.example.com", "b.example.com"]);
    assert_eq!(known(&both), names(&["a.example.com", "b.example.com"]));
}

#[test]
fn the_journal_leaves_out_what_is_empty() {
    let state = failed_at(State::Idle, FailureClass::Dns, now());
    let event = Event::IssuanceFailed(state.failing().unwrap().folded());
    let json = serde_json::to_value(&event).unwrap();
    for absent in ["names", "part_retry_at", "down_since", "at_fallback", "edits_until", "folded"] {
        assert!(json.get(absent).is_none(), "{absent} in {json}");
    }
    let twice = failed_at(state, FailureClass::Dns, now() + HOUR);
    let failing = Failing { names: shop().names.into(), ..twice.failing().unwrap().clone() };
    let json = serde_json::to_value(Event::IssuanceFailed(failing.folded())).unwrap();
    assert_eq!(json["names"][0], "a.example.com");
    assert_eq!(json["folded"]["attempts"], 2);
    assert!(json["folded"].get("part_attempts").is_none());
    let of_subset = Failing { subset_attempts: 3, ..failing };
    let json = serde_json::to_value(Event::IssuanceFailed(of_subset.folded())).unwrap();
    assert_eq!(json["folded"]["part_attempts"], 3);
}

/// A release before this rule asked the CA after five minutes, so a renewal goes on doing so.
#[test]
fn a_host_that_its_controller_leads_elsewhere_is_asked_for_only_where_a_certificate_is_ours() {
    static RULE: ControllerRule =
        ControllerRule { rule: "it refuses", way_out: "ask it", passed_by: &[] };
    let ours = secret(&["a.example.com"], now() - 80 * DAY, 90 * DAY);
    for (found, rule, asks) in
        [(None, None, true), (None, Some(&RULE), false), (Some(ours), Some(&RULE), true)]
    {
        let long = now() - DAY;
        let failing = failed_at(State::Idle, FailureClass::Unreachable, long);
        let mut observed = reached(seen_secret(found));
        let host = shop().names.first().unwrap().clone();
        observed.reach = BTreeMap::from([(host, Reach::elsewhere("HTTP 404"))]);
        (observed.probes, observed.rule) = (99, rule);
        let (stream, limits, desired) =
            (SecretKey::new("web", "shop"), RateLimits::default(), shop());
        let State::Failing(mut failing) = failing else { unreachable!() };
        failing.retry_at = now();
        let inputs = inputs(&stream, Some(&desired), &observed, &limits);
        let step = next(&State::Failing(failing), inputs);
        assert_eq!(matches!(step, Step::Begin { .. }), asks, "{step:?}");
    }
}
