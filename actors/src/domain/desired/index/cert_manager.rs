//! Effect of cert-manager's presence in the cluster, which may change at any time.

use super::Index;
use crate::domain::ingress::IngressKey;
use crate::domain::marks::Mark;

impl Index {
    /// Records whether cert-manager is in the cluster. If that is news, plans the Ingresses anew
    /// that it may answer, and returns them.
    pub fn set_cert_manager(&mut self, is_there: bool) -> Vec<IngressKey> {
        if std::mem::replace(&mut self.selection.cert_manager, is_there) == is_there {
            return Vec::new();
        }
        self.replan_those(|view| view.mark == Some(Mark::TlsAcme))
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;
    use crate::domain::desired::plan::tests::named;
    use crate::domain::desired::selection::Skip;
    use crate::domain::ingress::IngressView;

    #[test]
    fn an_installation_of_cert_manager_is_news_once_for_the_ingresses_that_it_answers() {
        let mut index = Index::default();
        let asks = named("web", "asks", &["a.example.com"]);
        let asks = IngressView { mark: Some(Mark::TlsAcme), ..asks };
        index.apply(asks.clone());
        index.apply(named("web", "other", &["b.example.com"]));
        assert_eq!(index.set_cert_manager(false), []);
        assert_eq!(index.set_cert_manager(true), slice::from_ref(&asks.key));
        assert_eq!(index.skip(&asks.key), Some(&Skip::CertManager));
        assert!(index.planned(&asks.key).iter().all(|planned| planned.renew_only));
        assert_eq!(index.set_cert_manager(true), []);
        assert_eq!(index.set_cert_manager(false), slice::from_ref(&asks.key));
        assert_eq!(index.skip(&asks.key), None);
        assert!(index.planned(&asks.key).iter().all(|planned| !planned.renew_only));
    }
}
