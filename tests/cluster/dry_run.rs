//! `run --dry-run` with the rights of `kustomize/dry-run`, before an operator is installed and
//! beside one: by the logs of the API server and of the CA, nothing is written but Events.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use ingress_acme_control_plane::{Operator, OperatorOptions, Options, World, eventually};
use ingress_acme_sim::ca;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::overlays::{kubectl, rendered};
use crate::sites::{PATIENCE, Site, certificate, events, namespace};
use crate::{alone, operator};

const OVERLAY: &str = "kustomize/dry-run";
const NAMESPACE: &str = "ingress-acme-dry-run";
const USER: &str = "system:serviceaccount:ingress-acme-dry-run:ingress-acme-dry-run";

async fn kubeconfig(world: &World) -> PathBuf {
    let args = ["-n", NAMESPACE, "create", "token", NAMESPACE];
    let token = kubectl(world, &args, None).await;
    let text = fs::read_to_string(world.admin_kubeconfig()).expect("the kubeconfig");
    let mut config: Value = serde_json::from_str(&text).expect("it is JSON");
    config["users"][0]["user"] = json!({ "token": token.trim() });
    let path = world.directory().join("dry-run.kubeconfig");
    fs::write(&path, config.to_string()).expect("the kubeconfig");
    path
}

/// Starts a dry run with the settings of the overlay's Deployment.
async fn dry_run(world: &World, pod: &str) -> Operator {
    let objects = rendered(world, OVERLAY).await;
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment");
    let container = &deployment.expect("a Deployment")["spec"]["template"]["spec"]["containers"][0];
    let options = OperatorOptions::new(env!("CARGO_BIN_EXE_ingress-acme"));
    let mut options = options.args(["--scan-interval", "1m"]);
    options.without.push("--namespace");
    let variables = container["env"].as_array().expect("variables").iter();
    let given = variables.filter_map(|one| Some((one["name"].as_str()?, one["value"].as_str()?)));
    options.env.extend(given.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for (name, value) in [("POD_NAME", pod), ("POD_NAMESPACE", NAMESPACE)] {
        options.env.push((name.to_owned(), value.to_owned()));
    }
    let kubeconfig = kubeconfig(world).await.display().to_string();
    options.env.push(("KUBECONFIG".to_owned(), kubeconfig));
    let dry_run = world.start_operator(options).await.expect("it is ready without an account");
    world.remove_solver(dry_run.solver_address()); // no Service of the operator beside leads there
    dry_run
}

/// Requests of the dry runs that are no reads, by verb, resource and status.
fn writes(world: &World) -> BTreeMap<(String, String, u16), usize> {
    let mut writes = BTreeMap::new();
    for entry in world.audit().into_iter().filter(|entry| entry.user == USER) {
        if !matches!(&*entry.verb, "get" | "list" | "watch") {
            *writes.entry((entry.verb, entry.resource, entry.code)).or_default() += 1;
        }
    }
    writes
}

async fn counts(dry_run: &Operator, plan: &str, count: usize) {
    let line = format!("\ningress_acme_dry_run_certificates{{plan=\"{plan}\"}} {count}\n");
    eventually(PATIENCE, &format!("{count} of {plan}"), async || {
        let answer = reqwest::get(format!("{}/metrics", dry_run.admin_url())).await.ok()?;
        answer.text().await.ok()?.contains(&line).then_some(())
    })
    .await;
}

async fn told(client: &Client, name: &str, text: &str) {
    eventually(PATIENCE, &format!("an Event of {name} with {text}"), async || {
        let events = events(client, "web", name).await;
        events.iter().any(|(_, note)| note.contains(text)).then_some(())
    })
    .await;
}

async fn sites(client: &Client) {
    namespace(client, "web").await;
    let secret = json!({"metadata": {"namespace": "web", "name": "taken"}, "type": "Opaque"});
    let secret: Secret = serde_json::from_value(secret).unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "web");
    secrets.create(&PostParams::default(), &secret).await.expect("the Secret");
    Site::new("web", "shop", &["shop.example.com"]).create(client).await;
    let hosts = ["taken.example.com"];
    Site::new("web", "taken", &hosts).tls("taken", &hosts).create(client).await;
    Site::new("web", "wild", &["*.example.com"]).create(client).await;
}

#[actix::test]
async fn a_dry_run_says_what_plan_says_and_writes_nothing_but_one_event_for_each_ingress() {
    let _alone = alone().await;
    let simulated_ca = Some(ca::Options::default());
    let world = &World::start_with(Options { simulated_ca, ..Options::default() }).await.unwrap();
    let client = world.admin();
    kubectl(world, &["apply", "-k", OVERLAY], None).await;
    sites(&client).await;
    let (first, second) = (dry_run(world, "first").await, dry_run(world, "second").await);
    for dry_run in [&first, &second] {
        counts(dry_run, "new", 1).await;
        counts(dry_run, "refused", 1).await;
    }
    told(&client, "shop", "would be ordered into Secret shop-tls").await;
    told(&client, "taken", "is not of type kubernetes.io/tls").await;
    told(&client, "wild", "wildcard").await;
    for name in ["shop", "taken", "wild"] {
        let events = events(&client, "web", name).await;
        assert_eq!(events.len(), 1, "of two dry runs: {events:?}");
        assert!(events[0].1.starts_with("Dry run, nothing is changed. "), "{events:?}");
    }
    let described = kubectl(world, &["-n", "web", "describe", "ingress", "shop"], None).await;
    assert!(described.contains("would be ordered into Secret shop-tls"), "{described}");
    let page = reqwest::get(first.admin_url()).await.unwrap().text().await.unwrap();
    assert!(page.contains("This is a dry run"), "{page}");
    let writes_before = writes(world);
    let event = |code| ("create".to_owned(), "events".to_owned(), code);
    assert_eq!(writes_before.get(&event(201)), Some(&3), "{writes_before:?}");
    assert!(writes_before.contains_key(&event(409)), "the second one's: {writes_before:?}");
    assert!(writes_before.keys().all(|key| *key == event(201) || *key == event(409)));
    let ca = world.simulated_ca().expect("the simulated CA").counts();
    assert!(ca.requests.is_empty(), "{ca:?}");

    // The operator beside leads, and the dry runs agree with it.
    let installed = operator(world).await;
    certificate(&client, "web", "shop-tls", &["shop.example.com"]).await;
    Site::new("web", "more", &["more.example.com"]).create(&client).await;
    certificate(&client, "web", "more-tls", &["more.example.com"]).await;
    for dry_run in [first, second] {
        counts(&dry_run, "kept", 2).await;
        assert_eq!(dry_run.terminate().await.expect("it ends"), 0);
    }
    let writes = writes(world);
    assert!(writes.keys().all(|key| *key == event(201) || *key == event(409)), "{writes:?}");
    assert_eq!(world.simulated_ca().expect("the simulated CA").counts().orders, 2);
    assert_eq!(installed.terminate().await.expect("it ends"), 0);
}
