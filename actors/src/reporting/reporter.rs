//! Tells what is going on, at any time and without key material: everything ([`Describe`]), one page of the Ingresses
//! ([`ListIngresses`]), or what matters most ([`GetOverview`]).
//!
//! It asks nobody outside: all it tells is in memory. What may be long is cut here, so that no question takes the
//! arbiter's time for long.

#[cfg(test)]
mod contracts;
mod dump;
mod listing;
mod overview;
mod rows;

use std::rc::Rc;

use actix::prelude::*;

use crate::context::OperatorContext;
use crate::dedup::registry::Registry;
use crate::pool::actor::Pool;

pub use dump::{Describe, IngressDump, StateDump, StreamDump};
pub use listing::{CertificateRow, IngressRow, ListIngresses, Listing, PhaseDump};
pub use overview::{
    CertificateInProgress, ExpiringCertificate, FailingCertificate, GetOverview, Overview,
};
pub use rows::{ClosedDump, FailureDump, JobDump, WaitDump};

/// What a replica with a reporter is.
pub const LEADER: &str = "leader";

/// The actor.
pub struct Reporter {
    context: Rc<OperatorContext>,
    registry: Rc<Registry>,
    pool: Addr<Pool>,
}

impl Reporter {
    /// A reporter on these.
    pub fn new(context: Rc<OperatorContext>, registry: Rc<Registry>, pool: Addr<Pool>) -> Self {
        Self { context, registry, pool }
    }
}

impl Actor for Reporter {
    type Context = Context<Self>;
}
