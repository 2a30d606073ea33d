//! Names of Secrets in `spec.tls` of Ingresses that are left alone. Their views are kept without
//! `spec.tls`, and another issuer may write these Secrets before long: none of the names is free.

use super::hashes::Hashes;
use crate::domain::hash::stable_hash;
use crate::domain::ingress::{IngressView, SecretKey};
use crate::domain::limits;

/// Whether an Ingress that is left alone names the Secret. By a hash that is another's too, a free
/// name counts as taken, and the next number is chosen.
pub(super) fn is_named(left_alone: &Hashes, secret: &SecretKey) -> bool {
    left_alone.has(|| stable_hash((&*secret.namespace, &*secret.name)))
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
    use crate::domain::ingress::IngressKey;

    fn secret(name: &str) -> SecretKey {
        SecretKey::new("web", name)
    }

    #[test]
    fn a_name_is_taken_until_the_last_ingress_that_names_it_lets_go() {
        let mut left_alone = Hashes::default();
        let names = choosable_names(&named("web", "shop-tls", &["a.example.com"]));
        let (one, two) = (IngressKey::new("web", "one"), IngressKey::new("web", "two"));
        left_alone.record(&one, names.clone());
        left_alone.record(&two, names);
        left_alone.forget(&one);
        assert!(
            is_named(&left_alone, &secret("shop-tls")) && !is_named(&left_alone, &secret("shop"))
        );
        assert!(!is_named(&left_alone, &SecretKey::new("api", "shop-tls")));
        left_alone.record(&two, Vec::new());
        assert!(!is_named(&left_alone, &secret("shop-tls")) && left_alone.is_empty());
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
