//! Parsing and verification of signed requests (RFC 7515 in the flattened JSON form, RFC 8555
//! §6.2). Decisions belong to `core`.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64URL, Engine};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Public key of an account: ECDSA on P-256 (RFC 7518 §6.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Jwk {
    /// Uncompressed point (SEC 1 §2.3.3): 4, x, y.
    point: [u8; 65],
}

impl Jwk {
    /// Creates a key from the point in a certificate.
    #[cfg(test)]
    pub(super) fn of_point(point: &[u8]) -> Option<Self> {
        Some(Self { point: point.try_into().ok()? })
    }

    /// Returns the point as encoded in a certificate.
    pub(super) fn point(&self) -> &[u8] {
        &self.point
    }

    /// Returns the thumbprint (RFC 7638, SHA-256, base64url), which follows the token in a key
    /// authorization (RFC 8555 §8.1).
    pub(super) fn thumbprint(&self) -> String {
        let (x, y) = self.point[1..].split_at(32);
        let [x, y] = [x, y].map(|half| BASE64URL.encode(half));
        let jwk = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        BASE64URL.encode(digest(&SHA256, jwk.as_bytes()))
    }
}

#[derive(Deserialize)]
struct RawJwk {
    kty: String,
    #[serde(default)]
    crv: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
}

impl TryFrom<RawJwk> for Jwk {
    type Error = Problem;

    fn try_from(raw: RawJwk) -> Result<Self, Problem> {
        let bad = || Problem::new(400, "badPublicKey", "Parse error reading JWK");
        if (raw.kty.as_str(), raw.crv.as_str()) != ("EC", "P-256") {
            return Err(Problem::new(400, "badPublicKey", "only keys on P-256 are accepted"));
        }
        let mut point = [4; 65];
        for (half, member) in point[1..].chunks_mut(32).zip([raw.x, raw.y]) {
            let decoded = BASE64URL.decode(member).map_err(|_| bad())?;
            half.copy_from_slice(<&[u8; 32]>::try_from(decoded.as_slice()).map_err(|_| bad())?);
        }
        Ok(Self { point })
    }
}

#[derive(Deserialize)]
struct Flattened {
    protected: String,
    payload: String,
    signature: String,
}

#[derive(Deserialize)]
struct RawHeader {
    alg: String,
    #[serde(default)]
    nonce: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    jwk: Option<serde_json::Value>,
    #[serde(default)]
    kid: Option<String>,
}

/// Claimed signer of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Signer {
    /// Holder of this key.
    Key(Jwk),
    /// Account with this URL, or external account with this id.
    Kid(String),
}

/// A request whose signature is not yet verified.
#[derive(Debug)]
pub(super) struct Jws {
    pub(super) signer: Signer,
    pub(super) nonce: Option<String>,
    pub(super) url: Option<String>,
    alg: String,
    /// Encoded header, dot, encoded payload (RFC 7515 §5.1).
    signed: String,
    signature: Vec<u8>,
    payload: Vec<u8>,
}

impl Jws {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Problem> {
        let flattened: Flattened = serde_json::from_slice(body)
            .map_err(|_| Problem::malformed("Unable to validate JWS :: Parse error reading JWS"))?;
        Self::read(flattened)
    }

    /// Parses a JWS nested in another document (RFC 8555 §7.3.4).
    pub(super) fn of_value(value: serde_json::Value) -> Result<Self, Problem> {
        let flattened = serde_json::from_value(value)
            .map_err(|_| Problem::malformed("Parse error reading inner JWS"))?;
        Self::read(flattened)
    }

    fn read(flattened: Flattened) -> Result<Self, Problem> {
        let Flattened { protected, payload, signature } = flattened;
        let decoded = |what: &str, text: &str| {
            let bad =
                |_| Problem::malformed(format!("JWS {what} is not base64url without padding"));
            BASE64URL.decode(text).map_err(bad)
        };
        let header: RawHeader = serde_json::from_slice(&decoded("header", &protected)?)
            .map_err(|_| Problem::malformed("JWS header is not as expected"))?;
        let signer = match (header.jwk, header.kid) {
            (Some(jwk), None) => {
                let raw: RawJwk = serde_json::from_value(jwk)
                    .map_err(|_| Problem::malformed("Parse error reading JWK"))?;
                // The algorithm is checked first: another key type implies another algorithm, and
                // the algorithm error is the more useful one.
                algorithm(&header.alg, "ES256")?;
                Signer::Key(raw.try_into()?)
            }
            (None, Some(kid)) => Signer::Kid(kid),
            (Some(_), Some(_)) => {
                return Err(Problem::malformed("jwk and kid header fields are mutually exclusive"));
            }
            (None, None) => {
                return Err(Problem::malformed("JWS header has neither jwk nor kid"));
            }
        };
        Ok(Self {
            signer,
            nonce: header.nonce,
            url: header.url,
            alg: header.alg,
            signature: decoded("signature", &signature)?,
            payload: decoded("payload", &payload)?,
            signed: format!("{protected}.{payload}"),
        })
    }

    /// Returns the payload if `key` signed the request.
    pub(super) fn verified(self, key: &Jwk) -> Result<Payload, Problem> {
        algorithm(&self.alg, "ES256")?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.point())
            .verify(self.signed.as_bytes(), &self.signature)
            .map_err(|_| Problem::malformed("JWS verification error"))?;
        Ok(Payload(self.payload))
    }

    /// Returns the payload if signed with `secret` (HS256, RFC 8555 §7.3.4).
    pub(super) fn verified_by_mac(self, secret: &[u8]) -> Result<Payload, Problem> {
        algorithm(&self.alg, "HS256")?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        hmac::verify(&key, self.signed.as_bytes(), &self.signature).map_err(|_| {
            Problem::unauthorized("the external account binding's signature does not verify")
        })?;
        Ok(Payload(self.payload))
    }
}

fn algorithm(is: &str, wanted: &str) -> Result<(), Problem> {
    let detail =
        || format!("JWS signature header contains unsupported algorithm {is:?}, expected {wanted}");
    if is == wanted { Ok(()) } else { Err(Problem::new(400, "badSignatureAlgorithm", detail())) }
}

/// Payload of a verified request.
#[derive(Debug)]
pub(super) struct Payload(Vec<u8>);

impl Payload {
    /// Whether the payload is empty: a POST-as-GET (RFC 8555 §6.3).
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(&self.0).map_err(|wrong| {
            Problem::malformed(format!("Request payload did not parse as JSON: {wrong}"))
        })
    }

    /// Parses the payload as a key.
    pub(super) fn jwk(&self) -> Result<Jwk, Problem> {
        self.read::<RawJwk>()?.try_into()
    }
}

/// Parses a key in a member of a document.
pub(super) fn jwk(value: serde_json::Value) -> Result<Jwk, Problem> {
    let bad = |_| Problem::malformed("Parse error reading JWK");
    serde_json::from_value::<RawJwk>(value).map_err(bad)?.try_into()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use serde_json::json;

    use super::*;

    fn signed(alg: &str) -> (serde_json::Value, Jwk) {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..]].map(|half| BASE64URL.encode(half));
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y });
        let header = json!({ "alg": alg, "nonce": "n", "url": "u", "jwk": jwk }).to_string();
        let (protected, payload) = (BASE64URL.encode(header), BASE64URL.encode("{}"));
        let signed = format!("{protected}.{payload}");
        let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        let signature = BASE64URL.encode(signature);
        let jws = json!({ "protected": protected, "payload": payload, "signature": signature });
        (jws, Jwk::of_point(point).unwrap())
    }

    #[test]
    fn what_the_key_signed_is_read_and_nothing_else() {
        let (jws, key) = signed("ES256");
        let read = Jws::of_value(jws.clone()).unwrap();
        assert_eq!(read.signer, Signer::Key(key.clone()));
        assert_eq!((read.nonce.as_deref(), read.url.as_deref()), (Some("n"), Some("u")));
        read.verified(&key).unwrap();
        let mut forged = jws;
        forged["payload"] = BASE64URL.encode("{\"a\":1}").into();
        assert!(Jws::of_value(forged).unwrap().verified(&key).is_err());
    }

    #[test]
    fn another_algorithm_is_refused_with_the_one_that_is_not() {
        let (jws, _) = signed("RS256");
        let refused = Jws::of_value(jws).unwrap_err();
        assert_eq!(refused.kind, "badSignatureAlgorithm");
        assert_eq!(refused.document()["algorithms"], json!(["ES256"]));
    }

    #[test]
    fn nonsense_is_malformed() {
        for body in ["", "{}", r#"{"protected": "e30", "payload": "", "signature": ""}"#] {
            assert_eq!(Jws::parse(body.as_bytes()).unwrap_err().kind, "malformed", "{body}");
        }
    }
}
