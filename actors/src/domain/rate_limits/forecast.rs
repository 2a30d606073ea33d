//! Forecast of the limits of Let's Encrypt (<https://letsencrypt.org/docs/rate-limits/>) for orders
//! that come all at once: how many each limit counts, and how long they take.
//!
//! Each limit lets a number of orders pass at once, and one more after each interval. An order
//! waits for all limits that count it, and each limit for its own orders only, so that the slowest
//! limit says how long all orders take.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::rate_limits::LimitScope;

/// Orders that one limit counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forecast {
    /// Things that the limit counts.
    pub scope: LimitScope,
    /// Number of the orders.
    pub orders: usize,
    /// Number of orders that pass at once.
    pub at_once: u32,
    /// Time after which one more passes.
    pub interval: Duration,
    /// Time that these orders take, at least. Orders of the past, and those of others with the same
    /// domains, make it longer.
    pub takes: Duration,
}

impl Forecast {
    fn of(scope: LimitScope, orders: usize, (at_once, interval): (u32, Duration)) -> Self {
        let over = orders.saturating_sub(usize::try_from(at_once).unwrap_or(usize::MAX));
        let takes = interval.saturating_mul(u32::try_from(over).unwrap_or(u32::MAX));
        Self { scope, orders, at_once, interval, takes }
    }

    /// Time in which all of the limit is given back, such as a week.
    pub fn period(&self) -> Duration {
        self.interval.saturating_mul(self.at_once)
    }
}

/// Limits that count orders for these sets of names, none of which the CA exempts: the account,
/// each registered domain, and each set of names that is ordered more often than the guards
/// (`--guards`) let pass. The slowest is first.
pub fn forecast<'a>(orders: impl IntoIterator<Item = &'a BTreeSet<DnsName>>) -> Vec<Forecast> {
    let mut all = 0;
    let mut domains: BTreeMap<&str, usize> = BTreeMap::new();
    let mut sets: BTreeMap<&BTreeSet<DnsName>, usize> = BTreeMap::new();
    for names in orders {
        all += 1;
        let registered: BTreeSet<&str> =
            names.iter().filter_map(DnsName::registered_domain).collect();
        for domain in registered {
            *domains.entry(domain).or_default() += 1;
        }
        *sets.entry(names).or_default() += 1;
    }
    let of_account = (limits::SHARED_ORDERS, limits::SHARED_ORDERS_INTERVAL);
    let of_domain = (limits::SHARED_CERTIFICATES, limits::SHARED_CERTIFICATES_INTERVAL);
    let of_set = (limits::GUARD_CERTIFICATES, limits::GUARD_CERTIFICATES_INTERVAL);
    let account = Forecast::of(LimitScope::Account, all, of_account);
    let domains = domains.into_iter().map(|(domain, orders)| {
        Forecast::of(LimitScope::Domain(domain.to_owned()), orders, of_domain)
    });
    let sets = sets
        .into_iter()
        .map(|(names, orders)| Forecast::of(LimitScope::Set(names.clone()), orders, of_set));
    let sets = sets.filter(|set| !set.takes.is_zero());
    let counted = std::iter::once(account).filter(|account| account.orders > 0);
    let mut counted: Vec<Forecast> = counted.chain(domains).chain(sets).collect();
    counted.sort_by(|one, other| {
        (other.takes, other.orders, &one.scope).cmp(&(one.takes, one.orders, &other.scope))
    });
    counted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::desired::plan::tests::names;

    const HOUR: Duration = Duration::from_hours(1);
    const WEEK: Duration = Duration::from_hours(7 * 24);

    fn under(domain: &str, count: usize) -> Vec<BTreeSet<DnsName>> {
        (0..count).map(|n| names(&[&format!("h{n}.{domain}")])).collect()
    }

    fn domain(name: &str) -> LimitScope {
        LimitScope::Domain(name.to_owned())
    }

    #[test]
    fn nine_hundred_under_one_domain_take_seventeen_weeks_and_the_account_hours() {
        let orders = under("example.com", 900);
        let [slowest, account] = &forecast(&orders)[..] else { panic!("two limits") };
        assert_eq!((&slowest.scope, slowest.orders), (&domain("example.com"), 900));
        assert_eq!((slowest.at_once, slowest.period()), (50, WEEK));
        assert_eq!(slowest.takes, 17 * WEEK);
        assert_eq!((&account.scope, account.orders), (&LimitScope::Account, 900));
        assert_eq!((account.at_once, account.period()), (300, 3 * HOUR));
        assert_eq!(account.takes, 6 * HOUR);
    }

    #[test]
    fn what_fits_takes_no_time_and_the_first_that_does_not_takes_one_interval() {
        let fits = forecast(&under("example.com", 50));
        assert!(fits.iter().all(|limit| limit.takes.is_zero()));
        let over = forecast(&under("example.com", 51));
        assert_eq!(over[0].takes, limits::SHARED_CERTIFICATES_INTERVAL);
        assert!(over[1].takes.is_zero(), "the account has room");
        assert_eq!(forecast(&[]), []);
    }

    #[test]
    fn a_certificate_counts_once_under_each_of_its_domains() {
        let both = names(&["a.example.com", "b.example.com", "www.example.co.uk"]);
        let counted = forecast([&both, &names(&["example.co.uk"])]);
        let orders = |scope: &LimitScope| {
            counted.iter().find(|limit| limit.scope == *scope).map(|limit| limit.orders)
        };
        assert_eq!(orders(&domain("example.com")), Some(1));
        assert_eq!(orders(&domain("example.co.uk")), Some(2));
        assert_eq!(orders(&LimitScope::Account), Some(2));
    }

    #[test]
    fn exactly_the_same_names_in_many_secrets_wait_for_the_guard() {
        let same = names(&["a.example.com"]);
        assert_eq!(forecast([&same; 4]).len(), 2);
        let six = forecast([&same; 6]);
        assert_eq!(six[0].scope, LimitScope::Set(same));
        assert_eq!(six[0].takes, 2 * limits::GUARD_CERTIFICATES_INTERVAL);
    }

    proptest! {
        #[test]
        fn each_limit_counts_at_most_all_orders_and_the_slowest_is_first(
            domains in proptest::collection::vec(0_u8..3, 0..400),
        ) {
            let orders: Vec<_> = domains.iter().enumerate()
                .map(|(n, domain)| names(&[&format!("h{n}.d{domain}.example.com"), &format!("d{domain}.org")]))
                .collect();
            let counted = forecast(&orders);
            let of_account = counted.iter().find(|limit| limit.scope == LimitScope::Account);
            prop_assert_eq!(of_account.map_or(0, |limit| limit.orders), orders.len());
            prop_assert!(counted.iter().all(|limit| limit.orders <= orders.len()));
            prop_assert!(counted.is_sorted_by(|one, next| one.takes >= next.takes));
        }
    }
}
