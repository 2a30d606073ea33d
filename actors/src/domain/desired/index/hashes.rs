//! Names and hosts of Ingresses, kept as hashes: of some Ingresses nothing else is kept.

use std::collections::HashMap;

use crate::domain::ingress::IngressKey;

/// Hashes by Ingress. Two texts with one hash count as the same, which is rare and does no harm.
#[derive(Debug, Default)]
pub(super) struct Hashes {
    by_ingress: HashMap<IngressKey, Box<[u64]>>,
    /// Number of Ingresses with each.
    users: HashMap<u64, usize>,
}

impl Hashes {
    /// Records those of an Ingress in place of those of before.
    pub(super) fn record(&mut self, key: &IngressKey, hashes: Vec<u64>) {
        self.forget(key);
        if hashes.is_empty() {
            return;
        }
        for hash in &hashes {
            *self.users.entry(*hash).or_default() += 1;
        }
        self.by_ingress.insert(key.clone(), hashes.into());
    }

    /// Forgets those of an Ingress.
    pub(super) fn forget(&mut self, key: &IngressKey) {
        for hash in self.by_ingress.remove(key).into_iter().flatten() {
            let Some(users) = self.users.get_mut(&hash) else { continue };
            *users -= 1;
            if *users == 0 {
                self.users.remove(&hash);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_ingress.is_empty() && self.users.is_empty()
    }

    /// Whether an Ingress has the hash, which is computed only if any is kept.
    pub(super) fn has(&self, hash: impl FnOnce() -> u64) -> bool {
        !self.users.is_empty() && self.users.contains_key(&hash())
    }
}
