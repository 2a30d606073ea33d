//! The process: composition root, replica life cycle, clock, logging, process metrics.

pub mod assembly;
pub mod clock;
pub mod logging;
pub mod process_metrics;
pub mod replica;
