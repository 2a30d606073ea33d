//! The process: composition root, replica life cycle, clock, logging, process metrics.

pub mod assembly;
pub mod ca_sets;
pub mod cas_file;
pub mod clock;
pub mod instance;
pub mod logging;
mod memory_limit;
pub mod process_metrics;
pub(crate) mod public_ca;
pub mod replica;
pub mod servers;
pub mod succession;
pub mod terminate;
