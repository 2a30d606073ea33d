//! Signatures verify with the public key.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};
use rcgen::{RsaKeySize, SignatureAlgorithm};

use super::*;

fn decode(text: &Value) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap()
}

fn ec(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

#[test]
fn each_kind_of_key_signs_with_its_algorithm_and_the_signature_verifies() {
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let cases: [(KeyPair, &str, &dyn VerificationAlgorithm); 3] = [
        (ec(&PKCS_ECDSA_P256_SHA256), "ES256", &ECDSA_P256_SHA256_FIXED),
        (ec(&PKCS_ECDSA_P384_SHA384), "ES384", &ECDSA_P384_SHA384_FIXED),
        (rsa, "RS256", &RSA_PKCS1_2048_8192_SHA256),
    ];
    for (pair, name, algorithm) in cases {
        let signer = Signer::new(&PrivateKey::from_pem(pair.serialize_pem())).ok().unwrap();
        let payload = json!({ "a": 1 });
        let nonce = Some("n");
        let made = signer.sign("u", (Sender::Key, nonce), Some(&payload)).ok().unwrap();
        let header: Value = serde_json::from_slice(&decode(&made["protected"])).unwrap();
        assert_eq!((&header["alg"], &header["nonce"]), (&json!(name), &json!("n")));
        assert_eq!((&header["url"], &header["jwk"]), (&json!("u"), &signer.jwk()));
        assert_eq!(decode(&made["payload"]), br#"{"a":1}"#);
        let text = |part: &str| made[part].as_str().unwrap();
        let signed = format!("{}.{}", text("protected"), text("payload"));
        UnparsedPublicKey::new(algorithm, pair.der_bytes())
            .verify(signed.as_bytes(), &decode(&made["signature"]))
            .unwrap();
    }
}

#[test]
fn an_rsa_key_is_shown_by_its_numbers_without_leading_zeros() {
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let signer = Signer::new(&PrivateKey::from_pem(rsa.serialize_pem())).ok().unwrap();
    let jwk = signer.jwk();
    assert_eq!((&jwk["kty"], &jwk["e"]), (&json!("RSA"), &json!("AQAB")));
    assert_eq!(decode(&jwk["n"]).len(), 256);
}

#[test]
fn an_account_is_named_and_a_read_has_no_payload() {
    let key = PrivateKey::from_pem(ec(&PKCS_ECDSA_P256_SHA256).serialize_pem());
    let signer = Signer::new(&key).ok().unwrap();
    let made = signer.sign("u", (Sender::Account("k"), None), None).ok().unwrap();
    let header: Value = serde_json::from_slice(&decode(&made["protected"])).unwrap();
    assert_eq!(header, json!({ "alg": "ES256", "kid": "k", "url": "u" }));
    assert_eq!(made["payload"], "");
}

#[test]
fn a_key_that_cannot_sign_says_so_without_showing_itself() {
    let ed = ec(&rcgen::PKCS_ED25519).serialize_pem();
    for pem in ["hello", &ed] {
        let refused = Signer::new(&PrivateKey::from_pem(pem.to_owned())).err().unwrap();
        let message = refused.into_port_error("").to_string();
        assert!(message.starts_with("the key cannot sign: "), "{message}");
        assert!(!message.contains("BEGIN"), "{message}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// The Secret of the account is written by an administrator, and by a restore.
    #[test]
    fn any_account_key_has_a_thumbprint_or_a_bounded_reason_without_the_key(
        at in proptest::prelude::any::<usize>(), flipped in 0..128_u8, label in "[ -~]{0,2000}", noise in ".{0,200}",
    ) {
        let good = ec(&PKCS_ECDSA_P256_SHA256).serialize_pem();
        let secret: String = good.lines().nth(1).unwrap().chars().take(40).collect();
        let mut damaged = good.clone().into_bytes();
        let length = damaged.len();
        damaged[at % length] ^= flipped;
        let damaged = String::from_utf8(damaged).unwrap();
        let texts = [
            good.replace("PRIVATE KEY", &label), good.replacen("PRIVATE KEY", &label, 1), good.replace('\n', " "),
            good[..at % length].to_owned(), damaged, format!("{noise}{good}"), noise,
        ];
        for text in texts {
            match crate::acme::thumbprint(&PrivateKey::from_pem(text)) {
                Ok(thumbprint) => proptest::prop_assert_eq!(thumbprint.len(), 43),
                Err(why) => {
                    proptest::prop_assert!((1..=limits::DETAIL_MAX).contains(&why.len()), "{}", why.len());
                    proptest::prop_assert!(!why.contains(&secret), "{}", why);
                }
            }
        }
    }
}
