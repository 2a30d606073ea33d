//! Routes to the solver in users' namespaces, with the rights of `deploy/solver-in-namespaces.yaml`
//! in one namespace, under `deploy/guard.yaml`, behind controllers that serve no solver Ingress of
//! another namespace.

use std::collections::BTreeSet;

use ingress_acme_control_plane::{World, apply_yaml, eventually, retry_when_wedged};
use ingress_acme_sim::gateway::{Merging, Rules};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::ListParams;
use kube::{Api, Client};

use crate::sites::{PATIENCE, Site, certificate, events, namespace};
use crate::{alone, operator};

const RIGHTS: &str = include_str!("../../deploy/solver-in-namespaces.yaml");
const GUARD: &str = include_str!("../../deploy/guard.yaml");
const PLACE: &str = "ingress-acme.dev/solver-place";
/// What the command in `deploy/solver-in-namespaces.yaml` makes, and endpoints of a pod.
const BINDING: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: ingress-acme-solver, namespace: web}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: ingress-acme-solver}
subjects: [{kind: ServiceAccount, name: ingress-acme, namespace: ingress-acme}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ingress-acme-solver-x, namespace: ingress-acme, labels: {kubernetes.io/service-name: ingress-acme-solver}}
addressType: IPv4
endpoints: [{addresses: [10.77.0.1], conditions: {ready: true}}]
ports: [{name: http, port: 8089, protocol: TCP}]
";

/// Names of the Ingresses of a namespace, and of its Services.
async fn names(client: &Client, namespace: &str) -> [BTreeSet<String>; 2] {
    let (all, client) = (ListParams::default(), client.clone());
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), namespace);
    let services: Api<Service> = Api::namespaced(client, namespace);
    let ingresses = ingresses.list(&all).await.expect("the Ingresses").items.into_iter();
    let services = services.list(&all).await.expect("the Services").items.into_iter();
    [
        ingresses.filter_map(|ingress| ingress.metadata.name).collect(),
        services.filter_map(|service| service.metadata.name).collect(),
    ]
}

#[actix::test]
async fn in_the_namespaces_with_the_right_every_controller_leads_to_the_solver() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        for name in ["web", "other"] {
            namespace(&client, name).await;
        }
        for yaml in [GUARD, RIGHTS, BINDING] {
            apply_yaml(&client, yaml).await.expect("it is taken");
        }
        let _operator = operator(world).await;
        let merging = Merging::OldestNamespaceHasHost;
        world.set_rules(Rules { merging, ..Rules::default() });
        let site = |namespace: &str, name: &str, place: &str| {
            let host = format!("{name}.example.com");
            Site::new(namespace, name, &[&host]).annotation(PLACE, place)
        };
        site("other", "refused", "namespace").create(&client).await;
        site("web", "beside", "namespace").create(&client).await;
        certificate(&client, "web", "beside-tls", &["beside.example.com"]).await;
        world.set_rules(Rules { merging: Merging::AddressPerIngress, ..Rules::default() });
        site("web", "within", "in-place").create(&client).await;
        certificate(&client, "web", "within-tls", &["within.example.com"]).await;

        let own: BTreeSet<String> = ["beside", "within"].map(str::to_owned).into();
        eventually(PATIENCE, "nothing of ours is left", async || {
            (names(&client, "web").await == [own.clone(), BTreeSet::new()]).then_some(())
        })
        .await;
        let within: Ingress = Api::namespaced(client.clone(), "web").get("within").await.unwrap();
        let rules = within.spec.unwrap().rules.unwrap();
        assert_eq!(rules[0].http.as_ref().unwrap().paths.len(), 1);
        let told = events(&client, "other", "refused").await;
        let told = told.iter().find(|(reason, _)| reason == "Unreachable").map(|(_, note)| note);
        let how = "kubectl -n other create rolebinding ingress-acme-solver";
        assert!(told.is_some_and(|note| note.contains(how)), "{told:?}");
        assert_eq!(names(&client, "other").await, [["refused".to_owned()].into(), BTreeSet::new()]);
        assert_eq!((world.orders_created(), world.validations_failed()), (2, 0));
    })
    .await;
}
