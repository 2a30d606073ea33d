//! Rate limits of the CA: token buckets with the time as an argument, so that tests can use any
//! clock.
//!
//! Numbers, exemptions and texts are those of Let's Encrypt
//! (<https://letsencrypt.org/docs/rate-limits/>). [`meter`] decides which requests use
//! which bucket.

mod account_limits;
mod meter;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

pub use account_limits::{AccountLimits, Refused};
pub(super) use meter::{Exemption, LimitedOrder, Meter};

const HOUR: Duration = Duration::from_hours(1);
const THREE_HOURS: Duration = Duration::from_hours(3);
const WEEK: Duration = Duration::from_hours(168);

/// Token bucket of `count` tokens, refilled one by one over `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens in a full bucket.
    pub count: u32,
    /// Time to refill an empty bucket.
    pub per: Duration,
}

/// All limits of a CA; `None` means unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// New accounts from one address.
    pub registrations: Option<Rate>,
    /// New orders of one account; renewals are exempt.
    pub orders: Option<Rate>,
    /// Certificates under one registered domain, over all accounts; renewals are exempt.
    pub domain: Option<Rate>,
    /// Certificates for one exact set of names, over all accounts.
    pub exact_set: Option<Rate>,
    /// Failed validations of one name by one account; beyond the limit, the account's orders with
    /// that name are refused.
    pub failures: Option<Rate>,
    /// Failed validations of one name by one account without a success in between; beyond the
    /// limit, the name is paused for that account until unpaused by hand.
    pub pause: Option<Rate>,
    /// Requests that the load balancer accepts from one address.
    pub load: Load,
}

/// Requests from one address by endpoint; excess requests get a 503.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// `directory`.
    pub directory: Option<Rate>,
    /// `newNonce`.
    pub new_nonce: Option<Rate>,
    /// `newAccount`.
    pub new_account: Option<Rate>,
    /// `newOrder`.
    pub new_order: Option<Rate>,
    /// `revokeCert`.
    pub revoke: Option<Rate>,
    /// `renewalInfo`.
    pub renewal_info: Option<Rate>,
    /// All other endpoints.
    pub other: Option<Rate>,
}

impl Limits {
    /// No limits.
    pub fn unlimited() -> Self {
        Self::default()
    }

    /// Limits of Let's Encrypt's production environment, 2026-08-05.
    pub fn lets_encrypt() -> Self {
        let rate = |count, per| Some(Rate { count, per });
        Self {
            registrations: rate(10, THREE_HOURS),
            orders: rate(300, THREE_HOURS),
            domain: rate(50, WEEK),
            exact_set: rate(5, WEEK),
            failures: rate(5, HOUR),
            pause: rate(1_152, Duration::from_hours(24 * 1_152)),

            load: Load {
                directory: Some(second(40, 40)),
                new_nonce: Some(second(20, 10)),
                new_account: Some(second(5, 15)),
                new_order: Some(second(300, 200)),
                revoke: Some(second(10, 100)),
                renewal_info: Some(second(1_000, 100)),
                other: Some(second(250, 125)),
            },
        }
    }

    /// Limits of Let's Encrypt's staging environment, 2026-08-05.
    pub fn staging() -> Self {
        let rate = |count, per| Some(Rate { count, per });
        let production = Self::lets_encrypt();
        let load = Load {
            new_order: Some(second(20, 40)),
            other: Some(second(20, 20)),
            ..production.load
        };
        Self {
            registrations: rate(50, THREE_HOURS),
            orders: rate(1_500, THREE_HOURS),
            domain: rate(30_000, WEEK),
            exact_set: rate(30_000, WEEK),
            failures: rate(200, HOUR),
            load,
            ..production
        }
    }
}

/// Returns a rate of `per_second` requests a second with bursts of `burst`.
fn second(per_second: u32, burst: u32) -> Rate {
    let per = Duration::from_secs_f64(f64::from(burst) / f64::from(per_second));
    Rate { count: burst, per }
}

/// State of a token bucket: the time at which the bucket is full again. A full bucket equals a
/// missing one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Bucket {
    full_at: Timestamp,
}

impl Bucket {
    fn full(now: Timestamp) -> Self {
        Self { full_at: now }
    }

    /// Takes one token. The error is the time of the next token.
    fn less_one(self, rate: Rate, now: Timestamp) -> Result<Self, Timestamp> {
        let (per, token) = (signed(rate.per), signed(rate.per / rate.count.max(1)));
        let full_at = self.full_at.max(now) + token;
        // The bucket was empty if the refill, including this token, takes longer than `per`.
        let free_at = full_at - per;
        if rate.count > 0 && free_at <= now { Ok(Self { full_at }) } else { Err(free_at) }
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { count: 3, per: Duration::from_secs(30) };

    #[test]
    fn a_full_bucket_gives_its_tokens_at_once_and_then_one_at_a_time() {
        let start = Timestamp::UNIX_EPOCH;
        let mut bucket = Bucket::full(start);
        for _ in 0..3 {
            bucket = bucket.less_one(RATE, start).unwrap();
        }
        let next = start + SignedDuration::from_secs(10);
        assert_eq!(bucket.less_one(RATE, start), Err(next));
        bucket = bucket.less_one(RATE, next).unwrap();
        assert_eq!(bucket.less_one(RATE, next), Err(next + SignedDuration::from_secs(10)));
    }

    #[test]
    fn a_bucket_is_never_fuller_than_full() {
        let start = Timestamp::UNIX_EPOCH;
        let later = start + SignedDuration::from_hours(1);
        let mut bucket = Bucket::full(start).less_one(RATE, start).unwrap();
        for _ in 0..3 {
            bucket = bucket.less_one(RATE, later).unwrap();
        }
        assert!(bucket.less_one(RATE, later).is_err());
    }
}
