//! Names proved in DNS by the whole operator: its adapters ask the simulated DNS, and write to a
//! DNS provider that speaks lego's `httpreq`.

use std::time::Duration;

use ingress_acme_sim::Options;
use ingress_acme_sim::dns::Trouble;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

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
    pair_of(&format!("pair-{number}"), format!("d{number}.example.com"))
}

/// An Ingress with a wildcard and its domain, which are proved in DNS.
fn pair_of(name: &str, apex: String) -> serde_json::Value {
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

/// Faults of a provider: the first segment of the path at the stand-in, the answer, and a part of
/// the Event.
const FAULTS: [(&str, &str, &str); 7] = [
    ("bad-key", "401 Unauthorized", "check the keys of the Secret dns-bad-key"),
    ("no-right", "403 Forbidden", "check the keys of the Secret dns-no-right"),
    ("no-zone", "404 Not Found", "check that zone"),
    ("busy", "429 Too Many Requests\r\nRetry-After: 120", "HTTP 429"),
    ("broken", "500 Internal Server Error", "HTTP 500"),
    ("cut-off", "", "DNS account dns-cut-off"),
    ("silent", "", "DNS account dns-silent"),
];

/// Answers each request of a DNS provider's client by its fault.
async fn faulty_provider(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(answer_by_fault(stream));
    }
}

async fn answer_by_fault(mut stream: TcpStream) {
    let mut head = [0; 4096];
    let read = stream.read(&mut head).await.unwrap_or_default();
    let head = String::from_utf8_lossy(&head[..read]).into_owned();
    let fault = FAULTS.iter().find(|(name, ..)| head.contains(&format!("/{name}/")));
    match fault.expect("a path of a fault") {
        ("silent", ..) => tokio::time::sleep(Duration::from_hours(1)).await,
        ("cut-off", ..) => {}
        (_, status, _) => {
            let answer =
                format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
            _ = stream.write_all(answer.as_bytes()).await;
        }
    }
}

#[actix::test]
async fn each_fault_of_a_provider_is_one_event_leaves_nothing_behind_and_delays_nobody() {
    let _alone = alone().await;
    let simulated = simulated_with(Options::default(), &[]).await;
    let (world, client) = (simulated.world(), simulated.target().unwrap().client);
    let web = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "web"}});
    world.api().load(web).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let stand_in = tokio::spawn(faulty_provider(listener));
    for (fault, ..) in FAULTS {
        let (name, zone) = (format!("dns-{fault}"), format!("{fault}.example.com"));
        account(&client, &name, &format!("http://{at}/{fault}"), &zone).await;
        world.api().load(pair_of(fault, zone)).unwrap();
    }
    let provider = world.dns_provider().unwrap();
    account(&client, "dns-good", &provider.url(), "d.example.com,no-server.example.com").await;
    let lame = "_acme-challenge.no-server.example.com";
    world.dns().zone().set(lame, Some(Trouble::ServFail));
    world.api().load(pair_of("no-server", "no-server.example.com".to_owned())).unwrap();

    let events: Api<Event> = Api::namespaced(client.clone(), "web");
    let told = async |ingress: &str| {
        let events = events.list(&ListParams::default()).await.unwrap().items;
        let about = events.into_iter().filter(|event| {
            event.regarding.as_ref().and_then(|about| about.name.as_deref()) == Some(ingress)
        });
        let warnings = about.filter(|event| event.type_.as_deref() == Some("Warning"));
        warnings.filter_map(|event| event.note).collect::<Vec<_>>()
    };
    // While the silent one still has its time.
    world.api().load(pair_of("good", "d.example.com".to_owned())).unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "web");
    eventually("the good one", async || secrets.get_opt("good").await.unwrap().is_some()).await;
    let lame = ("no-server", "", "the zone for its record cannot be found");
    for (fault, _, part) in FAULTS.into_iter().chain([lame]) {
        eventually(fault, async || !told(fault).await.is_empty()).await;
        let told = told(fault).await;
        assert!(told.len() == 1 && told[0].contains(part), "{fault}: {told:?}");
    }
    let faults = u64::try_from(FAULTS.len()).unwrap();
    assert_eq!(world.ca().counts().orders, faults + 1, "each order waits, one is never opened");
    assert_eq!(secrets.list(&ListParams::default()).await.unwrap().items.len(), 1);
    eventually("no record", async || world.dns().zone().all_txt().is_empty()).await;
    assert!(simulated.end().await.unwrap().success());
    stand_in.abort();
}
