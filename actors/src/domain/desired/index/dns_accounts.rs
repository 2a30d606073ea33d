//! Effect of the accounts at DNS providers, which may change at any time: they decide which
//! wildcards are proved, and for which names DNS-01 takes the place of HTTP-01.

use std::sync::Arc;

use super::Index;
use crate::domain::desired::public_names::wants_dns;
use crate::domain::dns::account::DnsAccounts;
use crate::domain::ingress::{IngressKey, IngressView};

impl Index {
    /// Replaces the accounts. Returns the keys to reconcile: of Ingresses with a wildcard, and of
    /// those whose user wants DNS-01.
    pub fn set_dns_accounts(&mut self, accounts: Arc<DnsAccounts>) -> Vec<IngressKey> {
        if std::mem::replace(&mut self.dns_accounts, accounts) == self.dns_accounts {
            return Vec::new();
        }
        // One whose plan stays may wait for a grant of the record's name.
        self.replan_those(is_concerned)
    }
}

fn is_concerned(view: &IngressView) -> bool {
    let of_blocks = view.tls.iter().flat_map(|block| &block.hosts);
    wants_dns(view) || view.rule_hosts.iter().chain(of_blocks).any(|host| host.starts_with("*."))
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;
    use crate::domain::desired::plan::tests::{block, ingress, named, names};
    use crate::domain::desired::problem::Problem;
    use crate::domain::dns::account::tests::account;
    use crate::domain::ingress::SecretKey;
    use crate::domain::limits;

    fn accounts(namespaces: &[&str]) -> Arc<DnsAccounts> {
        Arc::new(DnsAccounts::new(vec![account("bind", &["example.com"], namespaces)]))
    }

    #[test]
    fn a_wildcard_is_in_the_certificate_while_an_account_proves_it_for_the_namespace() {
        let mut index = Index::default();
        let view = named("web", "shop", &["*.example.com", "example.com", "a.example.com"]);
        index.apply(view.clone());
        let secret = SecretKey::new("web", "shop");
        let desired = |index: &Index| index.desired(&secret).unwrap();
        assert_eq!(desired(&index).names, names(&["a.example.com", "example.com"]));
        assert_eq!(desired(&index).refused, names(&["*.example.com"]));
        let problems = || index.problems(&view.key).unwrap();
        assert!(matches!(problems().pop_first(), Some(Problem::Unproved { .. })));
        let changed = |changed: Vec<IngressKey>| changed == slice::from_ref(&view.key);
        assert!(changed(index.set_dns_accounts(accounts(&["api"]))));
        assert_eq!(desired(&index).names, names(&["a.example.com", "example.com"]));
        assert!(changed(index.set_dns_accounts(accounts(&["web"]))));
        assert_eq!(desired(&index).names, names(&["*.example.com", "example.com"]));
        assert_eq!(desired(&index).routes.len(), 2, "a host may have to do without the wildcard");
        let failed = names(&["*.example.com"]);
        let without = names(&["a.example.com", "example.com"]);
        assert_eq!(desired(&index).without(&failed), without);
        assert_eq!(index.problems(&view.key).unwrap(), [].into());
        assert_eq!(index.set_dns_accounts(accounts(&["web"])), []);
    }

    #[test]
    fn a_wildcard_of_one_of_many_ingresses_is_kept_while_its_ingress_is_there() {
        for sharers in [1, 2 * limits::SHARERS_KEPT] {
            let mut index = Index::default();
            for number in 0..sharers {
                let host = format!("a{number}.example.com");
                let name = format!("shop{number}");
                let mut view = ingress("web", &name, &[&host]);
                view.tls = vec![block("shop", &[&host])];
                index.apply(view);
            }
            let secret = SecretKey::new("web", "shop");
            let refused = |index: &Index| index.desired(&secret).unwrap().refused;
            assert_eq!(refused(&index), names(&[]));
            let mut wild = ingress("web", "wild", &["*.example.com"]);
            wild.tls = vec![block("shop", &["*.example.com"])];
            index.apply(wild.clone());
            assert_eq!(refused(&index), names(&["*.example.com"]), "{sharers}");
            assert_eq!(index.users(&secret).count(), sharers.min(limits::SHARERS));
            index.remove(&wild.key);
            assert_eq!(refused(&index), names(&[]), "{sharers}");
        }
    }

    #[test]
    fn an_ingress_that_wants_to_uses_the_wildcard_of_its_namespace_and_no_other_does() {
        let mut index = Index::default();
        index.set_dns_accounts(accounts(&["*"]));
        index.apply(named("web", "all", &["*.example.com"]));
        let mut view = ingress("web", "shop", &["a.example.com", "b.example.com"]);
        view.annotations.insert("use-wildcard".into(), "true".into());
        index.apply(view.clone());
        let wild = SecretKey::new("web", "all");
        assert_eq!(index.shared(&view.key), [(wild.clone(), true)]);
        index.choose(&view.key, "all");
        let desired = index.desired(&wild).unwrap();
        assert_eq!((desired.names.clone(), desired.owners.len()), (names(&["*.example.com"]), 2));
        assert_eq!(desired.fill.len(), 1, "its spec.tls names the Secret");
        assert_eq!(index.part(&view.key), [].into(), "it adds no name");
        let plain = ingress("web", "plain", &["c.example.com"]);
        index.apply(plain.clone());
        let mut elsewhere = ingress("api", "shop", &["d.example.com"]);
        elsewhere.annotations.insert("use-wildcard".into(), "true".into());
        index.apply(elsewhere.clone());
        let mut deeper = ingress("web", "deeper", &["a.b.example.com"]);
        deeper.annotations.insert("use-wildcard".into(), "true".into());
        index.apply(deeper.clone());
        for view in [plain, elsewhere, deeper] {
            assert_eq!(index.shared(&view.key), [], "{}", view.key);
        }
    }

    #[test]
    fn names_that_the_user_wants_proved_in_dns_need_no_route_where_an_account_proves_them() {
        let mut index = Index::default();
        let mut view = named("web", "shop", &["a.example.com"]);
        view.annotations.insert("challenge".into(), "dns-01".into());
        index.apply(view.clone());
        let secret = SecretKey::new("web", "shop");
        assert_eq!(index.desired(&secret).unwrap().routes.len(), 1);
        let told = index.problems(&view.key).unwrap().pop_first();
        assert!(matches!(told, Some(Problem::ByHttp { .. })), "{told:?}");
        index.set_dns_accounts(accounts(&["*"]));
        let desired = index.desired(&secret).unwrap();
        assert_eq!((desired.routes.len(), desired.in_dns), (0, names(&["a.example.com"])));
    }
}
