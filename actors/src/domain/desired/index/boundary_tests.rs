//! Answers of the index at their boundaries: for one and for several Ingresses of a Secret, in one
//! and in several namespaces.

use std::rc::Rc;

use super::*;
use crate::domain::certificate::{CertificateView, KeyAlgorithm};
use crate::domain::desired::plan::tests::{block, ingress, named, names};
use crate::domain::desired::problem::Problem;
use crate::domain::dns::account::DnsAccounts;
use crate::domain::limits;
use crate::domain::marks::Mark;
use crate::domain::public_name::PublicCa;
use crate::domain::time::Timestamp;
use crate::domain::validity::check::tests::secret as certificate_of;

fn key(name: &str) -> IngressKey {
    IngressKey::new("web", name)
}

fn secret(name: &str) -> SecretKey {
    SecretKey::new("web", name)
}

/// An Ingress with one block for its host, in Secret `shared`.
fn sharer(name: &str, annotations: &[(&str, &str)]) -> IngressView {
    let host = format!("{name}.example.com");
    let mut view = ingress("web", name, &[&host]);
    view.tls = vec![block("shared", &[&host])];
    view.annotations =
        annotations.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    view
}

fn index_of(views: impl IntoIterator<Item = IngressView>) -> Index {
    let mut index = Index::default();
    views.into_iter().for_each(|view| _ = index.apply(view));
    index
}

fn shared(views: impl IntoIterator<Item = IngressView>) -> DesiredCertificate {
    index_of(views).desired(&secret("shared")).unwrap()
}

#[test]
fn a_watch_covers_its_namespace_or_all() {
    let web: WatchScope = Some("web".into());
    assert!(covers(&web, "web") && !covers(&web, "api"));
    assert!(covers(&None, "web") && covers(&None, "api"));
}

#[test]
fn a_secret_is_wanted_by_its_first_user_and_shared_by_the_second() {
    let answers =
        |index: &Index| (index.is_wanted(&secret("shared")), index.is_shared(&secret("shared")));
    let mut index = Index::default();
    assert_eq!(answers(&index), (false, false));
    index.apply(sharer("a", &[]));
    assert_eq!(answers(&index), (true, false));
    index.apply(sharer("b", &[]));
    assert_eq!(answers(&index), (true, true));
    index.remove(&key("a"));
    assert_eq!(answers(&index), (true, false));
}

#[test]
fn orphans_are_taken_by_namespace_and_come_back_unless_they_are_in_use_again() {
    let views = [named("web", "a", &["a.example.com"]), named("api", "b", &["b.example.com"])];
    let mut index = index_of(views.clone());
    index.apply(named("web", "c", &["c.example.com"]));
    for one in [key("a"), IngressKey::new("api", "b"), key("c")] {
        index.remove(&one);
    }
    let orphans = index.take_orphans(&"web".into());
    assert_eq!(orphans, [secret("a"), secret("c")]);
    assert_eq!(index.take_orphans(&"web".into()), []);
    index.apply(views[0].clone());
    index.return_orphans(orphans);
    assert_eq!(index.take_orphans(&"web".into()), [secret("c")]);
    assert_eq!(index.take_orphans(&"api".into()), [SecretKey::new("api", "b")]);
}

#[test]
fn a_limit_is_needed_elsewhere_while_others_are_managed_there() {
    let other = |name: &str| ingress("api", name, &["www.shop.com"]);
    let mut index = index_of([ingress("web", "a", &["www.example.com"])]);
    assert!(!index.is_needed_elsewhere("web", None), "there is one namespace");
    index.apply(other("one"));
    index.apply(other("two"));
    assert!(index.is_needed_elsewhere("web", None));
    assert!(index.is_needed_elsewhere("web", Some("shop.com")));
    assert!(!index.is_needed_elsewhere("web", Some("example.com")), "its own domain");
    assert!(index.is_needed_elsewhere("api", Some("example.com")));
    index.remove(&IngressKey::new("api", "one"));
    assert!(index.is_needed_elsewhere("web", None));
    index.remove(&IngressKey::new("api", "two"));
    assert!(!index.is_needed_elsewhere("web", None));
    assert!(!index.is_needed_elsewhere("web", Some("shop.com")));
}

#[test]
fn the_reason_against_an_ingress_is_kept() {
    let theirs = IngressView { mark: Some(Mark::OtherIssuer("x/y".into())), ..sharer("a", &[]) };
    let index = index_of([theirs, sharer("b", &[])]);
    assert!(matches!(index.skip(&key("a")), Some(Skip::OtherIssuer(_))));
    assert_eq!(index.skip(&key("b")), None);
    assert_eq!(index.managed().collect::<Vec<_>>(), [&key("b")]);
}

#[test]
fn one_sharer_is_enough_to_adopt_a_secret_and_all_are_needed_for_a_subset() {
    let (adopt, partial) = (("adopt-secret", "true"), ("partial", "true"));
    let of = |a: &[(&str, &str)], b: &[(&str, &str)]| {
        let desired = shared([sharer("a", a), sharer("b", b)]);
        (desired.adopt, desired.partial)
    };
    assert_eq!(of(&[], &[]), (false, false));
    assert_eq!(of(&[adopt], &[]), (true, false));
    assert_eq!(of(&[partial], &[partial]), (false, true));
    assert_eq!(of(&[partial], &[("partial", "false")]), (false, false));
    assert_eq!(of(&[("adopt-secret", "false")], &[]), (false, false));
}

#[test]
fn the_strongest_key_that_a_sharer_asks_for_is_used() {
    let algorithm = |value: &str| shared([sharer("a", &[("key-algorithm", value)])]).algorithm;
    assert_eq!(algorithm("ecdsa-p384"), KeyAlgorithm::EcdsaP384);
    assert_eq!(algorithm("ed25519"), KeyAlgorithm::EcdsaP256, "the default");
    let both = [sharer("a", &[("key-algorithm", "ecdsa-p384")]), sharer("b", &[])];
    assert_eq!(shared(both).algorithm, KeyAlgorithm::EcdsaP384);
}

#[test]
fn the_flag_decides_about_the_key_where_no_sharer_asks_for_one() {
    for (value, expected) in [
        (None, KeyAlgorithm::Rsa4096),
        (Some("ed25519"), KeyAlgorithm::Rsa4096),
        (Some("ecdsa-p256"), KeyAlgorithm::EcdsaP256),
    ] {
        let mut index =
            Index::new(Selection::default(), None).with_algorithm(KeyAlgorithm::Rsa4096);
        let asked: Vec<_> = value.iter().map(|value| ("key-algorithm", *value)).collect();
        index.apply(sharer("a", &asked));
        index.apply(sharer("b", &[]));
        let secret = index.planned(&key("a"))[0].secret.clone();
        assert_eq!(index.desired(&secret).unwrap().algorithm, expected, "{value:?}");
    }
}

#[test]
fn a_secret_with_a_sharer_that_may_have_new_certificates_may_have_them() {
    let mut many = sharer("many", &[]);
    let other = |n: usize| block(&format!("s{n}"), &["many.example.com"]);
    many.tls = (0..limits::TLS_BLOCKS).map(other).chain(many.tls).collect();
    let index = index_of([many.clone()]);
    assert!(index.desired(&secret("shared")).unwrap().renew_only);
    assert!(!index.desired(&secret("s0")).unwrap().renew_only);
    assert!(!shared([many, sharer("one", &[])]).renew_only);
}

#[test]
fn more_sharers_than_own_a_secret_are_told_once_on_the_first() {
    let views = |count: usize| (0..count).map(|n| sharer(&format!("i{n:03}"), &[]));
    let told = |index: &Index, name: &str| {
        let problems = index.problems(&key(name)).unwrap();
        problems.iter().any(|one| matches!(one, Problem::ManySharers { .. }))
    };
    let index = index_of(views(limits::SHARERS));
    assert!(!told(&index, "i000"));
    assert_eq!(index.desired(&secret("shared")).unwrap().owners.len(), limits::SHARERS);
    let index = index_of(views(limits::SHARERS + 1));
    assert!(told(&index, "i000") && !told(&index, "i001"));
    assert_eq!(index.desired(&secret("shared")).unwrap().owners.len(), limits::SHARERS);
}

#[test]
fn each_change_of_a_plan_is_work_and_nothing_else_is() {
    let before = sharer("a", &[]);
    let changed = |change: fn(&mut IngressView)| {
        let mut index = index_of([before.clone()]);
        let mut after = before.clone();
        change(&mut after);
        !index.apply(after).is_empty()
    };
    assert!(!changed(|view| view.created = Timestamp::from_secs(9)));
    assert!(changed(|view| view.uid = "another".into()));
    assert!(changed(|view| view.class = crate::domain::ingress::IngressClass::Named("x".into())));
    assert!(!changed(|view| view.rule_hosts.clear()), "the block has hosts of its own");
    assert!(changed(|view| view.tls[0].hosts.push("bad_host".to_owned())));
    assert!(changed(|view| view.tls[0].hosts = vec!["b.example.com".to_owned()]));
    assert!(changed(|view| _ = view.annotations.insert("profile".into(), "x".into())));
}

/// An Ingress with a public and an internal name.
fn internal(namespace: &str) -> IngressView {
    let hosts = [format!("www.{namespace}.com"), format!("db-{namespace}.internal")];
    named(namespace, "shop", &hosts.each_ref().map(String::as_str))
}

fn by_address(views: impl IntoIterator<Item = IngressView>) -> Index {
    let selection = Selection { public_ca: PublicCa::ByAddress, ..Selection::default() };
    let mut index = Index::new(selection, None);
    views.into_iter().for_each(|view| _ = index.apply(view));
    index
}

#[test]
fn a_certificate_for_an_internal_name_proves_a_private_ca_to_its_namespace() {
    let tls = vec![block("plain", &["plain.example.com"])];
    let plain = IngressView { tls, ..ingress("web", "plain", &["plain.example.com"]) };
    let mut index = by_address([internal("web"), internal("api"), plain]);
    let names_of = |index: &Index, namespace: &str| {
        index.desired(&SecretKey::new(namespace, "shop")).unwrap().names
    };
    assert_eq!(names_of(&index, "web"), names(&["www.web.com"]));
    assert_eq!(index.possible_proofs(&key("shop")), [secret("shop"), secret("shop")]);
    assert_eq!(index.possible_proofs(&key("plain")), [], "nothing is left out");
    assert!(index.may_be_proven() && index.is_unproven("web"));
    assert_eq!(index.prove_private(&"web".into()), [key("shop")]);
    assert_eq!(index.prove_private(&"web".into()), [], "it is known");
    assert!(!index.is_unproven("web") && index.is_unproven("api"));
    assert_eq!(names_of(&index, "web"), names(&["db-web.internal", "www.web.com"]));
    assert_eq!(names_of(&index, "api"), names(&["www.api.com"]));
    assert_eq!(index.possible_proofs(&key("shop")), []);
    let private = index_of([internal("web")]);
    assert!(!private.may_be_proven() && !private.is_unproven("web"));
    assert_eq!(private.possible_proofs(&key("shop")), []);
}

#[test]
fn an_internal_name_among_public_ones_is_found_in_a_certificate() {
    let of = |hosts: &[&str]| -> CertificateView {
        let life = std::time::Duration::from_hours(1);
        certificate_of(hosts, Timestamp::default(), life).certificate.unwrap()
    };
    assert!(has_internal_names(&of(&["www.example.com", "db.internal"])));
    assert!(!has_internal_names(&of(&["www.example.com"])));
    assert!(!has_internal_names(&of(&["*.internal"])), "a wildcard is no name of ours");
}

/// An Ingress that joins the group of its domain.
fn member(name: &str) -> IngressView {
    let mut view = ingress("web", name, &[&format!("{name}.example.com")]);
    view.annotations.insert("group".into(), "true".into());
    view
}

#[test]
fn members_of_a_group_share_a_certificate_until_they_leave() {
    let mut index = index_of(["a", "b"].map(member));
    let group = secret("group-example.com");
    let desired = index.desired(&group).unwrap();
    assert_eq!(desired.names, names(&["a.example.com", "b.example.com"]));
    assert!(desired.grouped && desired.partial && desired.keeps_surplus);
    let mut left = member("b");
    left.annotations.clear();
    assert_eq!(index.apply(left), [key("a"), key("b")]);
    index.choose(&key("b"), "b");
    assert_eq!(index.desired(&group).unwrap().names, names(&["a.example.com"]));
    assert_eq!(index.desired(&secret("b")).unwrap().names, names(&["b.example.com"]));
    index.remove(&key("a"));
    assert_eq!(index.desired(&group), None);
    assert!(!index.desired(&secret("b")).unwrap().grouped);
}

#[test]
fn a_group_with_too_many_names_is_split_and_each_member_is_in_one_part() {
    let count = limits::GROUP_NAMES + 1;
    let index = index_of((0..count).map(|n| member(&format!("i{n}"))));
    let parts = ["group-example.com-0", "group-example.com-1"].map(secret);
    let of = |part: &SecretKey| index.desired(part).unwrap().names;
    let (one, other) = (of(&parts[0]), of(&parts[1]));
    assert!(one.is_disjoint(&other));
    assert_eq!(one.len() + other.len(), count);
    assert_eq!(index.desired(&secret("group-example.com")), None);
    for n in 0..count {
        let [used] = &index.secrets(&key(&format!("i{n}")))[..] else { panic!("one Secret") };
        assert!(parts.contains(used), "{used}");
    }
}

fn entry(view: IngressView) -> IndexedIngress {
    let (only_public, space) = (false, Space::default());
    let (cas, dns_accounts) = (Rc::default(), &DnsAccounts::default());
    let terms = Terms { cas, dns_accounts, only_public, space, most: 0, leaves_tls: false };
    IndexedIngress::new(view, None, terms)
}

#[test]
fn a_group_is_computed_again_if_its_names_or_its_parts_in_use_may_have_changed() {
    let moves = |new: IngressView, old: IngressView| entry(new).moves(&entry(old));
    let filled = |name: &str| {
        let host = format!("{name}.example.com");
        let mut view = member(name);
        view.tls = vec![block("group-example.com", &[&host])];
        view.annotations.insert("filled-tls".into(), host);
        view
    };
    assert!(!moves(member("a"), member("a")));
    let plain = || ingress("web", "a", &["a.example.com"]);
    assert!(!moves(plain(), plain()), "it is in no group");
    assert!(moves(member("a"), plain()) && moves(plain(), member("a")));
    let other_host = IngressView { rule_hosts: vec!["b.example.com".into()], ..member("a") };
    assert!(moves(other_host, member("a")));
    let other_domain = IngressView { rule_hosts: vec!["a.example.org".into()], ..member("a") };
    assert!(moves(other_domain, member("a")));
    assert!(!moves(filled("a"), member("a")), "we have filled it in");
    assert!(moves(member("a"), filled("a")), "somebody took it out");
}

#[test]
fn an_ingress_is_filled_in_until_it_lists_the_names_that_it_may_have() {
    let fill = |tls: Vec<crate::domain::ingress::TlsBlock>, filled: &str| {
        let mut view = ingress("web", "shop", &["a.example.com", "www.example.com"]);
        view.tls = tls;
        view.annotations.insert("filled-tls".into(), filled.into());
        let mut index = index_of([ingress("api", "shop", &["www.example.com"]), view]);
        index.choose(&key("shop"), "shop");
        let host = names(&["www.example.com"]).pop_first().unwrap();
        let held_until = Some(Timestamp::from_secs(9));
        index.record_holder((&host, &"api".into()), held_until, Timestamp::from_secs(0));
        index.record_holder((&host, &"web".into()), None, Timestamp::from_secs(0));
        let desired = index.desired(&secret("shop")).unwrap();
        assert_eq!(desired.names, names(&["a.example.com"]));
        (desired.fill.len(), desired.moving.len())
    };
    assert_eq!(fill(Vec::new(), ""), (1, 0));
    let whole = block("shop", &["a.example.com", "www.example.com"]);
    assert_eq!(fill(vec![whole], "a.example.com,www.example.com"), (0, 0), "it lists all of them");
    let part = block("shop", &["a.example.com"]);
    assert_eq!(fill(vec![part], "a.example.com"), (0, 0), "as far as possible");
}

#[test]
fn an_ingress_that_names_another_secret_so_far_is_moving_to_that_of_its_group() {
    let moving = |used: &str| {
        let mut view = member("a");
        view.tls = vec![block(used, &["a.example.com"])];
        view.annotations.insert("filled-tls".into(), "a.example.com".into());
        let desired = index_of([view]).desired(&secret("group-example.com")).unwrap();
        (desired.fill.len(), desired.moving.len())
    };
    assert_eq!(moving("a"), (1, 1));
    assert_eq!(moving("group-example.com"), (0, 0));
}
