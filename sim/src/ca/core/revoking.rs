//! Requests about issued certificates: downloads, revocation (RFC 8555 §7.6), renewal information
//! (RFC 9773).

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64URL, Engine};
use jiff::Timestamp;
use serde::Deserialize;

use super::super::accounts::AccountId;
use super::super::certificates::{Window, parse_id};
use super::super::ids::Serial;
use super::super::issuing::read_certificate;
use super::super::jws::Jwk;
use super::super::problem::Problem;
use super::Core;

/// Revocation reasons accepted from subscribers (RFC 5280 §5.3.1): unspecified, key compromise,
/// affiliation changed, superseded, cessation of operation.
const REASONS: [u64; 5] = [0, 1, 3, 4, 5];

/// Payload of `revokeCert`.
#[derive(Debug, Deserialize)]
pub(in crate::ca) struct Revocation {
    /// DER, base64url.
    certificate: String,
    #[serde(default)]
    reason: u64,
}

/// Signer of a revocation request.
#[derive(Clone, Debug)]
pub(in crate::ca) enum Revoker {
    Account(AccountId),
    /// Holder of this key, which must be the key of the certificate.
    Key(Jwk),
}

impl Core {
    /// Returns one of the two chains of a certificate (RFC 8555 §7.4.2), PEM.
    pub(in crate::ca) fn chain(
        &self,
        account: AccountId,
        serial: Serial,
        other: bool,
    ) -> Result<String, Problem> {
        let record = self.certificates.get(serial)?;
        if record.account != account {
            let detail = "Account in use did not issue specified certificate";
            return Err(Problem::unauthorized(detail));
        }
        let forgotten = || Problem::not_found("Certificate not found");
        let leaf = record.leaf.as_deref().ok_or_else(forgotten)?;
        Ok(self.signing.chain(leaf, other))
    }

    pub(in crate::ca) fn revoke(
        &mut self,
        by: &Revoker,
        asked: &Revocation,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let unread = || Problem::malformed("Unable to parse certificate DER");
        let der = BASE64URL.decode(&asked.certificate).map_err(|_| unread())?;
        let (serial, point) = read_certificate(&der).ok_or_else(unread)?;
        if !REASONS.contains(&asked.reason) {
            let detail = format!("unsupported revocation reason code provided: {}", asked.reason);
            return Err(Problem::new(400, "badRevocationReason", detail));
        }
        let record = self.certificates.get(serial)?;
        let theirs = match by {
            Revoker::Account(account) => record.account == *account,
            Revoker::Key(key) => key.point() == point,
        };
        if !theirs {
            let detail = "The key ID specified in the revocation request does not hold valid authorizations for all names in the certificate to be revoked";
            return Err(Problem::unauthorized(detail));
        }
        self.certificates.revoke(serial, now)
    }

    /// Returns the renewal window (RFC 9773 §4.1); `id` comes from the URL.
    pub(in crate::ca) fn renewal_info(&self, id: &str, now: Timestamp) -> Result<Window, Problem> {
        let serial = parse_id(id, &self.signing.key_id)?;
        self.certificates.renewal_window(serial, now)
    }
}
