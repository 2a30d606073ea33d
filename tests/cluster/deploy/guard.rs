//! `deploy/guard.yaml` on a real API server: what a captured operator tries, and what an honest one
//! does.

use std::fmt::Debug;

use ingress_acme_control_plane::{World, apply_yaml, eventually, retry_when_wedged};
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::sites::{PATIENCE, Site, certificate, ingress, namespace, secret};
use crate::{alone, operator, operator_with};

const FILLED: &str = "ingress-acme.dev/filled-tls";
const SOLVER: &str = "ingress-acme-solver";
const CHALLENGES: &str = "/.well-known/acme-challenge/";
const LABEL: &str = "app.kubernetes.io/managed-by";

#[actix::test]
async fn under_the_guard_a_captured_operator_changes_nothing_of_others() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        guarded(world).await;
        let captured = world.operator_client().await.expect("a client with the operator's rights");
        for refusal in ingress_refusals() {
            refused::<Ingress>(&captured, &refusal).await;
        }
        for refusal in secret_refusals() {
            refused::<Secret>(&captured, &refusal).await;
        }
        no_secret_is_made_but_for_an_ingress(&captured).await;
        no_update_deletes_an_ingress_or_brings_one_back(&client, &captured).await;
        the_largest_ingress_is_evaluated_within_the_budget(&client, &captured).await;
        the_path_of_the_challenges_goes_in_and_out(&captured).await;
    })
    .await;
}

#[actix::test]
async fn under_the_guard_more_rights_do_not_help_a_captured_operator() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        guarded(world).await;
        apply_yaml(&client, EVERY_RIGHT).await.expect("the operator has every right");
        let captured = world.operator_client().await.expect("a client");
        let ingresses: Api<Ingress> = Api::namespaced(captured.clone(), "web");
        let secrets: Api<Secret> = Api::namespaced(captured.clone(), "web");
        let (make, delete) =
            (PostParams { dry_run: true, ..<_>::default() }, DeleteParams::default().dry_run());
        let ingress = |name: &str, spec: Value| {
            let metadata = json!({ "name": name, "labels": { LABEL: "ingress-acme" } });
            object::<Ingress>(json!({ "metadata": metadata, "spec": spec }))
        };
        let annotated = |mut ingress: Ingress| {
            let snippet = "nginx.ingress.kubernetes.io/server-snippet".to_owned();
            ingress.metadata.annotations = Some([(snippet, "x".to_owned())].into());
            ingress
        };
        let rule = |path: &str, service: &str| {
            let path = json!({ "path": path, "pathType": "Prefix", "backend": backend(service) });
            json!({ "rules": [{ "host": "evil.example.com", "http": { "paths": [path] } }] })
        };
        let new = [
            ingress("new", rule(CHALLENGES, SOLVER)),
            ingress("ingress-acme-solver-1-0", json!({ "defaultBackend": backend("evil") })),
            ingress("ingress-acme-solver-1-0", rule("/", SOLVER)),
            ingress("ingress-acme-solver-1-0", rule(CHALLENGES, "evil")),
            annotated(ingress("ingress-acme-solver-1-0", rule(CHALLENGES, SOLVER))),
        ];
        let status =
            json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } } });
        let patch = PatchParams::default().dry_run();
        let why = "no Ingress but its solver Ingresses";
        for new in &new {
            stops("an Ingress", why, async || ingresses.create(&make, new).await.err()).await;
        }
        stops("deleting an Ingress", why, async || ingresses.delete("shop", &delete).await.err())
            .await;
        Box::pin(no_service_leads_elsewhere(&client, &captured)).await;
        Box::pin(no_endpoints_lead_elsewhere(&captured)).await;
        let why = "deletes no Secret";
        stops("deleting a Secret", why, async || secrets.delete("ours", &delete).await.err()).await;
        stops("writing a status", why, async || {
            ingresses.patch_status("shop", &patch, &Patch::Merge(&status)).await.err()
        })
        .await;
    })
    .await;
}

#[actix::test]
async fn under_the_guard_the_operator_does_all_of_its_work() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        guarded(world).await;
        let _operator = operator(world).await;
        // Installs a certificate, fills in spec.tls, and extends both.
        Site::new("web", "site", &["site.example.com"]).create(&client).await;
        certificate(&client, "web", "site-tls", &["site.example.com"]).await;
        filled(&client, "site", "site.example.com").await;
        crate::sites::add_host(&client, "web", "site", "more.example.com").await;
        certificate(&client, "web", "site-tls", &["more.example.com", "site.example.com"]).await;
        filled(&client, "site", "more.example.com,site.example.com").await;
        shares_a_secret_and_takes_spec_tls_back(&client).await;
        // Gives a Secret a second owner.
        let (a, b) = (["a.example.com"], ["b.example.com"]);
        Site::new("web", "a", &a).tls("shared", &a).create(&client).await;
        certificate(&client, "web", "shared", &a).await;
        Site::new("web", "b", &a).tls("shared", &a).create(&client).await;
        eventually(PATIENCE, "two owners", async || {
            let owners = secret(&client, "web", "shared").await?.metadata.owner_references?;
            (owners.len() == 2).then_some(())
        })
        .await;
        Site::new("web", "c", &b).tls("shared", &b).create(&client).await;
        certificate(&client, "web", "shared", &["a.example.com", "b.example.com"]).await;
        // Adopts a Secret with labels, annotations, data and an owner of its user.
        let adopting = Site::new("web", "adopting", &["adopted.example.com"]);
        let adopting = adopting.tls("theirs", &["adopted.example.com"]);
        adopting.annotation("ingress-acme.dev/adopt-secret", "now").create(&client).await;
        let adopted = certificate(&client, "web", "theirs", &["adopted.example.com"]).await;
        assert!(adopted.data.unwrap().contains_key("more"));
        // Forms a group.
        for name in ["one", "two"] {
            let host = format!("{name}.group.example.net");
            let site =
                Site::new("web", name, &[&host]).annotation("ingress-acme.dev/group", "true");
            site.create(&client).await;
            filled(&client, name, &host).await;
        }
    })
    .await;
}

/// Services of a captured operator that could lead a host to other pods.
async fn no_service_leads_elsewhere(client: &Client, captured: &Client) {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let marked = |name: &str| json!({ "name": name, "labels": { LABEL: "ingress-acme" } });
    let service = |metadata: Value, spec: Value| {
        object::<Service>(json!({ "metadata": metadata, "spec": spec }))
    };
    let http = json!([{ "port": 80 }]);
    let named = "no Service but its own";
    let mut services = vec![
        (service(marked("shop"), json!({ "ports": http })), named),
        (service(json!({ "name": SOLVER }), json!({ "ports": http })), named),
    ];
    let shapes = [
        json!({ "ports": http, "selector": { "app": "shop" } }),
        json!({ "ports": http, "externalIPs": ["192.0.2.1"] }),
        json!({ "ports": http, "type": "NodePort" }),
        json!({ "ports": [{ "port": 443 }] }),
        json!({ "type": "ExternalName", "externalName": "x.example" }),
    ];
    let shape = "no selector, no external address and no port but 80";
    services.extend(shapes.map(|spec| (service(marked(SOLVER), spec), shape)));
    let api: Api<Service> = Api::namespaced(captured.clone(), "web");
    for (service, why) in &services {
        stops("a Service", why, async || api.create(&dry_run, service).await.err()).await;
    }
    let theirs: Api<Service> = Api::namespaced(client.clone(), "web");
    let shop = service(json!({ "name": "shop" }), json!({ "ports": http }));
    theirs.create(&PostParams::default(), &shop).await.expect("a Service of a user");
    let delete = DeleteParams::default().dry_run();
    stops("deleting a Service", named, async || api.delete("shop", &delete).await.err()).await;
}

/// The same of endpoints.
async fn no_endpoints_lead_elsewhere(captured: &Client) {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let slice = |name: &str, service: &str, port: u16| {
        let labels = json!({ LABEL: "ingress-acme", "kubernetes.io/service-name": service });
        object::<EndpointSlice>(json!({
            "metadata": { "name": name, "labels": labels }, "addressType": "IPv4",
            "endpoints": [{ "addresses": ["10.77.0.1"] }], "ports": [{ "port": port }],
        }))
    };
    let ours = "ingress-acme-solver-ipv4";
    let slices = [
        (slice("evil", SOLVER, 8089), "no endpoints but those of its own Service"),
        (slice(ours, "shop", 8089), "no endpoints but those of its own Service"),
        (slice(ours, SOLVER, 22), "no port but that of its solver"),
    ];
    let api: Api<EndpointSlice> = Api::namespaced(captured.clone(), "web");
    for (slice, why) in &slices {
        stops("endpoints", why, async || api.create(&dry_run, slice).await.err()).await;
    }
}

/// Shares the Secret `site-tls` with an Ingress of the same hosts, and takes its `spec.tls` back.
async fn shares_a_secret_and_takes_spec_tls_back(client: &Client) {
    let hosts = ["more.example.com", "site.example.com"];
    Site::new("web", "beside", &hosts).create(client).await;
    filled(client, "beside", "more.example.com,site.example.com").await;
    let says = json!({ "metadata": { "annotations": { "ingress-acme.dev/fill-tls": "false" } } });
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), "web");
    let patched = ingresses.patch("beside", &PatchParams::default(), &Patch::Merge(says)).await;
    patched.expect("the annotation");
    eventually(PATIENCE, "spec.tls is taken back", async || {
        ingress(client, "web", "beside").await.spec?.tls.is_none().then_some(())
    })
    .await;
}

/// With the edit that docs/operations.md describes.
#[actix::test]
async fn under_the_guard_without_owners_a_secret_is_made_without_one() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        let (name, with) = ("- name: isWithoutOwners", "expression: \"false\"");
        let (before, after) = GUARD.split_once(name).expect("the variable");
        let after = after.replacen(with, "expression: \"true\"", 1);
        guarded_by(world, &format!("{before}{name}{after}")).await;
        let _operator = operator_with(world, &["--owner-references", "false"]).await;
        let hosts = ["site.example.com"];
        Site::new("web", "site", &hosts).tls("site", &hosts).create(&client).await;
        let made = certificate(&client, "web", "site", &hosts).await;
        assert_eq!(made.metadata.owner_references, None);
    })
    .await;
}

const GUARD: &str = include_str!("../../../deploy/guard.yaml");

/// Applies the guard beside objects of a user, and waits until all of its policies are in force.
/// With the edit that docs/ingresses.md describes.
#[actix::test]
async fn under_the_guard_annotations_are_copied_to_a_secret_where_it_names_their_prefix() {
    let _alone = alone().await;
    retry_when_wedged(3, async |world: &World| {
        let client = world.admin();
        namespace(&client, "web").await;
        let guard = GUARD.replace("expression: \"[]\"", "expression: \"['reflector.example']\"");
        assert_ne!(guard, GUARD);
        guarded_by(world, &guard).await;
        let _operator = operator_with(world, &["--copy-annotations", "reflector.example"]).await;
        let site = Site::new("web", "site", &["site.example.com"]);
        site.annotation("reflector.example/allowed", "true").create(&client).await;
        certificate(&client, "web", "site-tls", &["site.example.com"]).await;
        copied(&client, Some("true")).await;
        for value in [Some("false"), None] {
            let changed =
                json!({ "metadata": { "annotations": { "reflector.example/allowed": value } } });
            let ingresses: Api<Ingress> = Api::namespaced(client.clone(), "web");
            let (as_user, changed) = (PatchParams::default(), Patch::Merge(&changed));
            ingresses.patch("site", &as_user, &changed).await.expect("the annotation");
            copied(&client, value).await;
        }
        assert_eq!(world.orders_created(), 1);
    })
    .await;
}

/// Waits until the Secret `site-tls` has this annotation.
async fn copied(client: &Client, value: Option<&str>) {
    eventually(PATIENCE, "the copied annotation", async || {
        let annotations = secret(client, "web", "site-tls").await?.metadata.annotations?;
        let found = annotations.get("reflector.example/allowed").map(String::as_str);
        (found == value).then_some(())
    })
    .await;
}

async fn guarded(world: &World) {
    guarded_by(world, GUARD).await;
}

async fn guarded_by(world: &World, guard: &str) {
    let client = world.admin();
    objects_of_a_user(&client).await;
    apply_yaml(&client, guard).await.expect("the guard is taken");
    // A dry run is not stored, so that an attempt before that moment changes nothing.
    let captured = world.operator_client().await.expect("a client with the operator's rights");
    let secrets: Api<Secret> = Api::namespaced(captured.clone(), "web");
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    stops("a token", "kubernetes.io/tls only", async || {
        secrets.create(&dry_run, &token()).await.err()
    })
    .await;
    let ingresses: Api<Ingress> = Api::namespaced(captured, "web");
    let hijack = json!({ "spec": { "rules": [{ "host": "evil.example.com" }] } });
    stops("other rules", "nothing of an Ingress but spec.tls", async || {
        let dry_run = PatchParams::default().dry_run();
        ingresses.patch("shop", &dry_run, &Patch::Merge(&hijack)).await.err()
    })
    .await;
}

async fn objects_of_a_user(client: &Client) {
    let annotation = "nginx.ingress.kubernetes.io/proxy-body-size";
    let shop = Site::new("web", "shop", &["shop.example.com"]);
    let shop = shop.annotation(annotation, "1m").annotation("ingress-acme.dev/enabled", "false");
    shop.create(client).await;
    let own = Site::new("web", "own", &["own.example.com"]).tls("own", &["own.example.com"]);
    own.annotation("ingress-acme.dev/enabled", "false").create(client).await;
    let full: Ingress = object(json!({
        "metadata": {
            "name": "full", "labels": { "team": "web" }, "finalizers": ["example.com/kept"],
            "annotations": { "ingress-acme.dev/enabled": "false" },
            "ownerReferences": [{ "apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x" }],
        },
        "spec": {
            "ingressClassName": "kept", "defaultBackend": backend("kept"),
            "rules": [{ "host": "full.example.com" }],
        },
    }));
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), "web");
    ingresses.create(&PostParams::default(), &full).await.expect("the Ingress");
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "web");
    let data = json!({ "tls.crt": "by hand", "tls.key": "by hand", "more": "kept" });
    let theirs = json!({
        "metadata": { "name": "theirs", "labels": { "team": "web" }, "annotations": { "by": "hand" } },
        "type": "kubernetes.io/tls", "stringData": data,
    });
    let ours = json!({
        "metadata": { "name": "ours", "labels": { LABEL: "ingress-acme", "team": "web" }, "annotations": { "by": "hand" } },
        "type": "kubernetes.io/tls", "stringData": data,
    });
    for secret in [theirs, ours] {
        secrets.create(&PostParams::default(), &object(secret)).await.expect("the Secret");
    }
}

/// A change that a captured operator tries: object, merge patch, and words of the refusal.
type Refusal = (&'static str, Value, &'static str);

fn ingress_refusals() -> Vec<Refusal> {
    let metadata = |metadata: Value| json!({ "metadata": metadata });
    let owner = json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "gone" });
    let finalizer = json!({ "finalizers": ["evil.example.com/stay"] });
    let nothing = "nothing of an Ingress but spec.tls";
    let mut all = vec![
        ("shop", json!({ "spec": { "rules": [{ "host": "evil.example.com" }] } }), nothing),
        ("shop", json!({ "spec": { "ingressClassName": "evil" } }), nothing),
        ("shop", json!({ "spec": { "defaultBackend": backend("evil") } }), nothing),
        ("shop", json!({ "spec": { "rules": null, "defaultBackend": backend("evil") } }), nothing),
        ("full", json!({ "spec": { "ingressClassName": null } }), nothing),
        ("full", json!({ "spec": { "defaultBackend": null } }), nothing),
        ("full", metadata(json!({ "labels": { "team": null } })), "no label of an Ingress"),
        ("full", metadata(json!({ "finalizers": null })), "no finalizer of an Ingress"),
        ("full", metadata(json!({ "ownerReferences": null })), "no owner reference of an Ing"),
        ("shop", metadata(json!({ "labels": { "team": "evil" } })), "no label of an Ingress"),
        ("shop", metadata(json!({ "ownerReferences": [owner] })), "no owner reference of an Ing"),
        ("shop", metadata(finalizer), "no finalizer of an Ingress"),
    ];
    let annotations = [
        ("nginx.ingress.kubernetes.io/configuration-snippet", json!("added")),
        ("nginx.ingress.kubernetes.io/proxy-body-size", json!("changed")),
        ("nginx.ingress.kubernetes.io/proxy-body-size", Value::Null),
        ("kubernetes.io/ingress.class", json!("evil")),
        ("ingress-acme.dev/adopt-secret", json!("true")),
    ];
    all.extend(annotations.map(|(key, value)| {
        let patch = json!({ "metadata": { "annotations": { key: value } } });
        ("shop", patch, "no annotation of an Ingress but")
    }));
    all.extend(tls_refusals());
    all.extend(path_refusals());
    all
}

/// Changes of paths beside the operator's own one.
fn path_refusals() -> Vec<Refusal> {
    let path = |path: &str, service: &str| json!({ "path": path, "pathType": "Prefix", "backend": backend(service) });
    let host = "shop.example.com";
    let rule = |host: &str, paths: Value| json!({ "host": host, "http": { "paths": paths } });
    let (site, ours) = (path("/", "shop"), path(CHALLENGES, SOLVER));
    let mut exact = ours.clone();
    exact["pathType"] = json!("Exact");
    let rules = [
        json!([rule(host, json!([ours]))]),
        json!([rule(host, json!([ours, path("/", "evil")]))]),
        json!([rule(host, json!([path(CHALLENGES, "evil"), site]))]),
        json!([rule(host, json!([path("/", SOLVER)]))]),
        json!([rule(host, json!([exact, site]))]),
        json!([rule(host, json!([ours, ours, site]))]),
        json!([rule("evil.example.com", json!([ours, site]))]),
        json!([rule(host, json!([ours, site])), rule("evil.example.com", json!([ours]))]),
    ];
    rules
        .map(|rules| ("shop", json!({ "spec": { "rules": rules } }), "nothing of an Ingress but"))
        .into()
}

fn tls_refusals() -> Vec<Refusal> {
    let annotated = |hosts: &str| json!({ "metadata": { "annotations": { FILLED: hosts } } });
    let filled = |hosts: &str, tls: Value| {
        let mut patch = annotated(hosts);
        patch["spec"] = json!({ "tls": tls });
        patch
    };
    let block = |secret: &str, host: &str| json!({ "secretName": secret, "hosts": [host] });
    let (host, own) = ("shop.example.com", "own.example.com");
    let evil = "evil.example.com";
    let all = [
        ("shop", annotated(host)),
        ("shop", json!({ "spec": { "tls": [block("shop", host)] } })),
        ("shop", filled(host, json!([block("other-secret", host)]))),
        ("shop", filled(evil, json!([block("shop", evil)]))),
        ("shop", filled(host, json!([block("shop", host), block("shop", host)]))),
        ("shop", filled(host, json!([{ "hosts": [host] }]))),
        ("shop", filled("", json!([{ "secretName": "shop" }]))),
        ("own", json!({ "spec": { "tls": null } })),
        ("own", filled(own, json!([block("group-evil", own)]))),
        ("own", annotated(own)),
    ];
    all.map(|(name, patch)| (name, patch, "fills in spec.tls only where")).into()
}

fn secret_refusals() -> Vec<Refusal> {
    let metadata = |metadata: Value| json!({ "metadata": metadata });
    let owner = |kind: &str, more: Value| {
        let mut owner =
            json!({ "apiVersion": "networking.k8s.io/v1", "kind": kind, "name": "x", "uid": "x" });
        owner.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "metadata": { "ownerReferences": [owner] } })
    };
    let own = "makes a Secret its own only by a certificate";
    let owners = "only Ingresses the owners";
    vec![
        ("ours", metadata(json!({ "labels": { LABEL: null } })), "that carry its label"),
        ("ours", metadata(json!({ "labels": { "team": "evil" } })), "no label of a Secret"),
        ("ours", metadata(json!({ "labels": { "team": null } })), "no label of a Secret"),
        ("ours", metadata(json!({ "annotations": { "by": "evil" } })), "no annotation of a Secret"),
        ("ours", metadata(json!({ "annotations": { "by": null } })), "no annotation of a Secret"),
        (
            "ours",
            metadata(json!({ "annotations": { "reflect": "true" } })),
            "no annotation of a Secret",
        ),
        (
            "ours",
            metadata(json!({ "finalizers": ["evil.example.com/stay"] })),
            "no finalizer of a Secret",
        ),
        ("ours", owner("ConfigMap", json!({})), owners),
        ("ours", owner("Ingress", json!({ "controller": true })), owners),
        ("ours", owner("Ingress", json!({ "blockOwnerDeletion": true })), owners),
        ("ours", json!({ "data": { "more": "ZXZpbA==" } }), "no data of a Secret"),
        ("ours", json!({ "data": { "more": null } }), "no data of a Secret"),
        ("ours", json!({ "stringData": { "new": "evil" } }), "no data of a Secret"),
        ("ours", json!({ "immutable": true }), "no Secret immutable"),
        ("theirs", json!({ "data": { "tls.crt": "ZXZpbA==" } }), "that carry its label"),
        ("theirs", metadata(json!({ "labels": { LABEL: "ingress-acme" } })), own),
        (
            "theirs",
            json!({ "metadata": { "labels": { LABEL: "ingress-acme" } }, "data": { "tls.crt": "ZXZpbA==" } }),
            own,
        ),
    ]
}

async fn no_secret_is_made_but_for_an_ingress(captured: &Client) {
    let secrets: Api<Secret> = Api::namespaced(captured.clone(), "web");
    let new = |metadata: Value, kind: &str| {
        let data = json!({ "tls.crt": "evil", "tls.key": "evil" });
        object::<Secret>(json!({ "metadata": metadata, "type": kind, "stringData": data }))
    };
    let labels = json!({ LABEL: "ingress-acme" });
    let bare = new(json!({ "name": "new", "labels": labels }), "kubernetes.io/tls");
    let opaque = new(json!({ "name": "new", "labels": labels }), "Opaque");
    let unmarked = new(json!({ "name": "new" }), "kubernetes.io/tls");
    let cases = [
        (bare, "makes a Secret its own only by a certificate"),
        (opaque, "kubernetes.io/tls only"),
        (unmarked, "that carry its label"),
    ];
    for (secret, why) in cases {
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let refusal = secrets.create(&dry_run, &secret).await.err().map(|error| error.to_string());
        assert!(refusal.as_deref().is_some_and(|said| said.contains(why)), "{why}: {refusal:?}");
    }
}

/// An update of `metadata.deletionTimestamp` would delete an Ingress without the right to delete
/// one. The API server itself keeps that field from updates, before it asks the guard.
async fn no_update_deletes_an_ingress_or_brings_one_back(client: &Client, captured: &Client) {
    let of_user: Api<Ingress> = Api::namespaced(client.clone(), "web");
    let ingresses: Api<Ingress> = Api::namespaced(captured.clone(), "web");
    let (dry_run, stored) = (PatchParams::default().dry_run(), PatchParams::default());
    let at = |time: Value| json!({ "metadata": { "deletionTimestamp": time } });
    let deleting = at(json!("2026-01-01T00:00:00Z"));
    let refusal = ingresses.patch("shop", &dry_run, &Patch::Merge(&deleting)).await.err();
    let refusal = refusal.map(|error| error.to_string()).unwrap_or_default();
    let why = ["deletionTimestamp: Invalid value", "deletes no Ingress"];
    assert!(why.iter().any(|why| refusal.contains(why)), "{refusal:?}");
    // Its finalizer keeps it, with the time of its deletion.
    of_user.delete("full", &DeleteParams::default()).await.expect("its user deletes it");
    let deleted = of_user.get("full").await.expect("it is kept").metadata.deletion_timestamp;
    assert!(deleted.is_some());
    for time in [Value::Null, json!("2027-01-01T00:00:00Z")] {
        _ = ingresses.patch("full", &stored, &Patch::Merge(&at(time))).await;
        let kept = of_user.get("full").await.expect("it is kept").metadata.deletion_timestamp;
        assert_eq!(kept, deleted, "it stays deleted");
    }
    // What is not deleted stays.
    let shop = of_user.get("shop").await.expect("it stays");
    assert_eq!(shop.metadata.deletion_timestamp, None);
}

/// `spec.tls` is filled in with 100 hosts, beside 1,000 rules and 1,000 annotations.
async fn the_largest_ingress_is_evaluated_within_the_budget(client: &Client, captured: &Client) {
    let hosts: Vec<String> = (0..1_000).map(|n| format!("h{n:04}.example.com")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let mut site =
        Site::new("web", "large", &hosts).annotation("ingress-acme.dev/enabled", "false");
    for number in 0..1_000 {
        site = site.annotation(&format!("example.com/annotation-{number}"), &"x".repeat(100));
    }
    site.create(client).await;
    let tls = json!([{ "secretName": "large", "hosts": hosts[900..] }]);
    let patch = json!({
        "metadata": { "annotations": { FILLED: hosts[900..].join(",") } }, "spec": { "tls": tls },
    });
    let ingresses: Api<Ingress> = Api::namespaced(captured.clone(), "web");
    let dry_run = PatchParams::default().dry_run();
    let filled = ingresses.patch("large", &dry_run, &Patch::Merge(&patch)).await;
    assert!(filled.is_ok(), "{:?}", filled.err());
}

async fn the_path_of_the_challenges_goes_in_and_out(captured: &Client) {
    let ingresses: Api<Ingress> = Api::namespaced(captured.clone(), "web");
    let path = |path: &str, service: &str| json!({ "path": path, "pathType": "Prefix", "backend": backend(service) });
    let (site, ours) = (path("/", "shop"), path(CHALLENGES, SOLVER));
    for (mark, paths) in
        [(json!("x/shop.example.com"), json!([ours, site])), (Value::Null, json!([site]))]
    {
        let rules = json!([{ "host": "shop.example.com", "http": { "paths": paths } }]);
        let annotations = json!({ "ingress-acme.dev/in-place": mark });
        let patch =
            json!({ "metadata": { "annotations": annotations }, "spec": { "rules": rules } });
        let patched = ingresses.patch("shop", &PatchParams::default(), &Patch::Merge(&patch)).await;
        assert!(patched.is_ok(), "{:?}", patched.err());
    }
}

async fn refused<K>(captured: &Client, (name, patch, why): &Refusal)
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::namespaced(captured.clone(), "web");
    let params = PatchParams::default().dry_run();
    let refusal = api.patch(name, &params, &Patch::Merge(patch)).await.err();
    let refusal = refusal.map(|error| error.to_string());
    assert!(
        refusal.as_deref().is_some_and(|said| said.contains(why)),
        "{name} {patch} should be refused with `{why}`: {refusal:?}"
    );
}

/// Waits until `attempt` is refused for this reason: rights and policies take a moment to come into
/// force.
async fn stops(what: &str, why: &str, attempt: impl AsyncFn() -> Option<kube::Error>) {
    eventually(PATIENCE, &format!("{what} is refused"), async || {
        attempt().await.filter(|refusal| refusal.to_string().contains(why)).map(drop)
    })
    .await;
}

async fn filled(client: &Client, name: &str, hosts: &str) {
    eventually(PATIENCE, &format!("spec.tls of {name} is filled in"), async || {
        let annotations = ingress(client, "web", name).await.metadata.annotations?;
        (annotations.get(FILLED)? == hosts).then_some(())
    })
    .await;
}

fn backend(service: &str) -> Value {
    json!({ "service": { "name": service, "port": { "number": 80 } } })
}

fn object<K: DeserializeOwned + Serialize>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// A Secret that an attacker would create with the operator's rights: a token of a service account.
fn token() -> Secret {
    let name = format!("token-{}", std::process::id());
    let annotations = json!({ "kubernetes.io/service-account.name": "default" });
    let metadata = json!({ "generateName": name, "annotations": annotations });
    object(json!({ "metadata": metadata, "type": "kubernetes.io/service-account-token" }))
}

const EVERY_RIGHT: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: every-right
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: cluster-admin
subjects:
  - kind: ServiceAccount
    name: ingress-acme
    namespace: ingress-acme
";
