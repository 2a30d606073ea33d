//! Observations of a job: what each answer of a CA, of a host or of the journal changes.

use super::*;
use crate::domain::issuance::{Methods, Offers};
use crate::domain::rate_limits::RateLimit;

const SECOND: Duration = Duration::from_secs(1);

fn a() -> DnsName {
    DnsName::parse("a.example.com").unwrap()
}

fn b() -> DnsName {
    DnsName::parse("b.example.com").unwrap()
}

fn order(status: OrderStatus, accepted: &[bool]) -> OrderView {
    let authorizations = accepted.iter().map(|accepted| AuthorizationView {
        name: a(),
        accepted: *accepted,
        offers: Offers::default(),
    });
    OrderView {
        url: "https://ca.example/order/1".to_owned(),
        status,
        authorizations: authorizations.collect(),
        retry_after: None,
        replaces: false,
    }
}

fn refusal(class: FailureClass, retry_after: Option<Duration>) -> Observed {
    let failure = Failure { retry_after, ..Failure::new(class, "no") };
    Observed { failure: Some(failure), ..Observed::default() }
}

#[test]
fn a_host_is_reached_or_private_by_what_answers_there() {
    let what = || "HTTP 404".to_owned();
    let cases = [
        (Reach::Reached, true, false),
        (Reach::ReachedInside, true, true),
        (Reach::elsewhere("HTTP 404"), false, false),
        (Reach::Missed(Missed { why: what(), answered: false, private: true }), false, true),
        (Reach::Unresolved(what()), false, false),
    ];
    for (reach, is_reached, is_private) in cases {
        assert_eq!((reach.is_reached(), reach.is_private()), (is_reached, is_private), "{reach:?}");
    }
}

#[test]
fn a_limit_of_the_ca_is_taken_once() {
    let mut busy =
        Observed { busy: Some(("HTTP 503".to_owned(), 60 * SECOND)), ..Observed::default() };
    let hit = busy.take_limit_hit(now()).unwrap();
    assert_eq!((hit.scope, &*hit.detail), (LimitScope::Address, "HTTP 503"));
    assert_eq!(busy.take_limit_hit(now()), None);
    let mut limited = refusal(FailureClass::RateLimited, Some(DAY));
    let hit = limited.take_limit_hit(now()).unwrap();
    assert_eq!(hit.scope, LimitScope::Account, "where the CA names no scope");
    assert!(hit.until >= now() + DAY);
    assert_eq!(limited.take_limit_hit(now()), None, "it is in the journal");
    let scope = LimitScope::Domain("example.com".to_owned());
    let mut named = refusal(FailureClass::RateLimited, Some(DAY));
    let limit = RateLimit { scope: scope.clone(), pace: None };
    named.failure.as_mut().unwrap().limit = Some(limit);
    assert_eq!(named.take_limit_hit(now()).unwrap().scope, scope);
}

#[test]
fn a_refusal_without_a_time_or_for_another_reason_closes_no_scope() {
    assert_eq!(refusal(FailureClass::RateLimited, None).take_limit_hit(now()), None);
    assert_eq!(refusal(FailureClass::AcmeServer, Some(DAY)).take_limit_hit(now()), None);
    assert_eq!(Observed::default().take_limit_hit(now()), None);
}

#[test]
fn transient_errors_in_a_row_are_waited_for_a_few_times_and_then_fail() {
    let mut observed = Observed::default();
    let failure = || Failure::new(FailureClass::AcmeServer, "HTTP 500");
    for pause in limits::TRANSIENT {
        observed.on_transient_error(failure(), now());
        assert_eq!((observed.wait_until, observed.failure.clone()), (Some(now() + pause), None));
    }
    observed.on_transient_error(failure(), now());
    assert_eq!(observed.failure, Some(failure()));
    observed.reset_errors();
    assert_eq!((observed.errors, observed.wait_until), (0, None));
}

#[test]
fn errors_of_the_journal_are_waited_for_without_end() {
    let mut observed = Observed::default();
    for pause in limits::TRANSIENT.into_iter().chain([limits::ORDER_PAUSE; 9]) {
        observed.on_journal_error(now());
        assert_eq!((observed.wait_until, observed.failure.clone()), (Some(now() + pause), None));
    }
}

#[test]
fn a_record_that_the_journal_refuses_fails_or_pauses_the_job_or_is_of_no_consequence() {
    let refused = |after: AfterRefusal| {
        let mut observed = Observed::default();
        observed.on_journal_refusal(after, "too large".to_owned(), now());
        (observed.failure.map(|failure| failure.class), observed.refused_until)
    };
    assert_eq!(refused(AfterRefusal::GoOn), (None, None));
    assert_eq!(refused(AfterRefusal::Fail), (Some(FailureClass::SecretWrite), None));
    assert_eq!(refused(AfterRefusal::Pause), (None, Some(now() + limits::ORDER_PAUSE_MAX)));
}

#[test]
fn an_order_is_polled_again_only_while_the_ca_works_on_it() {
    let shown = |before: Option<OrderView>, order: OrderView| {
        let mut observed = Observed { order: before, errors: 2, polls: 1, ..Observed::default() };
        observed.order_shown(order.clone(), now());
        assert_eq!((observed.errors, observed.order), (0, Some(order)));
        (observed.wait_until.is_some(), observed.polls)
    };
    let (waits, acts) = ((true, 2), (false, 0));
    assert_eq!(shown(None, order(OrderStatus::Pending, &[true, true])), waits);
    assert_eq!(shown(None, order(OrderStatus::Pending, &[true, false])), acts);
    assert_eq!(shown(None, order(OrderStatus::Processing, &[])), waits);
    assert_eq!(shown(None, order(OrderStatus::Ready, &[])), acts);
    let pending = || Some(order(OrderStatus::Pending, &[]));
    assert_eq!(shown(pending(), order(OrderStatus::Ready, &[])), acts);
    let ready = || Some(order(OrderStatus::Ready, &[]));
    assert_eq!(shown(ready(), order(OrderStatus::Ready, &[])), waits, "it was finalized");
    assert_eq!(shown(ready(), order(OrderStatus::Valid, &[])), acts);
}

#[test]
fn other_routes_drop_what_was_seen_over_the_routes_before() {
    let rehearsed = shop().names;
    let mut observed = Observed { probes: 3, rehearsed, errors: 1, ..reached(seen_secret(None)) };
    observed.routed(shop().routes);
    assert_eq!((observed.reach.len(), observed.probes, observed.errors), (1, 3, 0));
    let others = desired_with_another_name().routes;
    observed.routed(others.clone());
    assert_eq!(
        (observed.routes.clone(), observed.reach.len(), observed.probes),
        (Some(others), 0, 0)
    );
    assert!(observed.caa.is_none() && observed.rehearsed.is_empty());
    observed.forget_routes();
    assert_eq!(observed.routes, None);
}

#[test]
fn rounds_of_probes_are_further_and_further_apart_until_all_hosts_are_reached() {
    let dead = || BTreeMap::from([(a(), Reach::Reached), (b(), Reach::Unresolved("no".into()))]);
    let mut observed = Observed::default();
    for pause in limits::PROBE {
        observed.probed(dead(), now());
        assert_eq!(observed.wait_until, Some(now() + pause));
    }
    observed.probed(dead(), now());
    assert_eq!(observed.wait_until, None, "the rounds are used up");
    let failure = observed.unreachable(&BTreeSet::new()).unwrap();
    assert_eq!(failure.names, [b()].into(), "of the other host nothing is wrong");
    let mut observed = Observed::default();
    observed.probed(BTreeMap::from([(a(), Reach::Reached)]), now());
    assert_eq!((observed.wait_until, observed.unreachable(&BTreeSet::new())), (None, None));
}

#[test]
fn a_host_that_was_reached_is_not_probed_again_in_the_next_round() {
    let hosts = names(&["a.example.com", "b.example.com"]);
    let reach = BTreeMap::from([(a(), Reach::Reached), (b(), Reach::Unresolved("no".into()))]);
    let mut observed = Observed { reach, ..Observed::default() };
    assert_eq!(observed.next_probes(&hosts), [b()]);
    observed.probed_some([(b(), Reach::Reached)], &hosts, Duration::ZERO, now());
    assert_eq!(observed.reach.len(), 2);
    assert_eq!(observed.next_probes(&hosts), []);
}

#[test]
fn a_slow_step_of_a_round_lets_others_go_first_for_a_moment() {
    let hosts: Vec<String> = (0..9).map(|number| format!("h{number}.example.com")).collect();
    let hosts = names(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
    let pause = |took: Duration| {
        let mut observed = Observed::default();
        let first = hosts.first().cloned().map(|host| (host, Reach::Reached));
        observed.probed_some(first, &hosts, took, now());
        observed.wait_until
    };
    assert_eq!(pause(limits::PROBE_SLOW), Some(now() + limits::PROBE[0]));
    assert_eq!(pause(limits::PROBE_SLOW.saturating_sub(Duration::from_millis(1))), None);
}

#[test]
fn a_host_with_private_addresses_that_the_ca_did_not_reach_is_asked_for_once_a_day() {
    let reach = BTreeMap::from([(a(), Reach::ReachedInside), (b(), Reach::Reached)]);
    let observed = Observed { reach, ..Observed::default() };
    let pause = |class: FailureClass, hosts: &[&str]| {
        observed.pause_after(&Failure::new(class, "no").about(names(hosts)))
    };
    let day = Some(limits::PERMANENT_BACKOFF);
    assert_eq!(pause(FailureClass::Authorization, &["a.example.com"]), day);
    assert_eq!(pause(FailureClass::Authorization, &[]), day, "any of them may be meant");
    assert_eq!(pause(FailureClass::Authorization, &["b.example.com"]), None);
    assert_eq!(pause(FailureClass::RateLimited, &["a.example.com"]), None);
}

#[test]
fn each_step_has_a_name_in_metrics_and_a_wait_has_none() {
    let steps = [
        (Step::ReadSecret, "read_secret"),
        (Step::CheckHosts, "check_hosts"),
        (Step::VerifyCertificate, "verify_certificate"),
        (Step::PublishRoutes, "publish_routes"),
        (Step::Probe(BTreeSet::new()), "probe"),
        (Step::LookUpCaa(BTreeSet::new()), "look_up_caa"),
        (Step::Rehearse(BTreeSet::new()), "rehearse"),
        (Step::OpenOrder, "open_order"),
        (Step::Refresh, "refresh"),
        (Step::Accept(Methods::new()), "accept"),
        (Step::Finalize, "finalize"),
        (Step::Download, "download"),
        (Step::Install, "install"),
        (Step::UpdateOwners, "update_owners"),
        (Step::FillTls, "fill_tls"),
        (Step::Abandon("edited"), "abandon"),
        (Step::Done(Requeue::AwaitChange), "none"),
    ];
    for (step, name) in steps {
        assert_eq!(step.name(), name);
    }
}
