//! Tests of the state machine: from events and observations to the next event or step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::certificate::{CertificateView, PrivateKey, SecretView};
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::desired::desired_certificate::tests::desired;
use crate::domain::desired::plan::tests::names;
use crate::domain::dns::account::DnsAccounts;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::ingress::{Edition, SecretKey};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::new_orders::NewOrders;
use crate::domain::rate_limits::{LimitHit, LimitScope, RateLimits};
use crate::domain::scheduling::priority::{Priority, Urgency};
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::time::Timestamp;
use crate::domain::validity::check::tests::secret;
use crate::domain::validity::check::{Assessment, IssueReason};
use crate::domain::validity::renewal::AriStatus;

mod boundaries;
mod failures;
mod new_orders;
mod observations;
mod outlooks;
mod rehearsals;
mod secrets;
mod subsets;
mod waiting;

const DIRECTORY: &str = "https://ca.example/directory";
const DAY: Duration = Duration::from_hours(24);

fn now() -> Timestamp {
    Timestamp::from_secs(1_795_478_400)
}

fn shop() -> DesiredCertificate {
    desired("shop", &["a.example.com"])
}

fn begin(desired: &DesiredCertificate) -> Command {
    Command::Begin(Box::new(NewIssuance::of(
        desired.clone(),
        PrivateKey::from_pem("key".to_owned()),
    )))
}

fn opened() -> Command {
    Command::Opened("https://ca.example/order/1".to_owned())
}

fn fail(desired: &DesiredCertificate, class: FailureClass) -> Command {
    Command::Fail(desired.attempted(), Failure::new(class, "no"))
}

/// Returns the state after these commands, in order.
fn given(commands: impl IntoIterator<Item = Command>) -> State {
    commands.into_iter().fold(State::Idle, |state, command| {
        let event = decide(&state, command, now()).unwrap();
        apply(state, &event, now()).unwrap()
    })
}

fn look(state: &State, desired: Option<&DesiredCertificate>, observed: &Observed) -> Step {
    look_barred(state, desired, observed, None)
}

fn look_barred(
    state: &State,
    desired: Option<&DesiredCertificate>,
    observed: &Observed,
    barred: Option<&LimitScope>,
) -> Step {
    let hit = |scope: &LimitScope| LimitHit { scope: scope.clone(), until: now() + DAY, ..hit() };
    let rate_limits = RateLimits::of(barred.map(hit), now());
    let stream = SecretKey::new("web", "shop");
    next(state, inputs(&stream, desired, observed, &rate_limits))
}

/// New orders are sent.
static ALLOWED: NewOrders = NewOrders::Allowed;

/// There are no accounts at DNS providers.
static NO_ACCOUNTS: LazyLock<DnsAccounts> = LazyLock::new(DnsAccounts::default);

/// Nothing is under way for other Secrets.
static NONE_IN_FLIGHT: LazyLock<InFlight> = LazyLock::new(InFlight::default);

fn inputs<'a>(
    stream: &'a SecretKey,
    desired: Option<&'a DesiredCertificate>,
    observed: &'a Observed,
    rate_limits: &'a RateLimits,
) -> Inputs<'a> {
    Inputs {
        dns_accounts: &NO_ACCOUNTS,
        persist: None,
        rehearses: false,
        new_orders: &ALLOWED,
        stream,
        desired,
        observed,
        assessment: Assessment {
            directory: DIRECTORY,
            ari: AriStatus::None,
            installed: None,
            reissues: true,
            now: now(),
        },
        paused_until: None,
        fallbacks: &[],
        first_ca: DIRECTORY,
        mark: None,
        of_known_ca: false,
        is_public: false,
        ca_is_gone: false,
        first_edition: None,
        rate_limits,
        install_id: "ingress-acme",
        owner_references: true,
        through_proxy: false,
        in_flight: &NONE_IN_FLIGHT,
    }
}

fn look_with(state: &State, desired: &DesiredCertificate, first: Option<Edition>) -> Step {
    let (stream, rate_limits) = (SecretKey::new("web", "shop"), RateLimits::default());
    let observed = seen_secret(None);
    next(
        state,
        Inputs { first_edition: first, ..inputs(&stream, Some(desired), &observed, &rate_limits) },
    )
}

/// Returns the next step of `web/shop` beside the issuances of other Secrets.
fn look_beside(state: &State, observed: &Observed, others: &InFlight, at: Timestamp) -> Step {
    let (desired, stream, limits) = (shop(), SecretKey::new("web", "shop"), RateLimits::default());
    let inputs = inputs(&stream, Some(&desired), observed, &limits);
    let assessment = Assessment { now: at, ..inputs.assessment };
    next(state, Inputs { assessment, in_flight: others, ..inputs })
}

fn waiting_for_limit(urgency: Urgency, by: Timestamp) -> Step {
    Step::WaitForLimit(LimitScope::Account, Priority { urgency, by })
}

fn seen_secret(secret: Option<SecretView>) -> Observed {
    Observed { secret: Some((secret, now())), ..Observed::default() }
}

/// Observations with published routes and a reached host.
fn reached(mut observed: Observed) -> Observed {
    observed.routes = Some(shop().routes);
    observed.reach = BTreeMap::from([(shop().names.into_iter().next().unwrap(), Reach::Reached)]);
    observed.caa = Some((shop().names, None));
    observed
}

fn with_order(status: OrderStatus) -> Observed {
    let url = "https://ca.example/order/1".to_owned();
    let order =
        OrderView { url, status, authorizations: Vec::new(), retry_after: None, replaces: false };
    Observed { order: Some(order), ..reached(seen_secret(None)) }
}

fn with_chain(hosts: &[&str]) -> Observed {
    let Ok(leaf) = secret(hosts, now(), 90 * DAY).certificate else { unreachable!() };
    Observed {
        chain: Some(Chain { pem: "PEM".to_owned(), leaf }),
        ..with_order(OrderStatus::Valid)
    }
}

#[test]
fn the_way_from_nothing_to_an_order_asks_the_ca_last() {
    let desired = shop();
    let step = |observed: &Observed| look(&State::Idle, Some(&desired), observed);
    assert_eq!(step(&Observed::default()), Step::ReadSecret);
    let mut observed = seen_secret(None);
    assert_eq!(step(&observed), Step::PublishRoutes);
    observed.routes = Some(desired.routes.clone());
    assert_eq!(step(&observed), Step::Probe(desired.names.clone()));
    assert_eq!(
        step(&reached(observed)),
        Step::Begin { reason: IssueReason::Missing, names: desired.names.clone(), directory: None }
    );
    let started = given([begin(&desired)]);
    assert_eq!(look(&started, Some(&desired), &reached(seen_secret(None))), Step::OpenOrder);
}

#[test]
fn an_order_waits_while_the_ca_is_busy_and_a_chain_that_is_here_does_not() {
    let desired = shop();
    let ordered = given([begin(&desired), opened()]);
    let step = |observed: &Observed| {
        look_barred(&ordered, Some(&desired), observed, Some(&LimitScope::Address))
    };
    let waits = Step::Wait { until: now() + DAY, at_ca: true };
    assert_eq!(step(&with_order(OrderStatus::Ready)), waits);
    assert_eq!(step(&with_chain(&["a.example.com"])), Step::Install);
}

#[test]
fn what_the_ca_takes_no_orders_for_gets_in_line_before_anything_is_begun() {
    let (desired, observed) = (shop(), reached(seen_secret(None)));
    let waiting_for_limit = Step::WaitForLimit(LimitScope::Account, Priority::FIRST);
    for state in [State::Idle, given([begin(&desired)])] {
        assert_eq!(
            look_barred(&state, Some(&desired), &observed, Some(&LimitScope::Account)),
            waiting_for_limit
        );
    }
    let ordered = given([begin(&desired), opened()]);
    let step = look_barred(&ordered, Some(&desired), &observed, Some(&LimitScope::Account));
    assert_eq!(step, Step::Refresh, "an order that is open goes on");
}

#[test]
fn a_certificate_about_to_end_goes_first_in_line_and_at_last_past_it() {
    let of_age = |days| {
        let found = Some(secret(&["a.example.com"], now() - days * DAY, 90 * DAY));
        let observed = reached(seen_secret(found));
        look_barred(&State::Idle, Some(&shop()), &observed, Some(&LimitScope::Account))
    };
    assert_eq!(of_age(70), waiting_for_limit(Urgency::Renewal, now() - 70 * DAY + 90 * DAY));
    assert_eq!(of_age(83), waiting_for_limit(Urgency::Expiring, now() - 83 * DAY + 90 * DAY));
    assert!(matches!(of_age(87), Step::Begin { .. }));
    assert!(matches!(of_age(91), Step::Begin { .. }), "it ended a day ago");
    assert_eq!(of_age(120), waiting_for_limit(Urgency::Expiring, now() - 120 * DAY + 90 * DAY));
}

#[test]
fn what_users_write_into_a_secret_bypasses_no_limit() {
    let step = |found: SecretView| {
        let observed = reached(seen_secret(Some(found)));
        look_barred(&State::Idle, Some(&shop()), &observed, Some(&LimitScope::Account))
    };
    let first = Step::WaitForLimit(LimitScope::Account, Priority::FIRST);
    let other_names = secret(&["other.example.com"], now() - 87 * DAY, 90 * DAY);
    assert_eq!(step(other_names), first);
    let elsewhere = secret(&["a.example.com"], now() - 87 * DAY, 90 * DAY);
    let elsewhere = SecretView { directory: Some("https://other".into()), ..elsewhere };
    assert_eq!(step(elsewhere), first);
    let foreign = secret(&["a.example.com"], now() - 87 * DAY, 90 * DAY);
    let adopting = DesiredCertificate { adopt: true, ..shop() };
    let observed = reached(seen_secret(Some(SecretView { ours: false, ..foreign })));
    let adopted = look_barred(&State::Idle, Some(&adopting), &observed, Some(&LimitScope::Account));
    assert_eq!(adopted, first);
}

#[test]
fn what_serves_waits_behind_what_does_not() {
    let renewal = waiting_for_limit(Urgency::Renewal, Priority::FIRST.by);
    let good = secret(&["a.example.com"], now() - DAY, 90 * DAY);
    let observed = reached(seen_secret(Some(good.clone())));
    let requested = DesiredCertificate { renew: Some("now".into()), ..shop() };
    assert_eq!(
        look_barred(&State::Idle, Some(&requested), &observed, Some(&LimitScope::Account)),
        renewal
    );
    let staging = SecretView { directory: Some("https://staging".into()), ..good };
    let observed = reached(seen_secret(Some(staging)));
    // Of those of a former CA, the one that ends first goes first.
    assert_eq!(
        look_barred(&State::Idle, Some(&shop()), &observed, Some(&LimitScope::Account)),
        waiting_for_limit(Urgency::Renewal, now() + 89 * DAY)
    );
}

#[test]
fn a_secret_that_cannot_be_read_does_not_end_a_long_pause() {
    let desired = shop();
    let event =
        decide(&State::Idle, fail(&desired, FailureClass::Policy), now() - DAY / 2).unwrap();
    let state = apply(State::Idle, &event, now() - DAY / 2).unwrap();
    assert_eq!(look(&state, Some(&desired), &Observed::default()), Step::ReadSecret);
    let failure = Some(Failure::new(FailureClass::SecretWrite, "forbidden"));
    let refused = look(&state, Some(&desired), &Observed { failure, ..Observed::default() });
    assert!(matches!(refused, Step::Done(Requeue::At(_))), "{refused:?}");
}

#[test]
fn a_secret_read_long_ago_is_read_again_before_the_order() {
    let desired = shop();
    let mut observed = reached(seen_secret(None));
    observed.secret = Some((None, now() - 2 * limits::SECRET_FRESH));
    assert_eq!(look(&given([begin(&desired)]), Some(&desired), &observed), Step::ReadSecret);
}

#[test]
fn a_certificate_that_turned_up_meanwhile_ends_the_work_before_the_order() {
    let desired = shop();
    let observed = seen_secret(Some(secret(&["a.example.com"], now(), 90 * DAY)));
    assert!(matches!(look(&given([begin(&desired)]), Some(&desired), &observed), Step::Abandon(_)));
    assert_eq!(look(&State::Idle, Some(&desired), &observed), Step::Done(Requeue::AwaitChange));
}

#[test]
fn an_order_is_looked_at_before_anything_is_done_with_it() {
    let (desired, ordered) = (shop(), given([begin(&shop()), opened()]));
    assert_eq!(look(&ordered, Some(&desired), &Observed::default()), Step::Refresh);
    let steps = [
        (with_order(OrderStatus::Ready), Step::Finalize),
        (with_order(OrderStatus::Processing), Step::Refresh),
        (with_order(OrderStatus::Valid), Step::Download),
        (with_chain(&["a.example.com"]), Step::Install),
    ];
    for (observed, step) in steps {
        assert_eq!(look(&ordered, Some(&desired), &observed), step);
    }
}

#[test]
fn an_edit_drops_an_order_but_not_a_certificate_that_still_serves() {
    let ordered = given([begin(&shop()), opened()]);
    let edited = desired("shop", &["a.example.com", "b.example.com"]);
    let pending = look(&ordered, Some(&edited), &with_order(OrderStatus::Ready));
    assert_eq!(pending, Step::Abandon("the Ingress was edited"));
    let issued = look(&ordered, Some(&edited), &with_chain(&["a.example.com"]));
    assert_eq!(issued, Step::Install);
    let other = desired("shop", &["c.example.com"]);
    assert!(matches!(
        look(&ordered, Some(&other), &with_chain(&["a.example.com"])),
        Step::Abandon(_)
    ));
}

#[test]
fn work_that_nobody_wants_any_more_is_dropped_in_every_state() {
    let commands = [begin(&shop()), opened()];
    for count in 1..=2 {
        let state = given(commands.clone().into_iter().take(count));
        assert!(matches!(look(&state, None, &Observed::default()), Step::Abandon(_)));
    }
    assert_eq!(look(&State::Idle, None, &Observed::default()), Step::Done(Requeue::AwaitChange));
}

#[test]
fn a_chain_that_does_not_fit_is_never_installed() {
    type Change = fn(&mut CertificateView);
    let ordered = given([begin(&shop()), opened()]);
    let chain = |change: Change| {
        let mut observed = with_chain(&["a.example.com"]);
        change(&mut observed.chain.as_mut().unwrap().leaf);
        look(&ordered, Some(&shop()), &observed)
    };
    assert_eq!(chain(|_| {}), Step::Install);
    let cases: [(Change, &str); 3] = [
        (|leaf| leaf.names = ["other.example.com".to_owned()].into(), "other names"),
        (|leaf| leaf.key_matches = false, "key does not match"),
        (|leaf| leaf.not_after = now(), "expired at"),
    ];
    for (change, why) in cases {
        let Step::Fail(failure) = chain(change) else { panic!("{why}") };
        assert_eq!(failure.class, FailureClass::BadCertificate);
        assert!(failure.detail.contains(why), "{}", failure.detail);
    }
}

#[test]
fn an_open_order_outlives_the_troubles_of_its_ca_and_of_the_api_server() {
    let ordered = given([begin(&shop()), opened()]);
    for class in [FailureClass::AcmeServer, FailureClass::SecretWrite, FailureClass::RateLimited] {
        let mut observed = with_order(OrderStatus::Ready);
        observed.failure = Some(Failure::new(class, "no answer"));
        let later = now() + limits::ORDER_PAUSE;
        assert_eq!(look(&ordered, Some(&shop()), &observed), Step::Done(Requeue::At(later)));
    }
}

#[test]
fn failures_in_a_row_climb_the_ladder_and_an_edit_begins_anew() {
    let desired = shop();
    let mut state = State::Idle;
    for minutes in [1, 10, 100] {
        let event = decide(&state, fail(&desired, FailureClass::Authorization), now()).unwrap();
        state = apply(state, &event, now()).unwrap();
        let State::Failing(failing) = &state else { panic!("{state:?}") };
        let pause = failing.retry_at.since(now());
        let pause_of_row = Duration::from_mins(minutes);
        assert!(pause >= pause_of_row && pause <= pause_of_row + pause_of_row / 10, "{pause:?}");
    }
    let waits = look(&state, Some(&desired), &seen_secret(None));
    assert!(matches!(waits, Step::Done(Requeue::At(_))));
    let edited = desired_with_another_name();
    assert_eq!(look(&state, Some(&edited), &Observed::default()), Step::ReadSecret);
    let event = decide(&state, fail(&edited, FailureClass::Authorization), now()).unwrap();
    let State::Failing(failing) = apply(state, &event, now()).unwrap() else { unreachable!() };
    assert_eq!(failing.attempts, 1);
}

/// The certificate after an edit of a backend, a label or a foreign annotation.
fn edited(number: u64) -> DesiredCertificate {
    DesiredCertificate { edition: Edition(number), ..shop() }
}

fn failing(state: &State) -> &Failing {
    state.failing().unwrap()
}

#[test]
fn an_edit_of_anything_ends_a_long_pause_a_minute_after_the_failure_at_the_earliest() {
    let event = decide(&State::Idle, fail(&shop(), FailureClass::Policy), now()).unwrap();
    let state = |at| apply(State::Idle, &event, at).unwrap();
    let minute = limits::EDIT_PAUSE;
    let step = |at, desired| look(&state(at), Some(&desired), &seen_secret(None));
    assert_eq!(step(now(), edited(1)), Step::Done(Requeue::At(now() + minute)));
    assert_eq!(step(now() - minute, edited(1)), Step::PublishRoutes);
    let unedited = step(now() - minute, shop());
    assert!(matches!(unedited, Step::Done(Requeue::At(at)) if at > now() + DAY / 2));
}

#[test]
fn an_edit_begins_the_backoff_anew_and_ever_more_of_them_end_few_pauses() {
    let (mut state, mut at, mut ended) = (State::Idle, now(), 0);
    for number in 0..200 {
        let event = decide(&state, fail(&edited(number), FailureClass::Policy), at).unwrap();
        state = apply(state, &event, at).unwrap();
        let failing = failing(&state);
        let next = failing.after_edit().min(failing.retry_at);
        ended += usize::from(next < failing.retry_at);
        assert!(at + limits::EDIT_PAUSE <= next);
        at = next;
    }
    let intervals = at.since(now()).as_secs() / limits::EDIT_INTERVAL.as_secs();
    assert!(u64::try_from(ended).unwrap() <= intervals + u64::from(limits::EDITS) + 1);
    let one = given([fail(&edited(1), FailureClass::Authorization)]);
    let two = apply(
        one.clone(),
        &decide(&one, fail(&edited(1), FailureClass::Authorization), now()).unwrap(),
        now(),
    );
    let new = apply(
        one.clone(),
        &decide(&one, fail(&edited(2), FailureClass::Authorization), now()).unwrap(),
        now(),
    );
    assert_eq!((failing(&two.unwrap()).attempts, failing(&new.unwrap()).attempts), (2, 1));
}

#[test]
fn an_edit_of_anything_else_abandons_no_order() {
    let state = given([begin(&shop()), opened()]);
    let step = look(&state, Some(&edited(1)), &with_order(OrderStatus::Ready));
    assert_eq!(step, Step::Finalize);
}

/// Release 0.1.0 journaled no edition: an edit counts that this process has seen.
#[test]
fn an_edit_ends_a_pause_that_release_0_1_0_journaled() {
    let Event::IssuanceFailed(failed) =
        decide(&State::Idle, fail(&shop(), FailureClass::Policy), now() - DAY / 2).unwrap()
    else {
        unreachable!("it has failed")
    };
    let event = Event::IssuanceFailed(IssuanceFailed { edition: None, ..failed });
    let state = apply(State::Idle, &event, now() - DAY / 2).unwrap();
    let step = |first_edition| look_with(&state, &edited(2), first_edition);
    assert!(matches!(step(Some(Edition(2))), Step::Done(Requeue::At(_))));
    assert_eq!(step(Some(Edition(1))), Step::PublishRoutes);
}

fn desired_with_another_name() -> DesiredCertificate {
    desired("shop", &["b.example.com"])
}

#[test]
fn failures_are_remembered_through_the_next_attempt() {
    let desired = shop();
    let state = given([fail(&desired, FailureClass::Authorization), begin(&desired), opened()]);
    let event = decide(&state, fail(&desired, FailureClass::Authorization), now()).unwrap();
    let State::Failing(failing) = apply(state, &event, now()).unwrap() else { unreachable!() };
    assert_eq!(failing.attempts, 2);
}

#[test]
fn a_host_that_cannot_be_reached_is_probed_a_few_times_and_then_fails_without_the_ca() {
    let desired = shop();
    let mut observed = reached(seen_secret(None));
    let mut rounds = 0;
    let failure = loop {
        let elsewhere = Reach::elsewhere("HTTP 404");
        observed.probed(
            names(&["a.example.com"]).into_iter().map(|host| (host, elsewhere.clone())).collect(),
            now(),
        );
        observed.wait_until = None;
        rounds += 1;
        match look(&State::Idle, Some(&desired), &observed) {
            Step::Probe(_) => {}
            Step::Fail(failure) => break failure,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(failure.class, FailureClass::Unreachable);
    assert_eq!(rounds, limits::PROBE.len() + 1);
}

#[test]
fn too_many_names_are_refused_before_anything_is_asked() {
    let hosts: Vec<String> = (0..101).map(|n| format!("h{n}.example.com")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let step = look(&State::Idle, Some(&desired("shop", &hosts)), &Observed::default());
    assert!(matches!(step, Step::Fail(failure) if failure.class == FailureClass::InvalidSpec));
}

#[test]
fn illegal_events_are_refused_and_change_nothing() {
    let installed = Event::CertificateInstalled(CertificateInstalled {
        serial: "01".to_owned(),
        not_after: now(),
        left_out: BTreeSet::new(),
        left_out_wildcards: BTreeSet::new(),
    });
    let order = Event::OrderOpened(OrderOpened { url: "https://ca.example/order/1".to_owned() });
    let started = given([begin(&shop())]);
    assert!(apply(State::Idle, &installed, now()).is_err());
    assert!(apply(State::Idle, &order, now()).is_err());
    assert!(apply(started.clone(), &installed, now()).is_err());
    assert!(decide(&started, begin(&shop()), now()).is_err(), "an issuance is begun once");
    assert!(decide(&State::Idle, Command::Abandon("nothing"), now()).is_err());
}

#[test]
fn a_record_reads_as_it_was_written() {
    let event = decide(&State::Idle, begin(&shop()), now()).unwrap();
    let record = Record { stream: shop().secret, at: now(), event };
    let json = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record);
}

fn hit() -> LimitHit {
    LimitHit {
        scope: LimitScope::Account,
        since: None,
        until: now() + DAY,
        pace_ms: 1000,
        detail: "too many".to_owned(),
    }
}

fn any_command() -> impl Strategy<Value = Command> {
    let installed = Command::Installed { serial: "01".to_owned(), not_after: now() + 90 * DAY };
    prop_oneof![
        Just(begin(&shop())),
        Just(begin(&desired_with_another_name())),
        Just(opened()),
        Just(installed),
        Just(fail(&shop(), FailureClass::Authorization)),
        Just(fail(&desired_with_another_name(), FailureClass::Unreachable)),
        Just(Command::Abandon("dropped")),
        Just(Command::LimitHit(DIRECTORY.to_owned(), hit())),
    ]
}

proptest! {
    /// Every decided event can be applied, live and on replay, with the same state as a result.
    #[test]
    fn every_decided_event_is_legal_and_replays_to_the_same_state(
        commands in prop::collection::vec(any_command(), 0..40)
    ) {
        let (mut live, mut log) = (State::Idle, Vec::new());
        for (second, command) in (0..).zip(commands) {
            let at = now() + Duration::from_secs(second);
            let Ok(event) = decide(&live, command, at) else { continue };
            live = apply(live, &event, at).expect("what is decided is legal");
            log.push((event, at));
        }
        let replayed = log.iter().try_fold(State::Idle, |state, (event, at)| apply(state, event, *at));
        prop_assert_eq!(replayed, Ok(live));
    }

    /// Every state has a next step with all observations. The step never finalizes an order for a
    /// desired certificate that has changed.
    #[test]
    fn there_is_always_a_next_step_and_it_serves_the_newest_ingresses(
        commands in prop::collection::vec(any_command(), 0..20), ready in any::<bool>()
    ) {
        let state = commands.into_iter().fold(State::Idle, |state, command| {
            let decided = decide(&state, command, now());
            decided.map_or(state.clone(), |event| apply(state, &event, now()).unwrap())
        });
        let observed = if ready { with_order(OrderStatus::Ready) } else { Observed::default() };
        let desired = shop();
        if look(&state, Some(&desired), &observed) == Step::Finalize {
            prop_assert_eq!(state.issuance().map(|i| i.fingerprint), Some(desired.fingerprint()));
        }
    }
}

#[test]
fn a_round_of_many_hosts_takes_several_steps_and_slow_ones_let_others_pass() {
    let hosts: Vec<String> = (0..20).map(|number| format!("h{number:02}.example.com")).collect();
    let hosts = names(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
    let mut observed = Observed::default();
    let dead = |host: DnsName| (host, Reach::silent("no answer in time"));
    for (few, took, waits) in [(8, 5, true), (8, 0, false), (4, 5, true)] {
        let next = observed.next_probes(&hosts);
        assert_eq!(next.len(), few);
        let took = Duration::from_secs(took);
        observed.probed_some(next.into_iter().map(dead), &hosts, took, now());
        assert_eq!(observed.wait_until.is_some(), waits);
    }
    assert_eq!((observed.reach.len(), observed.probes), (20, 1));
    let reached = observed.next_probes(&hosts).into_iter().map(|host| (host, Reach::Reached));
    observed.probed_some(reached, &hosts, Duration::ZERO, now());
    assert_eq!(observed.next_probes(&hosts).len(), 8, "the second round goes on");
    assert_eq!(observed.probes, 1);
}

#[test]
fn orders_of_two_secrets_for_exactly_the_same_names_are_one_after_the_other() {
    let observed = reached(seen_secret(None));
    let beside = |state: &State, other: &State| {
        let mut in_flight = InFlight::default();
        in_flight.changed(&SecretKey::new("web", "another"), &State::Idle, other);
        look_beside(state, &observed, &in_flight, now())
    };
    let (started, ordered) = (given([begin(&shop())]), given([begin(&shop()), opened()]));
    let waits = Step::WaitForOrder(now() + limits::SAME_NAMES_LOOK.0);
    for other in [&started, &ordered] {
        assert_eq!(beside(&State::Idle, other), waits, "nothing is begun");
        assert_eq!(beside(&started, other), waits, "`another` is before `shop`");
    }
    assert!(matches!(beside(&State::Idle, &State::Idle), Step::Begin { .. }));
    assert_eq!(beside(&ordered, &ordered), Step::Refresh, "an order that is open goes on");
    let mut later = InFlight::default();
    later.changed(&SecretKey::new("web", "z"), &State::Idle, &started);
    assert_eq!(look_beside(&started, &observed, &later, now()), Step::OpenOrder);
    let other_names = given([begin(&desired_with_another_name()), opened()]);
    assert_eq!(beside(&started, &other_names), Step::OpenOrder);
}

#[test]
fn whoever_has_asked_the_ca_goes_before_one_that_started_earlier_and_comes_later_into_the_journal()
{
    let observed = reached(seen_secret(None));
    let (own, another) = (SecretKey::new("web", "shop"), SecretKey::new("web", "another"));
    let (started, names) = (given([begin(&shop())]), shop().names);
    let mut in_flight = InFlight::default();
    let step = |in_flight: &InFlight| look_beside(&started, &observed, in_flight, now());
    in_flight.changed(&own, &State::Idle, &started);
    assert_eq!(step(&in_flight), Step::OpenOrder);
    in_flight.asks(&own, &names, now());
    in_flight.changed(&another, &State::Idle, &started);
    assert_eq!(step(&in_flight), Step::OpenOrder, "again, after an error for example");
    let of_another = |in_flight: &InFlight| {
        in_flight.ahead_of(&another, (&names, None), DIRECTORY, Some(now()), now()).is_some()
    };
    assert!(of_another(&in_flight), "although `another` is before `shop`");
    in_flight.asks(&another, &names, now() + Duration::from_secs(1));
    assert!(of_another(&in_flight), "who asked first goes first");
    assert_eq!(step(&in_flight), Step::OpenOrder);
    in_flight.changed(&own, &started, &State::Idle);
    assert!(!of_another(&in_flight));
}

#[test]
fn an_order_that_does_not_end_holds_up_another_for_an_hour_at_most_and_one_that_ends_no_longer() {
    let (key, ordered) = (SecretKey::new("web", "another"), given([begin(&shop()), opened()]));
    let mut in_flight = InFlight::default();
    in_flight.changed(&key, &State::Idle, &ordered);
    let step = |in_flight: &InFlight, at: Timestamp| {
        let observed = Observed { secret: Some((None, at)), ..reached(Observed::default()) };
        look_beside(&State::Idle, &observed, in_flight, at)
    };
    let last = now() + limits::SAME_NAMES_WAIT - Duration::from_millis(1);
    assert_eq!(step(&in_flight, last), Step::WaitForOrder(last + limits::SAME_NAMES_LOOK.1));
    assert!(matches!(step(&in_flight, now() + limits::SAME_NAMES_WAIT), Step::Begin { .. }));
    in_flight.changed(&key, &ordered, &State::Idle);
    assert_eq!(in_flight.len(), 0, "nothing is kept");
    assert!(matches!(step(&in_flight, now()), Step::Begin { .. }));
}
