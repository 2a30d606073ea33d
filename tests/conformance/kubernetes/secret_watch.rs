//! The watch of TLS Secrets: names of those with our label, without the journal.

use futures_util::StreamExt;
use ingress_acme::kubernetes::journal_segments::SecretSegments;
use ingress_acme::kubernetes::secret_watch::WatchedSecrets;
use ingress_acme_actors::domain::ingress::SecretKey;
use ingress_acme_actors::ports::{SecretChange, SecretWatch, Segments, TlsSecrets};
use kube::Api;
use kube::api::DeleteParams;

use crate::adapters::certificate;
use crate::test_cluster::{SOON, TestCluster};

/// Uses the rights of `deploy/watch-secrets.yaml`: those of the test's administrator.
pub(crate) async fn the_watch_of_secrets_names_the_deleted_ones_and_no_journal(
    cluster: &TestCluster,
) {
    let owner = cluster.shop().await;
    let (first, second) = (SecretKey::new("web", "first"), SecretKey::new("web", "second"));
    let write = async |key: &SecretKey| {
        let tls_secrets = cluster.tls_secrets();
        tls_secrets.read(key).await.unwrap();
        let owners = std::slice::from_ref(&owner);
        tls_secrets.install(key, certificate(owners)).await.unwrap();
    };
    write(&first).await;
    let segments = SecretSegments::new(cluster.client.clone(), "ingress-acme");
    segments.create(901, b"{}").await.unwrap();
    let watched = WatchedSecrets::new(cluster.admin.clone(), &["web".to_owned()]);
    let everywhere = WatchedSecrets::new(cluster.admin.clone(), &[]);
    let (mut changes, mut everywhere) = (watched.watch(), everywhere.watch());
    let mut listed = Vec::new();
    loop {
        match tokio::time::timeout(SOON, changes.next()).await.unwrap().unwrap() {
            SecretChange::ListBegins(scope) => assert_eq!(scope.as_deref(), Some("web")),
            SecretChange::Listed(secret) => listed.push(secret),
            SecretChange::ListEnds(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(listed.contains(&first) && !listed.contains(&second), "{listed:?}");
    write(&second).await;
    segments.create(902, b"{}").await.unwrap();
    segments.delete(&[901, 902]).await.unwrap();
    let secrets: Api<k8s_openapi::api::core::v1::Secret> =
        Api::namespaced(cluster.admin.clone(), "web");
    secrets.delete("first", &DeleteParams::default()).await.unwrap();
    let next = async |changes: &mut futures_util::stream::LocalBoxStream<'static, _>| {
        tokio::time::timeout(SOON, changes.next()).await.unwrap().unwrap()
    };
    let applied = next(&mut changes).await;
    assert!(matches!(&applied, SecretChange::Applied(scope) if scope.is_some()), "{applied:?}");
    let deleted = next(&mut changes).await;
    assert!(matches!(&deleted, SecretChange::Deleted(_, key) if *key == first), "{deleted:?}");
    // The list of all namespaces begins with the first poll, after all this.
    let mut all = Vec::new();
    loop {
        match next(&mut everywhere).await {
            SecretChange::ListBegins(scope) => assert_eq!(scope, None),
            SecretChange::Listed(secret) => all.push(secret),
            SecretChange::ListEnds(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(all.contains(&second) && !all.contains(&first), "{all:?}");
    secrets.delete("second", &DeleteParams::default()).await.unwrap();
}
