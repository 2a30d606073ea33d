//! The ACME account is lost: somebody deleted its Secret, or the TLS Secrets were moved to another
//! cluster.

use ingress_acme::pki::inspect;
use ingress_acme_control_plane::{World, eventually, retry_when_wedged};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::sites::{PATIENCE, Site, certificate, events, namespace, secret, text, verify};
use crate::{alone, operator};

const HOSTS: [&str; 1] = ["shop.example.com"];

/// Deletes the Secret of the account, and returns its name.
pub(crate) async fn lose_account(client: &Client) -> String {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "ingress-acme");
    let all = secrets.list(&ListParams::default()).await.expect("the Secrets");
    let mut names = all.into_iter().map(|secret| secret.name_any());
    let account = names.find(|name| name.starts_with("ingress-acme-account-"));
    let account = account.expect("the account is registered");
    secrets.delete(&account, &DeleteParams::default()).await.expect("it is deleted");
    account
}

/// Waits until the journal has the installation of this certificate. Its record may be written a
/// little later, and an operator that starts without it asks the CA for the order of the lost
/// account.
async fn is_journaled(client: &Client, certificate: &Secret) {
    let chain = text(certificate, "tls.crt").expect("a chain");
    let serial = inspect(&chain, None).expect("a certificate").serial;
    let api: Api<Secret> = Api::namespaced(client.clone(), "ingress-acme");
    eventually(PATIENCE, "the record of the installation", async || {
        let segments = ListParams::default().labels("ingress-acme.dev/journal");
        let segments = api.list(&segments).await.expect("the journal");
        let data =
            segments.iter().flat_map(|segment| segment.data.iter().flat_map(|all| all.values()));
        let has = |bytes: &ByteString| String::from_utf8_lossy(&bytes.0).contains(&serial);
        data.into_iter().any(has).then_some(())
    })
    .await;
}

/// Requests a new certificate for `web/shop`, and waits for one that is not `before`.
async fn renewed(world: &World, client: &Client, value: &str, before: &Secret) -> Secret {
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), "web");
    let asked = json!({"metadata": {"annotations": {"ingress-acme.dev/renew": value}}});
    let asked = ingresses.patch("shop", &PatchParams::default(), &Patch::Merge(asked)).await;
    asked.expect("the annotation");
    let after = eventually(PATIENCE, "a new certificate", async || {
        let found = secret(client, "web", "shop").await?;
        (text(&found, "tls.crt") != text(before, "tls.crt")).then_some(found)
    })
    .await;
    verify(world, &after).await;
    after
}

#[actix::test]
async fn a_certificate_of_a_lost_account_is_renewed_by_the_next_one() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        let first = operator(world).await;
        Site::new("web", "shop", &HOSTS).tls("shop", &HOSTS).create(&client).await;
        let before = certificate(&client, "web", "shop", &HOSTS).await;
        is_journaled(&client, &before).await;
        assert_eq!(first.terminate().await.expect("it ends"), 0);
        drop(first);
        let account = lose_account(&client).await;

        let second = operator(world).await;
        let next = renewed(world, &client, "1", &before).await;
        assert!(secret(&client, "ingress-acme", &account).await.is_some(), "a new account");
        assert_eq!((world.orders_created(), world.certificates_issued()), (2, 2));
        let noted = |secret: &Secret| secret.annotations().get("ingress-acme.dev/account").cloned();
        assert!(noted(&before).is_some() && noted(&before) != noted(&next));

        // As a release before 0.2 wrote it: the CA refuses the replacement first.
        let secrets: Api<Secret> = Api::namespaced(client.clone(), "web");
        let unknown = json!({"metadata": {"annotations": {"ingress-acme.dev/account": null}}});
        let patched = secrets.patch("shop", &PatchParams::default(), &Patch::Merge(unknown)).await;
        patched.expect("the annotation is gone");
        is_journaled(&client, &next).await;
        assert_eq!(second.terminate().await.expect("it ends"), 0);
        drop(second);
        lose_account(&client).await;
        let third = operator(world).await;
        renewed(world, &client, "2", &next).await;
        assert_eq!((world.orders_created(), world.certificates_issued()), (3, 3));
        let all = events(&client, "web", "shop").await;
        assert!(all.iter().all(|(reason, _)| reason != "Failed"), "{all:?}");
        assert_eq!(third.terminate().await.expect("it ends"), 0);
    })
    .await;
}
