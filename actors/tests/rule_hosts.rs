//! Hosts that only a wildcard or a rule without a host serves: their challenge path is in that
//! rule, and in one of their own where that rule turns out not to be the one that is chosen.

use std::rc::Rc;
use std::time::Duration;

use ingress_acme_actors::domain::ingress::{IngressView, TlsBlock};
use ingress_acme_actors::domain::rule_host::RuleHost;
use ingress_acme_actors::fakes::{Fakes, ingress};

use crate::failures::Picky;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

/// An Ingress with these rules, and a certificate for `n.example.com` alone.
fn served_by(rules: &[&str], has_hostless_rule: bool) -> IngressView {
    let hosts = vec!["n.example.com".to_owned()];
    let tls = vec![TlsBlock { hosts, secret_name: Some("shop".to_owned()) }];
    IngressView { tls, has_hostless_rule, ..ingress("web", "shop", rules) }
}

#[test]
fn the_path_is_in_the_rule_that_serves_the_host_and_never_in_one_of_its_own() {
    let cases = [(&["*.example.com"][..], false, "*.example.com"), (&[][..], true, "*")];
    for (rules, has_hostless_rule, rule) in cases {
        Fakes::paused(async move {
            let fakes = Fakes::default();
            fakes.operator(Fakes::settings()).await;
            fakes.cluster.set_latency(SECOND);
            fakes.cluster.apply(served_by(rules, has_hostless_rule));
            let mut seen = Vec::new();
            for _ in 0..60 {
                fakes.pass(SECOND).await;
                seen.extend(fakes.cluster.routed());
            }
            assert!(!seen.is_empty() && seen.iter().all(|host| host == rule), "{seen:?}");
            fakes.cluster.set_latency(Duration::ZERO);
            fakes.pass(5 * MINUTE).await;
            assert_eq!(fakes.cluster.names("web", "shop"), ["n.example.com"]);
            fakes.assert_stable().await;
        });
    }
}

#[test]
fn where_an_unknown_rule_has_exactly_the_host_a_rule_of_its_own_reaches_it_without_a_failure() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        fakes.cluster.name_elsewhere("n.example.com");
        fakes.operator(Fakes::settings()).await;
        fakes.cluster.apply(served_by(&["*.example.com"], true));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["n.example.com"]);
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (1, 1));
        fakes.pass(5 * MINUTE).await;
        assert_eq!(fakes.cluster.routed(), [""; 0]);
        fakes.assert_stable().await;
    });
}

#[test]
fn where_a_policy_refuses_the_rule_the_host_has_one_of_its_own() {
    Fakes::paused(async {
        let fakes = Fakes::default();
        let refuses = |host: &RuleHost| !host.is_exact();
        let picky = |routes| Rc::new(Picky { routes, refuses, why: "no wildcards here" });
        fakes.operator_with(|ports| ports.routes = picky(ports.routes.clone())).await;
        fakes.cluster.apply(served_by(&["*.example.com"], false));
        fakes.pass(MINUTE).await;
        assert_eq!(fakes.cluster.names("web", "shop"), ["n.example.com"]);
        assert_eq!((fakes.ca.orders(), fakes.ca.issued().len()), (1, 1));
    });
}
