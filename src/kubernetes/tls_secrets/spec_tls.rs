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
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::ingress::{ANNOTATION_PREFIX, FILLED_TLS, IngressRef, SecretKey};
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::ports::PortError;
use k8s_openapi::api::networking::v1::{Ingress, IngressTLS};
use kube::api::{Patch, PatchParams};
use kube::core::Status;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::kubernetes::client::{FIELD_MANAGER, port_error};

/// Fills in `spec.tls`, unless the user has set that field in the meantime or the Ingress is gone.
///
/// # Errors
/// Also where another writer applies an empty `spec.tls`, as charts render it: the field is that
/// writer's, and its next apply would take ours away again.
pub(super) async fn fill(
    client: &Client,
    ingress: &IngressRef,
    secret: &SecretKey,
    hosts: &BTreeSet<DnsName>,
) -> Result<(), PortError> {
    let (what, params) = (filled(ingress, secret, hosts), PatchParams::apply(FIELD_MANAGER));
    if apply(client, ingress, what, &params, "fill in").await?.is_some() {
        return Ok(());
    }
    // Without any field of ours, and as a trial, an apply is a read, for which there is no right.
    let trial = params.dry_run();
    let left = apply(client, ingress, ours(ingress), &trial, "look at").await?;
    if left.is_some_and(|left| tls_of(left).is_empty()) {
        return Err(is_empty(secret));
    }
    Ok(())
}

/// Takes back `spec.tls` and our annotation: an apply without these two fields removes them where
/// nobody else has applied them, and leaves the user's. Returns whether `spec.tls` is gone.
pub(super) async fn take_back(client: &Client, ingress: &IngressRef) -> Result<bool, PortError> {
    let params = PatchParams::apply(FIELD_MANAGER);
    let left = apply(client, ingress, ours(ingress), &params, "take back").await?;
    Ok(left.is_some_and(|left| tls_of(left).is_empty()))
}

/// Whether another writer owns an empty `spec.tls`, as charts render it: [`fill`] would be refused.
pub(crate) fn is_owned_empty(ingress: &Ingress) -> bool {
    let tls = ingress.spec.as_ref().and_then(|spec| spec.tls.as_ref());
    let others = ingress.metadata.managed_fields.iter().flatten();
    let mut others = others.filter(|one| one.manager.as_deref() != Some(FIELD_MANAGER));
    tls.is_none_or(Vec::is_empty)
        && others.any(|one| {
            let fields = one.fields_v1.as_ref();
            fields.is_some_and(|fields| fields.0["f:spec"].get("f:tls").is_some())
        })
}

fn tls_of(ingress: Ingress) -> Vec<IngressTLS> {
    ingress.spec.and_then(|spec| spec.tls).unwrap_or_default()
}

fn is_empty(secret: &SecretKey) -> PortError {
    let detail = format!(
        "another writer (kubectl apply --server-side, Helm or GitOps) applies an empty spec.tls, which is thus not for \
         ingress-acme to fill in: leave the field out of the manifest, or name Secret {} there",
        secret.name
    );
    PortError::permanent(FailureClass::SecretWrite, detail)
}

/// Applies our fields. Returns the Ingress afterwards; `None` if `spec.tls` must be left alone.
async fn apply(
    client: &Client,
    ingress: &IngressRef,
    what: Value,
    params: &PatchParams,
    doing: &str,
) -> Result<Option<Ingress>, PortError> {
    let key = &ingress.key;
    let api: Api<Ingress> = Api::namespaced(client.clone(), &key.namespace);
    match api.patch(&key.name, params, &Patch::Apply(what)).await {
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use ingress_acme_actors::domain::ingress::IngressKey;
    use kube::client::Body;

    use super::*;

    /// An API server on which another writer owns `spec.tls`, with this value.
    fn owned(tls: Value) -> Client {
        let server = tower::service_fn(move |request: Request<Body>| {
            let is_trial = request.uri().query().unwrap_or_default().contains("dryRun=All");
            let conflict = json!({"status": "Failure", "reason": "Conflict", "code": 409});
            let stored = json!({"metadata": {"name": "shop"}, "spec": {"tls": tls}});
            let (code, answer) = if is_trial { (200, stored) } else { (409, conflict) };
            let body = Body::from(answer.to_string().into_bytes());
            let answer = Response::builder().status(code).body(body);
            async move { Ok::<_, Infallible>(answer.expect("a status and a body are a response")) }
        });
        Client::new(server, "web")
    }

    async fn fills(tls: Value) -> Result<(), PortError> {
        let ingress = IngressRef { key: IngressKey::new("web", "shop"), uid: "u1".into() };
        let hosts = [DnsName::parse("a.example.com").unwrap()].into();
        fill(&owned(tls), &ingress, &SecretKey::new("web", "shop-tls"), &hosts).await
    }

    #[tokio::test]
    async fn an_empty_spec_tls_of_another_writer_is_told_and_one_of_the_user_is_right() {
        for empty in [json!([]), json!(null)] {
            let Err(PortError::Permanent(told)) = fills(empty).await else { panic!("not told") };
            let remedy = "leave the field out of the manifest, or name Secret shop-tls there";
            assert!(told.detail.contains(remedy), "{told:?}");
        }
        let theirs = json!([{"hosts": ["a.example.com"], "secretName": "mine"}]);
        assert_eq!(fills(theirs).await, Ok(()));
    }
}
