//! Issuance without the operator: order, route, validation and counting. A failure here is a
//! failure of the test support.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use ingress_acme_control_plane::{
    OperatorOptions, World, apply_yaml, eventually, retry_when_wedged, solver_route,
};
use instant_acme::{
    Account, ChallengeType, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, KeyPair};

const HOST: &str = "shop.example";
const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_certificate_is_issued_only_over_a_route_that_exists() {
    retry_when_wedged(3, async |world: &World| {
        // The process ends at once; only the registration of its solver address matters.
        let solver = world.spawn_operator(OperatorOptions::new("true")).unwrap();
        let account = account(world).await;

        let mut refused = account.new_order(&NewOrder::new(&[host()])).await.unwrap();
        answer_challenge(&mut refused, None).await;
        let failure = refused.poll_ready(&RetryPolicy::default()).await.unwrap_err().to_string();
        assert!(failure.contains("returned 404"), "{failure}");
        assert_eq!((world.orders_created(), world.certificates_issued()), (1, 0));

        apply_yaml(&world.admin(), &solver_route(&[HOST])).await.unwrap();
        eventually(SOON, "the route to the solver", async || {
            (status(world, "/.well-known/acme-challenge/x").await == 503).then_some(())
        })
        .await;
        let mut order = account.new_order(&NewOrder::new(&[host()])).await.unwrap();
        answer_challenge(&mut order, Some(solver.solver_address())).await;
        assert_eq!(order.poll_ready(&RetryPolicy::default()).await.unwrap(), OrderStatus::Ready);
        let csr = CertificateParams::new([HOST.to_owned()]).unwrap();
        let csr = csr.serialize_request(&KeyPair::generate().unwrap()).unwrap();
        order.finalize_csr(csr.der()).await.unwrap();
        let chain = order.poll_certificate(&RetryPolicy::default()).await.unwrap();
        assert!(chain.contains("BEGIN CERTIFICATE"));
        assert_eq!((world.orders_created(), world.certificates_issued()), (2, 1));

        // A restart of the CA loses its data, but not the counts.
        world.restart_ca().await.unwrap();
        assert_eq!((world.orders_created(), world.certificates_issued()), (2, 1));
    })
    .await;
}

fn host() -> Identifier {
    Identifier::Dns(HOST.into())
}

async fn account(world: &World) -> Account {
    let new =
        NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
    let builder = Account::builder_with_root(world.acme_ca_file()).unwrap();
    builder.create(&new, world.acme_directory(), None).await.unwrap().0
}

/// Accepts the challenges of an order; `solver`, if any, serves the right answer.
async fn answer_challenge(order: &mut Order, solver: Option<SocketAddr>) {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.unwrap();
        let mut challenge = authorization.challenge(ChallengeType::Http01).unwrap();
        if let Some(solver) = solver {
            serve(solver, challenge.key_authorization().as_str().to_owned());
        }
        challenge.set_ready().await.unwrap();
    }
}

/// Answers every request with the same text until the test process ends.
fn serve(address: SocketAddr, text: String) {
    let listener = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let _ = connection.read(&mut [0; 4096]);
            let length = text.len();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n");
            let _ = write!(connection, "{head}connection: close\r\n\r\n{text}");
        }
    });
}

async fn status(world: &World, path: &str) -> u16 {
    let url = format!("http://127.0.0.1:{}{path}", world.gateway_port());
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    client.get(url).header("host", HOST).send().await.unwrap().status().as_u16()
}
