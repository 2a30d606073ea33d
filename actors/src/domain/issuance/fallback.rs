//! A second CA, asked when the first has failed for long: opt-in, by `--fallback-directory`.
//!
//! Each desired certificate that fails goes there by itself, and at its next renewal to the first again. Only what is the CA's own
//! failure counts: a host that cannot be validated, or a rate limit, would be no better elsewhere or is waited for.

use std::time::Duration;

use super::next::Evaluation;
use super::state::Failing;
use crate::domain::time::Timestamp;

/// The second CA.
#[derive(Clone, Copy, Debug)]
pub struct Fallback<'a> {
    /// URL of its directory.
    pub directory: &'a str,
    /// How long the first must have failed.
    pub after: Duration,
}

impl Evaluation<'_> {
    /// The directory of the second CA, where it is its turn.
    pub(super) fn elsewhere(&self, failing: Option<&Failing>) -> Option<String> {
        let Fallback { directory, after } = self.context.fallback?;
        let failed = failing.filter(|failing| !failing.at_fallback);
        let failed = failed.and_then(|failing| failing.down_since);
        let since = [failed, self.busy_since()].into_iter().flatten().min()?;
        (since + after <= self.context.now).then(|| directory.to_owned())
    }

    /// The CA is busy, and it has been waited for that for too long.
    pub(super) fn is_busy_for_long(&self) -> bool {
        let long = |Fallback { after, .. }: Fallback<'_>| {
            self.busy_since().is_some_and(|since| since + after <= self.context.now)
        };
        self.context.fallback.is_some_and(long)
    }

    fn busy_since(&self) -> Option<Timestamp> {
        self.context.rate_limits.busy_since(self.context.now)
    }
}

impl Failing {
    /// When the second CA is asked, though the first is to be asked again later.
    pub(super) fn elsewhere_from(&self, fallback: Option<Fallback<'_>>) -> Option<Timestamp> {
        let of_the_ca = self.class.is_of_the_ca() && !self.at_fallback;
        let since = self.down_since.filter(|_| of_the_ca)?;
        Some(since + fallback?.after)
    }
}
