//! Random faults, the same in every run.

use std::time::Duration;

use ingress_acme_sim::Options;
use ingress_acme_sim::faults::Chances;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::{alone, eventually, plan, simulated, stormed};

#[actix::test]
async fn a_flaky_api_server_costs_no_further_certificate() {
    let _alone = alone().await;
    let simulated = simulated(Options::default()).await;
    let world = simulated.world();
    world.api().faults().set(Chances {
        dropped: 0.03,
        unanswered: 0.03,
        throttled: 0.03,
        failed: 0.03,
        delayed: 0.05,
        delay: Duration::from_millis(100),
        ..Chances::default()
    });
    let figures = stormed(&simulated, &plan(60, 2)).await;
    let counts = world.ca().counts();
    assert!(world.api().faults().met() > 20, "{}", world.api().faults().met());
    assert_eq!((figures.right, counts.orders, counts.certificates), (60, 60, 60));
    world.api().faults().set(Chances::default());
    assert!(simulated.end().await.unwrap().success());
}

/// Each answer comes late: over a continent, and from a server that is overloaded.
#[actix::test]
async fn an_api_server_that_is_far_away_or_slow_costs_no_further_certificate() {
    let _alone = alone().await;
    for (delay, count) in [(Duration::from_millis(300), 20_u32), (Duration::from_secs(2), 4)] {
        let simulated = simulated(Options::default()).await;
        let world = simulated.world();
        world.api().faults().set(Chances { delayed: 1.0, delay, ..Chances::default() });
        let figures = stormed(&simulated, &plan(count, 1)).await;
        let counts = world.ca().counts();
        let right = u64::from(figures.right);
        let expected = u64::from(count);
        assert_eq!((right, counts.orders, counts.certificates), (expected, expected, expected));
        let text = std::fs::read_to_string(simulated.log_path()).expect("the log");
        assert!(!text.contains("leadership is lost"), "{delay:?}: the Lease is renewed in time");
        world.api().faults().set(Chances::default());
        assert!(simulated.end().await.unwrap().success());
    }
}

#[actix::test]
async fn a_flaky_ca_costs_at_most_the_orders_whose_answers_were_lost() {
    let _alone = alone().await;
    let simulated = simulated(Options::default()).await;
    let ca = simulated.world().ca();
    let (dropped, failed) = (0.02, 0.02);
    ca.faults().set(Chances { dropped, failed, ..Chances::default() });
    ca.set_bad_nonces(0.05);
    let figures = stormed(&simulated, &plan(60, 0)).await;
    assert!(ca.faults().met() > 5, "{}", ca.faults().met());
    // A request answered with an error has no effect, so no order is lost.
    assert_eq!((figures.right, ca.counts().orders, ca.counts().certificates), (60, 60, 60));

    ca.faults().set(Chances { unanswered: 0.05, ..Chances::default() });
    let again = ingress_acme::commands::storm::plan::Plan { run: "again".into(), ..plan(60, 0) };
    let (before, lost) = (ca.counts(), ca.faults().met());
    let figures = stormed(&simulated, &again).await;
    let (counts, lost) = (ca.counts(), ca.faults().met() - lost);
    assert_eq!((figures.right, counts.certificates - before.certificates), (60, 60));
    assert!(counts.orders - before.orders <= 60 + lost, "{counts:?}, {lost} answers lost");
    ca.faults().set(Chances::default());
    assert!(simulated.end().await.unwrap().success());
}

#[actix::test]
async fn a_watch_that_goes_stale_breaks_and_is_too_old_misses_nothing() {
    let _alone = alone().await;
    let simulated = simulated(Options::default()).await;
    let world = simulated.world();
    stormed(&simulated, &plan(5, 0)).await;
    let client = simulated.target().unwrap().client;
    let (namespace, name) = plan(5, 0).key(0);
    world.api().hold_watches(true);
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), &namespace);
    let spec = json!({"spec": plan(5, 1).spec(0, 1)});
    ingresses.patch(&name, &PatchParams::default(), &Patch::Merge(spec)).await.unwrap();
    world.api().forget_history();
    world.api().cut_watches();
    world.api().hold_watches(false);
    let secrets: Api<Secret> = Api::namespaced(client, &namespace);
    let expected = plan(5, 1).hosts(0, 1);
    eventually("a certificate for the edited Ingress", async || {
        let chain = secrets.get(&name).await.unwrap().data.unwrap().remove("tls.crt").unwrap().0;
        let chain = String::from_utf8(chain).unwrap();
        ingress_acme::pki::inspect(&chain, None).unwrap().names == expected
    })
    .await;
    assert_eq!(world.ca().counts().certificates, 6);
    assert!(simulated.end().await.unwrap().success());
}
