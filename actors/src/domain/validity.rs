//! Is what a Secret holds what its Ingresses need? An ordered list of reasons; the first one wins.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::certificate::{CertificateView, SecretView};
use super::limits;
use super::time::Timestamp;
use super::wish::{Wish, stable_hash};

/// Why a new certificate is needed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// There is no such Secret.
    Missing,
    /// Its certificate or key cannot be read.
    Unparsable(String),
    /// Its key is not that of its certificate.
    KeyMismatch,
    /// The certificate has other names than the Ingresses ask for.
    NamesDiffer,
    /// It is past its end.
    Expired(Timestamp),
    /// It has not begun, beyond what clocks differ by.
    NotYetValid(Timestamp),
    /// Its renewal time has come.
    DueForRenewal(Timestamp),
    /// It was issued by another ACME directory than the one in use.
    OtherDirectory(String),
    /// The annotation `ingress-acme.dev/renew` has a new value.
    Requested,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(f, "there is no Secret yet"),
            Self::Unparsable(why) => write!(f, "the Secret's certificate cannot be read: {why}"),
            Self::KeyMismatch => write!(f, "the Secret's key is not that of its certificate"),
            Self::NamesDiffer => write!(f, "the certificate has other names than the Ingress"),
            Self::Expired(at) => write!(f, "the certificate expired at {at}"),
            Self::NotYetValid(at) => write!(f, "the certificate is not valid before {at}"),
            Self::DueForRenewal(at) => write!(f, "the certificate is due for renewal since {at}"),
            Self::OtherDirectory(url) => write!(f, "the certificate was issued by {url}"),
            Self::Requested => write!(f, "a new certificate was requested"),
        }
    }
}

impl Reason {
    /// It is about dates alone.
    pub fn is_of_time(&self) -> bool {
        matches!(self, Self::DueForRenewal(_) | Self::NotYetValid(_))
    }

    /// The Secret holds nothing that serves: a first certificate rather than a new one.
    pub fn is_first(&self) -> bool {
        matches!(self, Self::Missing | Self::Unparsable(_))
    }
}

/// How much of a certificate's life is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// A tenth or more.
    Enough,
    /// Less than a tenth: it goes before others.
    Little,
    /// Less than a twentieth: nothing of ours holds its renewal up.
    Hardly,
    /// It is over.
    None,
}

impl Left {
    /// Of this certificate.
    pub fn of(certificate: &CertificateView, now: Timestamp) -> Self {
        let life = certificate.not_after.since(certificate.not_before);
        match certificate.not_after.since(now) {
            Duration::ZERO => Self::None,
            left if left < life / 20 => Self::Hardly,
            left if left < life / 10 => Self::Little,
            _ => Self::Enough,
        }
    }
}

/// Judges what was read of the Secret against the wish. `directory` is the ACME directory in use.
pub fn judge(
    secret: Option<&SecretView>,
    wish: &Wish,
    directory: &str,
    now: Timestamp,
) -> Result<(), Reason> {
    let secret = secret.ok_or(Reason::Missing)?;
    let certificate = secret.certificate.as_ref().map_err(|why| Reason::Unparsable(why.clone()))?;
    judge_certificate(certificate, wish, now)?;
    let renew_at = renewal(certificate);
    if now >= renew_at {
        return Err(Reason::DueForRenewal(renew_at));
    }
    if let Some(issued_by) =
        secret.directory.as_ref().filter(|url| secret.ours && *url != directory)
    {
        return Err(Reason::OtherDirectory(issued_by.clone()));
    }
    if !requests(wish.renew.as_ref()).is_subset(&requests(secret.renew.as_ref())) {
        return Err(Reason::Requested);
    }
    Ok(())
}

/// [`judge`], but for a certificate that this process installed at `installed_at`: when that was a moment ago, dates
/// say nothing about it.
pub fn judge_installed(
    secret: Option<&SecretView>,
    wish: &Wish,
    directory: &str,
    installed_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Reason> {
    let recent = installed_at.is_some_and(|at| now.since(at) < limits::JUST_INSTALLED);
    judge(secret, wish, directory, now)
        .or_else(|reason| if recent && reason.is_of_time() { Ok(()) } else { Err(reason) })
}

/// Someone else's certificate covers all names, also by wildcards, and has not expired: all its owner can ask for.
pub fn serves(secret: &SecretView, wish: &Wish, now: Timestamp) -> bool {
    secret.certificate.as_ref().is_ok_and(|certificate| {
        let covered = |name: &str| {
            let wildcard = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
            certificate.names.contains(name)
                || wildcard.is_some_and(|wildcard| certificate.names.contains(&wildcard))
        };
        let all = wish.names.iter().all(|name| covered(name.as_str()));
        all && certificate.key_matches && now < certificate.not_after
    })
}

/// The part of [`judge`] that a chain fresh from the CA must pass as well, before it is installed.
pub fn judge_certificate(
    certificate: &CertificateView,
    wish: &Wish,
    now: Timestamp,
) -> Result<(), Reason> {
    if !certificate.key_matches {
        return Err(Reason::KeyMismatch);
    }
    if !same_names(&certificate.names, wish) {
        return Err(Reason::NamesDiffer);
    }
    if now >= certificate.not_after {
        return Err(Reason::Expired(certificate.not_after));
    }
    if now + limits::CLOCK_SKEW < certificate.not_before {
        return Err(Reason::NotYetValid(certificate.not_before));
    }
    Ok(())
}

/// The renew requests of all sharers, of a wish or answered by a Secret.
fn requests(renew: Option<&String>) -> BTreeSet<&str> {
    renew.into_iter().flat_map(|all| all.split(',')).collect()
}

fn same_names(names: &BTreeSet<String>, wish: &Wish) -> bool {
    names.len() == wish.names.len() && wish.names.iter().all(|name| names.contains(name.as_str()))
}

/// When a certificate is renewed: with a third of its life left (half for short-lived ones), and earlier by up
/// to a tenth of that, spread by serial number so that those issued together are not renewed together.
pub fn renewal(certificate: &CertificateView) -> Timestamp {
    let life = certificate.not_after.since(certificate.not_before);
    let margin = if life < limits::SHORT_LIVED { life / 2 } else { life / 3 };
    let thousandths = u32::try_from(stable_hash(&certificate.serial) % 1000).unwrap_or(0);
    let spread: Duration = margin / 10 * thousandths / 1000;
    certificate.not_after - margin - spread
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::wish::tests::wish;
    use super::*;

    const DIRECTORY: &str = "https://ca.example/directory";
    const DAY: Duration = Duration::from_hours(24);

    fn now() -> Timestamp {
        Timestamp::from_secs(1_795_478_400)
    }

    /// A good Secret of ours for `hosts`, issued at `from` for `life`.
    pub(crate) fn secret(hosts: &[&str], from: Timestamp, life: Duration) -> SecretView {
        SecretView {
            ours: true,
            is_tls: true,
            immutable: false,
            certificate: Ok(CertificateView {
                names: hosts.iter().map(|host| (*host).to_owned()).collect(),
                not_before: from,
                not_after: from + life,
                serial: "01".into(),
                issuer: "Test CA".into(),
                key_matches: true,
            }),
            owners: ["uid".to_owned()].into(),
            renew: None,
            directory: Some(DIRECTORY.into()),
        }
    }

    fn changed(change: impl FnOnce(&mut CertificateView)) -> SecretView {
        let mut secret = secret(&["a.example.com"], now(), 90 * DAY);
        change(secret.certificate.as_mut().unwrap());
        secret
    }

    fn verdict(secret: &SecretView) -> Result<(), Reason> {
        judge(Some(secret), &wish("shop", &["a.example.com"]), DIRECTORY, now())
    }

    #[test]
    fn a_good_certificate_has_no_reason_against_it() {
        assert_eq!(verdict(&changed(|_| {})), Ok(()));
    }

    #[test]
    fn each_reason_is_found() {
        let wish = wish("shop", &["a.example.com"]);
        assert_eq!(judge(None, &wish, DIRECTORY, now()), Err(Reason::Missing));
        let unparsable = SecretView { certificate: Err("no PEM".into()), ..changed(|_| {}) };
        assert_eq!(verdict(&unparsable), Err(Reason::Unparsable("no PEM".into())));
        assert_eq!(verdict(&changed(|c| c.key_matches = false)), Err(Reason::KeyMismatch));
        assert_eq!(
            verdict(&changed(|c| _ = c.names.insert("b.example.com".into()))),
            Err(Reason::NamesDiffer)
        );
        assert_eq!(verdict(&changed(|c| c.not_after = now())), Err(Reason::Expired(now())));
        let tomorrow = now() + DAY;
        assert_eq!(
            verdict(&changed(|c| c.not_before = tomorrow)),
            Err(Reason::NotYetValid(tomorrow))
        );
        assert!(matches!(verdict(&changed(|c| c.not_before = now() - 89 * DAY)), Ok(())));
        let old = secret(&["a.example.com"], now() - 61 * DAY, 90 * DAY);
        assert!(matches!(verdict(&old), Err(Reason::DueForRenewal(_))));
        let staging = SecretView { directory: Some("https://staging".into()), ..changed(|_| {}) };
        assert_eq!(verdict(&staging), Err(Reason::OtherDirectory("https://staging".into())));
        let requested = Wish { renew: Some("now".into()), ..wish };
        assert_eq!(
            judge(Some(&changed(|_| {})), &requested, DIRECTORY, now()),
            Err(Reason::Requested)
        );
    }

    #[test]
    fn a_foreign_certificate_serves_by_wildcard_too() {
        let wish = wish("shop", &["a.example.com", "b.example.com"]);
        let of = |hosts| secret(hosts, now(), 90 * DAY);
        assert!(serves(&of(&["*.example.com"]), &wish, now()));
        assert!(!serves(&of(&["*.com", "a.example.com"]), &wish, now()));
    }

    #[test]
    fn the_first_reason_wins() {
        let both = changed(|c| {
            c.key_matches = false;
            c.not_after = now();
        });
        assert_eq!(verdict(&both), Err(Reason::KeyMismatch));
    }

    #[test]
    fn renewal_comes_with_a_third_of_life_left_and_with_half_for_short_lives() {
        for (life, earliest, latest) in
            [(90 * DAY, 57 * DAY, 60 * DAY), (6 * DAY, 64 * DAY / 24, 3 * DAY)]
        {
            let Ok(certificate) = secret(&[], now(), life).certificate else { unreachable!() };
            let after = renewal(&certificate).since(now());
            assert!(after >= earliest && after <= latest, "{life:?}: {after:?}");
        }
    }

    #[test]
    fn certificates_issued_together_are_not_renewed_together() {
        let at = |serial: &str| {
            let Ok(mut certificate) = secret(&[], now(), 90 * DAY).certificate else {
                unreachable!()
            };
            certificate.serial = serial.into();
            renewal(&certificate)
        };
        let times: BTreeSet<Timestamp> =
            (0..50).map(|serial: u32| at(&serial.to_string())).collect();
        assert!(times.len() > 40);
    }
}
