//! Deletion and adoption on a real API server.

use ingress_acme_control_plane::{World, eventually, retry_when_wedged};
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::sites::{
    PATIENCE, Site, certificate, delete, events, namespace, routed, secret, verify,
};
use crate::{alone, operator};

#[actix::test]
async fn a_deleted_ingress_takes_its_work_and_its_routes_along() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        world.dns_fail("gone.example.com").await.expect("the DNS server obeys");
        let _operator = operator(world).await;
        Site::new("web", "gone", &["gone.example.com"]).create(&client).await;
        eventually(PATIENCE, "a route", async || {
            routed(&client).await.contains("gone.example.com").then_some(())
        })
        .await;
        delete(&client, "web", "gone").await;
        eventually(PATIENCE, "the route has gone", async || {
            routed(&client).await.is_empty().then_some(())
        })
        .await;
        assert!(secret(&client, "web", "gone-tls").await.is_none());
        assert_eq!(world.orders_created(), 0);
    })
    .await;
}

/// Creates a `ResourceQuota` that allows no Secret. No controller counts here, so the status is
/// written too.
async fn quota(client: &kube::Client, namespace: &str) {
    let api: Api<ResourceQuota> = Api::namespaced(client.clone(), namespace);
    let hard = json!({ "count/secrets": "0" });
    let object = json!({ "metadata": { "name": "no-secrets" }, "spec": { "hard": hard } });
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.expect("the quota");
    let status = Patch::Merge(json!({ "status": { "hard": hard, "used": hard } }));
    let counted = api.patch_status("no-secrets", &PatchParams::default(), &status).await;
    counted.expect("the status of the quota");
}

#[actix::test]
async fn a_namespace_that_takes_no_secret_is_told_why_and_delays_no_other_and_costs_one_order() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        for name in ["full", "web"] {
            namespace(&client, name).await;
        }
        quota(&client, "full").await;
        let operator = operator(world).await;
        Site::new("full", "shop", &["full.example.com"]).create(&client).await;
        eventually(PATIENCE, "an Event", async || {
            let events = events(&client, "full", "shop").await;
            events.iter().any(|(_, note)| note.contains("exceeded quota")).then_some(())
        })
        .await;
        Site::new("web", "shop", &["shop.example.com"]).create(&client).await;
        certificate(&client, "web", "shop-tls", &["shop.example.com"]).await;
        assert!(secret(&client, "full", "shop-tls").await.is_none());
        assert_eq!(world.orders_created(), 2);

        let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), "full");
        quotas.delete("no-secrets", &DeleteParams::default()).await.expect("the quota goes");
        let written = certificate(&client, "full", "shop-tls", &["full.example.com"]).await;
        verify(world, &written).await;
        assert_eq!((world.orders_created(), world.certificates_issued()), (2, 2));
        assert_eq!(operator.terminate().await.expect("it ends"), 0);
    })
    .await;
}

#[actix::test]
async fn a_secret_is_taken_over_only_when_the_ingress_says_so() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        let by_hand = json!({
            "metadata": { "name": "shop" }, "type": "kubernetes.io/tls",
            "stringData": { "tls.crt": "by hand", "tls.key": "by hand", "more": "kept" },
        });
        let secrets: Api<k8s_openapi::api::core::v1::Secret> =
            Api::namespaced(client.clone(), "web");
        let by_hand = serde_json::from_value(by_hand).unwrap();
        secrets.create(&kube::api::PostParams::default(), &by_hand).await.expect("the Secret");
        let _operator = operator(world).await;
        Site::new("web", "shop", &["shop.example.com"])
            .tls("shop", &["shop.example.com"])
            .create(&client)
            .await;
        let events = eventually(PATIENCE, "an Event", async || {
            let events = events(&client, "web", "shop").await;
            (!events.is_empty()).then_some(events)
        });
        let events = events.await;
        assert_eq!(events[0].0, "Conflict", "{events:?}");
        assert!(events[0].1.contains("adopt-secret"), "it says what to do: {events:?}");
        let adopt =
            json!({ "metadata": { "annotations": { "ingress-acme.dev/adopt-secret": "true" } } });
        let ingresses: Api<k8s_openapi::api::networking::v1::Ingress> =
            Api::namespaced(client.clone(), "web");
        let patched = ingresses.patch("shop", &PatchParams::default(), &Patch::Merge(adopt)).await;
        patched.expect("the annotation");
        let taken = certificate(&client, "web", "shop", &["shop.example.com"]).await;
        verify(world, &taken).await;
        assert_eq!(world.certificates_issued(), 1);
    })
    .await;
}
