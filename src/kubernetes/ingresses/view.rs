//! Reduces an Ingress to the fields that the domain reads. Drops managed fields, status and
//! backends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ingress_acme_actors::domain::desired::plan::FILLED_TLS;
use ingress_acme_actors::domain::ingress::{ANNOTATION_PREFIX, IngressKey, IngressView, TlsBlock};
use k8s_openapi::api::networking::v1::Ingress;

use crate::kubernetes::client::{class, is_ours};

/// Longest value of an annotation of ours that is kept, except [`FILLED_TLS`]. No other known value
/// is longer, and storing and copying longer ones would be waste.
const MAX_VALUE: usize = 253;
/// Annotation prefixes that request a certificate from other issuers.
const OTHER_ISSUERS: [&str; 2] = ["cert-manager.io/", "cert.gardener.cloud/"];
/// kube-lego's annotation, which cert-manager also supports.
const TLS_ACME: &str = "kubernetes.io/tls-acme";
/// Label of cert-manager's own short-lived solver Ingresses, which need no certificate.
const OTHER_SOLVER: &str = "acme.cert-manager.io/http01-solver";

/// Returns the fields of `ingress` that the domain reads.
pub fn view(ingress: &Ingress) -> IngressView {
    let metadata = &ingress.metadata;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    IngressView {
        key: IngressKey::new(&text(&metadata.namespace), &text(&metadata.name)),
        uid: Arc::from(text(&metadata.uid)),
        class: class(ingress),
        tls: tls(ingress),
        rule_hosts: rule_hosts(ingress),
        annotations: annotations(ingress)
            .filter_map(|(name, value)| Some((name.strip_prefix(ANNOTATION_PREFIX)?, value)))
            .filter(|(short, value)| *short == FILLED_TLS || value.len() <= MAX_VALUE)
            .map(|(short, value)| (short.to_owned(), value.clone()))
            .collect(),
        other_issuer: other_issuer(ingress),
        is_solver: is_ours(metadata),
        deleting: metadata.deletion_timestamp.is_some(),
    }
}

fn tls(ingress: &Ingress) -> Vec<TlsBlock> {
    let blocks = ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten());
    blocks
        .map(|block| TlsBlock {
            hosts: block.hosts.clone().unwrap_or_default(),
            secret_name: block.secret_name.clone(),
        })
        .collect()
}

fn rule_hosts(ingress: &Ingress) -> Vec<String> {
    let mut known = BTreeSet::new();
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    let hosts = rules.filter_map(|rule| rule.host.as_ref()).filter(|host| !host.is_empty());
    hosts.filter(|host| known.insert(*host)).cloned().collect()
}

fn other_issuer(ingress: &Ingress) -> Option<String> {
    let asks = |name: &str, value: &str| {
        OTHER_ISSUERS.iter().any(|prefix| name.starts_with(prefix))
            || (name == TLS_ACME && value != "false")
    };
    let annotation = annotations(ingress).find(|(name, value)| asks(name, value));
    let label = ingress.metadata.labels.iter().any(|labels| labels.contains_key(OTHER_SOLVER));
    annotation.map(|(name, _)| name.clone()).or_else(|| label.then(|| OTHER_SOLVER.to_owned()))
}

fn annotations(ingress: &Ingress) -> impl Iterator<Item = (&String, &String)> {
    ingress.metadata.annotations.iter().flat_map(BTreeMap::iter)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use ingress_acme_actors::domain::ingress::IngressClass;

    use super::*;

    fn of(metadata: &Value, spec: &Value) -> IngressView {
        let mut whole = json!({"name": "shop", "namespace": "web", "uid": "u1"});
        for (name, value) in metadata.as_object().unwrap() {
            whole[name] = value.clone();
        }
        view(&serde_json::from_value(json!({"metadata": whole, "spec": spec})).unwrap())
    }

    #[test]
    fn what_the_rules_read_is_kept() {
        let spec = json!({
            "rules": [{"host": "b.example.com"}, {"host": ""}, {}, {"host": "a.example.com"}, {"host": "b.example.com"}],
            "tls": [{"hosts": ["a.example.com"], "secretName": "a"}, {}],
        });
        let annotations = json!({"ingress-acme.dev/renew": "1", "else": "2"});
        let view = of(&json!({ "annotations": annotations }), &spec);
        assert_eq!((view.key.to_string().as_str(), &*view.uid), ("web/shop", "u1"));
        assert_eq!(view.rule_hosts, ["b.example.com", "a.example.com"]);
        let first =
            TlsBlock { hosts: vec!["a.example.com".to_owned()], secret_name: Some("a".to_owned()) };
        assert_eq!(view.tls, [first, TlsBlock::default()]);
        assert_eq!(view.annotations, [("renew".to_owned(), "1".to_owned())].into());
        assert_eq!((view.is_solver, view.deleting, view.other_issuer), (false, false, None));
    }

    #[test]
    fn the_class_is_the_field_then_the_annotation_then_the_default() {
        let annotated = json!({"annotations": {"kubernetes.io/ingress.class": "old"}});
        let named = json!({"ingressClassName": "new"});
        let class = |metadata: &Value, spec: &Value| of(metadata, spec).class;
        assert_eq!(class(&annotated, &named), IngressClass::Named("new".into()));
        assert_eq!(class(&annotated, &json!({})), IngressClass::Annotated("old".into()));
        assert_eq!(class(&json!({}), &json!({})), IngressClass::Default);
    }

    #[test]
    fn our_own_and_those_of_another_issuer_are_known() {
        let ours = json!({"labels": {"app.kubernetes.io/managed-by": "ingress-acme"}});
        assert!(of(&ours, &json!({})).is_solver);
        assert!(
            !of(&json!({"labels": {"app.kubernetes.io/managed-by": "Helm"}}), &json!({})).is_solver
        );
        let by = |name: &str, value: &str| {
            of(&json!({"annotations": {name: value}}), &json!({})).other_issuer
        };
        for name in ["cert-manager.io/cluster-issuer", "cert.gardener.cloud/purpose", TLS_ACME] {
            assert_eq!(by(name, "true"), Some(name.to_owned()));
        }
        assert_eq!(by(TLS_ACME, "false"), None);
        assert_eq!(by("nginx.ingress.kubernetes.io/rewrite-target", "/"), None);
        let solver = json!({"labels": {OTHER_SOLVER: "true"}});
        assert_eq!(of(&solver, &json!({})).other_issuer, Some(OTHER_SOLVER.to_owned()));
    }

    #[test]
    fn one_that_is_being_deleted_says_so() {
        assert!(of(&json!({"deletionTimestamp": "2026-11-24T08:00:00Z"}), &json!({})).deleting);
    }

    #[test]
    fn an_ingress_without_anything_is_a_view_without_anything() {
        let view = view(&Ingress::default());
        assert_eq!((view.rule_hosts.len(), view.tls.len()), (0, 0));
    }
}
