//! Reasons for a new certificate at their boundaries: the second at which each begins and ends.

use super::tests::secret;
use super::*;
use crate::domain::desired::desired_certificate::tests::desired;
use crate::domain::name::DnsName;

const DIRECTORY: &str = "https://ca.example/directory";
const DAY: Duration = Duration::from_hours(24);
const SECOND: Duration = Duration::from_secs(1);

fn now() -> Timestamp {
    Timestamp::from_secs(1_795_478_400)
}

fn assessment() -> Assessment<'static> {
    let (ari, installed, reissues) = (AriStatus::None, None, true);
    Assessment { directory: DIRECTORY, ari, installed, reissues, now: now() }
}

fn wanted() -> DesiredCertificate {
    desired("shop", &["a.example.com"])
}

fn found(from: Timestamp) -> SecretView {
    secret(&["a.example.com"], from, 90 * DAY)
}

#[test]
fn a_renewal_that_the_ca_explains_has_a_page_and_a_first_certificate_replaces_none() {
    let suggested = |explanation: Option<&str>| IssueReason::Suggested {
        at: now(),
        explanation: explanation.map(str::to_owned),
    };
    assert!(suggested(Some("https://ca.example/why")).is_explained());
    assert!(!suggested(None).is_explained() && !IssueReason::Requested.is_explained());
    assert!(IssueReason::Missing.is_first());
    assert!(IssueReason::Unparsable("no PEM".to_owned()).is_first());
    assert!(!IssueReason::NamesDiffer.is_first() && !suggested(None).is_first());
}

#[test]
fn little_is_left_in_the_last_tenth_of_a_life_and_nothing_a_twentieth_after_its_end() {
    let found = found(now());
    let remaining = |before_end: Duration| {
        Remaining::of(found.certificate.as_ref().unwrap(), now() + 90 * DAY - before_end)
    };
    let (tenth, twentieth) = (9 * DAY, 9 * DAY / 2);
    assert_eq!(remaining(tenth), Remaining::Plenty);
    assert_eq!(remaining(tenth.saturating_sub(SECOND)), Remaining::Low);
    assert_eq!(remaining(twentieth), Remaining::Low);
    assert_eq!(remaining(twentieth.saturating_sub(SECOND)), Remaining::Critical);
    let expired = |after: Duration| {
        Remaining::of(found.certificate.as_ref().unwrap(), now() + 90 * DAY + after)
    };
    assert_eq!(expired(twentieth.saturating_sub(SECOND)), Remaining::Critical);
    assert_eq!(expired(twentieth), Remaining::Expired);
}

#[test]
fn no_certificate_is_replaced_for_its_age_within_twelve_hours_of_an_installation() {
    let checked = |after: Duration| {
        let installed = Some(Installed::new(now(), "another"));
        let assessment = Assessment { installed, now: now() + after, ..assessment() };
        check(Some(&found(now() - 61 * DAY)), &wanted(), &assessment)
    };
    assert_eq!(checked(limits::JUST_INSTALLED.saturating_sub(SECOND)), Ok(()));
    assert!(matches!(checked(limits::JUST_INSTALLED), Err(IssueReason::DueForRenewal(_))));
}

#[test]
fn a_certificate_of_the_fallback_ca_is_in_use_while_either_ca_is() {
    let checked = |directory: &str, instead_of: Option<&str>| {
        let found = SecretView {
            directory: Some(directory.to_owned()),
            instead_of: instead_of.map(str::to_owned),
            ..found(now())
        };
        check(Some(&found), &wanted(), &assessment())
    };
    let fallback = "https://fallback.example";
    assert_eq!(checked(fallback, Some(DIRECTORY)), Ok(()));
    assert_eq!(checked(DIRECTORY, Some("https://former.example")), Ok(()), "it came from this CA");
    let other = Err(IssueReason::OtherDirectory(fallback.to_owned()));
    assert_eq!(checked(fallback, Some("https://former.example")), other);
    assert_eq!(checked(fallback, None), other);
}

#[test]
fn a_certificate_is_valid_five_minutes_before_its_time_because_clocks_differ() {
    let checked = |after: Duration| check(Some(&found(now() + after)), &wanted(), &assessment());
    assert_eq!(checked(limits::CLOCK_SKEW), Ok(()));
    let at = now() + limits::CLOCK_SKEW + SECOND;
    assert_eq!(checked(at.since(now())), Err(IssueReason::NotYetValid(at)));
    let refused = ["db.internal"].map(|host| DnsName::parse(host).unwrap()).into();
    let wanted = DesiredCertificate { refused, ..wanted() };
    let with_internal_name = |after: Duration| {
        let found = secret(&["a.example.com", "db.internal"], now() + after, 90 * DAY);
        check(Some(&found), &wanted, &assessment())
    };
    assert_eq!(with_internal_name(limits::CLOCK_SKEW), Ok(()));
    assert!(with_internal_name(limits::CLOCK_SKEW + SECOND).is_err());
}

#[test]
fn a_certificate_serves_until_its_last_second() {
    let serves =
        |before_end: Duration| serves(&found(now() - 90 * DAY + before_end), &wanted(), now());
    assert!(serves(SECOND) && !serves(Duration::ZERO));
}
