//! Checks whether a Secret holds the desired certificate. Reasons are ordered; the first one wins.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::domain::certificate::{CertificateView, SecretView};
use crate::domain::cut::cut;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::hash::stable_hash;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::time::Timestamp;
use crate::domain::validity::renew_requests::are_answered;
use crate::domain::validity::renewal::{AriStatus, RenewalWindow, renewal};

/// Reason for a new certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IssueReason {
    /// The Secret does not exist.
    Missing,
    /// The certificate or key cannot be read.
    Unparsable(String),
    /// The key does not belong to the certificate.
    KeyMismatch,
    /// The names differ from the desired ones.
    NamesDiffer,
    /// The certificate expired at this time.
    Expired(Timestamp),
    /// The validity period starts at this time, more than [`limits::CLOCK_SKEW`] from now.
    NotYetValid(Timestamp),
    /// The renewal time by age has come.
    DueForRenewal(Timestamp),
    /// The renewal time suggested by the CA has come.
    Suggested {
        /// Renewal time.
        at: Timestamp,
        /// URL of the CA's explanation.
        explanation: Option<String>,
    },
    /// Another ACME directory than the one in use issued the certificate; the field is its URL, cut
    /// for display.
    OtherDirectory(String),
    /// The annotation `ingress-acme.dev/renew` has a new value.
    Requested,
    /// The Secret is handed over, and browsers do not trust its certificate.
    Untrusted,
}

impl fmt::Display for IssueReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(f, "there is no Secret yet"),
            Self::Unparsable(why) => write!(f, "the Secret's certificate cannot be read: {why}"),
            Self::KeyMismatch => write!(f, "the Secret's key does not match its certificate"),
            Self::NamesDiffer => write!(f, "the certificate has other names than the Ingress"),
            Self::Expired(at) => write!(f, "the certificate expired at {at}"),
            Self::NotYetValid(at) => write!(f, "the certificate is not valid before {at}"),
            Self::DueForRenewal(at) => {
                write!(f, "the certificate has been due for renewal since {at}")
            }
            Self::Suggested { at, explanation } => {
                write!(f, "the certificate is due for renewal at {at} (renewal window of its CA)")?;
                explanation
                    .as_ref()
                    .map_or(Ok(()), |url| write!(f, "; the CA explains why at {url}"))
            }
            Self::OtherDirectory(url) => {
                write!(f, "the certificate was issued by another ACME directory, {url}")
            }
            Self::Requested => write!(f, "a new certificate was requested"),
            Self::Untrusted => {
                write!(f, "the Secret is handed over with a certificate that browsers do not trust")
            }
        }
    }
}

impl IssueReason {
    /// Whether the CA explains the renewal, so that users should read the explanation.
    pub(crate) fn is_explained(&self) -> bool {
        matches!(self, Self::Suggested { explanation: Some(_), .. })
    }

    /// Whether the reason depends only on time.
    pub(crate) fn is_of_time(&self) -> bool {
        matches!(self, Self::DueForRenewal(_) | Self::Suggested { .. } | Self::NotYetValid(_))
    }

    /// Whether the Secret has no usable certificate, so that a first certificate is needed rather
    /// than a renewal.
    pub(crate) fn is_first(&self) -> bool {
        matches!(self, Self::Missing | Self::Unparsable(_))
    }
}

/// Share of a certificate's lifetime that is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Remaining {
    /// A tenth or more.
    Plenty,
    /// Less than a tenth: goes before others.
    Low,
    /// Less than a twentieth, or expired for less than that: may bypass backoff and rate limits.
    Critical,
    /// Expired for a twentieth of the lifetime or longer.
    Expired,
}

impl Remaining {
    /// Computes the remaining share at `now`.
    pub(crate) fn of(certificate: &CertificateView, now: Timestamp) -> Self {
        let life = certificate.not_after.since(certificate.not_before);
        match certificate.not_after.since(now) {
            Duration::ZERO if now.since(certificate.not_after) >= life / 20 => Self::Expired,
            remaining if remaining < life / 20 => Self::Critical,
            remaining if remaining < life / 10 => Self::Low,
            _ => Self::Plenty,
        }
    }
}

/// Everything that a Secret is checked with, beside the desired certificate.
#[derive(Clone, Copy, Debug)]
pub struct Assessment<'a> {
    /// Directory URL of the CA that the certificate should have.
    pub directory: &'a str,
    /// Whether a certificate of another CA is replaced before its renewal. A changed annotation
    /// `ingress-acme.dev/ca` has it replaced in any case.
    pub reissues: bool,
    /// ARI status of the certificate in the Secret.
    pub ari: AriStatus<'a>,
    /// The last certificate that this process installed in the Secret.
    pub installed: Option<Installed>,
    /// The time.
    pub now: Timestamp,
}

/// An installation of a certificate by this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Installed {
    /// Time of the installation.
    pub at: Timestamp,
    /// Hash of the serial number.
    serial: u64,
}

impl Installed {
    /// Creates the record of an installation at `at`.
    pub(crate) fn new(at: Timestamp, serial: &str) -> Self {
        Self { at, serial: stable_hash(serial) }
    }

    /// Whether another certificate would not help: the reason depends only on time, and either the
    /// installation was a moment ago, or this very certificate had the reason when it came from the
    /// CA. Then the clock is wrong or the lifetime is odd, and the next certificate is no better.
    /// One with less than a tenth of its life left is renewed all the same.
    fn excuses(self, reason: &IssueReason, found: Option<&SecretView>, now: Timestamp) -> bool {
        let found = found.and_then(|found| found.certificate.as_ref().ok());
        let same = found.filter(|found| stable_hash(&*found.serial) == self.serial);
        let is_old = |found: &CertificateView| Remaining::of(found, now) != Remaining::Plenty;
        let had = same.is_some_and(|found| match reason {
            IssueReason::DueForRenewal(at) => *at <= self.at && !is_old(found),
            IssueReason::NotYetValid(_) => true,
            _ => false,
        });
        reason.is_of_time() && (had || now.since(self.at) < limits::JUST_INSTALLED)
    }
}

/// Checks a Secret against the desired certificate. Ignores reasons that [`Installed`] excuses.
///
/// # Errors
/// The first [`IssueReason`] for a new certificate.
pub fn check(
    secret: Option<&SecretView>,
    desired: &DesiredCertificate,
    assessment: &Assessment<'_>,
) -> Result<(), IssueReason> {
    let (installed, now) = (assessment.installed, assessment.now);
    match first_reason(secret, desired, assessment) {
        Err(reason) if installed.is_some_and(|one| one.excuses(&reason, secret, now)) => {
            // The request is of the user, who has revoked the certificate, for example.
            if is_requested(secret, desired) { Err(IssueReason::Requested) } else { Ok(()) }
        }
        checked => checked,
    }
}

/// Whether a user has requested a certificate since the one of the Secret.
fn is_requested(secret: Option<&SecretView>, desired: &DesiredCertificate) -> bool {
    let answered = secret.and_then(|secret| secret.renew.as_deref());
    !are_answered(desired.renew.as_deref(), answered)
}

fn first_reason(
    secret: Option<&SecretView>,
    desired: &DesiredCertificate,
    Assessment { directory, ari, reissues, now, .. }: &Assessment<'_>,
) -> Result<(), IssueReason> {
    let requested = is_requested(secret, desired);
    let secret = secret.ok_or(IssueReason::Missing)?;
    let certificate =
        secret.certificate.as_ref().map_err(|why| IssueReason::Unparsable(why.clone()))?;
    if secret.ours && !requested && keeps_refused_names(certificate, desired, *now) {
        return Ok(());
    }
    check_certificate(certificate, desired, *now)?;
    if is_handed_over(secret, desired) {
        return Err(IssueReason::Untrusted);
    }
    let renew_at = renewal(certificate, *ari);
    if *now >= renew_at {
        return Err(due(renew_at, *ari));
    }
    let is_asked = !desired.refuses_ca && desired.ca != secret.ca;
    if secret.ours && !is_of(secret, directory) && (*reissues && !desired.refuses_ca || is_asked) {
        let url = secret.directory.as_deref().unwrap_or_default();
        return Err(IssueReason::OtherDirectory(cut(url, limits::QUOTED_MAX)));
    }
    if requested {
        return Err(IssueReason::Requested);
    }
    Ok(())
}

/// Whether the certificate of a Secret is one of this CA, or is meant to be, as far as is known.
fn is_of(secret: &SecretView, directory: &str) -> bool {
    secret.meant_for().is_none_or(|url| url == directory)
        || secret.directory.as_deref() == Some(directory)
}

/// The annotation `ingress-acme.dev/ca` that the certificate of a Secret answers: that of its
/// Ingress, where the certificate is of the CA that it names, also one that was edited since. A
/// later difference of the CAs is then a change of the file.
pub(crate) fn answered_ca<'a>(
    secret: &'a SecretView,
    desired: &'a DesiredCertificate,
    directory: &str,
) -> Option<&'a str> {
    let is_answered = !desired.refuses_ca && is_of(secret, directory);
    if is_answered { desired.ca.as_deref() } else { secret.ca.as_deref() }
}

/// Whether a Secret that is not ours is replaced though its certificate serves, because browsers do
/// not trust it and the user says so.
pub(crate) fn is_handed_over(secret: &SecretView, desired: &DesiredCertificate) -> bool {
    !secret.ours && secret.untrusted && desired.adopts_at_once
}

/// Whether `certificate` serves all desired names and also some that the CA in use never certifies:
/// another CA issued it. It is not replaced while it has plenty of its life left, because nothing
/// could restore it. The same holds for a wildcard that nobody proves any more.
fn keeps_refused_names(
    certificate: &CertificateView,
    desired: &DesiredCertificate,
    now: Timestamp,
) -> bool {
    let is_for = |name: &DnsName| certificate.is_for(name);
    let is_covered = |name: &DnsName| {
        !desired.names.iter().any(DnsName::is_wildcard)
            && name.covering_wildcard().is_some_and(|wildcard| is_for(&wildcard))
    };
    let is_served = |name: &DnsName| is_for(name) || is_covered(name);
    (desired.refused.iter().any(is_for) || desired.names.iter().any(is_covered))
        && desired.names.iter().all(is_served)
        && certificate.key_matches
        && now + limits::CLOCK_SKEW >= certificate.not_before
        && Remaining::of(certificate, now) == Remaining::Plenty
}

fn due(at: Timestamp, ari: AriStatus<'_>) -> IssueReason {
    match ari {
        AriStatus::Window(RenewalWindow { explanation, .. }) => {
            IssueReason::Suggested { at, explanation: explanation.clone() }
        }
        AriStatus::None | AriStatus::Unasked => IssueReason::DueForRenewal(at),
    }
}

/// Whether the certificate of `secret` covers all desired names, also by wildcards, matches its key
/// and has not expired. Nothing more is required of a Secret that is not ours to write.
pub fn serves(secret: &SecretView, desired: &DesiredCertificate, now: Timestamp) -> bool {
    secret.certificate.as_ref().is_ok_and(|certificate| {
        let covered = |name: &str| {
            let wildcard = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
            certificate.names.contains(name)
                || wildcard.is_some_and(|wildcard| certificate.names.contains(&wildcard))
        };
        let all = desired.names.iter().all(|name| covered(name.as_str()));
        all && certificate.key_matches && now < certificate.not_after
    })
}

/// Checks key, names and validity period: the part of [`check`] that also applies to a new chain
/// before its installation.
///
/// # Errors
/// The first [`IssueReason`] against the certificate.
pub(crate) fn check_certificate(
    certificate: &CertificateView,
    desired: &DesiredCertificate,
    now: Timestamp,
) -> Result<(), IssueReason> {
    if !certificate.key_matches {
        return Err(IssueReason::KeyMismatch);
    }
    if !same_names(&certificate.names, desired) {
        return Err(IssueReason::NamesDiffer);
    }
    if now >= certificate.not_after {
        return Err(IssueReason::Expired(certificate.not_after));
    }
    if now + limits::CLOCK_SKEW < certificate.not_before {
        return Err(IssueReason::NotYetValid(certificate.not_before));
    }
    Ok(())
}

fn same_names(names: &BTreeSet<String>, desired: &DesiredCertificate) -> bool {
    (desired.keeps_surplus || names.len() == desired.names.len())
        && desired.names.iter().all(|name| names.contains(name.as_str()))
}

#[cfg(test)]
mod boundary_tests;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::certificate::CertId;
    use crate::domain::desired::desired_certificate::tests::desired;
    use crate::domain::name::DnsName;

    const DIRECTORY: &str = "https://ca.example/directory";
    const DAY: Duration = Duration::from_hours(24);

    fn now() -> Timestamp {
        Timestamp::from_secs(1_795_478_400)
    }

    fn assessment() -> Assessment<'static> {
        let (ari, installed, reissues) = (AriStatus::None, None, true);
        Assessment { directory: DIRECTORY, ari, installed, reissues, now: now() }
    }

    /// A good Secret of ours for `hosts`, issued at `from` for `life`.
    pub(crate) fn secret(hosts: &[&str], from: Timestamp, life: Duration) -> SecretView {
        SecretView {
            ours: true,
            other_install: None,
            other_issuer: None,
            untrusted: false,
            is_tls: true,
            immutable: false,
            certificate: Ok(CertificateView {
                names: hosts.iter().map(|host| (*host).to_owned()).collect(),
                not_before: from,
                not_after: from + life,
                id: Some(CertId::new("aki.01")),
                serial: "01".into(),
                issuer: "Test CA".into(),
                key_matches: true,
            }),
            owners: ["uid".to_owned()].into(),
            renew: None,
            directory: Some(DIRECTORY.into()),
            instead_of: None,
            ca: None,
            account: None,
            copied: None,
        }
    }

    fn changed(change: impl FnOnce(&mut CertificateView)) -> SecretView {
        let mut secret = secret(&["a.example.com"], now(), 90 * DAY);
        change(secret.certificate.as_mut().unwrap());
        secret
    }

    #[test]
    fn a_certificate_that_browsers_do_not_trust_is_replaced_at_once_where_the_user_says_so() {
        let good = secret(&["a.example.com"], now(), 90 * DAY);
        let theirs = SecretView { ours: false, untrusted: true, ..good.clone() };
        assert_eq!(checked(&theirs), Ok(()));
        let consent = DesiredCertificate { adopt: true, ..desired("shop", &["a.example.com"]) };
        assert_eq!(check(Some(&theirs), &consent, &assessment()), Ok(()), "it serves");
        let adopting = DesiredCertificate { adopts_at_once: true, ..consent };
        let handed_over = |secret: &SecretView| check(Some(secret), &adopting, &assessment());
        assert_eq!(handed_over(&theirs), Err(IssueReason::Untrusted));
        assert_eq!(handed_over(&SecretView { untrusted: false, ..theirs.clone() }), Ok(()));
        assert_eq!(handed_over(&SecretView { ours: true, ..theirs }), Ok(()));
    }

    fn checked(secret: &SecretView) -> Result<(), IssueReason> {
        check(Some(secret), &desired("shop", &["a.example.com"]), &assessment())
    }

    #[test]
    fn a_good_certificate_has_no_reason_against_it() {
        assert_eq!(checked(&changed(|_| {})), Ok(()));
    }

    #[test]
    fn each_reason_is_found() {
        let desired = desired("shop", &["a.example.com"]);
        assert_eq!(check(None, &desired, &assessment()), Err(IssueReason::Missing));
        let unparsable = SecretView { certificate: Err("no PEM".into()), ..changed(|_| {}) };
        assert_eq!(checked(&unparsable), Err(IssueReason::Unparsable("no PEM".into())));
        assert_eq!(checked(&changed(|c| c.key_matches = false)), Err(IssueReason::KeyMismatch));
        assert_eq!(
            checked(&changed(|c| _ = c.names.insert("b.example.com".into()))),
            Err(IssueReason::NamesDiffer)
        );
        assert_eq!(checked(&changed(|c| c.not_after = now())), Err(IssueReason::Expired(now())));
        let tomorrow = now() + DAY;
        assert_eq!(
            checked(&changed(|c| c.not_before = tomorrow)),
            Err(IssueReason::NotYetValid(tomorrow))
        );
        assert!(matches!(checked(&changed(|c| c.not_before = now() - 89 * DAY)), Ok(())));
        let old = secret(&["a.example.com"], now() - 61 * DAY, 90 * DAY);
        assert!(matches!(checked(&old), Err(IssueReason::DueForRenewal(_))));
        let staging = SecretView { directory: Some("https://staging".into()), ..changed(|_| {}) };
        assert_eq!(checked(&staging), Err(IssueReason::OtherDirectory("https://staging".into())));
        let requested = DesiredCertificate { renew: Some("now".into()), ..desired };
        assert_eq!(
            check(Some(&changed(|_| {})), &requested, &assessment()),
            Err(IssueReason::Requested)
        );
    }

    #[test]
    fn a_certificate_that_was_due_or_not_yet_valid_when_it_came_is_not_replaced_for_that() {
        let wanted = desired("shop", &["a.example.com"]);
        let checked = |from: Timestamp, serial: &str, days: u32| {
            let found = secret(&["a.example.com"], from, 90 * DAY);
            let installed = Some(Installed::new(now(), serial));
            let assessment = Assessment { installed, now: now() + days * DAY, ..assessment() };
            check(Some(&found), &wanted, &assessment)
        };
        let behind = now() + 30 * DAY;
        assert_eq!(checked(behind, "01", 20), Ok(()));
        assert_eq!(checked(behind, "02", 20), Err(IssueReason::NotYetValid(behind)), "another one");
        let ahead = now() - 61 * DAY;
        assert_eq!(checked(ahead, "01", 19), Ok(()));
        assert!(matches!(checked(ahead, "02", 19), Err(IssueReason::DueForRenewal(_))));
        assert!(matches!(checked(ahead, "01", 21), Err(IssueReason::DueForRenewal(_))), "a tenth");
        assert!(matches!(checked(now(), "01", 61), Err(IssueReason::DueForRenewal(_))), "in time");
    }

    /// A CA answers the revocation of a certificate with a renewal window in the past.
    #[test]
    fn a_request_counts_also_while_the_dates_of_a_new_certificate_do_not() {
        let wanted = desired("shop", &["a.example.com"]);
        let asked = DesiredCertificate { renew: Some("now".into()), ..wanted.clone() };
        let due = secret(&["a.example.com"], now() - 61 * DAY, 90 * DAY);
        let installed = Some(Installed::new(now(), "01"));
        let checked = |secret: &SecretView, wanted: &DesiredCertificate| {
            check(Some(secret), wanted, &Assessment { installed, ..assessment() })
        };
        assert_eq!(checked(&due, &wanted), Ok(()), "its dates are excused");
        assert_eq!(checked(&due, &asked), Err(IssueReason::Requested));
        let answered = SecretView { renew: Some("now".into()), ..due };
        assert_eq!(checked(&answered, &asked), Ok(()));
    }

    #[test]
    fn what_another_ca_issued_for_an_internal_name_stays_while_it_has_plenty_of_life_left() {
        let refused = ["db.internal"].map(|host| DnsName::parse(host).unwrap()).into();
        let wanted = DesiredCertificate { refused, ..desired("shop", &["a.example.com"]) };
        let of = |hosts: &[&str], age: u32| SecretView {
            directory: Some("https://private".into()),
            ..secret(hosts, now() - age * DAY, 90 * DAY)
        };
        let checked = |secret: &SecretView| check(Some(secret), &wanted, &assessment());
        let both = ["a.example.com", "db.internal"];
        assert_eq!(checked(&of(&both, 1)), Ok(()));
        assert_eq!(checked(&of(&both, 85)), Err(IssueReason::NamesDiffer));
        assert!(checked(&of(&["db.internal"], 1)).is_err());
        assert!(matches!(checked(&of(&["a.example.com"], 1)), Err(IssueReason::OtherDirectory(_))));
        let foreign = SecretView { ours: false, ..of(&both, 1) };
        assert_eq!(checked(&foreign), Err(IssueReason::NamesDiffer));
        let asked = DesiredCertificate { renew: Some("now".into()), ..wanted.clone() };
        assert!(check(Some(&of(&both, 1)), &asked, &assessment()).is_err());
    }

    #[test]
    fn a_foreign_certificate_serves_by_wildcard_too() {
        let desired = desired("shop", &["a.example.com", "b.example.com"]);
        let of = |hosts| secret(hosts, now(), 90 * DAY);
        assert!(serves(&of(&["*.example.com"]), &desired, now()));
        assert!(!serves(&of(&["*.com", "a.example.com"]), &desired, now()));
    }

    #[test]
    fn the_first_reason_wins() {
        let both = changed(|c| {
            c.key_matches = false;
            c.not_after = now();
        });
        assert_eq!(checked(&both), Err(IssueReason::KeyMismatch));
    }

    #[test]
    fn another_ca_replaces_a_certificate_at_its_renewal_unless_the_annotation_or_the_file_says_now()
    {
        let other = SecretView { directory: Some("https://b.example".into()), ..changed(|_| {}) };
        let wanted = desired("shop", &["a.example.com"]);
        let asks = DesiredCertificate { ca: Some("a".to_owned()), ..wanted.clone() };
        let refused = DesiredCertificate { refuses_ca: true, ..asks.clone() };
        let checked = |secret: &SecretView, desired: &DesiredCertificate, reissues| {
            let assessment = Assessment { reissues, ..assessment() };
            check(Some(secret), desired, &assessment).is_err()
        };
        assert!(!checked(&other, &wanted, false) && checked(&other, &wanted, true));
        assert!(checked(&other, &asks, false), "the annotation is new");
        let answered = SecretView { ca: Some("a".to_owned()), ..other.clone() };
        assert!(!checked(&answered, &asks, false), "it is answered");
        assert!(checked(&answered, &wanted, false), "it is gone");
        assert!(!checked(&other, &refused, false) && !checked(&other, &refused, true));
        let same = SecretView { directory: Some(DIRECTORY.to_owned()), ..other };
        assert!(!checked(&same, &asks, true), "it names the CA that there is");
    }
}
