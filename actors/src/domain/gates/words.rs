//! What a refusal says of the limit: read off the text, for the problem document has no field for it
//! (RFC 8555 §6.6). The texts known are those of Let's Encrypt's Boulder; of others it is told what can be.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;

use super::{Scope, registered_domain};
use crate::domain::name::DnsName;

/// A rate limit as a refusal describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limit {
    /// What it is counted for.
    pub scope: Scope,
    /// One more is allowed each time this has passed, where the text says so.
    pub pace: Option<Duration>,
}

/// The limit that refused an order for `names` with this text. A text that names nothing of the order is taken to
/// be about the whole account: to ask on would be to be refused again.
pub fn limit(text: &str, names: &BTreeSet<DnsName>) -> Limit {
    Limit { scope: scope(text, names), pace: pace(text) }
}

fn scope(text: &str, names: &BTreeSet<DnsName>) -> Scope {
    if text.contains("exact set") {
        return Scope::Set(names.clone());
    }
    let is_word = |word: &str| {
        text.split(|c: char| !(c.is_ascii_alphanumeric() || "-.".contains(c)))
            .any(|other| other.trim_matches('.').eq_ignore_ascii_case(word))
    };
    let domain = names.iter().map(registered_domain).find(|domain| is_word(domain));
    let name = names.iter().find(|name| is_word(name.as_str()));
    let of_certificates = text.contains("certificates");
    match (name, domain) {
        (Some(name), domain) if domain.is_none() || !of_certificates => Scope::Name(name.clone()),
        (_, Some(domain)) => Scope::Domain(domain.to_owned()),
        _ => Scope::Account,
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
