//! Probes of the hosts, as a job has observed them: rounds of a few hosts at a time, and the
//! failure of those that were not reached.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::observed::{Missed, Observed, Reach};
use crate::domain::controllers::ControllerRule;
use crate::domain::desired::desired_certificate::WantedRoute;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::ingress::IngressClass;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::solver_place::{PlaceChoice, SolverPlace};
use crate::domain::time::Timestamp;

impl Observed {
    /// Returns the next few hosts of a round: those that were not reached in an earlier round. A
    /// round of many hosts takes several steps, so that hosts that stall do not hold a worker.
    pub(crate) fn next_probes(&self, hosts: &BTreeSet<DnsName>) -> Vec<DnsName> {
        let open = |host: &&DnsName| !self.is_reached(host) && !self.round.contains_key(*host);
        hosts.iter().filter(open).take(limits::PROBES_AT_ONCE).cloned().collect()
    }

    /// Records the results of a step that took `took`. The round goes on until all `hosts` have a
    /// result; after a slow step other jobs come first.
    pub(crate) fn probed_some(
        &mut self,
        results: impl IntoIterator<Item = (DnsName, Reach)>,
        hosts: &BTreeSet<DnsName>,
        took: Duration,
        now: Timestamp,
    ) {
        self.round.extend(results);
        if !self.next_probes(hosts).is_empty() {
            self.wait_until = (took >= limits::PROBE_SLOW).then(|| now + limits::PROBE[0]);
            return;
        }
        let known = hosts.iter().filter_map(|host| self.reach.get_key_value(host));
        let reached = known.filter(|(_, reach)| reach.is_reached());
        let reached = reached.map(|(host, reach)| (host.clone(), reach.clone()));
        let round = reached.chain(std::mem::take(&mut self.round)).collect();
        self.probed(round, now);
    }

    /// Records a round of probes. The pause before each further round is longer.
    pub(crate) fn probed(&mut self, reach: BTreeMap<DnsName, Reach>, now: Timestamp) {
        self.reach = reach.into_iter().map(|(host, reach)| (host, reach.bounded())).collect();
        let backoff_index = usize::try_from(self.probes).unwrap_or(usize::MAX);
        let pause = limits::PROBE.get(backoff_index).filter(|_| self.unreached().is_some());
        self.wait_until = pause.map(|pause| now + *pause);
        self.probes = self.probes.saturating_add(1);
    }

    /// Gives rules of their own to the hosts that another server answers for after all rounds, as
    /// far as they have none: not all rules are known by which a controller chooses. Returns
    /// whether any had none.
    pub(crate) fn give_up_general_rules(&mut self, routes: &[WantedRoute]) -> bool {
        if !self.are_rounds_over() || !self.round.is_empty() {
            return false;
        }
        let answered: Vec<&WantedRoute> =
            routes.iter().filter(|wanted| self.is_answered_elsewhere(&wanted.host)).collect();
        self.route_exactly(answered)
    }

    /// Whether all rounds of probes are over.
    pub(super) fn are_rounds_over(&self) -> bool {
        usize::try_from(self.probes).unwrap_or(usize::MAX) > limits::PROBE.len()
    }

    fn is_answered_elsewhere(&self, host: &DnsName) -> bool {
        matches!(self.reach.get(host), Some(Reach::Missed(Missed { answered: true, .. })))
    }

    /// Returns the first host that was not reached.
    pub(crate) fn unreached(&self) -> Option<(&DnsName, &Reach)> {
        self.reach.iter().find(|(_, reach)| !reach.is_reached())
    }

    /// Returns the failure for the user, if a host was not reached other than those of `in_dns`,
    /// which are proved without.
    pub(crate) fn unreachable(&self, in_dns: &BTreeSet<DnsName>) -> Option<Failure> {
        let unreached = self.reach.iter().filter(|(_, reach)| !reach.is_reached());
        let mut unreached = unreached.filter(|(host, _)| !in_dns.contains(*host)).peekable();
        let first = *unreached.peek()?;
        let unreached: BTreeSet<DnsName> = unreached.map(|(host, _)| host.clone()).collect();
        let failure = match first {
            (host, Reach::Unresolved(why)) => Some(Failure::new(
                FailureClass::Dns,
                format!(
                    "host {host} does not resolve ({why}); create its DNS record. The CA was not asked"
                ),
            )),
            (host, Reach::Missed(missed)) => Some(Failure::new(
                FailureClass::Unreachable,
                format!(
                    "http://{host}/.well-known/acme-challenge/ does not lead to the solver ({}); {}. The CA was \
                     not asked",
                    missed.why,
                    self.advice()
                ),
            )),
            (_, Reach::Reached | Reach::ReachedInside) => None,
        };
        failure.map(|failure| failure.about(unreached))
    }

    /// What the user can do about a host that another server answers for, or none.
    fn advice(&self) -> String {
        match self.rule {
            Some(ControllerRule { rule, way_out, .. }) => format!(
                "{rule}; {way_out} (or correct the DNS record, if it does not lead to this cluster)"
            ),
            None => {
                "check the DNS record and that the ingress controller serves port 80".to_owned()
            }
        }
    }

    /// Classes and places of the hosts that another server answers for, which may have a rule. A
    /// minion is merged by the rule of its controller.
    pub(crate) fn answered_elsewhere<'a>(
        &self,
        routes: &'a [WantedRoute],
    ) -> impl Iterator<Item = (&'a IngressClass, PlaceChoice)> {
        let is_answered = |wanted: &&WantedRoute| self.is_answered_elsewhere(&wanted.host);
        let routes = routes.iter().filter(is_answered).map(|wanted| &wanted.route);
        let routes = routes.filter(|route| route.place != SolverPlace::Minion);
        routes.map(|route| (&route.class, route.place.choice()))
    }

    /// Shortest pause after a refusal of a public CA, if the refused names have private addresses
    /// as seen from here. Split DNS is common, so the CA is asked at all; a host that the CA did
    /// not reach once is asked for once a day.
    pub(crate) fn pause_after(&self, failure: &Failure) -> Option<Duration> {
        let refused = |name: &DnsName| failure.names.is_empty() || failure.names.contains(name);
        let private = self.reach.iter().any(|(name, reach)| refused(name) && reach.is_private());
        let by_validation = failure.class == FailureClass::Authorization;
        (by_validation && private).then_some(limits::PERMANENT_BACKOFF)
    }

    fn is_reached(&self, host: &DnsName) -> bool {
        self.reach.get(host).is_some_and(Reach::is_reached)
    }
}
