//! What other controllers do around the operator: they route, and they write to Ingresses.

use ingress_acme_sim::gateway::{Merging, Rules};
use ingress_acme_sim::kube::User;
use ingress_acme_sim::{Options, World};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::opted_in::{create, secret, secrets};
use crate::{alone, eventually, simulated};

/// Notes of the Events with this reason on the Ingress `web/<name>`.
async fn told(client: &Client, name: &str, reason: &str) -> Vec<String> {
    let api: Api<Event> = Api::namespaced(client.clone(), "web");
    let events = api.list(&ListParams::default()).await.unwrap().items.into_iter();
    let about = |event: &Event| {
        let regarding = event.regarding.as_ref().and_then(|about| about.name.as_deref());
        regarding == Some(name) && event.reason.as_deref() == Some(reason)
    };
    events.filter(about).filter_map(|event| event.note).collect()
}

/// The solver Ingress is younger than the Ingress of the user, and its path is ignored.
#[actix::test]
async fn a_controller_that_merges_no_paths_costs_no_order_and_is_told_and_holds_up_nobody() {
    let _alone = alone().await;
    let simulated = simulated(Options::default()).await;
    let (world, client) = (simulated.world(), simulated.target().unwrap().client);
    let oldest = Rules { merging: Merging::OldestHasHost, ..Rules::default() };
    world.gateway().state().set_rules(oldest);
    create(&client, "one", "one.example.com", json!({})).await;
    eventually("the user is told", async || !told(&client, "one", "Unreachable").await.is_empty())
        .await;
    let notes = told(&client, "one", "Unreachable").await;
    assert!(notes[0].contains("does not lead to the solver"), "{notes:?}");
    assert_eq!(world.ca().counts().orders, 0);

    // A host that no rule of a user names is routed by the solver Ingress alone.
    let two = json!({
        "metadata": {"name": "two"},
        "spec": {
            "tls": [{"hosts": ["two.example.com"], "secretName": "two"}],
            "rules": [{"host": "elsewhere.example.com"}],
        },
    });
    let api: Api<Ingress> = Api::namespaced(client.clone(), "web");
    let two = serde_json::from_value(two).unwrap();
    api.create(&PostParams::default(), &two).await.unwrap();
    eventually("its Secret", async || secret(&client, "two").await.is_some()).await;
    assert!(secret(&client, "one-tls").await.is_none());

    world.gateway().state().set_rules(Rules::default());
    eventually("a Secret", async || secret(&client, "one-tls").await.is_some()).await;
    let counts = world.ca().counts();
    assert_eq!((counts.orders, counts.certificates, counts.validations_failed), (2, 2, 0));
    assert!(simulated.end().await.unwrap().success());
}

/// Number of the operator's writes of Secrets by server-side apply, as it installs certificates.
fn installations(world: &World) -> u64 {
    let audit = world.api().audit().into_iter();
    let is_one = |of: &ingress_acme_sim::kube::Audited| {
        of.user == User::Operator && of.verb == "patch" && of.resource == "secrets"
    };
    audit.filter(is_one).map(|of| of.count).sum()
}

#[actix::test]
async fn labels_annotations_and_a_status_that_others_write_again_and_again_are_no_work() {
    let _alone = alone().await;
    let simulated = simulated(Options::default()).await;
    let (world, target) = (simulated.world(), simulated.target().unwrap());
    let client = target.client.clone();
    create(&client, "one", "one.example.com", json!({})).await;
    eventually("spec.tls is filled in", async || secrets(&client).await.is_some()).await;
    let before = installations(world);
    let api: Api<Ingress> = Api::namespaced(client.clone(), "web");
    for number in 0..50 {
        let value = format!("v{number}");
        let metadata = json!({"metadata": {
            "labels": {"team": value},
            "annotations": {"example.com/deployed": value, "field.cattle.io/endpoints": value},
        }});
        let address = format!("192.0.2.{number}");
        let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}});
        let params = PatchParams::default();
        api.patch("one", &params, &Patch::Merge(metadata)).await.unwrap();
        api.patch_status("one", &params, &Patch::Merge(status)).await.unwrap();
    }
    // The watch has shown all of it before this one.
    create(&client, "two", "two.example.com", json!({})).await;
    eventually("its Secret", async || secret(&client, "two-tls").await.is_some()).await;
    eventually("no work is left", async || {
        let sample = target.operator.sample().await.unwrap();
        (sample.busy, sample.queued, sample.in_work) == (0, 0, 0)
    })
    .await;
    let counts = world.ca().counts();
    assert_eq!((counts.orders, counts.certificates), (2, 2));
    assert_eq!(installations(world) - before, 1, "of the second");
    assert!(simulated.end().await.unwrap().success());
}
