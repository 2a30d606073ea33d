//! What the CA's rate limits hold back: a rate limit for each scope that it has closed, and the queue before it.
//!
//! A refusal closes exactly the scope that the CA names, until the time that it names. From then on those in queue are
//! let in one by one, at the pace of the limit where the CA's words tell it: those whose certificate is about to end
//! first, then first certificates, then renewals, each fairly between namespaces. Who waits holds no worker.
//!
//! Limit hits are journaled and survive restarts; queues are not, for whoever needs an order asks again.

pub mod guards;
mod hit;
mod queue;
mod rate_limit;
mod scope;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::domain::ingress::SecretKey;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::scheduling::priority::Priority;
use crate::domain::time::Timestamp;
pub use hit::LimitHit;
use queue::LimitQueue;
pub use rate_limit::{RateLimit, limit};
pub use scope::LimitScope;
use scope::domains;

/// All rate limits.
#[derive(Debug, Default)]
pub struct RateLimits {
    by_scope: BTreeMap<LimitScope, Limit>,
    /// When namespaces have passed closed ones lately.
    bypassed: HashMap<Arc<str>, Vec<Timestamp>>,
}

#[derive(Debug)]
struct Limit {
    hit: LimitHit,
    /// When the next may pass.
    opens: Timestamp,
    queue: LimitQueue,
    /// Let in, and not at the CA yet.
    admitted: HashSet<SecretKey>,
}

/// Where a stream waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LimitWait {
    /// What is closed.
    pub scope: LimitScope,
    /// In the words of the CA.
    pub detail: String,
    /// When its turn comes, if nothing changes.
    pub turn: Timestamp,
}

impl RateLimits {
    /// The rate limits as the journal left them. One that opened a moment ago had a line, and has it again soon: whoever comes
    /// first waits for its pace.
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

    /// The CA has closed a scope. Returns what is to be journaled; nothing when it was known to be closed for longer. Who
    /// was let in and is not at the CA yet waits again.
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

    /// Until when nothing at all is asked of the CA, if it is busy.
    pub fn busy_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.busy(now).map(|hit| hit.until)
    }

    /// Since when the CA is busy, without having taken an order in between.
    pub fn busy_since(&self, now: Timestamp) -> Option<Timestamp> {
        self.busy(now)?.since
    }

    fn busy(&self, now: Timestamp) -> Option<&LimitHit> {
        let hit = &self.by_scope.get(&LimitScope::Address)?.hit;
        (now < hit.until).then_some(hit)
    }

    /// The rate limits of all scopes that an order for these names is counted in.
    fn of_order(&self, names: &BTreeSet<DnsName>) -> impl Iterator<Item = &Limit> {
        let any = !self.by_scope.is_empty();
        let scopes = any.then(|| LimitScope::all_of(names)).into_iter().flatten();
        scopes.filter_map(|scope| self.by_scope.get(&scope))
    }

    /// Whether one more certificate of this namespace that is about to end may pass what is closed.
    pub fn may_bypass(&self, namespace: &str, now: Timestamp) -> bool {
        let bypassed = self.bypassed.get(namespace).into_iter().flatten();
        bypassed.filter(|at| now.since(**at) < limits::EMERGENCY_PAUSE).count()
            < limits::EMERGENCIES
    }

    /// An order of this namespace was sent though something was closed for it.
    pub fn record_bypass(&mut self, namespace: &Arc<str>, now: Timestamp) {
        self.bypassed.retain(|_, bypassed| {
            bypassed.retain(|at| now.since(*at) < limits::EMERGENCY_PAUSE);
            !bypassed.is_empty()
        });
        self.bypassed.entry(namespace.clone()).or_default().push(now);
    }

    /// What is to be journaled when an order for these names was opened: each rate limit that still has a line, closed until
    /// the next one's turn, so that a restart keeps the pace.
    pub fn paced(&self, names: &BTreeSet<DnsName>, now: Timestamp) -> Vec<LimitHit> {
        let paced = self
            .of_order(names)
            .filter(|limit| !limit.queue.is_empty() && limit.hit.until <= now && now < limit.opens);
        paced.map(|limit| LimitHit { until: limit.opens, ..limit.hit.clone() }).collect()
    }

    /// The closed scope that an order for these names has to wait for: the one it waits for already, else the one that
    /// opens last.
    pub fn blocking(
        &self,
        stream: &SecretKey,
        names: &BTreeSet<DnsName>,
        now: Timestamp,
    ) -> Option<LimitScope> {
        let closed = self.of_order(names).filter(|limit| !limit.admits(stream, now));
        let limit = closed.max_by_key(|limit| (limit.queue.has(stream), limit.opens))?;
        Some(limit.hit.scope.clone())
    }

    /// A stream waits for `scope`; `true` when it did not before. Where it waited for another, it leaves that queue.
    pub fn enqueue(
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

    /// A stream is at the CA: its turn is used. Rate limits that hold nobody back are forgotten.
    pub fn order_opened(&mut self, stream: &SecretKey, now: Timestamp) {
        self.by_scope.retain(|_, limit| {
            limit.queue.leave(stream);
            limit.admitted.remove(stream);
            now < limit.opens || !limit.queue.is_empty() || !limit.admitted.is_empty()
        });
    }

    /// A stream needs nothing of the CA any more, or cannot be helped now: a turn that it had is the next one's.
    pub fn leave(&mut self, stream: &SecretKey, now: Timestamp) {
        for limit in self.by_scope.values_mut() {
            if limit.admitted.contains(stream) && limit.hit.until <= now {
                limit.opens = limit.opens.min(now);
            }
        }
        self.order_opened(stream, now);
    }

    /// Lets the next one in that is wanted, if a rate limit is open for one.
    pub fn admit(
        &mut self,
        now: Timestamp,
        is_wanted: impl Fn(&SecretKey) -> bool,
    ) -> Option<SecretKey> {
        let mut open = self.by_scope.values_mut().filter(|limit| limit.opens <= now);
        let (limit, stream) = open.find_map(|limit| {
            let stream = limit.queue.next(&is_wanted)?;
            Some((limit, stream))
        })?;
        limit.admitted.insert(stream.clone());
        limit.opens = now + limit.hit.pace();
        Some(stream)
    }

    /// When to call [`admit`](Self::admit) again.
    pub fn next_opening(&self) -> Option<Timestamp> {
        self.by_scope
            .values()
            .filter(|limit| !limit.queue.is_empty())
            .map(|limit| limit.opens)
            .min()
    }

    /// Where a stream waits, if it does.
    pub fn waiting(&self, stream: &SecretKey) -> Option<LimitWait> {
        self.by_scope.values().find_map(|limit| {
            let ahead = limit.queue.ahead_of(stream)?;
            let turn = limit.opens + limit.hit.pace().saturating_mul(ahead);
            let LimitHit { scope, detail, .. } = limit.hit.clone();
            Some(LimitWait { scope, detail, turn })
        })
    }

    /// For each kind of scope, when the last of it lets the next one pass, and how many wait.
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

    /// Whether nothing is closed and nobody waits.
    pub fn is_empty(&self) -> bool {
        self.by_scope.is_empty()
    }

    /// What is closed at this moment or has a line: each with the time when the next may pass, how many wait, and when
    /// the last of them has its turn.
    pub fn closed(&self, now: Timestamp) -> impl Iterator<Item = ActiveLimit<'_>> {
        let shown = move |limit: &&Limit| now < limit.opens || !limit.queue.is_empty();
        self.by_scope.values().filter(shown).map(|limit| {
            let waiting = limit.queue.len();
            let last = limit.opens + limit.hit.pace().saturating_mul(waiting.saturating_sub(1));
            ActiveLimit { hit: &limit.hit, opens: limit.opens, waiting, last }
        })
    }
}

/// a rate limit, for people.
#[derive(Clone, Copy, Debug)]
pub struct ActiveLimit<'a> {
    /// What the CA said.
    pub hit: &'a LimitHit,
    /// When the next may pass.
    pub opens: Timestamp,
    /// How many wait.
    pub waiting: u32,
    /// When the last of them has its turn.
    pub last: Timestamp,
}

impl Limit {
    /// Nobody passes those in queue.
    fn admits(&self, stream: &SecretKey, now: Timestamp) -> bool {
        self.admitted.contains(stream) || (self.opens <= now && self.queue.is_empty())
    }
}

#[cfg(test)]
mod tests;
