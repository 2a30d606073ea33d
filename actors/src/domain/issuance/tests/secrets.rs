//! The Secret before an order: whose it is, how long ago it was read, and what completes a good
//! one.

use super::*;
use crate::domain::desired::desired_certificate::{Route, WantedRoute};
use crate::domain::ingress::{IngressClass, IngressRef};
use crate::domain::solver_place::SolverPlace;

const SECOND: Duration = Duration::from_secs(1);

/// The certificate of this many hosts.
fn of_hosts(count: usize, profile: Option<&str>) -> DesiredCertificate {
    let hosts: Vec<String> = (0..count).map(|n| format!("h{n}.example.com")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    DesiredCertificate { profile: profile.map(str::to_owned), ..desired("shop", &hosts) }
}

fn idle(desired: &DesiredCertificate, observed: &Observed) -> Step {
    look(&State::Idle, Some(desired), observed)
}

/// A good certificate of ours.
fn good() -> SecretView {
    secret(&["a.example.com"], now(), 90 * DAY)
}

fn conflict(step: Step) -> String {
    let Step::Fail(failure) = step else { panic!("{step:?}") };
    assert_eq!(failure.class, FailureClass::Conflict);
    failure.detail
}

#[test]
fn as_many_names_as_the_ca_takes_are_asked_for_and_one_more_is_refused_with_the_numbers() {
    let step = |count, profile| idle(&of_hosts(count, profile), &Observed::default());
    assert_eq!(step(limits::MAX_NAMES, None), Step::ReadSecret);
    assert_eq!(step(limits::MAX_NAMES_SHORT, Some("shortlived")), Step::ReadSecret);
    let text = |count, profile| {
        let step = step(count, profile);
        let Step::Fail(failure) = step else { panic!("{step:?}") };
        failure.detail
    };
    let few = text(26, Some("shortlived"));
    assert!(few.contains("a certificate for 26 names") && few.contains("accepts 25"), "{few}");
    assert!(text(100, Some("tlsserver")).contains("a certificate for 100 names"));
    assert!(text(101, None).contains("a certificate for more than 100 names"));
}

#[test]
fn a_secret_counts_for_ten_seconds_after_its_read() {
    let step = |age: Duration| {
        idle(&shop(), &Observed { secret: Some((None, now() - age)), ..Observed::default() })
    };
    assert_eq!(step(limits::SECRET_FRESH), Step::PublishRoutes);
    assert_eq!(step(limits::SECRET_FRESH + SECOND), Step::ReadSecret);
}

#[test]
fn a_secret_that_is_not_ours_is_a_conflict_that_says_why_and_what_to_do() {
    let text = |change: fn(&mut SecretView)| {
        let mut found = secret(&["z.example.com"], now(), 90 * DAY);
        change(&mut found);
        conflict(idle(&shop(), &seen_secret(Some(found))))
    };
    assert!(text(|found| found.immutable = true).contains("web/shop is immutable (delete it"));
    assert!(text(|found| found.is_tls = false).contains("is not of type kubernetes.io/tls"));
    let foreign = text(|found| found.ours = false);
    assert!(foreign.contains("was not made by ingress-acme (annotate the Ingress"), "{foreign}");
    let other = text(|found| found.other_install = Some("blue".to_owned()));
    let command =
        "kubectl -n web annotate secret shop --overwrite ingress-acme.dev/install=ingress-acme";
    assert!(
        other.contains("the ingress-acme install `blue`") && other.contains(command),
        "{other}"
    );
}

#[test]
fn a_secret_of_another_that_serves_is_left_alone_without_a_word() {
    let foreign = || SecretView { ours: false, ..good() };
    let done = Step::Done(Requeue::AwaitChange);
    assert_eq!(idle(&shop(), &seen_secret(Some(foreign()))), done);
    let started = given([begin(&shop())]);
    let step = look(&started, Some(&shop()), &seen_secret(Some(foreign())));
    assert_eq!(step, Step::Abandon("the Secret holds a valid certificate that is not ours"));
    let adopting = DesiredCertificate { adopt: true, ..shop() };
    let useless = SecretView { ours: false, ..secret(&["z.example.com"], now(), 90 * DAY) };
    assert_eq!(idle(&adopting, &seen_secret(Some(useless))), Step::PublishRoutes);
}

#[test]
fn an_issued_certificate_is_not_written_into_a_secret_of_another() {
    let ordered = given([begin(&shop()), opened()]);
    let foreign = SecretView { ours: false, ..secret(&["z.example.com"], now(), 90 * DAY) };
    let observed =
        Observed { secret: Some((Some(foreign), now())), ..with_chain(&["a.example.com"]) };
    conflict(look(&ordered, Some(&shop()), &observed));
}

#[test]
fn the_owners_of_a_good_secret_are_set_once_if_they_differ() {
    let done = Step::Done(Requeue::AwaitChange);
    let mut observed = seen_secret(Some(good()));
    assert_eq!(idle(&shop(), &observed), done, "they are the same");
    let key = shop().owners.first().unwrap().key.clone();
    let both = shop().owners.into_iter().chain([IngressRef { key, uid: "other".into() }]);
    let shared = DesiredCertificate { owners: both.collect(), ..shop() };
    assert_eq!(idle(&shared, &observed), Step::UpdateOwners);
    let (stream, limits) = (SecretKey::new("web", "shop"), RateLimits::default());
    let inputs = inputs(&stream, Some(&shared), &observed, &limits);
    assert_eq!(next(&State::Idle, Inputs { owner_references: false, ..inputs }), done);
    observed.owned = true;
    assert_eq!(idle(&shared, &observed), done);
}

#[test]
fn spec_tls_is_filled_in_once_the_certificate_is_there_and_more_of_them_a_little_later() {
    let owner = shop().owners.first().unwrap().clone();
    let fill = BTreeMap::from([(owner, shop().names)]);
    let filling = DesiredCertificate { fill, ..shop() };
    let mut observed = seen_secret(Some(good()));
    assert_eq!(idle(&filling, &observed), Step::FillTls);
    observed.filled = true;
    assert_eq!(idle(&filling, &observed), Step::Done(Requeue::AwaitChange));
    observed.fills_more = true;
    let later = Step::Done(Requeue::At(now() + limits::FILL_PAUSE));
    assert_eq!(idle(&filling, &observed), later);
}

#[test]
fn what_is_only_renewed_gets_no_first_certificate() {
    let only = DesiredCertificate { renew_only: true, ..shop() };
    assert_eq!(idle(&only, &seen_secret(None)), Step::Done(Requeue::AwaitChange));
    let foreign = SecretView { ours: false, ..secret(&["z.example.com"], now(), 90 * DAY) };
    let step = idle(&only, &seen_secret(Some(foreign)));
    assert_eq!(step, Step::Done(Requeue::AwaitChange), "and nothing is told");
    let failed = given([fail(&only, FailureClass::Authorization)]);
    let State::Failing(failing) = failed else { unreachable!("it has failed") };
    let due = State::Failing(Failing { retry_at: now(), ..failing });
    let step = look(&due, Some(&only), &seen_secret(None));
    assert_eq!(step, Step::Abandon("no new certificate is issued for it"));
    let old = secret(&["a.example.com"], now() - 70 * DAY, 90 * DAY);
    assert_eq!(idle(&only, &seen_secret(Some(old))), Step::PublishRoutes, "it is renewed");
}

#[test]
fn routes_of_other_classes_are_published_again() {
    let class = IngressClass::Default;
    let host = DnsName::parse("b.example.com").unwrap();
    let route = Route { class, rule: host.clone().into(), place: SolverPlace::Shared };
    let other = WantedRoute { host, route, newest: Timestamp::default() };
    let mut observed = reached(seen_secret(None));
    observed.routes = Some([other].into());
    assert_eq!(idle(&shop(), &observed), Step::PublishRoutes);
}
