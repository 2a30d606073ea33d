//! A network namespace of a test's own.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use ingress_acme_control_plane::{ADDRESS, Part, in_own_network};

#[tokio::test]
async fn a_test_has_its_ports_and_no_way_out() {
    let inside = async || {
        let _web = TcpListener::bind((ADDRESS, 80)).unwrap();
        TcpStream::connect((ADDRESS, 80)).unwrap();
        // A documentation address (RFC 5737); the namespace has no route to it.
        let outside =
            TcpStream::connect_timeout(&"192.0.2.1:80".parse().unwrap(), Duration::from_secs(5));
        assert_eq!(outside.unwrap_err().kind(), std::io::ErrorKind::NetworkUnreachable);
    };
    in_own_network("a_test_has_its_ports_and_no_way_out", Part::ControlPlane, inside).await;
}

#[tokio::test]
#[should_panic(expected = "failed in its network namespace")]
async fn a_failure_inside_is_a_failure() {
    in_own_network("a_failure_inside_is_a_failure", Part::ControlPlane, async || panic!("no luck"))
        .await;
}

#[tokio::test]
#[should_panic(expected = "no test has the name another_test")]
async fn a_wrong_name_is_a_failure() {
    in_own_network("another_test", Part::ControlPlane, async || {}).await;
}
