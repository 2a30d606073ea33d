//! Fields of a Secret that we apply and own. No other field is ours.

use std::collections::{BTreeMap, BTreeSet};

use ingress_acme_actors::domain::copied::Copied;
use ingress_acme_actors::domain::ingress::{IngressRef, SecretKey};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::ports::Installation;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::kubernetes::client::{INSTALL_ANNOTATION, our_label};

/// `type` of a TLS Secret. The API server requires both data keys.
pub(super) const TLS_TYPE: &str = "kubernetes.io/tls";
/// Data key: certificate chain, PEM.
pub(super) const CHAIN: &str = "tls.crt";
/// Data key: private key, PEM.
pub(super) const KEY: &str = "tls.key";
/// Annotation: URL of the ACME directory that issued the certificate.
pub(super) const DIRECTORY: &str = "ingress-acme.dev/directory";
/// Annotation: URL of the configured ACME directory, if the certificate came from its fallback.
pub(super) const INSTEAD_OF: &str = "ingress-acme.dev/instead-of";
/// Annotation: the Ingress's `ingress-acme.dev/renew` value for which the certificate was issued.
pub(super) const RENEW: &str = "ingress-acme.dev/renew";
/// Annotation: the Ingress's `ingress-acme.dev/ca` value that the certificate answers.
pub(super) const CA: &str = "ingress-acme.dev/ca";
/// Annotation: URL of the ACME account that ordered the certificate.
pub(super) const ACCOUNT: &str = "ingress-acme.dev/account";
/// Annotation: mark of the annotations that were copied from the Ingresses.
pub(super) const COPIED: &str = "ingress-acme.dev/copied";
/// Annotations of ours that a change of the metadata alone leaves.
const ANNOTATIONS: [&str; 5] = [DIRECTORY, INSTEAD_OF, RENEW, INSTALL_ANNOTATION, ACCOUNT];
/// `kind` of the owners.
const OWNER_KIND: &str = "Ingress";
/// `apiVersion` of the owners.
const OWNER_VERSION: &str = "networking.k8s.io/v1";

/// Returns a Secret with a new certificate of the install `install`. `present` are its owners where
/// the owners are left as they are: a reference that we applied once and do not apply again is
/// removed.
pub(super) fn installed(
    key: &SecretKey,
    what: &Installation,
    install: Option<&str>,
    present: &[OwnerReference],
) -> Secret {
    let annotations = [
        (DIRECTORY, Some(&*what.directory)),
        (INSTEAD_OF, what.instead_of.as_deref()),
        (RENEW, what.renew.as_deref()),
        (CA, what.ca.as_deref()),
        (INSTALL_ANNOTATION, install),
        (ACCOUNT, what.account.as_deref()),
    ];
    let present = || (!present.is_empty()).then(|| present.to_vec());
    let annotations = annotations.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let mark = what.copied.mark();
    let annotations = annotations.chain(copied(&what.copied, mark.as_deref()));
    let data = [(CHAIN, what.chain.as_bytes()), (KEY, what.key.pem().as_bytes())];
    Secret {
        metadata: ObjectMeta {
            name: Some(key.name.to_string()),
            labels: Some(our_label()),
            annotations: Some(owned(annotations)),
            owner_references: what.owners.as_ref().map_or_else(present, references),
            ..ObjectMeta::default()
        },
        type_: Some(TLS_TYPE.to_owned()),
        data: Some(data.map(|(name, bytes)| (name.to_owned(), ByteString(bytes.to_vec()))).into()),
        ..Secret::default()
    }
}

/// Returns our fields of `read` with `owners`, if any, instead of the old owners, with these copied
/// annotations, this answered annotation `ca`, and with the name of the install. Carries the
/// `resourceVersion` of the read.
pub(super) fn same_with_metadata(
    read: &Secret,
    owners: Option<&BTreeSet<IngressRef>>,
    (to_copy, ca): (&Copied, Option<&str>),
    install: Option<&str>,
) -> Secret {
    let mark = to_copy.mark();
    let present = || Some(ingresses(read)).filter(|present| !present.is_empty());
    let annotations = read.metadata.annotations.iter().flatten();
    let annotations = annotations.map(|(name, value)| (name.as_str(), value.as_str()));
    let annotations = annotations.filter(|(name, _)| ANNOTATIONS.contains(name));
    let annotations = annotations.chain(install.map(|install| (INSTALL_ANNOTATION, install)));
    let annotations = annotations.chain(ca.map(|ca| (CA, ca)));
    let annotations = annotations.chain(copied(to_copy, mark.as_deref()));
    let data = read.data.iter().flatten();
    let data = data.filter(|(name, _)| [CHAIN, KEY].contains(&name.as_str()));
    Secret {
        metadata: ObjectMeta {
            name: read.metadata.name.clone(),
            resource_version: read.metadata.resource_version.clone(),
            labels: Some(our_label()),
            annotations: Some(owned(annotations)),
            owner_references: owners.map_or_else(present, references),
            ..ObjectMeta::default()
        },
        type_: read.type_.clone(),
        data: Some(data.map(|(name, bytes)| (name.clone(), bytes.clone())).collect()),
        ..Secret::default()
    }
}

/// The annotations to copy, with their mark.
fn copied<'a>(
    copied: &'a Copied,
    mark: Option<&'a str>,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    copied.iter().chain(mark.map(|mark| (COPIED, mark)))
}

fn owned<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The first references to Ingresses among `read`.
pub(super) fn ingresses(read: &Secret) -> Vec<OwnerReference> {
    let references = read.metadata.owner_references.iter().flatten();
    let references = references.filter(|owner| is_ingress(owner)).take(limits::OWNERS_READ);
    references.cloned().collect()
}

/// Whether the owner is an Ingress of any version.
pub(crate) fn is_ingress(owner: &OwnerReference) -> bool {
    owner.kind == OWNER_KIND && owner.api_version.starts_with("networking.k8s.io/")
}

/// Owner references to `owners`, neither controlling nor blocking: the Secret is deleted after its
/// last owner.
fn references(owners: &BTreeSet<IngressRef>) -> Option<Vec<OwnerReference>> {
    let reference = |owner: &IngressRef| OwnerReference {
        api_version: OWNER_VERSION.to_owned(),
        kind: OWNER_KIND.to_owned(),
        name: owner.key.name.to_string(),
        uid: owner.uid.to_string(),
        ..OwnerReference::default()
    };
    (!owners.is_empty()).then(|| owners.iter().map(reference).collect())
}

#[cfg(test)]
mod tests {
    use ingress_acme_actors::domain::certificate::{CertificateView, PrivateKey};
    use ingress_acme_actors::domain::ingress::IngressKey;
    use serde_json::{Value, json};

    use super::*;

    fn key() -> SecretKey {
        SecretKey::new("web", "tls")
    }

    fn leaf() -> CertificateView {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["a.example.com".to_owned()]).unwrap();
        crate::pki::inspect(&params.self_signed(&key).unwrap().pem(), None).unwrap()
    }

    fn what() -> Installation {
        let owner = IngressRef { key: IngressKey::new("web", "shop"), uid: "u1".into() };
        Installation {
            chain: "chain".into(),
            leaf: leaf(),
            key: PrivateKey::from_pem("key".into()),
            owners: Some([owner].into()),
            renew: None,
            adopt: false,
            directory: "https://ca.example/dir".into(),
            instead_of: None,
            ca: None,
            account: Some("https://ca.example/account/1".into()),
            copied: Copied::default(),
        }
    }

    fn expected() -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": "tls",
                "labels": {"app.kubernetes.io/managed-by": "ingress-acme"},
                "annotations": {
                    "ingress-acme.dev/directory": "https://ca.example/dir",
                    "ingress-acme.dev/account": "https://ca.example/account/1",
                    "ingress-acme.dev/install": "production",
                },
                "ownerReferences": [{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "shop", "uid": "u1"}],
            },
            "type": "kubernetes.io/tls",
            "data": {"tls.crt": "Y2hhaW4=", "tls.key": "a2V5"},
        })
    }

    #[test]
    fn exactly_our_fields_are_applied() {
        let secret = installed(&key(), &what(), Some("production"), &[]);
        assert_eq!(serde_json::to_value(&secret).unwrap(), expected());
    }

    #[test]
    fn other_owners_are_applied_with_the_fields_of_ours_that_are_there() {
        let read: Secret = serde_json::from_value(json!({
            "metadata": {
                "name": "tls",
                "resourceVersion": "7",
                "labels": {"app.kubernetes.io/managed-by": "ingress-acme", "team": "shop"},
                "annotations": {
                    "ingress-acme.dev/directory": "https://ca.example/dir",
                    "ingress-acme.dev/account": "https://ca.example/account/1", "reflect": "true",
                },
            },
            "type": "kubernetes.io/tls",
            "data": {"tls.crt": "Y2hhaW4=", "tls.key": "a2V5", "ca.crt": "Y2E="},
        }))
        .unwrap();
        let (owners, none) = (what().owners, Copied::default());
        let same = same_with_metadata(&read, owners.as_ref(), (&none, None), Some("production"));
        let mut expected = expected();
        expected["metadata"]["resourceVersion"] = json!("7");
        assert_eq!(serde_json::to_value(&same).unwrap(), expected);
        // The annotation that is answered is set, and removed again without it.
        let answered = same_with_metadata(&read, None, (&none, Some("b")), None);
        assert_eq!(answered.metadata.annotations.as_ref().unwrap()[CA], "b");
        let no_longer = same_with_metadata(&answered, None, (&none, None), None);
        assert!(!no_longer.metadata.annotations.unwrap().contains_key(CA));

        // Owners that are to stay as they are, are applied again.
        let left = Installation { owners: None, ..what() };
        let owners_of = |present: &[OwnerReference]| {
            installed(&key(), &left, None, present).metadata.owner_references
        };
        assert_eq!(owners_of(&[]), None);
        assert_eq!(owners_of(&ingresses(&same)), same.metadata.owner_references);
    }

    #[test]
    fn copied_annotations_are_applied_with_their_mark_and_without_them_neither_is() {
        let name = "reflector.v1.k8s.emberstack.com/reflection-allowed";
        let copied = Copied::of(&["reflector.v1.k8s.emberstack.com".to_owned()], [(name, "true")]);
        let with = |copied: &Copied| Installation { copied: copied.clone(), ..what() };
        let secret = installed(&key(), &with(&copied), Some("production"), &[]);
        let annotations = secret.metadata.annotations.clone().unwrap();
        assert_eq!(annotations[name], "true");
        assert_eq!(annotations.get(COPIED), copied.mark().as_ref());
        let owners = what().owners;
        let same =
            same_with_metadata(&secret, owners.as_ref(), (&copied, None), Some("production"));
        assert_eq!(same.metadata.annotations, Some(annotations));
        let none =
            same_with_metadata(&secret, None, (&Copied::default(), None), Some("production"));
        assert_eq!(serde_json::to_value(&none).unwrap(), expected(), "the owners stay");
    }
}
