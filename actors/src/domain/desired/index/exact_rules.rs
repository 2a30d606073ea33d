//! Names that a rule of another Ingress has exactly. Controllers choose that rule for all requests
//! of the name, so that the challenge path of a wildcard or hostless rule is not reached.

use super::Index;
use crate::domain::desired::desired_certificate::{DesiredCertificate, WantedRoute};
use crate::domain::hash::stable_hash;
use crate::domain::ingress::{IngressKey, IngressView};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::solver_place::SolverPlace;

/// Hashes of the first hosts of the rules of an Ingress. Ours route challenges, and name no host.
pub(super) fn hosts(view: &IngressView) -> Vec<u64> {
    let hosts = view.rule_hosts.iter().filter(|_| !view.is_solver);
    hosts.take(limits::UNPLANNED_HOSTS).map(|host| stable_hash(&**host)).collect()
}

impl Index {
    /// Notes the hosts of an Ingress that are in no certificate which is planned for it. Those that
    /// are in one are found by their claims.
    pub(super) fn note_unplanned(&mut self, key: &IngressKey, mut hosts: Vec<u64>) {
        if let Some(entry) = self.entries.get(key) {
            let planned = entry.plan.hosts();
            hosts.retain(|hash| planned.iter().all(|name| stable_hash(name.as_str()) != *hash));
        }
        self.unplanned_hosts.record(key, hosts);
    }

    /// Whether a rule of any Ingress is for exactly this name.
    fn has_exact_rule(&self, name: &DnsName) -> bool {
        let named = |key: IngressKey| {
            let view = self.view(&key);
            let rule = view.and_then(|view| view.rule_serving(name));
            rule.is_some_and(|rule| rule.is(name))
        };
        let claimants = || self.host_claims.claimants(name, limits::SHARERS).into_iter();
        self.unplanned_hosts.has(|| stable_hash(name.as_str())) || claimants().any(named)
    }

    /// Routes through a wildcard or hostless rule become routes of their own where another Ingress
    /// has the name in a rule.
    pub(super) fn prefer_exact_rules(&self, desired: &mut DesiredCertificate) {
        if desired.routes.iter().all(|wanted| wanted.route.rule.is(&wanted.host)) {
            return; // nearly all
        }
        let exact = |wanted: &WantedRoute| {
            let WantedRoute { host, mut route, newest } = wanted.clone();
            if !route.rule.is(&host) && self.has_exact_rule(&host) {
                route.rule = host.clone().into();
                if matches!(route.place, SolverPlace::InPlace(_)) {
                    route.place = SolverPlace::Shared;
                }
            }
            WantedRoute { host, route, newest }
        };
        desired.routes = desired.routes.iter().map(exact).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::desired::plan::tests::{block, ingress};
    use crate::domain::ingress::{AnyHost, SecretKey};
    use crate::domain::marks::Mark;

    /// An Ingress with a Secret for `n.example.com`, which a wildcard rule serves.
    fn by_wildcard() -> IngressView {
        let tls = vec![block("shop", &["n.example.com"])];
        IngressView { tls, ..ingress("web", "shop", &["*.example.com"]) }
    }

    /// Host and place of the rule for the challenge of the Secret `shop`.
    fn rule(index: &Index) -> (String, SolverPlace) {
        let desired = index.desired(&SecretKey::new("web", "shop")).unwrap();
        let [wanted] = &desired.routes[..] else { panic!("{:?}", desired.routes) };
        assert_eq!(wanted.host.as_str(), "n.example.com");
        (wanted.route.rule.to_string(), wanted.route.place.clone())
    }

    #[test]
    fn the_rule_of_another_ingress_for_exactly_the_name_is_preferred_while_it_is_there() {
        let planned = ingress("web", "n", &["n.example.com"]);
        let mark = Some(Mark::OtherIssuer("cert-manager.io/issuer".into()));
        let left_alone = IngressView { mark, ..planned.clone() };
        let tls = vec![block("other", &["other.example.com"])];
        let plain =
            IngressView { tls, ..ingress("web", "n", &["n.example.com", "other.example.com"]) };
        for other in [planned.clone(), left_alone, plain] {
            let mut index = Index::default();
            index.apply(by_wildcard());
            assert_eq!(rule(&index).0, "*.example.com");
            index.apply(other.clone());
            assert_eq!(rule(&index).0, "n.example.com", "{other:?}");
            index.apply(IngressView { rule_hosts: vec!["else.example.com".into()], ..other });
            assert_eq!(rule(&index).0, "*.example.com", "after an edit");
            index.apply(planned.clone());
            index.remove(&planned.key);
            assert_eq!(rule(&index).0, "*.example.com", "after its deletion");
        }
    }

    #[test]
    fn a_solver_ingress_of_ours_or_a_claim_alone_is_no_rule() {
        let mut index = Index::default();
        index.apply(by_wildcard());
        let solver = IngressView { is_solver: true, ..ingress("acme", "s", &["n.example.com"]) };
        index.apply(solver);
        let tls = vec![block("claim", &["n.example.com"])];
        let any_host = Some(AnyHost::ByRule);
        index.apply(IngressView { tls, any_host, ..ingress("web", "claim", &[]) });
        assert_eq!(rule(&index).0, "*.example.com");
    }

    #[test]
    fn where_another_ingress_has_the_name_the_challenge_is_not_in_place() {
        let mut index = Index::default();
        let mut view = by_wildcard();
        view.annotations.insert("solver-place".into(), "in-place".into());
        let in_place = SolverPlace::InPlace(view.key.clone().into());
        index.apply(view);
        assert_eq!(rule(&index).1, in_place);
        index.apply(ingress("web", "n", &["n.example.com"]));
        assert_eq!(rule(&index), ("n.example.com".to_owned(), SolverPlace::Shared));
    }

    #[test]
    fn a_bounded_number_of_hosts_is_kept_however_many_an_ingress_has() {
        let many: Vec<String> = (0..5_000).map(|number| format!("h{number}.example.com")).collect();
        let view = IngressView { rule_hosts: many, ..ingress("web", "shop", &[]) };
        assert_eq!(hosts(&view).len(), limits::UNPLANNED_HOSTS);
    }
}
