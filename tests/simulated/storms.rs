//! Many Ingresses at once.

use std::time::Duration;

use ingress_acme_sim::Options;
use ingress_acme_sim::dns::Trouble;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use serde_json::json;

use crate::{alone, audited, eventually, plan, simulated, stormed};

#[actix::test]
async fn edits_are_coalesced_and_each_ingress_costs_one_order_and_one_certificate() {
    let _alone = alone().await;
    let simulated = simulated(Options::default()).await;
    let before = audited(simulated.world());
    let figures = stormed(&simulated, &plan(100, 5)).await;
    let counts = simulated.world().ca().counts();
    assert_eq!((figures.right, figures.orders, figures.certificates), (100, 100, 100));
    assert_eq!((counts.orders, counts.certificates, counts.validations_failed), (100, 100, 0));
    assert!(figures.events_coalesced > 0 && figures.events_in >= 200, "{figures:?}");
    // The operator's own counts must match the API server's audit.
    let audited = audited(simulated.world()) - before;
    let events: u64 = figures.kube_requests.iter().map(|requests| requests.count).sum();
    // Lease renewals continue between the two counts.
    assert!(audited.abs_diff(events) <= 3, "{audited} audited, {events} told");
    assert!(figures.kube_requests_per_certificate <= 5.0, "{figures:?}");
    assert!(simulated.end().await.unwrap().success());
}

#[actix::test]
async fn a_route_that_takes_its_time_costs_no_failed_validation() {
    let _alone = alone().await;
    let route_delay = Duration::from_secs(2);
    let simulated = simulated(Options { route_delay, ..Options::default() }).await;
    let figures = stormed(&simulated, &plan(20, 0)).await;
    let counts = simulated.world().ca().counts();
    assert_eq!((figures.right, counts.orders, counts.validations_failed), (20, 20, 0));
    assert!(simulated.end().await.unwrap().success());
}

#[actix::test]
async fn hosts_that_lead_nowhere_cost_no_order_and_hold_up_nobody() {
    let _alone = alone().await;
    let simulated = simulated(Options::default()).await;
    let (world, target) = (simulated.world(), simulated.target().unwrap());
    world.dns().zone().set("nowhere.example.com", Some(Trouble::NxDomain));
    world.dns().zone().set("dead.example.com", Some(Trouble::Dead));
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "dead"}});
    world.api().load(namespace).unwrap();
    for number in 0..200 {
        let zone = if number % 2 == 0 { "nowhere" } else { "dead" };
        let (name, host) = (format!("d{number}"), format!("d{number}.{zone}.example.com"));
        let ingress = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"namespace": "dead", "name": name},
            "spec": {"rules": [{"host": host}], "tls": [{"hosts": [host], "secretName": name}]},
        });
        world.api().load(ingress).unwrap();
    }
    let operator = target.operator;
    eventually("all are busy", async || operator.sample().await.unwrap().busy >= 200).await;
    let figures = stormed(&simulated, &plan(3, 0)).await;
    let counts = world.ca().counts();
    assert_eq!((figures.right, counts.orders, counts.validations_failed), (3, 3, 0));

    // One of the dead hosts comes to life, and the operator notices.
    world.dns().zone().exempt("d1.dead.example.com");
    let client: Client = target.client;
    let secrets: Api<Secret> = Api::namespaced(client, "dead");
    eventually("its Secret", async || secrets.get_opt("d1").await.unwrap().is_some()).await;
    assert!(simulated.end().await.unwrap().success());
}
