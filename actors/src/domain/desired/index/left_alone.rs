//! Names of Secrets in `spec.tls` of Ingresses that are left alone. Their views are kept without
//! `spec.tls`, and another issuer may write these Secrets before long: none of the names is free.

use std::collections::HashMap;

use crate::domain::hash::stable_hash;
use crate::domain::ingress::{IngressKey, IngressView, SecretKey};
use crate::domain::limits;

/// Secrets that Ingresses which are left alone name, as hashes: two names with one hash make a
/// free name count as taken, and the next number is chosen.
#[derive(Debug, Default)]
pub(super) struct LeftAlone {
    by_ingress: HashMap<IngressKey, Box<[u64]>>,
    /// Number of Ingresses that name a Secret, by its hash.
    users: HashMap<u64, usize>,
}

impl LeftAlone {
    /// Records the names of an Ingress in place of those of before.
    pub(super) fn record(&mut self, key: &IngressKey, names: Vec<u64>) {
        self.forget(key);
        if names.is_empty() {
            return;
        }
        for name in &names {
            *self.users.entry(*name).or_default() += 1;
        }
        self.by_ingress.insert(key.clone(), names.into());
    }

    /// Forgets the names of an Ingress.
    pub(super) fn forget(&mut self, key: &IngressKey) {
        for name in self.by_ingress.remove(key).into_iter().flatten() {
            let Some(users) = self.users.get_mut(&name) else { continue };
            *users -= 1;
            if *users == 0 {
                self.users.remove(&name);
            }
        }
    }

    /// Whether an Ingress that is left alone names the Secret.
    pub(super) fn names(&self, secret: &SecretKey) -> bool {
        let hash = || stable_hash((&*secret.namespace, &*secret.name));
        !self.users.is_empty() && self.users.contains_key(&hash())
    }
}

/// Hashes of the first few names in `spec.tls` that could be chosen for another Ingress.
pub(super) fn choosable_names(view: &IngressView) -> Vec<u64> {
    let names = view.tls.iter().filter_map(|block| block.secret_name.as_deref());
    let choosable = names.filter(|name| name.contains("-tls")).take(limits::LEFT_ALONE_NAMES);
    let mut hashes: Vec<u64> =
        choosable.map(|name| stable_hash((&*view.key.namespace, name))).collect();
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::desired::plan::tests::{block, ingress, named};

    fn secret(name: &str) -> SecretKey {
        SecretKey::new("web", name)
    }

    #[test]
    fn a_name_is_taken_until_the_last_ingress_that_names_it_lets_go() {
        let mut left_alone = LeftAlone::default();
        let names = choosable_names(&named("web", "shop-tls", &["a.example.com"]));
        let (one, two) = (IngressKey::new("web", "one"), IngressKey::new("web", "two"));
        left_alone.record(&one, names.clone());
        left_alone.record(&two, names);
        left_alone.forget(&one);
        assert!(left_alone.names(&secret("shop-tls")) && !left_alone.names(&secret("shop")));
        assert!(!left_alone.names(&SecretKey::new("api", "shop-tls")));
        left_alone.record(&two, Vec::new());
        assert!(!left_alone.names(&secret("shop-tls")) && left_alone.by_ingress.is_empty());
    }

    #[test]
    fn a_bounded_number_of_names_is_kept_however_many_an_ingress_has() {
        let mut view = ingress("web", "shop", &[]);
        view.tls = (0..5_000).map(|number| block(&format!("s{number}-tls"), &[])).collect();
        assert_eq!(choosable_names(&view).len(), limits::LEFT_ALONE_NAMES);
        view.tls = vec![block("one", &[]), block("a-tls-2", &[]), block("a-tls-2", &[])];
        assert_eq!(choosable_names(&view).len(), 1);
    }
}
