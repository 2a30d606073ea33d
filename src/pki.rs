//! Keys, certificate signing requests and parsed certificates: the port [`Keys`], without any I/O.
//!
//! rcgen on aws-lc-rs generates keys; x509-parser reads certificates. Whether a certificate is good
//! is decided in `domain::validity`.

mod chain;
mod issuers;

use std::collections::BTreeSet;

use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData, RsaKeySize};
use rustls::pki_types::PrivateKeyDer;
use tokio::sync::Semaphore;
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
pub struct Pki {
    /// `--csr-common-name`: whether a CSR names one host as its common name.
    pub common_name: bool,
}

/// Longest common name (RFC 5280 appendix A.1, `ub-common-name`), in characters.
const COMMON_NAME_MAX: usize = 64;

/// RSA keys that are generated now; the others wait.
static RSA: Semaphore = Semaphore::const_new(limits::RSA_KEYS);

#[async_trait(?Send)]
impl Keys for Pki {
    /// Generates a key. RSA takes up to seconds on a slow core: such keys are generated on blocking
    /// threads, a few at a time. ECDSA takes microseconds.
    async fn generate(&self, algorithm: KeyAlgorithm) -> Result<PrivateKey, PortError> {
        let made = match algorithm {
            KeyAlgorithm::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyAlgorithm::EcdsaP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyAlgorithm::Rsa2048 => rsa(RsaKeySize::_2048).await?,
            KeyAlgorithm::Rsa3072 => rsa(RsaKeySize::_3072).await?,
            KeyAlgorithm::Rsa4096 => rsa(RsaKeySize::_4096).await?,
        };
        let key = made.map_err(|failed| {
            PortError::transient(format!("the key could not be made: {failed}"))
        })?;
        Ok(PrivateKey::from_pem(key.serialize_pem()))
    }

    /// Builds a CSR. Its subject is empty, unless the user's CA requires a common name: the first
    /// name that is short enough.
    fn request(&self, names: &BTreeSet<DnsName>, key: &PrivateKey) -> Result<Vec<u8>, PortError> {
        let refused = |what: String| PortError::permanent(FailureClass::BadCertificate, what);
        let key = read_key(key.pem()).map_err(refused)?;
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let unwritable =
            |failed: rcgen::Error| refused(format!("the CSR cannot be written: {failed}"));
        let common = names.iter().find(|name| name.len() <= COMMON_NAME_MAX).cloned();
        let mut params = CertificateParams::new(names).map_err(unwritable)?;
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = common.filter(|_| self.common_name) {
            params.distinguished_name.push(DnType::CommonName, name);
        }
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

async fn rsa(size: RsaKeySize) -> Result<Result<KeyPair, rcgen::Error>, PortError> {
    let turn = RSA.acquire().await; // never closed
    let made = move || {
        let _turn = turn; // also kept where the caller gives up
        KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size)
    };
    let made = tokio::task::spawn_blocking(made).await;
    made.map_err(|died| PortError::transient(format!("the key could not be made: {died}")))
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

/// Returns the chain with the leaf first and each issuer after its certificate (RFC 8555 §9.1),
/// where a CA sends another order, or certificates that do not belong to the chain. `None` if the
/// chain is in order, or cannot be ordered; the leaf is the only one that signs no other.
pub fn ordered(chain_pem: &str) -> Option<String> {
    check_size(chain_pem).ok()?;
    let blocks = certificates(chain_pem).ok()?;
    let order = chain::order(&parse(&blocks).ok()?)?;
    let pem = |index: &usize| Some(to_pem(&blocks.get(*index)?.contents));
    order.iter().map(pem).collect()
}

/// Writes a certificate (DER) as a PEM block (RFC 7468).
pub fn to_pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap_or_default());
    let lines = lines.collect::<Vec<_>>().join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
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
