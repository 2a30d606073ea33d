//! Server-side apply: ownership of fields, conflicts, and removals.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::test_cluster::{TestCluster, complaints, refused};

const NAMESPACE: &str = "applies";
/// UID of no object.
const NOBODY: &str = "6f7c6b0a-0000-4000-8000-000000000000";

pub(crate) async fn behave(cluster: &TestCluster) {
    cluster.namespace(NAMESPACE).await;
    let api: Api<Secret> = Api::namespaced(cluster.admin.clone(), NAMESPACE);
    an_apply_owns_exactly_what_it_says(&api).await;
    the_same_apply_again_changes_nothing(&api).await;
    others_are_not_overwritten_without_force(&api).await;
    what_is_no_longer_applied_goes_unless_another_owns_it(&api).await;
    owners_and_finalizers_are_merged_by_item(&api).await;
    who_cleared_the_managed_fields_still_owns_what_is_there(&api).await;
    an_apply_is_for_the_object_that_was_meant(&api).await;
}

fn secret(name: &str, metadata: &Value, data: &Value) -> Value {
    let mut object =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"});
    object["metadata"]["name"] = json!(name);
    if !data.is_null() {
        object["data"] = data.clone();
    }
    object
}

async fn apply(api: &Api<Secret>, who: &str, object: &Value) -> Result<Secret, kube::Error> {
    let name = object["metadata"]["name"].as_str().unwrap();
    api.patch(name, &PatchParams::apply(who), &Patch::Apply(object)).await
}

async fn force(api: &Api<Secret>, who: &str, object: &Value) -> Secret {
    let name = object["metadata"]["name"].as_str().unwrap();
    api.patch(name, &PatchParams::apply(who).force(), &Patch::Apply(object)).await.unwrap()
}

/// Fields owned by `manager`, according to the object.
fn owned(secret: &Secret, manager: &str) -> Value {
    let entries = secret.managed_fields();
    let mut entries = entries.iter().filter(|entry| entry.manager.as_deref() == Some(manager));
    entries.next().map_or(Value::Null, |entry| serde_json::to_value(&entry.fields_v1).unwrap())
}

async fn an_apply_owns_exactly_what_it_says(api: &Api<Secret>) {
    let said = secret("one", &json!({"labels": {"a": "1", "b": "1"}}), &json!({"x": "QQ=="}));
    let made = apply(api, "me", &said).await.unwrap();
    let fields = json!({"f:metadata": {"f:labels": {"f:a": {}, "f:b": {}}}, "f:data": {"f:x": {}}, "f:type": {}});
    assert_eq!(owned(&made, "me"), fields);
    let entry = &made.managed_fields()[0];
    assert_eq!(
        (entry.operation.as_deref(), entry.api_version.as_deref()),
        (Some("Apply"), Some("v1"))
    );
    let patch = Patch::Merge(json!({"metadata": {"labels": {"c": "1"}}}));
    let params = PatchParams { field_manager: Some("other".into()), ..PatchParams::default() };
    let patched = api.patch("one", &params, &patch).await.unwrap();
    assert_eq!(owned(&patched, "me"), fields);
    assert_eq!(owned(&patched, "other"), json!({"f:metadata": {"f:labels": {"f:c": {}}}}));
}

async fn the_same_apply_again_changes_nothing(api: &Api<Secret>) {
    let said = secret("one", &json!({"labels": {"a": "1", "b": "1"}}), &json!({"x": "QQ=="}));
    let before = api.get("one").await.unwrap();
    // Times in managed fields have a resolution of one second.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(apply(api, "me", &said).await.unwrap(), before);
    assert_eq!(force(api, "me", &said).await, before);
}

async fn others_are_not_overwritten_without_force(api: &Api<Secret>) {
    let same = secret("one", &json!({"labels": {"a": "1"}}), &Value::Null);
    apply(api, "third", &same).await.unwrap();
    let said = secret("one", &json!({"labels": {"a": "2", "c": "2"}}), &json!({"x": "QQ=="}));
    let refusal = refused(apply(api, "second", &said).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (409, "Conflict"));
    let mut fields = complaints(&refusal);
    fields.sort_unstable();
    assert_eq!(fields, [".metadata.labels.a", ".metadata.labels.a", ".metadata.labels.c"]);
    let causes = refusal.details.unwrap().causes;
    assert!(causes.iter().all(|cause| cause.reason == "FieldManagerConflict"));
    let messages: Vec<&str> = causes.iter().map(|cause| &*cause.message).collect();
    assert!(messages.contains(&"conflict with \"me\""), "{messages:?}");
    assert!(
        messages.iter().any(|message| message.starts_with("conflict with \"other\" using v1")),
        "{messages:?}"
    );

    let forced = force(api, "second", &said).await;
    assert_eq!((forced.labels()["a"].as_str(), forced.labels()["c"].as_str()), ("2", "2"));
    assert_eq!(owned(&forced, "other"), Value::Null);
    assert_eq!(owned(&forced, "me")["f:metadata"], json!({"f:labels": {"f:b": {}}}));
    let back = secret("one", &json!({"labels": {"a": "1", "b": "1"}}), &json!({"x": "QQ=="}));
    force(api, "me", &back).await;
}

async fn what_is_no_longer_applied_goes_unless_another_owns_it(api: &Api<Secret>) {
    let less = secret("one", &json!({"labels": {"a": "1"}}), &json!({"y": "QQ=="}));
    let after = apply(api, "me", &less).await.unwrap();
    assert_eq!(after.labels().keys().collect::<Vec<_>>(), ["a", "c"]);
    let data = after.data.as_ref().unwrap();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["x", "y"], "the second one owns x");
    let nothing = secret("one", &json!({}), &Value::Null);
    let after = apply(api, "second", &nothing).await.unwrap();
    assert_eq!(after.labels().keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(after.data.unwrap().keys().collect::<Vec<_>>(), ["y"]);
    let after = apply(api, "me", &nothing).await.unwrap();
    assert_eq!((after.metadata.labels, after.data), (None, None));
}

async fn owners_and_finalizers_are_merged_by_item(api: &Api<Secret>) {
    let first = api.get("one").await.unwrap();
    let second = apply(api, "me", &secret("two", &json!({}), &Value::Null)).await.unwrap();
    let owner = |owner: &Secret| json!({"apiVersion": "v1", "kind": "Secret", "name": owner.name_any(), "uid": owner.uid()});
    let (first, second) = (owner(&first), owner(&second));
    let mine = secret(
        "owned",
        &json!({"ownerReferences": [first], "finalizers": ["example.com/a"]}),
        &Value::Null,
    );
    let made = apply(api, "me", &mine).await.unwrap();
    let key = format!("k:{}", json!({"uid": first["uid"]}));
    let fields =
        json!({"f:ownerReferences": {key: {}}, "f:finalizers": {"v:\"example.com/a\"": {}}});
    assert_eq!(owned(&made, "me")["f:metadata"], fields);
    let theirs = secret(
        "owned",
        &json!({"ownerReferences": [second], "finalizers": ["example.com/b"]}),
        &Value::Null,
    );
    let both = apply(api, "other", &theirs).await.unwrap();
    assert_eq!((both.owner_references().len(), both.finalizers().len()), (2, 2));
    let less = secret("owned", &json!({}), &Value::Null);
    let one = apply(api, "me", &less).await.unwrap();
    assert_eq!(serde_json::to_value(one.owner_references()).unwrap(), json!([second]));
    assert_eq!(one.finalizers(), ["example.com/b"]);
    let none = apply(api, "other", &less).await.unwrap();
    assert_eq!((none.metadata.owner_references, none.metadata.finalizers), (None, None));
}

async fn who_cleared_the_managed_fields_still_owns_what_is_there(api: &Api<Secret>) {
    let object = secret("cleared", &json!({"labels": {"a": "1"}}), &json!({"x": "QQ=="}));
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
    let patch = Patch::Merge(json!({"metadata": {"managedFields": [{}]}}));
    let cleared = api.patch("cleared", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(cleared.metadata.managed_fields, None);
    let patch = Patch::Merge(json!({"metadata": {"labels": {"b": "1"}}}));
    let patched = api.patch("cleared", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.metadata.managed_fields, None);
    let said = secret("cleared", &json!({"labels": {"a": "2"}}), &json!({"x": "QQ=="}));
    let refusal = refused(apply(api, "me", &said).await);
    assert_eq!((refusal.code, complaints(&refusal)), (409, vec![".metadata.labels.a"]));
    assert!(refusal.message.contains("before-first-apply"), "{}", refusal.message);
    let forced = force(api, "me", &said).await;
    let left = &owned(&forced, "before-first-apply")["f:metadata"]["f:labels"];
    assert_eq!((left["f:b"].is_object(), left["f:a"].is_object()), (true, false));
}

async fn an_apply_is_for_the_object_that_was_meant(api: &Api<Secret>) {
    let of = |name: &str, key: &str, value: &str| secret(name, &json!({key: value}), &Value::Null);
    let absent = refused(apply(api, "me", &of("absent", "uid", NOBODY)).await);
    assert_eq!((absent.code, absent.reason.as_str()), (409, "Conflict"));
    let other = refused(apply(api, "me", &of("one", "uid", NOBODY)).await);
    assert_eq!((other.code, complaints(&other).first()), (422, Some(&"metadata.uid")));
    let outdated = refused(apply(api, "me", &of("one", "resourceVersion", "1")).await);
    assert_eq!((outdated.code, outdated.reason.as_str()), (409, "Conflict"));
    let now = api.get("one").await.unwrap();
    apply(api, "me", &of("one", "uid", &now.uid().unwrap())).await.unwrap();
    let version = now.resource_version().unwrap();
    apply(api, "me", &of("one", "resourceVersion", &version)).await.unwrap();
    // A version does not make an apply update-only: an absent object is created.
    apply(api, "me", &of("absent", "resourceVersion", "1")).await.unwrap();
    api.delete("absent", &DeleteParams::default()).await.unwrap();
}
