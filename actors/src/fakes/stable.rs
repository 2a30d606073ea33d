//! Eventually stable reconciliation: the end of every test of faults.

use std::time::Duration;

use super::Fakes;
use crate::domain::certificate::CertificateView;
use crate::domain::ingress::SecretKey;
use crate::domain::validity::expiries::Expiries;
use crate::reporting::reporter::{Describe, StateDump};

/// Longest pause after a failure is a day; the hours beyond are for scans.
const SETTLED_AFTER: Duration = Duration::from_hours(30);
/// Time without a write after that.
const QUIET: Duration = Duration::from_hours(24);
/// Life of certificates that are issued from the end of a test on: none is due on the quiet day.
const LONG_LIFE: Duration = Duration::from_hours(365 * 24);
/// Life below which a certificate may be due on the quiet day.
const SHORT_LIFE: Duration = Duration::from_hours(30 * 24);
/// Hours within which a certificate of a short life is renewed. One that is not, because another
/// namespace has its host for example, has expired then.
const RENEWED_WITHIN_HOURS: u32 = 10 * 24;
/// Largest number of writes of one kind in one attempt: its start, its order and its failure in the
/// journal, for example.
const CALLS_OF_AN_ATTEMPT: usize = 3;
/// Port calls that change something in the cluster, in the journal or at a CA.
pub const WRITES: [&str; 10] = [
    "install",
    "set_metadata",
    "fill_tls",
    "take_back_tls",
    "write_routes",
    "journal_create",
    "journal_delete",
    "open_order",
    "accept",
    "finalize",
];

/// Attempts of a day that the rules of failures allow while a fault lasts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retries {
    /// All attempts: each may write the routes, the journal and an Event.
    pub attempts: usize,
    /// Those that reach the CA.
    pub orders: usize,
}

impl Retries {
    /// Largest number of calls with this name.
    fn most(self, call: &str) -> usize {
        match call {
            "open_order" | "accept" | "finalize" => self.orders,
            _ => CALLS_OF_AN_ATTEMPT * self.attempts,
        }
    }
}

impl Fakes {
    /// Lets a day and some hours pass after the last fault, and asserts that nothing is written in
    /// the day that follows, that no Event is sent, and that no work is left in memory, in the
    /// journal or in the solver Ingresses. Certificates of a short life are renewed by long-lived
    /// ones first, so that none is due on that day.
    ///
    /// # Panics
    /// When something is written or left.
    pub async fn assert_stable(&self) {
        self.settle().await;
        self.assert_quiet_day(Retries::default()).await;
        self.pass(Duration::from_secs(10)).await; // a scan that looks at hosts this moment
        if let Some(dump) = self.dump().await {
            assert!(dump.ingresses.is_empty(), "dedup actors are left: {:?}", dump.ingresses);
            assert!(dump.streams.is_empty(), "streams are left: {:?}", dump.streams);
            assert!(dump.runs.is_empty(), "jobs are left: {:?}", dump.runs);
        }
        assert!(self.cluster.routed().is_empty(), "routes: {:?}", self.cluster.routed());
    }

    /// As [`assert_stable`](Self::assert_stable), where a fault lasts: on the quiet day there are
    /// no more attempts than `retries`, and `failing` Secrets at most are left in memory.
    ///
    /// # Panics
    /// When there are more, or something else is written.
    pub async fn assert_only_retries(&self, failing: usize, retries: Retries) {
        self.settle().await;
        self.assert_quiet_day(retries).await;
        if let Some(dump) = self.dump().await {
            assert!(dump.ingresses.len() <= failing, "dedup actors: {:?}", dump.ingresses);
            assert!(dump.streams.len() <= failing, "streams: {:?}", dump.streams);
            assert!(dump.runs.len() <= failing, "jobs: {:?}", dump.runs);
        }
    }

    async fn settle(&self) {
        for ca in [&self.ca, &self.fallback] {
            ca.set_life(LONG_LIFE);
        }
        self.pass(SETTLED_AFTER).await;
        for _ in 0..RENEWED_WITHIN_HOURS {
            if self.short_lived().is_empty() {
                return;
            }
            self.pass(Duration::from_hours(1)).await;
        }
    }

    /// Secrets of ours that an Ingress names and whose certificate may be due soon.
    fn short_lived(&self) -> Vec<SecretKey> {
        let latest = self.latest.borrow();
        let Some(operator) = &*latest else { return Vec::new() };
        let index = operator.index.borrow();
        let certificates = self.cluster.certificates(self.install_id).into_iter();
        let is_short = |view: &CertificateView| view.not_after.since(view.not_before) < SHORT_LIFE;
        let wanted = certificates.filter(|(secret, _)| index.is_wanted(secret));
        wanted.filter(|(_, view)| is_short(view)).map(|(secret, _)| secret).collect()
    }

    async fn assert_quiet_day(&self, retries: Retries) {
        let (before, known) = (self.writes(), self.known());
        self.pass(QUIET).await;
        for ((call, before), (_, after)) in before.into_iter().zip(self.writes()) {
            let most = retries.most(call);
            let more = after - before;
            assert!(more <= most, "{more} of `{call}` in a quiet day, and not {most} at most");
        }
        assert_eq!(self.known(), known, "(Ingresses, certificates) in memory");
    }

    /// Numbers of Ingresses and of certificates that the latest operator has in memory.
    fn known(&self) -> Option<(usize, usize)> {
        let latest = self.latest.borrow();
        let operator = latest.as_ref()?;
        let ingresses = operator.index.borrow().managed_count();
        Some((ingresses, self.shown.expiries.read(Expiries::len)))
    }

    /// State of the latest operator, if it runs.
    async fn dump(&self) -> Option<StateDump> {
        let reporter = self.latest.borrow().as_ref()?.reporter.clone();
        reporter.send(Describe).await.ok()
    }

    fn writes(&self) -> Vec<(&'static str, usize)> {
        let calls = WRITES.map(|call| (call, self.cluster.calls(call)));
        calls.into_iter().chain([("Event", self.cluster.events_sent())]).collect()
    }
}
