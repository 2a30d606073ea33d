//! One Ingress gets its certificate: the whole operator on in-memory fakes and a paused clock.
//!
//! ```sh
//! cargo run -p ingress-acme-actors --features fakes --example one_ingress
//! ```

use std::time::Duration;

use ingress_acme_actors::fakes::{Fakes, ingress};

fn main() {
    // The clock is paused: a simulated minute passes as soon as every task waits for a timer.
    Fakes::paused(show());
}

async fn show() {
    // Kubernetes, the CA, DNS and the journal's storage, all in memory.
    let fakes = Fakes::default();
    // Replays the (empty) journal, starts all actors, and waits for the first scan.
    let operator = fakes.operator(Fakes::settings()).await;

    // A user applies an Ingress with two hosts and without `spec.tls`.
    fakes.cluster.apply(ingress("web", "shop", &["shop.example.com", "www.example.com"]));
    println!("{}  Ingress web/shop is applied", fakes.clock.now());

    // Watcher, dedup actor, pool and issuer do their work: the settle time, routes and probes, the
    // order, its validation, and one write of the Secret.
    fakes.pass(Duration::from_mins(1)).await;
    println!("{}  one minute later", fakes.clock.now());

    // The Secret has a name of the operator's, because the Ingress names none in `spec.tls`.
    let secret = fakes.cluster.secret("web", "shop-tls").expect("the Secret exists by now");
    let leaf = secret.view.certificate.expect("the fake CA's chain can be read");
    println!("\nSecret web/shop-tls");
    println!("  names    {}", leaf.names.into_iter().collect::<Vec<_>>().join(", "));
    println!("  issuer   {}", leaf.issuer);
    println!("  expires  {}", leaf.not_after);

    // The operator filled in `spec.tls` once the Secret was there.
    let shop = fakes.cluster.view("web", "shop").expect("nobody has deleted the Ingress");
    for block in &shop.tls {
        let secret = block.secret_name.as_deref().unwrap_or("none");
        println!("\nspec.tls of Ingress web/shop: {} in Secret {secret}", block.hosts.join(", "));
    }

    // A first certificate is one Event: only a failure before it would add others.
    println!("\nEvents of Ingress web/shop");
    for event in fakes.cluster.events("web", "shop") {
        println!("  {:?} {}: {}", event.severity, event.reason, event.note);
    }

    // Nothing is left behind: the solver routes are withdrawn, the dedup actor has retired.
    println!("\nsolver routes left: {}", fakes.cluster.routed().len());
    println!("dedup actors left: {}", operator.registry.len());
}
