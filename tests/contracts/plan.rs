//! Contract of `plan`: the full output, and the requests that it sends.

use serde_json::{Value, json};

use crate::site::Site;
use crate::{hold, pretty};

/// Directory of the certificates that a [`Site`] has.
const DIRECTORY: &str = "https://ca.example/directory";

/// A cluster with one Ingress of each kind, before anything is installed, but for the Secrets of an
/// earlier install.
fn site() -> Site {
    let site = Site::start();
    site.ingress("plain", &["plain.example.com"], None, json!({}));
    site.ingress("named", &["named.example.com", "www.example.com"], Some("named"), json!({}));
    site.ingress("mixed", &["*.example.com", "mixed.example.com"], Some("mixed"), json!({}));
    site.ingress("wild", &["*.example.com"], Some("wild"), json!({}));
    site.ingress("internal", &["db.internal"], Some("internal"), json!({}));
    let off = json!({"ingress-acme.dev/enabled": "false"});
    site.ingress("disabled", &["off.example.com"], None, off);
    let other = json!({"cert-manager.io/cluster-issuer": "letsencrypt"});
    site.ingress("other", &["other.example.com"], Some("other"), other);
    let unfilled = json!({"ingress-acme.dev/fill-tls": "false"});
    site.ingress("unfilled", &["unfilled.example.com"], None, unfilled);
    site.ingress("good", &["good.example.com"], Some("good"), json!({}));
    site.secret("good", &["good.example.com"], true, 2090);
    site.ingress("expired", &["old.example.com"], Some("old"), json!({}));
    site.secret("old", &["old.example.com"], true, 2021);
    site.ingress("foreign", &["bought.example.com"], Some("bought"), json!({}));
    site.secret("bought", &["bought.example.com"], false, 2090);
    site.ingress("conflict", &["new.example.com"], Some("stale"), json!({}));
    site.secret("stale", &["bought.example.com"], false, 2090);
    // A Secret of that name is somebody else's, so the next name is chosen.
    site.ingress("beside", &["beside.example.com"], None, json!({}));
    site.secret("beside-tls", &["elsewhere.example.com"], false, 2090);
    // Both Ingresses are as old, and neither has a certificate: the first by name has the host.
    site.ingress("late", &["both.example.com", "late.example.com"], Some("late"), json!({}));
    site.load(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"namespace": "api", "name": "first"},
        "spec": {"rules": [{"host": "both.example.com"}, {"host": "api.example.org"}]},
    }));
    site
}

async fn told(site: &Site, args: &[&str]) -> String {
    let all = [&["plan", "--public-ca=true"][..], args].concat();
    let (code, out, error) = site.said(&all).await;
    assert_eq!((code, error.as_str()), (0, ""), "{args:?}: {out}");
    out
}

fn rows(json: &str) -> Vec<(String, String)> {
    let plan: Value = serde_json::from_str(json).unwrap();
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or("none").to_owned();
    let rows = plan["ingresses"].as_array().unwrap().iter();
    rows.map(|row| {
        (text(row, "ingress"), format!("{} {}", text(row, "served"), text(row, "secret")))
    })
    .collect()
}

#[actix::test]
async fn the_plan_is_that_of_before_in_each_format() {
    let site = site();
    hold("plan-table", &told(&site, &["-A"]).await);
    hold("plan-wide", &told(&site, &["-A", "-o", "wide"]).await);
    let own = ["-A", "--acme-directory", DIRECTORY];
    hold("plan-table-of-another-ca", &told(&site, &own).await);
    let json = told(&site, &["-A", "-o", "json"]).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    hold("plan-json", &pretty(&json));
    let yaml = told(&site, &["-A", "-o", "yaml"]).await;
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), json);
    hold("plan-names", &told(&site, &["-n", "api", "-o", "name"]).await);
    let (code, out, error) = site.said(&["plan", "--public-ca=true", "-n", "empty"]).await;
    assert_eq!((code, &*out, &*error), (0, "", "No resources found in empty namespace.\n"));
}

#[actix::test]
async fn the_flags_of_run_decide_as_in_run() {
    let site = site();
    let annotated = rows(&told(&site, &["-n", "web", "-o", "json", "--manage", "annotated"]).await);
    assert!(annotated.iter().all(|(_, row)| row.starts_with("no ")), "{annotated:?}");
    let watched = ["-A", "-o", "json", "--watch-namespace", "api"];
    let watched = rows(&told(&site, &watched).await);
    let served: Vec<_> = watched.iter().filter(|(_, row)| !row.starts_with("no ")).collect();
    assert_eq!(served, [&("first".to_owned(), "yes first-tls".to_owned())]);
    let filled = told(&site, &["-A", "-o", "json", "--fill-tls", "false"]).await;
    assert!(!filled.contains("\"fills_tls\": true"), "{filled}");
    let (code, out, _) = site.said(&["plan", "-n", "web", "--public-ca=false", "-o", "json"]).await;
    assert_eq!(code, 0);
    assert!(rows(&out).contains(&("internal".to_owned(), "yes internal".to_owned())), "{out}");
}

#[actix::test]
async fn a_plan_reads_few_objects_and_writes_none() {
    let site = site();
    let before = site.world().api().audit().len();
    told(&site, &["-A"]).await;
    let audit = site.world().api().audit();
    assert!(audit.len() > before, "requests are counted");
    let writes: Vec<_> =
        audit.iter().filter(|of| !["get", "list", "watch"].contains(&of.verb)).collect();
    assert!(writes.is_empty(), "{writes:?}");
    let gets = audit.iter().filter(|of| of.verb == "get" && of.resource == "secrets");
    let gets: u64 = gets.map(|of| of.count).sum();
    assert_eq!(gets, 5, "those that are there, each once: {audit:?}");
}

#[actix::test]
async fn without_rights_to_secrets_the_plan_says_so_and_goes_on() {
    let site = site();
    let limited = site.world().operator_kubeconfig();
    let limited = ["--kubeconfig", limited.to_str().unwrap()];
    for verb in ["get", "list"] {
        site.world().api().forbid(verb, "secrets", true);
    }
    let out = told(&site, &[&limited[..], &["-n", "web"]].concat()).await;
    hold("plan-without-rights-to-secrets", &out);
    site.world().api().forbid("list", "ingresses", true);
    let (code, out, error) = site.said(&[&["plan", "-A"][..], &limited].concat()).await;
    assert_eq!((code, &*out), (1, ""));
    assert!(error.contains("the Ingresses cannot be listed"), "{error}");
}
