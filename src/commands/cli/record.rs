//! `record`: the DNS-PERSIST-01 record of a name.

use clap::{Args, ValueEnum};

use super::caa::CaaArgs;

/// Flags of `record`.
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// Output format
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: RecordOutput,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help of the command")]
    pub name: CaaArgs,
}

/// `-o` of `record`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RecordOutput {
    /// The record, and what is there now.
    #[default]
    Text,
    /// For programs.
    Json,
}
