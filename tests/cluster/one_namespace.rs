//! `kustomize/one-namespace`, applied by an admin of that namespace, and run with exactly the
//! rights of its Roles: none of them is in the cluster.

use std::fs;
use std::path::PathBuf;

use ingress_acme_control_plane::{
    AuditEntry, Operator, OperatorOptions, World, eventually, retry_when_wedged,
};
use ingress_acme_sim::gateway::{Merging, Rules};
use kube::Client;
use serde_json::{Value, json};

use crate::alone;
use crate::overlays::{kubectl, rendered, restricted};
use crate::sites::{PATIENCE, Site, certificate, events, namespace, secret, verify};

const OVERLAY: &str = "kustomize/one-namespace";
const USER: &str = "system:serviceaccount:web:ingress-acme";
/// The parts of the role `admin`, which a controller that is not run here puts together.
const ADMIN: [&str; 3] =
    ["system:aggregate-to-admin", "system:aggregate-to-edit", "system:aggregate-to-view"];

/// Applies the overlay as a user who is admin of the namespace and nothing in the cluster.
async fn applied_by_an_admin_of_the_namespace(world: &World) {
    kubectl(world, &["create", "--filename=-"], Some(&restricted("web"))).await;
    for role in ADMIN {
        let (name, role) = (role.replace(':', "-"), format!("--clusterrole={role}"));
        let args = ["-n", "web", "create", "rolebinding", &name, &role, "--user=tenant"];
        kubectl(world, &args, None).await;
    }
    kubectl(world, &["apply", "-k", OVERLAY, "--as=tenant"], None).await;
}

/// Value of a variable of the Deployment, as the kubelet sets it.
fn variable(variable: &Value) -> (String, String) {
    let of_field = |field: &str| match field {
        "metadata.namespace" => "web",
        "metadata.name" => "ingress-acme-0",
        other => panic!("{other} is not known here"),
    };
    let of_pod = || match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
        Some(field) => of_field(field).to_owned(),
        None => "268435456".to_owned(), // MEMORY_LIMIT
    };
    let value = variable["value"].as_str().map_or_else(of_pod, str::to_owned);
    (variable["name"].as_str().expect("a name").to_owned(), value)
}

/// Kubeconfig with a token of the `ServiceAccount` that the overlay has made.
async fn kubeconfig(world: &World) -> PathBuf {
    let token = kubectl(world, &["-n", "web", "create", "token", "ingress-acme"], None).await;
    let text = fs::read_to_string(world.admin_kubeconfig()).expect("the kubeconfig");
    let mut config: Value = serde_json::from_str(&text).expect("it is JSON");
    config["users"][0]["user"] = json!({ "token": token.trim() });
    let path = world.directory().join("one-namespace.kubeconfig");
    fs::write(&path, config.to_string()).expect("the kubeconfig");
    path
}

/// Starts the operator with the environment of the overlay's Deployment.
async fn operator(world: &World) -> Operator {
    let objects = rendered(world, OVERLAY).await;
    assert!(objects.iter().all(|object| object["metadata"]["namespace"] == "web"), "{objects:?}");
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment");
    let container = &deployment.expect("a Deployment")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["args"], json!(["run"]));
    let mut options = OperatorOptions::new(env!("CARGO_BIN_EXE_ingress-acme"));
    options.without.push("--namespace");
    options.env.extend(container["env"].as_array().expect("variables").iter().map(variable));
    let kubeconfig = kubeconfig(world).await.display().to_string();
    options.env.push(("KUBECONFIG".to_owned(), kubeconfig));
    world.start_operator(options).await.expect("the operator starts")
}

/// Requests of the operator that were answered so far.
fn asked(world: &World) -> Vec<AuditEntry> {
    world.audit().into_iter().filter(|entry| entry.user == USER).collect()
}

#[actix::test]
async fn with_roles_of_one_namespace_alone_its_ingresses_are_served_and_nothing_else_is_asked_for()
{
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        applied_by_an_admin_of_the_namespace(world).await;
        namespace(&client, "other").await;
        let operator = operator(world).await;
        Site::new("other", "shop", &["other.example.com"]).create(&client).await;
        Site::new("web", "shop", &["shop.example.com"]).create(&client).await;
        let issued = certificate(&client, "web", "shop-tls", &["shop.example.com"]).await;
        verify(world, &issued).await;
        a_rule_is_known_by_the_name_of_the_class(world, &client).await;
        assert!(secret(&client, "other", "shop-tls").await.is_none());
        assert!(events(&client, "other", "shop").await.is_empty());

        let asked = asked(world);
        let of_cluster = asked.iter().filter(|entry| !entry.resource.is_empty());
        let of_cluster = of_cluster.filter(|entry| entry.namespace != "web");
        let of_cluster: Vec<&str> = of_cluster.map(|entry| entry.resource.as_str()).collect();
        assert_eq!(of_cluster, ["ingressclasses"], "once, for the host that leads elsewhere");
        let refused = asked.iter().filter(|entry| entry.code == 403);
        assert!(refused.clone().all(|entry| entry.resource == "ingressclasses"), "{refused:?}");
        let log = fs::read_to_string(operator.log_path()).expect("the log");
        assert!(!log.contains("forbidden"), "{log}");
        assert_eq!(operator.terminate().await.expect("it ends"), 0);
        assert_eq!((world.orders_created(), world.validations_failed()), (1, 0));
        uninstalled(world, &client).await;
    })
    .await;
}

/// Without the right to read the classes, an Event still names the rule of a well-known one.
async fn a_rule_is_known_by_the_name_of_the_class(world: &World, client: &Client) {
    world.set_rules(Rules { merging: Merging::AddressPerIngress, ..Rules::default() });
    Site::new("web", "cloud", &["cloud.example.com"]).class("gce").create(client).await;
    eventually(PATIENCE, "an Event with the rule", async || {
        let told = events(client, "web", "cloud").await;
        let rule = "GKE makes a load balancer for each Ingress";
        told.iter().any(|(_, note)| note.contains(rule)).then_some(())
    })
    .await;
}

/// Runs the commands of docs/operations.md: what the user has stays, and the account's key.
async fn uninstalled(world: &World, client: &Client) {
    let docs = include_str!("../../docs/operations.md");
    let uninstall = format!("kubectl delete -k {OVERLAY}\n");
    let block = docs.split("```").find(|block| block.contains(&uninstall)).expect("the commands");
    for command in block.lines().filter_map(|line| line.strip_prefix("kubectl ")) {
        kubectl(world, &command.split(' ').collect::<Vec<_>>(), None).await;
    }
    let left = "secret,ingress,lease,service,deployment,role,rolebinding,serviceaccount";
    let left = kubectl(world, &["-n", "web", "get", left, "--output=name"], None).await;
    let account = |name: &&str| name.starts_with("secret/ingress-acme-account-");
    let (accounts, left): (Vec<&str>, Vec<&str>) = left.lines().partition(account);
    assert_eq!(accounts.len(), 1, "{accounts:?}");
    let of_the_tenant = left.iter().filter(|name| !name.contains("rolebinding"));
    let expected =
        ["secret/shop-tls", "ingress.networking.k8s.io/cloud", "ingress.networking.k8s.io/shop"];
    assert_eq!(of_the_tenant.copied().collect::<Vec<_>>(), expected);
    assert_eq!(left.len() - expected.len(), ADMIN.len(), "{left:?}");
    let kept = secret(client, "web", "shop-tls").await.expect("the Secret");
    verify(world, &kept).await;
}
