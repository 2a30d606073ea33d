//! Ingresses of users that another writer puts back to what they were without our challenge path.
//!
//! A `GitOps` tool does so, and always wins. After the second time the path is not added again for
//! a while, and the user is told which writer it is. A path in an Ingress that was put back lately
//! is believed once it has stayed for a while: the CA would otherwise come when it is gone.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::{RouteTable, SolverName};
use crate::domain::cut::cut;
use crate::domain::ingress::SecretKey;
use crate::domain::limits;
use crate::domain::solver_place::SolverPlace;
use crate::domain::time::Timestamp;

/// Ingresses that were put back, for [`limits::PUT_BACK_KEPT`] after the last time.
#[derive(Debug, Default)]
pub(super) struct PutBacks(HashMap<SolverName, PutBack>);

#[derive(Debug)]
struct PutBack {
    times: u32,
    last: Timestamp,
    writer: Option<Arc<str>>,
}

impl PutBack {
    fn until(&self) -> Timestamp {
        self.last + limits::PUT_BACK_PAUSE
    }
}

/// Why a route has no place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Unplaced {
    /// Another writer puts the user's Ingress back.
    PutBack {
        /// The Ingress.
        ingress: SolverName,
        /// Name of the writer's field manager, if it is known.
        writer: Option<Arc<str>>,
        /// End of the pause.
        until: Timestamp,
    },
    /// The user's Ingress has the challenge paths of [`limits::HOSTS_PER_SOLVER_INGRESS`] hosts.
    Full(SolverName),
}

impl fmt::Display for Unplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PutBack { ingress, writer, until } => {
                let writer = writer.as_deref().unwrap_or("its field manager is not known");
                let writer = cut(writer, limits::SHOWN_MAX);
                write!(
                    f,
                    "another writer ({writer}) took the challenge path out of Ingress {ingress} again, twice, so it is \
                     not added again before {until}: let that program ignore spec.rules of this Ingress, or choose \
                     another place by the annotation ingress-acme.dev/solver-place"
                )
            }
            Self::Full(ingress) => write!(
                f,
                "Ingress {ingress} has the challenge paths of {} hosts, and gets more when some of them are done",
                limits::HOSTS_PER_SOLVER_INGRESS
            ),
        }
    }
}

impl PutBacks {
    /// Counts that `name` was put back; returns whether that is too often.
    pub(super) fn count(
        &mut self,
        name: &SolverName,
        writer: Option<Arc<str>>,
        now: Timestamp,
    ) -> bool {
        let none = || PutBack { times: 0, last: now, writer: None };
        let put_back = self.0.entry(name.clone()).or_insert_with(none);
        put_back.times = put_back.times.saturating_add(1);
        put_back.last = now;
        put_back.writer = writer.or(put_back.writer.take());
        put_back.times >= limits::PUT_BACKS
    }

    /// Why `name` gets no path, if it was put back too often.
    pub(super) fn refused(&self, name: &SolverName) -> Option<Unplaced> {
        let put_back = self.0.get(name).filter(|one| one.times >= limits::PUT_BACKS)?;
        let (writer, until) = (put_back.writer.clone(), put_back.until());
        Some(Unplaced::PutBack { ingress: name.clone(), writer, until })
    }

    /// Whether `name` was put back lately.
    pub(super) fn are_known(&self, name: &SolverName) -> bool {
        self.0.contains_key(name)
    }

    /// Ends pauses. One that is put back once more is refused again at once.
    pub(super) fn end_pauses(&mut self, now: Timestamp) {
        self.0.retain(|_, put_back| now < put_back.last + limits::PUT_BACK_KEPT);
        for put_back in self.0.values_mut().filter(|put_back| put_back.until() <= now) {
            put_back.times = put_back.times.min(limits::PUT_BACKS - 1);
        }
    }
}

impl RouteTable {
    /// Why a route of `stream` has no place, if one has none.
    pub(crate) fn unplaced(&self, stream: &SecretKey) -> Option<Unplaced> {
        let routes = self.of_stream.get(stream).into_iter().flatten();
        let unplaced = routes.filter(|route| !self.routes.contains_key(*route));
        let in_place = unplaced.filter_map(|route| match &route.place {
            SolverPlace::InPlace(key) => Some(SolverName::of(key)),
            _ => None,
        });
        in_place.map(|name| self.put_backs.refused(&name).unwrap_or(Unplaced::Full(name))).next()
    }
}
