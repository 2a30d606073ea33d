//! Scope and pace of a rate limit, parsed from the text of a refusal.
//!
//! The problem document has no field for them (RFC 8555 §6.6). The known texts are those of Let's
//! Encrypt's Boulder; texts of other CAs are parsed as far as possible.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;

use super::{LimitScope, domains};
use crate::domain::name::DnsName;

/// A rate limit as described by a refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// Scope that the limit counts.
    pub scope: LimitScope,
    /// Time per allowed order, if the text contains a rate.
    pub pace: Option<Duration>,
}

/// Parses the refusal of an order for `names`.
///
/// A text that identifies no scope of the order counts for the whole account, because another order
/// would be refused too. The pace of such a text is used only if the text mentions the account or
/// the address.
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
        // A name may be the registered domain. The text says which of the two is counted.
        (Some(name), _) if !text.contains("certificates") => LimitScope::Name(name.clone()),
        (_, Some(domain)) => LimitScope::Domain(domain.to_owned()),
        _ => LimitScope::Account,
    }
}

/// Parses a rate such as `(300) … in the last 3h0m0s`: one in 36 s.
fn pace(text: &str) -> Option<Duration> {
    let (_, rest) = text.split_once('(')?;
    let (count, _) = rest.split_once(')')?;
    let count: u32 = count.trim().parse().ok().filter(|count| *count > 0)?;
    let (_, rest) = text.split_once("in the last ")?;
    let period = rest.split([',', ' ']).next()?;
    let period: SignedDuration = period.parse().ok()?;
    Some(Duration::try_from(period).ok()? / count)
}
