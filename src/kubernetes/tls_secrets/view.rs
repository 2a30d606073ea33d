//! Converts a Secret to the domain's view. The private key is checked, then wiped.

use ingress_acme_actors::domain::certificate::{CertificateView, PrivateKey, SecretView};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::fields::{CHAIN, DIRECTORY, INSTEAD_OF, KEY, OWNER_KIND, RENEW, TLS_TYPE};
use crate::kubernetes::client::is_ours;

/// Returns the domain's view of `secret`.
pub(super) fn view(mut secret: Secret) -> SecretView {
    let certificate = certificate(&mut secret);
    wipe(&mut secret);
    let metadata = secret.metadata;
    let annotation = |name: &str| metadata.annotations.as_ref()?.get(name).cloned();
    let owners = metadata.owner_references.iter().flatten();
    SecretView {
        ours: is_ours(&metadata),
        is_tls: secret.type_.as_deref() == Some(TLS_TYPE),
        immutable: secret.immutable == Some(true),
        certificate,
        owners: owners
            .filter(|owner| {
                owner.kind == OWNER_KIND && owner.api_version.starts_with("networking.k8s.io/")
            })
            .map(|owner| owner.uid.clone())
            .collect(),
        renew: annotation(RENEW),
        directory: annotation(DIRECTORY),
        instead_of: annotation(INSTEAD_OF),
    }
}

/// A Secret with its certificate and key, as needed to revoke the certificate.
pub struct Held {
    /// The domain's view.
    pub view: SecretView,
    /// Certificate chain, PEM. Empty if missing.
    pub chain: String,
    /// Private key. Empty if missing.
    pub key: PrivateKey,
}

/// Reads the certificate, key and view of `secret`.
pub(super) fn hold(secret: Secret) -> Held {
    let text = |name: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(name));
        bytes.and_then(|bytes| str::from_utf8(&bytes.0).ok()).unwrap_or_default().to_owned()
    };
    let (chain, key) = (text(CHAIN), PrivateKey::from_pem(text(KEY)));
    Held { view: view(secret), chain, key }
}

/// Overwrites all data values that are text, which includes every PEM key.
pub(super) fn wipe(secret: &mut Secret) {
    for (_, ByteString(bytes)) in secret.data.take().unwrap_or_default() {
        drop(wiped_when_dropped(bytes));
    }
}

fn certificate(secret: &mut Secret) -> Result<CertificateView, String> {
    let data = secret.data.get_or_insert_default();
    let key = data.remove(KEY).and_then(|ByteString(bytes)| wiped_when_dropped(bytes));
    let chain = data.remove(CHAIN).filter(|chain| !chain.0.is_empty());
    let chain = chain.ok_or("tls.crt is missing or empty")?;
    let chain = String::from_utf8(chain.0).map_err(|_| "tls.crt is not PEM")?;
    crate::pki::inspect(&chain, key.as_ref().map(PrivateKey::pem))
}

/// Moves `bytes` into a type that wipes itself when dropped. No copy is made.
fn wiped_when_dropped(bytes: Vec<u8>) -> Option<PrivateKey> {
    String::from_utf8(bytes).ok().map(PrivateKey::from_pem)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(secret: Value) -> SecretView {
        view(serde_json::from_value(secret).unwrap())
    }

    #[test]
    fn marks_owners_and_kind_are_read() {
        let view = of(json!({
            "metadata": {
                "labels": {"app.kubernetes.io/managed-by": "ingress-acme"},
                "annotations": {"ingress-acme.dev/directory": "https://ca.example", "ingress-acme.dev/renew": "2"},
                "ownerReferences": [
                    {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "shop", "uid": "u1"},
                    {"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": "u2"},
                ],
            },
            "type": "kubernetes.io/tls",
            "immutable": true,
        }));
        assert!(view.ours && view.is_tls && view.immutable);
        assert_eq!(view.owners, ["u1".to_owned()].into());
        assert_eq!(
            (view.renew.as_deref(), view.directory.as_deref()),
            (Some("2"), Some("https://ca.example"))
        );
    }

    #[test]
    fn a_secret_without_a_readable_certificate_says_why() {
        let why = |data: Value| of(json!({ "data": data })).certificate.unwrap_err();
        assert_eq!(why(json!({})), "tls.crt is missing or empty");
        assert_eq!(why(json!({"tls.crt": ""})), "tls.crt is missing or empty");
        assert_eq!(why(json!({"tls.crt": "/w=="})), "tls.crt is not PEM");
        assert!(!why(json!({"tls.crt": "QQ=="})).is_empty());
        let plain = of(json!({"type": "Opaque"}));
        assert!(!plain.ours && !plain.is_tls && !plain.immutable);
    }
}
