//! Two installs in one cluster, as docs/operations.md sets them up.

use std::process::Command;

use ingress_acme_control_plane::{
    OperatorOptions, World, apply_yaml, eventually, retry_when_wedged,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::sites::{PATIENCE, Site, certificate, events, namespace, secret, text};
use crate::{alone, operator};

const HOSTS: [&str; 1] = ["shop.example.com"];

/// The manifest of the second install, made by the command of docs/operations.md.
fn second_manifest() -> String {
    let docs = include_str!("../../docs/operations.md");
    let command = docs.split("```sh\n").find(|block| block.contains("> acme-staging.yaml"));
    let command = command.and_then(|block| block.split("> acme-staging.yaml").next());
    let command = command.expect("docs/operations.md shows the command");
    let mut sh = Command::new("sh");
    let output = sh.arg("-c").arg(command).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let output = output.expect("sh and sed are there");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Applies the manifest of the second install, which leaves the first one as it is.
async fn the_second_manifest_is_applied(client: &Client) {
    let manifest = second_manifest();
    apply_yaml(client, &manifest).await.expect("the API server takes the second install");
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    for name in ["ingress-acme", "acme-staging"] {
        let binding = bindings.get(name).await.expect("each has a binding of its own");
        let subjects = binding.subjects.unwrap();
        assert_eq!(subjects[0].namespace.as_deref(), Some(name));
    }
    let services: Api<Service> = Api::namespaced(client.clone(), "acme-staging");
    services.get("ingress-acme-solver").await.expect("its solver");
}

/// Hands the Secret over, requests a new certificate and waits for it.
async fn handed_over(client: &Client, before: &Secret) -> Secret {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "web");
    let mine = json!({"metadata": {"annotations": {"ingress-acme.dev/install": "acme-staging"}}});
    let patch = Patch::Merge(mine);
    secrets.patch("shop", &PatchParams::default(), &patch).await.expect("the annotation");
    let ingresses: Api<k8s_openapi::api::networking::v1::Ingress> =
        Api::namespaced(client.clone(), "web");
    let asked = Patch::Merge(json!({"metadata": {"annotations": {"ingress-acme.dev/renew": "1"}}}));
    ingresses.patch("shop", &PatchParams::default(), &asked).await.expect("the annotation");
    eventually(PATIENCE, "a new certificate", async || {
        let found = secret(client, "web", "shop").await?;
        (text(&found, "tls.crt") != text(before, "tls.crt")).then_some(found)
    })
    .await
}

#[actix::test]
async fn a_second_install_leaves_the_secrets_of_the_first_alone_until_they_are_handed_over() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        let first = operator(world).await;
        Site::new("web", "shop", &HOSTS).tls("shop", &HOSTS).create(&client).await;
        let before = certificate(&client, "web", "shop", &HOSTS).await;
        let install = |secret: &Secret| secret.annotations()["ingress-acme.dev/install"].clone();
        assert_eq!(install(&before), "ingress-acme", "the namespace of the operator");

        the_second_manifest_is_applied(&client).await;
        let options = OperatorOptions::new(env!("CARGO_BIN_EXE_ingress-acme"));
        let mut options = options.args(["--namespace=acme-staging"]);
        let kubeconfig = world.admin_kubeconfig().display().to_string();
        options.env.push(("KUBECONFIG".to_owned(), kubeconfig));
        let _second = world.start_operator(options).await.expect("the operator starts");
        let told = eventually(PATIENCE, "an Event", async || {
            let all = events(&client, "web", "shop").await;
            all.into_iter().find(|(reason, _)| reason == "Restricted").map(|(_, note)| note)
        })
        .await;
        let command =
            "kubectl -n web annotate secret shop --overwrite ingress-acme.dev/install=acme-staging";
        assert!(told.contains("`ingress-acme`") && told.contains(command), "{told}");
        let leases: Api<Lease> = Api::namespaced(client.clone(), "acme-staging");
        leases.get("ingress-acme").await.expect("both lead");
        assert_eq!(
            text(&secret(&client, "web", "shop").await.unwrap(), "tls.crt"),
            text(&before, "tls.crt")
        );
        assert_eq!(world.orders_created(), 1);

        // The gateway knows no namespaces: it would ask the solver of either install.
        world.remove_solver(first.solver_address());
        let after = handed_over(&client, &before).await;
        assert_eq!(install(&after), "acme-staging");
        assert_eq!(after.owner_references().len(), 1);
        assert_eq!((world.orders_created(), world.certificates_issued()), (2, 2));
        assert!(first.is_running(), "and leaves it alone");
    })
    .await;
}
