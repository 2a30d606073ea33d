//! The journal's log: immutable numbered segments, and the live records that a snapshot keeps.

pub(crate) mod journaled_times;
pub mod live;
pub mod segment;
