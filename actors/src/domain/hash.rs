//! A hash with the same value in every process and release, for fingerprints, jitter and names.

use std::hash::{Hash, Hasher};

/// 64-bit FNV-1a. Unlike the standard library's hashers, the result is the same in every process
/// and release. Not for security boundaries.
#[derive(Clone, Debug)]
pub struct StableHash(u64);

impl Default for StableHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl std::io::Write for StableHash {
    /// Hashes bytes that are written, so that a value is hashed while it is serialized.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Hasher::write(self, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
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

/// Returns the stable hash of one value.
pub fn stable_hash(value: impl Hash) -> u64 {
    let mut hash = StableHash::default();
    value.hash(&mut hash);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_parts_has_the_hash_of_the_whole() {
        let mut parts = StableHash::default();
        assert_eq!(std::io::Write::write(&mut parts, b"abc").unwrap(), 3);
        std::io::Write::write_all(&mut parts, b"def").unwrap();
        let mut whole = StableHash::default();
        Hasher::write(&mut whole, b"abcdef");
        assert_eq!(parts.finish(), whole.finish());
        assert_ne!(parts.finish(), StableHash::default().finish());
    }
}
