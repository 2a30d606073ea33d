//! Refused writes, and the refusals' codes, reasons and fields.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};

use ingress_acme_control_plane::eventually;

use crate::test_cluster::{SOON, TestCluster, complaints, refusal, refused};

const NAMESPACE: &str = "refusals";
/// UID of no object.
const NOBODY: &str = "6f7c6b0a-0000-4000-8000-000000000000";

pub(crate) async fn behave(cluster: &TestCluster) {
    cluster.namespace(NAMESPACE).await;
    let secrets: Api<Secret> = Api::namespaced(cluster.admin.clone(), NAMESPACE);
    what_exists_is_not_created_and_what_does_not_is_not_changed(&secrets).await;
    an_outdated_write_is_refused(&secrets).await;
    a_secret_keeps_its_type_and_what_its_type_needs(&secrets).await;
    an_immutable_secret_keeps_its_data(&secrets).await;
    preconditions_hold(&secrets).await;
    a_lease_is_replaced_only_in_the_version_that_was_read(&cluster.admin).await;
    bad_ingresses_are_refused_by_field(&cluster.admin).await;
    a_namespace_must_be_there_to_stay(&cluster.admin).await;
    other_requests_are_refused(&cluster.admin).await;
}

fn secret(name: &str, kind: &str, data: &Value) -> Secret {
    serde_json::from_value(json!({"metadata": {"name": name}, "type": kind, "data": data})).unwrap()
}

fn said(code: u16, reason: &str) -> (u16, String) {
    (code, reason.to_owned())
}

async fn what_exists_is_not_created_and_what_does_not_is_not_changed(api: &Api<Secret>) {
    let one = secret("one", "Opaque", &json!({"a": "QQ=="}));
    api.create(&PostParams::default(), &one).await.unwrap();
    let again = refused(api.create(&PostParams::default(), &one).await);
    assert_eq!((again.code, again.message.as_str()), (409, "secrets \"one\" already exists"));
    assert!(again.is_already_exists());
    let patch = Patch::Merge(json!({"data": {"a": "Qg=="}}));
    let none = refused(api.patch("none", &PatchParams::default(), &patch).await);
    assert_eq!((none.code, none.message.as_str()), (404, "secrets \"none\" not found"));
    let none = secret("none", "Opaque", &json!({}));
    assert_eq!(
        refusal(api.replace("none", &PostParams::default(), &none).await),
        said(404, "NotFound")
    );
    assert_eq!(refusal(api.delete("none", &DeleteParams::default()).await), said(404, "NotFound"));
    assert_eq!(refusal(api.get("none").await), said(404, "NotFound"));
}

async fn an_outdated_write_is_refused(api: &Api<Secret>) {
    let old = api.get("one").await.unwrap();
    let patch = Patch::Merge(json!({"data": {"a": "Qg=="}}));
    api.patch("one", &PatchParams::default(), &patch).await.unwrap();
    let conflict = refused(api.replace("one", &PostParams::default(), &old).await);
    assert_eq!((conflict.code, conflict.reason.as_str()), (409, "Conflict"));
    assert!(conflict.message.contains("the object has been modified"));
    let version = json!({"metadata": {"resourceVersion": old.metadata.resource_version}});
    let patched = api.patch("one", &PatchParams::default(), &Patch::Merge(version)).await;
    assert_eq!(refusal(patched), said(409, "Conflict"));
}

async fn a_secret_keeps_its_type_and_what_its_type_needs(api: &Api<Secret>) {
    let tls = secret("tls", "kubernetes.io/tls", &json!({"tls.crt": ""}));
    let refusal = refused(api.create(&PostParams::default(), &tls).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (422, "Invalid"));
    assert_eq!(complaints(&refusal), ["data[tls.key]"]);
    let patch = Patch::Merge(json!({"type": "example.com/other"}));
    let refusal = refused(api.patch("one", &PatchParams::default(), &patch).await);
    assert_eq!((refusal.code, complaints(&refusal)), (422, vec!["type"]));
    let patch = Patch::Merge(json!({"data": {"a": "?"}}));
    assert_eq!(refused(api.patch("one", &PatchParams::default(), &patch).await).code, 422);
    let large = secret("large", "Opaque", &json!({"a": "QUFB".repeat(350_000)}));
    let refusal = refused(api.create(&PostParams::default(), &large).await);
    assert_eq!((refusal.code, complaints(&refusal)), (422, vec!["data"]));
}

async fn an_immutable_secret_keeps_its_data(api: &Api<Secret>) {
    let fixed = json!({"metadata": {"name": "fixed"}, "immutable": true, "data": {"a": "QQ=="}});
    let fixed = serde_json::from_value(fixed).unwrap();
    api.create(&PostParams::default(), &fixed).await.unwrap();
    for (patch, field) in
        [(json!({"data": {"a": "Qg=="}}), "data"), (json!({"immutable": false}), "immutable")]
    {
        let patched = api.patch("fixed", &PatchParams::default(), &Patch::Merge(patch)).await;
        let refusal = refused(patched);
        assert_eq!((refusal.code, complaints(&refusal)), (422, vec![field]));
    }
    let patch = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    api.patch("fixed", &PatchParams::default(), &patch).await.unwrap();
}

async fn preconditions_hold(api: &Api<Secret>) {
    let uid = Preconditions { uid: Some(NOBODY.into()), ..Preconditions::default() };
    let version = Preconditions { resource_version: Some("1".into()), ..Preconditions::default() };
    for preconditions in [uid, version] {
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        assert_eq!(refusal(api.delete("one", &params).await), said(409, "Conflict"));
    }
    let mut other = api.get("one").await.unwrap();
    other.metadata.uid = Some(NOBODY.into());
    let put = api.replace("one", &PostParams::default(), &other).await;
    assert_eq!(refusal(put), said(409, "Conflict"));
    let uid = api.get("one").await.unwrap().metadata.uid;
    let preconditions = Some(Preconditions { uid, ..Preconditions::default() });
    api.delete("one", &DeleteParams { preconditions, ..DeleteParams::default() }).await.unwrap();
}

async fn a_lease_is_replaced_only_in_the_version_that_was_read(admin: &Client) {
    let api: Api<Lease> = Api::namespaced(admin.clone(), NAMESPACE);
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "one", "leaseDurationSeconds": 15}});
    let lease: Lease = serde_json::from_value(lease).unwrap();
    let made = api.create(&PostParams::default(), &lease).await.unwrap();
    let blind = refused(api.replace("l", &PostParams::default(), &lease).await);
    assert_eq!((blind.code, complaints(&blind)), (422, vec!["metadata.resourceVersion"]));
    let mut taken = made.clone();
    taken.spec.get_or_insert_default().holder_identity = Some("two".into());
    api.replace("l", &PostParams::default(), &taken).await.unwrap();
    let late = api.replace("l", &PostParams::default(), &made).await;
    assert_eq!(refusal(late), said(409, "Conflict"));
    api.delete("l", &DeleteParams::default()).await.unwrap();
    let gone = api.replace("l", &PostParams::default(), &made).await;
    assert_eq!(refusal(gone), said(409, "Conflict"));
    // Without the UID of the deleted object, a PUT creates a new one.
    let mut other = made.clone();
    other.metadata.uid = None;
    let new = api.replace("l", &PostParams::default(), &other).await.unwrap();
    assert_ne!(new.metadata.uid, made.metadata.uid);
}

async fn bad_ingresses_are_refused_by_field(admin: &Client) {
    let api: Api<Ingress> = Api::namespaced(admin.clone(), NAMESPACE);
    for host in ["A.example.com", "127.0.0.1", "a_b.example.com", "*.*.example.com"] {
        let spec = json!({"rules": [{"host": host}]});
        let ingress = json!({"metadata": {"name": "bad"}, "spec": spec});
        let ingress: Ingress = serde_json::from_value(ingress).unwrap();
        let refusal = refused(api.create(&PostParams::default(), &ingress).await);
        assert_eq!(
            (refusal.code, complaints(&refusal)),
            (422, vec!["spec.rules[0].host"]),
            "{host}"
        );
    }
    let empty: Ingress =
        serde_json::from_value(json!({"metadata": {"name": "bad"}, "spec": {}})).unwrap();
    let refusal = refused(api.create(&PostParams::default(), &empty).await);
    assert_eq!((refusal.code, complaints(&refusal)), (422, vec!["spec"]));
    let named: Ingress = serde_json::from_value(
        json!({"metadata": {"name": "Bad"}, "spec": {"rules": [{"host": "a.b"}]}}),
    )
    .unwrap();
    let refusal = refused(api.create(&PostParams::default(), &named).await);
    assert_eq!((refusal.code, complaints(&refusal)), (422, vec!["metadata.name"]));
}

async fn a_namespace_must_be_there_to_stay(admin: &Client) {
    let nowhere: Api<Secret> = Api::namespaced(admin.clone(), "nowhere");
    let made =
        refused(nowhere.create(&PostParams::default(), &secret("a", "Opaque", &json!({}))).await);
    assert_eq!((made.code, made.message.as_str()), (404, "namespaces \"nowhere\" not found"));
    let applied =
        Patch::Apply(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}));
    let applied = nowhere.patch("a", &PatchParams::apply("me"), &applied).await;
    assert_eq!(refusal(applied), said(404, "NotFound"));

    let namespaces: Api<Namespace> = Api::all(admin.clone());
    let leaving: Namespace =
        serde_json::from_value(json!({"metadata": {"name": "leaving"}})).unwrap();
    namespaces.create(&PostParams::default(), &leaving).await.unwrap();
    let inside: Api<Secret> = Api::namespaced(admin.clone(), "leaving");
    let held = json!({"metadata": {"name": "held", "finalizers": ["example.com/wait"]}});
    let held = serde_json::from_value(held).unwrap();
    inside.create(&PostParams::default(), &held).await.unwrap();
    inside.create(&PostParams::default(), &secret("free", "Opaque", &json!({}))).await.unwrap();
    namespaces.delete("leaving", &DeleteParams::default()).await.unwrap();
    let late =
        refused(inside.create(&PostParams::default(), &secret("late", "Opaque", &json!({}))).await);
    assert_eq!((late.code, late.reason.as_str()), (403, "Forbidden"));
    assert_eq!(late.details.unwrap().causes[0].reason, "NamespaceTerminating");
    eventually(SOON, "deletion of what is in the namespace", async || {
        inside.get_opt("free").await.unwrap().is_none().then_some(())
    })
    .await;
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    inside.patch("held", &PatchParams::default(), &patch).await.unwrap();
    eventually(2 * SOON, "deletion of the namespace", async || {
        namespaces.get_opt("leaving").await.unwrap().is_none().then_some(())
    })
    .await;
}

async fn other_requests_are_refused(admin: &Client) {
    let secrets = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
    let send = async |method: &str, path: &str, kind: &str| {
        let request = http::Request::builder().method(method).uri(path);
        let request = request.header("content-type", kind).body(b"{}".to_vec()).unwrap();
        refused(admin.request::<Value>(request).await).code
    };
    let json = "application/json";
    assert_eq!(send("POST", &format!("{secrets}/fixed"), json).await, 405);
    assert_eq!(send("PATCH", &format!("{secrets}/fixed"), "text/plain").await, 415);
    assert_eq!(send("GET", "/apis/example.com/v1/things", json).await, 404);
    let apply = "application/apply-patch+yaml";
    assert_eq!(send("PATCH", &format!("{secrets}/fixed"), apply).await, 422);
}
