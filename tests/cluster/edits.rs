//! Edits and deletions that the operator answers soon, on a real API server. Without that, the
//! certificates of these tests would come after an hour or a day, and the tests fail before.

use std::collections::BTreeSet;

use ingress_acme::kubernetes::journal_segments::SecretSegments;
use ingress_acme::process::clock::SystemClock;
use ingress_acme_actors::domain::desired::index::Index;
use ingress_acme_actors::domain::failure::{Failure, FailureClass};
use ingress_acme_actors::domain::ingress::SecretKey;
use ingress_acme_actors::domain::issuance::{
    Command, Event, IssuanceFailed, Record, State, decide,
};
use ingress_acme_actors::fakes;
use ingress_acme_actors::journal::segmented::SegmentedJournal;
use ingress_acme_actors::ports::{Clock, Journal};
use ingress_acme_control_plane::{World, apply_yaml, eventually, retry_when_wedged};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::sites::{PATIENCE, Site, certificate, namespace, secret, verify};
use crate::{alone, operator, operator_with};

const HOST: &str = "shop.example.com";

/// Journals that the certificate in Secret `web/shop` failed a moment ago and is tried again in a
/// day, as release 0.1.0 does.
async fn failed_under_0_1_0(world: &World) {
    let mut index = Index::default();
    index.apply(fakes::named("web", "shop", &[HOST]));
    let stream = SecretKey::new("web", "shop");
    let desired = index.desired(&stream).expect("it was just asked for");
    let (at, failure) = (SystemClock::default().now(), Failure::new(FailureClass::Policy, "no"));
    let failed = decide(&State::Idle, Command::Fail(desired.attempted(), failure), at);
    let Ok(Event::IssuanceFailed(failed)) = failed else { panic!("it has failed") };
    let event = Event::IssuanceFailed(IssuanceFailed { edition: None, ..failed });
    let segments = SecretSegments::new(world.admin(), "ingress-acme");
    let journal = SegmentedJournal::new(std::rc::Rc::new(segments), "0.1.0".to_owned());
    journal.replay(at).await.expect("it is empty");
    journal.append(&[Record { stream, at, event }]).await.expect("it is written");
}

#[actix::test]
async fn an_edit_of_the_class_ends_a_pause_of_a_day_that_release_0_1_0_began() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        failed_under_0_1_0(world).await;
        Site::new("web", "shop", &[HOST]).tls("shop", &[HOST]).class("wrong").create(&client).await;
        Site::new("web", "other", &["other.example.com"]).create(&client).await;
        let _operator = operator(world).await;
        // The failed one is looked at first.
        certificate(&client, "web", "other-tls", &["other.example.com"]).await;
        assert!(secret(&client, "web", "shop").await.is_none());
        assert_eq!(world.orders_created(), 1);
        let ingresses: Api<Ingress> = Api::namespaced(client.clone(), "web");
        let class = Patch::Merge(json!({ "spec": { "ingressClassName": "right" } }));
        ingresses.patch("shop", &PatchParams::default(), &class).await.expect("the class");
        verify(world, &certificate(&client, "web", "shop", &[HOST]).await).await;
        assert_eq!(world.orders_created(), 2);
    })
    .await;
}

#[actix::test]
async fn a_deleted_secret_is_back_long_before_the_next_scan_and_no_secret_is_listed() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        let _operator = operator(world).await;
        Site::new("web", "shop", &[HOST]).tls("shop", &[HOST]).create(&client).await;
        let first = certificate(&client, "web", "shop", &[HOST]).await;
        verify(world, &back_after_its_deletion(&client, &first).await).await;
        assert_eq!(world.certificates_issued(), 2);
        let verbs = verbs_on_secrets(world, "web");
        assert!(verbs.contains("get"), "{verbs:?}");
        assert!(!verbs.contains("list") && !verbs.contains("watch"), "{verbs:?}");
    })
    .await;
}

/// Deletes the Secret `web/shop`, and waits for the next one.
async fn back_after_its_deletion(client: &kube::Client, first: &Secret) -> Secret {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "web");
    secrets.delete("shop", &DeleteParams::default()).await.expect("the Secret is deleted");
    eventually(PATIENCE, "the Secret is back", async || {
        secret(client, "web", "shop").await.filter(|one| one.metadata.uid != first.metadata.uid)
    })
    .await
}

/// Verbs of the operator's requests for Secrets of a namespace; of all of them if it is empty.
fn verbs_on_secrets(world: &World, namespace: &str) -> BTreeSet<String> {
    let audit = world.audit();
    let of_secrets = audit.iter().filter(|entry| {
        entry.user.ends_with(":ingress-acme")
            && entry.resource == "secrets"
            && entry.namespace == namespace
    });
    of_secrets.map(|entry| entry.verb.clone()).collect()
}

#[actix::test]
async fn with_the_rights_of_watch_secrets_yaml_a_deleted_secret_is_back_without_a_request_by_name()
{
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        let without_rights = operator_with(world, &["--watch-secrets"]).await;
        Site::new("web", "shop", &[HOST]).tls("shop", &[HOST]).create(&client).await;
        let first = certificate(&client, "web", "shop", &[HOST]).await;
        let second = back_after_its_deletion(&client, &first).await;
        assert_eq!(without_rights.terminate().await.expect("it ends"), 0);
        let rights = include_str!("../../deploy/watch-secrets.yaml");
        apply_yaml(&client, rights).await.expect("the manifest");
        let operator = operator_with(world, &["--watch-secrets", "--secret-checks", "0"]).await;
        let third = back_after_its_deletion(&client, &second).await;
        verify(world, &third).await;
        assert_eq!(world.certificates_issued(), 3);
        assert_eq!(operator.terminate().await.expect("it ends"), 0);
        eventually(PATIENCE, "the audit log, which has a watch when it ends", async || {
            let verbs = verbs_on_secrets(world, "");
            (verbs.contains("list") && verbs.contains("watch")).then_some(())
        })
        .await;
    })
    .await;
}
