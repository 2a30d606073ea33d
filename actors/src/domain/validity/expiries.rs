//! Last observed expiry and renewal time of each certificate of ours: the single source of these
//! times for metrics, status page and API.
//!
//! There is an entry for every certificate of the cluster, so entries are small: two numbers and a
//! key that shares its strings with the index, 48 bytes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::certificate::SecretView;
use crate::domain::ingress::SecretKey;
use crate::domain::time::Timestamp;
use crate::domain::top_k::top_k;
use crate::domain::validity::renewal::{AriStatus, renewal};

/// Expiry and renewal time of one certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validity {
    /// End of the validity period.
    pub not_after: Timestamp,
    /// Time of the renewal.
    pub renewal: Timestamp,
}

impl Validity {
    /// Expiry and renewal time of `found`, if we manage that Secret and its certificate is
    /// readable. ARI wins over age.
    pub fn of(found: Option<&SecretView>, ari: AriStatus<'_>) -> Option<Self> {
        let leaf = found.filter(|found| found.ours)?.certificate.as_ref().ok()?;
        Some(Self { not_after: leaf.not_after, renewal: renewal(leaf, ari) })
    }
}

/// Validity of all observed certificates.
#[derive(Clone, Debug, Default)]
pub struct Expiries {
    by_secret: HashMap<SecretKey, Validity>,
}

impl Expiries {
    /// Stores an observation of a Secret; `None` means no certificate of ours.
    pub fn record(&mut self, secret: &SecretKey, validity: Option<Validity>) {
        match validity {
            Some(validity) => _ = self.by_secret.insert(secret.clone(), validity),
            None => self.forget(secret),
        }
    }

    /// Sets the renewal time that the CA suggests, at the latest the expiry.
    pub(crate) fn set_renewal(&mut self, secret: &SecretKey, at: Timestamp) {
        if let Some(validity) = self.by_secret.get_mut(secret) {
            validity.renewal = at.min(validity.not_after);
        }
    }

    /// Drops a Secret that no Ingress uses any more.
    pub fn forget(&mut self, secret: &SecretKey) {
        self.by_secret.remove(secret);
    }

    /// Validity of one certificate, if known.
    pub fn validity(&self, secret: &SecretKey) -> Option<Validity> {
        self.by_secret.get(secret).copied()
    }

    /// All certificates, in any order.
    pub fn iter(&self) -> impl Iterator<Item = (&SecretKey, Validity)> {
        self.by_secret.iter().map(|(secret, validity)| (secret, *validity))
    }

    /// The `count` certificates that expire first, earliest first.
    pub(crate) fn soonest(&self, count: usize) -> Vec<(&SecretKey, Validity)> {
        top_k(self.iter(), 0, count, |(secret, validity)| (validity.not_after, *secret))
    }

    /// Number of known certificates.
    pub fn len(&self) -> usize {
        self.by_secret.len()
    }

    /// Whether no certificate is known.
    pub fn is_empty(&self) -> bool {
        self.by_secret.is_empty()
    }
}

/// The `count` certificates that are renewed first, in that order if there are more; equals by
/// expiry. A certificate whose renewal fails comes before all whose renewal is still to come. Where
/// some must be left out, one namespace has at most half of the places that others could use, so
/// that a tenant with many certificates hides no other tenant's.
pub(crate) fn first_to_renew(
    mut all: Vec<(SecretKey, Validity)>,
    count: usize,
) -> Vec<(SecretKey, Validity)> {
    if all.len() <= count {
        return all;
    }
    all.sort_unstable_by(|(one, a), (other, b)| {
        (a.renewal, a.not_after, one).cmp(&(b.renewal, b.not_after, other))
    });
    let mut taken: HashMap<Arc<str>, usize> = HashMap::new();
    let (mut chosen, above_share): (Vec<_>, Vec<_>) = all.into_iter().partition(|(secret, _)| {
        let of_namespace = taken.entry(Arc::clone(&secret.namespace)).or_default();
        *of_namespace += 1;
        *of_namespace <= count / 2
    });
    chosen.truncate(count);
    let free = count - chosen.len();
    chosen.extend(above_share.into_iter().take(free));
    chosen
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::validity::check::tests::secret as view;

    const DAY: Duration = Duration::from_hours(24);

    fn secret(name: &str) -> SecretKey {
        SecretKey::new("web", name)
    }

    fn ends(at: i64) -> Validity {
        let not_after = Timestamp::from_secs(at);
        Validity { not_after, renewal: not_after }
    }

    #[test]
    fn an_entry_stays_small() {
        assert!(size_of::<(SecretKey, Validity)>() <= 48);
    }

    #[test]
    fn those_that_end_first_come_first_and_equals_by_name() {
        let mut expiries = Expiries::default();
        for (name, at) in [("c", 30), ("b", 10), ("a", 10), ("d", 20)] {
            expiries.record(&secret(name), Some(ends(at)));
        }
        let soonest: Vec<&str> = expiries.soonest(3).iter().map(|(key, _)| &*key.name).collect();
        assert_eq!(soonest, ["a", "b", "d"]);
    }

    fn first(all: &[(&str, &str, i64)], count: usize) -> Vec<String> {
        let all =
            all.iter().map(|(namespace, name, at)| (SecretKey::new(namespace, name), ends(*at)));
        let chosen = first_to_renew(all.collect(), count);
        chosen.into_iter().map(|(secret, _)| secret.name.to_string()).collect()
    }

    #[test]
    fn of_too_many_certificates_the_first_to_renew_are_chosen() {
        let all = [("web", "c", 30), ("web", "a", 10), ("api", "d", 40), ("api", "b", 20)];
        assert_eq!(first(&all, 3), ["a", "b", "c"]);
        assert_eq!(first(&all, 4).len(), 4);
    }

    #[test]
    fn one_namespace_has_half_of_the_places_that_others_could_use() {
        let all = [
            ("many", "a", 1),
            ("many", "b", 2),
            ("many", "c", 3),
            ("many", "d", 4),
            ("few", "z", 99),
        ];
        assert_eq!(first(&all, 4), ["a", "b", "z", "c"]);
        assert_eq!(first(&all, 2), ["a", "z"]);
    }

    #[test]
    fn a_secret_without_a_certificate_of_ours_has_no_entry() {
        let mut expiries = Expiries::default();
        expiries.record(&secret("shop"), Some(ends(10)));
        assert_eq!(expiries.validity(&secret("shop")), Some(ends(10)));
        expiries.record(&secret("shop"), None);
        assert!(expiries.is_empty());
    }

    #[test]
    fn a_certificate_of_ours_has_an_expiry_and_a_renewal_before_it() {
        let found = view(&["a.example.com"], Timestamp::from_secs(0), DAY * 90);
        let of = |found: Option<&SecretView>| Validity::of(found, AriStatus::Unasked);
        let Validity { not_after, renewal } = of(Some(&found)).unwrap();
        assert_eq!(not_after, Timestamp::from_secs(0) + DAY * 90);
        assert!(renewal < not_after && renewal > Timestamp::from_secs(0) + DAY * 60);
        assert_eq!(of(Some(&SecretView { ours: false, ..found.clone() })), None);
        assert_eq!(of(Some(&SecretView { certificate: Err("no PEM".into()), ..found })), None);
        assert_eq!(of(None), None);
    }

    #[test]
    fn the_ca_suggests_a_renewal_at_the_latest_at_the_expiry() {
        let mut expiries = Expiries::default();
        assert_eq!((expiries.is_empty(), expiries.len()), (true, 0));
        for name in ["a", "b"] {
            expiries.record(&secret(name), Some(ends(10)));
        }
        assert!(!expiries.is_empty());
        assert_eq!(expiries.len(), 2);
        let renewal = |expiries: &Expiries| expiries.validity(&secret("a")).unwrap().renewal;
        expiries.set_renewal(&secret("a"), Timestamp::from_secs(7));
        assert_eq!(renewal(&expiries), Timestamp::from_secs(7));
        expiries.set_renewal(&secret("a"), Timestamp::from_secs(70));
        assert_eq!(renewal(&expiries), Timestamp::from_secs(10));
        expiries.set_renewal(&secret("unknown"), Timestamp::from_secs(7));
        assert_eq!(expiries.len(), 2);
    }
}
