//! Keys and signatures of the CA: roots, intermediate, leaf certificates. Decisions belong to
//! `core`.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber,
    SubjectPublicKeyInfo,
};
use rustls::pki_types::CertificateDer;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use super::ids::Serial;
use super::problem::Problem;
use crate::SimError;

/// Validity of the roots and the intermediate, in years; the start precedes any simulated time.
const CA_YEARS: (i32, i32) = (2020, 2120);
/// Smallest RSA key accepted, in bits.
const RSA_MIN: usize = 2048;

/// Signing key and chains of the CA.
pub(super) struct Signing {
    intermediate: Issuer<'static, KeyPair>,
    /// Key identifier of the intermediate, as in the leaf certificates.
    pub(super) key_id: Vec<u8>,
    /// Root of the first chain, PEM.
    pub(super) root_pem: String,
    /// Root of the second chain, PEM.
    pub(super) other_root_pem: String,
    /// Certificates after the leaf in each chain, PEM.
    rest: [String; 2],
}

/// Contents of a leaf certificate to sign.
pub(super) struct Leaf<'a> {
    pub(super) names: &'a [Box<str>],
    pub(super) key: &'a SubjectPublicKeyInfo,
    pub(super) serial: Serial,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl Signing {
    /// Generates two roots, and an intermediate signed by both. With `key_id`, the intermediate has
    /// this key identifier, so that certificate ids (RFC 9773 §4.1) are the same in each run.
    pub(super) fn new(key_id: Option<Vec<u8>>) -> Result<Self, SimError> {
        let (first_root, root_pem) = root("ingress-acme simulated root X1")?;
        let (other_root, other_root_pem) = root("ingress-acme simulated root X2")?;
        let key = KeyPair::generate()?;
        let mut params = root_ca("ingress-acme simulated intermediate E1", true);
        if let Some(key_id) = key_id {
            params.key_identifier_method = KeyIdMethod::PreSpecified(key_id);
        }
        let rest = [
            params.signed_by(&key, &first_root)?.pem(),
            params.signed_by(&key, &other_root)?.pem(),
        ];
        let key_id = params.key_identifier(&key);
        let intermediate = Issuer::new(params, key);
        Ok(Self { intermediate, key_id, root_pem, other_root_pem, rest })
    }

    /// Signs a leaf certificate and returns the DER.
    pub(super) fn sign(&self, leaf: &Leaf<'_>) -> Result<CertificateDer<'static>, rcgen::Error> {
        let names: Vec<String> = leaf.names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = Some(SerialNumber::from_slice(&leaf.serial.octets()));
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + since_epoch(leaf.not_before);
        params.not_after = epoch + since_epoch(leaf.not_after);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(leaf.key, &self.intermediate)?.der().clone())
    }

    /// Returns a leaf followed by the first or the other chain (RFC 8555 §7.4.2), PEM.
    pub(super) fn chain(&self, leaf: &[u8], other: bool) -> String {
        let leaf = pem(leaf);
        format!("{leaf}{}", self.rest[usize::from(other)])
    }
}

fn root(name: &str) -> Result<(Issuer<'static, KeyPair>, String), SimError> {
    let key = KeyPair::generate()?;
    let params = root_ca(name, false);
    let pem = params.self_signed(&key)?.pem();
    Ok((Issuer::new(params, key), pem))
}

fn root_ca(name: &str, intermediate: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let constraints = if intermediate {
        BasicConstraints::Constrained(0)
    } else {
        BasicConstraints::Unconstrained
    };
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = intermediate;
    params.not_before = rcgen::date_time_ymd(CA_YEARS.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(CA_YEARS.1, 1, 1);
    params
}

fn since_epoch(time: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(time.as_second()).unwrap_or_default())
}

fn pem(der: &[u8]) -> String {
    use base64::prelude::{BASE64_STANDARD, Engine};
    let encoded = BASE64_STANDARD.encode(der);
    let mut pem = String::with_capacity(encoded.len() + encoded.len() / 64 + 64);
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// A parsed certificate signing request (RFC 2986) with a verified signature.
pub(super) struct Request {
    /// Names including the common name: lower case, sorted, without duplicates.
    pub(super) names: Vec<String>,
    pub(super) key: SubjectPublicKeyInfo,
}

impl Request {
    pub(super) fn parse(der: &[u8]) -> Result<Self, Problem> {
        let unread = || Problem::malformed("Error parsing certificate request");
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| unread())?;
        if !rest.is_empty() {
            return Err(unread());
        }
        let unsigned = |_| Problem::bad_csr("invalid signature on CSR");
        request.verify_signature().map_err(unsigned)?;
        let info = &request.certification_request_info;
        let weak = |_| Problem::new(400, "badCSR", "Error finalizing order :: unknown key type");
        let small = || Problem::bad_csr("invalid public key in CSR :: key size not supported");
        if let Ok(PublicKey::RSA(key)) = info.subject_pki.parsed()
            && key.key_size() < RSA_MIN
        {
            return Err(small());
        }
        let key = SubjectPublicKeyInfo::from_der(info.subject_pki.raw).map_err(weak)?;
        let mut names: Vec<String> = names(&request)?;
        for common_name in info.subject.iter_common_name() {
            let text = common_name.as_str().map_err(|_| unread())?;
            names.extend((!text.is_empty()).then(|| text.to_ascii_lowercase()));
        }
        names.sort_unstable();
        names.dedup();
        Ok(Self { names, key })
    }

    /// Whether `point` is the public key of the request.
    pub(super) fn has_point(&self, point: &[u8]) -> bool {
        self.key.der_bytes() == point
    }
}

fn names(request: &X509CertificationRequest<'_>) -> Result<Vec<String>, Problem> {
    let mut names = Vec::new();
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(listed) = extension else { continue };
        for name in &listed.general_names {
            let GeneralName::DNSName(name) = name else {
                return Err(Problem::bad_csr("CSR contains names of an unsupported kind"));
            };
            names.push(name.to_ascii_lowercase());
        }
    }
    Ok(names)
}

/// Returns serial number and public key of a certificate in DER.
pub(super) fn read_certificate(der: &[u8]) -> Option<(Serial, Vec<u8>)> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let serial = Serial::of_octets(certificate.raw_serial())?;
    Some((serial, certificate.public_key().subject_public_key.data.to_vec()))
}
