//! Tests of the choice of Secrets, and of Ingresses that share one.

use std::collections::BTreeSet;

use super::*;
use crate::domain::desired::plan::tests::{ingress, named, names};
use crate::domain::desired::selection::Selection;
use crate::domain::marks::Mark;
use crate::domain::public_name::PublicCa;
use crate::domain::time::Timestamp;

fn key(name: &str) -> IngressKey {
    IngressKey::new("web", name)
}

fn secret(name: &str) -> SecretKey {
    SecretKey::new("web", name)
}

fn at(secs: i64, view: IngressView) -> IngressView {
    IngressView { created: Timestamp::from_secs(secs), ..view }
}

fn index_of(views: impl IntoIterator<Item = IngressView>) -> Index {
    let mut index = Index::default();
    views.into_iter().for_each(|view| _ = index.apply(view));
    index
}

#[test]
fn an_ingress_has_its_hosts_and_no_certificate_until_its_secret_is_chosen() {
    let mut index = index_of([ingress("web", "shop", &["a.example.com"])]);
    assert!(index.is_open(&key("shop")) && index.planned(&key("shop")).is_empty());
    assert!(!index.is_wanted(&secret("shop-tls")));
    index.choose(&key("shop"), "shop-tls");
    assert!(!index.is_open(&key("shop")));
    let desired = index.desired(&secret("shop-tls")).unwrap();
    assert_eq!((desired.names, desired.fill.len()), (names(&["a.example.com"]), 1));
    index.remove(&key("shop"));
    assert!(!index.is_wanted(&secret("shop-tls")));
}

#[test]
fn of_ingresses_with_the_same_hosts_the_oldest_chooses_and_the_others_follow() {
    let hosts = ["a.example.com", "b.example.com"];
    let views = [("one", 9), ("two", 3), ("three", 6)]
        .map(|(name, secs)| at(secs, ingress("web", name, &hosts)));
    let mut index = index_of(views);
    index.apply(at(0, ingress("web", "other", &hosts[..1])));
    index.apply(at(0, ingress("api", "elsewhere", &hosts)));
    assert_eq!(index.first_to_choose(&key("one")), Some(key("two")));
    assert_eq!(index.shared(&key("one")), []);
    index.choose(&key("two"), "two-tls");
    let of_two = (secret("two-tls"), false);
    assert_eq!(index.shared(&key("one")), std::slice::from_ref(&of_two));
    assert_eq!(index.shared(&key("other")), [], "one host less");
    index.apply(at(99, named("web", "mine", &hosts)));
    let named_first = [(secret("mine"), true), of_two];
    assert_eq!(index.shared(&key("one")), named_first, "its user named it");
}

#[test]
fn ingresses_that_ask_for_different_certificates_share_none() {
    for (name, value) in [("profile", "x"), ("key-algorithm", "rsa-2048"), ("partial", "true")] {
        let mut other = ingress("web", "other", &["a.example.com"]);
        other.annotations.insert(name.to_owned(), value.to_owned());
        let mut index = index_of([named("web", "mine", &["a.example.com"]), other]);
        assert_eq!(index.shared(&key("other")), [], "{name}");
        index.apply(ingress("web", "other", &["a.example.com"]));
        assert_eq!(index.shared(&key("other")), [(secret("mine"), true)]);
    }
}

#[test]
fn a_secret_for_other_hosts_is_not_chosen_and_one_for_the_same_is_shared() {
    let mut index = index_of([
        ingress("web", "a", &["a.example.com"]),
        ingress("web", "c", &["b.example.com"]),
        named("web", "a-tls", &["b.example.com"]),
    ]);
    assert_eq!(index.holder(&key("a"), &secret("a-tls"), None, false), Holder::Another);
    index.choose(&key("a"), "a-tls");
    assert!(index.is_open(&key("a")), "it would be merged");
    index.choose(&key("c"), "a-tls");
    let desired = index.desired(&secret("a-tls")).unwrap();
    assert_eq!((desired.names, desired.owners.len()), (names(&["b.example.com"]), 2));
}

#[test]
fn a_secret_that_an_ingress_of_another_issuer_names_is_not_free_before_it_is_there() {
    let theirs = IngressView {
        mark: Some(Mark::OtherIssuer("cert-manager.io/issuer".to_owned())),
        ..named("web", "shop-tls", &["b.example.com"])
    };
    let mut index = index_of([ingress("web", "shop", &["a.example.com"]), theirs]);
    let of = |index: &Index, is_live: bool| {
        index.holder(&key("shop"), &secret("shop-tls"), None, is_live)
    };
    assert_eq!([of(&index, false), of(&index, true)], [Holder::Another; 2]);
    index.remove(&key("shop-tls"));
    assert_eq!(of(&index, false), Holder::Nobody);
}

#[test]
fn an_issuance_of_an_ingress_named_a_tls_is_not_that_of_ingress_a() {
    let index = index_of([
        ingress("web", "a", &["a.example.com"]),
        ingress("web", "a-tls", &["b.example.com"]),
    ]);
    let live = |name: &str| index.holder(&key(name), &secret("a-tls"), None, true);
    assert_eq!([live("a"), live("a-tls")], [Holder::Another, Holder::ThisIngress]);
    let free = index.holder(&key("a"), &secret("a-tls"), None, false);
    assert_eq!(free, Holder::Nobody);
}

#[test]
fn an_edit_keeps_the_chosen_secret_and_parts_from_sharers_with_other_hosts() {
    let host = ["a.example.com"];
    let mut index = index_of(["one", "two"].map(|name| ingress("web", name, &host)));
    index.choose(&key("one"), "one-tls");
    index.choose(&key("two"), "one-tls");
    let changed = index.apply(ingress("web", "two", &["b.example.com"]));
    assert_eq!(changed, [key("one"), key("two")]);
    assert!(index.is_open(&key("two")));
    assert_eq!(index.desired(&secret("one-tls")).unwrap().names, names(&host));
    index.choose(&key("two"), "two-tls");
    index.apply(ingress("web", "two", &["c.example.com"]));
    let alone = index.desired(&secret("two-tls")).unwrap();
    assert_eq!(alone.names, names(&["c.example.com"]), "nobody shares it");
}

#[test]
fn an_edit_parts_from_sharers_also_where_nothing_is_filled_in() {
    let selection = Selection { leaves_tls: true, ..Selection::default() };
    let mut index = Index::new(selection, None);
    let filled = |name: &str, hosts: &[&str]| {
        let mut view = named("web", "one-tls", &["a.example.com"]);
        (view.key, view.rule_hosts) = (key(name), ingress("web", name, hosts).rule_hosts);
        view.annotations.insert("filled-tls".to_owned(), "a.example.com".to_owned());
        view
    };
    for name in ["one", "two"] {
        index.apply(filled(name, &["a.example.com"]));
    }
    index.apply(filled("two", &["b.example.com"]));
    assert!(index.is_open(&key("two")));
    assert_eq!(index.desired(&secret("one-tls")).unwrap().names, names(&["a.example.com"]));
}

#[test]
fn who_was_given_a_named_secret_parts_when_its_user_moves_it_to_other_hosts() {
    let mut index = index_of([
        named("web", "mine", &["a.example.com"]),
        ingress("web", "oauth", &["a.example.com"]),
    ]);
    index.choose(&key("oauth"), "mine");
    let changed = index.apply(named("web", "mine", &["b.example.com"]));
    assert_eq!(changed, [key("mine"), key("oauth")]);
    assert!(index.is_open(&key("oauth")));
    assert_eq!(index.desired(&secret("mine")).unwrap().names, names(&["b.example.com"]));
}

#[test]
fn edits_of_before_the_start_part_before_the_first_scan() {
    let filled = |name: &str, hosts: &[&str]| {
        let mut view = named("web", "one-tls", &["a.example.com"]);
        (view.key, view.rule_hosts) = (key(name), ingress("web", name, hosts).rule_hosts);
        view.annotations.insert("filled-tls".to_owned(), "a.example.com".to_owned());
        view
    };
    let both = [filled("one", &["a.example.com"]), filled("two", &["b.example.com"])];
    let mut index = index_of(both);
    index.part_all(&None);
    assert!(index.is_open(&key("two")) && !index.is_open(&key("one")));
}

#[test]
fn a_secret_name_that_the_user_edits_in_what_we_filled_in_is_kept_when_hosts_are_added() {
    let edited = |name: &str, hosts: &[&str]| {
        let mut view = named("web", "my-certificate", &["a.example.com"]);
        view.key = key(name);
        view.annotations.insert("filled-tls".to_owned(), "a.example.com".to_owned());
        IngressView { rule_hosts: ingress("web", name, hosts).rule_hosts, ..view }
    };
    let mut index = index_of(["one", "two"].map(|name| edited(name, &["a.example.com"])));
    let both = ["a.example.com", "b.example.com"];
    index.apply(edited("two", &both));
    assert!(!index.is_open(&key("two")));
    let desired = index.desired(&secret("my-certificate")).unwrap();
    assert_eq!(desired.names, names(&both), "the Secret that its site names has the new host");
}

#[test]
fn an_ingress_that_must_get_no_certificate_keeps_no_host_from_another_namespace() {
    let canary = ingress("web", "canary", &["a.example.com"]);
    let mut index =
        index_of([IngressView { mark: Some(Mark::Canary("x.io/canary")), ..canary.clone() }]);
    index.choose_none(&key("canary"));
    index.apply(named("api", "shop", &["a.example.com"]));
    let of_api = |index: &Index| index.desired(&SecretKey::new("api", "shop")).unwrap();
    assert_eq!(of_api(&index).names, names(&["a.example.com"]));
    index.apply(canary);
    assert_eq!(of_api(&index).undecided, names(&["a.example.com"]), "it is no canary any more");
    index.remove(&key("canary"));
    assert_eq!(of_api(&index).names, names(&["a.example.com"]));
}

#[test]
fn nothing_is_told_of_an_ingress_that_must_get_no_certificate() {
    let selection = Selection { public_ca: PublicCa::Yes, ..Selection::default() };
    let mut index = Index::new(selection, None);
    let canary = ingress("web", "canary", &["db.internal", "a.example.com", "*.example.com"]);
    index.apply(IngressView { mark: Some(Mark::Canary("x.io/canary")), ..canary.clone() });
    assert_eq!(index.problems(&key("canary")), Some(BTreeSet::new()));
    index.apply(canary);
    assert_eq!(index.problems(&key("canary")).unwrap().len(), 2);
}

#[test]
fn an_ingress_that_must_get_no_certificate_keeps_what_it_has_or_nothing() {
    let canary = |name: &str| IngressView {
        mark: Some(Mark::Canary("x.io/canary")),
        ..ingress("web", name, &["a.example.com"])
    };
    let mut index = index_of([canary("one"), canary("two")]);
    assert!(index.only_keeps(&key("one")));
    index.choose(&key("one"), "one");
    assert!(index.desired(&secret("one")).unwrap().renew_only);
    index.choose_none(&key("two"));
    assert!(!index.is_open(&key("two")) && index.planned(&key("two")).is_empty());
    index.apply(ingress("web", "new", &["a.example.com"]));
    assert_eq!(index.shared(&key("new")), [], "a canary's is not shared");
}
