//! The watch of TLS Secrets: names of those with our label, without the journal.

use futures_util::StreamExt;
use futures_util::stream::LocalBoxStream;
use ingress_acme::kubernetes::journal_segments::SecretSegments;
use ingress_acme::kubernetes::secret_watch::WatchedSecrets;
use ingress_acme_actors::domain::ingress::SecretKey;
use ingress_acme_actors::ports::{SecretChange, SecretReads, SecretWatch, Segments, TlsSecrets};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::DeleteParams;

use crate::adapters::certificate;
use crate::test_cluster::{SOON, TestCluster};

type Changes = LocalBoxStream<'static, SecretChange>;

async fn next(changes: &mut Changes) -> SecretChange {
    tokio::time::timeout(SOON, changes.next()).await.unwrap().unwrap()
}

/// Reads a list of this scope to its end.
async fn listed(changes: &mut Changes, of: Option<&str>) -> Vec<SecretKey> {
    let mut all = Vec::new();
    loop {
        match next(changes).await {
            SecretChange::ListBegins(scope) => assert_eq!(scope.as_deref(), of),
            SecretChange::Listed(secret) => all.push(secret),
            SecretChange::ListEnds(_) => return all,
            other => panic!("{other:?}"),
        }
    }
}

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
    let mut changes = WatchedSecrets::new(cluster.admin.clone(), &["web".to_owned()]).watch();
    let before = listed(&mut changes, Some("web")).await;
    assert!(before.contains(&first) && !before.contains(&second), "{before:?}");

    write(&second).await;
    segments.create(902, b"{}").await.unwrap();
    segments.delete(&[901, 902]).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(cluster.admin.clone(), "web");
    secrets.delete("first", &DeleteParams::default()).await.unwrap();
    let applied = next(&mut changes).await;
    assert!(matches!(&applied, SecretChange::Applied(scope) if scope.is_some()), "{applied:?}");
    let deleted = next(&mut changes).await;
    assert!(matches!(&deleted, SecretChange::Deleted(_, key) if *key == first), "{deleted:?}");
    let mut everywhere = WatchedSecrets::new(cluster.admin.clone(), &[]).watch();
    let all = listed(&mut everywhere, None).await;
    assert!(all.contains(&second) && !all.contains(&first), "{all:?}");
    secrets.delete("second", &DeleteParams::default()).await.unwrap();
}
