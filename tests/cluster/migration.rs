//! docs/migration.md, command by command, on a real API server: Secrets as cert-manager writes them
//! are taken over without an order, and renewed once they are due.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ingress_acme_control_plane::{World, eventually, retry_when_wedged};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, ResourceExt};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::restore::{has_jq, shell};
use crate::sites::{PATIENCE, Site, ingress, namespace, secret, text, verify};
use crate::{alone, operator_with};

const DAY: Duration = Duration::from_hours(24);

/// Blocks of commands of a section of docs/migration.md.
fn documented(section: &str) -> Vec<&'static str> {
    let page = include_str!("../../docs/migration.md");
    let sections = page.split("\n## ").find(|part| part.starts_with(section));
    let blocks = sections.expect("the section").split("```sh\n").skip(1);
    blocks.filter_map(|rest| Some(rest.split_once("```")?.0)).collect()
}

/// The block of a section that has a text, for the Ingress `name`.
fn block(section: &str, with: &str, name: &str) -> String {
    let blocks = documented(section);
    let found = blocks.iter().find(|block| block.contains(with));
    found.unwrap_or_else(|| panic!("{with} in {blocks:?}")).replace("shop", name)
}

/// Extracts PKCS #1 from PKCS #8, which holds PKCS #1 in its third element (RFC 5958 §2).
fn pkcs1(key: &KeyPair) -> String {
    let der = key.serialize_der();
    let (_, info) = x509_parser::der_parser::parse_der(&der).unwrap();
    let key = BASE64_STANDARD.encode(info.as_sequence().unwrap()[2].as_slice().unwrap());
    format!("-----BEGIN RSA PRIVATE KEY-----\n{key}\n-----END RSA PRIVATE KEY-----\n")
}

/// Certificate and key for `host`, valid for 90 days of which `left` are left. The key is RSA, in
/// the form that cert-manager and Traefik write by default.
fn pair(host: &str, left: Duration) -> (String, String) {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let mut params = CertificateParams::new([host.to_owned()]).unwrap();
    let end = OffsetDateTime::now_utc() + left;
    (params.not_before, params.not_after) = (end - 90 * DAY, end);
    (params.self_signed(&key).unwrap().pem(), pkcs1(&key))
}

/// Creates a CRD as cert-manager's, without its schema: the commands need the resource alone.
async fn define_certificates(client: &Client) {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let version = json!({
        "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
    });
    let names = json!({
        "kind": "Certificate", "plural": "certificates", "singular": "certificate",
        "shortNames": ["cert"],
    });
    let crd = json!({
        "metadata": {"name": "certificates.cert-manager.io"},
        "spec": {
            "group": "cert-manager.io", "scope": "Namespaced", "names": names,
            "versions": [version],
        },
    });
    let crd: CustomResourceDefinition = serde_json::from_value(crd).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &crd).await.expect("the CRD");
    eventually(PATIENCE, "the resource", async || {
        certificates(client).list(&ListParams::default()).await.ok()
    })
    .await;
}

fn certificates(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("cert-manager.io", "v1", "Certificate");
    Api::namespaced_with(client.clone(), "web", &ApiResource::from_gvk(&kind))
}

fn owner(api_version: &str, kind: &str, name: &str, uid: Option<String>) -> Value {
    json!([{
        "apiVersion": api_version, "kind": kind, "name": name, "uid": uid.expect("a UID"),
        "controller": true, "blockOwnerDeletion": true,
    }])
}

/// Creates the objects of cert-manager for the Ingress `name`: its Certificate, and the Secret,
/// owned by the Certificate as under `--enable-certificate-owner-ref`.
async fn issued_by_cert_manager(client: &Client, name: &str, left: Duration) {
    let (host, secret) = (format!("{name}.example.com"), format!("{name}-tls"));
    let issuer = "cert-manager.io/cluster-issuer";
    let site = Site::new("web", name, &[&host]).tls(&secret, &[&host]);
    site.annotation(issuer, "letsencrypt").create(client).await;
    let uid = ingress(client, "web", name).await.uid();
    let certificate = json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
        "metadata": {
            "name": secret, "ownerReferences": owner("networking.k8s.io/v1", "Ingress", name, uid),
        },
        "spec": {"secretName": secret, "dnsNames": [host]},
    });
    let certificate: DynamicObject = serde_json::from_value(certificate).unwrap();
    let made = certificates(client).create(&PostParams::default(), &certificate).await;
    let uid = made.expect("the Certificate").uid();
    let metadata = json!({
        "name": secret,
        "labels": {"controller.cert-manager.io/fao": "true"},
        "annotations": {
            "cert-manager.io/alt-names": host, "cert-manager.io/certificate-name": secret,
            "cert-manager.io/common-name": host, "cert-manager.io/ip-sans": "",
            "cert-manager.io/issuer-group": "cert-manager.io", "cert-manager.io/uri-sans": "",
            "cert-manager.io/issuer-kind": "ClusterIssuer",
            "cert-manager.io/issuer-name": "letsencrypt",
        },
        "ownerReferences": owner("cert-manager.io/v1", "Certificate", &secret, uid),
    });
    create_secret(client, &metadata, &host, left).await;
}

/// Creates a TLS Secret with a certificate for `host`.
async fn create_secret(client: &Client, metadata: &Value, host: &str, left: Duration) {
    let (chain, key) = pair(host, left);
    let object = json!({
        "metadata": metadata, "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": chain, "tls.key": key},
    });
    let object: Secret = serde_json::from_value(object).unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "web");
    secrets.create(&PostParams::default(), &object).await.expect("the Secret");
}

/// Waits until ingress-acme has written the Secret, and returns it.
async fn renewed(client: &Client, name: &str) -> Secret {
    eventually(PATIENCE, "a renewal by ingress-acme", async || {
        let found = secret(client, "web", name).await?;
        found.labels().contains_key("app.kubernetes.io/managed-by").then_some(found)
    })
    .await
}

/// Creates an Ingress with a wildcard, its Certificate and its Secret: these stay cert-manager's.
async fn wildcard_of_cert_manager(client: &Client) {
    issued_by_cert_manager(client, "wild", 80 * DAY).await;
    let block =
        json!([{"op": "add", "path": "/spec/tls/0/hosts/-", "value": "*.wild.example.com"}]);
    let patch = Patch::Json::<()>(serde_json::from_value(block).unwrap());
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), "web");
    ingresses.patch("wild", &PatchParams::default(), &patch).await.expect("the wildcard");
}

/// Waits until the Secret has no owner that is a Certificate, and returns it.
async fn orphaned(client: &Client, name: &str) -> Secret {
    eventually(PATIENCE, "the Secret without its Certificate", async || {
        let found = secret(client, "web", name).await.expect("the Secret stays");
        let owners = found.owner_references();
        owners.iter().all(|owner| owner.kind != "Certificate").then_some(found)
    })
    .await
}

#[actix::test]
async fn secrets_of_cert_manager_are_taken_over_without_an_order() {
    if !has_jq("docs/migration.md") {
        return;
    }
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        define_certificates(&client).await;
        for (name, left) in [("shop", 80), ("blog", 10), ("news", 70)] {
            issued_by_cert_manager(&client, name, left * DAY).await;
        }
        wildcard_of_cert_manager(&client).await;
        let before = secret(&client, "web", "shop-tls").await.unwrap();
        let running = operator_with(world, &["--manage=annotated"]).await;
        let planned = shell(world, &block("From cert-manager", "plan", "shop")).await;
        assert!(planned.contains("cert-manager.io/cluster-issuer"), "{planned}");
        for name in ["shop", "blog"] {
            shell(world, &block("From cert-manager", "annotate ingress shop", name)).await;
            shell(world, &block("From cert-manager", "delete certificate shop-tls", name)).await;
        }
        let renewed = renewed(&client, "blog-tls").await;
        verify(world, &renewed).await;
        let listed = shell(world, &block("From cert-manager", "cat hand-over.txt", "shop")).await;
        assert_eq!(listed, "news\n", "not the wildcard's, nor one without an issuer");
        shell(world, &block("From cert-manager", "done < hand-over.txt", "shop")).await;
        let left = certificates(&client).list(&ListParams::default()).await.unwrap();
        let left: Vec<String> = left.items.iter().map(ResourceExt::name_any).collect();
        assert_eq!(left, ["wild-tls"]);
        for name in ["shop", "news"] {
            orphaned(&client, &format!("{name}-tls")).await;
        }
        let owned = block("From cert-manager", "get secrets -A", "shop");
        let owned = shell(world, &owned).await;
        assert!(owned.contains("web/wild-tls") && !owned.contains("shop"), "{owned}");
        let status = shell(world, &block("From cert-manager", "status", "shop")).await;
        assert!(status.contains("True"), "{status}");
        let told = "adopt-secret has ingress-acme renew it once it is due";
        assert!(status.contains(told), "{status}");
        assert_eq!(running.terminate().await.expect("it ends"), 0);
        let _again = operator_with(world, &["--manage=annotated"]).await;
        let after = orphaned(&client, "shop-tls").await;
        assert_eq!(text(&after, "tls.crt"), text(&before, "tls.crt"));
        assert_eq!((world.orders_created(), world.certificates_issued()), (1, 1));
    })
    .await;
}

#[actix::test]
async fn a_secret_of_kcert_and_a_certificate_of_traefik_are_taken_over_without_an_order() {
    if !has_jq("docs/migration.md") {
        return;
    }
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        of_kcert(&client, "blog").await;
        of_traefik(world, &client, "shop").await;
        let _operator = operator_with(world, &["--manage=annotated"]).await;
        for (section, name) in [("From kcert", "blog"), ("From Traefik", "shop")] {
            for commands in documented(section) {
                shell(world, &commands.replace("shop", name)).await;
            }
        }
        let renewed = renewed(&client, "blog-tls").await;
        verify(world, &renewed).await;
        assert!(!renewed.labels().contains_key("kcert.dev/secret"), "kcert renews by this label");
        let told = shell(world, "ingress-acme explain web/shop").await;
        assert!(told.contains("adopt-secret has ingress-acme renew it once it is due"), "{told}");
        assert_eq!((world.orders_created(), world.certificates_issued()), (1, 1));
    })
    .await;
}

/// Creates an Ingress and a Secret as kcert leaves them, with 10 of 90 days left.
async fn of_kcert(client: &Client, name: &str) {
    let (host, secret) = (format!("{name}.example.com"), format!("{name}-tls"));
    Site::new("web", name, &[&host]).tls(&secret, &[&host]).create(client).await;
    let label = json!({"metadata": {"labels": {"kcert.dev/ingress": "managed"}}});
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), "web");
    let labelled = ingresses.patch(name, &PatchParams::default(), &Patch::Merge(label)).await;
    labelled.expect("the label");
    let metadata = json!({"name": secret, "labels": {"kcert.dev/secret": "managed"}});
    create_secret(client, &metadata, &host, 10 * DAY).await;
}

/// Creates an Ingress with Traefik's resolver, and `acme.json` in the world's directory, with 80 of
/// 90 days left, beside a resolver without certificates.
async fn of_traefik(world: &World, client: &Client, name: &str) {
    let host = format!("{name}.example.com");
    let resolver = "traefik.ingress.kubernetes.io/router.tls.certresolver";
    Site::new("web", name, &[&host]).annotation(resolver, "le").create(client).await;
    let (chain, key) = pair(&host, 80 * DAY);
    let (chain, key) = (BASE64_STANDARD.encode(chain), BASE64_STANDARD.encode(key));
    let certificate = json!({
        "domain": {"main": host}, "certificate": chain, "key": key, "Store": "default",
    });
    let file = json!({
        "le": {"Account": null, "Certificates": [certificate]},
        "other": {"Account": null, "Certificates": null},
    });
    std::fs::write(world.directory().join("acme.json"), file.to_string()).expect("the file");
}
