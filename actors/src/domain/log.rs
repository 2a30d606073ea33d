//! The journal's log: immutable numbered segments, the rules of a write, and the live records that
//! a snapshot keeps.

pub mod fence;
pub mod fold;
pub(crate) mod journaled_times;
pub mod live;
pub mod segment;
