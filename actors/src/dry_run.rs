//! Dry run: the operator watches and decides as usual, and tells the outcome by Events and metrics.
//! Its ports cannot write anything but Events, so that no rule and no actor has to know.

pub(crate) mod no_ca;
mod ports;
pub(crate) mod surveyor;

pub use ports::without_writes;
