//! Converts a Secret to the domain's view. The private key is checked, then wiped.

use std::collections::BTreeSet;

use ingress_acme_actors::domain::certificate::{CertificateView, PrivateKey, SecretView};
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::limits;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::fields::{
    ACCOUNT, CA, CHAIN, COPIED, DIRECTORY, INSTEAD_OF, KEY, RENEW, TLS_TYPE, is_ingress,
};
use crate::kubernetes::client::{install_of, is_ours};

/// Prefix of the annotations that cert-manager writes on its Secrets.
const CERT_MANAGER: &str = "cert-manager.io/";

/// Returns the domain's view of `secret`. The view is bounded, whatever a tenant has written into
/// the Secret: [`limits`] has the numbers.
///
/// With `install`, a Secret of another install is not ours; without, each one with our label is.
pub(super) fn view(mut secret: Secret, install: Option<&str>) -> SecretView {
    let certificate = certificate(&mut secret);
    wipe(&mut secret);
    SecretView {
        is_tls: secret.type_.as_deref() == Some(TLS_TYPE),
        immutable: secret.immutable == Some(true),
        ..applied(&secret.metadata, certificate, install)
    }
}

/// Returns the view of a TLS Secret with this metadata, as the API server answers an apply, and
/// with the certificate that was applied.
pub(super) fn applied(
    metadata: &ObjectMeta,
    certificate: Result<CertificateView, String>,
    install: Option<&str>,
) -> SecretView {
    let annotation = |name: &str| metadata.annotations.as_ref()?.get(name).map(String::as_str);
    let url = |name: &str| annotation(name).map(|url| cut(url, limits::URL_MAX));
    let other_install = other_install(metadata, install);
    let ours = is_ours(metadata) && other_install.is_none();
    let names = metadata.annotations.iter().flatten().map(|(name, _)| name);
    let other_issuer = names.filter(|name| !ours && name.starts_with(CERT_MANAGER)).min();
    SecretView {
        ours,
        other_install: other_install.map(|other| cut(other, limits::SHOWN_MAX)),
        other_issuer: other_issuer.map(|name| cut(name, limits::SHOWN_MAX)),
        untrusted: false, // the roots are the adapter's
        is_tls: true,
        immutable: false,
        certificate,
        owners: owners(metadata.owner_references.iter().flatten()),
        renew: annotation(RENEW).map(|requests| first_requests(requests).to_owned()),
        directory: url(DIRECTORY),
        instead_of: url(INSTEAD_OF),
        ca: annotation(CA).map(|ca| cut(ca, limits::ANNOTATION)),
        account: url(ACCOUNT),
        copied: annotation(COPIED).map(|mark| cut(mark, limits::ANNOTATION)),
    }
}

/// Install that has the Secret, if it is not `install`. A Secret of ours that names none may be
/// taken by any install: releases before 0.2 named none, and a backup without annotations names
/// none.
pub(super) fn other_install<'a>(
    metadata: &'a ObjectMeta,
    install: Option<&str>,
) -> Option<&'a str> {
    let named = install_of(metadata)?;
    let other = install.is_some_and(|install| install != named) && !named.is_empty();
    (other && is_ours(metadata)).then_some(named)
}

/// UIDs of the first few distinct Ingresses among these owners.
fn owners<'a>(references: impl Iterator<Item = &'a OwnerReference>) -> BTreeSet<String> {
    let mut uids = BTreeSet::new();
    for owner in references {
        if is_ingress(owner) && uids.len() < limits::OWNERS_READ {
            uids.insert(cut(&*owner.uid, limits::ANNOTATION));
        }
    }
    uids
}

/// Returns the first of the comma-joined requests, each of them whole. A request that is left out
/// counts as not answered, so the next certificate replaces the value by a short one.
fn first_requests(requests: &str) -> &str {
    if requests.len() <= limits::RENEW_READ {
        return requests;
    }
    let read = &requests[..requests.floor_char_boundary(limits::RENEW_READ)];
    read.rfind(',').map_or("", |end| &read[..end])
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
    Held { view: view(secret, None), chain, key }
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
    use base64::prelude::{BASE64_STANDARD, Engine};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn of(secret: Value) -> SecretView {
        view(serde_json::from_value(secret).unwrap(), Some("production"))
    }

    #[test]
    fn a_secret_is_ours_unless_it_names_another_install() {
        let labels = json!({"app.kubernetes.io/managed-by": "ingress-acme"});
        let named = |install: &str| {
            let annotations = json!({"ingress-acme.dev/install": install});
            of(json!({"metadata": {"labels": labels, "annotations": annotations}}))
        };
        let plain = of(json!({"metadata": {"labels": labels}}));
        for ours in [plain, named("production"), named("")] {
            assert!(ours.ours && ours.other_install.is_none(), "{ours:?}");
        }
        let other = named("staging");
        assert_eq!((other.ours, other.other_install.as_deref()), (false, Some("staging")));
        let long = named(&"\u{1b}x".repeat(100_000)).other_install.unwrap();
        assert!(long.len() <= limits::SHOWN_MAX && !long.contains('\u{1b}'), "{long}");
        let annotations = json!({"ingress-acme.dev/install": "staging"});
        let foreign = of(json!({"metadata": {"annotations": annotations}}));
        assert!(
            !foreign.ours && foreign.other_install.is_none(),
            "without our label it is foreign"
        );
    }

    #[test]
    fn a_secret_of_cert_manager_is_known_by_its_annotations() {
        let annotations =
            json!({"cert-manager.io/certificate-name": "shop", "cert-manager.io/alt-names": "x"});
        let theirs = of(json!({"metadata": {"annotations": annotations}}));
        assert_eq!(theirs.other_issuer.as_deref(), Some("cert-manager.io/alt-names"));
        let taken_over = json!({"annotations": annotations, "labels": {"app.kubernetes.io/managed-by": "ingress-acme"}});
        assert_eq!(of(json!({ "metadata": taken_over })).other_issuer, None);
        let long = format!("cert-manager.io/\u{1b}{}", "x".repeat(100_000));
        let shown = of(json!({"metadata": {"annotations": {long: "x"}}})).other_issuer.unwrap();
        assert!(shown.len() <= limits::SHOWN_MAX && !shown.contains('\u{1b}'), "{shown}");
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
    fn what_a_tenant_writes_beside_the_certificate_is_bounded() {
        let owner = |number: usize| json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "a", "uid": format!("{number}")});
        let mut owners = vec![owner(0); 5_000];
        owners.extend((1..5_000).map(owner));
        let url = format!("https://ca.example/\u{1b}{}", "x".repeat(200_000));
        let view = of(json!({"metadata": {
            "annotations": {
                "ingress-acme.dev/directory": url, "ingress-acme.dev/instead-of": url,
                "ingress-acme.dev/account": url,
            },
            "ownerReferences": owners,
        }}));
        assert_eq!(view.owners.len(), limits::SHARERS + 1, "more than the owners of any Secret");
        for url in [view.directory.unwrap(), view.instead_of.unwrap(), view.account.unwrap()] {
            assert!(url.len() <= limits::URL_MAX && url.contains("… (cut: "), "{url}");
            assert!(!url.contains('\u{1b}'), "{url}");
        }
    }

    #[test]
    fn a_request_for_renewal_is_read_whole_or_not_at_all() {
        let renew = |value: &str| {
            let annotations = json!({"ingress-acme.dev/renew": value});
            of(json!({"metadata": {"annotations": annotations}})).renew.unwrap()
        };
        let joined = |count: usize| {
            (0..count).map(|number| format!("{number:0253}")).collect::<Vec<_>>().join(",")
        };
        assert_eq!(renew(&joined(258)), joined(258), "64 KiB are compared in full");
        assert_eq!(renew(&joined(1_000)), joined(258));
        assert_eq!(renew(&"x".repeat(200_000)), "");
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

    /// PEM of a certificate that is whole, cut or damaged; or anything else.
    fn certificate_text() -> impl Strategy<Value = Vec<u8>> {
        let good = |names: Vec<String>, at: usize, flipped: u8| {
            let key = rcgen::KeyPair::generate().unwrap();
            let names = rcgen::CertificateParams::new(names).unwrap();
            let mut pem = names.self_signed(&key).unwrap().pem().into_bytes();
            let length = pem.len();
            pem[at % length] ^= flipped;
            pem
        };
        let names = prop::collection::vec("[a-z]{1,9}\\.example", 1..4);
        prop_oneof![
            (names, any::<usize>(), prop_oneof![2 => Just(0), 1 => any::<u8>()])
                .prop_map(move |(names, at, flipped)| good(names, at, flipped)),
            prop::collection::vec(any::<u8>(), 0..400),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_secret_is_a_bounded_view(
            chain in proptest::option::of(certificate_text()), key in prop::collection::vec(any::<u8>(), 0..99),
            annotations in prop::collection::btree_map(
                "ingress-acme\\.dev/(renew|directory|instead-of|account|install)|.{0,20}", ".{0,3000}", 0..4),
            owners in prop::collection::vec((".{0,300}", "Ingress|.{0,9}", "networking.k8s.io/v1|.{0,9}"), 0..130),
            kind in "kubernetes.io/tls|.{0,9}", immutable in any::<Option<bool>>(), label in "ingress-acme|.{0,9}",
        ) {
            let owner = |(uid, kind, version): &(String, String, String)| {
                json!({"uid": uid, "kind": kind, "apiVersion": version, "name": "x"})
            };
            let mut data = json!({"tls.key": BASE64_STANDARD.encode(key)});
            if let Some(chain) = chain {
                data["tls.crt"] = json!(BASE64_STANDARD.encode(chain));
            }
            let view = of(json!({
                "metadata": {
                    "annotations": annotations, "labels": {"app.kubernetes.io/managed-by": label},
                    "ownerReferences": owners.iter().map(owner).collect::<Vec<_>>(),
                },
                "type": kind, "immutable": immutable, "data": data,
            }));
            prop_assert_eq!(view.ours || view.other_install.is_some(), label == "ingress-acme");
            prop_assert!(view.owners.len() <= limits::OWNERS_READ);
            prop_assert!(view.owners.iter().all(|uid| uid.len() <= limits::ANNOTATION));
            for url in [&view.directory, &view.instead_of, &view.account].into_iter().flatten() {
                prop_assert!(url.len() <= limits::URL_MAX && !url.chars().any(char::is_control));
            }
            match view.certificate {
                Ok(certificate) => prop_assert!(certificate.names.len() <= 3 && !certificate.key_matches),
                Err(why) => prop_assert!((1..=limits::QUOTED_MAX).contains(&why.len())),
            }
        }
    }
}
