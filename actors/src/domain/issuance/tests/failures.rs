//! Remembered failures: their count, their names, and the times that follow from them.

use super::*;
use crate::domain::issuance::fallback::Fallback;

const HOUR: Duration = Duration::from_hours(1);
const SECOND: Duration = Duration::from_secs(1);

/// The certificate of two hosts, of which one may be left out.
fn of_two() -> DesiredCertificate {
    DesiredCertificate { partial: true, ..desired("shop", &["a.example.com", "b.example.com"]) }
}

/// Failure of an attempt for `desired`, because of these hosts.
fn refused(desired: &DesiredCertificate, class: FailureClass, hosts: &[&str]) -> Command {
    Command::Fail(desired.attempted(), Failure::new(class, "no").about(names(hosts)))
}

/// Two failures of `b.example.com`, both at [`now`]; all names are tried again a day later.
fn failing_twice() -> Failing {
    let command = refused(&of_two(), FailureClass::Authorization, &["b.example.com"]);
    let failing = failing(&given([command])).clone();
    Failing { attempts: 2, retry_at: now() + DAY, ..failing }
}

fn after(state: &State, command: Command, at: Timestamp) -> Failing {
    let event = decide(state, command, at).unwrap();
    failing(&apply(state.clone(), &event, at).unwrap()).clone()
}

fn begin_subset(desired: DesiredCertificate, hosts: &[&str]) -> Command {
    let key = PrivateKey::from_pem("key".to_owned());
    Command::Begin(Box::new(NewIssuance { names: names(hosts), ..NewIssuance::of(desired, key) }))
}

#[test]
fn the_other_names_are_issued_once_some_have_failed_twice_for_five_minutes() {
    let (failing, desired) = (failing_twice(), of_two());
    let due = now() + limits::PARTIAL_AFTER;
    let rest = Some(names(&["a.example.com"]));
    assert_eq!(failing.obtainable(&desired, due), rest);
    assert_eq!(failing.obtainable(&desired, due - SECOND), None, "too soon");
    let whole = DesiredCertificate { partial: false, ..of_two() };
    assert_eq!(failing.obtainable(&whole, due), None, "nobody allows it");
    let once = Failing { attempts: 1, ..failing.clone() };
    assert_eq!(once.obtainable(&desired, due), None);
    let all = Failing { names: desired.names.clone().into(), ..failing.clone() };
    assert_eq!(all.obtainable(&desired, due), None, "none is left");
    let others = Failing { names: names(&["z.example.com"]).into(), ..failing.clone() };
    assert_eq!(others.obtainable(&desired, due), None, "none of these failed");
    let later = Failing { subset_retry_at: Some(now() + HOUR), ..failing };
    assert_eq!(later.obtainable(&desired, now() + HOUR - SECOND), None);
    assert_eq!(later.obtainable(&desired, now() + HOUR), rest);
}

#[test]
fn the_next_evaluation_is_at_the_retry_or_at_the_first_attempt_for_a_subset() {
    let (failing, desired) = (failing_twice(), of_two());
    let due = now() + limits::PARTIAL_AFTER;
    assert_eq!(failing.next_evaluation(&desired, now()), due);
    assert_eq!(failing.next_evaluation(&desired, due - SECOND), due);
    assert_eq!(failing.next_evaluation(&desired, due), now() + DAY, "it was tried then");
    let whole = DesiredCertificate { partial: false, ..of_two() };
    assert_eq!(failing.next_evaluation(&whole, now()), now() + DAY);
    let soon = Failing { retry_at: now() + SECOND, ..failing };
    assert_eq!(soon.next_evaluation(&desired, now()), now() + SECOND);
}

#[test]
fn a_group_whose_members_changed_leaves_out_the_names_that_failed_within_the_hour() {
    let failing = failing_twice();
    let group = DesiredCertificate { grouped: true, ..of_two() };
    let rest = Some(names(&["a.example.com"]));
    assert_eq!(failing.obtainable_by_others(&group, now()), rest);
    let last = now() + limits::GROUP_MEMORY - SECOND;
    assert_eq!(failing.obtainable_by_others(&group, last), rest);
    assert_eq!(failing.obtainable_by_others(&group, now() + limits::GROUP_MEMORY), None);
    assert_eq!(failing.obtainable_by_others(&of_two(), now()), None, "it is no group");
    let all = Failing { names: group.names.clone().into(), ..failing.clone() };
    assert_eq!(all.obtainable_by_others(&group, now()), None, "none is left");
    let others = Failing { names: names(&["z.example.com"]).into(), ..failing };
    assert_eq!(others.obtainable_by_others(&group, now()), None, "none is left out");
}

#[test]
fn an_edit_is_tried_a_minute_after_the_failure_and_after_ten_edits_at_their_pace() {
    let failing = failing_twice();
    let with = |edits_until: Option<Timestamp>| Failing { edits_until, ..failing.clone() };
    let soon = now() + limits::EDIT_PAUSE;
    assert_eq!(with(None).after_edit(), soon);
    let nine = now() + limits::EDIT_INTERVAL * (limits::EDITS - 1);
    assert_eq!(with(Some(nine)).after_edit(), soon);
    let ten = nine + limits::EDIT_INTERVAL;
    assert_eq!(with(Some(ten)).after_edit(), now() + limits::EDIT_INTERVAL);
}

#[test]
fn only_failures_of_the_first_ca_itself_lead_to_the_fallback_ca() {
    let fallback =
        Fallback { directory: "https://fallback.example", after: 6 * HOUR, is_limited: false };
    let fallback = &[fallback];
    let of_the_ca =
        Failing { class: FailureClass::AcmeServer, down_since: Some(now()), ..failing_twice() };
    assert_eq!(of_the_ca.fallback_from(fallback), Some(now() + 6 * HOUR));
    assert_eq!(of_the_ca.fallback_from(&[]), None);
    let at_fallback = Failing { at_fallback: true, ..of_the_ca.clone() };
    assert_eq!(at_fallback.fallback_from(fallback), None);
    let of_a_host = Failing { class: FailureClass::Unreachable, ..of_the_ca };
    assert_eq!(of_a_host.fallback_from(fallback), None);
}

#[test]
fn counted_edits_are_remembered_until_their_time_is_over() {
    let known = |edits_until: Timestamp| {
        let failing = Failing { edits_until: Some(edits_until), ..failing_twice() };
        let command = refused(&of_two(), FailureClass::Authorization, &["b.example.com"]);
        after(&State::Failing(failing), command, now()).edits_until
    };
    assert_eq!(known(now() + SECOND), Some(now() + SECOND));
    assert_eq!(known(now()), None);
    assert_eq!(known(now() - SECOND), None);
}

#[test]
fn an_edit_after_the_pause_is_an_ordinary_retry() {
    let edited = DesiredCertificate { edition: Edition(1), ..of_two() };
    let attempts = |at: Timestamp| {
        let failing = State::Failing(failing_twice());
        let command = refused(&edited, FailureClass::Authorization, &["b.example.com"]);
        after(&failing, command, at).attempts
    };
    assert_eq!(attempts(now() + DAY - SECOND), 1, "the edit ended the pause");
    assert_eq!(attempts(now() + DAY), 3, "the pause was over");
}

#[test]
fn before_an_issuance_the_names_say_whether_a_subset_failed() {
    let state = State::Failing(failing_twice());
    let of_subset = |state: &State, hosts: &[&str]| {
        let command = refused(&of_two(), FailureClass::Unreachable, hosts);
        after(state, command, now()).subset_retry_at.is_some()
    };
    assert!(of_subset(&state, &["a.example.com"]), "the subset is without b");
    assert!(!of_subset(&state, &["a.example.com", "b.example.com"]));
    assert!(!of_subset(&state, &[]), "nobody is named");
    let of_all = Failing { names: BTreeSet::new().into(), ..failing_twice() };
    assert!(!of_subset(&State::Failing(of_all), &["a.example.com"]), "nobody was named before");
}

#[test]
fn a_failed_subset_adds_its_names_and_leaves_the_retry_of_all_as_it_is() {
    let state = State::Failing(failing_twice());
    let command = refused(&of_two(), FailureClass::Authorization, &["a.example.com"]);
    let failing = after(&state, command, now());
    assert_eq!(*failing.names, of_two().names);
    assert_eq!((failing.attempts, failing.subset_attempts), (2, 1));
    assert_eq!(failing.retry_at, now() + DAY);
    let pause = failing.subset_retry_at.unwrap().since(now());
    assert!(pause >= limits::BACKOFF[0] && pause < limits::BACKOFF[1], "{pause:?}");
}

#[test]
fn a_failure_is_one_of_the_fallback_ca_if_that_ca_was_asked() {
    let issuance = |directory: Option<&str>| {
        let key = PrivateKey::from_pem("key".to_owned());
        let directory = directory.map(str::to_owned);
        given([Command::Begin(Box::new(NewIssuance { directory, ..NewIssuance::of(shop(), key) }))])
    };
    let at_fallback =
        |state: &State, class: FailureClass| after(state, fail(&shop(), class), now()).at_fallback;
    let fallback = issuance(Some("https://fallback.example"));
    assert!(at_fallback(&fallback, FailureClass::AcmeServer));
    assert!(!at_fallback(&fallback, FailureClass::Unreachable), "no CA was asked");
    assert!(!at_fallback(&issuance(None), FailureClass::AcmeServer));
}

#[test]
fn a_certificate_for_all_names_ends_the_failures_and_one_for_a_subset_does_not() {
    let installed = || Command::Installed { serial: "01".to_owned(), not_after: now() + 90 * DAY };
    let failed = refused(&of_two(), FailureClass::Authorization, &["b.example.com"]);
    let all = given([failed.clone(), begin(&of_two()), opened(), installed()]);
    assert_eq!(all, State::Idle);
    let subset = begin_subset(of_two(), &["a.example.com"]);
    let subset = given([failed, subset, opened(), installed()]);
    assert!(matches!(subset, State::Failing(_)), "{subset:?}");
}

#[test]
fn an_issuance_remembers_failures_of_its_own_names_or_of_those_that_it_leaves_out() {
    let failed = || refused(&of_two(), FailureClass::Authorization, &["b.example.com"]);
    let same = given([failed(), begin(&of_two())]);
    assert_eq!(failing(&same).fingerprint, of_two().fingerprint());
    let grown = desired("shop", &["a.example.com", "b.example.com", "c.example.com"]);
    assert_eq!(given([failed(), begin(&grown)]).failing(), None, "an edit begins anew");
    let subset = begin_subset(grown.clone(), &["a.example.com", "c.example.com"]);
    let subset = given([failed(), subset]);
    assert_eq!(failing(&subset).fingerprint, grown.fingerprint());
    assert_eq!(*failing(&subset).names, names(&["b.example.com"]));
}

#[test]
fn a_journaled_text_of_the_longest_length_is_read_as_it_was_written() {
    let detail = format!("\n{}", "x".repeat(limits::DETAIL_MAX - 1));
    let Event::IssuanceFailed(failed) =
        decide(&State::Idle, fail(&shop(), FailureClass::Policy), now()).unwrap()
    else {
        unreachable!("it has failed")
    };
    let bound = |detail: &str| {
        let mut event =
            Event::IssuanceFailed(IssuanceFailed { detail: detail.into(), ..failed.clone() });
        event.bound();
        let Event::IssuanceFailed(failed) = event else { unreachable!("it has failed") };
        failed.detail
    };
    assert_eq!(&*bound(&detail), &*detail);
    assert!(bound(&format!("{detail}x")).ends_with("bytes)"));
}
