//! Marks on objects of ours, and the controller named by any Ingress.

use std::collections::BTreeMap;

use ingress_acme_actors::domain::ingress::IngressClass;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Field manager of our writes, as shown in `metadata.managedFields`.
pub const FIELD_MANAGER: &str = "ingress-acme";
/// Field manager of our writes into users' Ingresses, apart from those of `spec.tls`.
pub const IN_PLACE_MANAGER: &str = "ingress-acme-in-place";
/// Annotation with the install and the hosts of a user's Ingress whose rules have our path. It
/// marks what is to be undone.
pub const IN_PLACE_ANNOTATION: &str = "ingress-acme.dev/in-place";
/// Annotation with the install that an object of ours belongs to (`--install-id`).
pub const INSTALL_ANNOTATION: &str = "ingress-acme.dev/install";
/// Label on every object that the operator creates.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY_LABEL`].
pub const MANAGED_BY: &str = "ingress-acme";
/// Annotation that named the controller before `spec.ingressClassName` (Kubernetes 1.18). Still in
/// use.
pub const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// Annotation that makes an Ingress a minion (F5 NGINX Ingress Controller).
pub const MINION: (&str, &str) = ("nginx.org/mergeable-ingress-type", "minion");

/// Whether the object carries our label.
pub fn is_ours(metadata: &ObjectMeta) -> bool {
    let label = metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY_LABEL));
    label.is_some_and(|value| value == MANAGED_BY)
}

/// Returns the install that the object belongs to, if it says so.
pub fn install_of(metadata: &ObjectMeta) -> Option<&str> {
    metadata.annotations.as_ref()?.get(INSTALL_ANNOTATION).map(String::as_str)
}

/// Returns our label, for `metadata.labels`.
pub fn our_label() -> BTreeMap<String, String> {
    [(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned())].into()
}

/// Returns the class of `ingress`. The field takes precedence over the annotation.
pub fn class(ingress: &Ingress) -> IngressClass {
    let field = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
    let annotations = ingress.metadata.annotations.as_ref();
    let annotation = annotations.and_then(|all| all.get(CLASS_ANNOTATION)).map(String::as_str);
    let given = |name: &&str| !name.is_empty();
    match (field.filter(given), annotation.filter(given)) {
        (Some(name), _) => IngressClass::Named(name.into()),
        (None, Some(name)) => IngressClass::Annotated(name.into()),
        (None, None) => IngressClass::Default,
    }
}
