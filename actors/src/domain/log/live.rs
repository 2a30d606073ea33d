//! Live records of a log: the records of all event streams that are not idle, reduced to the fewest
//! that fold to the same state.

use std::collections::BTreeMap;

use crate::domain::ingress::SecretKey;
use crate::domain::issuance::{Event, RateLimitHit, Record};
use crate::domain::rate_limits::LimitScope;
use crate::domain::time::Timestamp;

/// Failures kept per event stream: enough to repeat the whole backoff sequence on replay.
const FAILURES: usize = 8;

/// Live records by event stream, and rate limit hits by directory and scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    by_stream: BTreeMap<SecretKey, Vec<Record>>,
    closed: BTreeMap<(String, LimitScope), Record>,
}

impl Live {
    /// Adds the next record. The end of an issuance drops the records of its event stream; a
    /// failure keeps only failures.
    pub fn keep(&mut self, record: Record) {
        match &record.event {
            // A subset of the names has a certificate; the failures of the others are kept.
            Event::CertificateInstalled(installed) if !installed.left_out.is_empty() => {
                let records = self.by_stream.entry(record.stream).or_default();
                records.retain(|kept| matches!(kept.event, Event::IssuanceFailed(_)));
            }
            Event::CertificateInstalled(_) | Event::IssuanceAbandoned(_) => {
                self.by_stream.remove(&record.stream);
            }
            Event::IssuanceFailed(_) => {
                let records = self.by_stream.entry(record.stream.clone()).or_default();
                records.retain(|kept| matches!(kept.event, Event::IssuanceFailed(_)));
                let surplus = (records.len() + 1).saturating_sub(FAILURES);
                records.drain(..surplus);
                records.push(record);
            }
            Event::RateLimitHit(RateLimitHit { directory, hit }) => {
                let (key, now) = ((directory.clone(), hit.scope.clone()), record.at);
                self.closed.retain(|_, closed| !is_over(closed, now));
                self.closed.insert(key, record);
            }
            _ => self.by_stream.entry(record.stream.clone()).or_default().push(record),
        }
    }

    /// All live records, in order within each event stream.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.closed.values().chain(self.by_stream.values().flatten())
    }

    /// Number of event streams that are not idle.
    pub fn len(&self) -> usize {
        self.by_stream.len()
    }

    /// Whether there are no live records.
    pub fn is_empty(&self) -> bool {
        self.by_stream.is_empty() && self.closed.is_empty()
    }
}

/// Whether the rate limit hit of `closed` has no effect any more at `now`.
fn is_over(closed: &Record, now: Timestamp) -> bool {
    matches!(&closed.event, Event::RateLimitHit(limited) if limited.hit.is_over(now))
}
