//! Rehearsals at a second CA (`--rehearsal-directory`): a name whose validation failed costs the
//! first CA nothing until the second one has validated it.

use std::path::Path;

use ingress_acme::commands::storm::Simulated;
use ingress_acme_sim::ca::{Ca, Options as CaOptions};
use ingress_acme_sim::{Options, World};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::opted_in::{create, secret};
use crate::{OPERATOR, alone, eventually};

const HOST: &str = "one.example.com";
/// Number of remote networks that do not reach the host: one more than a CA accepts.
const BLOCKED: usize = 2;

fn set_blocked(ca: &Ca, blocked: bool) {
    for network in 1..=BLOCKED {
        if blocked {
            ca.block_network(network, Some(HOST));
        } else {
            ca.unblock_network(network, Some(HOST));
        }
    }
}

async fn has_event(client: &Client, words: &str) -> bool {
    let events: Api<Event> = Api::namespaced(client.clone(), "web");
    let events = events.list(&ListParams::default()).await.unwrap();
    events.iter().any(|event| event.note.as_ref().is_some_and(|note| note.contains(words)))
}

/// Edits the Ingress, so that the next attempt is at once.
async fn set_hosts(client: &Client, hosts: &[&str]) {
    let path = json!({"path": "/", "pathType": "Prefix",
        "backend": {"service": {"name": "web", "port": {"number": 80}}}});
    let rule = |host: &&str| json!({"host": host, "http": {"paths": [path]}});
    let rules: Vec<_> = hosts.iter().map(rule).collect();
    let api: Api<Ingress> = Api::namespaced(client.clone(), "web");
    let patch = Patch::Merge(json!({"spec": {"rules": rules}}));
    api.patch("one", &PatchParams::default(), &patch).await.unwrap();
}

#[actix::test]
async fn a_name_that_failed_is_asked_for_again_only_after_the_second_ca_has_validated_it() {
    let _alone = alone().await;
    let ca = CaOptions { remote_networks: 5, ..CaOptions::default() };
    let world = World::start(Options { ca: ca.clone(), ..Options::default() }).unwrap();
    let staging = world.another_ca(ca).unwrap();
    for ca in [world.ca(), &staging] {
        set_blocked(ca, true);
    }
    let flags = [format!("--rehearsal-directory={}", staging.directory_url())];
    let simulated = Simulated::start_in(world, &flags, Path::new(OPERATOR)).await.unwrap();
    let client = simulated.target().unwrap().client;
    let first = simulated.world().ca();
    create(&client, "one", HOST, json!({})).await;
    eventually("a failure at the first CA", async || {
        has_event(&client, "During secondary validation").await
    })
    .await;
    assert_eq!((first.counts().orders, staging.counts().orders), (1, 0));

    set_hosts(&client, &[HOST, "two.example.com"]).await;
    let words = format!("in a rehearsal at {}", staging.directory_url());
    eventually("a failed rehearsal", async || has_event(&client, &words).await).await;
    assert_eq!((first.counts().orders, staging.counts().orders), (1, 1));

    for ca in [first, &staging] {
        set_blocked(ca, false);
    }
    set_hosts(&client, &[HOST]).await;
    eventually("a certificate", async || secret(&client, "one-tls").await.is_some()).await;
    assert_eq!((first.counts().orders, first.counts().certificates), (2, 1));
    assert_eq!((staging.counts().orders, staging.counts().certificates), (2, 0));
    assert!(simulated.end().await.unwrap().success());
}
