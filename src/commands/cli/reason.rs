//! Reasons for a revocation, as `--reason` takes them.

use std::fmt;

use clap::ValueEnum;

/// Reason for a revocation: those of RFC 5280 §5.3.1 that CAs accept from subscribers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Reason {
    /// None of the others.
    #[default]
    #[value(name = "unspecified")]
    Unspecified,
    /// Somebody else has, or may have, the private key. The request is signed with that key, as
    /// proof.
    #[value(name = "keyCompromise")]
    KeyCompromise,
    /// The certified names or their owner have changed. Let's Encrypt does not certify owners and
    /// may refuse this reason.
    #[value(name = "affiliationChanged")]
    AffiliationChanged,
    /// Another certificate has replaced it.
    #[value(name = "superseded")]
    Superseded,
    /// The hosts are no longer yours, or no longer in use.
    #[value(name = "cessationOfOperation")]
    CessationOfOperation,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", clap::builder::PossibleValue::get_name))
    }
}

impl Reason {
    /// Returns the number of the reason in RFC 5280 §5.3.1.
    pub fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
        }
    }
}
