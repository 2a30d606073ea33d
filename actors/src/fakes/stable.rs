//! Eventually stable reconciliation: the end of every test of faults.

use std::time::Duration;

use super::Fakes;

/// Longest pause after a failure is a day; the hours beyond are for scans.
const SETTLED_AFTER: Duration = Duration::from_hours(30);
/// Time without a write after that.
const QUIET: Duration = Duration::from_hours(24);
/// Port calls that change something in the cluster, in the journal or at a CA.
const WRITES: [&str; 9] = [
    "install",
    "set_owners",
    "fill_tls",
    "write_routes",
    "journal_create",
    "journal_delete",
    "open_order",
    "accept",
    "finalize",
];

impl Fakes {
    /// Lets a day and some hours pass after the last fault, and asserts that nothing is written in
    /// the day that follows, that no Event is sent, and that no work is left in memory, in the
    /// journal or in the solver Ingresses.
    ///
    /// # Panics
    /// When something is written or left.
    pub async fn assert_stable(&self) {
        self.pass(SETTLED_AFTER).await;
        let before = self.writes();
        self.pass(QUIET).await;
        assert_eq!(self.writes(), before, "(call, number) in a day without a fault");
        if let Some((registry, ledger)) = &*self.latest.borrow() {
            assert!(registry.is_empty(), "dedup actors are left: {:?}", registry.phases());
            ledger.for_each_live(|secret, state| panic!("{secret} is {}", state.name()));
        }
        assert!(self.cluster.routed().is_empty(), "routes: {:?}", self.cluster.routed());
    }

    fn writes(&self) -> Vec<(&'static str, usize)> {
        let calls = WRITES.map(|call| (call, self.cluster.calls(call)));
        calls.into_iter().chain([("Event", self.cluster.events_sent())]).collect()
    }
}
