//! TLS Secrets of several installs, and owner references that are left as they are.

use std::collections::BTreeSet;

use ingress_acme_actors::domain::copied::Copied;
use ingress_acme_actors::domain::ingress::SecretKey;
use ingress_acme_actors::ports::{Installation, SecretReads, TlsSecrets};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::adapters::{certificate, is_conflict};
use crate::test_cluster::TestCluster;

/// Runs the scenarios.
pub(crate) async fn installs_keep_their_secrets(cluster: &TestCluster) {
    a_secret_of_another_install_is_never_changed(cluster).await;
    of_two_installs_that_create_a_secret_the_first_has_it(cluster).await;
    owners_that_are_to_stay_stay(cluster).await;
}

/// A Secret of a release before 0.2, and one restored without annotations, name no install.
async fn a_secret_of_another_install_is_never_changed(cluster: &TestCluster) {
    let of = |id: &str| cluster.tls_secrets().of_install(id);
    let (before, staging, production) = (cluster.tls_secrets(), of("staging"), of("ingress-acme"));
    let (key, owner) = (SecretKey::new("web", "installs"), cluster.shop().await);
    let what = || Installation { adopt: true, ..certificate(std::slice::from_ref(&owner)) };
    before.install(&key, what()).await.unwrap();
    assert!(production.read(&key).await.unwrap().unwrap().ours, "it names no install");
    assert!(staging.install(&key, what()).await.unwrap().unwrap().ours);

    // Whatever the Ingress says: both installs would read it.
    let held = cluster.secrets.get("installs").await.unwrap();
    let seen = production.read(&key).await.unwrap().unwrap();
    assert_eq!((seen.ours, seen.other_install.as_deref()), (false, Some("staging")));
    assert_eq!(production.verified(&key).await.unwrap(), None);
    assert!(is_conflict(production.install(&key, what()).await));
    assert!(is_conflict(production.install(&key, what()).await), "also without a remembered read");
    assert!(is_conflict(
        production.set_metadata(&key, Some(&BTreeSet::new()), &Copied::default(), None).await
    ));
    assert_eq!(cluster.secrets.get("installs").await.unwrap(), held);

    // The command of the Event hands it over; the next writes change all fields of the first.
    let mine = json!({"metadata": {"annotations": {"ingress-acme.dev/install": "ingress-acme"}}});
    let patch = Patch::Merge(mine);
    cluster.secrets.patch("installs", &PatchParams::default(), &patch).await.unwrap();
    let taken = production.install(&key, what()).await.unwrap().unwrap();
    assert!(taken.ours && !staging.read(&key).await.unwrap().unwrap().ours);
    let none = production
        .set_metadata(&key, Some(&BTreeSet::new()), &Copied::default(), None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(none.owners, BTreeSet::new(), "the references of the first install can be removed");
}

async fn of_two_installs_that_create_a_secret_the_first_has_it(cluster: &TestCluster) {
    let of = |id: &str| cluster.tls_secrets().of_install(id);
    for (number, [first, second]) in
        [["ingress-acme", "b"], ["b", "ingress-acme"], ["b", "c"]].into_iter().enumerate()
    {
        let name = format!("first-{number}");
        let (key, owner) = (SecretKey::new("web", &name), cluster.shop().await);
        let what = || certificate(std::slice::from_ref(&owner));
        let (first, second) = (of(first), of(second));
        for install in [&first, &second] {
            assert_eq!(install.read(&key).await.unwrap(), None);
        }
        first.install(&key, what()).await.unwrap();
        let held = cluster.secrets.get(&name).await.unwrap();
        assert!(is_conflict(second.install(&key, what()).await), "{name}");
        assert_eq!(cluster.secrets.get(&name).await.unwrap(), held);
        first.install(&key, what()).await.unwrap(); // a renewal
        let none = first
            .set_metadata(&key, Some(&BTreeSet::new()), &Copied::default(), None)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(none.owners, BTreeSet::new(), "one manager has applied all fields");
    }
}

async fn owners_that_are_to_stay_stay(cluster: &TestCluster) {
    let (tls_secrets, key) = (cluster.tls_secrets(), SecretKey::new("web", "stay"));
    let written = tls_secrets.install(&key, certificate(&[cluster.shop().await])).await.unwrap();
    let owners = written.unwrap().owners;
    assert_eq!(owners.len(), 1);
    let left = || Installation { owners: None, ..certificate(&[]) };
    for _ in 0..2 {
        tls_secrets.read(&key).await.unwrap();
        let renewed = tls_secrets.install(&key, left()).await.unwrap().unwrap();
        assert_eq!(renewed.owners, owners);
    }
    let none = tls_secrets
        .set_metadata(&key, Some(&BTreeSet::new()), &Copied::default(), None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(none.owners, BTreeSet::new(), "they are still ours to remove");
    let new = SecretKey::new("web", "without");
    let written = tls_secrets.install(&new, left()).await.unwrap().unwrap();
    assert_eq!(written.owners, BTreeSet::new());
}
