//! Names proved in DNS by the whole operator: its adapters ask the simulated DNS, and write to a
//! DNS provider that speaks lego's `httpreq`.

use ingress_acme_sim::Options;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::{alone, eventually, simulated_with};

/// Wildcard and apex pairs of the storm.
const PAIRS: usize = 40;

/// Creates a DNS account for these zones at a provider.
async fn account(client: &Client, name: &str, endpoint: &str, zones: &str) {
    let account: Secret = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"ingress-acme.dev/dns-account": "true"}},
        "stringData": {
            "provider": "httpreq", "endpoint": endpoint, "zones": zones, "namespaces": "web",
        },
    }))
    .unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "ingress-acme");
    secrets.create(&PostParams::default(), &account).await.unwrap();
}

fn pair(number: usize) -> serde_json::Value {
    let (name, apex) = (format!("pair-{number}"), format!("d{number}.example.com"));
    let hosts = [format!("*.{apex}"), apex];
    let backend = json!({"service": {"name": "shop", "port": {"number": 80}}});
    let paths = json!({"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]});
    let rules: Vec<_> = hosts.iter().map(|host| json!({"host": host, "http": paths})).collect();
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {
            "namespace": "web", "name": name,
            "annotations": {"ingress-acme.dev/challenge": "dns-01"},
        },
        "spec": {"rules": rules, "tls": [{"hosts": hosts, "secretName": name}]},
    })
}

#[actix::test]
async fn a_storm_of_wildcards_with_their_domains_writes_each_record_once_and_leaves_none() {
    let _alone = alone().await;
    let simulated = simulated_with(Options::default(), &[]).await;
    let (world, client) = (simulated.world(), simulated.target().unwrap().client);
    let provider = world.dns_provider().unwrap();
    let web = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "web"}});
    world.api().load(web).unwrap();
    world.dns().zone().add_txt("_acme-challenge.d0.example.com", "the owner's own");
    account(&client, "dns-httpreq", &provider.url(), "example.com").await;
    (0..PAIRS).for_each(|number| _ = world.api().load(pair(number)).unwrap());
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "web");
    eventually("all certificates", async || {
        secrets.list(&ListParams::default()).await.unwrap().items.len() == PAIRS
    })
    .await;
    let own = ("_acme-challenge.d0.example.com".to_owned(), "the owner's own".to_owned());
    eventually("no record of ours", async || world.dns().zone().all_txt() == [own.clone()]).await;
    let (counts, writes) = (world.ca().counts(), world.dns().zone().writes());
    let pairs = u64::try_from(PAIRS).unwrap();
    assert_eq!((counts.orders, counts.certificates), (pairs, pairs));
    let (added, removed) = (writes.added - 1, writes.removed); // but for the own one
    assert_eq!((added, removed), (2 * pairs, 2 * pairs), "one for each name");
    assert!(simulated.end().await.unwrap().success());
}

#[actix::test]
async fn a_provider_that_is_away_is_told_once_and_delays_no_other_namespace() {
    let _alone = alone().await;
    let simulated = simulated_with(Options::default(), &[]).await;
    let (world, client) = (simulated.world(), simulated.target().unwrap().client);
    for name in ["web", "api"] {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        world.api().load(object).unwrap();
    }
    account(&client, "dns-away", "http://127.0.0.1:1", "example.com").await;
    (0..5).for_each(|number| _ = world.api().load(pair(number)).unwrap());
    let events: Api<Event> = Api::namespaced(client.clone(), "web");
    let told = async || {
        let events = events.list(&ListParams::default()).await.unwrap().items;
        let notes = events.into_iter().filter_map(|event| event.note);
        notes.filter(|note| note.contains("DNS account dns-away")).collect::<Vec<_>>()
    };
    eventually("an Event for each", async || told().await.len() >= 5).await;
    let mut good = pair(7);
    good["metadata"] = json!({"namespace": "api", "name": "good"});
    good["spec"]["rules"] = json!([good["spec"]["rules"][1]]);
    good["spec"]["tls"] = json!([{"hosts": ["d7.example.com"], "secretName": "good"}]);
    world.api().load(good).unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "api");
    eventually("the other", async || secrets.get_opt("good").await.unwrap().is_some()).await;
    assert_eq!(told().await.len(), 5, "one Event each: {:?}", told().await);
    assert_eq!(world.ca().counts().orders, 6, "orders wait");
    let accounts: Api<Secret> = Api::namespaced(client.clone(), "ingress-acme");
    accounts.delete("dns-away", &DeleteParams::default()).await.unwrap();
    let provider = world.dns_provider().unwrap();
    account(&client, "dns-there", &provider.url(), "example.com").await;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "web");
    eventually("all certificates", async || {
        secrets.list(&ListParams::default()).await.unwrap().items.len() == 5
    })
    .await;
    eventually("no record", async || world.dns().zone().all_txt().is_empty()).await;
    assert!(simulated.end().await.unwrap().success());
}
