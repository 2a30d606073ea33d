//! Conformance of the simulated API server: every behaviour here is asserted of a real control
//! plane and of the simulated one.
//!
//! - `adapters`, `installs`, `places`, `secret_watch`: guarantees of the operator's own adapters.
//! - `lists`, `watches`, `writes`, `refusals`, `applies`, `garbage`: behaviour that the adapters
//!   rely on, tested with a plain client.
//! - `tables`: what kubectl reads, for people who look at the simulated world.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod adapters;
mod applies;
mod garbage;
mod installs;
mod lists;
mod places;
mod refusals;
mod secret_watch;
mod tables;
mod test_cluster;
mod watches;
mod writes;

use test_cluster::TestCluster;

#[actix::test]
async fn the_adapters_hold_their_promises_on_a_real_api_server() {
    adapters::hold_their_promises(&TestCluster::real().await).await;
}

#[actix::test]
async fn the_adapters_hold_their_promises_on_the_simulated_api_server() {
    adapters::hold_their_promises(&TestCluster::simulated().await).await;
}

#[actix::test]
async fn a_real_api_server_behaves_as_the_operator_relies_on() {
    behave(&TestCluster::real().await).await;
}

#[actix::test]
async fn the_simulated_api_server_behaves_as_the_operator_relies_on() {
    behave(&TestCluster::simulated().await).await;
}

async fn behave(cluster: &TestCluster) {
    lists::behave(cluster).await;
    writes::behave(cluster).await;
    refusals::behave(cluster).await;
    applies::behave(cluster).await;
    garbage::behave(cluster).await;
    watches::behave(cluster).await;
    tables::behave(cluster).await;
}
