//! Faults of requests, chosen by seed, and the order of requests.
//!
//! A seed must lead to the same requests whenever it is played, though the operator walks through
//! its hash tables in any order. So the fault and the latency of a request depend on the seed, on
//! its kind (method and path, in most cases) and on how often that kind came; and requests that are
//! due in the same millisecond are executed in the order of their kinds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ingress_acme_actors::domain::hash::stable_hash;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Longest latency of a request without a fault, in milliseconds.
const LATENCY: u64 = 40;
/// Time that a stalled request takes.
pub(crate) const STALL: Duration = Duration::from_secs(30);

/// Fault of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection breaks before the request is executed.
    Dropped,
    /// The request is executed, and the connection breaks before the response.
    Unanswered,
    /// The request is not executed; this status, and `Retry-After` in seconds, if any.
    Refused(u16, Option<u64>),
    /// The request is executed, and half of the response comes.
    Cut,
    /// The request is executed, and the response is a page of something else.
    Garbage,
    /// Nothing comes for [`STALL`]; then the connection breaks. The request is not executed.
    Stalled,
    /// The response comes after [`STALL`].
    Late,
    /// Somebody else writes the object before the request is executed.
    Overtaken,
    /// A certificate of another key in place of the right one (of the CA only).
    WrongKey,
    /// A chain whose intermediate belongs to another CA (of the CA only).
    WrongChain,
}

const KINDS: [Fault; 15] = [
    Fault::Dropped,
    Fault::Unanswered,
    Fault::Refused(429, Some(1)),
    Fault::Refused(429, None),
    Fault::Refused(500, None),
    Fault::Refused(503, Some(20)),
    Fault::Refused(503, None),
    Fault::Cut,
    Fault::Garbage,
    Fault::Stalled,
    Fault::Late,
    Fault::Overtaken,
    Fault::Overtaken,
    Fault::WrongKey,
    Fault::WrongChain,
];

/// Requests that are due in one millisecond: kind, and sender of the turn.
type Due = Arc<Mutex<Vec<(String, oneshot::Sender<()>)>>>;

/// Faults of one seed.
pub(crate) struct Schedule {
    seed: u64,
    on: AtomicBool,
    /// Faulty requests of a thousand.
    share: AtomicU64,
    asked: Mutex<HashMap<u64, u64>>,
    met: AtomicU64,
    began: Instant,
    /// Requests that are due in this millisecond.
    due: Due,
}

impl Schedule {
    pub(crate) fn of(seed: u64) -> Self {
        let (on, share) = (AtomicBool::new(true), AtomicU64::new(60 + stable_hash(seed) % 200));
        let (asked, met, began) = (Mutex::default(), AtomicU64::new(0), Instant::now());
        Self { seed, on, share, asked, met, began, due: Arc::default() }
    }

    /// Ends all faults.
    pub(crate) fn end(&self) {
        self.on.store(false, Ordering::Relaxed);
    }

    /// Number of faults so far.
    pub(crate) fn met(&self) -> u64 {
        self.met.load(Ordering::Relaxed)
    }

    /// Waits for the latency of the next request of this kind, and for its turn. Returns its fault.
    pub(crate) async fn turn(&self, request: &str) -> (Duration, Option<Fault>) {
        let (latency, fault) = self.next(request);
        tokio::time::sleep(latency).await;
        let (ours, turn) = oneshot::channel();
        let is_first = {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            due.push((request.to_owned(), ours));
            due.len() == 1
        };
        if is_first {
            tokio::spawn(in_order(self.due.clone()));
        }
        _ = turn.await; // the sender is kept until it was used
        (latency, fault)
    }

    /// Latency and fault of the next request of this kind.
    pub(crate) fn next(&self, request: &str) -> (Duration, Option<Fault>) {
        let kind = stable_hash((self.seed, request));
        let count = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let count = asked.entry(kind).or_default();
            *count += 1;
            *count
        };
        let dice = stable_hash((kind, count, "dice"));
        let latency = Duration::from_millis(1 + stable_hash((kind, count, "latency")) % LATENCY);
        let is_met =
            self.on.load(Ordering::Relaxed) && dice % 1_000 < self.share.load(Ordering::Relaxed);
        let fault = is_met.then(|| {
            self.met.fetch_add(1, Ordering::Relaxed);
            let kinds = u64::try_from(KINDS.len()).expect("they are few");
            let chosen = usize::try_from(stable_hash((kind, count, "kind")) % kinds);
            KINDS[chosen.expect("it is an index")]
        });
        tracing::debug!(at = ?self.began.elapsed(), request, count, ?fault, "request");
        (latency, fault)
    }
}

/// Lets the requests of this millisecond go in the order of their kinds.
async fn in_order(due: Due) {
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut now = std::mem::take(&mut *due.lock().unwrap_or_else(PoisonError::into_inner));
    now.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (_, turn) in now {
        _ = turn.send(()); // its process may have been killed
        tokio::task::yield_now().await;
    }
}
