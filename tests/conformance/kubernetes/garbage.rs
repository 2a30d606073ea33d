//! Garbage collection: objects deleted with their owners, and objects that stay.

use ingress_acme_control_plane::eventually;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, PostParams, PropagationPolicy};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::test_cluster::{SOON, TestCluster};

const NAMESPACE: &str = "garbage";
/// UID of no object.
const NOBODY: &str = "6f7c6b0a-0000-4000-8000-000000000000";

pub(crate) async fn behave(cluster: &TestCluster) {
    cluster.namespace(NAMESPACE).await;
    let secrets: Api<Secret> = Api::namespaced(cluster.admin.clone(), NAMESPACE);
    let ingresses: Api<Ingress> = Api::namespaced(cluster.admin.clone(), NAMESPACE);
    with_its_last_owner_an_object_goes(&secrets, &ingresses).await;
    an_owner_that_never_was_does_not_count(&secrets, &ingresses).await;
    an_orphan_stays(&secrets, &ingresses).await;
}

async fn owner(api: &Api<Ingress>, name: &str) -> Value {
    let object =
        json!({"metadata": {"name": name}, "spec": {"rules": [{"host": "a.example.com"}]}});
    let object = serde_json::from_value(object).unwrap();
    reference(name, &api.create(&PostParams::default(), &object).await.unwrap().uid().unwrap())
}

fn reference(name: &str, uid: &str) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": name, "uid": uid})
}

async fn owned(api: &Api<Secret>, name: &str, owners: &[&Value]) {
    let object = json!({"metadata": {"name": name, "ownerReferences": owners}});
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

/// Waits until the object has these owners; `None` means that the object is gone.
async fn until(api: &Api<Secret>, name: &str, owners: Option<&[&Value]>) {
    let wanted = json!(owners);
    eventually(SOON, &format!("{name} with {wanted}"), async || {
        let found = api.get_opt(name).await.unwrap();
        let found = found.map(|secret| secret.owner_references().to_vec());
        (serde_json::to_value(found).unwrap() == wanted).then_some(())
    })
    .await;
}

async fn with_its_last_owner_an_object_goes(secrets: &Api<Secret>, ingresses: &Api<Ingress>) {
    let (one, two) = (owner(ingresses, "one").await, owner(ingresses, "two").await);
    owned(secrets, "single", &[&one]).await;
    owned(secrets, "shared", &[&one, &two]).await;
    owned(secrets, "free", &[]).await;
    ingresses.delete("one", &DeleteParams::default()).await.unwrap();
    until(secrets, "single", None).await;
    until(secrets, "shared", Some(&[&two])).await;
    ingresses.delete("two", &DeleteParams::default()).await.unwrap();
    until(secrets, "shared", None).await;
    until(secrets, "free", Some(&[])).await;
}

async fn an_owner_that_never_was_does_not_count(secrets: &Api<Secret>, ingresses: &Api<Ingress>) {
    let (real, nobody) = (owner(ingresses, "real").await, reference("nobody", NOBODY));
    owned(secrets, "dangling", &[&nobody]).await;
    owned(secrets, "half", &[&nobody, &real]).await;
    until(secrets, "dangling", None).await;
    until(secrets, "half", Some(&[&real])).await;
}

async fn an_orphan_stays(secrets: &Api<Secret>, ingresses: &Api<Ingress>) {
    let parent = owner(ingresses, "parent").await;
    owned(secrets, "orphan", &[&parent]).await;
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..DeleteParams::default()
    };
    ingresses.delete("parent", &params).await.unwrap();
    until(secrets, "orphan", Some(&[])).await;
}
