//! `kubectl apply --server-side`, as far as the tests need.

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{GroupVersionKind, TypeMeta};
use kube::discovery::{Scope, pinned_kind};
use kube::{Client, ResourceExt};
use serde_json::Value;

use crate::error::ApplyError;

/// Field manager of the applied fields: from the operator's view, the user.
const FIELD_MANAGER: &str = "kubectl";
/// Namespace for objects that name none.
const DEFAULT_NAMESPACE: &str = "default";

/// YAML of a solver Ingress like the operator's, which routes the challenges of these hosts to the
/// solver; for tests without an operator.
pub fn solver_route(hosts: &[&str]) -> String {
    let rule = |host: &&str| {
        format!(
            "    - host: {host}
      http:
        paths:
          - path: /.well-known/acme-challenge/
            pathType: Prefix
            backend: {{service: {{name: ingress-acme-solver, port: {{number: 80}}}}}}\n"
        )
    };
    let rules: String = hosts.iter().map(rule).collect();
    format!(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: solver, namespace: ingress-acme}}
spec:
  rules:
{rules}"
    )
}

/// Applies each document of a YAML text, in order, by server-side apply.
///
/// Empty documents are skipped. An object of a namespaced kind without a namespace goes to
/// `default`. Applying the same text again changes nothing.
pub async fn apply_yaml(client: &Client, yaml: &str) -> Result<(), ApplyError> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(yaml).map_err(|error| ApplyError::Yaml(error.to_string()))?;
    let objects = documents.into_iter().enumerate().filter(|(_, document)| !document.is_null());
    for (index, document) in objects {
        let incomplete = || ApplyError::NotAnObject { number: index + 1 };
        let object: DynamicObject = serde_json::from_value(document).map_err(|_| incomplete())?;
        let (Some(types), Some(name)) = (&object.types, &object.metadata.name) else {
            return Err(incomplete());
        };
        let kind = kind_of(types).ok_or_else(incomplete)?;
        let label = format!("{}/{name}", kind.kind);
        apply(client, &kind, &object)
            .await
            .map_err(|source| ApplyError::Api { object: label, source: Box::new(source) })?;
    }
    Ok(())
}

async fn apply(
    client: &Client,
    kind: &GroupVersionKind,
    object: &DynamicObject,
) -> Result<(), kube::Error> {
    let (resource, capabilities) = pinned_kind(client, kind).await?;
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            let namespace = object.namespace();
            let namespace = namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
    };
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&object.name_any(), &params, &Patch::Apply(object)).await.map(drop)
}

fn kind_of(types: &TypeMeta) -> Option<GroupVersionKind> {
    GroupVersionKind::try_from(types).ok()
}
