//! Contract of `status` and `explain`: the full output, and the output without its texts.

use base64::prelude::{BASE64_STANDARD, Engine};
use ingress_acme::acme::thumbprint;
use ingress_acme::commands::cli::LETS_ENCRYPT;
use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_sim::kube::User;
use k8s_openapi::api::networking::v1::Ingress;
use kube::{Api, Client};
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::site::Site;
use crate::{hold, lines, pretty};

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
async fn the_table_of_status_is_that_of_before() {
    let site = site();
    let all = exposed(&site, &["status", "-A"]).await;
    hold("status-table", &all);
    let detail = all.lines().next().unwrap().find("DETAIL").unwrap() + "DETAIL".len();
    hold("status-table-without-words", &lines(all.lines().map(|line| cut(line, detail))));
    hold("status-table-of-one-namespace", &exposed(&site, &["status", "-n", "api"]).await);
    hold("status-of-nothing", &exposed(&site, &["status"]).await);
}

/// Cuts the last column off a line of the table, since that column is text.
fn cut(line: &str, end: usize) -> String {
    let start = end - "DETAIL".len();
    if line.contains("DETAIL") { line.to_owned() } else { line.chars().take(start).collect() }
}

#[actix::test]
async fn the_json_of_status_is_that_of_before() {
    let site = site();
    let all = exposed(&site, &["status", "-A", "-o", "json"]).await;
    hold("status-json", &all);
    let mut rows: Value = serde_json::from_str(&all).unwrap();
    for row in rows.as_array_mut().unwrap() {
        assert!(row["detail"].is_string(), "{row}");
        row["detail"] = "[words]".into();
    }
    hold("status-json-without-words", &pretty(&rows));
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

#[actix::test]
async fn the_thumbprint_and_its_snippets_read_as_before() {
    let site = Site::start();
    let key = KeyPair::generate().unwrap().serialize_pem();
    let thumbprint = thumbprint(&PrivateKey::from_pem(key.clone())).unwrap();
    let text = |text: &str| BASE64_STANDARD.encode(text);
    let data = json!({ "account.key": text(&key), "account.key.next": text(&key), "directory": text(LETS_ENCRYPT) });
    let metadata = json!({ "namespace": "ingress-acme", "name": "ingress-acme-account-237ba9eb" });
    site.load(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data }));
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

#[actix::test]
async fn renew_marks_the_ingress_and_says_so_as_before() {
    let site = site();
    let said = exposed(&site, &["renew", "web/no-tls"]).await;
    let (_, rest) = said.split_once("ingress-acme.dev/renew: ").unwrap();
    let (at, _) = rest.split_once(".\n").unwrap();
    hold("renew", &said.replace(at, "[time]"));
    let client = Client::try_from(site.world().api().config(User::Admin)).unwrap();
    let api: Api<Ingress> = Api::namespaced(client, "web");
    let marks = api.get("no-tls").await.unwrap().metadata.annotations.unwrap();
    let expected = [("ingress-acme.dev/renew".to_owned(), at.to_owned())];
    assert_eq!(marks.into_iter().collect::<Vec<_>>(), expected);
}
