//! Certificate revocation (RFC 8555 §7.6).
//!
//! The request has the same payload whether the account or the certificate's key signs.
//! instant-acme does not support the latter, so both are implemented here.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use serde_json::json;

use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::ports::PortError;

use super::Acme;
use super::jws::{Sender, Signer, post, resource};

/// Prefix of error messages.
const DOING: &str = "the CA did not revoke the certificate";

/// Advice for the user about a refusal of this kind.
fn advice(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "unauthorized" => {
            "if another account ordered it, --reason keyCompromise revokes it with its own key"
        }
        "badRevocationReason" => "choose another --reason",
        "badPublicKey" | "badSignatureAlgorithm" => {
            "the CA accepts no signature by such a key; without --reason keyCompromise the account key signs"
        }
        "malformed" => "it may be a certificate of another CA: check which CA its Secret names",
        _ => return None,
    })
}

/// Signer of the revocation request.
pub enum RevokedBy<'a> {
    /// The stored account, which must have ordered the certificate.
    Account,
    /// The certificate's own key. Let's Encrypt then treats the key as compromised, whatever the
    /// reason.
    Certificate(&'a PrivateKey),
}

/// Result of a revocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Revoked {
    /// This request revoked the certificate.
    Now,
    /// The certificate was already revoked.
    Before,
}

impl Acme {
    /// Revokes a certificate (DER) with a reason code of RFC 5280 §5.3.1. Never registers an
    /// account.
    pub async fn revoke(
        &self,
        certificate: &[u8],
        reason: u8,
        by: &RevokedBy<'_>,
    ) -> Result<Revoked, PortError> {
        self.within(DOING, async || {
            let transport = &self.accounts.transport;
            let url = resource(transport, "revoke_cert").await?;
            let payload =
                json!({"certificate": BASE64_URL_SAFE_NO_PAD.encode(certificate), "reason": reason});
            let (signer, account) = match by {
                RevokedBy::Certificate(key) => (Signer::new(key)?, None),
                RevokedBy::Account => {
                    let (key, url) = self.accounts.registered().await?;
                    (Signer::new(&key)?, Some(url))
                }
            };
            let sender = account.as_deref().map_or(Sender::Key, Sender::Account);
            match post(transport, ("revoke_cert", &url), (&signer, sender), Some(&payload)).await {
                Ok(_) => Ok(Revoked::Now),
                Err(error) if error.kind() == "alreadyRevoked" => Ok(Revoked::Before),
                Err(error) => Err(error.advised(DOING, advice).into()),
            }
        })
        .await
    }
}
