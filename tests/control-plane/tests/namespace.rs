//! A network namespace of a test's own.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::net::{TcpListener, TcpStream};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
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
async fn a_failure_inside_is_a_failure() {
    let inside = async || panic!("no luck");
    let ran = in_own_network("a_failure_inside_is_a_failure", Part::ControlPlane, inside);
    assert_fails(ran, "failed in its network namespace").await;
}

#[tokio::test]
async fn a_wrong_name_is_a_failure() {
    let ran = in_own_network("another_test", Part::ControlPlane, async || {});
    assert_fails(ran, "no test has the name another_test").await;
}

/// A test that was skipped cannot fail.
async fn assert_fails(ran: impl Future<Output = bool>, expected: &str) {
    let Err(panic) = AssertUnwindSafe(ran).catch_unwind().await.map(|ran| assert!(!ran)) else {
        return;
    };
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains(expected), "{message}");
}
