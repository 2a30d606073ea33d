//! Commands and ports that users and other programs rely on.

use std::path::Path;
use std::process::{Output, Stdio};

use ingress_acme_control_plane::{Operator, World, eventually, retry_when_wedged};
use kube::Client;
use serde_json::{Value, json};

use crate::sites::{PATIENCE, Site, certificate, events, namespace, text};
use crate::{alone, operator};

async fn command(world: &World, args: &[&str]) -> Output {
    command_as(world.admin_kubeconfig(), args).await
}

/// Runs a command with the rights of a kubeconfig's user, without a terminal.
pub(crate) async fn command_as(kubeconfig: &Path, args: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_ingress-acme"));
    command.args(args).env("KUBECONFIG", kubeconfig).kill_on_drop(true).stdin(Stdio::null());
    let ended = tokio::time::timeout(PATIENCE, command.output()).await;
    ended.expect("the command ends").expect("the command starts")
}

/// Standard output of a command that must succeed.
pub(crate) async fn output(world: &World, args: &[&str]) -> String {
    let output = command(world, args).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

async fn fetched(operator: &Operator, path: &str) -> (u16, String) {
    let answer = reqwest::get(format!("{}{path}", operator.admin_url())).await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[actix::test]
async fn commands_and_ports_tell_how_it_stands() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        let operator = operator(world).await;
        Site::new("web", "shop", &["shop.example.com"]).create(&client).await;
        Site::new("web", "wild", &["*.example.com"]).create(&client).await;
        let secret = certificate(&client, "web", "shop-tls", &["shop.example.com"]).await;
        eventually(PATIENCE, "the Event Issued", async || {
            events(&client, "web", "shop")
                .await
                .iter()
                .any(|(reason, _)| reason == "Issued")
                .then_some(())
        })
        .await;
        check_status(world).await;
        check_explain(world).await;
        check_ports(&operator).await;
        check_api(&operator).await;
        check_page(&operator).await;
        check_renew(world, &client).await;
        check_revoke(world, &client).await;
        check_dump(&operator).await;
        check_rollover(world, &client).await;
        check_no_key_is_shown(&operator, &text(&secret, "tls.key").unwrap()).await;
        assert_eq!(operator.terminate().await.expect("it ends"), 0, "SIGTERM drains and exits 0");
    })
    .await;
}

async fn check_status(world: &World) {
    let rows: Value =
        serde_json::from_str(&output(world, &["status", "-A", "-o", "json"]).await).unwrap();
    let row = |name: &str| {
        let rows = rows.as_array().unwrap();
        rows.iter()
            .find(|row| row["ingress"] == name)
            .unwrap_or_else(|| panic!("{name} in {rows:?}"))
    };
    assert_eq!(row("shop")["state"], "valid");
    assert_eq!(row("shop")["secret"], "shop-tls");
    assert_eq!(row("wild")["state"], "skipped");
    assert!(row("wild")["detail"].as_str().unwrap().contains("wildcard"));
    let table = output(world, &["status", "-n", "web"]).await;
    assert!(table.contains("READY") && table.contains("shop-tls"), "{table}");
    let wide = output(world, &["status", "-n", "web", "-o", "wide"]).await;
    assert!(wide.contains("SINCE") && wide.contains("shop.example.com"), "{wide}");
    assert!(row("shop")["since"].as_str().is_some_and(|since| since.starts_with("20")));
    let empty = command(world, &["status", "-n", "default"]).await;
    assert_eq!((empty.status.code(), empty.stdout.len()), (Some(0), 0));
    let why = String::from_utf8(empty.stderr).unwrap();
    assert_eq!(why, "No resources found in default namespace.\n");
    let refused = command(world, &["status", "-A", "-l", "a b"]).await;
    assert_eq!(refused.status.code(), Some(1));
    let why = String::from_utf8(refused.stderr).unwrap();
    assert!(why.contains("unable to parse requirement"), "{why}");
}

async fn check_explain(world: &World) {
    let shop = output(world, &["explain", "web/shop"]).await;
    assert!(shop.contains("state     valid") && shop.contains("Issued"), "{shop}");
    let missing = command(world, &["explain", "web/nothing"]).await;
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there is no Ingress web/nothing"));
    let elsewhere = command(world, &["explain", "shop"]).await;
    assert!(String::from_utf8_lossy(&elsewhere.stderr).contains("no Ingress default/shop"));
    let malformed = command(world, &["explain", "a/b/c"]).await;
    assert!(String::from_utf8_lossy(&malformed.stderr).contains("NAMESPACE/NAME"));
}

async fn check_ports(operator: &Operator) {
    for path in ["/livez", "/readyz"] {
        assert_eq!(fetched(operator, path).await.0, 200, "{path}");
    }
    let (_, metrics) = fetched(operator, "/metrics").await;
    for line in [
        "ingress_acme_issued_total{kind=\"first\"} 1",
        "ingress_acme_leader 1",
        "ingress_acme_managed_ingresses 2",
        "ingress_acme_certificate_not_after_timestamp_seconds{namespace=\"web\",secret=\"shop-tls\"}",
        "ingress_acme_acme_requests_total{endpoint=\"new_order\",status=\"201\",ca=\"",
        "ingress_acme_build_info",
        "ingress_acme_acme_directory_info{directory=\"https://",
        "ingress_acme_kube_requests_total{verb=\"list\",resource=\"ingresses\",code=\"200\"}",
        "ingress_acme_kube_requests_total{verb=\"watch\",resource=\"ingresses\",code=\"200\"}",
        "ingress_acme_kube_requests_total{verb=\"get\",resource=\"secrets\",code=\"404\"}",
        "ingress_acme_kube_requests_total{verb=\"create\",resource=\"events\",code=\"201\"}",
        "ingress_acme_kube_requests_total{verb=\"create\",resource=\"leases\",code=\"201\"}",
        "ingress_acme_process_resident_memory_peak_bytes ",
        "\nprocess_resident_memory_bytes ",
        "\nprocess_cpu_seconds_total ",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    let solver = format!("http://{}/.well-known/acme-challenge", operator.solver_address());
    let token = "a".repeat(43);
    let answer = reqwest::get(format!("{solver}/{token}")).await.unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
    assert!(answer.text().await.unwrap().starts_with(&format!("{token}.")));
    assert_eq!(reqwest::get(format!("{solver}/..%2fetc")).await.unwrap().status(), 404);
}

async fn check_api(operator: &Operator) {
    let (code, listing) = fetched(operator, "/api/v1/ingresses?namespace=web").await;
    assert_eq!(code, 200, "{listing}");
    let listing: Value = serde_json::from_str(&listing).unwrap();
    assert_eq!((&listing["role"], &listing["total"]), (&json!("leader"), &json!(2)));
    let shop = &listing["ingresses"][0];
    assert_eq!((&shop["namespace"], &shop["name"]), (&json!("web"), &json!("shop")));
    let certificate = &shop["certificates"][0];
    assert_eq!(
        (&certificate["secret"], &certificate["state"]),
        (&json!("shop-tls"), &json!("valid"))
    );
    assert_eq!(certificate["hosts"], json!(["shop.example.com"]));
    let (not_after, renewal) = (certificate["not_after"].as_str(), certificate["renewal"].as_str());
    assert!(renewal.is_some() && renewal < not_after, "{certificate}");
    let wild = &listing["ingresses"][1];
    assert!(wild["problems"][0].as_str().unwrap().contains("wildcard"), "{wild}");
    let (_, second) = fetched(operator, "/api/v1/ingresses?limit=1&offset=1").await;
    let second: Value = serde_json::from_str(&second).unwrap();
    assert_eq!(second["ingresses"].as_array().map(Vec::len), Some(1));
    assert_eq!(fetched(operator, "/api/v1/ingresses?limit=all").await.0, 400);
}

async fn check_page(operator: &Operator) {
    let answer = reqwest::get(operator.admin_url()).await.expect("the page");
    let policy = answer.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let page = answer.text().await.unwrap();
    for output in ["leader", "web/shop", "shop.example.com", "Nothing fails"] {
        assert!(page.contains(output), "{output} in\n{page}");
    }
}

async fn check_renew(world: &World, client: &Client) {
    let before = world.certificates_issued();
    for dry in ["--dry-run", "--dry-run=server"] {
        let said = output(world, &["renew", "web/shop", dry]).await;
        assert!(said.contains("shop renew requested (") && said.contains("dry run)"), "{said}");
    }
    let said = output(world, &["renew", "shop", "-n", "web"]).await;
    assert_eq!(said, "ingress.networking.k8s.io/shop renew requested\n");
    eventually(PATIENCE, "a new certificate", async || {
        let issued = events(client, "web", "shop").await;
        (issued.iter().filter(|(reason, _)| reason == "Issued").count() == 2).then_some(())
    })
    .await;
    assert_eq!(world.certificates_issued(), before + 1, "one new certificate");
    let refused = command(world, &["renew", "web/nothing"]).await;
    assert_eq!(refused.status.code(), Some(1));
}

/// Runs a command that talks to the CA, with the operator's rights as in its Pod.
pub(crate) async fn asked_of_the_ca(world: &World, args: &[&str]) -> String {
    let file = world.acme_ca_file().display().to_string();
    let args = [args, &["--yes", "--namespace", "ingress-acme", "--acme-ca-file", &file]].concat();
    let output = command_as(world.operator_kubeconfig(), &args).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

async fn check_revoke(world: &World, client: &Client) {
    let before = world.certificates_issued();
    let said = asked_of_the_ca(world, &["revoke", "web/shop", "--reason", "superseded"]).await;
    assert!(said.contains("secret/shop-tls revoked\n"), "{said}");
    assert!(said.contains("the ACME account's key"), "{said}");
    eventually(PATIENCE, "a certificate in place of the revoked one", async || {
        let issued = events(client, "web", "shop").await;
        (issued.iter().filter(|(reason, _)| reason == "Issued").count() == 3).then_some(())
    })
    .await;
    assert_eq!(world.certificates_issued(), before + 1, "one new certificate");
}

async fn check_rollover(world: &World, client: &Client) {
    let directory = world.acme_directory();
    let said = asked_of_the_ca(world, &["rollover", "--acme-directory", &directory]).await;
    assert!(said.contains("has a new key"), "{said}");
    Site::new("web", "late", &["late.example.com"]).create(client).await;
    certificate(client, "web", "late-tls", &["late.example.com"]).await;
}

async fn check_dump(operator: &Operator) {
    let (code, state) = fetched(operator, "/debug/state").await;
    assert_eq!(code, 200);
    let state: Value = serde_json::from_str(&state).unwrap();
    assert_eq!((&state["role"], &state["managed_ingresses"]), (&json!("leader"), &json!(2)));
    assert!(state["directory"].as_str().unwrap().starts_with("https://"), "{state}");
    operator.signal("USR1").expect("the signal is sent");
    eventually(PATIENCE, "the state in the log", async || {
        let log = std::fs::read_to_string(operator.log_path()).ok()?;
        log.contains("managed_ingresses").then_some(())
    })
    .await;
}

async fn check_no_key_is_shown(operator: &Operator, key: &str) {
    let line = key.lines().nth(1).expect("a line of base64");
    let log = std::fs::read_to_string(operator.log_path()).unwrap();
    let (_, state) = fetched(operator, "/debug/state").await;
    let (_, metrics) = fetched(operator, "/metrics").await;
    let (_, page) = fetched(operator, "/").await;
    let (_, listing) = fetched(operator, "/api/v1/ingresses").await;
    for shown in [&log, &state, &metrics, &page, &listing] {
        assert!(!shown.contains(line) && !shown.contains("PRIVATE KEY"));
    }
}
