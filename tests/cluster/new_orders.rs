//! The switch for new orders, by the real kubectl and by `pause` and `resume`, across a takeover.

use std::process::Output;

use ingress_acme_control_plane::{Operator, World, eventually, retry_when_wedged};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};

use crate::commands::{command_as, output};
use crate::overlays::kubectl;
use crate::sites::{PATIENCE, Site, certificate, events, namespace, secret};
use crate::{alone, operator, operator_with};

const ANNOTATION: &str = "ingress-acme.dev/new-orders";

/// Runs `kubectl annotate` as operations.md has it.
async fn annotate(world: &World, value: &str) -> String {
    let annotation =
        if value.is_empty() { format!("{ANNOTATION}-") } else { format!("{ANNOTATION}={value}") };
    let args = [
        "annotate",
        "--namespace=ingress-acme",
        "lease",
        "ingress-acme",
        "--overwrite",
        &annotation,
    ];
    kubectl(world, &args, None).await
}

async fn annotation(client: &Client) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "ingress-acme");
    let found = leases.get("ingress-acme").await.expect("the Lease");
    found.metadata.annotations.unwrap_or_default().remove(ANNOTATION)
}

/// Waits until the leader shows this value of the gauge.
async fn shows(leader: &Operator, stopped: u8) {
    let line = format!("\ningress_acme_new_orders_stopped {stopped}\n");
    eventually(PATIENCE, &format!("the gauge at {stopped}"), async || {
        let answer = reqwest::get(format!("{}/metrics", leader.admin_url())).await.ok()?;
        let text = answer.text().await.ok()?;
        let leads = text.contains("\ningress_acme_leader 1\n");
        (leads && text.contains(&line)).then_some(())
    })
    .await;
}

/// Waits until the Ingress has an Event with this text, and returns its reason.
async fn told(client: &Client, name: &str, text: &str) -> String {
    eventually(PATIENCE, &format!("an Event of {name} with {text}"), async || {
        let events = events(client, "web", name).await;
        events.into_iter().find(|(_, note)| note.contains(text)).map(|(reason, _)| reason)
    })
    .await
}

async fn site(client: &Client, name: &str) {
    let host = format!("{name}.example.com");
    Site::new("web", name, &[&host]).create(client).await;
}

async fn issued(client: &Client, name: &str) {
    certificate(client, "web", &format!("{name}-tls"), &[&format!("{name}.example.com")]).await;
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// Dry runs, and a namespace without an operator.
async fn check_what_changes_nothing(world: &World, client: &Client) {
    for (flag, suffix) in [("--dry-run", "dry run"), ("--dry-run=server", "server dry run")] {
        let said = output(world, &["pause", flag]).await;
        let line =
            format!("lease.coordination.k8s.io/ingress-acme new orders stopped ({suffix})\n");
        assert_eq!(said, line);
    }
    assert_eq!(annotation(client).await, None);
    let elsewhere = ["pause", "--operator-namespace", "web"];
    let refused = command_as(world.admin_kubeconfig(), &elsewhere).await;
    assert_eq!(refused.status.code(), Some(1));
    let why = words(&refused);
    assert!(why.contains("namespace web has no Lease ingress-acme"), "{why}");
}

#[actix::test]
async fn an_annotation_of_the_lease_stops_new_orders_across_a_takeover_and_nothing_else() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        let first = operator(world).await;
        site(&client, "old").await;
        issued(&client, "old").await;
        check_what_changes_nothing(world, &client).await;
        assert_eq!(
            annotate(world, "stopped").await,
            "lease.coordination.k8s.io/ingress-acme annotated\n"
        );
        shows(&first, 1).await;
        site(&client, "new").await;
        assert_eq!(told(&client, "new", "New orders are stopped").await, "Waiting");
        let second = operator(world).await;
        first.kill().await;
        shows(&second, 1).await;
        assert_eq!(
            annotation(&client).await.as_deref(),
            Some("stopped"),
            "no write of ours removes it"
        );
        output(world, &["renew", "web/old"]).await;
        eventually(PATIENCE, "the renewal", async || {
            (world.certificates_issued() == 2).then_some(())
        })
        .await;
        assert!(secret(&client, "web", "new-tls").await.is_none(), "it waits");
        let explained = output(world, &["explain", "web/new"]).await;
        assert!(explained.contains("New orders are stopped"), "{explained}");
        let page = reqwest::get(second.admin_url()).await.unwrap().text().await.unwrap();
        assert!(page.contains("New orders are stopped") && page.contains("wait: 1"), "{page}");
        output(world, &["resume"]).await;
        issued(&client, "new").await;
        shows(&second, 0).await;
        output(world, &["pause", "--reason", "incident 42"]).await;
        shows(&second, 1).await;
        site(&client, "more").await;
        assert_eq!(told(&client, "more", "(incident 42)").await, "Waiting");
        annotate(world, "true").await; // which means nothing
        issued(&client, "more").await;
        shows(&second, 0).await;
        annotate(world, "").await;
        assert_eq!(world.certificates_issued(), 4, "by the CA's own count");
    })
    .await;
}

#[actix::test]
async fn a_replica_without_leader_election_has_a_lease_to_annotate_and_follows_it() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        let operator = operator_with(world, &["--leader-elect", "false"]).await;
        site(&client, "old").await;
        issued(&client, "old").await;
        output(world, &["pause"]).await;
        shows(&operator, 1).await;
        site(&client, "new").await;
        told(&client, "new", "New orders are stopped").await;
        output(world, &["resume"]).await;
        issued(&client, "new").await;
        assert_eq!(world.certificates_issued(), 2);
    })
    .await;
}
