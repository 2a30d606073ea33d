//! Commands of README.md, docs/ and deploy/ as a user runs them, on one cluster. The table
//! `tests/documents/commands.txt` lists them; other tests run the rest.

mod reader;
mod settings;

use std::collections::BTreeSet;

use ingress_acme_control_plane::{World, eventually, retry_when_wedged};
use serde_json::{Value, json};

use crate::documents::table;
use crate::restore::has_jq;
use crate::sites::{PATIENCE, Site, certificate, events, namespace};
use crate::{alone, operator};
use reader::Reader;

/// The test below, as the table names it.
const THIS: &str = "tests/cluster/documented.rs::the_documented_commands_do_as_their_text_says";

#[actix::test]
async fn the_documented_commands_do_as_their_text_says() {
    if !has_jq("the pages") {
        return;
    }
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let mut reader = Reader::new(world);
        namespace(&reader.client, "web").await;
        planned(&reader).await;
        let running = operator(world).await;
        reader.with(&running);
        installed(&reader).await;
        observed(&reader).await;
        renewed_and_revoked(&reader).await;
        stopped_and_allowed(&reader).await;
        settings::configured(&reader).await;
        settings::given_rights(&reader).await;
        settings::guarded_and_beside_another(&reader).await;
        settings::monitored(&reader).await;
        grouped(&reader).await;
        assert_eq!(running.terminate().await.expect("it ends"), 0);
        uninstalled(&reader).await;
        let listed = table().into_iter().filter(|entry| entry.by == THIS);
        let listed: BTreeSet<String> = listed.map(|entry| entry.command).collect();
        assert_eq!(reader.ran(), listed, "the table has what this test runs");
    })
    .await;
}

/// Before the operator runs: `plan` writes nothing.
async fn planned(reader: &Reader<'_>) {
    reader.run("kubectl apply -f deploy/install.yaml").await;
    reader.shell("cp deploy/examples/plain.yaml my-ingress.yaml").await;
    reader.run("kubectl apply -f my-ingress.yaml").await;
    Site::new("web", "first", &["first.example.com"]).create(&reader.client).await;
    let all = reader.run("ingress-acme plan -A").await;
    assert!(all.contains("2 Ingresses: 2 served"), "{all}");
    let annotated = reader.run("ingress-acme plan -A --manage annotated").await;
    assert!(annotated.contains("0 served"), "{annotated}");
    let wide = reader.run("ingress-acme plan -n web -o wide").await;
    assert!(wide.contains("New") && wide.contains("first.example.com"), "{wide}");
    assert_eq!(reader.world.orders_created(), 0);
}

async fn installed(reader: &Reader<'_>) {
    let hosts = ["shop.example.com", "www.shop.example.com"];
    certificate(&reader.client, "default", "shop-tls", &hosts).await;
    certificate(&reader.client, "web", "first-tls", &["first.example.com"]).await;
    eventually(PATIENCE, "the Event Issued", async || {
        let told = events(&reader.client, "default", "shop").await;
        told.iter().any(|(reason, _)| reason == "Issued").then_some(())
    })
    .await;
    let described = reader.run("kubectl describe ingress shop").await;
    assert!(described.contains("Issued"), "{described}");
    let found = reader.run("kubectl get secret shop-tls").await;
    assert!(found.contains("kubernetes.io/tls"), "{found}");
    let status = reader.run("ingress-acme status -A").await;
    assert!(status.contains("first-tls") && status.contains("shop-tls"), "{status}");
}

/// Lease, ports and the answer of the solver.
async fn observed(reader: &Reader<'_>) {
    let lease = reader.run("kubectl -n ingress-acme get lease").await;
    assert!(lease.contains("operator-"), "{lease}");
    let holder =
        "kubectl -n ingress-acme get lease ingress-acme -o jsonpath='{.spec.holderIdentity}'";
    reader.run(&format!("POD=$({holder})")).await;
    assert!(reader.shell(holder).await.starts_with("operator-"));
    let failing = "curl -s 'localhost:9091/api/v1/ingresses?state=failing&search=shop'";
    let failing: Value = serde_json::from_str(&reader.run(failing).await).expect("JSON");
    assert_eq!(failing["total"], 0, "{failing}");
    let accept = "curl -s -H 'Accept: application/openmetrics-text' localhost:9090/metrics";
    let metrics = reader.run(accept).await;
    assert!(metrics.contains("ingress_acme_leader 1\n") && metrics.ends_with("# EOF\n"));
    let state = reader.run("curl -s localhost:9091/debug/state").await;
    let state: Value = serde_json::from_str(&state).expect("JSON");
    assert_eq!((&state["role"], &state["managed_ingresses"]), (&json!("leader"), &json!(2)));
    let token = "abcdefghijklmnopqrstuv";
    let asked = format!("curl -iL http://HOST/.well-known/acme-challenge/{token}");
    let answer = reader.run(&asked).await;
    let thumbprint = reader.run("ingress-acme thumbprint --namespace ingress-acme").await;
    assert_eq!(thumbprint.trim().len(), 43);
    assert!(answer.contains("200 OK"), "{answer}");
    assert!(answer.contains(&format!("{token}.{}", thumbprint.trim())), "{answer}");
    for program in ["haproxy", "nginx"] {
        let snippet = "ingress-acme thumbprint --namespace ingress-acme --snippet";
        let snippet = reader.run(&format!("{snippet} {program}")).await;
        assert!(snippet.contains(thumbprint.trim()), "{snippet}");
    }
}

async fn renewed_and_revoked(reader: &Reader<'_>) {
    reader.shell("kubectl -n web label ingress first app=shop").await;
    let before = reader.world.orders_created();
    let dry = "ingress-acme renew -n NAMESPACE -l app=shop --dry-run";
    let dry = reader.run(dry).await;
    assert!(dry.contains("dry run"), "{dry}");
    reader.renews("ingress-acme renew NAMESPACE/NAME").await;
    let annotate = "kubectl -n NAMESPACE annotate ingress NAME --overwrite";
    reader.renews(&format!("{annotate} ingress-acme.dev/renew=\"$(date +%s)\"")).await;
    reader.renews("ingress-acme renew -n NAMESPACE -l app=shop --yes").await;
    let said = reader.renews("ingress-acme revoke NAMESPACE/NAME --reason keyCompromise").await;
    assert!(said.contains("secret/first-tls revoked"), "{said}");
    let pod = "kubectl -n ingress-acme exec deploy/ingress-acme -- /ingress-acme";
    let said = reader.renews(&format!("{pod} revoke NAMESPACE/NAME --yes")).await;
    assert!(said.contains("secret/first-tls revoked"), "{said}");
    let said = reader.run(&format!("{pod} rollover --yes")).await;
    assert!(said.contains("has a new key"), "{said}");
    assert_eq!(reader.world.orders_created(), before + 5, "one for each, none for the dry run");
}

/// Whether new orders are stopped, as the leader says after its next look at the Lease.
async fn says_new_orders_are_stopped(reader: &Reader<'_>, stopped: bool) {
    let line = format!("ingress_acme_new_orders_stopped {}\n", u8::from(stopped));
    let metrics = "curl -s -H 'Accept: application/openmetrics-text' localhost:9090/metrics";
    eventually(PATIENCE, &line, async || reader.run(metrics).await.contains(&line).then_some(()))
        .await;
}

async fn stopped_and_allowed(reader: &Reader<'_>) {
    let annotate = "kubectl annotate --namespace=ingress-acme lease ingress-acme";
    for (stop, allow) in [
        ("ingress-acme pause --reason \"incident 42\"", "ingress-acme resume"),
        (
            &format!("{annotate} ingress-acme.dev/new-orders=stopped"),
            &format!("{annotate} ingress-acme.dev/new-orders-"),
        ),
    ] {
        reader.run(stop).await;
        says_new_orders_are_stopped(reader, true).await;
        reader.run(allow).await;
        says_new_orders_are_stopped(reader, false).await;
    }
}

/// Ingresses that leave `spec.tls` to the operator share one certificate.
async fn grouped(reader: &Reader<'_>) {
    Site::new("web", "second", &["second.example.com"]).create(&reader.client).await;
    certificate(&reader.client, "web", "second-tls", &["second.example.com"]).await;
    reader.run("kubectl annotate ingress --all -n web ingress-acme.dev/group=true").await;
    let both = ["first.example.com", "second.example.com"];
    certificate(&reader.client, "web", "group-example.com", &both).await;
    reader.served("second").await;
    let issued = reader.world.certificates_issued();
    reader.run_for("ingress-acme renew web/shop", "second").await;
    eventually(PATIENCE, "a new certificate", async || {
        (reader.world.certificates_issued() > issued).then_some(())
    })
    .await;
    let back = "kubectl -n web annotate ingress shop ingress-acme.dev/adopt-secret- \
                ingress-acme.dev/enabled=false cert-manager.io/cluster-issuer=letsencrypt";
    reader.run_for(back, "second").await;
    assert_eq!(reader.status("second").await["state"], "skipped");
}

async fn uninstalled(reader: &Reader<'_>) {
    reader.run("kubectl delete -f deploy/install.yaml").await;
    let left = "kubectl get secret -A -l app.kubernetes.io/managed-by=ingress-acme";
    let left = reader.run(left).await;
    assert!(left.contains("shop-tls") && left.contains("group-example.com"), "{left}");
    assert!(!left.contains("ingress-acme-account"), "{left}");
}
