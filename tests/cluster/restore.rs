//! Backup and restore, and Secrets that outlive their Ingresses, with the garbage collector of the
//! real kube-controller-manager. The commands are those of docs/operations.md.

use std::path::Path;
use std::process::Stdio;

use ingress_acme_control_plane::{World, eventually, retry_when_wedged};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, ListParams, PostParams, PropagationPolicy};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::account::lose_account;
use crate::sites::{PATIENCE, Site, certificate, delete, ingress, namespace, secret, text};
use crate::{alone, operator, operator_with};

const SITES: [&str; 5] = ["one", "two", "three", "four", "five"];
const OURS: &str = "app.kubernetes.io/managed-by=ingress-acme";

fn host(name: &str) -> String {
    format!("{name}.example.com")
}

async fn create_sites(client: &Client) {
    for name in SITES {
        let host = host(name);
        Site::new("web", name, &[&host]).tls(name, &[&host]).create(client).await;
    }
}

async fn all_have_certificates(client: &Client) {
    for name in SITES {
        certificate(client, "web", name, &[&host(name)]).await;
    }
}

/// The Secrets as `kubectl get -o yaml` and the `jq` of docs/operations.md write them.
async fn backup(client: &Client) -> Vec<Secret> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "web");
    let found = secrets.list(&ListParams::default().labels(OURS)).await.expect("the Secrets");
    let strip = |secret: Secret| {
        let mut value = serde_json::to_value(secret).unwrap();
        for field in
            ["uid", "resourceVersion", "creationTimestamp", "managedFields", "ownerReferences"]
        {
            value["metadata"].as_object_mut().unwrap().remove(field);
        }
        serde_json::from_value(value).unwrap()
    };
    found.into_iter().map(strip).collect()
}

async fn restore(client: &Client, secrets: &[Secret]) {
    let api: Api<Secret> = Api::namespaced(client.clone(), "web");
    for one in secrets {
        api.create(&PostParams::default(), one).await.expect("it is restored");
    }
}

/// Waits until each Secret is owned by the present Ingress of its name.
async fn all_are_adopted(client: &Client) {
    for name in SITES {
        let uid = ingress(client, "web", name).await.uid().expect("a uid");
        eventually(PATIENCE, &format!("{name} is adopted"), async || {
            let found = secret(client, "web", name).await?;
            found.owner_references().iter().any(|owner| owner.uid == uid).then_some(())
        })
        .await;
    }
}

#[actix::test]
async fn restored_secrets_without_owners_are_adopted_and_nothing_is_ordered() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        let first = operator(world).await;
        create_sites(&client).await;
        all_have_certificates(&client).await;
        let saved = backup(&client).await;
        assert_eq!(first.terminate().await.expect("it ends"), 0);
        drop(first);

        // Another cluster has neither the Ingresses, nor the account, nor the journal.
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.delete("web", &DeleteParams::default()).await.expect("it is deleted");
        eventually(PATIENCE, "the namespace is gone", async || {
            namespaces.get_opt("web").await.expect("an answer").is_none().then_some(())
        })
        .await;
        lose_account(&client).await;
        namespace(&client, "web").await;
        restore(&client, &saved).await;
        create_sites(&client).await;
        let _second = operator(world).await;
        all_are_adopted(&client).await;
        for one in &saved {
            let now = secret(&client, "web", &one.name_any()).await.expect("it is there");
            assert_eq!(text(&now, "tls.crt"), text(one, "tls.crt"));
        }
        assert_eq!((world.orders_created(), world.certificates_issued()), (5, 5));

        // The garbage collector takes a Secret with its new owner.
        delete(&client, "web", "one").await;
        eventually(PATIENCE, "the Secret goes with it", async || {
            secret(&client, "web", "one").await.is_none().then_some(())
        })
        .await;
    })
    .await;
}

/// `kubectl delete ingress --cascade=orphan`, as tools do that make an object anew.
#[actix::test]
async fn an_ingress_that_is_made_again_adopts_the_secret_of_its_predecessor() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        let _operator = operator(world).await;
        create_sites(&client).await;
        all_have_certificates(&client).await;
        let ingresses: Api<Ingress> = Api::namespaced(client.clone(), "web");
        let policy = Some(PropagationPolicy::Orphan);
        let orphan = DeleteParams { propagation_policy: policy, ..DeleteParams::default() };
        for name in SITES {
            ingresses.delete(name, &orphan).await.expect("it is deleted");
        }
        eventually(PATIENCE, "the Ingresses are gone", async || {
            let left = ingresses.list(&ListParams::default()).await.expect("the Ingresses");
            left.items.is_empty().then_some(())
        })
        .await;
        create_sites(&client).await;
        all_are_adopted(&client).await;
        assert_eq!((world.orders_created(), world.certificates_issued()), (5, 5));
    })
    .await;
}

async fn runs(kubeconfig: &Path, args: &[&str]) -> String {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_ingress-acme"));
    command.args(args).env("KUBECONFIG", kubeconfig).kill_on_drop(true).stdin(Stdio::null());
    let ended = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = ended.expect("the command ends").expect("the command starts");
    let words = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{args:?}: {words:?}");
    words.concat()
}

async fn owners(client: &Client, name: &str) -> usize {
    secret(client, "web", name).await.expect("the Secret").owner_references().len()
}

/// Waits for the garbage collector, by a Secret that it deletes with its owner.
async fn the_garbage_collector_comes_by(client: &Client) {
    let owner = json!({"metadata": {"name": "last"}, "spec": {"defaultBackend": {
        "service": {"name": "last", "port": {"number": 80}}}}});
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), "web");
    let params = PostParams::default();
    let owner = ingresses.create(&params, &serde_json::from_value(owner).unwrap()).await;
    let uid = owner.expect("the Ingress").uid();
    let owned = json!({"metadata": {"name": "last-owned", "ownerReferences": [{
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "last", "uid": uid}]}});
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "web");
    let owned = secrets.create(&params, &serde_json::from_value(owned).unwrap()).await;
    owned.expect("the Secret");
    delete(client, "web", "last").await;
    eventually(PATIENCE, "the garbage collector", async || {
        secret(client, "web", "last-owned").await.is_none().then_some(())
    })
    .await;
}

#[actix::test]
async fn a_secret_without_owners_stays_when_its_ingress_is_deleted() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        let first = operator(world).await;
        create_sites(&client).await;
        all_have_certificates(&client).await;
        assert_eq!(first.terminate().await.expect("it ends"), 0);
        drop(first);

        let _second = operator_with(world, &["--owner-references", "false"]).await;
        let new = ["new.example.com"];
        Site::new("web", "new", &new).tls("new", &new).create(&client).await;
        certificate(&client, "web", "new", &new).await;
        assert_eq!((owners(&client, "new").await, owners(&client, "one").await), (0, 1));
        let admin = world.admin_kubeconfig();
        let said = runs(admin, &["remove-owners", "-n", "web", "--yes"]).await;
        assert!(said.contains("5 TLS Secrets are no longer owned"), "{said}");
        let again = runs(admin, &["remove-owners", "-A", "--yes"]).await;
        assert!(again.contains("No TLS Secret"), "{again}");
        for name in SITES.into_iter().chain(["new"]) {
            assert_eq!(owners(&client, name).await, 0, "{name}");
            delete(&client, "web", name).await;
        }
        the_garbage_collector_comes_by(&client).await;

        let count = world.certificates_issued();
        create_sites(&client).await;
        let renewed = ["later.example.com"];
        Site::new("web", "later", &renewed).tls("later", &renewed).create(&client).await;
        certificate(&client, "web", "later", &renewed).await;
        for name in SITES {
            assert_eq!(owners(&client, name).await, 0, "{name}");
        }
        assert_eq!(world.certificates_issued(), count + 1, "the Secrets serve the new Ingresses");
    })
    .await;
}

/// A shell block of docs/operations.md, the first that contains `marker`.
fn documented(marker: &str) -> &'static str {
    let docs = include_str!("../../docs/operations.md");
    let mut blocks = docs.split("```sh\n").filter_map(|rest| Some(rest.split_once("\n```")?.0));
    blocks.find(|block| block.contains(marker)).expect("docs/operations.md has the block")
}

/// Runs shell commands as the administrator in the world's directory, with kubectl of the cluster's
/// release and this build's `ingress-acme`.
pub(crate) async fn shell(world: &World, commands: &str) -> String {
    let mut sh = tokio::process::Command::new("sh");
    let programs = [Path::new(env!("CARGO_BIN_EXE_ingress-acme")), &world.kubectl_program()];
    let mut path: Vec<_> =
        programs.iter().filter_map(|of| of.parent()).map(Path::to_owned).collect();
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    sh.env("PATH", std::env::join_paths(path).expect("no colon in a directory"));
    sh.arg("-ec").arg(commands).env("KUBECONFIG", world.admin_kubeconfig());
    sh.current_dir(world.directory()).kill_on_drop(true).stdin(Stdio::null());
    let ended = tokio::time::timeout(PATIENCE, sh.output()).await;
    let output = ended.expect("it ends").expect("sh starts");
    let words = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{commands}: {words:?}");
    words.concat()
}

/// Runs the other commands of the page: all Secrets to another name, one to another install, and
/// the loss of the account.
async fn secrets_are_handed_over_and_the_account_is_deleted(
    world: &World,
    client: &Client,
    account: &str,
) {
    let all = documented("install=NEW").replace("NEW", "elsewhere");
    shell(world, &all).await;
    let install = async |name: &str| {
        let found = secret(client, "web", name).await.expect("the Secret");
        found.annotations().get("ingress-acme.dev/install").cloned().unwrap_or_default()
    };
    for name in SITES {
        assert_eq!(install(name).await, "elsewhere");
    }
    let one = documented("annotate secret shop").lines().next().unwrap().replace("shop", "one");
    shell(world, &one).await;
    assert_eq!(install("one").await, "acme-staging");
    // Its last line restarts the Deployment, which this world runs as a process.
    let lost = documented("grep '^secret/").lines().next().unwrap();
    shell(world, lost).await;
    assert!(secret(client, "ingress-acme", account).await.is_none());
}

/// Whether jq can be run, which a new machine may not have. Says so where the commands of `page`
/// are not run.
pub(crate) fn has_jq(page: &str) -> bool {
    let ran = std::process::Command::new("jq").arg("--version").output();
    let has = ran.is_ok_and(|output| output.status.success());
    if !has {
        figure!("jq is missing, so the commands of {page} are not run");
    }
    has
}

#[actix::test]
async fn the_commands_of_operations_md_back_up_restore_and_hand_over() {
    if !has_jq("operations.md") {
        return;
    }
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        let first = operator(world).await;
        create_sites(&client).await;
        all_have_certificates(&client).await;
        shell(world, documented("strip=")).await;
        let saved = backup(&client).await;
        let ingresses = "kubectl -n web get ingress -o json | jq '.items[].metadata |= del(.uid, .resourceVersion)'";
        shell(world, &format!("{ingresses} > ingresses.yaml")).await;
        assert_eq!(first.terminate().await.expect("it ends"), 0);
        drop(first);
        shell(world, "kubectl delete namespace web").await;
        let account = lose_account(&client).await;
        shell(world, "kubectl create namespace web").await;
        shell(world, documented("kubectl create -f account.json")).await;
        let second = operator(world).await;
        all_are_adopted(&client).await;
        for one in &saved {
            let now = secret(&client, "web", &one.name_any()).await.expect("it is there");
            assert_eq!(text(&now, "tls.crt"), text(one, "tls.crt"));
        }
        assert!(secret(&client, "ingress-acme", &account).await.is_some());
        assert_eq!((world.orders_created(), world.certificates_issued()), (5, 5));

        secrets_are_handed_over_and_the_account_is_deleted(world, &client, &account).await;
        assert_eq!(second.terminate().await.expect("it ends"), 0);
    })
    .await;
}
