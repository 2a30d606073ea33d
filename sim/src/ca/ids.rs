//! Identifiers of orders, authorizations and certificates.

use std::fmt;

/// First octet of every serial number, so that all have the same length and none is negative.
const PREFIX: u128 = 0x2c;

/// Number of an order, from 1.
pub(super) type OrderId = u64;

/// Number of an authorization, from 1.
pub(super) type AuthorizationId = u64;

/// Serial number of 16 octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Serial(u128);

impl Serial {
    pub(super) fn new(random: u128) -> Self {
        Self(random >> 8 | PREFIX << 120)
    }

    pub(super) fn octets(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Reads the serial number of a certificate; `None` unless 16 octets long.
    pub(super) fn of_octets(octets: &[u8]) -> Option<Self> {
        Some(Self(u128::from_be_bytes(octets.try_into().ok()?)))
    }

    /// Parses the hexadecimal form.
    pub(super) fn parse(text: &str) -> Option<Self> {
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
