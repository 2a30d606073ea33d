//! Accepted writes: changed and unchanged fields.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::test_cluster::{TestCluster, refusal};

const NAMESPACE: &str = "writes";

pub(crate) async fn behave(cluster: &TestCluster) {
    cluster.namespace(NAMESPACE).await;
    let secrets: Api<Secret> = Api::namespaced(cluster.admin.clone(), NAMESPACE);
    let ingresses: Api<Ingress> = Api::namespaced(cluster.admin.clone(), NAMESPACE);
    what_is_created_is_complete(&secrets).await;
    a_write_that_changes_nothing_is_none(&secrets).await;
    a_dry_run_of_a_patch_stores_nothing(&secrets).await;
    text_becomes_data(&secrets).await;
    a_generation_counts_changes_of_the_spec(&ingresses).await;
    a_status_is_written_by_itself(&ingresses).await;
    an_object_with_a_finalizer_waits(&secrets).await;
    several_are_deleted_by_a_selector(&secrets).await;
}

fn secret(object: Value) -> Secret {
    serde_json::from_value(object).unwrap()
}

fn ingress(host: &str) -> Ingress {
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
    let rules = json!([{"host": host, "http": {"paths": paths}}]);
    serde_json::from_value(json!({"metadata": {"name": "site"}, "spec": {"rules": rules}})).unwrap()
}

async fn what_is_created_is_complete(api: &Api<Secret>) {
    let params = PostParams { field_manager: Some("maker".into()), ..PostParams::default() };
    let object = json!({"metadata": {"name": "made", "labels": {"a": "b"}}, "data": {"x": "QQ=="}, "type": "Opaque"});
    let made = api.create(&params, &secret(object)).await.unwrap();
    assert_eq!(made.uid().unwrap().len(), 36);
    assert!(made.creation_timestamp().is_some() && made.resource_version().is_some());
    assert_eq!(
        (made.namespace().as_deref(), made.type_.as_deref()),
        (Some(NAMESPACE), Some("Opaque"))
    );
    let owner = &made.managed_fields()[0];
    assert_eq!(
        (owner.manager.as_deref(), owner.operation.as_deref()),
        (Some("maker"), Some("Update"))
    );
    assert_eq!(api.get("made").await.unwrap(), made);

    let plain =
        api.create(&PostParams::default(), &secret(json!({"metadata": {"name": "plain"}}))).await;
    assert_eq!(plain.unwrap().type_.as_deref(), Some("Opaque"));
    let named = secret(json!({"metadata": {"generateName": "some-"}}));
    let named = api.create(&PostParams::default(), &named).await.unwrap().name_any();
    assert!(named.starts_with("some-") && named.len() == "some-".len() + 5, "{named}");
}

async fn a_write_that_changes_nothing_is_none(api: &Api<Secret>) {
    let before = api.get("made").await.unwrap();
    let put = api.replace("made", &PostParams::default(), &before).await.unwrap();
    assert_eq!(put, before);
    let patch = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    assert_eq!(api.patch("made", &PatchParams::default(), &patch).await.unwrap(), before);
    let patch = Patch::Merge(json!({"metadata": {"labels": {"a": "c"}}}));
    let after = api.patch("made", &PatchParams::default(), &patch).await.unwrap();
    assert_ne!(after.resource_version(), before.resource_version());
    assert_eq!(after.uid(), before.uid());
}

async fn a_dry_run_of_a_patch_stores_nothing(api: &Api<Secret>) {
    let before = api.get("made").await.unwrap();
    let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
    let patch = Patch::Merge(json!({"metadata": {"labels": {"a": "dry"}}}));
    let tried = api.patch("made", &dry_run, &patch).await.unwrap();
    assert_eq!(tried.labels()["a"], "dry");
    let tried = api.patch_metadata("made", &dry_run, &patch).await.unwrap();
    assert_eq!(tried.labels()["a"], "dry");
    assert_eq!(api.get("made").await.unwrap(), before);
    let patch = Patch::Merge(json!({"type": "example.com/other"}));
    assert_eq!(refusal(api.patch("made", &dry_run, &patch).await), (422, "Invalid".to_owned()));
    let patch = Patch::Merge(json!({"metadata": {"resourceVersion": "1", "labels": {"a": "old"}}}));
    assert_eq!(refusal(api.patch("made", &dry_run, &patch).await), (409, "Conflict".to_owned()));
    assert_eq!(refusal(api.patch("none", &dry_run, &patch).await), (404, "NotFound".to_owned()));
}

async fn text_becomes_data(api: &Api<Secret>) {
    let patch = Patch::Merge(json!({"stringData": {"y": "A"}, "data": {"x": null}}));
    let patched = api.patch("made", &PatchParams::default(), &patch).await.unwrap();
    let patched = serde_json::to_value(&patched).unwrap();
    assert_eq!((&patched["data"], &patched["stringData"]), (&json!({"y": "QQ=="}), &Value::Null));
    let patch = Patch::Merge(json!({"data": {"y": null}}));
    let patched = api.patch("made", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.data, None);
}

async fn a_generation_counts_changes_of_the_spec(api: &Api<Ingress>) {
    let made = api.create(&PostParams::default(), &ingress("a.example.com")).await.unwrap();
    assert_eq!(made.metadata.generation, Some(1));
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"a": "b"}}}));
    let noted = api.patch("site", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(noted.metadata.generation, Some(1));
    let patch = Patch::Merge(json!({"spec": {"tls": [{"hosts": ["a.example.com"]}]}}));
    let changed = api.patch("site", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(changed.metadata.generation, Some(2));
    // A PUT without a version overwrites any version.
    let put = api.replace("site", &PostParams::default(), &ingress("b.example.com")).await.unwrap();
    assert_eq!((put.metadata.generation, put.metadata.annotations), (Some(3), None));
}

async fn a_status_is_written_by_itself(api: &Api<Ingress>) {
    let status = json!({"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}});
    let both =
        json!({"status": status, "metadata": {"annotations": {"x": "y"}}, "spec": {"rules": null}});
    let patched =
        api.patch_status("site", &PatchParams::default(), &Patch::Merge(both)).await.unwrap();
    assert_eq!(serde_json::to_value(&patched.status).unwrap(), status);
    assert!(patched.spec.unwrap().rules.is_some());
    let patch = Patch::Merge(json!({"status": {"loadBalancer": null}}));
    let untouched = api.patch("site", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(serde_json::to_value(&untouched.status).unwrap(), status);
    assert_eq!(untouched.metadata.generation, patched.metadata.generation);
}

async fn an_object_with_a_finalizer_waits(api: &Api<Secret>) {
    let held = secret(json!({"metadata": {"name": "held", "finalizers": ["example.com/wait"]}}));
    api.create(&PostParams::default(), &held).await.unwrap();
    let leaving = api.delete("held", &DeleteParams::default()).await.unwrap();
    assert!(leaving.left().unwrap().metadata.deletion_timestamp.is_some());
    assert!(api.get("held").await.unwrap().metadata.deletion_timestamp.is_some());
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("held", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(refusal(api.get("held").await), (404, "NotFound".to_owned()));
}

async fn several_are_deleted_by_a_selector(api: &Api<Secret>) {
    for (name, group) in [("one", "x"), ("two", "x"), ("three", "y")] {
        let object = secret(json!({"metadata": {"name": name, "labels": {"group": group}}}));
        api.create(&PostParams::default(), &object).await.unwrap();
    }
    let of_group = ListParams::default().labels("group=x");
    api.delete_collection(&DeleteParams::default(), &of_group).await.unwrap();
    let left = api.list(&ListParams::default().labels("group")).await.unwrap().items;
    assert_eq!(left.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["three"]);
    let gone = api.delete("three", &DeleteParams::default()).await.unwrap().right().unwrap();
    assert_eq!(gone.details.unwrap().kind, "secrets");
}
