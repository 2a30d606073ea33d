//! Revocation of a certificate (RFC 8555 §7.6).
//!
//! The request is the same whoever signs it, the account or whoever has the certificate's key, which the library cannot;
//! so both are written here.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use serde_json::json;

use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::ports::PortError;

use super::Acme;
use super::jws::{Sender, Signer, post, resource};

/// What was going on when it failed.
const DOING: &str = "the CA did not revoke the certificate";

/// What the user can do about a refusal of this kind.
fn advice(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "unauthorized" => {
            "where it was ordered by another account, --reason keyCompromise revokes it with its own key"
        }
        "badRevocationReason" => "choose another --reason",
        "badPublicKey" | "badSignatureAlgorithm" => {
            "the CA takes no signature of such a key; without --reason keyCompromise the account signs"
        }
        "malformed" => "it may be a certificate of another CA: see what its Secret says",
        _ => return None,
    })
}

/// Whose key signs.
pub enum RevokedBy<'a> {
    /// The stored account's; it must have ordered the certificate.
    Account,
    /// The certificate's own. Let's Encrypt takes it for compromised from then on, whatever the reason.
    Certificate(&'a PrivateKey),
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Revoked {
    /// It is revoked from now on.
    Now,
    /// It was before.
    Before,
}

impl Acme {
    /// Revokes a certificate (DER) for a reason of RFC 5280 §5.3.1. The account is not registered for it.
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
