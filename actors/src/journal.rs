//! Event sourcing: the ledger turns commands into states, and the journal stores the events in
//! segments.

pub mod ledger;
pub mod segmented;
