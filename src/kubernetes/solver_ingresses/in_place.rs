//! The challenge path in a user's own Ingress, as pure functions on its rules.
//!
//! The path is the first of its rule, because some controllers match paths in order. Everything
//! else of the Ingress stays, so that the path can be taken out again exactly.

use std::collections::BTreeSet;

use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::rule_host::RuleHost;
use ingress_acme_actors::domain::{ingress::RoutedHosts, limits};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressRule,
};
use serde_json::Value;

use super::{CHALLENGES, challenge_path, host_of, is_challenge_path};
use crate::kubernetes::client::{IN_PLACE_ANNOTATION, IN_PLACE_MANAGER};

/// Rules of a user's Ingress with our paths, and the hosts that have them.
#[derive(Debug, PartialEq)]
pub(super) struct Edit {
    pub(super) rules: Vec<IngressRule>,
    /// Hosts whose rule has our path, to be marked on the Ingress.
    pub(super) marked: BTreeSet<RuleHost>,
    /// Why a host gets none, in words.
    pub(super) refused: Option<String>,
    /// Whether another install has its paths there: nothing may be written.
    pub(super) is_of_others: bool,
}

/// Puts our path into the rules of `hosts`, and takes it out of the others that are marked.
pub(super) fn edit(ingress: &Ingress, hosts: &BTreeSet<RuleHost>, install: &str) -> Edit {
    let (of_install, marked) = mark(ingress).unwrap_or_else(|| (install, BTreeSet::new()));
    let mut rules = ingress.spec.clone().and_then(|spec| spec.rules).unwrap_or_default();
    let mut edit = Edit {
        rules: Vec::new(),
        marked: BTreeSet::new(),
        refused: None,
        is_of_others: of_install != install,
    };
    if edit.is_of_others {
        let other = cut(of_install, limits::SHOWN_MAX);
        edit.refused =
            Some(format!("another install of ingress-acme ({other}) has its path there"));
        return Edit { rules, ..edit };
    }
    for rule in &mut rules {
        let Some(host) = host_of(rule) else { continue };
        let has_ours = paths(rule).any(is_challenge_path);
        match (hosts.contains(&host), marked.contains(&host)) {
            (true, _) if edit.marked.contains(&host) => {}
            (true, true) if has_ours => _ = edit.marked.insert(host),
            (true, _) => match add(rule, &host) {
                Ok(()) => _ = edit.marked.insert(host),
                Err(why) => _ = edit.refused.get_or_insert(why),
            },
            (false, true) => remove(rule),
            (false, false) => {}
        }
    }
    let rule_hosts: BTreeSet<RuleHost> = rules.iter().filter_map(host_of).collect();
    if let Some(host) = hosts.iter().find(|host| !rule_hosts.contains(*host)) {
        edit.refused.get_or_insert_with(|| format!("no rule is for host {host}"));
    }
    Edit { rules, ..edit }
}

fn add(rule: &mut IngressRule, host: &RuleHost) -> Result<(), String> {
    let Some(http) = rule.http.as_mut().filter(|http| !http.paths.is_empty()) else {
        return Err(format!("the rule of host {host} has no paths"));
    };
    let is_theirs = |path: &&HTTPIngressPath| {
        path.path
            .as_deref()
            .is_some_and(|path| path.trim_end_matches('/') == CHALLENGES.trim_end_matches('/'))
    };
    if http.paths.iter().find(is_theirs).is_some() {
        return Err(format!("the rule of host {host} has a path {CHALLENGES} of its own"));
    }
    http.paths.insert(0, challenge_path());
    Ok(())
}

fn remove(rule: &mut IngressRule) {
    let Some(http) = &mut rule.http else { return };
    http.paths.retain(|path| !is_challenge_path(path));
    if http.paths.is_empty() {
        rule.http = None; // the API server refuses a rule with an empty list of paths
    }
}

fn paths(rule: &IngressRule) -> impl Iterator<Item = &HTTPIngressPath> {
    rule.http.iter().flat_map(|HTTPIngressRuleValue { paths }| paths)
}

/// Install and hosts of the mark, as far as they are names.
fn mark(ingress: &Ingress) -> Option<(&str, BTreeSet<RuleHost>)> {
    let mark = ingress.metadata.annotations.as_ref()?.get(IN_PLACE_ANNOTATION)?;
    let (install, hosts) = mark.split_once('/').unwrap_or((mark, ""));
    let hosts = hosts.split(',').take(limits::HOSTS_PER_SOLVER_INGRESS);
    let hosts = hosts.filter(|host| !host.is_empty());
    Some((install, hosts.filter_map(RuleHost::parse).collect()))
}

/// Value of the mark; `None` without hosts.
pub(super) fn mark_of(install: &str, hosts: &BTreeSet<RuleHost>) -> Option<String> {
    let names: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| bare_mark(install) + &names.join(","))
}

/// Value of the mark before the first path is in, and after the last one is out.
pub(super) fn bare_mark(install: &str) -> String {
    format!("{install}/")
}

/// Whether the Ingress has a mark.
pub(super) fn is_marked(ingress: &Ingress) -> bool {
    mark(ingress).is_some()
}

/// Whether the Ingress has these rules and this mark.
pub(super) fn is_there(ingress: &Ingress, rules: &[IngressRule], mark: Option<&String>) -> bool {
    let has = ingress.spec.as_ref().and_then(|spec| spec.rules.as_deref()).unwrap_or_default();
    let annotations = ingress.metadata.annotations.as_ref();
    has == rules && annotations.and_then(|all| all.get(IN_PLACE_ANNOTATION)) == mark
}

/// Our paths in a user's Ingress; `None` without the mark of this install.
pub(super) fn routed(ingress: &Ingress, install: &str) -> Option<RoutedHosts> {
    let (_, marked) = mark(ingress).filter(|(of_install, _)| *of_install == install)?;
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    let ours = rules.filter(|rule| paths(rule).any(is_challenge_path)).filter_map(host_of);
    let hosts = ours.filter(|host| marked.contains(host)).collect();
    Some(RoutedHosts { hosts, writer: writer(ingress).map(Into::into) })
}

/// Field manager that wrote the rules last, if it is not ours.
fn writer(ingress: &Ingress) -> Option<&str> {
    let managers = ingress.metadata.managed_fields.iter().flatten();
    let wrote = managers.filter(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        let rules = fields.and_then(|fields| fields.get("f:spec")?.get("f:rules"));
        rules.is_some_and(Value::is_object)
    });
    let last = wrote.max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?;
    last.manager.as_deref().filter(|manager| *manager != IN_PLACE_MANAGER)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const INSTALL: &str = "ingress-acme";

    fn of(rules: &Value, mark: Option<&str>) -> Ingress {
        let mut annotations = serde_json::Map::new();
        annotations.extend(mark.map(|mark| (IN_PLACE_ANNOTATION.to_owned(), json!(mark))));
        serde_json::from_value(json!({
            "metadata": {"name": "shop", "namespace": "web", "annotations": annotations, "generation": 3},
            "spec": {"rules": rules},
        }))
        .unwrap()
    }

    fn user(host: &str) -> Value {
        let backend = json!({"service": {"name": "shop", "port": {"number": 80}}});
        let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
        json!({"host": host, "http": {"paths": [path]}})
    }

    fn hosts(names: &[&str]) -> BTreeSet<RuleHost> {
        names.iter().map(|name| RuleHost::parse(name).unwrap()).collect()
    }

    /// The Ingress after the edit.
    fn applied(before: &Ingress, edit: &Edit) -> Ingress {
        let mut after = before.clone();
        after.spec.as_mut().unwrap().rules = Some(edit.rules.clone());
        let annotations = after.metadata.annotations.get_or_insert_default();
        let mark = mark_of(INSTALL, &edit.marked).unwrap_or_else(|| format!("{INSTALL}/"));
        annotations.insert(IN_PLACE_ANNOTATION.to_owned(), mark);
        after
    }

    #[test]
    fn the_path_comes_first_in_the_rule_of_its_host_and_the_rest_stays() {
        let before = of(&json!([user("a.example.com"), user("b.example.com"), {}]), None);
        let one = edit(&before, &hosts(&["a.example.com"]), INSTALL);
        assert_eq!((&one.marked, &one.refused), (&hosts(&["a.example.com"]), &None));
        let paths: Vec<usize> = one.rules.iter().map(|rule| paths(rule).count()).collect();
        assert_eq!(paths, [2, 1, 0]);
        assert!(is_challenge_path(&one.rules[0].http.as_ref().unwrap().paths[0]));
        let after = applied(&before, &one);
        assert_eq!(
            edit(&after, &hosts(&["a.example.com"]), INSTALL).rules,
            one.rules,
            "it is there"
        );
        assert_eq!(routed(&after, INSTALL).unwrap().hosts, hosts(&["a.example.com"]));
        let none = edit(&after, &BTreeSet::new(), INSTALL);
        assert_eq!(Some(none.rules), before.spec.unwrap().rules);
        assert!(none.marked.is_empty());
    }

    #[test]
    fn a_wildcard_and_a_rule_without_a_host_have_the_path_too() {
        let mut hostless = user("");
        hostless.as_object_mut().unwrap().remove("host");
        let before = of(&json!([user("*.example.com"), hostless, user("b.example.com")]), None);
        let wanted = hosts(&["*.example.com", "*"]);
        let edited = edit(&before, &wanted, INSTALL);
        assert_eq!((&edited.marked, &edited.refused), (&wanted, &None));
        let after = applied(&before, &edited);
        let mark = after.metadata.annotations.as_ref().unwrap()[IN_PLACE_ANNOTATION].clone();
        assert_eq!(mark, "ingress-acme/*,*.example.com");
        assert_eq!(routed(&after, INSTALL).unwrap().hosts, wanted);
        assert_eq!(Some(edit(&after, &BTreeSet::new(), INSTALL).rules), before.spec.unwrap().rules);
    }

    #[test]
    fn a_path_of_the_user_is_left_alone_and_a_host_without_paths_is_refused_in_words() {
        let mut theirs = user("a.example.com");
        theirs["http"]["paths"][0]["path"] = json!("/.well-known/acme-challenge");
        let cases = [
            (json!([theirs]), "has a path /.well-known/acme-challenge/ of its own"),
            (json!([{"host": "a.example.com"}]), "the rule of host a.example.com has no paths"),
            (json!([user("b.example.com")]), "no rule is for host a.example.com"),
        ];
        for (rules, why) in cases {
            let before = of(&rules, None);
            let edit = edit(&before, &hosts(&["a.example.com"]), INSTALL);
            assert_eq!(Some(edit.rules), before.spec.unwrap().rules);
            assert!(edit.refused.as_ref().unwrap().contains(why), "{:?}", edit.refused);
        }
    }

    #[test]
    fn one_by_hand_without_our_mark_is_not_ours_to_take_out() {
        let mut by_hand = user("a.example.com");
        let ours = serde_json::to_value(challenge_path()).unwrap();
        by_hand["http"]["paths"].as_array_mut().unwrap().push(ours);
        let before = of(&json!([by_hand]), None);
        assert_eq!(
            Some(edit(&before, &BTreeSet::new(), INSTALL).rules),
            before.spec.clone().unwrap().rules
        );
        assert_eq!(routed(&before, INSTALL), None);
        let marked = of(&json!([by_hand]), Some("ingress-acme/a.example.com"));
        assert_eq!(routed(&marked, INSTALL).unwrap().hosts.len(), 1);
    }

    #[test]
    fn the_paths_of_another_install_are_its_own() {
        let before = of(&json!([user("a.example.com")]), Some("second/a.example.com"));
        assert_eq!(routed(&before, INSTALL), None);
        for wanted in [hosts(&[]), hosts(&["a.example.com"])] {
            let edit = edit(&before, &wanted, INSTALL);
            assert_eq!(Some(edit.rules), before.spec.clone().unwrap().rules);
            assert!(edit.refused.unwrap().contains("another install of ingress-acme (second)"));
        }
    }

    #[test]
    fn the_writer_is_the_manager_that_wrote_the_rules_last() {
        let entry = |manager: &str, field: &str, time: &str| {
            let fields = json!({"f:spec": {field: {}}});
            json!({"manager": manager, "operation": "Update", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields})
        };
        let managers = json!([
            entry("kubectl", "f:rules", "2026-11-27T04:00:00Z"),
            entry("argocd-controller", "f:rules", "2026-11-27T04:00:09Z"),
            entry("later", "f:tls", "2026-11-27T04:00:10Z"),
        ]);
        let mut ingress = of(&json!([user("a.example.com")]), Some("ingress-acme/a.example.com"));
        ingress.metadata.managed_fields = serde_json::from_value(managers).unwrap();
        let seen = |ingress: &Ingress| routed(ingress, INSTALL).unwrap().writer;
        assert_eq!(seen(&ingress).as_deref(), Some("argocd-controller"));
        ingress.metadata.managed_fields.as_mut().unwrap()[1].manager =
            Some(IN_PLACE_MANAGER.into());
        assert_eq!(seen(&ingress), None);
        ingress.metadata.managed_fields = None;
        assert_eq!(seen(&ingress), None);
    }

    proptest! {
        /// Whatever the rules are, our path goes in and out, and everything else stays.
        #[test]
        fn any_ingress_is_the_same_again_once_our_paths_are_out(
            names in prop::collection::vec("([a-c]\\.example\\.com|\\*\\.x\\.com|.{0,9})", 0..6),
            wanted in prop::collection::btree_set("[a-c]\\.example\\.com|\\*(\\.x\\.com)?", 0..4),
            mark in proptest::option::of("ingress-acme/.{0,300}"),
        ) {
            let rules: Vec<Value> = names.iter().map(|name| user(name)).collect();
            let before = of(&json!(rules), mark.as_deref());
            let wanted: BTreeSet<RuleHost> = wanted.iter().map(|name| RuleHost::parse(name).unwrap()).collect();
            let edited = edit(&before, &wanted, INSTALL);
            prop_assert!(edited.marked.is_subset(&wanted));
            prop_assert_eq!(edited.refused.is_some(), edited.marked.len() < wanted.len());
            let after = applied(&before, &edited);
            prop_assert_eq!(&routed(&after, INSTALL).unwrap().hosts, &edited.marked);
            prop_assert_eq!(Some(edit(&after, &BTreeSet::new(), INSTALL).rules), before.spec.unwrap().rules);
        }
    }
}
