//! `deploy/install.yaml`, the examples and the guard, applied like `kubectl apply`.

use ingress_acme_control_plane::{World, apply_yaml, eventually, retry_when_wedged};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::sites::{PATIENCE, Site, certificate, ingress, namespace};
use crate::{alone, operator};

#[actix::test]
async fn install_yaml_is_taken_by_a_real_api_server_again_and_again() {
    let _alone = alone().await;
    let world = World::start().await.expect("the world starts, and installs");
    let client = world.admin();
    world.install().await.expect("a second time");
    let ns = "ingress-acme";
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), ns);
    let pod = deployments.get(ns).await.expect("the Deployment").spec.template.spec.unwrap();
    let security = pod.security_context.unwrap();
    assert_eq!(security.run_as_non_root, Some(true));
    assert_eq!(security.seccomp_profile.unwrap().type_, "RuntimeDefault");
    let container = pod.containers[0].security_context.clone().unwrap();
    assert_eq!(container.read_only_root_filesystem, Some(true));
    assert!(pod.containers[0].resources.clone().unwrap().requests.is_some());
    let services: Api<Service> = Api::namespaced(client.clone(), ns);
    for name in ["ingress-acme-solver", "ingress-acme-metrics"] {
        services.get(name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    Api::<ServiceAccount>::namespaced(client.clone(), ns)
        .get(ns)
        .await
        .expect("the ServiceAccount");
    Api::<PodDisruptionBudget>::namespaced(client.clone(), ns).get(ns).await.expect("the budget");
    Api::<NetworkPolicy>::namespaced(client.clone(), ns).get(ns).await.expect("the NetworkPolicy");
}

#[actix::test]
async fn the_operators_rights_end_where_install_yaml_says() {
    let _alone = alone().await;
    let world = World::start().await.expect("the world starts");
    let operator = world.operator_client().await.expect("a client");
    let secrets: Api<Secret> = Api::all(operator.clone());
    let listed = secrets.list(&ListParams::default()).await;
    assert!(matches!(listed, Err(kube::Error::Api(status)) if status.code == 403));
}

#[actix::test]
async fn the_examples_are_taken_by_a_real_api_server() {
    let _alone = alone().await;
    let world = World::start().await.expect("the world starts");
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/examples");
    let mut applied = 0;
    for file in std::fs::read_dir(directory).expect("the examples").flatten() {
        let yaml = std::fs::read_to_string(file.path()).unwrap();
        if yaml.contains("kind: Ingress") {
            let applying = apply_yaml(&world.admin(), &yaml).await;
            applying.unwrap_or_else(|error| panic!("{}: {error}", file.path().display()));
            applied += 1;
        }
    }
    assert!(applied >= 2);
}

#[actix::test]
async fn under_the_guard_the_operator_does_its_work_and_can_do_nothing_else() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        let guard = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/guard.yaml");
        let guard = std::fs::read_to_string(guard).unwrap();
        apply_yaml(&client, &guard).await.expect("the guard is taken");
        namespace(&client, "web").await;
        Site::new("web", "shop", &["shop.example.com"]).create(&client).await;
        let limited = world.operator_client().await.expect("a client with the operator's rights");
        let secrets: Api<Secret> = Api::namespaced(limited.clone(), "web");
        // Policies take a moment to come into force. A dry run is not stored, so that an attempt
        // before that moment changes nothing.
        eventually(PATIENCE, "a token of another ServiceAccount is refused", async || {
            let dry_run = PostParams { dry_run: true, ..PostParams::default() };
            let refused = secrets.create(&dry_run, &token()).await.err()?;
            refused.to_string().contains("kubernetes.io/tls only").then_some(())
        })
        .await;
        let ingresses: Api<Ingress> = Api::namespaced(limited, "web");
        let hijack = json!({ "spec": { "rules": [{ "host": "evil.example.com" }] } });
        eventually(PATIENCE, "a change of the rules is refused", async || {
            let patch = Patch::Merge(&hijack);
            let dry_run = PatchParams::default().dry_run();
            let refused = ingresses.patch("shop", &dry_run, &patch).await.err()?;
            refused.to_string().contains("nothing of an Ingress but spec.tls").then_some(())
        })
        .await;
        let _operator = operator(world).await;
        certificate(&client, "web", "shop", &["shop.example.com"]).await;
        eventually(PATIENCE, "spec.tls is filled in", async || {
            ingress(&client, "web", "shop").await.spec?.tls.map(drop)
        })
        .await;
    })
    .await;
}

/// A Secret that an attacker would create with the operator's rights: a token of a service account.
fn token() -> Secret {
    let name = format!("token-{}", std::process::id());
    let annotations = json!({ "kubernetes.io/service-account.name": "default" });
    let metadata = json!({ "generateName": name, "annotations": annotations });
    let secret = json!({ "metadata": metadata, "type": "kubernetes.io/service-account-token" });
    serde_json::from_value(secret).unwrap()
}
