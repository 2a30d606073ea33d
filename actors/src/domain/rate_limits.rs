//! Rate limits of the CA: one for each scope that was hit, with its queue of waiting orders.
//!
//! A refusal closes exactly the scope that the CA names, until the time that the CA names.
//! Afterwards the queue is admitted one by one, at the pace of the limit if the CA's text contains
//! one: nearly expired certificates first, then first certificates, then renewals, each fair
//! between namespaces. A waiting job holds no worker.
//!
//! Hits are journaled and survive restarts. Queues are not, because every job that needs an order
//! joins again.

pub mod forecast;
pub mod guards;
mod hit;
mod queue;
mod rate_limit;
mod scope;
pub mod shares;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::domain::ingress::SecretKey;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::scheduling::priority::Priority;
use crate::domain::time::Timestamp;
pub use hit::LimitHit;
use queue::LimitQueue;
pub use rate_limit::RateLimit;
pub use scope::LimitScope;

/// All rate limits of one CA.
#[derive(Debug, Default)]
pub struct RateLimits {
    by_scope: BTreeMap<LimitScope, Limit>,
    /// Times of recent bypasses, by namespace.
    bypassed: HashMap<Arc<str>, Vec<Timestamp>>,
}

#[derive(Debug)]
struct Limit {
    hit: LimitHit,
    /// Time at which the next order may pass.
    opens: Timestamp,
    queue: LimitQueue,
    /// Admitted Secrets without an open order yet.
    admitted: HashSet<SecretKey>,
}

/// Place of a Secret in a limit queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LimitWait {
    /// Name of the CA, where there are several.
    pub ca: Option<String>,
    /// Scope of the limit.
    pub scope: LimitScope,
    /// Message of the CA.
    pub detail: String,
    /// Estimated admission time, if nothing changes.
    pub turn: Timestamp,
}

impl RateLimits {
    /// Restores the rate limits from the journaled hits.
    ///
    /// A limit that ended recently had a queue, which forms again soon. So the first order waits
    /// for the limit's pace.
    pub fn of(limit_hits: impl IntoIterator<Item = LimitHit>, now: Timestamp) -> Self {
        let mut rate_limits = Self::default();
        for hit in limit_hits.into_iter().filter(|hit| !hit.is_over(now)) {
            let (scope, soon) = (hit.scope.clone(), now + hit.pace());
            rate_limits.close(hit);
            if let Some(limit) =
                rate_limits.by_scope.get_mut(&scope).filter(|limit| limit.opens <= now)
            {
                limit.opens = soon;
            }
        }
        rate_limits
    }

    /// Records a rate limit hit. Returns the hit to journal, or `None` if the scope is already
    /// closed for as long or longer.
    ///
    /// Admitted Secrets without an open order have to wait again.
    pub fn close(&mut self, hit: LimitHit) -> Option<LimitHit> {
        let before = self.by_scope.remove(&hit.scope);
        let first = before.as_ref().and_then(|limit| limit.hit.since);
        let (known, queue) = before.map(|limit| (limit.hit, limit.queue)).unzip();
        let known = known.filter(|known| known.until >= hit.until);
        let since = first.or(hit.since);
        let (is_new, hit) = (known.is_none(), known.unwrap_or(hit));
        let hit = LimitHit { since, ..hit };
        let (scope, opens, queue) = (hit.scope.clone(), hit.until, queue.unwrap_or_default());
        let new_hit = is_new.then(|| hit.clone());
        self.by_scope.insert(scope, Limit { hit, opens, queue, admitted: HashSet::new() });
        new_hit
    }

    /// End of the current pause of all CA requests, if the CA is busy: it refused a
    /// request with a `Retry-After`, for reasons of its own (HTTP 503, for example).
    pub(crate) fn busy_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.busy(now).map(|hit| hit.until)
    }

    /// Start of the current busy period, if the CA is busy. The period ends when an order opens
    /// while no other waits.
    pub(crate) fn busy_since(&self, now: Timestamp) -> Option<Timestamp> {
        self.busy(now)?.since
    }

    fn busy(&self, now: Timestamp) -> Option<&LimitHit> {
        let hit = &self.by_scope.get(&LimitScope::Address)?.hit;
        (now < hit.until).then_some(hit)
    }

    /// Limits of all scopes that count an order of `namespace` for `names`.
    fn of_order(&self, namespace: &str, names: &BTreeSet<DnsName>) -> impl Iterator<Item = &Limit> {
        let any = !self.by_scope.is_empty();
        let scopes = any.then(|| LimitScope::all_of(namespace, names)).into_iter().flatten();
        scopes.filter_map(|scope| self.by_scope.get(&scope))
    }

    /// Whether `namespace` may let one more nearly expired certificate bypass a rate limit (at most
    /// [`limits::EMERGENCIES`] within [`limits::EMERGENCY_PAUSE`]).
    pub(crate) fn may_bypass(&self, namespace: &str, now: Timestamp) -> bool {
        let bypassed = self.bypassed.get(namespace).into_iter().flatten();
        bypassed.filter(|at| now.since(**at) < limits::EMERGENCY_PAUSE).count()
            < limits::EMERGENCIES
    }

    /// Records that an order of `namespace` bypasses a rate limit.
    pub(crate) fn record_bypass(&mut self, namespace: &Arc<str>, now: Timestamp) {
        self.bypassed.retain(|_, bypassed| {
            bypassed.retain(|at| now.since(*at) < limits::EMERGENCY_PAUSE);
            !bypassed.is_empty()
        });
        self.bypassed.entry(namespace.clone()).or_default().push(now);
    }

    /// Returns the hits to journal after an order of `namespace` for `names` was opened: each ended
    /// limit that still has a queue, extended to its next admission, so that a restart keeps the
    /// pace. Shares are not journaled.
    pub(crate) fn paced(
        &self,
        namespace: &str,
        names: &BTreeSet<DnsName>,
        now: Timestamp,
    ) -> Vec<LimitHit> {
        let paced = self.of_order(namespace, names).filter(|limit| {
            let ended = limit.hit.until <= now && now < limit.opens;
            ended && !limit.queue.is_empty() && !limit.hit.scope.is_share()
        });
        paced.map(|limit| LimitHit { until: limit.opens, ..limit.hit.clone() }).collect()
    }

    /// Scope that blocks an order for `names`, if any: the scope whose queue `stream` is in
    /// already, else the one that opens last. Shares of namespaces count with `shares` only.
    pub(crate) fn blocking(
        &self,
        stream: &SecretKey,
        names: &BTreeSet<DnsName>,
        shares: bool,
        now: Timestamp,
    ) -> Option<LimitScope> {
        let all = self.of_order(&stream.namespace, names);
        let counted = all.filter(|limit| shares || !limit.hit.scope.is_share());
        let closed = counted.filter(|limit| !limit.admits(stream, now));
        let limit = closed.max_by_key(|limit| (limit.queue.has(stream), limit.opens))?;
        Some(limit.hit.scope.clone())
    }

    /// Adds `stream` to the queue of `scope` and removes `stream` from all other queues. Returns
    /// `true` if `stream` was not in this queue before, or is more urgent now.
    pub(crate) fn enqueue(
        &mut self,
        scope: &LimitScope,
        stream: &SecretKey,
        priority: Priority,
        now: Timestamp,
    ) -> bool {
        for (_, limit) in self.by_scope.iter_mut().filter(|(other, _)| *other != scope) {
            limit.queue.leave(stream);
        }
        self.by_scope.get_mut(scope).is_some_and(|limit| limit.queue.enqueue(stream, priority, now))
    }

    /// Records that the CA opened an order of `stream`, which uses up the admission. Drops limits
    /// that are open and have neither a queue nor admitted Secrets.
    pub(crate) fn order_opened(&mut self, stream: &SecretKey, now: Timestamp) {
        self.by_scope.retain(|_, limit| {
            limit.queue.leave(stream);
            limit.admitted.remove(stream);
            now < limit.opens || !limit.queue.is_empty() || !limit.admitted.is_empty()
        });
    }

    /// Removes `stream`, which needs no order now or cannot get one. An unused admission passes to
    /// the next in the queue.
    pub(crate) fn leave(&mut self, stream: &SecretKey, now: Timestamp) {
        for limit in self.by_scope.values_mut() {
            if limit.admitted.contains(stream) && limit.hit.until <= now {
                limit.opens = limit.opens.min(now);
            }
        }
        self.order_opened(stream, now);
    }

    /// Admits the next Secret from the queue of an open limit. Secrets for which `is_wanted`
    /// returns `false` are dropped from the queue.
    pub(crate) fn admit(
        &mut self,
        now: Timestamp,
        mut is_wanted: impl FnMut(&SecretKey) -> bool,
    ) -> Option<SecretKey> {
        let mut open = self.by_scope.values_mut().filter(|limit| limit.opens <= now);
        let (limit, stream) = open.find_map(|limit| {
            let stream = limit.queue.next(&mut is_wanted)?;
            Some((limit, stream))
        })?;
        limit.admitted.insert(stream.clone());
        limit.opens = now + limit.hit.pace();
        Some(stream)
    }

    /// Time of the next call of [`admit`](Self::admit), if any queue has a member.
    pub(crate) fn next_opening(&self) -> Option<Timestamp> {
        self.by_scope
            .values()
            .filter(|limit| !limit.queue.is_empty())
            .map(|limit| limit.opens)
            .min()
    }

    /// Place of `stream` in a limit queue, if any.
    pub fn waiting(&self, stream: &SecretKey) -> Option<LimitWait> {
        self.by_scope.values().find_map(|limit| {
            let ahead = limit.queue.ahead_of(stream)?;
            let turn = limit.opens + limit.hit.pace().saturating_mul(ahead);
            let LimitHit { scope, detail, .. } = limit.hit.clone();
            Some(LimitWait { ca: None, scope, detail, turn })
        })
    }

    /// Metrics of each kind of scope: its label, the latest time at which one of its limits lets an
    /// order pass (`None` if all are open), and the number of waiting Secrets.
    pub fn by_kind(
        &self,
        now: Timestamp,
    ) -> impl Iterator<Item = (&'static str, Option<Timestamp>, u32)> {
        LimitScope::KINDS.into_iter().map(move |kind| {
            let rate_limits = self.by_scope.values().filter(|limit| limit.hit.scope.kind() == kind);
            let closed = rate_limits.clone().map(|limit| limit.opens).filter(|opens| now < *opens);
            (kind, closed.max(), rate_limits.map(|limit| limit.queue.len()).sum())
        })
    }

    /// Whether there are no rate limits.
    pub fn is_empty(&self) -> bool {
        self.by_scope.is_empty()
    }

    /// Limits that are closed or have a queue at `now`.
    pub fn closed(&self, now: Timestamp) -> impl Iterator<Item = ActiveLimit<'_>> {
        let shown = move |limit: &&Limit| now < limit.opens || !limit.queue.is_empty();
        self.by_scope.values().filter(shown).map(|limit| {
            let waiting = limit.queue.len();
            let last = limit.opens + limit.hit.pace().saturating_mul(waiting.saturating_sub(1));
            ActiveLimit { hit: &limit.hit, opens: limit.opens, waiting, last }
        })
    }
}

/// A rate limit, for display.
#[derive(Clone, Copy, Debug)]
pub struct ActiveLimit<'a> {
    /// The hit.
    pub hit: &'a LimitHit,
    /// Time at which the next order may pass.
    pub opens: Timestamp,
    /// Number of waiting Secrets.
    pub waiting: u32,
    /// Estimated admission time of the last one.
    pub last: Timestamp,
}

impl Limit {
    /// Whether an order of `stream` may pass at `now`. No order overtakes the queue.
    fn admits(&self, stream: &SecretKey, now: Timestamp) -> bool {
        self.admitted.contains(stream) || (self.opens <= now && self.queue.is_empty())
    }
}

#[cfg(test)]
mod tests;
