//! What of a log still matters: the records of streams that are not idle, as few as fold to the same state.

use std::collections::BTreeMap;

use crate::domain::ingress::SecretKey;
use crate::domain::issuance::{Event, RateLimitHit, Record};
use crate::domain::rate_limits::LimitScope;
use crate::domain::time::Timestamp;

/// Failures remembered per stream: enough to climb the whole backoff ladder on replay.
const FAILURES: usize = 8;

/// The live records, by stream, and what the CA has closed, by directory and scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    by_stream: BTreeMap<SecretKey, Vec<Record>>,
    closed: BTreeMap<(String, LimitScope), Record>,
}

impl Live {
    /// Takes in the next record: an issuance that ended leaves nothing, one that failed leaves its failures.
    pub fn keep(&mut self, record: Record) {
        match &record.event {
            // A subset of the names has a certificate; what fails the others is remembered.
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

    /// All of them; within a stream in their order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.closed.values().chain(self.by_stream.values().flatten())
    }

    /// Streams that are not idle.
    pub fn len(&self) -> usize {
        self.by_stream.len()
    }

    /// Whether nothing is live.
    pub fn is_empty(&self) -> bool {
        self.by_stream.is_empty() && self.closed.is_empty()
    }
}

/// A scope that was open again at `now`, and for long.
fn is_over(closed: &Record, now: Timestamp) -> bool {
    matches!(&closed.event, Event::RateLimitHit(limited) if limited.hit.is_over(now))
}
