//! Contract of `doctor`: the lines, the fields for programs, the exit codes, and the requests that
//! it sends. The simulated API server knows neither Deployments nor reviews of rights, so that some
//! checks are skipped here; `tests/cluster/doctor.rs` has all of them.

use ingress_acme_actors::domain::doctor::rights::{
    OF_THE_CLUSTER, OWN, WATCH_SECRETS, WHERE_SERVED,
};
use ingress_acme_sim::dns::Trouble;
use serde_json::{Value, json};

use crate::site::Site;
use crate::{hold, pretty};

/// A directory at which nothing listens.
const DIRECTORY: &str = "https://127.0.0.1:1/dir";

fn site() -> Site {
    let site = Site::start();
    let class = json!({"ingressclass.kubernetes.io/is-default-class": "true"});
    site.load(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": {"name": "main", "annotations": class},
        "spec": {"controller": "example.com/ingress-controller"},
    }));
    site.ingress("shop", &["shop.example.com"], Some("shop"), json!({}));
    site.ingress("dead", &["dead.example.com", "*.example.com"], Some("dead"), json!({}));
    site.world().dns().zone().set("dead.example.com", Some(Trouble::NxDomain));
    site
}

async fn told(site: &Site, args: &[&str]) -> (i32, String) {
    let nameserver = site.world().dns().address().to_string();
    let port = site.world().gateway().address().port().to_string();
    let all = ["doctor", "--acme-directory", DIRECTORY, "--nameserver", &nameserver];
    let all = [&all[..], &["--probe-port", &port], args].concat();
    let (code, out, error) = site.said(&all).await;
    assert_eq!(error, "", "{args:?}: {out}");
    (code, out)
}

#[actix::test]
async fn the_lines_are_those_of_before_in_each_format() {
    let site = site();
    let (code, table) = told(&site, &["-n", "web", "shop"]).await;
    assert_eq!(code, 3);
    hold("doctor-table", &table);
    let (_, dead) = told(&site, &["web/dead"]).await;
    let hosts: Vec<&str> = dead.lines().filter(|line| line.contains("example.com")).collect();
    hold("doctor-table-of-a-dead-host", &hosts.join("\n"));
    let (code, json) = told(&site, &["-o", "json"]).await;
    assert_eq!(code, 3);
    let json: Value = serde_json::from_str(&json).unwrap();
    hold("doctor-json", &pretty(&json));
    let (_, yaml) = told(&site, &["-o", "yaml"]).await;
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), json);
    let (code, out) = told(&site, &["web/nothing"]).await;
    assert!(
        code == 3 && out.contains("fail     ingress         there is no Ingress web/nothing"),
        "{out}"
    );
}

#[actix::test]
async fn a_doctor_writes_nothing_and_says_so_where_nobody_answers() {
    let site = site();
    told(&site, &["web/shop"]).await;
    let audit = site.world().api().audit();
    let writes: Vec<_> =
        audit.iter().filter(|of| !["get", "list", "watch"].contains(&of.verb)).collect();
    assert!(writes.is_empty(), "{writes:?}");
    let away = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "x", "user": {"token": "x"}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), away.to_string()).unwrap();
    let (code, out) = told(&site, &["--kubeconfig", file.path().to_str().unwrap()]).await;
    assert!(code == 3 && out.starts_with("fail     api-server "), "{out}");
    let verdict = |check: &str| {
        let line = out.lines().find(|line| line.split_whitespace().nth(1) == Some(check));
        line.and_then(|line| line.split_whitespace().next()).map(str::to_owned)
    };
    for check in ["deployment", "leader", "rights", "network-policy", "installs", "class"] {
        assert_eq!(verdict(check).as_deref(), Some("skipped"), "{check} in\n{out}");
    }
    assert_eq!(verdict("directory").as_deref(), Some("fail"), "{out}");
}

/// Rules of a role of a manifest: group, resource and verb.
fn rules(yaml: &str, kind: &str) -> Vec<(String, String, String)> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    let role = documents.iter().find(|document| document["kind"] == kind).unwrap();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
    };
    let mut all = Vec::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                let verbs = texts(&rule["verbs"]).into_iter();
                all.extend(verbs.map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    all.sort();
    all
}

#[test]
fn the_rights_that_are_asked_for_are_those_of_the_manifests() {
    type Rule = (&'static str, &'static str, &'static [&'static str]);
    let flat = |rules: &[&[Rule]]| {
        let mut all: Vec<(String, String, String)> = rules
            .concat()
            .iter()
            .flat_map(|(group, resource, verbs)| {
                verbs
                    .iter()
                    .map(|verb| ((*group).to_owned(), (*resource).to_owned(), (*verb).to_owned()))
            })
            .collect();
        all.sort();
        all
    };
    let install = include_str!("../../deploy/install.yaml");
    assert_eq!(flat(&[&WHERE_SERVED, &OF_THE_CLUSTER]), rules(install, "ClusterRole"));
    assert_eq!(flat(&[&OWN]), rules(install, "Role"));
    let watch = include_str!("../../deploy/watch-secrets.yaml");
    assert_eq!(flat(&[&WATCH_SECRETS]), rules(watch, "ClusterRole"));
}
