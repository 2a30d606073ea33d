//! Buckets used by each request, and the refusal when a bucket is empty.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

use super::super::names::{SetId, registered_domain};
use super::super::problem::Problem;
use super::{Bucket, Limits, Rate};

/// Documentation linked in the refusals.
const DOCS: &str = "https://letsencrypt.org/docs/rate-limits/";
/// Page that unpauses names; the account number is appended.
const UNPAUSE: &str = "https://127.0.0.1/sfe/v1/unpause?jwt=";
/// Smallest number of buckets at which full ones are removed.
const SWEEP_FROM: usize = 4_096;

/// Rate limits that an order is exempt from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ca) enum Exemption {
    /// No exemption.
    No,
    /// A certificate for exactly these names was issued recently: not counted as a new order or a
    /// new certificate of the domain.
    Renewal,
    /// The order replaces a certificate within its renewal window (RFC 9773): exempt from all
    /// limits, but paused names are still refused.
    Replacement,
}

/// An order as counted by the limits.
#[derive(Clone, Copy, Debug)]
pub(in crate::ca) struct LimitedOrder<'a> {
    pub(in crate::ca) account: u64,
    pub(in crate::ca) names: &'a [Box<str>],
    pub(in crate::ca) set: SetId,
    pub(in crate::ca) exemption: Exemption,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Registrations(IpAddr),
    Orders(u64),
    Domain(Box<str>),
    Set(SetId),
    Failures(u64, Box<str>),
    Pause(u64, Box<str>),
    Load(&'static str, IpAddr),
}

impl Key {
    /// Returns the description of the exceeded limit and its anchor in the documentation.
    fn too_many(&self, count: u32) -> (String, &'static str) {
        match self {
            Self::Registrations(_) => (
                format!("too many new registrations ({count}) from this IP address"),
                "new-registrations-per-ip-address",
            ),
            Self::Orders(_) => (
                format!("too many new orders ({count}) from this account"),
                "new-orders-per-account",
            ),
            Self::Domain(domain) => (
                format!("too many certificates ({count}) already issued for {domain:?}"),
                "new-certificates-per-registered-domain",
            ),
            Self::Set(_) => (
                format!(
                    "too many certificates ({count}) already issued for this exact set of identifiers"
                ),
                "new-certificates-per-exact-set-of-identifiers",
            ),
            Self::Failures(_, name) | Self::Pause(_, name) => (
                format!("too many failed authorizations ({count}) for {name:?}"),
                "authorization-failures-per-identifier-per-account",
            ),
            Self::Load(endpoint, _) => (format!("too many requests ({count}) of {endpoint}"), ""),
        }
    }

    fn refusal(&self, rate: Rate, free_at: Timestamp) -> Problem {
        let (what, anchor) = self.too_many(rate.count);
        let (within, until) = (go_duration(rate.per), free_at.strftime("%Y-%m-%d %H:%M:%S UTC"));
        let detail =
            format!("{what} in the last {within}, retry after {until}: see {DOCS}#{anchor}");
        Problem::rate_limited(detail, Some(free_at))
    }
}

/// All buckets and paused names.
#[derive(Debug)]
pub(in crate::ca) struct Meter {
    pub(in crate::ca) limits: Limits,
    buckets: HashMap<Key, Bucket>,
    /// Number of buckets at which full ones are removed.
    sweep_at: usize,
    paused: HashSet<(u64, Box<str>)>,
}

impl Meter {
    pub(in crate::ca) fn new(limits: &Limits) -> Self {
        let (buckets, paused) = (HashMap::new(), HashSet::new());
        Self { limits: *limits, buckets, sweep_at: SWEEP_FROM, paused }
    }

    /// Counts a request at the load balancer.
    pub(in crate::ca) fn request(
        &mut self,
        endpoint: &'static str,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let load = &self.limits.load;
        let rate = match endpoint {
            "directory" => load.directory,
            "new-nonce" => load.new_nonce,
            "new-account" => load.new_account,
            "new-order" => load.new_order,
            "revoke-cert" => load.revoke,
            "renewal-info" => load.renewal_info,
            _ => load.other,
        };
        self.spend(Key::Load(endpoint, from), rate, now).map_err(Problem::busy)
    }

    /// Counts a new account.
    pub(in crate::ca) fn register(&mut self, from: IpAddr, now: Timestamp) -> Result<(), Problem> {
        let Some(rate) = self.limits.registrations else { return Ok(()) };
        let key = Key::Registrations(from);
        let refused = key.clone();
        self.spend(key, Some(rate), now).map_err(|free_at| refused.refusal(rate, free_at))
    }

    /// Counts a new order. If buckets are empty, the refusal names the one that takes longest to
    /// have a token. Tokens for certificates are taken at issuance.
    pub(in crate::ca) fn order(
        &mut self,
        by: LimitedOrder<'_>,
        now: Timestamp,
    ) -> Result<(), Problem> {
        self.not_paused(by)?;
        let empty = self.asked(by).into_iter().filter_map(|(key, rate)| {
            let free_at = self.bucket(&key, now).less_one(rate, now).err()?;
            Some((free_at, key, rate))
        });
        if let Some((free_at, key, rate)) = empty.max_by_key(|(free_at, ..)| *free_at) {
            return Err(key.refusal(rate, free_at));
        }
        if by.exemption == Exemption::No {
            // The check above found a token.
            _ = self.spend(Key::Orders(by.account), self.limits.orders, now);
        }
        Ok(())
    }

    /// Returns the buckets that must have a token for an order.
    fn asked(&self, by: LimitedOrder<'_>) -> Vec<(Key, Rate)> {
        let Limits { orders, domain, exact_set, failures, .. } = self.limits;
        let mut asked = Vec::new();
        if by.exemption == Exemption::Replacement {
            return asked;
        }
        if by.exemption == Exemption::No {
            asked.extend(orders.map(|rate| (Key::Orders(by.account), rate)));
            if let Some(rate) = domain {
                let key = |domain: &str| Key::Domain(domain.into());
                asked.extend(domains(by.names).into_iter().map(|domain| (key(domain), rate)));
            }
        }
        if let Some(rate) = failures {
            let names = by.names.iter().cloned();
            asked.extend(names.map(|name| (Key::Failures(by.account, name), rate)));
        }
        asked.extend(exact_set.map(|rate| (Key::Set(by.set), rate)));
        asked
    }

    /// Counts an issued certificate.
    pub(in crate::ca) fn issued(&mut self, by: LimitedOrder<'_>, now: Timestamp) {
        if by.exemption == Exemption::Replacement {
            return;
        }
        if by.exemption == Exemption::No {
            for domain in domains(by.names) {
                // Concurrent orders may have emptied the bucket; the certificate is issued anyway.
                _ = self.spend(Key::Domain(domain.into()), self.limits.domain, now);
            }
        }
        _ = self.spend(Key::Set(by.set), self.limits.exact_set, now);
    }

    /// Counts a failed validation; too many without a success pause the name.
    pub(in crate::ca) fn failed(&mut self, account: u64, name: &str, now: Timestamp) {
        _ = self.spend(Key::Failures(account, name.into()), self.limits.failures, now);
        if self.spend(Key::Pause(account, name.into()), self.limits.pause, now).is_err() {
            self.paused.insert((account, name.into()));
        }
    }

    /// Records a passed validation, which resets the count of failures before a pause.
    pub(in crate::ca) fn passed(&mut self, account: u64, name: &str) {
        self.buckets.remove(&Key::Pause(account, name.into()));
    }

    /// Unpauses all names of an account, as its user would at the page the refusal links to.
    pub(in crate::ca) fn unpause(&mut self, account: u64) {
        self.paused.retain(|(paused, _)| *paused != account);
        self.buckets.retain(|key, _| !matches!(key, Key::Pause(paused, _) if *paused == account));
    }

    fn not_paused(&self, by: LimitedOrder<'_>) -> Result<(), Problem> {
        if self.paused.is_empty() {
            return Ok(());
        }
        let keys = by.names.iter().map(|name| (by.account, name.clone()));
        let paused = keys.filter(|key| self.paused.contains(key));
        let names: Vec<Box<str>> = paused.map(|(_, name)| name).collect();
        if names.is_empty() {
            return Ok(());
        }
        let (names, account) = (names.join(", "), by.account);
        let detail = format!(
            "Your account is temporarily prevented from requesting certificates for {names} and possibly others. Please visit: {UNPAUSE}{account}"
        );
        Err(Problem::rate_limited(detail, None))
    }

    fn bucket(&self, key: &Key, now: Timestamp) -> Bucket {
        self.buckets.get(key).copied().unwrap_or_else(|| Bucket::full(now))
    }

    fn spend(&mut self, key: Key, rate: Option<Rate>, now: Timestamp) -> Result<(), Timestamp> {
        let Some(rate) = rate else { return Ok(()) };
        let bucket = self.bucket(&key, now).less_one(rate, now)?;
        self.buckets.insert(key, bucket);
        if self.buckets.len() >= self.sweep_at {
            self.buckets.retain(|_, bucket| bucket.full_at > now);
            self.sweep_at = SWEEP_FROM.max(self.buckets.len() * 2);
        }
        Ok(())
    }
}

fn domains(names: &[Box<str>]) -> BTreeSet<&str> {
    names.iter().map(|name| registered_domain(name)).collect()
}

/// Formats a duration as Go does: `168h0m0s`.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests;
