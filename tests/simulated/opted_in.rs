//! Features that users opt in to: grouped certificates and a fallback CA.

use std::collections::BTreeSet;
use std::path::Path;

use ingress_acme::commands::storm::Simulated;
use ingress_acme_sim::faults::Chances;
use ingress_acme_sim::{Options, World, ca};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::{OPERATOR, alone, eventually, simulated};

pub(crate) async fn create(client: &Client, name: &str, host: &str, annotations: Value) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let web = serde_json::from_value(json!({"metadata": {"name": "web"}})).unwrap();
    _ = namespaces.create(&PostParams::default(), &web).await; // exists from the second call on
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
    let ingress = json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"rules": [{"host": host, "http": {"paths": [path]}}]},
    });
    let api: Api<Ingress> = Api::namespaced(client.clone(), "web");
    api.create(&PostParams::default(), &serde_json::from_value(ingress).unwrap()).await.unwrap();
}

/// Secrets named in the Ingresses' `spec.tls`; `None` while an Ingress names none.
pub(crate) async fn secrets(client: &Client) -> Option<BTreeSet<String>> {
    let api: Api<Ingress> = Api::namespaced(client.clone(), "web");
    let all = api.list(&ListParams::default()).await.unwrap().items;
    let named = |ingress: Ingress| ingress.spec?.tls?.into_iter().next()?.secret_name;
    all.into_iter().map(named).collect()
}

pub(crate) async fn secret(client: &Client, name: &str) -> Option<Secret> {
    Api::<Secret>::namespaced(client.clone(), "web").get_opt(name).await.unwrap()
}

async fn names(client: &Client, name: &str) -> BTreeSet<String> {
    let data = secret(client, name).await.and_then(|secret| secret.data);
    let chain = data.and_then(|mut data| data.remove("tls.crt")).map_or_else(Vec::new, |pem| pem.0);
    let chain = String::from_utf8(chain).unwrap();
    ingress_acme::pki::inspect(&chain, None).map(|leaf| leaf.names).unwrap_or_default()
}

#[actix::test]
async fn thirty_ingresses_of_one_domain_share_few_certificates_that_have_all_their_hosts() {
    let _alone = alone().await;
    let simulated = simulated(Options::default()).await;
    let client = simulated.target().unwrap().client;
    let hosts: BTreeSet<String> = (0..30).map(|n| format!("h{n}.example.com")).collect();
    for (number, host) in hosts.iter().enumerate() {
        let group = json!({"ingress-acme.dev/group": "true"});
        create(&client, &format!("i{number}"), host, group).await;
    }
    let all = async || {
        let mut all = BTreeSet::new();
        for secret in secrets(&client).await.unwrap_or_default() {
            all.extend(names(&client, &secret).await);
        }
        all
    };
    eventually("all hosts have a certificate", async || all().await == hosts).await;
    let shared = secrets(&client).await.unwrap();
    assert!((2..=6).contains(&shared.len()), "{shared:?}");
    for secret in &shared {
        assert!(secret.starts_with("group-example.com"), "{secret}");
        assert!(names(&client, secret).await.len() <= 25);
    }
    // A late member may have caused a second order for one of them.
    let orders = simulated.world().ca().counts().orders;
    assert!(orders <= 10, "{orders} orders");
    assert!(simulated.end().await.unwrap().success());
}

#[actix::test]
async fn a_second_ca_issues_while_the_first_fails_and_the_first_again_when_it_works() {
    let _alone = alone().await;
    let world = World::start(Options::default()).unwrap();
    let second = world.another_ca(ca::Options::default()).unwrap();
    world.ca().faults().set(Chances { failed: 1.0, ..Chances::default() });
    let flags =
        [format!("--fallback-directory={}", second.directory_url()), "--fallback-after=1s".into()];
    let simulated = Simulated::start_in(world, &flags, Path::new(OPERATOR)).await.unwrap();
    let client = simulated.target().unwrap().client;
    create(&client, "one", "one.example.com", json!({})).await;
    eventually("a certificate of the fallback CA", async || {
        secret(&client, "one-tls").await.is_some()
    })
    .await;
    let annotations = secret(&client, "one-tls").await.unwrap().metadata.annotations.unwrap();
    let of = |name: &str| annotations.get(&format!("ingress-acme.dev/{name}")).cloned();
    assert_eq!(of("directory"), Some(second.directory_url()));
    let first = simulated.world().ca();
    assert_eq!(of("instead-of"), Some(first.directory_url()));

    first.faults().set(Chances::default());
    create(&client, "two", "two.example.com", json!({})).await;
    eventually("a certificate of the first CA", async || {
        secret(&client, "two-tls").await.is_some()
    })
    .await;
    assert_eq!((first.counts().certificates, second.counts().certificates), (1, 1));
    assert!(simulated.end().await.unwrap().success());
}
