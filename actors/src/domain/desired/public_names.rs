//! Names that the public CA in use never certifies are left out of a plan, so that no order tells
//! the CA an internal name.

use std::sync::Arc;

use crate::domain::cas::Cas;
use crate::domain::cut::cut;
use crate::domain::desired::hosts::is_listed;
use crate::domain::desired::plan::Plan;
use crate::domain::desired::problem::Problem;
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
        let (mut last, mut first, mut number) = (None, None, 0);
        let (namespace, asked) = (&*ingress.key.namespace, ingress.annotation("ca"));
        for planned in &mut self.certificates {
            if !is_public(namespace, &planned.names, asked) {
                continue;
            }
            let (public, refused) = partition(&planned.names, &mut last);
            first = first.or_else(|| refused.first().cloned());
            number += refused.len();
            if !refused.is_empty() {
                (planned.names, planned.refused) = (public, refused);
                let secret = &planned.secret.name;
                let is_filled = || is_listed(&ingress.tls, secret, planned.names.iter());
                planned.fill = planned.fill && !is_filled();
            }
        }
        if number == 0 {
            return;
        }
        self.certificates.retain(|planned| !planned.names.is_empty());
        if self.certificates.is_empty() {
            (self.group, self.open) = (None, false);
        }
        if let Some((host, Err(why))) = first.map(|host| (host.clone(), check_public(&host))) {
            let (host, others) = (host.as_str().to_owned(), number - 1);
            self.problems.insert(Problem::NotPublic { host, why, others });
        }
    }
}

impl Plan {
    /// Only renews the certificates whose annotation names a CA that they may not have.
    pub(super) fn refuse_cas(&mut self, ingress: &IngressView, cas: &Cas) {
        let Some(asked) = ingress.annotation("ca") else { return };
        let namespace = &*ingress.key.namespace;
        for planned in &mut self.certificates {
            let names = planned.names.iter().map(DnsName::as_str);
            let Some(why) = cas.choose(namespace, names, Some(asked), None).refusal else {
                continue;
            };
            planned.renew_only = true;
            let ca = cut(asked, limits::SHOWN_MAX);
            self.problems.insert(Problem::RefusedCa { ca, why });
        }
    }
}

/// Lists of names of an Ingress: as planned, those that are public, and the others.
type Lists = [Arc<[DnsName]>; 3];

/// Divides a list of names into the public ones and the others. `last` is the list before: many
/// certificates of an Ingress share one list, and its parts are shared then too.
fn partition(names: &Arc<[DnsName]>, last: &mut Option<Lists>) -> (Arc<[DnsName]>, Arc<[DnsName]>) {
    if let Some([_, public, other]) = last.as_ref().filter(|lists| Arc::ptr_eq(&lists[0], names)) {
        return (public.clone(), other.clone());
    }
    let (public, other): (Vec<_>, Vec<_>) =
        names.iter().cloned().partition(|name| check_public(name).is_ok());
    let lists = [names.clone(), public.into(), other.into()];
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
