//! Decides which certificates of an Ingress are revoked, and which key signs the revocation. No
//! I/O.

use ingress_acme_actors::domain::certificate::{CertificateView, SecretView};
use ingress_acme_actors::domain::time::Timestamp;

use crate::commands::cli::Reason;

/// State of the account that may have ordered a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AccountSeen {
    /// The account key is available.
    Readable,
    /// The operator's namespace has no Secret for the account.
    Missing,
    /// The Secret of the account is damaged, or this user may not read that Secret.
    Unreadable,
}

/// Key that signs a revocation (RFC 8555 §7.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Signatory {
    /// The account key.
    Account,
    /// The certificate's own key, with the reason for this choice.
    Certificate(&'static str),
}

/// Chooses the signing key. After a revocation signed with the certificate's key, Let's Encrypt's
/// server treats that key as compromised for any given reason, and never certifies the key again.
/// After one signed with the account key, the server records the given reason and blocks nothing.
/// Therefore the certificate's key signs if the reason is a compromise, and otherwise only if the
/// account key is unavailable.
pub(super) fn signatory(reason: Reason, account: AccountSeen) -> Signatory {
    match (reason, account) {
        (Reason::KeyCompromise, _) => {
            Signatory::Certificate("that proves to the CA that it is compromised")
        }
        (_, AccountSeen::Readable) => Signatory::Account,
        (_, AccountSeen::Missing) => Signatory::Certificate(
            "there is no account of this CA in the operator's namespace; the CA may treat the key as compromised, \
             whatever the reason",
        ),
        (_, AccountSeen::Unreadable) => Signatory::Certificate(
            "the account's Secret cannot be read; the CA may treat the key as compromised, whatever the reason",
        ),
    }
}

/// Returns the certificate in a Secret with the URL of its CA's directory, or the reason why that
/// certificate cannot be revoked.
pub(super) fn revocable(
    secret: Option<&SecretView>,
    now: Timestamp,
) -> Result<(&CertificateView, &str), String> {
    let secret = secret.ok_or("it does not exist")?;
    if !secret.ours {
        return Err("it was not made by ingress-acme".to_owned());
    }
    let directory = secret.directory.as_deref().unwrap_or_default();
    if !directory.starts_with("https://") {
        return Err("it does not say which CA issued its certificate".to_owned());
    }
    let leaf = secret.certificate.as_ref().map_err(Clone::clone)?;
    if leaf.not_after <= now {
        return Err(format!("its certificate ended at {}", leaf.not_after));
    }
    if !leaf.key_matches {
        return Err("its key does not match its certificate".to_owned());
    }
    Ok((leaf, directory))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use std::collections::BTreeSet;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn secret() -> SecretView {
        SecretView {
            ours: true,
            other_install: None,
            other_issuer: None,
            untrusted: false,
            is_tls: true,
            immutable: false,
            certificate: Ok(CertificateView {
                names: BTreeSet::new(),
                not_before: Timestamp::from_secs(0),
                not_after: Timestamp::from_secs(2_000),
                id: None,
                serial: "2c".to_owned(),
                issuer: "E1".to_owned(),
                key_matches: true,
            }),
            owners: BTreeSet::new(),
            renew: None,
            directory: Some("https://ca.example/dir".to_owned()),
            instead_of: None,
            ca: None,
            account: None,
            copied: None,
        }
    }

    fn refused(change: impl FnOnce(&mut SecretView)) -> String {
        let mut changed = secret();
        change(&mut changed);
        revocable(Some(&changed), NOW).unwrap_err()
    }

    #[test]
    fn the_account_signs_unless_the_key_is_compromised_or_the_account_out_of_reach() {
        use AccountSeen::{Missing, Readable, Unreadable};
        for reason in Reason::value_variants() {
            let with = |account| signatory(*reason, account);
            let compromised = *reason == Reason::KeyCompromise;
            assert_eq!(with(Readable) == Signatory::Account, !compromised, "{reason:?}");
            for account in [Missing, Unreadable] {
                assert!(matches!(with(account), Signatory::Certificate(_)), "{reason:?}");
            }
        }
    }

    #[test]
    fn who_signs_with_the_certificates_key_without_meaning_it_is_warned() {
        for account in [AccountSeen::Missing, AccountSeen::Unreadable] {
            let Signatory::Certificate(why) = signatory(Reason::Superseded, account) else {
                panic!("there is no other key")
            };
            assert!(why.contains("whatever the reason"), "{why}");
        }
    }

    #[test]
    fn what_is_ours_of_a_ca_and_not_over_is_revoked() {
        let ours = secret();
        let (leaf, directory) = revocable(Some(&ours), NOW).unwrap();
        assert_eq!((leaf.serial.as_str(), directory), ("2c", "https://ca.example/dir"));
        assert!(revocable(None, NOW).is_err());
        assert!(refused(|secret| secret.ours = false).contains("not made by"));
        assert!(refused(|secret| secret.directory = None).contains("which CA"));
        let plain = Some("http://ca.example/dir".to_owned());
        assert!(refused(|secret| secret.directory = plain).contains("which CA"));
        assert_eq!(refused(|secret| secret.certificate = Err("it is empty".into())), "it is empty");
        let other_key =
            |secret: &mut SecretView| secret.certificate.as_mut().unwrap().key_matches = false;
        assert!(refused(other_key).contains("does not match its certificate"));
        let ended = revocable(Some(&ours), Timestamp::from_secs(2_000));
        assert!(ended.unwrap_err().contains("ended at"));
    }

    #[test]
    fn reasons_have_the_names_and_numbers_of_rfc_5280() {
        let all: Vec<_> = Reason::value_variants()
            .iter()
            .map(|reason| (reason.to_string(), reason.code()))
            .collect();
        let expected = [
            ("unspecified", 0),
            ("keyCompromise", 1),
            ("affiliationChanged", 3),
            ("superseded", 4),
            ("cessationOfOperation", 5),
        ];
        assert_eq!(all, expected.map(|(name, code)| (name.to_owned(), code)));
    }
}
