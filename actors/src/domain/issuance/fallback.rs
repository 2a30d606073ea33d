//! Terms of the fallback CAs.

use std::time::Duration;

use super::failing::Failing;
use crate::domain::time::Timestamp;

/// A fallback CA: opt-in, by `--fallback-directory` or `--cas-file`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fallback<'a> {
    /// Directory URL.
    pub directory: &'a str,
    /// Time that the first CA must have failed for.
    pub after: Duration,
    /// Whether a rate limit of this CA stops the order. It is not asked then, nor waited for.
    pub is_limited: bool,
}

/// The fallbacks that come after the last failure: all of them after one of the first CA, and those
/// after the one that failed last. After the last of them, the first CA is asked again.
pub(super) fn following<'a, 'b>(
    fallbacks: &'a [Fallback<'b>],
    failing: Option<&Failing>,
) -> &'a [Fallback<'b>] {
    let Some(failing) = failing.filter(|failing| failing.at_fallback) else { return fallbacks };
    let is_it = |one: &Fallback<'_>| failing.fallback.as_deref() == Some(one.directory);
    let after = fallbacks.iter().position(is_it).map_or(fallbacks.len(), |place| place + 1);
    fallbacks.get(after..).unwrap_or_default()
}

/// The fallback that is asked now: the first one whose time has come, of those that `failing`
/// leaves. A CA that is busy for long has failed since then.
pub(super) fn due<'a>(
    fallbacks: &[Fallback<'a>],
    failing: Option<&Failing>,
    busy_since: Option<Timestamp>,
    now: Timestamp,
) -> Option<&'a str> {
    let first_due = |since: Option<Timestamp>, all: &[Fallback<'a>]| {
        let since = since?;
        let is_due = |one: &&Fallback<'a>| since + one.after <= now && !one.is_limited;
        Some(all.iter().find(is_due)?.directory)
    };
    let failed = failing.and_then(|failing| failing.down_since);
    let since = failed.into_iter().chain(busy_since).min();
    first_due(since, following(fallbacks, failing)).or_else(|| first_due(busy_since, fallbacks))
}
