//! Chains of the fake CA as certificates.

use crate::domain::certificate::{CertId, CertificateView, PrivateKey};
use crate::domain::time::Timestamp;

/// Parses a chain of this CA: `key|names|from|until|serial`.
pub(super) fn inspect(chain: &str, key: &PrivateKey) -> Result<CertificateView, String> {
    let fields: Vec<&str> = chain.split('|').collect();
    let [pem, names, from, until, serial] = fields[..] else { return Err("no PEM".to_owned()) };
    let time =
        |millis: &str| millis.parse().map(Timestamp::from_millis).map_err(|_| "no time".to_owned());
    Ok(CertificateView {
        names: names.split(',').map(str::to_owned).collect(),
        not_before: time(from)?,
        not_after: time(until)?,
        id: Some(CertId::new(&format!("fake.{serial}"))),
        serial: serial.to_owned(),
        issuer: "Fake CA".to_owned(),
        key_matches: pem == key.pem(),
    })
}
