//! Keys, certificates and Secrets, reduced to the fields that the rules need. No I/O and no
//! parsing.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::domain::cut::cut;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::time::Timestamp;

/// Algorithm of the certificate's key: the annotation `ingress-acme.dev/key-algorithm`.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum KeyAlgorithm {
    /// ECDSA on P-256: small, and accepted by every CA and client.
    #[default]
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// RSA with 2048 bits, for old clients.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// RSA with 3072 bits.
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    /// RSA with 4096 bits.
    #[serde(rename = "rsa-4096")]
    Rsa4096,
}

impl KeyAlgorithm {
    /// All algorithms.
    pub const ALL: [Self; 5] =
        [Self::EcdsaP256, Self::EcdsaP384, Self::Rsa2048, Self::Rsa3072, Self::Rsa4096];

    /// Returns the spelling used by the annotation and by `--key-algorithm`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A key algorithm that ingress-acme cannot generate, in at most [`limits::SHOWN_MAX`] bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
#[error("`{0}` is not a key algorithm; use ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072 or rsa-4096")]
pub struct UnknownAlgorithm(String);

impl FromStr for KeyAlgorithm {
    type Err = UnknownAlgorithm;
    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or_else(|| UnknownAlgorithm(cut(text, limits::SHOWN_MAX)))
    }
}

/// A private key, PKCS #8 in PEM (RFC 5958, RFC 7468). Memory is zeroed on drop; `Debug` never
/// shows the key.
///
/// Serializes in the clear: only the journal may do so, because it lives in Secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrivateKey(Zeroizing<String>);

impl PrivateKey {
    /// Wraps a PKCS #8 key in PEM, without checking the text.
    pub fn from_pem(pem: String) -> Self {
        Self(Zeroizing::new(pem))
    }

    /// Returns the key, PKCS #8 in PEM.
    pub fn pem(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

/// ARI certificate identifier: `base64url(keyIdentifier of its AKI).base64url(serial)` (RFC 9773
/// §4.1).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CertId(Arc<str>);

impl CertId {
    /// Wraps an identifier in its text form.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Fields of a leaf, the first certificate of a chain (RFC 5280 §4.1.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateView {
    /// `subjectAltName` DNS names in lower case, as written in the certificate.
    pub names: BTreeSet<String>,
    /// Start of the validity period. CAs backdate this field, so it is not the time of issue.
    pub not_before: Timestamp,
    /// End of the validity period.
    pub not_after: Timestamp,
    /// ARI certificate identifier; `None` if the certificate has no authority key identifier.
    pub id: Option<CertId>,
    /// Serial number in lower-case hexadecimal.
    pub serial: String,
    /// Common name of the issuer, or the whole distinguished name if there is no common name.
    pub issuer: String,
    /// Whether the public key belongs to the private key read with the certificate.
    pub key_matches: bool,
}

/// A TLS Secret without its key material.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct SecretView {
    /// Whether the Secret has the label `app.kubernetes.io/managed-by: ingress-acme`, and no other
    /// install has it.
    pub ours: bool,
    /// Install that has the Secret, if it is not this one: the value of
    /// `ingress-acme.dev/install`, in at most [`limits::SHOWN_MAX`] bytes.
    pub other_install: Option<String>,
    /// Annotation by which another issuer marks the Secret as its own, in at most
    /// [`limits::SHOWN_MAX`] bytes.
    pub other_issuer: Option<String>,
    /// Whether the certificate of a Secret that is not ours leads to no root that browsers trust;
    /// `false` where the CA in use is a private one, whose users have roots of their own.
    pub untrusted: bool,
    /// Whether the Secret's type is `kubernetes.io/tls`.
    pub is_tls: bool,
    /// Whether `immutable: true` is set, so that nobody can change the data.
    pub immutable: bool,
    /// The leaf, or the reason why the certificate cannot be read.
    pub certificate: Result<CertificateView, String>,
    /// UIDs of the Ingresses in `metadata.ownerReferences`.
    pub owners: BTreeSet<String>,
    /// Value of `ingress-acme.dev/renew` at the last issuance.
    pub renew: Option<String>,
    /// URL of the ACME directory that issued the certificate.
    pub directory: Option<String>,
    /// URL of the configured ACME directory, if the fallback issued the certificate instead; kept
    /// in an annotation of ours.
    pub instead_of: Option<String>,
    /// Value of the Ingress's `ingress-acme.dev/ca` that the certificate answers.
    pub ca: Option<String>,
    /// URL of the ACME account that ordered the certificate (RFC 8555 §7.3). Releases before 0.2
    /// did not note the account.
    pub account: Option<String>,
    /// [`Mark`](crate::domain::copied::Copied::mark) of the annotations that were copied from the
    /// Ingresses, if any.
    pub copied: Option<String>,
}

impl SecretView {
    /// Directory that should have issued the certificate: `instead_of` after a fallback, else
    /// `directory`.
    pub fn meant_for(&self) -> Option<&str> {
        self.instead_of.as_deref().or(self.directory.as_deref())
    }

    /// Returns the ARI identifier of a readable certificate, if any (RFC 9773 §4.1).
    pub(crate) fn cert_id(&self) -> Option<&CertId> {
        self.certificate.as_ref().ok()?.id.as_ref()
    }

    /// Whether an order of `account` may replace the certificate (RFC 9773 §5): the CA refuses the
    /// replacement of another account's certificate. A certificate of unknown account may be ours.
    pub(crate) fn is_of_account(&self, account: &str) -> bool {
        self.account.as_deref().is_none_or(|noted| noted == account)
    }

    /// Returns the leaf, if the Secret is ours and the CA at `directory` issued the certificate.
    pub(crate) fn issued_by(&self, directory: &str) -> Option<&CertificateView> {
        let ours = self.ours && self.directory.as_deref() == Some(directory);
        self.certificate.as_ref().ok().filter(|_| ours)
    }
}

impl CertificateView {
    /// Whether the certificate lists `name` itself; a matching wildcard does not count.
    pub fn is_for(&self, name: &DnsName) -> bool {
        self.names.contains(name.as_str())
    }
}

/// A Secret, or `None` if it does not exist.
pub type SecretStatus = Option<SecretView>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::validity::check::tests::secret;

    #[test]
    fn a_private_key_does_not_show_itself() {
        let key = PrivateKey::from_pem("-----BEGIN PRIVATE KEY-----".to_owned());
        assert_eq!(format!("{key:?}"), "PrivateKey(…)");
    }

    #[test]
    fn an_algorithm_is_read_as_it_is_written() {
        for algorithm in KeyAlgorithm::ALL {
            assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
        }
        assert!("ed25519".parse::<KeyAlgorithm>().is_err());
    }

    #[test]
    fn an_unknown_algorithm_is_shown_in_part_and_moves_no_cursor() {
        let unknown = format!("rsa\u{1b}[2J\u{202e}{}", "x".repeat(253));
        let text = unknown.parse::<KeyAlgorithm>().unwrap_err().to_string();
        assert!(text.contains("rsa [2J xxx") && text.contains("… (cut: "), "{text}");
    }

    #[test]
    fn a_renewal_replaces_the_certificate_of_its_own_account_or_of_an_unknown_one() {
        let now = Timestamp::from_secs(0);
        let found = secret(&["a.example.com"], now, std::time::Duration::from_hours(1));
        let of = |account: Option<&str>| SecretView {
            account: account.map(str::to_owned),
            ..found.clone()
        };
        let own = "https://ca.example/acct/1";
        assert!(of(Some(own)).is_of_account(own) && of(None).is_of_account(own));
        assert!(!of(Some("https://ca.example/acct/2")).is_of_account(own));
        let id = found.cert_id().unwrap();
        assert_eq!((id.as_str(), id.to_string()), ("aki.01", "aki.01".to_owned()));
        assert_eq!(SecretView { certificate: Err("no PEM".into()), ..found }.cert_id(), None);
    }
}
