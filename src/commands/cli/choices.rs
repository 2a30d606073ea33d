//! Flags of `run` with a few values.

use clap::ValueEnum;
use ingress_acme_actors::domain::desired::selection::Manage;

use super::LETS_ENCRYPT;

/// `--guards`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum GuardsArg {
    /// On for Let's Encrypt's production directory.
    #[default]
    Auto,
    /// On.
    On,
    /// Off.
    Off,
}

impl GuardsArg {
    /// Whether the guards are on for the CA at `directory`.
    pub(crate) fn are_on(self, directory: &str) -> bool {
        match self {
            Self::Auto => directory == LETS_ENCRYPT,
            Self::On => true,
            Self::Off => false,
        }
    }
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormatArg {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One JSON object per line.
    Json,
    /// Text.
    Text,
}

/// `--public-ca`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PublicCaArg {
    /// By the host of the directory.
    #[default]
    Auto,
    /// Public.
    True,
    /// Private.
    False,
}

/// `--manage`.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum ManageArg {
    /// All that do not opt out.
    #[default]
    All,
    /// Only those that opt in.
    Annotated,
}

impl From<ManageArg> for Manage {
    fn from(arg: ManageArg) -> Self {
        match arg {
            ManageArg::All => Self::All,
            ManageArg::Annotated => Self::Annotated,
        }
    }
}
