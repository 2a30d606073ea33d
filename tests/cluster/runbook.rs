//! The first command of each alert's paragraph in docs/operations.md, as an operator on call runs
//! them.

use ingress_acme_control_plane::{World, eventually, retry_when_wedged};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::restore::{has_jq, shell};
use crate::sites::{PATIENCE, Site, certificate, events, namespace};
use crate::{alone, operator};

/// Alerts whose command prints nothing while all is well, or in this cluster without pods.
#[rustfmt::skip] // two lines are enough
const SILENT: [&str; 5] = [
    "IngressAcmeAbsent", "IngressAcmeRateLimited", "IngressAcmeQueueWaits", "IngressAcmeNewOrdersStopped",
    "IngressAcmeBadConfiguration",
];

/// Alerts with the command that their paragraph begins with.
fn commands() -> Vec<(&'static str, &'static str)> {
    let page = include_str!("../../docs/operations.md");
    let paragraphs = page.split("\n### IngressAcme").skip(1);
    let commands = paragraphs.map(|paragraph| {
        let (name, rest) = paragraph.split_once("\n\n```console\n$ ").expect("a command");
        (name, rest.lines().next().expect("a command"))
    });
    commands.collect()
}

/// A Secret of somebody else, whose Ingress fails.
async fn conflict(client: &kube::Client) {
    let secret = json!({"metadata": {"namespace": "web", "name": "taken"}, "type": "Opaque"});
    let secret: Secret = serde_json::from_value(secret).unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "web");
    secrets.create(&PostParams::default(), &secret).await.expect("the Secret");
    let hosts = ["taken.example.com"];
    Site::new("web", "taken", &hosts).tls("taken", &hosts).create(client).await;
    eventually(PATIENCE, "its Event", async || {
        (!events(client, "web", "taken").await.is_empty()).then_some(())
    })
    .await;
}

#[actix::test]
async fn the_first_command_of_each_alert_runs_and_prints_something() {
    if !has_jq("the alerts") {
        return;
    }
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        let operator = operator(world).await;
        Site::new("web", "shop", &["shop.example.com"]).create(&client).await;
        certificate(&client, "web", "shop-tls", &["shop.example.com"]).await;
        conflict(&client).await;
        let admin = operator.admin_url();
        let admin = admin.trim_start_matches("http://");
        let log = format!("cat {}", operator.log_path().display());
        let commands = commands();
        assert!(commands.len() > 10, "{commands:?}");
        for (name, command) in commands {
            let command = command
                .replace("localhost:9091", admin)
                .replace("localhost:9090", admin)
                .replace(
                    "kubectl -n ingress-acme logs -l app.kubernetes.io/name=ingress-acme --tail=-1",
                    &log,
                )
                .replace(
                    "ingress-acme status",
                    concat!(env!("CARGO_BIN_EXE_ingress-acme"), " status"),
                )
                .replace("-n NAMESPACE", "-n web")
                .replace("\"SECRET\"", "\"shop-tls\"");
            let printed = shell(world, &command).await;
            let name = format!("IngressAcme{name}");
            assert!(SILENT.contains(&&*name) || !printed.trim().is_empty(), "{name}: {command}");
        }
    })
    .await;
}
