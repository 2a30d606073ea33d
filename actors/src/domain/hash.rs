//! A hash that is the same in every process and release: fingerprints, jitter and names are derived from it.

use std::hash::{Hash, Hasher};

/// FNV-1a with 64 bits: the same in every process and release, unlike the standard library's hashers, and
/// good enough for what is no security boundary.
#[derive(Clone)]
pub struct StableHash(u64);

impl Default for StableHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for StableHash {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The stable hash of one value.
pub fn stable_hash(value: impl Hash) -> u64 {
    let mut hash = StableHash::default();
    value.hash(&mut hash);
    hash.finish()
}
