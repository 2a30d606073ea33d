//! IPv6 only: the solver, health and metrics on `::1`.

use ingress_acme_control_plane::{World, retry_when_wedged};
use ingress_acme_sim::free_address;

use crate::sites::{Site, certificate, namespace};
use crate::{alone, operator_with};

#[actix::test]
async fn a_certificate_is_issued_by_an_operator_that_listens_on_ipv6_only() {
    let _alone = alone().await;
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return eprintln!("this host has no IPv6: nothing is tried on ::1");
    }
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        let bind = |flag: &str| {
            let port = free_address().expect("a free port").port();
            format!("--{flag}-bind=[::1]:{port}")
        };
        let binds = ["solver", "admin", "metrics", "health"].map(bind);
        let operator = operator_with(world, &binds.each_ref().map(String::as_str)).await;
        assert!(operator.solver_address().is_ipv6());
        Site::new("web", "shop", &["shop.example.com"]).create(&client).await;
        certificate(&client, "web", "shop-tls", &["shop.example.com"]).await;
        assert_eq!(operator.terminate().await.expect("it ends"), 0);
    })
    .await;
}
