//! Outlooks of Secrets that the operator has not worked on.

use super::*;

fn told(desired: &DesiredCertificate, found: Option<SecretView>) -> Outlook {
    outlook(desired, found, (DIRECTORY, true), "ingress-acme", now())
}

/// A Secret of ours for the host of [`shop`], issued by the CA in use at `from` for 90 days.
fn ours(from: Timestamp) -> SecretView {
    let directory = Some(DIRECTORY.to_owned());
    SecretView { directory, ..secret(&["a.example.com"], from, 90 * DAY) }
}

fn reason(outlook: Outlook) -> (IssueReason, bool) {
    let Outlook::Ordered { reason, replaces } = outlook else { panic!("{outlook:?}") };
    (reason, replaces)
}

#[test]
fn a_secret_that_is_not_there_costs_an_order_and_a_good_one_none() {
    assert_eq!(reason(told(&shop(), None)), (IssueReason::Missing, false));
    assert_eq!(told(&shop(), Some(ours(now()))), Outlook::Kept);
}

#[test]
fn a_renewal_replaces_a_certificate_of_the_same_ca_with_a_name_in_common() {
    let old = now() - 80 * DAY;
    let (why, replaces) = reason(told(&shop(), Some(ours(old))));
    assert!(matches!(why, IssueReason::DueForRenewal(_)) && replaces);
    let more = desired("shop", &["a.example.com", "b.example.com"]);
    assert_eq!(reason(told(&more, Some(ours(now())))), (IssueReason::NamesDiffer, true));
    let others = desired("shop", &["b.example.com"]);
    assert_eq!(reason(told(&others, Some(ours(now())))), (IssueReason::NamesDiffer, false));
    let staging = Some("https://staging.example/directory".to_owned());
    let staging = SecretView { directory: staging, ..ours(now()) };
    let (why, replaces) = reason(told(&shop(), Some(staging)));
    assert!(matches!(why, IssueReason::OtherDirectory(_)) && !replaces);
    let certificate = ours(old).certificate.map(|one| CertificateView { id: None, ..one });
    assert!(!reason(told(&shop(), Some(SecretView { certificate, ..ours(old) }))).1);
}

#[test]
fn a_secret_of_somebody_else_is_left_alone_and_told_where_it_does_not_serve() {
    let theirs = SecretView { ours: false, ..ours(now()) };
    assert_eq!(told(&shop(), Some(theirs.clone())), Outlook::Kept);
    let more = desired("shop", &["a.example.com", "b.example.com"]);
    let Outlook::Refused(why) = told(&more, Some(theirs.clone())) else { panic!("refused") };
    assert_eq!(why.class, FailureClass::Conflict);
    let handed_over = DesiredCertificate { adopt: true, ..more };
    assert_eq!(reason(told(&handed_over, Some(theirs))).0, IssueReason::NamesDiffer);
}

#[test]
fn what_no_ca_takes_and_what_is_only_renewed_costs_no_order() {
    let hosts: Vec<String> = (0..101).map(|n| format!("h{n}.example.com")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let Outlook::Refused(why) = told(&desired("shop", &hosts), None) else { panic!("refused") };
    assert_eq!(why.class, FailureClass::InvalidSpec);
    let only_renewed = DesiredCertificate { renew_only: true, ..shop() };
    assert_eq!(told(&only_renewed, None), Outlook::Kept);
    assert!(reason(told(&only_renewed, Some(ours(now() - 80 * DAY)))).1);
    let undecided = DesiredCertificate { undecided: names(&["b.example.com"]), ..shop() };
    assert_eq!(told(&undecided, None), Outlook::Undecided);
}
