//! One solver Ingress as desired, and as the API server last had it.

use std::collections::BTreeSet;

use super::SolverIngress;
use crate::domain::desired::desired_certificate::Route;
use crate::domain::ingress::IngressClass;
use crate::domain::limits;
use crate::domain::rule_host::RuleHost;
use crate::domain::solver_place::SolverPlace;
use crate::domain::time::Timestamp;

#[derive(Debug)]
pub(super) struct SolverShard {
    pub(super) class: IngressClass,
    pub(super) place: SolverPlace,
    pub(super) hosts: BTreeSet<RuleHost>,
    /// Hosts in the last write that the API server accepted.
    pub(super) taken: BTreeSet<RuleHost>,
    /// Hosts of `taken` that a write removes or may have removed.
    pub(super) leaving: BTreeSet<RuleHost>,
    /// `metadata.creationTimestamp`; `None` before the first write.
    created: Option<Timestamp>,
    /// `metadata.generation` after the last write, or as last seen.
    pub(super) generation: i64,
    /// Time of the last write.
    pub(super) written: Timestamp,
    pub(super) dirty: bool,
    /// Whether the write in flight deletes the solver Ingress.
    pub(super) is_being_deleted: bool,
    /// Whether the shard is reserved for one host of a refused batch.
    pub(super) solo: bool,
    /// Earliest time of the next write, set after a failed one. Other shards are written meanwhile.
    pub(super) not_before: Option<Timestamp>,
}

impl SolverShard {
    pub(super) fn new(class: IngressClass, place: SolverPlace) -> Self {
        Self {
            class,
            place,
            hosts: BTreeSet::new(),
            taken: BTreeSet::new(),
            leaving: BTreeSet::new(),
            created: None,
            generation: 0,
            written: Timestamp::default(),
            dirty: false,
            is_being_deleted: false,
            solo: false,
            not_before: None,
        }
    }

    /// A shard that is written with one route, no earlier than at `not_before`.
    pub(super) fn of(route: &Route, not_before: Option<Timestamp>) -> Self {
        let hosts = BTreeSet::from([route.rule.clone()]);
        Self {
            hosts,
            dirty: true,
            not_before,
            ..Self::new(route.class.clone(), route.place.clone())
        }
    }

    /// Whether the API server has the host, for certain.
    pub(super) fn has(&self, host: &RuleHost) -> bool {
        self.taken.contains(host) && !self.leaving.contains(host)
    }

    /// Whether a host is of the kind of those that are here: annotations that put exact names
    /// before the rules of users would give wildcards the challenges of others.
    pub(super) fn takes(&self, host: &RuleHost) -> bool {
        let mut others = [self.hosts.first(), self.taken.first()].into_iter().flatten();
        others.all(|other| other.is_like(host))
    }

    /// Records what the API server has.
    pub(super) fn is_now(&mut self, found: &SolverIngress) {
        self.taken.clone_from(&found.hosts);
        self.leaving.clear();
        self.created = found.created;
        self.generation = found.generation;
    }

    /// Records that the API server has no such solver Ingress.
    pub(super) fn is_gone(&mut self) {
        self.taken.clear();
        self.leaving.clear();
        self.created = None;
    }

    /// Whether a host may be here: its newest user Ingress, created at `newest`, has to be older.
    /// A shard that is to be created is younger than all.
    pub(super) fn is_younger_than(&self, newest: Timestamp) -> bool {
        self.created.is_none_or(|created| created > newest)
    }

    /// Time at which a shard that is created is younger than `newest`; `None` if this one is. One
    /// that was created just now and is not shows how far behind the API server's clock is.
    pub(super) fn young_from(&self, newest: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let created = self.created.filter(|created| *created <= newest)?;
        Some(now + newest.since(created) + limits::CREATION_STEP)
    }
}
