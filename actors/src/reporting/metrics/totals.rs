//! Counters as plain numbers, for displays other than Prometheus.

use super::labels::{ByReason, ByState, IssueKind, Source};
use super::{Metrics, Timestamp};
use crate::domain::failure::FailureClass;

/// Main metrics at one moment. Counters start with the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Managed Ingresses.
    pub managed: usize,
    /// Certificates installed.
    pub issued: u64,
    /// Failed attempts.
    pub failed: u64,
    /// Events on Ingresses.
    pub events: u64,
    /// Events that were coalesced with another one.
    pub coalesced: u64,
    /// Certificates that wait for a slot.
    pub queued: usize,
    /// Certificates with a job at a worker.
    pub running: usize,
    /// Certificates that wait for the CA, a route or a pause.
    pub parked: usize,
    /// Arrival time of the job that has waited longest for a slot.
    pub oldest_queued: Option<Timestamp>,
    /// End of the last scan.
    pub last_scan: Option<Timestamp>,
}

impl Metrics {
    /// Returns the current totals.
    pub fn totals(&self) -> Totals {
        let (events, coalesced) = self.event_counts();
        let kinds = [IssueKind::First, IssueKind::Renew, IssueKind::Replace];
        let issued = |kind: IssueKind| self.issued.get_or_create(&kind.label()).get();
        let failed = |class: FailureClass| {
            self.failed.get_or_create(&ByReason { reason: class.label() }).get()
        };
        let runs = |state| count(self.runs.get_or_create(&ByState { state }).get());
        Totals {
            managed: count(self.ingresses.get()),
            issued: kinds.map(issued).iter().sum(),
            failed: FailureClass::ALL.map(failed).iter().sum(),
            events,
            coalesced,
            queued: runs("queued"),
            running: runs("running"),
            parked: runs("parked"),
            oldest_queued: moment(self.oldest_queued.get()),
            last_scan: moment(self.last_scan.get()),
        }
    }

    /// Returns the number of events and the number of coalesced ones, for tests and the demo's
    /// table.
    pub fn event_counts(&self) -> (u64, u64) {
        let of = |source: Source| self.events.get_or_create(&source.label()).get();
        (of(Source::Watch) + of(Source::Scan), self.coalesced.get())
    }
}

fn count(gauge: i64) -> usize {
    usize::try_from(gauge).unwrap_or(0)
}

/// Reads a gauge of a time; 0 means none.
fn moment(gauge: i64) -> Option<Timestamp> {
    (gauge != 0).then(|| Timestamp::from_secs(gauge))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_what_was_counted() {
        let metrics = Metrics::default();
        assert_eq!(metrics.totals(), Totals::default());
        metrics.event(Source::Watch);
        metrics.event(Source::Scan);
        metrics.event_coalesced();
        metrics.issued(IssueKind::Renew, std::time::Duration::from_secs(1));
        metrics.failed(FailureClass::Dns);
        metrics.scanned(Timestamp::from_secs(7));
        let expected = Totals {
            events: 2,
            coalesced: 1,
            issued: 1,
            failed: 1,
            last_scan: Some(Timestamp::from_secs(7)),
            ..Totals::default()
        };
        assert_eq!(metrics.totals(), expected);
    }
}
