//! `spec.tls` of an Ingress whose user left that field out.
//!
//! Server-side apply without force owns two fields: all of `spec.tls`, and our annotation. All
//! other fields stay the user's. A `spec.tls` of the user conflicts with ours and wins. A later
//! client-side `kubectl apply` keeps ours while the manifest has no `spec.tls`, and takes the field
//! over once the manifest has one. (`kubectl apply --server-side` reports the conflict; the user
//! then adds `--force-conflicts`.) `metadata.uid` ensures that no other Ingress of the same name is
//! changed, and that a deleted Ingress is not recreated.

use std::collections::BTreeSet;

use ingress_acme_actors::domain::desired::plan::filled_tls_value;
use ingress_acme_actors::domain::ingress::{ANNOTATION_PREFIX, FILLED_TLS, IngressRef, SecretKey};
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::ports::PortError;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Patch, PatchParams};
use kube::core::Status;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::kubernetes::client::{FIELD_MANAGER, port_error};

/// Fills in `spec.tls`, unless the user has set that field in the meantime or the Ingress is gone.
pub(super) async fn fill(
    client: &Client,
    ingress: &IngressRef,
    secret: &SecretKey,
    hosts: &BTreeSet<DnsName>,
) -> Result<(), PortError> {
    apply(client, ingress, filled(ingress, secret, hosts), "fill in").await.map(drop)
}

/// Takes back `spec.tls` and our annotation: an apply without these two fields removes them where
/// nobody else has applied them, and leaves the user's. Returns whether `spec.tls` is gone.
pub(super) async fn take_back(client: &Client, ingress: &IngressRef) -> Result<bool, PortError> {
    let left = apply(client, ingress, ours(ingress), "take back").await?;
    let tls = left.map(|left| left.spec.and_then(|spec| spec.tls).unwrap_or_default());
    Ok(tls.is_some_and(|tls| tls.is_empty()))
}

/// Applies our fields. Returns the Ingress afterwards; `None` if `spec.tls` must be left alone.
async fn apply(
    client: &Client,
    ingress: &IngressRef,
    what: Value,
    doing: &str,
) -> Result<Option<Ingress>, PortError> {
    let key = &ingress.key;
    let api: Api<Ingress> = Api::namespaced(client.clone(), &key.namespace);
    let (params, what) = (PatchParams::apply(FIELD_MANAGER), Patch::Apply(what));
    match api.patch(&key.name, &params, &what).await {
        Ok(applied) => Ok(Some(applied)),
        Err(kube::Error::Api(status)) if is_no_longer_ours_to_fill(&status) => {
            let why = &status.message;
            tracing::debug!(ingress = %key, why, "spec.tls is left as it is");
            Ok(None)
        }
        Err(error) => Err(port_error(error, &format!("{doing} spec.tls of Ingress {key}"))),
    }
}

/// The Ingress without any field of ours.
fn ours(ingress: &IngressRef) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": ingress.key.name, "uid": ingress.uid},
    })
}

fn filled(ingress: &IngressRef, secret: &SecretKey, hosts: &BTreeSet<DnsName>) -> Value {
    let annotation = format!("{ANNOTATION_PREFIX}{FILLED_TLS}");
    let value = filled_tls_value(hosts.iter().map(DnsName::as_str));
    let mut filled = ours(ingress);
    filled["metadata"]["annotations"] = json!({ annotation: value });
    filled["spec"] = json!({"tls": [{"hosts": hosts, "secretName": secret.name}]});
    filled
}

/// Whether `spec.tls` must be left alone. 404: the Ingress is gone. 409: another manager owns
/// `spec.tls`, or the Ingress is gone (its uid is not found). 422 on the uid: another Ingress has
/// the same name.
fn is_no_longer_ours_to_fill(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    match status.code {
        404 | 409 => true,
        422 => causes.map(|cause| &*cause.field).any(|field| field == "metadata.uid"),
        _ => false,
    }
}
