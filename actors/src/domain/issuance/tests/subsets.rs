//! Certificates for a subset of the names, while the other names fail.

use super::*;
use crate::domain::ingress::IngressRef;

const HOUR: Duration = Duration::from_hours(1);
const SECOND: Duration = Duration::from_secs(1);

fn of_two() -> DesiredCertificate {
    DesiredCertificate { partial: true, ..desired("shop", &["a.example.com", "b.example.com"]) }
}

fn group() -> DesiredCertificate {
    DesiredCertificate { grouped: true, ..of_two() }
}

/// `b.example.com` of `desired` has failed since `since`; all names are tried again in an hour.
fn without_b(desired: &DesiredCertificate, since: Timestamp) -> State {
    let failure = Failure::new(FailureClass::Authorization, "no").about(names(&["b.example.com"]));
    let failed = given([Command::Fail(desired.attempted(), failure)]);
    let retry_at = now() + HOUR;
    State::Failing(Failing { attempts: 2, since, retry_at, ..failing(&failed).clone() })
}

fn of_a_while() -> Timestamp {
    now() - limits::PARTIAL_AFTER
}

/// Observations with the routes of both hosts, of which `a.example.com` is reached.
fn observed(found: Option<SecretView>) -> Observed {
    Observed { routes: Some(of_two().routes), ..reached(seen_secret(found)) }
}

/// A certificate of ours for `hosts`, with this many of its 90 days left.
fn of_hosts(hosts: &[&str], days: u32) -> SecretView {
    secret(hosts, now() - (90 - days) * DAY, 90 * DAY)
}

fn retry() -> Step {
    Step::Done(Requeue::At(now() + HOUR))
}

/// Whether the step begins an issuance for `a.example.com` alone.
fn begins_a(step: &Step) -> bool {
    matches!(step, Step::Begin { names, directory: None, .. } if *names == shop().names)
}

#[test]
fn the_names_that_did_not_fail_get_a_certificate_meanwhile() {
    let failing = without_b(&of_two(), of_a_while());
    let step = |observed: &Observed| look(&failing, Some(&of_two()), observed);
    let begin = Step::Begin { reason: IssueReason::Missing, names: shop().names, directory: None };
    assert_eq!(step(&observed(None)), begin);
    assert_eq!(step(&Observed::default()), Step::ReadSecret);
    let early = without_b(&of_two(), of_a_while() + SECOND);
    let first = Step::Done(Requeue::At(now() + SECOND));
    assert_eq!(look(&early, Some(&of_two()), &observed(None)), first);
}

#[test]
fn a_certificate_for_the_subset_is_completed_and_then_all_names_wait_for_their_retry() {
    let failing = without_b(&of_two(), of_a_while());
    let installed = observed(Some(of_hosts(&["a.example.com"], 89)));
    assert_eq!(look(&failing, Some(&of_two()), &installed), retry());
    let key = of_two().owners.first().unwrap().key.clone();
    let owners = [IngressRef { key, uid: "other".into() }].into();
    let shared = DesiredCertificate { owners, ..of_two() };
    assert_eq!(look(&failing, Some(&shared), &installed), Step::UpdateOwners);
}

#[test]
fn a_subset_that_this_job_has_installed_is_not_ordered_again() {
    let failing = without_b(&of_two(), of_a_while());
    let mut observed = observed(None);
    observed.installed = Some(of_two().fingerprint());
    assert_eq!(look(&failing, Some(&of_two()), &observed), retry());
}

#[test]
fn a_certificate_with_the_failing_name_is_kept_while_plenty_of_its_life_is_left() {
    let failing = without_b(&of_two(), of_a_while());
    let step = |found: SecretView| look(&failing, Some(&of_two()), &observed(Some(found)));
    let both = ["a.example.com", "b.example.com"];
    assert_eq!(step(of_hosts(&both, 30)), retry());
    assert!(begins_a(&step(of_hosts(&both, 8))), "less than a tenth is left");
    assert!(begins_a(&step(of_hosts(&["a.example.com", "z.example.com"], 30))), "nothing is lost");
    let mut other_key = of_hosts(&both, 30);
    other_key.certificate.as_mut().unwrap().key_matches = false;
    assert!(begins_a(&step(other_key)), "it does not serve");
}

#[test]
fn a_group_gives_up_the_name_of_a_failing_host_after_a_day_and_others_do_not() {
    let found = || of_hosts(&["a.example.com", "b.example.com"], 30);
    let step = |desired: &DesiredCertificate, since: Timestamp| {
        look(&without_b(desired, since), Some(desired), &observed(Some(found())))
    };
    let day = now() - limits::GROUP_PATIENCE;
    assert!(begins_a(&step(&group(), day)));
    assert_eq!(step(&group(), day + SECOND), retry());
    assert_eq!(step(&of_two(), day), retry());
}

#[test]
fn a_new_member_of_a_group_does_not_wait_for_failures_that_are_known() {
    let failing = without_b(&desired("shop", &["b.example.com"]), now());
    assert!(begins_a(&look(&failing, Some(&group()), &observed(None))));
    let edited = look(&failing, Some(&of_two()), &observed(None));
    assert_eq!(edited, Step::Probe(of_two().names), "what is no group tries all of them");
}
