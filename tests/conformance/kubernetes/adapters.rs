//! The operator's Kubernetes adapters, with the rights of its service account.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use ingress_acme::USER_AGENT;
use ingress_acme::kubernetes::account_secret::AccountSecret;
use ingress_acme::kubernetes::events::KubeEvents;
use ingress_acme::kubernetes::ingresses::Ingresses;
use ingress_acme::kubernetes::journal_segments::SecretSegments;
use ingress_acme::kubernetes::lease::Lease;
use ingress_acme::kubernetes::solver_ingresses::SolverIngresses;
use ingress_acme::kubernetes::tls_secrets::KubeTlsSecrets;
use ingress_acme::pki::inspect;
use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::domain::copied::Copied;
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::ingress::{IngressClass, IngressKey, IngressRef, SecretKey};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::domain::routes::{SolverIngress, SolverName};
use ingress_acme_actors::domain::rule_host::RuleHost;
use ingress_acme_actors::domain::solver_place::SolverPlace;
use ingress_acme_actors::domain::status::kube_event::{KubeEvent, Severity};
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::ports::{
    AccountStore, Clock, CreateError, EventRecorder, IngressChange, IngressSource, Installation,
    PortError, Routes, SecretReads, SegmentNumbers, Segments, StoredAccount, TlsSecrets, Written,
};
use ingress_acme_control_plane::{apply_yaml, eventually};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::installs::installs_keep_their_secrets;
use crate::places::hold_in_users_namespaces;
use crate::secret_watch::the_watch_of_secrets_names_the_deleted_ones_and_no_journal;
use crate::test_cluster::{DIRECTORY, SOON, TestCluster, WEB};

/// A clock that advances one second at each reading.
#[derive(Default)]
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_795_478_400 + self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn steps_back(&self) -> u32 {
        0
    }
}

pub(crate) fn certificate(owners: &[IngressRef]) -> Installation {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["a.example.com".to_owned()]).unwrap();
    let chain = params.self_signed(&key).unwrap().pem();
    Installation {
        leaf: inspect(&chain, Some(&key.serialize_pem())).unwrap(),
        chain,
        key: PrivateKey::from_pem(key.serialize_pem()),
        owners: Some(owners.iter().cloned().collect()),
        renew: Some("1".to_owned()),
        adopt: false,
        directory: DIRECTORY.to_owned(),
        instead_of: None,
        ca: None,
        account: None,
        copied: Copied::default(),
    }
}

fn rule_hosts(hosts: &[&str]) -> BTreeSet<RuleHost> {
    hosts.iter().map(|host| RuleHost::parse(host).unwrap()).collect()
}

fn hosts(names: &[&str]) -> BTreeSet<DnsName> {
    names.iter().map(|name| DnsName::parse(name).unwrap()).collect()
}

pub(crate) fn is_conflict<T>(result: Result<T, PortError>) -> bool {
    matches!(result, Err(PortError::Permanent(failure)) if failure.class == FailureClass::Conflict)
}

/// Runs all scenarios, in an order in which each finds its objects.
pub(crate) async fn hold_their_promises(cluster: &TestCluster) {
    a_certificate_costs_one_read_and_one_write(cluster).await;
    a_foreign_secret_is_never_changed(cluster).await;
    a_foreign_secret_made_between_read_and_write_is_never_changed(cluster).await;
    a_secret_of_ours_that_changed_since_it_was_read_is_read_again(cluster).await;
    a_foreign_secret_is_taken_over_where_the_user_allows_it(cluster).await;
    owners_shrink_and_nothing_else_changes(cluster).await;
    annotations_are_copied_and_go_and_those_of_others_stay(cluster).await;
    installs_keep_their_secrets(cluster).await;
    a_filled_in_spec_tls_is_taken_back_with_our_mark(cluster).await;
    spec_tls_is_filled_in_and_the_user_keeps_the_rest(cluster).await;
    an_ingress_that_is_gone_or_another_is_not_filled(cluster).await;
    the_watch_lists_and_then_follows(cluster).await;
    solver_ingresses_are_written_read_and_deleted(cluster).await;
    a_class_of_any_letters_is_copied_to_the_solver_ingress(cluster).await;
    hold_in_users_namespaces(cluster).await;
    segments_are_written_once_and_deleted_together(cluster).await;
    the_watch_of_secrets_names_the_deleted_ones_and_no_journal(cluster).await;
    the_numbers_of_all_segments_are_listed_page_by_page(cluster).await;
    the_same_event_reported_twice_is_one(cluster).await;
    an_account_is_made_once(cluster).await;
    an_external_account_is_read_as_the_ca_shows_it(cluster).await;
    of_two_candidates_one_leads(cluster).await;
    every_request_of_ours_says_who_asks(cluster).await;
}

async fn a_certificate_costs_one_read_and_one_write(cluster: &TestCluster) {
    let (tls_secrets, key) = (cluster.tls_secrets(), SecretKey::new("web", "tls"));
    assert_eq!(tls_secrets.read(&key).await.unwrap(), None);
    let owner = cluster.shop().await;
    let written =
        tls_secrets.install(&key, certificate(std::slice::from_ref(&owner))).await.unwrap();
    let view = written.unwrap();
    assert!(view.ours && view.is_tls && view.certificate.as_ref().unwrap().key_matches);
    assert_eq!(view.owners, [owner.uid.to_string()].into());
    assert_eq!((view.directory.as_deref(), view.renew.as_deref()), (Some(DIRECTORY), Some("1")));
    assert_eq!(tls_secrets.read(&key).await.unwrap(), Some(view));
    tls_secrets.install(&key, certificate(&[owner])).await.unwrap();
    eventually(SOON, "the audit log", async || {
        let verbs = cluster.verbs("secrets");
        (verbs == [("get".to_owned(), 2), ("patch".to_owned(), 2)].into()).then_some(())
    })
    .await;
}

async fn a_foreign_secret_is_never_changed(cluster: &TestCluster) {
    let kinds = [
        ("empty", "Opaque", json!({})),
        ("other-keys", "Opaque", json!({"password": "QQ=="})),
        ("opaque-tls", "Opaque", json!({"tls.crt": "QQ==", "tls.key": "QQ=="})),
        ("tls-empty", "kubernetes.io/tls", json!({"tls.crt": "", "tls.key": ""})),
    ];
    for (name, kind, data) in kinds {
        let before = cluster.make(name, kind, data).await;
        let (tls_secrets, key) = (cluster.tls_secrets(), SecretKey::new("web", name));
        assert!(is_conflict(tls_secrets.install(&key, certificate(&[])).await), "{name}");
        tls_secrets.read(&key).await.unwrap();
        assert!(is_conflict(tls_secrets.install(&key, certificate(&[])).await), "{name}");
        assert!(
            is_conflict(
                tls_secrets
                    .set_metadata(
                        &key,
                        Some(&[cluster.shop().await].into()),
                        &Copied::default(),
                        None
                    )
                    .await
            ),
            "{name}"
        );
        assert_eq!(cluster.secrets.get(name).await.unwrap(), before);
    }
}

async fn a_foreign_secret_made_between_read_and_write_is_never_changed(cluster: &TestCluster) {
    let kinds = [
        ("race-empty", "Opaque", json!({}), false),
        ("race-other", "Opaque", json!({"password": "QQ=="}), false),
        ("race-tls", "kubernetes.io/tls", json!({"tls.crt": "", "tls.key": ""}), false),
        ("race-unowned", "kubernetes.io/tls", json!({"tls.crt": "", "tls.key": ""}), true),
        ("race-unowned-empty", "Opaque", json!({}), true),
    ];
    for (name, kind, data, unowned) in kinds {
        let (tls_secrets, key) = (cluster.tls_secrets(), SecretKey::new("web", name));
        assert_eq!(tls_secrets.read(&key).await.unwrap(), None);
        let mut before = cluster.make(name, kind, data).await;
        if unowned {
            let patch = Patch::Merge(json!({"metadata": {"managedFields": [{}]}}));
            before = cluster.secrets.patch(name, &PatchParams::default(), &patch).await.unwrap();
        }
        assert!(is_conflict(tls_secrets.install(&key, certificate(&[])).await), "{name}");
        assert_eq!(cluster.secrets.get(name).await.unwrap(), before, "{name}");
    }
}

async fn a_secret_of_ours_that_changed_since_it_was_read_is_read_again(cluster: &TestCluster) {
    let (tls_secrets, key) = (cluster.tls_secrets(), SecretKey::new("web", "tls"));
    tls_secrets.read(&key).await.unwrap();
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"team": "shop"}}}));
    cluster.secrets.patch("tls", &PatchParams::default(), &patch).await.unwrap();
    assert!(tls_secrets.install(&key, certificate(&[])).await.unwrap().unwrap().ours);
    let annotations = cluster.secrets.get("tls").await.unwrap().metadata.annotations.unwrap();
    assert_eq!(annotations.get("team").map(String::as_str), Some("shop"));

    tls_secrets.read(&key).await.unwrap();
    cluster.secrets.delete("tls", &DeleteParams::default()).await.unwrap();
    assert!(tls_secrets.install(&key, certificate(&[])).await.unwrap().unwrap().ours);

    tls_secrets.read(&key).await.unwrap();
    let patch =
        Patch::Merge(json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}}));
    let before = cluster.secrets.patch("tls", &PatchParams::default(), &patch).await.unwrap();
    assert!(is_conflict(tls_secrets.install(&key, certificate(&[])).await));
    assert_eq!(cluster.secrets.get("tls").await.unwrap(), before);
}

async fn a_foreign_secret_is_taken_over_where_the_user_allows_it(cluster: &TestCluster) {
    let tls_secrets = cluster.tls_secrets();
    let adopting = || Installation { adopt: true, ..certificate(&[]) };
    let old = json!({"tls.crt": "QQ==", "tls.key": "QQ==", "ca.crt": "QQ=="});
    cluster.make("adopted", "kubernetes.io/tls", old).await;
    let key = SecretKey::new("web", "adopted");
    assert!(is_conflict(tls_secrets.install(&key, certificate(&[])).await));
    let view = tls_secrets.install(&key, adopting()).await.unwrap().unwrap();
    assert!(view.ours && view.certificate.unwrap().key_matches);
    assert!(cluster.secrets.get("adopted").await.unwrap().data.unwrap().contains_key("ca.crt"));

    let before = cluster.secrets.get("opaque-tls").await.unwrap();
    let key = SecretKey::new("web", "opaque-tls");
    assert!(is_conflict(tls_secrets.install(&key, adopting()).await));
    assert_eq!(cluster.secrets.get("opaque-tls").await.unwrap(), before);

    let patch = Patch::Merge(json!({"immutable": true}));
    cluster.secrets.patch("adopted", &PatchParams::default(), &patch).await.unwrap();
    assert!(is_conflict(tls_secrets.install(&SecretKey::new("web", "adopted"), adopting()).await));
}

async fn owners_shrink_and_nothing_else_changes(cluster: &TestCluster) {
    let (tls_secrets, key) = (cluster.tls_secrets(), SecretKey::new("web", "shared"));
    let shop = cluster.shop().await;
    // An existing owner, since the garbage collector removes dangling references.
    apply_yaml(&cluster.admin, &WEB.replace("name: shop", "name: other")).await.unwrap();
    let uid = cluster.ingresses.get("other").await.unwrap().metadata.uid.unwrap();
    let other = IngressRef { key: IngressKey::new("web", "other"), uid: uid.into() };
    let first =
        tls_secrets.install(&key, certificate(&[shop.clone(), other])).await.unwrap().unwrap();
    assert_eq!(first.owners.len(), 2);
    let one = tls_secrets
        .set_metadata(&key, Some(&[shop.clone()].into()), &Copied::default(), None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(one.owners, [shop.uid.to_string()].into());
    assert_eq!((&one.certificate, &one.renew), (&first.certificate, &first.renew));
    assert!(one.certificate.unwrap().key_matches);
    let none = tls_secrets
        .set_metadata(&key, Some(&BTreeSet::new()), &Copied::default(), None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(none.owners, BTreeSet::new());
    cluster.ingresses.delete("other", &DeleteParams::default()).await.unwrap();
    let gone = SecretKey::new("web", "never-was");
    assert_eq!(
        tls_secrets
            .set_metadata(&gone, Some(&[shop].into()), &Copied::default(), None)
            .await
            .unwrap(),
        None
    );
}

async fn annotations_are_copied_and_go_and_those_of_others_stay(cluster: &TestCluster) {
    let (tls_secrets, key) = (cluster.tls_secrets(), SecretKey::new("web", "copied"));
    let copied = |value: &str| {
        let names = ["reflector.example/allowed", "reflector.example/namespaces"];
        Copied::of(&["reflector.example".to_owned()], names.map(|name| (name, value)))
    };
    let annotations = async || cluster.secrets.get("copied").await.unwrap().metadata.annotations;
    let what = Installation { copied: copied("a"), ..certificate(&[cluster.shop().await]) };
    let first = tls_secrets.install(&key, what).await.unwrap().unwrap();
    assert_eq!(first.copied, copied("a").mark());
    assert_eq!(annotations().await.unwrap()["reflector.example/allowed"], "a");
    let theirs = json!({"metadata": {"annotations": {"reflector.example/at": "2026", "x": "y"}}});
    let by_others = PatchParams::default();
    cluster.secrets.patch("copied", &by_others, &Patch::Merge(theirs)).await.unwrap();
    let now = tls_secrets.set_metadata(&key, None, &copied("b"), None).await.unwrap().unwrap();
    assert_eq!((&now.copied, &now.owners), (&copied("b").mark(), &first.owners));
    assert_eq!(annotations().await.unwrap()["reflector.example/allowed"], "b");
    let none =
        tls_secrets.set_metadata(&key, None, &Copied::default(), None).await.unwrap().unwrap();
    assert_eq!((&none.copied, &none.certificate), (&None, &first.certificate));
    let left = annotations().await.unwrap();
    assert!(!left.contains_key("reflector.example/allowed"), "{left:?}");
    assert_eq!((&*left["reflector.example/at"], &*left["x"]), ("2026", "y"));
}

async fn a_filled_in_spec_tls_is_taken_back_with_our_mark(cluster: &TestCluster) {
    let (tls_secrets, shop, secret) =
        (cluster.tls_secrets(), cluster.shop().await, SecretKey::new("web", "shop"));
    tls_secrets.fill_tls(&shop, &secret, &hosts(&["a.example.com"])).await.unwrap();
    assert!(tls_secrets.take_back_tls(&shop).await.unwrap());
    let left = cluster.ingresses.get("shop").await.unwrap();
    assert!(left.spec.unwrap().tls.is_none_or(|tls| tls.is_empty()));
    let marks = left.metadata.annotations.unwrap_or_default();
    assert!(!marks.contains_key("ingress-acme.dev/filled-tls"), "{marks:?}");
}

async fn spec_tls_is_filled_in_and_the_user_keeps_the_rest(cluster: &TestCluster) {
    let (tls_secrets, shop, secret) =
        (cluster.tls_secrets(), cluster.shop().await, SecretKey::new("web", "shop"));
    tls_secrets.fill_tls(&shop, &secret, &hosts(&["a.example.com"])).await.unwrap();
    let filled = cluster.ingresses.get("shop").await.unwrap();
    let spec = serde_json::to_value(&filled.spec).unwrap();
    assert_eq!(spec["tls"], json!([{"hosts": ["a.example.com"], "secretName": "shop"}]));
    assert_eq!(spec["rules"][0]["host"], "a.example.com");
    assert_eq!(
        filled.metadata.annotations.unwrap()["ingress-acme.dev/filled-tls"],
        "a.example.com"
    );

    tls_secrets
        .fill_tls(&shop, &secret, &hosts(&["a.example.com", "b.example.com"]))
        .await
        .unwrap();
    apply_yaml(&cluster.admin, WEB).await.unwrap();
    let spec = cluster.ingresses.get("shop").await.unwrap().spec.unwrap();
    assert_eq!(spec.tls.unwrap()[0].hosts.as_ref().unwrap().len(), 2);

    let patch = json!({"spec": {"tls": [{"hosts": ["a.example.com"], "secretName": "mine"}]}});
    let patch = Patch::Merge(patch);
    let theirs = cluster.ingresses.patch("shop", &PatchParams::default(), &patch).await.unwrap();
    tls_secrets.fill_tls(&shop, &secret, &hosts(&["a.example.com"])).await.unwrap();
    assert_eq!(cluster.ingresses.get("shop").await.unwrap(), theirs);
}

async fn an_ingress_that_is_gone_or_another_is_not_filled(cluster: &TestCluster) {
    let (tls_secrets, secret) = (cluster.tls_secrets(), SecretKey::new("web", "shop"));
    let before = cluster.ingresses.get("shop").await.unwrap();
    let other =
        IngressRef { uid: "6f7c6b0a-0000-4000-8000-000000000000".into(), ..cluster.shop().await };
    tls_secrets.fill_tls(&other, &secret, &hosts(&["a.example.com"])).await.unwrap();
    assert_eq!(cluster.ingresses.get("shop").await.unwrap(), before);

    // Uses the administrator's rights, because the operator's own rights would hide a mistake.
    let tls_secrets = KubeTlsSecrets::new(cluster.admin.clone());
    let shop = cluster.shop().await;
    cluster.ingresses.delete("shop", &DeleteParams::default()).await.unwrap();
    tls_secrets.fill_tls(&shop, &secret, &hosts(&["a.example.com"])).await.unwrap();
    assert!(cluster.ingresses.get_opt("shop").await.unwrap().is_none());
    let nowhere = IngressRef { key: IngressKey::new("nowhere", "shop"), ..shop };
    tls_secrets.fill_tls(&nowhere, &secret, &hosts(&["a.example.com"])).await.unwrap();
    apply_yaml(&cluster.admin, WEB).await.unwrap();
}

async fn the_watch_lists_and_then_follows(cluster: &TestCluster) {
    let namespaces = ["web".to_owned(), "ingress-acme".to_owned()];
    let source =
        Ingresses::new(cluster.client.clone(), &namespaces, Box::new(|reason| panic!("{reason}")));
    let mut changes = source.watch();
    let mut ended = BTreeSet::new();
    let mut listed = Vec::new();
    while ended.len() < 2 {
        match tokio::time::timeout(SOON, changes.next()).await.unwrap().unwrap() {
            IngressChange::ListBegins(scope) => assert!(scope.is_some()),
            IngressChange::Listed(view) => listed.push(view.key.to_string()),
            IngressChange::ListEnds(scope) => _ = ended.insert(scope),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(listed, ["web/shop"]);
    cluster.ingresses.delete("shop", &DeleteParams::default()).await.unwrap();
    apply_yaml(&cluster.admin, WEB).await.unwrap();
    let deleted = tokio::time::timeout(SOON, changes.next()).await.unwrap().unwrap();
    assert!(
        matches!(deleted, IngressChange::Deleted(key) if key == IngressKey::new("web", "shop"))
    );
    let applied = tokio::time::timeout(SOON, changes.next()).await.unwrap().unwrap();
    assert!(
        matches!(applied, IngressChange::Applied(view) if view.rule_hosts == ["a.example.com"])
    );
    // Without the right to `get` Ingresses.
    let read = source.get(&IngressKey::new("web", "shop")).await.unwrap();
    assert_eq!(
        (read.key.name.as_ref(), read.rule_hosts),
        ("shop", vec!["a.example.com".to_owned()])
    );
    assert_eq!(source.get(&IngressKey::new("web", "nothing")).await, None);
}

fn solver(name: &str, class: IngressClass, names: &[&str]) -> SolverIngress {
    let (name, place) = (SolverName::own(name), SolverPlace::Shared);
    let hosts = rule_hosts(names);
    SolverIngress { name, class, place, hosts, created: None, generation: 0 }
}

async fn solver_ingresses_are_written_read_and_deleted(cluster: &TestCluster) {
    let routes = SolverIngresses::new(cluster.client.clone(), "ingress-acme", "ingress-acme");
    assert_eq!(routes.list().await.unwrap(), []);
    let class = IngressClass::Annotated("nginx".into());
    let name = "ingress-acme-solver-1-0";
    let mut wanted = solver(name, class, &["a.example.com", "b.example.com"]);
    let first = routes.write(&wanted, false).await.unwrap().unwrap();
    let created = routes.list().await.unwrap()[0].created;
    assert!(created.is_some());
    assert_eq!(first, Written { created, generation: 1 });
    (wanted.created, wanted.generation) = (created, 1);
    assert_eq!(routes.list().await.unwrap(), [wanted.clone()]);
    wanted.hosts = rule_hosts(&["*.c.example.com", "*"]);
    let second = routes.write(&wanted, false).await.unwrap();
    let expected = Written { created, generation: 2 };
    assert_eq!(second, Some(expected), "an update does not make it younger");
    wanted.generation = 2;
    assert_eq!(routes.list().await.unwrap(), [wanted.clone()]);
    wanted.hosts = BTreeSet::new();
    routes.write(&wanted, false).await.unwrap();
    routes.write(&wanted, false).await.unwrap();
    assert_eq!(routes.list().await.unwrap(), []);
}

async fn a_class_of_any_letters_is_copied_to_the_solver_ingress(cluster: &TestCluster) {
    let routes = SolverIngresses::new(cluster.client.clone(), "ingress-acme", "ingress-acme");
    for class in ["azure/application-gateway", "a\u{1b}b \"{}\n: é", &"x".repeat(253)] {
        let class = IngressClass::Annotated(class.into());
        let mut wanted = solver("ingress-acme-solver-2-0", class, &["a.example.com"]);
        let written = routes.write(&wanted, false).await.unwrap().unwrap();
        (wanted.created, wanted.generation) = (written.created, written.generation);
        assert_eq!(routes.list().await.unwrap(), std::slice::from_ref(&wanted));
        routes.write(&SolverIngress { hosts: BTreeSet::new(), ..wanted }, false).await.unwrap();
    }
}

async fn segments_are_written_once_and_deleted_together(cluster: &TestCluster) {
    let segments = SecretSegments::new(cluster.client.clone(), "ingress-acme");
    for number in 1..=3 {
        segments.create(number, b"{}").await.unwrap();
    }
    assert_eq!(segments.create(2, b"other").await, Err(CreateError::Exists));
    segments.delete(&[1, 3, 9]).await.unwrap();
    assert_eq!(segments.list(None).await.unwrap().numbers, [2]);
    assert_eq!(segments.read(2).await.unwrap(), Some(b"{}".to_vec()));
    segments.delete(&[2]).await.unwrap();
    assert_eq!(segments.list(None).await.unwrap(), SegmentNumbers::default());
    assert_eq!(segments.read(2).await.unwrap(), None);
}

async fn the_numbers_of_all_segments_are_listed_page_by_page(cluster: &TestCluster) {
    let segments = SecretSegments::new(cluster.client.clone(), "ingress-acme");
    let most = u64::from(limits::SEGMENTS_PAGE);
    for number in 1..=most + 2 {
        segments.create(number, b"{}").await.unwrap();
    }
    let first = segments.list(None).await.unwrap();
    assert_eq!(first.numbers, (1..=most).collect::<Vec<_>>());
    let last = segments.list(first.next.as_deref()).await.unwrap();
    assert_eq!((last.numbers, last.next), (vec![most + 1, most + 2], None));
    let all: Vec<u64> = (1..=most + 2).collect();
    for some in all.chunks(limits::SEGMENTS_DELETED_AT_ONCE) {
        segments.delete(some).await.unwrap();
    }
    assert_eq!(segments.list(None).await.unwrap(), SegmentNumbers::default());
}

async fn the_same_event_reported_twice_is_one(cluster: &TestCluster) {
    let kube_event = KubeEvent {
        severity: Severity::Warning,
        reason: "Failed",
        action: "IssueCertificate",
        note: "the words of the CA".to_owned(),
        lasts: false,
    };
    let shop = cluster.shop().await;
    let gone = IngressRef { key: IngressKey::new("nowhere", "shop"), uid: "u".into() };
    for pod in ["first", "second"] {
        let dropped = Arc::new(AtomicUsize::new(0));
        let hook = dropped.clone();
        let hook = Arc::new(move || _ = hook.fetch_add(1, Ordering::Relaxed));
        let events =
            KubeEvents::start(cluster.client.clone(), pod, Box::new(Ticking::default()), hook);
        events.record(&shop, kube_event.clone());
        events.record(&gone, kube_event.clone());
        tokio::time::timeout(SOON, events.flush()).await.unwrap();
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    }
    let api: Api<Event> = Api::namespaced(cluster.admin.clone(), "web");
    let messages = api.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].reporting_instance.as_deref(), Some("first"));
    assert_eq!(messages[0].regarding.as_ref().unwrap().uid.as_deref(), Some(&*shop.uid));
}

async fn an_account_is_made_once(cluster: &TestCluster) {
    let account = || AccountSecret::new(cluster.client.clone(), "ingress-acme", DIRECTORY, None);
    assert_eq!(account().load().await.unwrap(), None);
    let key = |text: &str| PrivateKey::from_pem(text.to_owned());
    let first = account().create(&key("first"), None).await.unwrap();
    let second = account().create(&key("second"), None).await.unwrap();
    assert_eq!((&first, first.key.pem()), (&second, "first"));
    let url = Some("https://ca.example/account/1".to_owned());
    let wanted = StoredAccount { url, next: Some(key("next")), ..first.clone() };
    let written = account().replace(&wanted).await.unwrap().unwrap();
    let loaded = account().load().await.unwrap().unwrap();
    assert_eq!(loaded, written);
    assert_eq!(StoredAccount { version: first.version.clone(), ..loaded.clone() }, wanted);

    // The second of two concurrent writers gets `None`; an absent key is removed from the Secret.
    let outdated = StoredAccount { next: None, ..wanted };
    assert_eq!(account().replace(&outdated).await.unwrap(), None);
    let newest = StoredAccount { version: loaded.version, ..outdated };
    let written = account().replace(&newest).await.unwrap().unwrap();
    assert_eq!((written.next, written.key, &*written.directory), (None, first.key, DIRECTORY));
}

async fn an_external_account_is_read_as_the_ca_shows_it(cluster: &TestCluster) {
    let named = |name: Option<&str>| {
        let name = name.map(str::to_owned);
        AccountSecret::new(cluster.client.clone(), "ingress-acme", DIRECTORY, name)
    };
    assert!(named(None).external_account().await.unwrap().is_none());
    let api: Api<Secret> = Api::namespaced(cluster.admin.clone(), "ingress-acme");
    // The same two octets in both base64 alphabets.
    for (name, data) in [
        ("url-safe", json!({"kid": "kid-1\n", "hmac": "-_8"})),
        ("padded", json!({"kid": "kid-1", "hmac": "+/8=\n"})),
        ("half", json!({"kid": "kid-1"})),
        ("odd", json!({"kid": "kid-1", "hmac": "no base64!"})),
    ] {
        let secret = json!({"metadata": {"name": name}, "stringData": data});
        api.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    }
    for good in ["url-safe", "padded"] {
        let external = named(Some(good)).external_account().await.unwrap().unwrap();
        assert_eq!((&*external.kid, &external.hmac[..]), ("kid-1", &[0xfb, 0xff][..]), "{good}");
    }
    for (bad, why) in [("missing", "no Secret missing"), ("half", "no hmac"), ("odd", "base64")] {
        let Err(PortError::Permanent(failure)) = named(Some(bad)).external_account().await else {
            panic!("{bad} is read")
        };
        let messages = failure.detail;
        assert!(messages.contains(why) && messages.contains("--eab-secret"), "{messages}");
    }
}

async fn of_two_candidates_one_leads(cluster: &TestCluster) {
    let candidate =
        |me| Lease::new(cluster.client.clone(), "ingress-acme", me, Arc::new(Ticking::default()));
    let (one, two) = (Rc::new(candidate("one")), Rc::new(candidate("two")));
    let (first, second) = (one.clone(), two.clone());
    let first = actix::spawn(async move { first.acquire().await });
    let second = actix::spawn(async move { second.acquire().await });
    let short = Duration::from_secs(1);
    tokio::time::sleep(short).await;
    assert!(first.is_finished() != second.is_finished());
    let (winner, waiting) = if first.is_finished() { (first, second) } else { (second, first) };
    let winner = winner.await.unwrap();
    // Renewals hold the Lease beyond its duration.
    tokio::time::sleep(Duration::from_secs(17)).await;
    assert!(!waiting.is_finished() && !*winner.watch().borrow());
    winner.release().await;
    let next = tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();

    // The holder notices at the next renewal that somebody took the Lease away.
    let leases: Api<k8s_openapi::api::coordination::v1::Lease> =
        Api::namespaced(cluster.admin.clone(), "ingress-acme");
    let patch = Patch::Merge(json!({"spec": {"holderIdentity": "three"}}));
    leases.patch("ingress-acme", &PatchParams::default(), &patch).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), next.lost()).await.unwrap();
    assert!(*next.watch().borrow());
}

async fn every_request_of_ours_says_who_asks(cluster: &TestCluster) {
    let ours = eventually(SOON, "the audit log", async || {
        let ours = cluster.audit();
        (ours.iter().map(|asked| asked.count).sum::<u64>() > 50).then_some(ours)
    })
    .await;
    assert!(ours.iter().all(|asked| asked.user_agent == USER_AGENT));
}
