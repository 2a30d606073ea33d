//! `doctor` on a real API server, beside a running operator: a healthy install is well in every
//! line, and each fault shows in its own line, with the words that help.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;

use ingress_acme_control_plane::{Options, World, apply_yaml, eventually};
use ingress_acme_sim::ca;
use ingress_acme_sim::dns::Dns;
use ingress_acme_sim::free_address;
use ingress_acme_sim::pki::RootCa;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::networking::v1::{IngressClass, NetworkPolicy};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::commands::command_as;
use crate::sites::{PATIENCE, Site, certificate, namespace};
use crate::{alone, operator};

const OWN: &str = "ingress-acme";
const HOST: &str = "shop.example.com";
/// Exit code where a check has failed.
const FAILED: i32 = 3;

/// An install in a world of its own, and a DNS server that the test fills.
struct Install {
    world: World,
    client: Client,
    dns: Dns,
}

/// Lines of a report, in order.
struct Said {
    code: Option<i32>,
    lines: Vec<String>,
}

impl Said {
    /// Checks with this verdict.
    fn with(&self, verdict: &str) -> Vec<&str> {
        let words = self.lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let found = words.filter(|words| words[0] == verdict).map(|words| words[1]);
        let names: Vec<&str> = found.collect();
        names
    }

    fn line(&self, check: &str) -> &str {
        let found = self.lines.iter().find(|line| line.split_whitespace().nth(1) == Some(check));
        found.unwrap_or_else(|| panic!("{check} in {:?}", self.lines))
    }

    /// This check alone has failed, and its line has all these words.
    fn fails_only_in(&self, check: &str, words: &[&str]) {
        assert_eq!(self.code, Some(FAILED), "{:#?}", self.lines);
        assert_eq!(self.with("fail"), [check], "{:#?}", self.lines);
        for word in words {
            assert!(self.line(check).contains(word), "{word} in {}", self.line(check));
        }
    }

    fn is_well(&self) {
        let others: Vec<&String> =
            self.lines.iter().filter(|line| !line.starts_with("ok ")).collect();
        assert!(self.code == Some(0) && others.is_empty(), "{others:#?}");
    }
}

impl Install {
    /// Sets the Deployment of `install.yaml` up as a user does; no controller of this cluster would
    /// make its Pods ready.
    async fn start() -> Self {
        let options = Options { simulated_ca: Some(ca::Options::default()), ..Options::default() };
        let world = World::start_with(options).await.expect("the world starts");
        let client = world.admin();
        namespace(&client, "web").await;
        let class = json!({
            "metadata": {"name": "main", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
            "spec": {"controller": "example.com/ingress-controller"},
        });
        let classes: Api<IngressClass> = Api::all(client.clone());
        classes
            .create(&PostParams::default(), &serde_json::from_value(class).unwrap())
            .await
            .unwrap();
        let install = Self { world, client, dns: Dns::start().expect("a DNS server") };
        let directory = json!([{"name": "INGRESS_ACME_ACME_DIRECTORY", "value": install.world.acme_directory()}]);
        let container = json!([{"name": "ingress-acme", "env": directory}]);
        let spec = json!({"spec": {"template": {"spec": {"containers": container}}}});
        let deployments: Api<Deployment> = Api::namespaced(install.client.clone(), OWN);
        let patch = Patch::Strategic(spec);
        deployments.patch(OWN, &PatchParams::default(), &patch).await.expect("the environment");
        install.ready(2).await;
        install
            .policy(&json!([{"op": "add", "path": "/spec/egress/-", "value": {
                "ports": [{"port": 1024, "endPort": 65535, "protocol": "TCP"}],
            }}]))
            .await;
        install
    }

    async fn ready(&self, replicas: i32) {
        let status = json!({"status": {
            "replicas": 2, "readyReplicas": replicas, "availableReplicas": replicas, "updatedReplicas": 2,
        }});
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), OWN);
        let patch = Patch::Merge(status);
        deployments.patch_status(OWN, &PatchParams::default(), &patch).await.expect("its status");
    }

    /// Changes the policy of `install.yaml` by a JSON patch.
    async fn policy(&self, patch: &Value) {
        let policies: Api<NetworkPolicy> = Api::namespaced(self.client.clone(), OWN);
        let patch = serde_json::from_value(patch.clone()).expect("a JSON patch");
        let patch = Patch::<Value>::Json(patch);
        policies.patch(OWN, &PatchParams::default(), &patch).await.expect("the policy");
    }

    async fn says(&self, args: &[&str]) -> Said {
        self.says_as(self.world.admin_kubeconfig(), args).await
    }

    async fn says_as(&self, kubeconfig: &Path, args: &[&str]) -> Said {
        let nameserver = self.dns.address().to_string();
        let given = |flag: &str| args.iter().any(|arg| arg.starts_with(flag));
        let root = self.world.acme_ca_file().display().to_string();
        let port = self.world.gateway_port().to_string();
        let mut all = vec!["doctor".to_owned(), format!("--probe-port={port}")];
        if !given("--nameserver") {
            all.push(format!("--nameserver={nameserver}"));
        }
        if !given("--acme-ca-file") {
            all.push(format!("--acme-ca-file={root}"));
        }
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let output = command_as(kubeconfig, &all).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(error, "", "{args:?}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        Said { code: output.status.code(), lines: text.lines().map(str::to_owned).collect() }
    }

    /// Replaces an object by a changed one, looks, and puts the first one back.
    async fn with<K>(&self, api: Api<K>, name: &str, change: impl FnOnce(&mut K)) -> Said
    where
        K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
    {
        let before = api.get(name).await.expect("it is there");
        let mut after = before.clone();
        change(&mut after);
        let changed =
            api.replace(name, &PostParams::default(), &after).await.expect("it is changed");
        let said = self.says(&["web/shop"]).await;
        let mut back = before;
        back.meta_mut().resource_version.clone_from(&changed.meta().resource_version);
        api.replace(name, &PostParams::default(), &back).await.expect("it is put back");
        said
    }
}

#[actix::test]
async fn a_healthy_install_is_well_and_each_fault_fails_in_its_own_line() {
    let _alone = alone().await;
    let install = Install::start().await;
    let operator = operator(&install.world).await;
    Site::new("web", "shop", &[HOST]).class("main").create(&install.client).await;
    certificate(&install.client, "web", "shop-tls", &[HOST]).await;

    a_healthy_install_is_well(&install).await;
    the_operator_itself_may_ask_for_its_rights(&install).await;
    a_missing_right_is_named(&install).await;
    a_policy_that_lets_no_challenge_in_is_named(&install).await;
    a_deployment_without_a_ready_pod_is_named(&install).await;
    a_second_install_is_named(&install).await;
    a_class_without_an_object_is_named(&install).await;
    a_record_that_forbids_the_ca_is_named(&install).await;
    a_directory_that_is_not_there_is_named(&install).await;
    a_ca_with_another_time_is_named(&install).await;
    a_nameserver_that_is_silent_hides_no_other_line(&install).await;
    assert_eq!(operator.terminate().await.expect("it ends"), 0);
    let leases: Api<Lease> = Api::namespaced(install.client.clone(), OWN);
    eventually(PATIENCE, "the Lease is released", async || {
        let spec = leases.get(OWN).await.ok()?.spec?;
        spec.holder_identity.is_none_or(|holder| holder.is_empty()).then_some(())
    })
    .await;
    // Without the Ingress: its route may be there still, and leads nowhere now.
    install.says(&[]).await.fails_only_in("leader", &["no holder", "logs"]);
}

async fn a_healthy_install_is_well(install: &Install) {
    let (orders, audited) = (install.world.simulated_ca().unwrap().counts(), install.world.audit());
    let said = install.says(&["web/shop"]).await;
    said.is_well();
    let checks: Vec<&str> = said.with("ok");
    assert_eq!(checks[..5], ["api-server", "deployment", "flags", "leader", "rights"]);
    assert_eq!(checks[5..10], ["directory", "clock", "proxy", "network-policy", "installs"]);
    assert_eq!(checks[10..], ["class", "ingress", "dns", "route", "caa"]);
    assert!(said.line("rights").contains("has all 17 rights"), "{}", said.line("rights"));
    assert!(said.line("directory").contains("the account is registered"), "{:?}", said.lines);
    assert!(said.line("flags").contains(&install.world.acme_directory()), "{:?}", said.lines);
    // The CA is asked for its directory alone, and the API server stores nothing.
    let after = install.world.simulated_ca().unwrap().counts();
    let asked = |counts: &ca::Counts| -> BTreeMap<&str, u64> {
        let mut all = BTreeMap::new();
        counts
            .requests
            .iter()
            .for_each(|((endpoint, _), number)| *all.entry(*endpoint).or_default() += number);
        all
    };
    let (mut before, after) = (asked(&orders), asked(&after));
    *before.entry("directory").or_default() += 1;
    assert_eq!(before, after);
    let written: Vec<String> = install.world.audit()[audited.len()..]
        .iter()
        .filter(|entry| entry.user == "admin" && entry.user_agent.starts_with("ingress-acme"))
        .filter(|entry| !["get", "list"].contains(&entry.verb.as_str()))
        .map(|entry| format!("{} {}", entry.verb, entry.resource))
        .collect();
    let reviews = ["create selfsubjectreviews", "create subjectaccessreviews"];
    assert!(written.iter().all(|one| reviews.contains(&one.as_str())), "{written:?}");
    assert_eq!(written.len(), 1 + 17, "{written:?}");
}

async fn the_operator_itself_may_ask_for_its_rights(install: &Install) {
    let said = install.says_as(install.world.operator_kubeconfig(), &[]).await;
    assert!(said.line("rights").contains("has all 17 rights"), "{:#?}", said.lines);
    assert!(said.line("deployment").starts_with("skipped"), "{:#?}", said.lines);
    assert_eq!(said.line("network-policy").split_whitespace().next(), Some("skipped"));
    assert!(said.with("ok").contains(&"leader"), "{:#?}", said.lines);
}

async fn a_missing_right_is_named(install: &Install) {
    let roles: Api<ClusterRole> = Api::all(install.client.clone());
    let said = install.with(roles, OWN, |role| {
        let rules = role.rules.as_mut().unwrap();
        rules[0].verbs.retain(|verb| verb != "patch");
    });
    let words =
        ["may not patch ingresses.networking.k8s.io in all namespaces", "deploy/install.yaml"];
    said.await.fails_only_in("rights", &words);
}

async fn a_policy_that_lets_no_challenge_in_is_named(install: &Install) {
    let policies: Api<NetworkPolicy> = Api::namespaced(install.client.clone(), OWN);
    let said = install.with(policies, OWN, |policy| {
        let rules = policy.spec.as_mut().unwrap().ingress.as_mut().unwrap();
        rules.remove(0);
    });
    said.await.fails_only_in("network-policy", &["challenges in at port 8089", "add rules"]);
}

async fn a_deployment_without_a_ready_pod_is_named(install: &Install) {
    install.ready(0).await;
    let said = install.says(&["web/shop"]).await;
    said.fails_only_in(
        "deployment",
        &["0 of 2 replicas ready", "kubectl -n ingress-acme describe pods"],
    );
    install.ready(1).await;
    let half = install.says(&["web/shop"]).await;
    assert_eq!((half.code, half.with("warn")), (Some(0), vec!["deployment"]), "{:#?}", half.lines);
    install.ready(2).await;
}

async fn a_second_install_is_named(install: &Install) {
    let manifest = include_str!("../../deploy/install.yaml");
    let deployment =
        manifest.split("\n---\n").find(|one| one.contains("kind: Deployment")).unwrap();
    let second = deployment.replace("namespace: ingress-acme", "namespace: other");
    namespace(&install.client, "other").await;
    apply_yaml(&install.client, &second).await.expect("the second Deployment");
    let said = install.says(&["web/shop"]).await;
    said.fails_only_in("installs", &["other/ingress-acme serves the same", "--watch-namespace"]);
    let deployments: Api<Deployment> = Api::namespaced(install.client.clone(), "other");
    deployments.delete(OWN, &DeleteParams::default()).await.expect("it goes");
}

async fn a_class_without_an_object_is_named(install: &Install) {
    Site::new("web", "lost", &["lost.example.com"]).class("gone").create(&install.client).await;
    let said = install.says(&["lost", "-n", "web"]).await;
    said.fails_only_in("class", &["no IngressClass gone", "main (example.com/ingress-controller"]);
    install.says(&["web/nothing"]).await.fails_only_in("ingress", &["NAMESPACE/NAME"]);
}

async fn a_record_that_forbids_the_ca_is_named(install: &Install) {
    install.dns.zone().set_caa("example.com", &[(Some("other.example"), &[])]);
    let said = install.says(&["web/shop"]).await;
    said.fails_only_in("caa", &["example.com has CAA", "add `0 issue", ca::CAA_IDENTITY]);
    install.dns.zone().set_caa("example.com", &[]);
}

async fn a_directory_that_is_not_there_is_named(install: &Install) {
    let away = format!("--acme-directory=https://{}/dir", free_address().expect("a free port"));
    let said = install.says(&["web/shop", &away]).await;
    said.fails_only_in("directory", &["cannot be read from here", "HTTPS_PROXY"]);
}

/// Serves a directory with this time, until dropped.
async fn directory_at(date: String, root: &RootCa) -> (String, tokio::task::JoinHandle<()>) {
    let tls = tokio_rustls::TlsAcceptor::from(Arc::new(root.server("ca").expect("a leaf")));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("https://localhost:{}/dir", listener.local_addr().unwrap().port());
    let resource = |name: &str| format!("{}/{name}", url.trim_end_matches("/dir"));
    let body = json!({
        "newNonce": resource("nonce"), "newAccount": resource("account"), "newOrder": resource("order"),
        "revokeCert": resource("revoke"), "keyChange": resource("key"),
    })
    .to_string();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ndate: {date}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let serving = tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let Ok(mut connection) = tls.accept(connection).await else { continue };
            _ = connection.read(&mut [0; 4_096]).await;
            _ = connection.write_all(answer.as_bytes()).await;
            _ = connection.shutdown().await;
        }
    });
    (url, serving)
}

async fn a_ca_with_another_time_is_named(install: &Install) {
    let root = RootCa::new().expect("a root");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), root.root_pem()).expect("the root");
    let date = "Sat, 01 Jan 2000 00:00:00 GMT".to_owned();
    let (url, serving) = directory_at(date, &root).await;
    let flags =
        [format!("--acme-directory={url}"), format!("--acme-ca-file={}", file.path().display())];
    let said = install.says(&["web/shop", &flags[0], &flags[1]]).await;
    said.fails_only_in("clock", &["by the clock of the CA", "the API server is", "ahead", "NTP"]);
    serving.abort();
}

async fn a_nameserver_that_is_silent_hides_no_other_line(install: &Install) {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let flag = format!("--nameserver={}", silent.local_addr().unwrap());
    let said = install.says(&["web/shop", &flag]).await;
    assert_eq!(said.with("fail"), ["dns", "caa"], "{:#?}", said.lines);
    assert_eq!(said.with("ok").len(), 12, "{:#?}", said.lines);
    assert!(said.line("dns").contains("the nameserver does not answer"), "{:#?}", said.lines);
}
