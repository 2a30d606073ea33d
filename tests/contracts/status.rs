//! Contract of `status` and `explain`: the full output, and the output without its texts.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use ingress_acme::acme::thumbprint;
use ingress_acme::commands::cli::LETS_ENCRYPT;
use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_sim::kube::User;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::ListParams;
use kube::{Api, Client};
use rcgen::KeyPair;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::site::Site;
use crate::{OPERATOR, hold, lines, pretty, program, said};

/// Longest wait for a row.
const PATIENCE: Duration = Duration::from_mins(1);

/// A cluster with one Ingress of each kind.
fn site() -> Site {
    let site = Site::start();
    good(&site);
    bad(&site);
    alone(&site);
    site
}

fn good(site: &Site) {
    let hosts = ["shop.example.com", "www.example.com"];
    site.ingress("valid", &hosts, Some("shop"), json!({}));
    site.secret("shop", &hosts, true, 2090);
    let note = "Certificate for shop.example.com, www.example.com is in Secret shop";
    site.event("valid", "2026-11-24T08:00:00.000000Z", "Normal", "Issuing", "Getting one");
    site.event("valid", "2026-11-24T08:01:00.000000Z", "Normal", "Issued", note);
    let renew = json!({"ingress-acme.dev/renew": "now"});
    site.ingress("renewing", &["again.example.com"], Some("again"), renew);
    site.secret("again", &["again.example.com"], true, 2090);
    let partial = json!({"ingress-acme.dev/partial": "true"});
    let hosts = ["good.example.com", "bad.example.com"];
    site.ingress("partial", &hosts, Some("part"), partial);
    site.secret("part", &["good.example.com"], true, 2090);
    let note = "It leaves out bad.example.com";
    site.event("partial", "2026-11-24T08:02:00.000000Z", "Warning", "PartlyIssued", note);
    site.ingress("foreign", &["bought.example.com"], Some("bought"), json!({}));
    site.secret("bought", &["bought.example.com"], false, 2090);
}

fn bad(site: &Site) {
    site.ingress("failed", &["failed.example.com"], Some("failed"), json!({}));
    let note = "No certificate for failed.example.com yet (authorization): 404";
    site.event("failed", "2026-11-24T08:03:00.000000Z", "Warning", "Failed", note);
    site.ingress("limited", &["limited.example.com"], Some("limited"), json!({}));
    let note = "A rate limit on this account stops orders for now";
    site.event("limited", "2026-11-24T08:04:00.000000Z", "Warning", "Waiting", note);
    site.ingress("no-tls", &["plain.example.com"], None, json!({}));
    site.ingress("expired", &["old.example.com"], Some("old"), json!({}));
    site.secret("old", &["old.example.com"], true, 2021);
    let hosts = ["*.example.com", "mixed.example.com"];
    site.ingress("mixed", &hosts, Some("mixed"), json!({}));
    site.ingress("wild", &["*.example.com"], Some("wild"), json!({}));
}

fn alone(site: &Site) {
    let off = json!({"ingress-acme.dev/enabled": "false"});
    site.ingress("disabled", &["off.example.com"], Some("off"), off);
    let other = json!({"cert-manager.io/cluster-issuer": "letsencrypt"});
    site.ingress("other", &["other.example.com"], Some("other"), other);
    let arn =
        json!({"alb.ingress.kubernetes.io/certificate-arn": "arn:aws:acm:eu:1:certificate/x"});
    site.ingress("cloud", &["cloud.example.com"], None, arn);
    let canary = json!({"nginx.ingress.kubernetes.io/canary": "true"});
    site.ingress("canary", &["plain.example.com"], None, canary);
    site.load(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"namespace": "api", "name": "elsewhere"},
        "spec": {"rules": [{"host": "api.example.com"}]},
    }));
    site.load(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {
            "namespace": "ingress-acme", "name": "ingress-acme-solver",
            "labels": {"app.kubernetes.io/managed-by": "ingress-acme"},
        },
        "spec": {"rules": [{"host": "failed.example.com"}]},
    }));
}

/// Standard output of a command that must succeed.
async fn exposed(site: &Site, args: &[&str]) -> String {
    let (code, out, error) = site.said(args).await;
    assert_eq!((code, error.as_str()), (0, ""), "{args:?}: {out}");
    lines(out.lines().map(str::to_owned))
}

#[actix::test]
async fn the_tables_of_status_are_those_of_before() {
    let site = site();
    hold("status-table", &ageless(&exposed(&site, &["status", "-A"]).await));
    let wide = ageless(&exposed(&site, &["status", "-A", "-o", "wide"]).await);
    hold("status-wide", &wide);
    let detail = wide.find("DETAIL").unwrap();
    hold("status-wide-without-words", &lines(wide.lines().map(|line| cut(line, detail))));
    let one = exposed(&site, &["status", "-n", "api"]).await;
    hold("status-table-of-one-namespace", &ageless(&one));
    let (code, out, error) = site.said(&["status"]).await;
    hold("status-of-nothing", &format!("exit code {code}\n{out}{error}"));
    let names = exposed(&site, &["status", "-A", "-o", "name"]).await;
    hold("status-names", &names);
}

/// Replaces ages, which depend on the time of the test, in the table's column.
fn ageless(table: &str) -> String {
    let at = table.lines().next().unwrap().find("AGE").unwrap();
    lines(table.lines().map(|line| {
        let (before, rest) = line.split_at(at);
        let age = rest.split(' ').next().unwrap();
        let rest = &rest[age.len()..];
        if age == "AGE" { line.to_owned() } else { format!("{before}{:1$}{rest}", "*", age.len()) }
    }))
}

/// Cuts the last column off a line of the table, since that column is text.
fn cut(line: &str, start: usize) -> String {
    if line.contains("DETAIL") { line.to_owned() } else { line.chars().take(start).collect() }
}

#[actix::test]
async fn a_name_of_250_characters_moves_no_other_row() {
    let site = Site::start();
    let long = "x".repeat(250);
    site.ingress("shop", &["shop.example.com"], Some("shop"), json!({}));
    let before = exposed(&site, &["status", "-n", "web"]).await;
    site.ingress(&long, &["long.example.com"], Some("long"), json!({}));
    let after = exposed(&site, &["status", "-n", "web"]).await;
    let rows: Vec<&str> = after.lines().collect();
    assert_eq!(ageless(&rows[..2].join("\n")), ageless(&before));
    assert!(rows[2].starts_with(&format!("{long}   False   long   ")), "{}", rows[2]);
}

#[actix::test]
async fn a_selector_chooses_the_rows_and_the_api_server_reads_it() {
    let site = site();
    site.load(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"namespace": "web", "name": "labelled", "labels": {"team": "blue"}},
        "spec": {
            "rules": [{"host": "shop.example.com"}],
            "tls": [{"hosts": ["shop.example.com"], "secretName": "shop"}],
        },
    }));
    let chosen = ["status", "-A", "-l", "team in (blue, red)", "-o", "name"];
    assert_eq!(exposed(&site, &chosen).await, "ingress.networking.k8s.io/labelled\n");
    // Its Secret serves also the hosts of an Ingress without the label, and is judged by both.
    let rows = exposed(&site, &["status", "-n", "web", "-l", "team=blue", "-o", "json"]).await;
    let rows: Value = serde_json::from_str(&rows).unwrap();
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["state"]), (1, &json!("valid")));
    assert_eq!(rows[0]["names"], json!(["shop.example.com", "www.example.com"]));
    let (code, out, error) = site.said(&["status", "-A", "-l", "team=nobody"]).await;
    assert_eq!((code, &*out, &*error), (0, "", "No resources found\n"));
    let (code, out, error) = site.said(&["status", "-A", "-l", "no label"]).await;
    assert_eq!((code, &*out), (1, ""));
    assert!(error.contains("unable to parse requirement"), "{error}");
}

#[actix::test]
async fn a_name_has_its_namespace_from_the_flag_or_itself_and_not_two() {
    let site = site();
    let long = exposed(&site, &["explain", "web/valid"]).await;
    assert_eq!(exposed(&site, &["explain", "valid", "-n", "web"]).await, long);
    assert_eq!(exposed(&site, &["explain", "web/valid", "-n", "web"]).await, long);
    for args in [
        &["explain", "web/valid", "-n", "api"][..],
        &["renew", "web/valid", "-n", "api"],
        &["revoke", "web/valid", "-n", "api", "--yes"],
    ] {
        let (code, out, error) = site.said(args).await;
        assert_eq!((code, &*out), (1, ""), "{args:?}");
        assert!(error.contains("-n api and web/valid name different namespaces"), "{error}");
    }
    let (_, _, error) = site.said(&["explain", "valid"]).await;
    assert!(error.contains("no Ingress default/valid"), "{error}");
}

#[actix::test]
async fn a_kubeconfig_and_a_context_are_chosen_as_kubectl_does() {
    let site = site();
    let real = site.world().kubeconfig();
    let text = std::fs::read_to_string(real).unwrap();
    let mut config: Value = serde_saphyr::from_str(&text).unwrap();
    let mut other = config["contexts"][0].clone();
    other["name"] = "other".into();
    other["context"]["namespace"] = "api".into();
    config["contexts"].as_array_mut().unwrap().push(other);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config");
    std::fs::write(&file, config.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let names = |args: &'static [&str], kubeconfig: String| {
        let site = &site;
        async move { site.said_in(args, &[("KUBECONFIG", &kubeconfig)]).await }
    };
    let expected = (0, "ingress.networking.k8s.io/elsewhere\n".to_owned(), String::new());
    let by_context = &["status", "-o", "name", "--context", "other"];
    assert_eq!(names(by_context, file.to_owned()).await, expected);
    let (code, out, error) = site
        .said_in(
            &["status", "-o", "name", "--context", "other", "--kubeconfig", file],
            &[("KUBECONFIG", "/nonexistent")],
        )
        .await;
    assert_eq!((code, out, error), expected);
    let (code, _, error) = names(&["status", "--context", "nowhere"], file.to_owned()).await;
    assert_eq!(code, 1);
    assert!(error.contains("kubeconfig cannot be used") && error.contains("nowhere"), "{error}");
    let missing = &["status", "--kubeconfig", "/nonexistent/config"];
    let (code, _, error) = names(missing, file.to_owned()).await;
    assert!(code == 1 && error.contains("/nonexistent/config"), "{error}");
}

#[actix::test]
async fn the_json_of_status_is_that_of_before() {
    let site = site();
    let all = exposed(&site, &["status", "-A", "-o", "json"]).await;
    let mut rows: Value = serde_json::from_str(&all).unwrap();
    let yaml = exposed(&site, &["status", "-A", "-o", "yaml"]).await;
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), rows);
    hold("status-yaml", &lines(yaml.lines().map(|line| undated(line, "created: "))));
    hold("status-json", &lines(all.lines().map(|line| undated(line, "\"created\": "))));
    for row in rows.as_array_mut().unwrap() {
        assert!(row["detail"].is_string() && row["created"].is_string(), "{row}");
        row["detail"] = "[words]".into();
        row["created"] = "[time]".into();
    }
    hold("status-json-without-words", &pretty(&rows));
}

/// Replaces the time of creation, which is that of the test.
fn undated(line: &str, field: &str) -> String {
    match line.split_once(field) {
        Some((start, _)) => format!("{start}{field}[time]"),
        None => line.to_owned(),
    }
}

#[actix::test]
async fn explain_tells_of_each_kind_of_ingress_as_before() {
    let site = site();
    let mut all = Vec::new();
    for name in [
        "valid", "renewing", "partial", "foreign", "failed", "limited", "no-tls", "expired",
        "mixed", "wild", "disabled", "other", "cloud", "canary",
    ] {
        all.push(exposed(&site, &["explain", &format!("web/{name}")]).await);
    }
    let all = all.join("\n");
    hold("explain", &all);
    hold("explain-without-words", &lines(all.lines().map(wordless)));
}

/// Replaces the reason or note of a line, since both are text.
fn wordless(line: &str) -> String {
    match line.split_once("because   ") {
        Some((start, _)) => format!("{start}because   [words]"),
        None if line.starts_with("  20") => {
            let (start, _) = line.split_once(": ").unwrap();
            format!("{start}: [words]")
        }
        None => line.to_owned(),
    }
}

#[actix::test]
async fn what_cannot_be_reported_or_done_is_refused_as_before() {
    let site = site();
    let mut all = Vec::new();
    for args in [
        &["explain", "web/nothing"][..],
        &["renew", "web/nothing"],
        &["renew", "web/disabled"],
        &["renew", "web/wild"],
        &["renew", "web/foreign"],
        &["revoke", "web/disabled"],
        &["rollover"],
        &["thumbprint"],
    ] {
        let (code, out, error) = site.said(args).await;
        all.push(format!("{args:?}: exit code {code}\n{out}{error}"));
    }
    let (code, out, error) = site.said_in(&["rollover"], &[("POD_NAMESPACE", "mine")]).await;
    all.push(format!("rollover with POD_NAMESPACE=mine: exit code {code}\n{out}{error}"));
    hold("refusals", &lines(all));
}

/// Creates the Secret of an account, in the middle of a rollover. Returns the key.
fn account(site: &Site) -> String {
    let key = KeyPair::generate().unwrap().serialize_pem();
    let text = |text: &str| BASE64_STANDARD.encode(text);
    let data = json!({ "account.key": text(&key), "account.key.next": text(&key), "directory": text(LETS_ENCRYPT) });
    let metadata = json!({ "namespace": "ingress-acme", "name": "ingress-acme-account-237ba9eb" });
    site.load(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data }));
    key
}

#[actix::test]
async fn a_dry_run_changes_nothing_and_says_what_would_be_done() {
    let site = site();
    account(&site);
    let client = Client::try_from(site.world().api().config(User::Admin)).unwrap();
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), "web");
    let uid = ingresses.get("valid").await.unwrap().metadata.uid;
    let owner = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "valid", "uid": uid});
    let mut metadata = json!({"namespace": "web", "name": "owned", "ownerReferences": [owner]});
    metadata["labels"] = json!({"app.kubernetes.io/managed-by": "ingress-acme"});
    site.load(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata}));
    let secrets: Api<Secret> = Api::namespaced(client, "web");
    let versions = async || -> Vec<_> {
        let all = secrets.list(&ListParams::default()).await.unwrap();
        all.items.into_iter().map(|secret| secret.metadata.resource_version).collect()
    };
    let before = versions().await;
    let mut all = Vec::new();
    for args in [
        &["revoke", "valid", "-n", "web", "--reason", "superseded", "--dry-run"][..],
        &["revoke", "valid", "-n", "web", "--no-renew", "--dry-run=server"],
        &["remove-owners", "-n", "web", "--dry-run"],
        &["remove-owners", "-A", "--dry-run=server"],
        &["rollover", "--dry-run"],
    ] {
        let (code, out, error) = site.said(args).await;
        all.push(format!("{args:?}: exit code {code}\n{out}{error}"));
    }
    hold("dry-runs", &lines(all));
    assert_eq!(versions().await, before);
    assert_eq!(renew_mark(&site, "valid").await, None);
}

#[actix::test]
async fn the_thumbprint_and_its_snippets_read_as_before() {
    let site = Site::start();
    let thumbprint = thumbprint(&PrivateKey::from_pem(account(&site))).unwrap();
    let mut all = Vec::new();
    for args in [
        &["thumbprint"][..],
        &["thumbprint", "--snippet", "haproxy"],
        &["thumbprint", "--snippet", "nginx"],
    ] {
        let (code, out, error) = site.said(args).await;
        all.push(format!(
            "{args:?}: exit code {code}\n{error}{}",
            out.replace(&thumbprint, "[thumbprint]")
        ));
    }
    hold("thumbprint", &lines(all));
}

/// Value of the annotation by which a renewal is asked for.
async fn renew_mark(site: &Site, name: &str) -> Option<String> {
    let client = Client::try_from(site.world().api().config(User::Admin)).unwrap();
    let api: Api<Ingress> = Api::namespaced(client, "web");
    let marks = api.get(name).await.unwrap().metadata.annotations.unwrap_or_default();
    marks.get("ingress-acme.dev/renew").cloned()
}

#[actix::test]
async fn renew_marks_the_ingress_and_says_so_as_before() {
    let site = site();
    let said = exposed(&site, &["renew", "web/no-tls", "--dry-run"]).await;
    let on_the_server = exposed(&site, &["renew", "web/no-tls", "--dry-run=server"]).await;
    assert_eq!(renew_mark(&site, "no-tls").await, None);
    let done = exposed(&site, &["renew", "no-tls", "-n", "web"]).await;
    hold("renew", &format!("{said}{on_the_server}{done}"));
    assert!(renew_mark(&site, "no-tls").await.is_some_and(|mark| mark.starts_with("20")));
}

#[actix::test]
async fn many_are_renewed_after_the_number_and_the_limits_were_shown() {
    let site = site();
    let (code, plan, error) = site.said(&["renew", "-n", "web", "-l", "!team", "--dry-run"]).await;
    hold("renew-many", &format!("exit code {code}\n{plan}{error}"));
    let (code, out, error) = site.said(&["renew", "-A"]).await;
    assert_eq!(code, 1);
    assert!(error.contains("use --yes") && out.contains("new certificates"), "{out}{error}");
    assert_eq!(renew_mark(&site, "valid").await, None);
    let (code, out, error) = site.said(&["renew", "-A", "--yes"]).await;
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    assert!(renew_mark(&site, "valid").await.is_some());
    assert_eq!(renew_mark(&site, "foreign").await, None);
    assert_eq!(renew_mark(&site, "disabled").await, None);
    let (code, out, error) = site.said(&["renew", "-A", "-l", "team=nobody", "--yes"]).await;
    assert_eq!((code, &*out, &*error), (0, "", "No resources found\n"));
}

#[actix::test]
async fn a_followed_list_prints_each_row_that_changes_until_it_is_interrupted() {
    let site = Site::start();
    site.ingress("first", &["first.example.com"], Some("first"), json!({}));
    let mut command = program(&["status", "-n", "web", "-w", "-o", "json"]);
    command.env("KUBECONFIG", site.world().kubeconfig()).stdout(Stdio::piped());
    let mut following = command.spawn().unwrap();
    let mut rows = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut next = async || -> Value {
        let row = tokio::time::timeout(PATIENCE, rows.next_line()).await.expect("a row");
        serde_json::from_str(&row.unwrap().expect("it goes on")).unwrap()
    };
    let row = next().await;
    assert_eq!((&row["ingress"], &row["state"]), (&json!("first"), &json!("pending")));
    site.ingress("second", &["second.example.com"], Some("second"), json!({}));
    assert_eq!(next().await["ingress"], "second");
    let note = "No certificate yet";
    site.event("first", "2026-11-24T08:03:00.000000Z", "Warning", "Failed", note);
    let row = next().await;
    assert_eq!((&row["ingress"], &row["state"]), (&json!("first"), &json!("failing")));
    site.secret("first", &["first.example.com"], true, 2090);
    site.event("first", "2026-11-24T08:04:00.000000Z", "Normal", "Issued", "It is there");
    let row = next().await;
    assert_eq!((&row["ingress"], &row["state"]), (&json!("first"), &json!("valid")));
    site.delete_ingress("second").await;
    let row = next().await;
    assert_eq!((&row["ingress"], &row["state"]), (&json!("second"), &json!("deleted")));
    let pid = Pid::from_raw(i32::try_from(following.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let ended = tokio::time::timeout(PATIENCE, following.wait()).await.expect("it ends");
    assert_eq!(ended.unwrap().signal(), Some(2));
}

/// A shell block of docs/operations.md, the first that contains `marker`.
fn documented(marker: &str) -> &'static str {
    let docs = include_str!("../../docs/operations.md");
    let mut blocks = docs.split("```sh\n").filter_map(|rest| Some(rest.split_once("\n```")?.0));
    blocks.find(|block| block.contains(marker)).expect("docs/operations.md has the block")
}

#[actix::test]
async fn the_documented_commands_work_as_printed() {
    let site = site();
    site.load(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"namespace": "web", "name": "shop", "labels": {"app": "shop"}},
        "spec": {"rules": [{"host": "one.example.com"}]},
    }));
    let home = tempfile::tempdir().unwrap();
    let own = std::path::Path::new(OPERATOR).parent().unwrap().display();
    let path =
        format!("{}/.local/bin:{own}:{}", home.path().display(), std::env::var("PATH").unwrap());
    let list = documented("ingress-acme status -A  ").lines().filter(|line| !line.contains(" -w "));
    let plugin = documented("kubectl_complete-ingress_acme").lines();
    for line in list.chain(plugin) {
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-euc", line]).env_clear().env("HOME", home.path()).env("PATH", &path);
        shell.env("KUBECONFIG", site.world().kubeconfig()).stdin(Stdio::null());
        let (code, _, error) = said(shell).await;
        assert_eq!((code, &*error), (0, ""), "{line}");
    }
    for made in [
        ".local/bin/kubectl-ingress_acme",
        ".local/share/man/man1/ingress-acme-status.1",
        ".local/share/bash-completion/completions/ingress-acme",
    ] {
        assert!(home.path().join(made).exists(), "{made}");
    }
}

#[actix::test]
async fn the_documented_exit_codes_are_those_of_the_program() {
    let site = Site::start();
    let mut codes = Vec::new();
    let calls: [&[&str]; 4] = [
        &["status", "-A"],
        &["explain", "web/nothing"],
        &["status", "--no"],
        &["doctor", "web/nothing"],
    ];
    for args in calls {
        codes.push(site.said(args).await.0);
    }
    codes.push(130); // tests/simulated/commands.rs interrupts a storm
    let docs = include_str!("../../docs/operations.md");
    let (_, table) = docs.split_once("### Exit codes").unwrap();
    let rows = table.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let rows = rows.map_while(|line| line.strip_prefix("| ")?.split(" |").next()?.parse().ok());
    assert_eq!(rows.collect::<Vec<i32>>(), codes);
}
