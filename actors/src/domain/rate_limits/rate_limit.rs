//! What a refusal says of the limit: read off the text, for the problem document has no field for it
//! (RFC 8555 §6.6). The texts known are those of Let's Encrypt's Boulder; of others it is told what can be.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;

use super::{LimitScope, domains};
use crate::domain::name::DnsName;

/// A rate limit as a refusal describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// What it is counted for.
    pub scope: LimitScope,
    /// One more is allowed each time this has passed, where the text says so.
    pub pace: Option<Duration>,
}

/// The limit that refused an order for `names` with this text. A text that names nothing of the order is taken to
/// be about the whole account: to ask on would be to be refused again. Its pace is believed only where it says so.
pub fn limit(text: &str, names: &BTreeSet<DnsName>) -> RateLimit {
    let scope = scope(text, names);
    let of_account = ["this account", "this IP"].iter().any(|whose| text.contains(whose));
    let known = scope != LimitScope::Account || of_account;
    RateLimit { scope, pace: pace(text).filter(|_| known) }
}

fn scope(text: &str, names: &BTreeSet<DnsName>) -> LimitScope {
    if text.contains("exact set") {
        return LimitScope::Set(names.clone());
    }
    let words: BTreeSet<String> = text
        .split(|c: char| !(c.is_ascii_alphanumeric() || "-.".contains(c)))
        .map(|word| word.trim_matches('.').to_ascii_lowercase())
        .collect();
    let name = names.iter().find(|name| words.contains(name.as_str()));
    let domain = names.iter().flat_map(domains).find(|domain| words.contains(*domain));
    match (name, domain) {
        // A name may be the registered domain: then it matters what is counted.
        (Some(name), _) if !text.contains("certificates") => LimitScope::Name(name.clone()),
        (_, Some(domain)) => LimitScope::Domain(domain.to_owned()),
        _ => LimitScope::Account,
    }
}

/// `(300) … in the last 3h0m0s`: one in 36 s.
fn pace(text: &str) -> Option<Duration> {
    let (_, rest) = text.split_once('(')?;
    let (count, _) = rest.split_once(')')?;
    let count: u32 = count.trim().parse().ok().filter(|count| *count > 0)?;
    let (_, rest) = text.split_once("in the last ")?;
    let period = rest.split([',', ' ']).next()?;
    let period: SignedDuration = period.parse().ok()?;
    Some(Duration::try_from(period).ok()? / count)
}
