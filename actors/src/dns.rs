//! Challenges in DNS: the ports, pauses of accounts, and the actor that removes records which no
//! order needs.

pub(crate) mod cleaner;
pub(crate) mod pauses;
pub mod ports;
pub(crate) mod writes;
