//! Routes to the solver in users' namespaces: a solver Ingress there, and a path in a user's own
//! Ingress, with the Service and the endpoints that both need.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt;
use ingress_acme::kubernetes::ingresses::Ingresses;
use ingress_acme::kubernetes::solver_ingresses::SolverIngresses;
use ingress_acme_actors::domain::ingress::{IngressClass, IngressKey, IngressView};
use ingress_acme_actors::domain::routes::{SolverIngress, SolverName};
use ingress_acme_actors::domain::rule_host::RuleHost;
use ingress_acme_actors::domain::solver_place::SolverPlace;
use ingress_acme_actors::ports::{IngressChange, IngressSource, PortError, Routes};
use ingress_acme_control_plane::{apply_yaml, eventually};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::test_cluster::{SOON, TestCluster};

const NAMESPACE: &str = "places";
const RIGHTS: &str = include_str!("../../../deploy/solver-in-namespaces.yaml");
/// The Ingress of a user, applied on the server's side.
const SHOP: &str = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, namespace: places, annotations: {by: hand}}
spec:
  ingressClassName: nginx
  rules:
    - host: a.example.com
      http:
        paths:
          - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
    - host: '*.example.org'
      http:
        paths:
          - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
    - http:
        paths:
          - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
";

/// Hosts of all of its rules.
const ALL: [&str; 3] = ["a.example.com", "*.example.org", "*"];

/// Endpoints of the operator's own Service, as its control plane writes them.
fn endpoints(address: &str) -> String {
    format!(
        "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: ingress-acme-solver-x, namespace: ingress-acme, labels: {{kubernetes.io/service-name: ingress-acme-solver}}}}
addressType: IPv4
endpoints: [{{addresses: [{address}], conditions: {{ready: true}}}}, {{addresses: [10.77.9.9], conditions: {{ready: false}}}}]
ports: [{{name: http, port: 8089, protocol: TCP}}]
"
    )
}

fn in_place(names: &[&str]) -> SolverIngress {
    let key = IngressKey::new(NAMESPACE, "shop");
    SolverIngress {
        name: SolverName::of(&key),
        class: IngressClass::Named("nginx".into()),
        place: SolverPlace::InPlace(Arc::new(key)),
        hosts: names.iter().map(|name| RuleHost::parse(name).unwrap()).collect(),
        created: None,
        generation: 0,
    }
}

fn beside(names: &[&str]) -> SolverIngress {
    let name = SolverName::of(&IngressKey::new(NAMESPACE, "ingress-acme-solver-1-0"));
    SolverIngress { name, place: SolverPlace::Namespace(NAMESPACE.into()), ..in_place(names) }
}

async fn addresses(cluster: &TestCluster) -> Option<Vec<String>> {
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.admin.clone(), NAMESPACE);
    let slice = slices.get_opt("ingress-acme-solver-ipv4").await.unwrap()?;
    Some(slice.endpoints.into_iter().flatten().flat_map(|endpoint| endpoint.addresses).collect())
}

async fn has_service(cluster: &TestCluster) -> bool {
    let services: Api<Service> = Api::namespaced(cluster.admin.clone(), NAMESPACE);
    services.get_opt("ingress-acme-solver").await.unwrap().is_some()
}

async fn shop(cluster: &TestCluster) -> Ingress {
    Api::namespaced(cluster.admin.clone(), NAMESPACE).get("shop").await.unwrap()
}

/// What the watch shows of an Ingress at its list.
async fn listed(cluster: &TestCluster, name: &str) -> IngressView {
    let panics = Box::new(|reason| panic!("{reason}"));
    let source =
        Ingresses::new(cluster.client.clone(), &[], panics).outside("ingress-acme", "ingress-acme");
    let mut changes = source.watch();
    loop {
        match changes.next().await.unwrap() {
            IngressChange::Listed(view) if &*view.key.name == name => return view,
            IngressChange::ListEnds(_) => panic!("{name} is not there"),
            _ => {}
        }
    }
}

pub(crate) async fn hold_in_users_namespaces(cluster: &TestCluster) {
    cluster.namespace(NAMESPACE).await;
    apply_yaml(&cluster.admin, SHOP).await.unwrap();
    let routes = SolverIngresses::new(cluster.client.clone(), "ingress-acme", "ingress-acme");
    if cluster.is_real() {
        without_rights_the_refusal_says_how_to_give_them(cluster, &routes).await;
    }
    let waits = routes.write(&in_place(&["a.example.com"]), false).await;
    let Err(PortError::Transient { detail, .. }) = waits else { panic!("{waits:?}") };
    assert!(detail.contains("no ready pod yet"), "{detail}");
    apply_yaml(&cluster.admin, &endpoints("10.77.0.1")).await.unwrap();

    let before = shop(cluster).await;
    a_path_is_put_into_a_users_ingress(cluster, &routes).await;
    a_solver_ingress_is_beside_it(cluster, &routes).await;
    endpoints_follow_the_pods(cluster, &routes).await;
    routes.write(&beside(&[]), false).await.unwrap();
    assert!(has_service(cluster).await, "the path needs it still");
    assert_eq!(routes.write(&in_place(&[]), true).await.unwrap(), None);
    let after = shop(cluster).await;
    assert_eq!(
        (&after.spec, &after.metadata.annotations),
        (&before.spec, &before.metadata.annotations)
    );
    assert_eq!((has_service(cluster).await, addresses(cluster).await), (false, None));
    let managers = after.metadata.managed_fields.into_iter().flatten();
    let managers: BTreeSet<_> = managers.filter_map(|entry| entry.manager).collect();
    assert!(!managers.contains("ingress-acme-in-place"), "{managers:?}");
    a_user_applies_other_rules_without_a_conflict(cluster).await;
    one_that_is_gone_is_left(cluster, &routes).await;
    a_service_of_others_is_left_alone(cluster, &routes).await;
}

async fn without_rights_the_refusal_says_how_to_give_them(
    cluster: &TestCluster,
    routes: &SolverIngresses,
) {
    let refusal = async |wanted: &SolverIngress| match routes.write(wanted, false).await {
        Err(PortError::Permanent(failure)) => failure.detail,
        other => panic!("{other:?}"),
    };
    for wanted in [in_place(&["a.example.com"]), beside(&["a.example.com"])] {
        let why = refusal(&wanted).await;
        assert!(why.contains("Apply deploy/solver-in-namespaces.yaml"), "{why}");
    }
    apply_yaml(&cluster.admin, RIGHTS).await.unwrap();
    apply_yaml(&cluster.admin, &endpoints("10.77.0.1")).await.unwrap();
    let why = eventually(SOON, "the Role is in force", async || {
        let why = refusal(&in_place(&["a.example.com"])).await;
        why.contains("create Service").then_some(why)
    })
    .await;
    assert!(why.contains("kubectl -n places create rolebinding ingress-acme-solver"), "{why}");
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.admin.clone(), "ingress-acme");
    slices.delete("ingress-acme-solver-x", &DeleteParams::default()).await.unwrap();
    let binding = "
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: ingress-acme-solver, namespace: places}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: ingress-acme-solver}
subjects: [{kind: ServiceAccount, name: ingress-acme, namespace: ingress-acme}]
";
    apply_yaml(&cluster.admin, binding).await.unwrap();
}

async fn a_path_is_put_into_a_users_ingress(cluster: &TestCluster, routes: &SolverIngresses) {
    let (one, all) = (in_place(&["a.example.com"]), in_place(&ALL));
    // A right takes a moment to come into force.
    let first = eventually(SOON, "the path", async || routes.write(&one, false).await.ok()?).await;
    let second = routes.write(&one, false).await.unwrap();
    assert_eq!(second, Some(first), "without a write");
    let third = routes.write(&all, false).await.unwrap().unwrap();
    assert_eq!((first.generation, third.generation), (2, 3));
    let rules = shop(cluster).await.spec.unwrap().rules.unwrap();
    for rule in &rules {
        let paths = &rule.http.as_ref().unwrap().paths;
        let shown: Vec<_> = paths.iter().map(|path| path.path.as_deref().unwrap()).collect();
        assert_eq!(shown, ["/.well-known/acme-challenge/", "/"]);
    }
    let view = listed(cluster, "shop").await;
    let routed = view.routed.unwrap();
    assert_eq!((routed.hosts, view.generation, routed.writer), (all.hosts, 3, None));
    assert_eq!(addresses(cluster).await.unwrap(), ["10.77.0.1"], "of the ready pod");
}

async fn a_solver_ingress_is_beside_it(cluster: &TestCluster, routes: &SolverIngresses) {
    let wanted = beside(&["c.example.com", "*.c.example.com", "*"]);
    let written = routes.write(&wanted, false).await.unwrap().unwrap();
    assert!(written.created.is_some() && written.generation == 1);
    let view = listed(cluster, &wanted.name.name).await;
    assert_eq!((view.is_solver, view.routed.unwrap().hosts), (true, wanted.hosts));
    assert_eq!((Some(view.created), view.generation), (written.created, 1));
    assert_eq!(routes.list().await.unwrap(), [], "the list is of the operator's namespace");
}

async fn endpoints_follow_the_pods(cluster: &TestCluster, routes: &SolverIngresses) {
    apply_yaml(&cluster.admin, &endpoints("10.77.0.2")).await.unwrap();
    routes.copy_endpoints().await.unwrap();
    assert_eq!(addresses(cluster).await.unwrap(), ["10.77.0.2"]);
    let successor = SolverIngresses::new(cluster.client.clone(), "ingress-acme", "ingress-acme");
    apply_yaml(&cluster.admin, &endpoints("10.77.0.3")).await.unwrap();
    successor.copy_endpoints().await.unwrap();
    assert_eq!(addresses(cluster).await.unwrap(), ["10.77.0.2"], "it knows of no namespace");
    successor.write(&in_place(&ALL), false).await.unwrap();
    assert_eq!(addresses(cluster).await.unwrap(), ["10.77.0.3"]);
}

/// A manager of the rules that has let go of them is no conflict.
async fn a_user_applies_other_rules_without_a_conflict(cluster: &TestCluster) {
    let ingresses: Api<Ingress> = Api::namespaced(cluster.admin.clone(), NAMESPACE);
    let rules = json!([{"host": "other.example.com"}]);
    let other = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "shop"},
        "spec": {"ingressClassName": "nginx", "rules": rules},
    });
    let params = PatchParams::apply("kubectl");
    ingresses.patch("shop", &params, &Patch::Apply(other)).await.unwrap();
}

async fn one_that_is_gone_is_left(cluster: &TestCluster, routes: &SolverIngresses) {
    let why = routes.write(&in_place(&["a.example.com"]), false).await.unwrap_err().to_string();
    assert!(why.contains("no rule is for host a.example.com"), "{why}");
    let ingresses: Api<Ingress> = Api::namespaced(cluster.admin.clone(), NAMESPACE);
    ingresses.delete("shop", &DeleteParams::default()).await.unwrap();
    assert_eq!(routes.write(&in_place(&["a.example.com"]), false).await.unwrap(), None);
    assert_eq!(routes.write(&in_place(&[]), true).await.unwrap(), None);
    assert!(!has_service(cluster).await);
    let left = ingresses.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(left.len(), 0, "{left:?}");
}

/// A Service of a user, and one of another install.
async fn a_service_of_others_is_left_alone(cluster: &TestCluster, routes: &SolverIngresses) {
    let services: Api<Service> = Api::namespaced(cluster.admin.clone(), NAMESPACE);
    let labelled = json!({"app.kubernetes.io/managed-by": "ingress-acme"});
    for (labels, why) in
        [(json!({}), "is not of ingress-acme"), (labelled, "is of another install")]
    {
        let theirs = json!({
            "metadata": {"name": "ingress-acme-solver", "labels": labels}, "spec": {"ports": [{"port": 80}]},
        });
        let theirs = serde_json::from_value(theirs).unwrap();
        services.create(&PostParams::default(), &theirs).await.unwrap();
        let refusal = routes.write(&beside(&["a.example.com"]), false).await.unwrap_err();
        assert!(refusal.to_string().contains(why), "{refusal}");
        assert_eq!(addresses(cluster).await, None);
        routes.write(&beside(&[]), true).await.unwrap();
        assert!(has_service(cluster).await, "it is not ours to delete");
        services.delete("ingress-acme-solver", &DeleteParams::default()).await.unwrap();
    }
}
