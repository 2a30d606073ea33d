//! Event sourcing: the ledger turns commands into states, the journal keeps the events in segments.

pub mod ledger;
pub mod segmented;
