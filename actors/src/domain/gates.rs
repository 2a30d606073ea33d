//! What the CA's rate limits hold back: a gate for each scope that it has closed, and the line before it.
//!
//! A refusal closes exactly the scope that the CA names, until the time that it names. From then on those in line are
//! let in one by one, at the pace of the limit where the CA's words tell it: those whose certificate is about to end
//! first, then first certificates, then renewals, each fairly between namespaces. Who waits holds no worker.
//!
//! Closings are journaled and survive restarts; lines are not, for whoever needs an order asks again.

mod closing;
mod line;
mod scope;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::ingress::SecretKey;
use super::limits;
use super::name::DnsName;
use super::need::Need;
use super::time::Timestamp;
pub use closing::Closing;
use line::Line;
pub use scope::Scope;
use scope::domains;
pub use words::{Limit, limit};

/// All gates.
#[derive(Debug, Default)]
pub struct Gates {
    by_scope: BTreeMap<Scope, Gate>,
    /// When namespaces have passed closed ones lately.
    passed: HashMap<Arc<str>, Vec<Timestamp>>,
}

#[derive(Debug)]
struct Gate {
    closing: Closing,
    /// When the next may pass.
    opens: Timestamp,
    line: Line,
    /// Let in, and not at the CA yet.
    admitted: HashSet<SecretKey>,
}

/// Where a stream waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// What is closed.
    pub scope: Scope,
    /// In the words of the CA.
    pub detail: String,
    /// When its turn comes, if nothing changes.
    pub turn: Timestamp,
}

impl Gates {
    /// The gates as the journal left them. One that opened a moment ago had a line, and has it again soon: whoever comes
    /// first waits for its pace.
    pub fn of(closings: impl IntoIterator<Item = Closing>, now: Timestamp) -> Self {
        let mut gates = Self::default();
        for closing in closings.into_iter().filter(|closing| !closing.is_forgotten(now)) {
            let (scope, soon) = (closing.scope.clone(), now + closing.pace());
            gates.close(closing);
            if let Some(gate) = gates.by_scope.get_mut(&scope).filter(|gate| gate.opens <= now) {
                gate.opens = soon;
            }
        }
        gates
    }

    /// The CA has closed a scope. Returns what is to be journaled; nothing when it was known to be closed for longer. Who
    /// was let in and is not at the CA yet waits again.
    pub fn close(&mut self, closing: Closing) -> Option<Closing> {
        let before = self.by_scope.remove(&closing.scope);
        let first = before.as_ref().and_then(|gate| gate.closing.since);
        let (known, line) = before.map(|gate| (gate.closing, gate.line)).unzip();
        let known = known.filter(|known| known.until >= closing.until);
        let since = first.or(closing.since);
        let (is_new, closing) = (known.is_none(), known.unwrap_or(closing));
        let closing = Closing { since, ..closing };
        let (scope, opens, line) = (closing.scope.clone(), closing.until, line.unwrap_or_default());
        let told = is_new.then(|| closing.clone());
        self.by_scope.insert(scope, Gate { closing, opens, line, admitted: HashSet::new() });
        told
    }

    /// Until when nothing at all is asked of the CA, if it is busy.
    pub fn busy_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.busy(now).map(|closing| closing.until)
    }

    /// Since when the CA is busy, without having taken an order in between.
    pub fn busy_since(&self, now: Timestamp) -> Option<Timestamp> {
        self.busy(now)?.since
    }

    fn busy(&self, now: Timestamp) -> Option<&Closing> {
        let closing = &self.by_scope.get(&Scope::Address)?.closing;
        (now < closing.until).then_some(closing)
    }

    /// The gates of all scopes that an order for these names is counted in.
    fn of_order(&self, names: &BTreeSet<DnsName>) -> impl Iterator<Item = &Gate> {
        let any = !self.by_scope.is_empty();
        let scopes = any.then(|| Scope::all_of(names)).into_iter().flatten();
        scopes.filter_map(|scope| self.by_scope.get(&scope))
    }

    /// Whether one more certificate of this namespace that is about to end may pass what is closed.
    pub fn lets_pass(&self, namespace: &str, now: Timestamp) -> bool {
        let passed = self.passed.get(namespace).into_iter().flatten();
        passed.filter(|at| now.since(**at) < limits::EMERGENCY_PAUSE).count() < limits::EMERGENCIES
    }

    /// An order of this namespace was sent though something was closed for it.
    pub fn passed_closed(&mut self, namespace: &Arc<str>, now: Timestamp) {
        self.passed.retain(|_, passed| {
            passed.retain(|at| now.since(*at) < limits::EMERGENCY_PAUSE);
            !passed.is_empty()
        });
        self.passed.entry(namespace.clone()).or_default().push(now);
    }

    /// What is to be journaled when an order for these names was opened: each gate that still has a line, closed until
    /// the next one's turn, so that a restart keeps the pace.
    pub fn paced(&self, names: &BTreeSet<DnsName>, now: Timestamp) -> Vec<Closing> {
        let paced = self
            .of_order(names)
            .filter(|gate| !gate.line.is_empty() && gate.closing.until <= now && now < gate.opens);
        paced.map(|gate| Closing { until: gate.opens, ..gate.closing.clone() }).collect()
    }

    /// The closed scope that an order for these names has to wait for: the one it waits for already, else the one that
    /// opens last.
    pub fn bar(
        &self,
        stream: &SecretKey,
        names: &BTreeSet<DnsName>,
        now: Timestamp,
    ) -> Option<Scope> {
        let closed = self.of_order(names).filter(|gate| !gate.lets_in(stream, now));
        let gate = closed.max_by_key(|gate| (gate.line.has(stream), gate.opens))?;
        Some(gate.closing.scope.clone())
    }

    /// A stream waits for `scope`; `true` when it did not before. Where it waited for another, it leaves that line.
    pub fn wait(&mut self, scope: &Scope, stream: &SecretKey, need: Need, now: Timestamp) -> bool {
        for (_, gate) in self.by_scope.iter_mut().filter(|(other, _)| *other != scope) {
            gate.line.leave(stream);
        }
        self.by_scope.get_mut(scope).is_some_and(|gate| gate.line.join(stream, need, now))
    }

    /// A stream is at the CA: its turn is used. Gates that hold nobody back are forgotten.
    pub fn pass(&mut self, stream: &SecretKey, now: Timestamp) {
        self.by_scope.retain(|_, gate| {
            gate.line.leave(stream);
            gate.admitted.remove(stream);
            now < gate.opens || !gate.line.is_empty() || !gate.admitted.is_empty()
        });
    }

    /// A stream needs nothing of the CA any more, or cannot be helped now: a turn that it had is the next one's.
    pub fn leave(&mut self, stream: &SecretKey, now: Timestamp) {
        for gate in self.by_scope.values_mut() {
            if gate.admitted.contains(stream) && gate.closing.until <= now {
                gate.opens = gate.opens.min(now);
            }
        }
        self.pass(stream, now);
    }

    /// Lets the next one in that is wanted, if a gate is open for one.
    pub fn admit(
        &mut self,
        now: Timestamp,
        is_wanted: impl Fn(&SecretKey) -> bool,
    ) -> Option<SecretKey> {
        let mut open = self.by_scope.values_mut().filter(|gate| gate.opens <= now);
        let (gate, stream) = open.find_map(|gate| {
            let stream = gate.line.next(&is_wanted)?;
            Some((gate, stream))
        })?;
        gate.admitted.insert(stream.clone());
        gate.opens = now + gate.closing.pace();
        Some(stream)
    }

    /// When to call [`admit`](Self::admit) again.
    pub fn next_opening(&self) -> Option<Timestamp> {
        self.by_scope.values().filter(|gate| !gate.line.is_empty()).map(|gate| gate.opens).min()
    }

    /// Where a stream waits, if it does.
    pub fn waiting(&self, stream: &SecretKey) -> Option<Waiting> {
        self.by_scope.values().find_map(|gate| {
            let ahead = gate.line.ahead_of(stream)?;
            let turn = gate.opens + gate.closing.pace().saturating_mul(ahead);
            let Closing { scope, detail, .. } = gate.closing.clone();
            Some(Waiting { scope, detail, turn })
        })
    }

    /// For each kind of scope, when the last of it lets the next one pass, and how many wait.
    pub fn by_kind(
        &self,
        now: Timestamp,
    ) -> impl Iterator<Item = (&'static str, Option<Timestamp>, u32)> {
        Scope::KINDS.into_iter().map(move |kind| {
            let gates = self.by_scope.values().filter(|gate| gate.closing.scope.kind() == kind);
            let closed = gates.clone().map(|gate| gate.opens).filter(|opens| now < *opens);
            (kind, closed.max(), gates.map(|gate| gate.line.len()).sum())
        })
    }

    /// Whether nothing is closed and nobody waits.
    pub fn is_empty(&self) -> bool {
        self.by_scope.is_empty()
    }

    /// What is closed at this moment or has a line: each with the time when the next may pass, how many wait, and when
    /// the last of them has its turn.
    pub fn closed(&self, now: Timestamp) -> impl Iterator<Item = Closed<'_>> {
        let shown = move |gate: &&Gate| now < gate.opens || !gate.line.is_empty();
        self.by_scope.values().filter(shown).map(|gate| {
            let waiting = gate.line.len();
            let last = gate.opens + gate.closing.pace().saturating_mul(waiting.saturating_sub(1));
            Closed { closing: &gate.closing, opens: gate.opens, waiting, last }
        })
    }
}

/// A gate, for people.
#[derive(Clone, Copy, Debug)]
pub struct Closed<'a> {
    /// What the CA said.
    pub closing: &'a Closing,
    /// When the next may pass.
    pub opens: Timestamp,
    /// How many wait.
    pub waiting: u32,
    /// When the last of them has its turn.
    pub last: Timestamp,
}

impl Gate {
    /// Nobody passes those in line.
    fn lets_in(&self, stream: &SecretKey, now: Timestamp) -> bool {
        self.admitted.contains(stream) || (self.opens <= now && self.line.is_empty())
    }
}

#[cfg(test)]
mod tests;
