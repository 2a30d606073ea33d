//! The process: composition root, life cycle of a replica, clock, logs, and metrics of the process.

pub mod assembly;
pub mod clock;
pub mod logging;
pub mod process_metrics;
pub mod replica;
