//! Keys, certificates and Secrets as the rules see them: what was read, never how.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::domain::name::DnsName;
use crate::domain::time::Timestamp;

/// Kind of the certificate's key: the annotation `ingress-acme.dev/key-algorithm`.
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
}

impl KeyAlgorithm {
    /// As the annotation spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Rsa2048 => "rsa-2048",
        }
    }
}

/// A key algorithm that we do not make.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
#[error("`{0}` is not a key algorithm; use ecdsa-p256, ecdsa-p384 or rsa-2048")]
pub struct UnknownAlgorithm(String);

impl FromStr for KeyAlgorithm {
    type Err = UnknownAlgorithm;
    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        [Self::EcdsaP256, Self::EcdsaP384, Self::Rsa2048]
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or_else(|| UnknownAlgorithm(text.to_owned()))
    }
}

/// A private key, PKCS #8 in PEM (RFC 5958, RFC 7468). Wiped from memory when dropped; `Debug` never shows it.
///
/// It serializes in the clear: only the journal, which lives in Secrets, may do so.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrivateKey(Zeroizing<String>);

impl PrivateKey {
    /// From PKCS #8 in PEM; the text is not checked here.
    pub fn from_pem(pem: String) -> Self {
        Self(Zeroizing::new(pem))
    }

    /// PKCS #8 in PEM.
    pub fn pem(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

/// How a CA knows a certificate: `base64url(keyIdentifier of its AKI).base64url(serial)` (RFC 9773 §4.1).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CertId(Arc<str>);

impl CertId {
    /// From its text.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What matters of the first certificate in a chain (RFC 5280 §4.1.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateView {
    /// `subjectAltName` DNS names, lower case, as they stand in the certificate.
    pub names: BTreeSet<String>,
    /// Start of the validity period; CAs back-date it, so it is not the time of issue.
    pub not_before: Timestamp,
    /// End of the validity period.
    pub not_after: Timestamp,
    /// How its CA knows it; none where it names no key of its issuer.
    pub id: Option<CertId>,
    /// Serial number in lower-case hexadecimal.
    pub serial: String,
    /// The issuer's common name, or its whole distinguished name where it has none.
    pub issuer: String,
    /// The public key is that of the private key it was read with.
    pub key_matches: bool,
}

/// A TLS Secret as the rules see it: no key material.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretView {
    /// It carries `app.kubernetes.io/managed-by: ingress-acme`.
    pub ours: bool,
    /// Its type is `kubernetes.io/tls`.
    pub is_tls: bool,
    /// `immutable: true`: nobody can change its data.
    pub immutable: bool,
    /// The leaf, or why it cannot be read.
    pub certificate: Result<CertificateView, String>,
    /// UIDs of the Ingresses among its owner references.
    pub owners: BTreeSet<String>,
    /// The value of `ingress-acme.dev/renew` that it was last issued for.
    pub renew: Option<String>,
    /// The ACME directory it was issued by.
    pub directory: Option<String>,
    /// The directory in use when that one, the fallback, issued it: our annotation.
    pub instead_of: Option<String>,
}

impl SecretView {
    /// The directory that was meant to issue it: another than did, where that was the fallback.
    pub fn meant_for(&self) -> Option<&str> {
        self.instead_of.as_deref().or(self.directory.as_deref())
    }

    /// ARI identifier of the certificate, where it can be read and has one (RFC 9773 §4.1).
    pub fn cert_id(&self) -> Option<&CertId> {
        self.certificate.as_ref().ok()?.id.as_ref()
    }

    /// The leaf, where it is one of ours that the CA at `directory` has issued.
    pub fn issued_by(&self, directory: &str) -> Option<&CertificateView> {
        let ours = self.ours && self.directory.as_deref() == Some(directory);
        self.certificate.as_ref().ok().filter(|_| ours)
    }
}

impl CertificateView {
    /// Whether it names this host itself, not by a wildcard.
    pub fn is_for(&self, name: &DnsName) -> bool {
        self.names.contains(name.as_str())
    }
}

/// A Secret that may not be there.
pub type SecretStatus = Option<SecretView>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_does_not_show_itself() {
        let key = PrivateKey::from_pem("-----BEGIN PRIVATE KEY-----".to_owned());
        assert_eq!(format!("{key:?}"), "PrivateKey(…)");
    }

    #[test]
    fn an_algorithm_is_read_as_it_is_written() {
        for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::EcdsaP384, KeyAlgorithm::Rsa2048] {
            assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
        }
        assert!("ed25519".parse::<KeyAlgorithm>().is_err());
    }
}
