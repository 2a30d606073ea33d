//! Round trips with real keys, requests and certificates.

use base64::prelude::{BASE64_STANDARD, Engine};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use super::*;

const ALGORITHMS: [KeyAlgorithm; 5] = KeyAlgorithm::ALL;

fn names(hosts: &[&str]) -> BTreeSet<DnsName> {
    hosts.iter().map(|host| DnsName::parse_certified(host).unwrap()).collect()
}

fn ca(name: &str) -> (rcgen::Certificate, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.self_signed(&key).unwrap(), Issuer::new(params, key))
}

fn leaf(hosts: &[&str], key: &KeyPair, issuer: &Issuer<'static, KeyPair>) -> String {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = rcgen::date_time_ymd(2026, 11, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 30);
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0xab, 0x01, 0x0f]));
    params.signed_by(key, issuer).unwrap().pem()
}

#[tokio::test]
async fn a_certificate_of_each_algorithm_belongs_to_its_key() {
    let (root, issuer) = ca("Test Root");
    for algorithm in ALGORITHMS {
        let key = Pki::default().generate(algorithm).await.unwrap();
        assert!(key.pem().starts_with("-----BEGIN PRIVATE KEY-----"), "{algorithm:?}");
        let chain =
            leaf(&["B.example.com", "a.example.com"], &read_key(key.pem()).unwrap(), &issuer)
                + &root.pem();
        let view = Pki::default().inspect(&chain, &key).unwrap();
        assert!(view.key_matches, "{algorithm:?}");
        assert_eq!(view.names, ["a.example.com", "b.example.com"].map(str::to_owned).into());
        assert_eq!(view.issuer, "Test Root");
        assert_eq!(view.serial, "ab010f");
        assert_eq!(view.not_before.to_string(), "2026-11-01T00:00:00Z");
        assert_eq!(view.not_after.to_string(), "2027-01-30T00:00:00Z");
    }
}

/// RFC 5280 appendix A.1: a common name has 64 characters at most.
#[tokio::test]
async fn a_request_with_a_common_name_has_the_first_name_that_is_short_enough() {
    let long = format!("{}.example.com", "a".repeat(60));
    let key = Pki::default().generate(KeyAlgorithm::EcdsaP256).await.unwrap();
    for (hosts, common) in
        [(&[long.as_str(), "b.example.com"][..], Some("b.example.com")), (&[&long], None)]
    {
        let der = Pki { common_name: true }.request(&names(hosts), &key).unwrap();
        let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
        let subject = &request.certification_request_info.subject;
        let named = subject.iter_common_name().next().map(|name| name.as_str().unwrap());
        assert_eq!(named, common);
    }
}

#[test]
fn a_chain_in_another_order_is_put_in_order_and_others_stay() {
    let (root, issuer) = ca("Test Root");
    let key = KeyPair::generate().unwrap();
    let (leaf, root) = (leaf(&["a.example.com"], &key, &issuer), root.pem());
    let (leaf, root) = (leaf.replace('\r', ""), root.replace('\r', ""));
    let (stranger, _) = ca("Stranger");
    let (right, stranger) = (format!("{leaf}{root}"), stranger.pem());
    assert_eq!(ordered(&right), None);
    assert_eq!(ordered(&format!("{root}{leaf}")).as_ref(), Some(&right));
    assert_eq!(ordered(&format!("{stranger}{root}{leaf}")).as_ref(), Some(&right));
    assert_eq!(ordered(&format!("{leaf}{stranger}{root}")).as_ref(), Some(&right));
    assert_eq!(ordered(&format!("{right}{right}")).as_ref(), Some(&right));
    for hopeless in [stranger.as_str(), &format!("{leaf}{stranger}"), "hello", ""] {
        assert_eq!(ordered(hopeless), None, "{hopeless}");
    }
}

#[tokio::test]
async fn a_request_has_no_subject_and_exactly_the_names() {
    for algorithm in ALGORITHMS {
        let key = Pki::default().generate(algorithm).await.unwrap();
        let der =
            Pki::default().request(&names(&["*.example.com", "b.example.com"]), &key).unwrap();
        let (rest, request) = X509CertificationRequest::from_der(&der).unwrap();
        assert!(rest.is_empty());
        assert_eq!(request.certification_request_info.subject.iter().count(), 0);
        let key = read_key(key.pem()).unwrap();
        let public = request.certification_request_info.subject_pki.raw;
        assert_eq!(public, key.subject_public_key_info(), "{algorithm:?}");
        let asked: Vec<String> = request
            .requested_extensions()
            .unwrap()
            .filter_map(|extension| match extension {
                ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
                _ => None,
            })
            .flatten()
            .map(ToString::to_string)
            .collect();
        assert_eq!(asked, ["DNSName(*.example.com)", "DNSName(b.example.com)"]);
    }
}

#[tokio::test]
async fn a_key_of_another_certificate_does_not_match() {
    let (_, issuer) = ca("Test Root");
    let chain = leaf(&["a.example.com"], &KeyPair::generate().unwrap(), &issuer);
    let other = Pki::default().generate(KeyAlgorithm::EcdsaP256).await.unwrap();
    assert!(!Pki::default().inspect(&chain, &other).unwrap().key_matches);
    assert!(!inspect(&chain, None).unwrap().key_matches);
    assert!(!inspect(&chain, Some("no key")).unwrap().key_matches);
}

#[test]
fn what_is_wrong_with_a_chain_is_said() {
    let damaged = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
    let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let key = KeyPair::generate().unwrap().serialize_pem();
    let (root, _) = ca("Test Root");
    let cases = [
        (String::new(), "it is empty"),
        ("hello".to_owned(), "it is not PEM"),
        (key, "there is no certificate in it, only a PEM block `PRIVATE KEY`"),
        (damaged.to_owned(), "its PEM is damaged"),
        (not_der.to_owned(), "certificate 1 is not DER of X.509"),
        (root.pem() + not_der, "certificate 2 is not DER of X.509"),
    ];
    for (chain, why) in cases {
        let said = inspect(&chain, None).unwrap_err();
        assert!(said.starts_with(why), "{said}");
    }
}

#[test]
fn a_chain_out_of_order_is_refused() {
    let key = KeyPair::generate().unwrap();
    let private = PrivateKey::from_pem(key.serialize_pem());
    let (root, issuer) = ca("Test Root");
    let (other, _) = ca("Other Root");
    let (namesake, _) = ca("Test Root");
    let leaf = leaf(&["a.example.com"], &key, &issuer);
    assert!(Pki::default().inspect(&(leaf.clone() + &root.pem()), &private).is_ok());
    let said = Pki::default().inspect(&(leaf.clone() + &other.pem()), &private).unwrap_err();
    assert_eq!(said, "certificate 1 was issued by CN=Test Root, but the next one is CN=Other Root");
    let said = Pki::default().inspect(&(leaf + &namesake.pem()), &private).unwrap_err();
    assert_eq!(said, "certificate 1 does not carry a signature of certificate 2");
}

#[tokio::test]
async fn hand_made_keys_of_other_formats_are_read() {
    let (_, issuer) = ca("Test Root");
    let rsa = Pki::default().generate(KeyAlgorithm::Rsa2048).await.unwrap();
    for (hand_made, key) in
        [(SEC1.to_owned(), read_key(SEC1)), (pkcs1(rsa.pem()), read_key(rsa.pem()))]
    {
        let chain = leaf(&["a.example.com"], &key.unwrap(), &issuer);
        assert!(inspect(&chain, Some(&hand_made)).unwrap().key_matches, "{hand_made}");
    }
}

/// Extracts PKCS #1 from PKCS #8, which holds PKCS #1 in its third element, an OCTET STRING (RFC
/// 5958 §2).
fn pkcs1(pkcs8: &str) -> String {
    let (_, block) = x509_parser::pem::parse_x509_pem(pkcs8.as_bytes()).unwrap();
    let (_, info) = x509_parser::der_parser::parse_der(&block.contents).unwrap();
    let key = BASE64_STANDARD.encode(info.as_sequence().unwrap()[2].as_slice().unwrap());
    format!("-----BEGIN RSA PRIVATE KEY-----\n{key}\n-----END RSA PRIVATE KEY-----\n")
}

/// Output of `openssl ecparam -name prime256v1 -genkey`. This key was never used.
const SEC1: &str = "\
-----BEGIN EC PARAMETERS-----
BggqhkjOPQMBBw==
-----END EC PARAMETERS-----
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEINDmsb6hviyjiuBULkxUrtCvziIjQiwdB8klMCMLHnlAoAoGCCqGSM49
AwEHoUQDQgAEzfM6+848iqa2vNW5tsloM5l13uaIyjo/jx2x1/aOaRemchjnUvN8
MbsbYCgXApa/E+dFoeMZV0DMigeDxWrAgQ==
-----END EC PRIVATE KEY-----
";

#[test]
fn a_certificate_of_thirty_thousand_names_is_refused_and_one_of_two_thousand_is_read() {
    let key = KeyPair::generate().unwrap();
    let of = |count: usize| {
        let names: Vec<String> =
            (0..count).map(|number| format!("h{number}.example.com")).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        inspect(&certificate.pem(), None).map(|view| view.names.len())
    };
    assert_eq!(of(limits::CERTIFICATE_NAMES), Ok(2_000));
    assert_eq!(of(30_000), Err("it has 30000 names, but at most 2000 are read".to_owned()));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_a_certificate_or_a_bounded_reason(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600),
        cut_at in 0..2_000_usize, flipped in 0..2_000_usize, label in "[ -~]{0,300}",
    ) {
        use base64::prelude::BASE64_STANDARD;
        let key = rcgen::KeyPair::generate().unwrap();
        let good = rcgen::CertificateParams::new(vec!["a.example.com".to_owned()]).unwrap();
        let good = good.self_signed(&key).unwrap();
        let mut der = good.der().to_vec();
        let length = der.len();
        der[flipped % length] ^= 0x55;
        der.truncate(length.min(cut_at));
        let pem = |bytes: &[u8], label: &str| {
            let text = BASE64_STANDARD.encode(bytes);
            format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
        };
        let texts = [
            pem(&bytes, "CERTIFICATE"), pem(&der, "CERTIFICATE"), pem(&bytes, &label),
            String::from_utf8_lossy(&bytes).into_owned(),
            good.pem().chars().take(cut_at).collect(),
        ];
        for text in texts {
            match inspect(&text, Some(&text)) {
                Ok(view) => proptest::prop_assert!(view.serial.len() <= limits::CERTIFICATE_TEXT_MAX),
                Err(why) => proptest::prop_assert!((1..=limits::QUOTED_MAX).contains(&why.len())),
            }
        }
    }
}

#[test]
fn a_chain_of_more_certificates_or_bytes_than_any_ca_sends_is_refused() {
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(check_size(&certificate.repeat(limits::CHAIN_CERTIFICATES)).is_ok());
    let many = check_size(&certificate.repeat(limits::CHAIN_CERTIFICATES + 1)).unwrap_err();
    assert!(many.contains("11 certificates"), "{many}");
    let large = check_size(&"x".repeat(limits::CHAIN_MAX + 1)).unwrap_err();
    assert!(large.contains("65537 bytes"), "{large}");
}
