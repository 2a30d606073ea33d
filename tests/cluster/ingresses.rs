//! Ingresses as people write them, on a real API server: the names of Secrets, and the `spec.tls`
//! that the operator takes back. `docs/ingresses.md` has all kinds.

use ingress_acme_control_plane::{World, eventually, retry_when_wedged};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::sites::{PATIENCE, Site, certificate, events, ingress, namespace, secret};
use crate::{alone, operator};

const HOST: &str = "shop.example.com";

/// Waits until `spec.tls` of an Ingress names this Secret; `None` for no `spec.tls`.
async fn uses(client: &Client, name: &str, wanted: Option<&str>) {
    let what = format!("spec.tls of {name} with {wanted:?}");
    eventually(PATIENCE, &what, async || {
        let tls = ingress(client, "web", name).await.spec?.tls.unwrap_or_default();
        let used = tls.into_iter().next().and_then(|block| block.secret_name);
        (used.as_deref() == wanted).then_some(())
    })
    .await;
}

async fn annotate(client: &Client, name: &str, annotations: Value) {
    let api: Api<Ingress> = Api::namespaced(client.clone(), "web");
    let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
    api.patch(name, &PatchParams::default(), &patch).await.expect("the annotation");
}

#[actix::test]
async fn an_applications_secret_is_left_alone_and_ingresses_with_one_host_share_a_certificate() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        let secrets: Api<Secret> = Api::namespaced(client.clone(), "web");
        let own = json!({ "metadata": { "name": "shop" }, "stringData": { "password": "x" } });
        let own = serde_json::from_value(own).unwrap();
        let own = secrets.create(&PostParams::default(), &own).await.expect("the Secret");
        let first = operator(world).await;
        Site::new("web", "shop", &[HOST]).create(&client).await;
        certificate(&client, "web", "shop-tls", &[HOST]).await;
        Site::new("web", "oauth2-proxy", &[HOST]).create(&client).await;
        for name in ["shop", "oauth2-proxy"] {
            uses(&client, name, Some("shop-tls")).await;
        }
        assert_eq!(secret(&client, "web", "shop").await, Some(own), "untouched");
        assert_eq!(first.terminate().await.expect("it ends"), 0);
        drop(first);

        let _second = operator(world).await;
        Site::new("web", "last", &["last.example.com"]).create(&client).await;
        certificate(&client, "web", "last-tls", &["last.example.com"]).await;
        assert_eq!((world.orders_created(), world.certificates_issued()), (2, 2));
    })
    .await;
}

/// Applies annotations with the present `spec.tls` in the manifest, as `kubectl apply` does: it
/// sends the difference to the object that is there, so that an equal `spec.tls` is in no request
/// and has no other manager, and notes the whole manifest in its own annotation.
async fn apply_with_its_tls(client: &Client, name: &str, annotations: Value) {
    let there = ingress(client, "web", name).await;
    let mut manifest = json!({ "metadata": { "annotations": annotations }, "spec": there.spec });
    manifest["kind"] = json!("Ingress");
    let mut sent = annotations;
    sent["kubectl.kubernetes.io/last-applied-configuration"] = json!(manifest.to_string());
    annotate(client, name, sent).await;
}

#[actix::test]
async fn a_spec_tls_that_the_user_has_applied_just_as_it_was_filled_in_is_the_users() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        let _operator = operator(world).await;
        for name in ["theirs", "ours"] {
            Site::new("web", name, &[&format!("{name}.example.com")]).create(&client).await;
            uses(&client, name, Some(&format!("{name}-tls"))).await;
        }
        let off = json!({ "ingress-acme.dev/fill-tls": "false" });
        apply_with_its_tls(&client, "theirs", off.clone()).await;
        annotate(&client, "ours", off).await;
        uses(&client, "ours", None).await;
        // An Ingress that came later is served: the edit of `theirs` is done with.
        Site::new("web", "later", &["later.example.com"]).create(&client).await;
        certificate(&client, "web", "later-tls", &["later.example.com"]).await;
        let left = ingress(&client, "web", "theirs").await.spec.and_then(|spec| spec.tls);
        assert!(left.is_some_and(|tls| tls[0].secret_name.as_deref() == Some("theirs-tls")));
        let told = events(&client, "web", "theirs").await;
        assert!(told.iter().all(|(reason, _)| reason == "Issued"), "{told:?}");
        assert_eq!(world.orders_created(), 3);
    })
    .await;
}

#[actix::test]
async fn a_filled_in_spec_tls_is_taken_back_from_a_minion_and_where_the_user_says_so() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        let _operator = operator(world).await;
        let marks = [
            ("asks", json!({ "ingress-acme.dev/fill-tls": "false" })),
            ("minion", json!({ "nginx.org/mergeable-ingress-type": "minion" })),
        ];
        for (name, mark) in marks {
            let host = format!("{name}.example.com");
            Site::new("web", name, &[&host]).create(&client).await;
            uses(&client, name, Some(&format!("{name}-tls"))).await;
            annotate(&client, name, mark).await;
            uses(&client, name, None).await;
            let left = ingress(&client, "web", name).await.metadata.annotations;
            let is_marked = left.is_some_and(|all| all.contains_key("ingress-acme.dev/filled-tls"));
            assert!(!is_marked, "{name}: our own mark goes too");
            eventually(PATIENCE, "an Event", async || {
                let told = events(&client, "web", name).await;
                told.iter().any(|(reason, _)| reason == "TakenBack").then_some(())
            })
            .await;
            assert!(secret(&client, "web", &format!("{name}-tls")).await.is_some());
        }
        assert_eq!(world.orders_created(), 2);
    })
    .await;
}
