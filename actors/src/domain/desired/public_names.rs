//! Names that are left out of a plan: those that the public CA in use never certifies, so that no
//! order tells the CA an internal name, and wildcards that nothing proves.

use std::sync::Arc;

use crate::domain::cas::Cas;
use crate::domain::cut::cut;
use crate::domain::desired::hosts::is_listed;
use crate::domain::desired::plan::Plan;
use crate::domain::desired::problem::Problem;
use crate::domain::dns::account::DnsAccounts;
use crate::domain::ingress::IngressView;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::public_name::check_public;

impl Plan {
    /// Moves names that no public CA certifies from the certificates to one [`Problem`], where
    /// `is_public` says so of the CA. A certificate without other names leaves the plan, and its
    /// Secret stays as it is.
    pub(super) fn keep_public(
        &mut self,
        ingress: &IngressView,
        is_public: impl Fn(&str, &[DnsName], Option<&str>) -> bool,
    ) {
        let (namespace, asked) = (&*ingress.key.namespace, ingress.annotation("ca"));
        let is_public = |names: &[DnsName]| is_public(namespace, names, asked);
        let left_out = self.leave_out(ingress, is_public, |name| check_public(name).is_err());
        let Some((host, others)) = left_out else { return };
        if let Err(why) = check_public(&host) {
            let host = host.as_str().to_owned();
            self.problems.insert(Problem::NotPublic { host, why, others });
        }
    }

    /// Moves wildcards that no DNS account proves for the namespace to one [`Problem`]. HTTP-01
    /// proves no wildcard (RFC 8555 §7.1.3).
    pub(super) fn keep_proved(&mut self, ingress: &IngressView, accounts: &DnsAccounts) {
        let namespace = &ingress.key.namespace;
        let is_proved = |name: &DnsName| accounts.grants(namespace, name);
        let goes = |name: &DnsName| name.is_wildcard() && !is_proved(name);
        let left_out = self.leave_out(ingress, |_| true, goes);
        if let Some((host, others)) = left_out {
            let namespace = namespace.clone();
            self.problems.insert(Problem::Unproved { host, namespace, others });
        }
        if wants_dns(ingress) {
            let names = self.certificates.iter().flat_map(|planned| planned.names.iter());
            let mut unproved = names.filter(|name| !name.is_wildcard() && !is_proved(name));
            if let Some(host) = unproved.next().cloned() {
                let others = unproved.count();
                self.problems.insert(Problem::ByHttp { host, others });
            }
        }
    }

    /// Moves names from the certificates to those that are left out, in those `among` them. A
    /// certificate without other names leaves the plan, and its Secret stays as it is. Returns the
    /// first such name and the number of the others.
    fn leave_out(
        &mut self,
        ingress: &IngressView,
        among: impl Fn(&[DnsName]) -> bool,
        goes: impl Fn(&DnsName) -> bool,
    ) -> Option<(DnsName, usize)> {
        let (mut last, mut first, mut number) = (None, None, 0);
        for planned in &mut self.certificates {
            if !among(&planned.names) {
                continue;
            }
            let (kept, left_out) = partition(&planned.names, &goes, &mut last);
            if left_out.is_empty() {
                continue;
            }
            first = first.or_else(|| left_out.first().cloned());
            number += left_out.len();
            planned.refused = planned.refused.iter().chain(left_out.iter()).cloned().collect();
            planned.names = kept;
            let secret = &planned.secret.name;
            let is_filled = || is_listed(&ingress.tls, secret, planned.names.iter());
            planned.fill = planned.fill && !is_filled();
        }
        let first = first?;
        let is_of_a_block = !self.open && self.group.is_none();
        let without_names = self.certificates.extract_if(.., |planned| planned.names.is_empty());
        let left_out = without_names.map(|planned| (planned.secret, planned.refused));
        let before = self.refused_blocks.iter().cloned();
        let mut refused: Vec<_> = before.chain(left_out.filter(|_| is_of_a_block)).collect();
        refused.sort_unstable();
        self.refused_blocks = refused.into();
        if self.certificates.is_empty() {
            (self.group, self.open) = (None, false);
        }
        Some((first, number - 1))
    }
}

impl Plan {
    /// Only renews the certificates whose annotation names a CA that they may not have.
    pub(super) fn refuse_cas(&mut self, ingress: &IngressView, cas: &Cas) {
        let Some(asked) = ingress.annotation("ca") else { return };
        let namespace = &*ingress.key.namespace;
        for planned in &mut self.certificates {
            let names = planned.names.iter().map(DnsName::as_str);
            let Some(why) = cas.choose(namespace, &names, Some(asked), None).refusal else {
                continue;
            };
            planned.renew_only = true;
            let ca = cut(asked, limits::SHOWN_MAX);
            self.problems.insert(Problem::RefusedCa { ca, why });
        }
    }
}

/// Whether the user wants the names of an Ingress proved in DNS.
pub(super) fn wants_dns(ingress: &IngressView) -> bool {
    ingress.annotation("challenge") == Some("dns-01")
}

/// Lists of names of an Ingress: as planned, those that stay, and the others.
type Lists = [Arc<[DnsName]>; 3];

/// Divides a list of names into those that stay and the others. `last` is the list before: many
/// certificates of an Ingress share one list, and its parts are shared then too.
fn partition(
    names: &Arc<[DnsName]>,
    goes: &impl Fn(&DnsName) -> bool,
    last: &mut Option<Lists>,
) -> (Arc<[DnsName]>, Arc<[DnsName]>) {
    if let Some([_, kept, other]) = last.as_ref().filter(|lists| Arc::ptr_eq(&lists[0], names)) {
        return (kept.clone(), other.clone());
    }
    if !names.iter().any(goes) {
        return (names.clone(), Arc::default());
    }
    let (other, kept): (Vec<_>, Vec<_>) = names.iter().cloned().partition(goes);
    let lists = [names.clone(), kept.into(), other.into()];
    let parts = (lists[1].clone(), lists[2].clone());
    *last = Some(lists);
    parts
}

#[cfg(test)]
mod tests {
    use crate::domain::desired::index::Index;
    use crate::domain::desired::plan::tests::{block, ingress as open, named as ingress, names};
    use crate::domain::desired::problem::Problem;
    use crate::domain::desired::selection::Selection;
    use crate::domain::ingress::{FILLED_TLS, IngressKey, IngressView, SecretKey};
    use crate::domain::public_name::PublicCa;

    fn index(public_ca: PublicCa) -> Index {
        Index::new(Selection { public_ca, ..Selection::default() }, None)
    }

    fn shop() -> SecretKey {
        SecretKey::new("web", "shop")
    }

    fn problems(index: &Index) -> Vec<String> {
        let problems = index.problems(&IngressKey::new("web", "shop")).unwrap();
        problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn a_public_ca_is_asked_for_the_public_names_only_and_one_problem_names_the_others() {
        let mut index = index(PublicCa::Yes);
        let hosts = ["db.internal", "shop.example.com", "a.svc", "b.local", "nas.home.arpa"];
        index.apply(ingress("web", "shop", &hosts));
        assert_eq!(index.desired(&shop()).unwrap().names, names(&["shop.example.com"]));
        let [problem] = &problems(&index)[..] else { panic!("{:?}", problems(&index)) };
        assert!(problem.contains("`a.svc`") && problem.contains("3 other hosts"), "{problem}");
    }

    #[test]
    fn a_private_ca_is_asked_for_every_name() {
        let mut index = index(PublicCa::No);
        let hosts = ["db.internal", "shop.example.com", "a.svc"];
        index.apply(ingress("web", "shop", &hosts));
        assert_eq!(index.desired(&shop()).unwrap().names, names(&hosts));
        assert!(problems(&index).is_empty());
    }

    #[test]
    fn an_ingress_without_any_public_name_wants_nothing_and_leaves_its_neighbours_alone() {
        let mut index = index(PublicCa::Yes);
        index.apply(ingress("web", "shop", &["db.internal"]));
        index.apply(ingress("web", "other", &["other.example.com"]));
        assert_eq!(index.desired(&shop()), None);
        assert_eq!(problems(&index).len(), 1);
        assert!(index.desired(&SecretKey::new("web", "other")).is_some());
    }

    #[test]
    fn a_block_that_was_filled_with_the_public_names_is_not_filled_again() {
        let mut view = ingress("web", "shop", &["db.internal", "shop.example.com"]);
        view.tls = vec![block("shop", &["shop.example.com"])];
        view.annotations.insert(FILLED_TLS.into(), "shop.example.com".into());
        let mut index = index(PublicCa::Yes);
        index.apply(view.clone());
        assert!(index.desired(&shop()).unwrap().fill.is_empty());
        let view = IngressView { tls: Vec::new(), ..view };
        index.apply(view);
        index.choose(&IngressKey::new("web", "shop"), "shop");
        assert_eq!(index.desired(&shop()).unwrap().fill.len(), 1);
    }

    #[test]
    fn a_group_has_public_names_only() {
        let mut view = open("web", "shop", &["db.internal"]);
        view.annotations.insert("group".into(), "true".into());
        let mut index = index(PublicCa::Yes);
        index.apply(view);
        assert!(index.planned(&IngressKey::new("web", "shop")).is_empty());
    }
}
