//! Shares of namespaces in the limits that all namespaces share: orders of the account, and
//! certificates under one registered domain (<https://letsencrypt.org/docs/rate-limits/>).
//!
//! One namespace may use half of what the others have left, so that a tenant with hundreds of hosts
//! does not spend everybody's orders. Certificates that expire soon are outside the shares, and so
//! are renewals that the CA exempts. Counts are kept in memory; after a restart a namespace has its
//! whole share again, within the limits of the CA itself.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::rate_limits::{LimitHit, LimitScope, RateLimit};
use crate::domain::time::Timestamp;

/// A limit that namespaces share.
#[derive(Clone, Copy, Debug)]
struct Shared {
    /// Orders that the CA allows within the period.
    count: u32,
    /// Time after which the CA allows one more.
    interval: Duration,
    /// The limit, in words.
    text: &'static str,
}

const ACCOUNT: Shared = Shared {
    count: limits::SHARED_ORDERS,
    interval: limits::SHARED_ORDERS_INTERVAL,
    text: "300 orders of the account in 3 hours",
};
const DOMAIN: Shared = Shared {
    count: limits::SHARED_CERTIFICATES,
    interval: limits::SHARED_CERTIFICATES_INTERVAL,
    text: "50 certificates a week under one registered domain",
};

/// Orders of each namespace that the CA still counts: the time at which it counts none any more.
type Usage = HashMap<Arc<str>, Timestamp>;

/// The shares of all namespaces.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    /// Whether one namespace has half of what the others have left.
    are_on: bool,
    /// Orders of one namespace in 3 hours, if set by the user.
    most: Option<u32>,
    account: Usage,
    domains: HashMap<Box<str>, Usage>,
}

/// Settings of the shares.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShareSettings {
    /// Whether one namespace has half of what the others have left (`--guards`).
    pub are_on: bool,
    /// Orders of one namespace in 3 hours (`--max-orders-per-namespace`).
    pub most: Option<u32>,
}

impl Shares {
    pub(crate) fn new(ShareSettings { are_on, most }: ShareSettings) -> Self {
        Self { are_on, most, ..Self::default() }
    }

    /// Counts an order of `namespace` for `names`. Returns a hit for each share that is used up now
    /// and that other namespaces need, as `others` says: under a domain, or at all.
    pub(crate) fn ordered(
        &mut self,
        namespace: &Arc<str>,
        names: &BTreeSet<DnsName>,
        others: impl Fn(Option<&str>) -> bool,
        now: Timestamp,
    ) -> Vec<LimitHit> {
        let mut hits = Vec::new();
        if !self.are_on && self.most.is_none() {
            return hits;
        }
        let wait = ACCOUNT.take(&mut self.account, namespace, self.most, now);
        if let Some(wait) = wait.filter(|_| self.most.is_some() || others(None)) {
            hits.push(hit(ACCOUNT, namespace, None, wait, now));
        }
        if !self.are_on {
            return hits;
        }
        let domain = |name: &'_ DnsName| name.registered_domain().map(Box::<str>::from);
        let domains: BTreeSet<Box<str>> = names.iter().filter_map(domain).collect();
        self.domains.retain(|_, usage| usage.values().any(|until| now < *until));
        for domain in domains {
            let usage = self.domains.entry(domain.clone()).or_default();
            let wait = DOMAIN.take(usage, namespace, None, now);
            if let Some(wait) = wait.filter(|_| others(Some(&domain))) {
                hits.push(hit(DOMAIN, namespace, Some(&domain), wait, now));
            }
        }
        hits
    }
}

impl Shared {
    /// Time after which one order of a namespace is not counted any more: twice that of the CA, so
    /// that one namespace uses half of what the limit allows over time.
    fn each(self) -> Duration {
        self.interval * 2
    }

    /// Counts one order of `namespace`. Returns the time until its next one, if the share is used
    /// up.
    fn take(
        self,
        usage: &mut Usage,
        namespace: &Arc<str>,
        most: Option<u32>,
        now: Timestamp,
    ) -> Option<Duration> {
        usage.retain(|_, until| now < *until);
        let until = usage.entry(namespace.clone()).or_insert(now);
        *until = *until + self.each();
        let until = *until;
        let left = |until: Timestamp| {
            let orders = until.since(now).as_millis().div_ceil(self.each().as_millis().max(1));
            u32::try_from(orders).unwrap_or(u32::MAX)
        };
        let others = usage.iter().filter(|(other, _)| *other != namespace);
        let of_others = others.map(|(_, until)| left(*until)).fold(0, u32::saturating_add);
        let share = most.unwrap_or(self.count.saturating_sub(of_others) / 2).max(1);
        // The next order is allowed once one less than the share is counted.
        let next = until.since(now + self.each() * (share - 1));
        (!next.is_zero()).then_some(next)
    }
}

fn hit(
    limit: Shared,
    namespace: &Arc<str>,
    domain: Option<&str>,
    wait: Duration,
    now: Timestamp,
) -> LimitHit {
    let scope = LimitScope::share(namespace, domain);
    let detail = format!(
        "namespace {namespace} has used its share of the CA's {}: one namespace has half of what the others have left, \
         and certificates that expire soon are not counted (--max-orders-per-namespace on the operator sets the share)",
        limit.text
    );
    LimitHit::new(&RateLimit { scope, pace: Some(limit.each()) }, wait, &detail, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::desired::plan::tests::names;

    const HOUR: Duration = Duration::from_hours(1);

    fn on(most: Option<u32>) -> Shares {
        Shares::new(ShareSettings { are_on: true, most })
    }

    /// Orders that a namespace opens at once until its share is used up.
    fn at_once(shares: &mut Shares, namespace: &str, now: Timestamp) -> usize {
        let opens = |number: &usize| {
            let host = format!("www.{namespace}-{number}.com");
            shares.ordered(&namespace.into(), &names(&[&host]), |_| true, now).is_empty()
        };
        (1..1_000).take_while(opens).count() + 1
    }

    #[test]
    fn one_namespace_has_half_and_the_next_half_of_the_rest() {
        let (mut shares, now) = (on(None), Timestamp::from_secs(0));
        let used = ["a", "b", "c"].map(|namespace| at_once(&mut shares, namespace, now));
        assert_eq!(used, [150, 75, 37]);
        let later = now + 9 * HOUR;
        assert_eq!(at_once(&mut shares, "a", later), 150);
    }

    #[test]
    fn the_share_comes_back_one_by_one() {
        let (mut shares, now) = (on(None), Timestamp::from_secs(0));
        at_once(&mut shares, "a", now);
        let next = shares.ordered(&"a".into(), &names(&["x.example.com"]), |_| true, now);
        let wait = next[0].until.since(now);
        assert!(wait >= 2 * limits::SHARED_ORDERS_INTERVAL && wait <= HOUR / 10, "{wait:?}");
        assert!(next[0].detail.contains("namespace a") && next[0].detail.contains("300 orders"));
    }

    #[test]
    fn where_nobody_else_needs_the_limit_there_is_no_share() {
        let (mut shares, now) = (on(None), Timestamp::from_secs(0));
        let order = |number| names(&[&format!("www.shop-{number}.com")]);
        let hits = (0..500).flat_map(|n| shares.ordered(&"a".into(), &order(n), |_| false, now));
        assert_eq!(hits.count(), 0);
        let mut off = Shares::new(ShareSettings::default());
        let hits = (0..500).flat_map(|n| off.ordered(&"a".into(), &order(n), |_| true, now));
        assert_eq!(hits.count(), 0);
    }

    #[test]
    fn a_registered_domain_that_namespaces_share_has_shares_too() {
        let (mut shares, now) = (on(None), Timestamp::from_secs(0));
        let order = |number| names(&[&format!("h{number}.example.com")]);
        let shared = |domain: Option<&str>| domain == Some("example.com");
        let hits: Vec<_> =
            (0..25).flat_map(|n| shares.ordered(&"a".into(), &order(n), shared, now)).collect();
        assert_eq!(hits.len(), 1);
        assert_eq!(hits[0].scope, LimitScope::share("a", Some("example.com")));
    }

    #[test]
    fn the_share_can_be_set() {
        let mut shares = Shares::new(ShareSettings { are_on: false, most: Some(10) });
        assert_eq!(at_once(&mut shares, "a", Timestamp::from_secs(0)), 10);
        let mut shares = Shares::new(ShareSettings { are_on: false, most: Some(1_000) });
        let order = |number| names(&[&format!("h{number}.example.com")]);
        let now = Timestamp::from_secs(0);
        let hits = (0..40).flat_map(|n| shares.ordered(&"a".into(), &order(n), |_| true, now));
        assert_eq!(hits.count(), 0, "the limit of a domain is that of Let's Encrypt");
    }
}
