//! Dry run: the operator watches and decides as usual, and tells the outcome by Events and metrics.
//! Its ports cannot write anything but Events, so that no rule and no actor has to know.

mod ports;
pub(crate) mod surveyor;

pub(crate) use ports::without_requests;
pub use ports::without_writes;
