//! Keys, certificate signing requests and parsed certificates: the port [`Keys`], without any I/O.
//!
//! rcgen on aws-lc-rs generates keys; x509-parser reads certificates. Whether a certificate is good
//! is decided in `domain::validity`.

mod chain;
mod issuers;

use std::collections::BTreeSet;

use async_trait::async_trait;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData, RsaKeySize};
use rustls::pki_types::PrivateKeyDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::Pem;

use ingress_acme_actors::domain::certificate::CertId;
use ingress_acme_actors::domain::certificate::{CertificateView, KeyAlgorithm, PrivateKey};
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::ports::{Keys, PortError};

pub use issuers::Issuers;

/// Adapter behind the port [`Keys`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Pki;

#[async_trait(?Send)]
impl Keys for Pki {
    /// Generates a key. RSA takes most of a second on a slow core and therefore runs on a blocking
    /// thread; ECDSA takes microseconds.
    async fn generate(&self, algorithm: KeyAlgorithm) -> Result<PrivateKey, PortError> {
        let made = match algorithm {
            KeyAlgorithm::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyAlgorithm::EcdsaP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyAlgorithm::Rsa2048 => tokio::task::spawn_blocking(|| {
                KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048)
            })
            .await
            .map_err(|died| PortError::transient(format!("the key could not be made: {died}")))?,
        };
        let key = made.map_err(|failed| {
            PortError::transient(format!("the key could not be made: {failed}"))
        })?;
        Ok(PrivateKey::from_pem(key.serialize_pem()))
    }

    /// Builds a CSR with an empty subject: CAs do not require a common name, which is limited to 64
    /// characters.
    fn request(&self, names: &BTreeSet<DnsName>, key: &PrivateKey) -> Result<Vec<u8>, PortError> {
        let refused = |what: String| PortError::permanent(FailureClass::BadCertificate, what);
        let key = read_key(key.pem()).map_err(refused)?;
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let unwritable =
            |failed: rcgen::Error| refused(format!("the CSR cannot be written: {failed}"));
        let mut params = CertificateParams::new(names).map_err(unwritable)?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(unwritable)?;
        Ok(request.der().to_vec())
    }

    /// Does the same as [`inspect`], and checks the size of the chain and that each certificate is
    /// signed by the next one.
    fn inspect(&self, chain: &str, key: &PrivateKey) -> Result<CertificateView, String> {
        check_size(chain)?;
        let view = inspect(chain, Some(key.pem()))?;
        let blocks = certificates(chain)?;
        chain::check(&parse(&blocks)?)?;
        Ok(view)
    }
}

/// Reads the first certificate of a PEM chain, and whether its public key belongs to `key_pem`.
///
/// The key may be PKCS #8, PKCS #1 or SEC 1, as users put them into Secrets by hand. Without a
/// readable key, `key_matches` is false.
///
/// # Errors
/// Fails unless all certificates of the chain are readable. The error describes the defect of the
/// chain as a sentence fragment of at most [`limits::QUOTED_MAX`] bytes, such as `certificate 2 is
/// not DER`.
pub fn inspect(chain_pem: &str, key_pem: Option<&str>) -> Result<CertificateView, String> {
    view(chain_pem, key_pem).map_err(|why| cut(why, limits::QUOTED_MAX))
}

fn view(chain_pem: &str, key_pem: Option<&str>) -> Result<CertificateView, String> {
    let blocks = certificates(chain_pem)?;
    blocks.iter().enumerate().try_for_each(check_der)?;
    let first = blocks.first().ok_or("there is no certificate in it")?;
    let leaf = &first.parse_x509().map_err(|wrong| wrong.to_string())?;
    let key = key_pem.and_then(|pem| read_key(pem).ok());
    let validity = leaf.validity();
    Ok(CertificateView {
        names: dns_names(leaf)?,
        not_before: Timestamp::from_secs(validity.not_before.timestamp()),
        not_after: Timestamp::from_secs(validity.not_after.timestamp()),
        id: id(leaf),
        serial: serial(leaf),
        issuer: issuer(leaf),
        key_matches: key.is_some_and(|key| key.subject_public_key_info() == leaf.public_key().raw),
    })
}

/// Refuses a chain from a CA that is larger than any chain in use: the chain goes into a Secret,
/// and each certificate costs a check of a signature.
pub fn check_size(chain_pem: &str) -> Result<(), String> {
    let (size, most) = (chain_pem.len(), limits::CHAIN_MAX);
    if size > most {
        return Err(format!("the chain has {size} bytes, but at most {most} are accepted"));
    }
    let (count, most) = (chain_pem.matches("-----BEGIN").count(), limits::CHAIN_CERTIFICATES);
    if count > most {
        return Err(format!("the chain has {count} certificates, but at most {most} are accepted"));
    }
    Ok(())
}

/// Returns the first certificate of a PEM chain, DER.
pub fn leaf(chain_pem: &str) -> Result<Vec<u8>, String> {
    let first = certificates(chain_pem)?.into_iter().next();
    Ok(first.ok_or("there is no certificate in it")?.contents)
}

/// Returns the issuer's common name for each certificate of a PEM chain from a CA, leaf first. Each
/// certificate must be signed by the next one.
pub fn issuers(chain_pem: &str) -> Result<Vec<String>, String> {
    check_size(chain_pem)?;
    let blocks = certificates(chain_pem)?;
    let chain = parse(&blocks)?;
    chain::check(&chain)?;
    Ok(chain.iter().map(issuer).collect())
}

/// Identifier of a certificate in the CA's renewal information (RFC 9773 §4.1); `None` for one that
/// is longer than any real one.
fn id(leaf: &X509Certificate<'_>) -> Option<CertId> {
    let issuer_key =
        leaf.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(issuer) => issuer.key_identifier.as_ref(),
            _ => None,
        })?;
    let [key, serial] =
        [issuer_key.0, leaf.raw_serial()].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    let id = format!("{key}.{serial}");
    (id.len() <= limits::CERTIFICATE_TEXT_MAX).then(|| CertId::new(&id))
}

/// Returns the PEM blocks with certificates. Other blocks between them are skipped.
fn certificates(chain: &str) -> Result<Vec<Pem>, String> {
    let mut found = Vec::new();
    let mut others = None;
    for block in Pem::iter_from_buffer(chain.as_bytes()) {
        let block = block.map_err(|wrong| format!("its PEM is damaged: {wrong}"))?;
        match block.label.as_str() {
            "CERTIFICATE" => found.push(block),
            _ => others = Some(block.label),
        }
    }
    match others {
        _ if !found.is_empty() => Ok(found),
        Some(label) => {
            let label = cut(label, limits::CERTIFICATE_TEXT_MAX);
            Err(format!("there is no certificate in it, only a PEM block `{label}`"))
        }
        None if chain.trim().is_empty() => Err("it is empty".to_owned()),
        None => Err("it is not PEM".to_owned()),
    }
}

fn parse(blocks: &[Pem]) -> Result<Vec<X509Certificate<'_>>, String> {
    blocks.iter().enumerate().try_for_each(check_der)?;
    blocks.iter().map(|block| block.parse_x509().map_err(|wrong| wrong.to_string())).collect()
}

/// Checks that the block is one certificate, and keeps nothing of it: a Secret may have thousands.
fn check_der((index, block): (usize, &Pem)) -> Result<(), String> {
    match x509_parser::parse_x509_certificate(&block.contents) {
        Ok(([], _)) => Ok(()),
        Ok(_) => Err(format!("certificate {} has bytes after its end", index + 1)),
        Err(wrong) => Err(format!("certificate {} is not DER of X.509: {wrong}", index + 1)),
    }
}

/// Returns the key of the first private key block. Skips blocks before the key, such as the
/// parameters that OpenSSL writes.
fn read_key(pem: &str) -> Result<KeyPair, String> {
    for block in Pem::iter_from_buffer(pem.as_bytes()) {
        let block = block.map_err(|wrong| format!("the private key's PEM is damaged: {wrong}"))?;
        if block.label.ends_with("PRIVATE KEY") {
            return key_pair(block.contents)
                .map_err(|wrong| format!("the private key cannot be read: {wrong}"));
        }
    }
    Err("there is no private key in its PEM".to_owned())
}

/// Returns the key of a PKCS #8, PKCS #1 or SEC 1 document. Nearly every key is our default, and
/// rcgen's reader of any key reads such a key twice: first as Ed25519.
fn key_pair(der: Vec<u8>) -> Result<KeyPair, rcgen::Error> {
    let default = PrivateKeyDer::try_from(&*der)
        .ok()
        .and_then(|key| KeyPair::from_der_and_sign_algo(&key, &rcgen::PKCS_ECDSA_P256_SHA256).ok());
    default.map_or_else(|| KeyPair::try_from(der), Ok)
}

/// Returns the DNS names in lower case, since comparisons of DNS names ignore case (RFC 4343).
/// Refuses a certificate with more names than any CA certifies.
fn dns_names(leaf: &X509Certificate<'_>) -> Result<BTreeSet<String>, String> {
    let extension = leaf
        .subject_alternative_name()
        .map_err(|wrong| format!("its subjectAltName cannot be read: {wrong}"))?;
    let Some(extension) = extension else { return Ok(BTreeSet::new()) };
    let (count, most) = (extension.value.general_names.len(), limits::CERTIFICATE_NAMES);
    if count > most {
        return Err(format!("it has {count} names, but at most {most} are read"));
    }
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    Ok(extension.value.general_names.iter().filter_map(dns).collect())
}

/// Returns the serial number in hexadecimal, without the leading zero that keeps the DER integer
/// positive. Of a longer number than RFC 5280 allows, only the first octets count.
fn serial(leaf: &X509Certificate<'_>) -> String {
    let octets = match leaf.raw_serial() {
        [0, rest @ ..] if !rest.is_empty() => rest,
        octets => octets,
    };
    let octets = &octets[..octets.len().min(limits::CERTIFICATE_TEXT_MAX / 2)];
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        text.push(char::from_digit(u32::from(octet >> 4), 16).unwrap_or_default());
        text.push(char::from_digit(u32::from(octet & 15), 16).unwrap_or_default());
        text
    })
}

fn issuer(leaf: &X509Certificate<'_>) -> String {
    let issuer = leaf.issuer();
    let name = issuer.iter_common_name().next().and_then(|name| name.as_str().ok());
    let name = name.map_or_else(|| issuer.to_string(), ToOwned::to_owned);
    cut(name, limits::CERTIFICATE_TEXT_MAX)
}

#[cfg(test)]
mod tests;
