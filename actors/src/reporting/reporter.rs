//! Reporter: returns the state of the operator at any time, without key material. The answers are
//! the whole state ([`Describe`]), one page of the Ingresses ([`ListIngresses`]), one Ingress with
//! its history ([`GetIngress`]), or the most important rows ([`GetOverview`]).
//!
//! All answers come from memory, without a request to the CA or the API server. Long lists are cut
//! here, so that no answer blocks the arbiter for long.

#[cfg(test)]
mod contracts;
mod dump;
mod listing;
mod one_ingress;
mod overview;
mod rows;
mod search;

use std::rc::Rc;

use actix::prelude::*;

use crate::context::OperatorContext;
use crate::dedup::registry::Registry;
use crate::pool::actor::Pool;

pub use dump::{Describe, IngressDump, StateDump, StreamDump};
pub use listing::{CertificateRow, IngressRow, ListIngresses, Listing, PhaseDump};
pub use one_ingress::{GetIngress, IngressReport};
pub use overview::{
    CertificateInProgress, ExpiringCertificate, FailingCertificate, GetOverview, Overview,
};
pub use rows::{ClosedDump, FailureDump, JobDump, WaitDump};
pub use search::{Filter, Search};

/// Role of a replica with a reporter.
pub(crate) const LEADER: &str = "leader";

/// Actor that reports the state.
pub struct Reporter {
    context: Rc<OperatorContext>,
    registry: Rc<Registry>,
    pool: Addr<Pool>,
}

impl Reporter {
    /// Creates a reporter on the state of these.
    pub(crate) fn new(
        context: Rc<OperatorContext>,
        registry: Rc<Registry>,
        pool: Addr<Pool>,
    ) -> Self {
        Self { context, registry, pool }
    }
}

impl Actor for Reporter {
    type Context = Context<Self>;
}
