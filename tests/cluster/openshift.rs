//! A cluster with the admission plugin that lets only those change the owners of a Secret who may
//! delete it, as `OpenShift` has it.

use std::collections::BTreeSet;

use ingress_acme_control_plane::{Options, World, apply_yaml, eventually, retry_when_wedged_with};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::sites::{PATIENCE, Site, certificate, events, namespace, secret};
use crate::{alone, operator};

const HOST: &str = "shop.example.com";

fn openshift() -> Options {
    let plugin = "--enable-admission-plugins=OwnerReferencesPermissionEnforcement";
    Options { apiserver_args: vec![plugin.to_owned()], ..Options::default() }
}

/// An Ingress with the host, and with the Secret that all of them name.
async fn share(client: &Client, name: &str) {
    Site::new("web", name, &[HOST]).tls("shared", &[HOST]).create(client).await;
}

async fn owners(client: &Client) -> BTreeSet<String> {
    let shared = secret(client, "web", "shared").await.expect("the Secret");
    let owners = shared.metadata.owner_references.into_iter().flatten();
    owners.map(|owner| owner.name).collect()
}

/// Asks for a new certificate, and waits for it.
async fn renewed(client: &Client, name: &str) {
    let version = async || secret(client, "web", "shared").await.map(|found| found.data);
    let before = version().await;
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), "web");
    let renew = json!({ "metadata": { "annotations": { "ingress-acme.dev/renew": "now" } } });
    let asked = ingresses.patch(name, &PatchParams::default(), &Patch::Merge(renew)).await;
    asked.expect("the annotation");
    let what = "a new certificate in the Secret";
    eventually(PATIENCE, what, async || (version().await != before).then_some(())).await;
}

#[actix::test]
async fn where_owners_may_not_change_a_shared_secret_is_renewed_and_its_user_told() {
    let _alone = alone().await;
    retry_when_wedged_with(3, &openshift(), async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        let _operator = operator(world).await;
        share(&client, "first").await;
        certificate(&client, "web", "shared", &[HOST]).await;
        assert_eq!(owners(&client).await, ["first".to_owned()].into(), "set at its creation");
        share(&client, "second").await;
        let told = eventually(PATIENCE, "an Event", async || {
            let told = events(&client, "web", "second").await;
            told.into_iter().find(|(reason, _)| reason == "Incomplete").map(|(_, note)| note)
        })
        .await;
        for part in ["OwnerReferencesPermissionEnforcement", "deploy/openshift.yaml"] {
            assert!(told.contains(part), "{told}");
        }
        renewed(&client, "first").await;
        assert_eq!(owners(&client).await, ["first".to_owned()].into(), "as they were");

        let yaml = include_str!("../../deploy/openshift.yaml");
        apply_yaml(&client, yaml).await.expect("the right to change owners");
        let all = ["first", "second", "third"].map(str::to_owned).into();
        share(&client, "third").await;
        let what = "the owners of the Secret";
        eventually(PATIENCE, what, async || (owners(&client).await == all).then_some(())).await;
        assert_eq!((world.orders_created(), world.certificates_issued()), (2, 2));
        no_secret_can_be_deleted(world).await;
    })
    .await;
}

/// The right to delete Secrets is there to change owners, and for nothing else.
async fn no_secret_can_be_deleted(world: &World) {
    let operator = world.operator_client().await.expect("a client");
    let secrets: Api<Secret> = Api::namespaced(operator, "web");
    eventually(PATIENCE, "the policy is in force", async || {
        let trial = DeleteParams { dry_run: true, ..DeleteParams::default() };
        let deleted = secrets.delete("shared", &trial).await;
        let refused = deleted.err()?.to_string();
        refused.contains("ingress-acme deletes no Secret").then_some(())
    })
    .await;
    let deleted = secrets.delete("shared", &DeleteParams::default()).await;
    assert!(deleted.is_err(), "the Secret is deleted");
}
