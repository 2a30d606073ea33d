//! Reduces an Ingress to the fields that the domain reads. Drops managed fields, status and
//! backends.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::Hasher;
use std::rc::Rc;
use std::sync::Arc;

use ingress_acme_actors::domain::copied::Copied;
use ingress_acme_actors::domain::desired::hosts::distinct_hosts;
use ingress_acme_actors::domain::hash::StableHash;
use ingress_acme_actors::domain::ingress::{
    ANNOTATION_PREFIX, ANNOTATIONS, Edition, FILLED_TLS, IngressClass, IngressKey, IngressView,
    TlsBlock,
};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::marks::Mark;
use ingress_acme_actors::domain::time::Timestamp;
use k8s_openapi::api::networking::v1::{Ingress, IngressRule, IngressTLS};
use serde::Deserialize;

use super::aliases::aliases;
use super::marks::{MASTER, mark};
use crate::kubernetes::client::{IN_PLACE_ANNOTATION, class, is_ours};
use crate::kubernetes::solver_ingresses::{routed, without_ours};

/// Annotation with the whole object as `kubectl apply` last sent it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Returns the fields of `ingress` that the domain reads. The view is bounded, whatever the size of
/// the Ingress: [`limits`] has the numbers.
pub fn view(ingress: &Ingress) -> IngressView {
    view_with(ingress, &Reading::default())
}

/// Parts of a view beside the fields that every one has.
#[derive(Clone, Default)]
pub(super) struct Reading {
    /// Prefixes of the annotations that are copied to the Secret.
    pub(super) copied: Rc<[String]>,
    /// Namespace of the operator, whose solver Ingresses are no routes in users' namespaces, and
    /// `--install-id`; `None` if routes are not looked for.
    pub(super) outside: Option<(Rc<str>, Rc<str>)>,
}

pub(super) fn view_with(ingress: &Ingress, reading: &Reading) -> IngressView {
    let metadata = &ingress.metadata;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let created = metadata.creation_timestamp.as_ref().map(|created| created.0.as_millisecond());
    let blocks = ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten());
    let (mut annotations, long_annotations) = annotations_of_ours(ingress);
    if annotations.contains_key(FILLED_TLS) && is_tls_applied(ingress) {
        annotations.remove(FILLED_TLS);
    }
    let rule_hosts = rule_hosts(ingress);
    let key = IngressKey::new(&text(&metadata.namespace), &text(&metadata.name));
    let outside = reading.outside.as_ref().filter(|(own, _)| **own != *key.namespace);
    let routed = outside.and_then(|(_, install)| routed(ingress, install));
    IngressView {
        key,
        uid: Arc::from(text(&metadata.uid)),
        created: created.map_or_else(Timestamp::default, Timestamp::from_millis),
        class: bounded(class(ingress)),
        tls_left_out: blocks.clone().count().saturating_sub(limits::TLS_BLOCKS_READ),
        tls: tls(blocks),
        aliases: aliases(pairs(ingress), &rule_hosts),
        rule_hosts,
        has_hostless_rule: rules(ingress).any(|rule| host_of(rule).is_empty()),
        annotations,
        long_annotations,
        copied: Copied::of(&reading.copied, pairs(ingress)),
        mark: mark_of(ingress),
        is_master: pairs(ingress).any(|pair| pair == MASTER),
        is_solver: is_ours(metadata),
        deleting: metadata.deletion_timestamp.is_some(),
        edition: edition(ingress),
        generation: metadata.generation.unwrap_or_default(),
        routed: routed.map(Box::new),
    }
}

/// Collects without room for more: a vector that grows has room for four, and nearly every one has
/// one.
fn tls<'a>(blocks: impl Iterator<Item = &'a IngressTLS>) -> Vec<TlsBlock> {
    let mut tls: Vec<TlsBlock> = blocks.take(limits::TLS_BLOCKS_READ).map(tls_block).collect();
    tls.shrink_to_fit();
    tls
}

fn tls_block(block: &IngressTLS) -> TlsBlock {
    TlsBlock {
        hosts: distinct_hosts(block.hosts.iter().flatten()),
        secret_name: block.secret_name.as_deref().map(|name| cut(name).to_owned()),
    }
}

fn rule_hosts(ingress: &Ingress) -> Vec<String> {
    let hosts = rules(ingress).filter_map(|rule| rule.host.as_ref());
    distinct_hosts(hosts.filter(|host| !host.is_empty()))
}

fn rules(ingress: &Ingress) -> impl Iterator<Item = &IngressRule> {
    ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten())
}

fn host_of(rule: &IngressRule) -> &str {
    rule.host.as_deref().unwrap_or_default()
}

/// Cuts a class that is too long; the rest is too long too.
fn bounded(class: IngressClass) -> IngressClass {
    match class {
        IngressClass::Named(name) => IngressClass::Named(cut(&name).into()),
        IngressClass::Annotated(name) => IngressClass::Annotated(cut(&name).into()),
        IngressClass::Default => IngressClass::Default,
    }
}

/// Cuts a name that is longer than any valid one. The rest is too long to be valid too.
fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(limits::CLASS_NAME)]
}

/// Returns our annotations that the operator reads, and the names of those with too long a value.
/// A too long `enabled` is kept in part: like any value but `"true"`, it opts out.
fn annotations_of_ours(ingress: &Ingress) -> (BTreeMap<String, String>, Vec<&'static str>) {
    let (mut read, mut long) = (BTreeMap::new(), Vec::new());
    for (name, value) in annotations(ingress) {
        let known =
            |(short, _): &&(&str, usize)| name.strip_prefix(ANNOTATION_PREFIX) == Some(short);
        let Some((short, longest)) = ANNOTATIONS.iter().find(known) else { continue };
        if value.len() <= *longest {
            read.insert((*short).to_owned(), value.clone());
            continue;
        }
        long.push(*short);
        if *short == "enabled" {
            read.insert((*short).to_owned(), cut(value).to_owned());
        }
    }
    (read, long)
}

/// Whether the user's last `kubectl apply` had the present `spec.tls`: the block is the user's
/// then, whoever wrote it first. Managed fields do not tell, because kubectl sends no field that is
/// equal already.
fn is_tls_applied(ingress: &Ingress) -> bool {
    #[derive(Deserialize)]
    struct Applied {
        spec: AppliedSpec,
    }
    #[derive(Deserialize)]
    struct AppliedSpec {
        tls: Vec<IngressTLS>,
    }
    let present = ingress.spec.as_ref().and_then(|spec| spec.tls.as_ref());
    let applied = annotations(ingress).find(|(name, _)| *name == LAST_APPLIED);
    let applied = applied.and_then(|(_, text)| serde_json::from_str::<Applied>(text).ok());
    applied.is_some_and(|applied| Some(&applied.spec.tls) == present)
}

/// Hashes the fields that users write: annotations, labels and the spec. `spec.tls` and its mark
/// are left out, because we write them too; so is kubectl's copy of the applied object.
fn edition(ingress: &Ingress) -> Edition {
    let ours = |name: &str| {
        name == IN_PLACE_ANNOTATION || name.strip_prefix(ANNOTATION_PREFIX) == Some(FILLED_TLS)
    };
    let marks = annotations(ingress).filter(|(name, _)| !ours(name) && *name != LAST_APPLIED);
    let spec = ingress.spec.as_ref();
    let is_routed = annotations(ingress).any(|(name, _)| name == IN_PLACE_ANNOTATION);
    let rules = spec.and_then(|spec| spec.rules.as_deref());
    let rules =
        rules.map(
            |rules| {
                if is_routed { Cow::Owned(without_ours(rules)) } else { Cow::Borrowed(rules) }
            },
        );
    let spec = spec.map(|spec| (&spec.ingress_class_name, &spec.default_backend, rules));
    let mut hash = StableHash::default();
    let written = (marks.collect::<Vec<_>>(), &ingress.metadata.labels, spec);
    // Never fails: the keys of all maps are text, and a hash takes any bytes.
    _ = serde_json::to_writer(&mut hash, &written);
    Edition(hash.finish())
}

fn mark_of(ingress: &Ingress) -> Option<Mark> {
    let labels = ingress.metadata.labels.iter().flat_map(BTreeMap::keys).map(String::as_str);
    mark(pairs(ingress), labels, class(ingress).name())
}

fn pairs(ingress: &Ingress) -> impl Iterator<Item = (&str, &str)> {
    annotations(ingress).map(|(name, value)| (&**name, &**value))
}

fn annotations(ingress: &Ingress) -> impl Iterator<Item = (&String, &String)> {
    ingress.metadata.annotations.iter().flat_map(BTreeMap::iter)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ingress_acme_actors::domain::desired::plan::plan;
    use ingress_acme_actors::domain::desired::selection::{Selection, select};
    use ingress_acme_actors::domain::ingress::IngressClass;
    use ingress_acme_actors::domain::marks::TLS_ACME;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::marks::OTHER_SOLVER;
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
        let annotations =
            json!({"ingress-acme.dev/renew": "1", "ingress-acme.dev/odd": "1", "else": "2"});
        let view = of(&json!({ "annotations": annotations }), &spec);
        assert_eq!((view.key.to_string().as_str(), &*view.uid), ("web/shop", "u1"));
        assert_eq!(view.rule_hosts, ["b.example.com", "a.example.com"]);
        let first =
            TlsBlock { hosts: vec!["a.example.com".to_owned()], secret_name: Some("a".to_owned()) };
        assert_eq!(view.tls, [first, TlsBlock::default()]);
        assert_eq!(view.annotations, [("renew".to_owned(), "1".to_owned())].into());
        assert_eq!((view.is_solver, view.deleting, view.mark), (false, false, None));
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

    /// `kubectl apply` of a manifest with exactly the `spec.tls` of ours changes no field manager.
    #[test]
    fn a_spec_tls_that_was_applied_since_it_was_filled_in_is_not_marked_as_ours() {
        let block = |secret: &str| json!([{"hosts": ["a.example.com"], "secretName": secret}]);
        let is_marked = |applied: &str, tls: &Value| {
            let mark = "ingress-acme.dev/filled-tls";
            let annotations = json!({mark: "a.example.com", LAST_APPLIED: applied});
            let view = of(&json!({ "annotations": annotations }), &json!({ "tls": tls }));
            view.annotation(FILLED_TLS).is_some()
        };
        let applied = |tls: Value| json!({"spec": {"tls": tls, "rules": []}}).to_string();
        assert!(!is_marked(&applied(block("shop-tls")), &block("shop-tls")));
        for other in [
            applied(block("another")),
            applied(json!([])),
            applied(json!("odd")),
            json!({"spec": {"rules": []}}).to_string(),
            "{".to_owned(),
        ] {
            assert!(is_marked(&other, &block("shop-tls")), "{other}");
        }
    }

    #[test]
    fn an_edit_of_anything_is_another_edition_and_what_we_write_is_none() {
        let spec = json!({"rules": [{"host": "a.example.com"}]});
        let edition = |metadata: Value, spec: &Value| of(&metadata, spec).edition;
        let before = edition(json!({}), &spec);
        let backend = json!({"service": {"name": "shop", "port": {"number": 80}}});
        let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
        let edits = [
            (json!({}), json!({"rules": [{"host": "a.example.com", "http": {"paths": [path]}}]})),
            (json!({}), json!({"rules": spec["rules"], "ingressClassName": "nginx"})),
            (json!({}), json!({"rules": spec["rules"], "defaultBackend": backend})),
            (json!({"annotations": {"nginx.ingress.kubernetes.io/auth-url": "x"}}), spec.clone()),
            (json!({"annotations": {"ingress-acme.dev/partial": "true"}}), spec.clone()),
            (json!({"labels": {"team": "web"}}), spec.clone()),
        ];
        let mut seen = BTreeSet::from([before.0]);
        for (metadata, spec) in edits {
            let shown = format!("{metadata} {spec}");
            assert!(seen.insert(edition(metadata, &spec).0), "{shown}");
        }
        let ours = json!({
            "annotations": {"ingress-acme.dev/filled-tls": "a.example.com", LAST_APPLIED: "{}"},
            "generation": 7, "resourceVersion": "9", "managedFields": [{"manager": "x"}],
        });
        let filled = json!({"rules": spec["rules"], "tls": [{"hosts": ["a.example.com"], "secretName": "shop"}]});
        assert_eq!(edition(ours, &filled), before);
    }

    #[test]
    fn our_own_and_those_of_another_issuer_are_known() {
        let ours = json!({"labels": {"app.kubernetes.io/managed-by": "ingress-acme"}});
        assert!(of(&ours, &json!({})).is_solver);
        assert!(
            !of(&json!({"labels": {"app.kubernetes.io/managed-by": "Helm"}}), &json!({})).is_solver
        );
        let by =
            |name: &str, value: &str| of(&json!({"annotations": {name: value}}), &json!({})).mark;
        let other = |name: &str| Some(Mark::OtherIssuer(name.to_owned()));
        for name in ["cert-manager.io/cluster-issuer", "cert.gardener.cloud/purpose"] {
            assert_eq!(by(name, "true"), other(name));
        }
        assert_eq!(by(TLS_ACME, "true"), Some(Mark::TlsAcme));
        assert_eq!(by("nginx.ingress.kubernetes.io/rewrite-target", "/"), None);
        let solver = json!({"labels": {OTHER_SOLVER: "true"}});
        assert_eq!(of(&solver, &json!({})).mark, other(OTHER_SOLVER));
        let tailscale = of(&json!({}), &json!({"ingressClassName": "tailscale"})).mark;
        assert_eq!(tailscale, Some(Mark::MadeElsewhere("class tailscale".to_owned())));
    }

    #[test]
    fn a_view_of_the_largest_ingress_is_bounded() {
        let hosts: Vec<String> = (0..20_000).map(|n| format!("h{n}.example.com")).collect();
        let rules: Vec<Value> = hosts.iter().map(|host| json!({ "host": host })).collect();
        let mut tls = vec![json!({"hosts": hosts, "secretName": "a".repeat(100_000)})];
        tls.resize(20_000, json!({}));
        let long = "x".repeat(100_000);
        let annotations = json!({
            "ingress-acme.dev/renew": long, "ingress-acme.dev/enabled": long, "ingress-acme.dev/other": long,
            "kubernetes.io/ingress.class": long,
        });
        let view = of(&json!({ "annotations": annotations }), &json!({"rules": rules, "tls": tls}));
        assert_eq!((view.rule_hosts.len(), view.tls[0].hosts.len()), (101, 101));
        assert_eq!((view.tls.len(), view.tls_left_out), (5_000, 15_000));
        assert_eq!(view.long_annotations, ["enabled", "renew"]);
        assert_eq!(view.annotation("enabled").map(str::len), Some(limits::CLASS_NAME));
        assert_eq!(
            (view.annotations.len(), view.class.name().map(str::len)),
            (1, Some(limits::CLASS_NAME))
        );
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

    fn host() -> impl Strategy<Value = String> {
        prop_oneof![
            6 => "[a-z]{1,3}\\.(example|test)\\.com",
            1 => "\\*\\.[a-z]{1,3}\\.com|[0-9.:]{1,15}|[a-z.-]{0,300}",
            1 => ".{0,200}",
        ]
    }

    fn name() -> impl Strategy<Value = Value> {
        prop_oneof![4 => "[a-z]{1,2}".prop_map(Value::from), 1 => ".{0,400}".prop_map(Value::from), 1 => Just(Value::Null)]
    }

    fn block() -> impl Strategy<Value = Value> {
        let hosts = proptest::option::of(prop::collection::vec(host(), 0..130));
        (hosts, name()).prop_map(|(hosts, secret)| json!({"hosts": hosts, "secretName": secret}))
    }

    fn annotations() -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
        let ours = "ingress-acme\\.dev/(enabled|group|key-algorithm|partial|profile|renew|adopt-secret|filled-tls|x)";
        let others =
            "kubernetes\\.io/(ingress\\.class|tls-acme)|cert-manager\\.io/[a-z]{0,400}|.{0,20}";
        let names = prop_oneof![3 => ours, 1 => others];
        let values =
            prop_oneof![2 => "true|false|ecdsa-p256|rsa-2048", 1 => ".{0,400}", 1 => host()];
        prop::collection::btree_map(names, values, 0..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whatever a tenant writes, the view and the plan are bounded by the size of the Ingress,
        /// and each text about it fits into an Event and moves no cursor.
        #[test]
        fn any_ingress_is_a_view_and_a_plan_of_bounded_size(
            hosts in prop::collection::vec(proptest::option::of(host()), 0..250),
            blocks in proptest::option::of(prop::collection::vec(block(), 0..25)),
            annotations in annotations(), class in name(), labels in proptest::option::of(annotations()),
        ) {
            let rules: Vec<Value> = hosts.iter().map(|host| json!({ "host": host })).collect();
            let spec = json!({"rules": rules, "tls": blocks, "ingressClassName": class});
            let view = of(&json!({"annotations": annotations, "labels": labels}), &spec);
            // As many wildcards as other names, and hosts that are neither.
            let kept = 2 * (limits::MAX_NAMES + 1) + limits::BAD_HOSTS + 1;
            prop_assert!(view.rule_hosts.len() <= kept.min(hosts.len()));
            prop_assert!(view.tls.iter().all(|block| block.hosts.len() <= kept));
            prop_assert!(view.annotations.iter().all(|(_, value)| value.len() <= limits::FILLED_TLS));
            prop_assert!(view.class.name().is_none_or(|name| name.len() <= limits::CLASS_NAME));
            _ = select(&Selection::default(), &view).map_err(|why| why.to_string());

            let plan = plan(&view);
            prop_assert!(plan.certificates.len() <= view.tls.len().max(1));
            let secrets: BTreeSet<_> = plan.certificates.iter().map(|one| &one.secret).collect();
            prop_assert_eq!(secrets.len(), plan.certificates.len(), "one certificate for a Secret");
            prop_assert!(plan.certificates.iter().all(|one| (1..=2 * (limits::MAX_NAMES + 1)).contains(&one.names.len())));
            prop_assert!(plan.problems.len() <= limits::PROBLEMS + 2);
            for problem in &plan.problems {
                let text = problem.to_string();
                prop_assert!((1..=limits::QUOTED_MAX).contains(&text.len()), "{}", text);
                prop_assert!(!text.chars().any(char::is_control), "{}", text);
            }
        }
    }
}
