//! The operator with real ingress controllers between the CA and the solver: Contour with Envoy,
//! and Traefik, with exactly the rights of `deploy/install.yaml`.
//!
//! Each test runs in a network namespace of its own, one test at a time. The controller has ports
//! 80 and 443 there, and all names resolve to the controller. `make data-planes` runs all tests;
//! `make test` runs Contour's, which is built faster.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod cells;
mod controllers;
mod polls;
mod sites;

use ingress_acme_control_plane::{ADDRESS, Options, World, in_own_network, retry_when_wedged_with};

use tokio::sync::Mutex;

use crate::cells::Table;
use crate::controllers::{
    CONTOUR, Kind, TRAEFIK, TRAEFIK_WITH_REDIRECT, TRAEFIK_WITH_REDIRECT_AND_NO_TLS,
};

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

#[actix::test]
async fn contour_serves_each_certificate_and_fails_no_request() {
    all_cells("contour_serves_each_certificate_and_fails_no_request", &CONTOUR).await;
}

#[actix::test]
#[ignore = "`make data-planes` runs this test: Traefik is built for minutes"]
async fn traefik_serves_each_certificate_and_fails_no_request() {
    all_cells("traefik_serves_each_certificate_and_fails_no_request", &TRAEFIK).await;
}

#[actix::test]
#[ignore = "`make data-planes` runs this test: Traefik is built for minutes"]
async fn traefik_with_a_redirect_of_port_80_serves_each_certificate() {
    let test = "traefik_with_a_redirect_of_port_80_serves_each_certificate";
    all_cells(test, &TRAEFIK_WITH_REDIRECT).await;
}

#[actix::test]
#[ignore = "`make data-planes` runs this test: Traefik is built for minutes"]
async fn traefik_with_a_redirect_and_no_tls_by_default_serves_each_certificate() {
    let test = "traefik_with_a_redirect_and_no_tls_by_default_serves_each_certificate";
    all_cells(test, &TRAEFIK_WITH_REDIRECT_AND_NO_TLS).await;
}

/// Plays all cells of the table in docs/testing.md with one controller.
async fn all_cells(test: &str, kind: &Kind) {
    let _alone = ONE_AT_A_TIME.lock().await;
    in_own_network(test, kind.part(), async || {
        let options = Options {
            controller: Some(ADDRESS),
            // A reused authorization would spare a renewal its validation.
            ca_env: vec![("PEBBLE_AUTHZREUSE".to_owned(), "0".to_owned())],
            ..Options::default()
        };
        retry_when_wedged_with(3, &options, async |world: &World| {
            let table = Table::start(world, kind).await;
            table.no_tls().await;
            table.tls_from_the_start().await;
            table.classes().await;
            table.own_settings().await;
            table.places().await;
            table.twenty().await;
            table.renewals().await;
            table.end().await;
        })
        .await;
    })
    .await;
}
