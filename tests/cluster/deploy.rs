//! `deploy/install.yaml`, the examples and the guard, applied like `kubectl apply`.

mod guard;

use ingress_acme_control_plane::{World, apply_yaml};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::ListParams;

use crate::alone;

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
