//! What comes before an order: the challenge's way to the solver, and the line where the CA has closed something.

use std::collections::BTreeSet;

use super::next::Evaluation;
use super::observed::Reach;
use super::state::Failing;
use super::step::Step;
use crate::domain::certificate::SecretView;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::rate_limits::LimitScope;
use crate::domain::scheduling::priority::{Need, Urgency};
use crate::domain::validity::check::{IssueReason, Remaining};

impl Evaluation<'_> {
    /// A certificate for `names` is needed.
    pub(super) fn towards_an_order(
        &self,
        names: BTreeSet<DnsName>,
        failing: Option<&Failing>,
        reason: IssueReason,
    ) -> Step {
        let directory = self.elsewhere(failing);
        let first = self.ready_the_routes(&names, failing);
        let waiting_for_limit =
            || directory.is_none().then(|| self.wait_for_limit(&names, &reason)).flatten();
        first.or_else(waiting_for_limit).unwrap_or(Step::Begin { reason, names, directory })
    }

    /// Nothing is asked of the CA that it would refuse, unless the certificate is about to end. A replacement within
    /// its window is counted in no limit. What stands in the Secret counts only where it is ours and good but for its age:
    /// users can write there what they like.
    pub(super) fn wait_for_limit(
        &self,
        names: &BTreeSet<DnsName>,
        reason: &IssueReason,
    ) -> Option<Step> {
        let scope =
            self.context.rate_limits.blocking(self.context.stream, names, self.context.now)?;
        let waiting_for_limit =
            |urgency, by| Some(Step::WaitForLimit(scope.clone(), Need { urgency, by }));
        if matches!(reason, IssueReason::OtherDirectory(_) | IssueReason::Requested) {
            return waiting_for_limit(Urgency::Renewal, Need::FIRST.by);
        }
        let exempt =
            scope != LimitScope::Address && self.context.ari.is_within_window(self.context.now);
        let found = self.secret();
        let ours = |secret: &&SecretView| {
            secret.ours && secret.meant_for() == Some(self.context.directory)
        };
        let certificate = found.filter(ours).and_then(|secret| secret.certificate.as_ref().ok());
        let left = certificate.map(|one| Remaining::of(one, self.context.now));
        let by_age = reason.is_of_time() || matches!(reason, IssueReason::Expired(_));
        let by = certificate.map_or(Need::FIRST.by, |certificate| certificate.not_after);
        match (left.filter(|_| by_age), reason) {
            (Some(_), IssueReason::Suggested { .. }) if exempt => None,
            (Some(Remaining::Critical), _) if self.may_pass() => None,
            (Some(Remaining::Critical | Remaining::Low | Remaining::Expired), _) => {
                waiting_for_limit(Urgency::Expiring, by)
            }
            (Some(Remaining::Plenty), _) => waiting_for_limit(Urgency::Renewal, by),
            (None, _) => waiting_for_limit(Urgency::First, Need::FIRST.by),
        }
    }

    fn may_pass(&self) -> bool {
        self.context.rate_limits.may_bypass(&self.context.stream.namespace, self.context.now)
    }

    /// Routes in place and every host reached, before the CA is asked for anything.
    pub(super) fn ready_the_routes(
        &self,
        names: &BTreeSet<DnsName>,
        failing: Option<&Failing>,
    ) -> Option<Step> {
        let observed = self.context.observed;
        if !self.are_routed() {
            return Some(Step::PublishRoutes);
        }
        let probe = || Some(Step::Probe(names.clone()));
        if !names.iter().all(|name| observed.reach.contains_key(name)) {
            return probe();
        }
        let failure = observed.unreachable()?;
        if self.probing_is_advisory(failing) {
            return None;
        }
        let rounds = usize::try_from(observed.probes).unwrap_or(usize::MAX);
        if rounds > limits::PROBE.len() { Some(Step::Fail(failure)) } else { probe() }
    }

    /// All hosts resolve, and it has been tried long enough.
    fn probing_is_advisory(&self, failing: Option<&Failing>) -> bool {
        let resolves = |reach: &Reach| !matches!(reach, Reach::Unresolved(_));
        let long = |failing: &Failing| {
            self.context.now.since(failing.since) >= limits::PROBE_ADVISORY_AFTER
        };
        failing.is_some_and(long) && self.context.observed.reach.values().all(resolves)
    }

    /// The routes in place are those of the newest desired certificate.
    pub(super) fn are_routed(&self) -> bool {
        self.context.observed.routes.as_ref() == Some(&self.desired.routes)
    }
}
