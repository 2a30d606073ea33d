//! The command line, and all commands except `run`.

pub mod caa;
pub mod cli;
pub mod completions;
pub mod consent;
#[cfg(feature = "sim")]
pub mod demo;
pub mod doctor;
pub mod log_level;
pub mod man;
pub mod owners;
pub mod pause;
pub mod plan;
pub mod program;
pub mod record;
pub mod revoke;
pub mod rollover;
pub mod status;
#[cfg(feature = "sim")]
pub mod storm;
pub mod thumbprint;
