//! Deletion and adoption on a real API server.

use ingress_acme_control_plane::{World, eventually, retry_when_wedged};
use kube::Api;
use kube::api::{Patch, PatchParams};
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
        assert!(secret(&client, "web", "gone").await.is_none());
        assert_eq!(world.orders_created(), 0);
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
        Site::new("web", "shop", &["shop.example.com"]).create(&client).await;
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
