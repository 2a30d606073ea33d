//! A certificate for the names that can be had, where some of many cannot: for Ingresses that say
//! `ingress-acme.dev/partial: "true"`.
//!
//! The wish stays as it is, and goes on failing at its pace; in between, those names that were not the reason get a
//! certificate of their own. No name that the present certificate has is given up while that one has time.

use std::collections::BTreeSet;

use super::next::Run;
use super::state::{Failing, Issuance};
use super::step::{Conclusion, Step};
use crate::domain::certificate::SecretView;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::time::Timestamp;
use crate::domain::validity::{Left, Reason, judge, serves};
use crate::domain::wish::Wish;

/// The names that can be had, where the others have failed for long enough.
pub(super) fn obtainable(
    failing: &Failing,
    wish: &Wish,
    now: Timestamp,
) -> Option<BTreeSet<DnsName>> {
    let since = partial_from(failing, wish)?;
    let good: BTreeSet<DnsName> = wish.names.difference(&failing.names).cloned().collect();
    (since <= now && !good.is_empty()).then_some(good)
}

/// When a wish that fails is looked at again.
pub(super) fn looked_at_again(failing: &Failing, wish: &Wish, now: Timestamp) -> Timestamp {
    let partial = partial_from(failing, wish).filter(|from| now < *from);
    partial.map_or(failing.retry_at, |from| from.min(failing.retry_at))
}

/// From when on a part of the wish is as good as nothing more is to be hoped for.
fn partial_from(failing: &Failing, wish: &Wish) -> Option<Timestamp> {
    let some = wish.names.iter().any(|name| failing.names.contains(name));
    let enough = failing.attempts >= limits::PARTIAL_ATTEMPTS;
    (wish.partial && some && enough).then(|| failing.since + limits::PARTIAL_AFTER)
}

impl Issuance {
    /// The names of the wish that it does without, for they had failed.
    pub fn left_out(&self) -> BTreeSet<DnsName> {
        let failed = self.before.as_ref().map(|before| &before.names);
        failed.filter(|names| names.is_disjoint(&self.names)).cloned().unwrap_or_default()
    }
}

impl Run<'_> {
    /// The step towards a certificate for a part of the wish, where one is to be had and needed.
    pub(super) fn part(&self, failing: &Failing) -> Option<Step> {
        let names = obtainable(failing, self.wish, self.context.now)?;
        if let Some(step) = self.look_at_secret() {
            return Some(step);
        }
        let part = Wish { names, ..self.wish.clone() };
        if let Some(reason) = self.lacks(&part) {
            return Some(self.towards_an_order(part.names, Some(failing), reason));
        }
        Some(self.complete()).filter(|step| *step != Step::Done(Conclusion::Settled))
    }

    /// Why the Secret does not do for `part`.
    fn lacks(&self, part: &Wish) -> Option<Reason> {
        let now = self.context.now;
        let reason =
            judge(self.secret(), part, self.context.directory, self.context.advice, now).err()?;
        let has_more = |secret: &SecretView| {
            let certificate = secret.certificate.as_ref().ok()?;
            let asked = |name: &String| self.wish.names.iter().any(|host| host.as_str() == name);
            let more =
                certificate.names.iter().filter(|name| asked(name)).count() > part.names.len();
            (more && Left::of(certificate, now) == Left::Enough).then_some(())
        };
        let found = self.secret().filter(|secret| serves(secret, part, now));
        found.and_then(has_more).is_none().then_some(reason)
    }
}
