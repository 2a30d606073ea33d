//! Bad input causes one clear Event and no request to the CA, and does not delay other Ingresses.

use ingress_acme_control_plane::{World, eventually, retry_when_wedged};

use crate::sites::{PATIENCE, Site, certificate, events, namespace, routed, secret};
use crate::{alone, operator};

#[actix::test]
async fn bad_input_is_reported_once_and_costs_the_ca_nothing() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        world.dns_fail("dead.example.com").await.expect("the DNS server obeys");
        let operator = operator(world).await;
        let long = format!("{}.example.com", "a".repeat(64));
        let bad = [
            (Site::new("web", "no-dot", &["localhost"]), "no dot"),
            (Site::new("web", "wildcard", &["*.example.com"]), "wildcard"),
            (Site::new("web", "address", &[]).tls("address", &["10.0.0.1"]), "IP address"),
            (Site::new("web", "empty-rules", &[]), "no host"),
            (Site::new("web", "over-long", &[&long]), "64 characters"),
            (Site::new("web", "dead", &["dead.example.com"]), "does not resolve"),
        ];
        for (site, _) in &bad {
            site.create(&client).await;
        }
        Site::new("web", "mixed", &["*.example.com", "mixed.example.com"]).create(&client).await;
        Site::new("web", "good", &["good.example.com"]).create(&client).await;
        certificate(&client, "web", "good-tls", &["good.example.com"]).await;
        certificate(&client, "web", "mixed-tls", &["mixed.example.com"]).await;
        for (site, clue) in &bad {
            let events = eventually(PATIENCE, &format!("an Event on {}", site.name), async || {
                let events = events(&client, "web", &site.name).await;
                (!events.is_empty()).then_some(events)
            })
            .await;
            assert_eq!(events.len(), 1, "{events:?}");
            assert!(events[0].1.contains(clue), "{events:?}");
            for name in [site.name.clone(), format!("{}-tls", site.name)] {
                assert!(secret(&client, "web", &name).await.is_none(), "{name}");
            }
        }
        assert_eq!(world.orders_created(), 2, "the good ones only");
        world.dns_restore("dead.example.com").await.expect("the DNS server obeys");
        certificate(&client, "web", "dead-tls", &["dead.example.com"]).await;
        eventually(PATIENCE, "the routes have gone", async || {
            routed(&client).await.is_empty().then_some(())
        })
        .await;
        assert_eq!(operator.terminate().await.expect("it ends"), 0);
    })
    .await;
}
