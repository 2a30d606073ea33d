//! The control plane itself: its start, its behaviour as a cluster, and its end.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::net::{SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt;
use ingress_acme_control_plane::{
    Operator, OperatorOptions, World, apply_yaml, eventually, retry_when_wedged, solver_route,
};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::{DeleteParams, ListParams};

const SOON: Duration = Duration::from_secs(30);

const SHOP: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
# A comment alone is no document to apply.
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop}
spec:
  rules:
    - host: shop.example
      http:
        paths:
          - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
          - {path: /cart, pathType: Exact, backend: {service: {name: cart, port: {number: 80}}}}
";

async fn world() -> World {
    World::start().await.unwrap_or_else(|error| panic!("{error}"))
}

/// Status and body of a request through the gateway.
async fn get(world: &World, host: &str, path: &str) -> (u16, String) {
    let url = format!("http://127.0.0.1:{}{path}", world.gateway_port());
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let answer = client.get(url).header("host", host).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Response code (RFC 1035 §4.1.1) of a query for a name's A records.
fn dns_code(nameserver: SocketAddr, name: &str) -> u8 {
    let mut question = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.send_to(&question, nameserver).unwrap();
    let mut answer = [0; 512];
    socket.recv(&mut answer).unwrap();
    answer[3] & 0x0f
}

fn is_alive(pid: u32) -> bool {
    let mut kill = Command::new("sh");
    kill.args(["-c", r#"kill -0 "$1""#, "sh", &pid.to_string()]).stderr(Stdio::null());
    kill.status().unwrap().success()
}

#[tokio::test]
async fn a_world_is_a_cluster_with_a_ca_dns_and_a_gateway() {
    let world = world().await;
    apply_yaml(&world.admin(), SHOP).await.unwrap();
    the_api_server_is_of_the_chosen_release(&world).await;
    the_gateway_routes_by_the_rules_of_ingresses(&world).await;
    what_an_ingress_owns_goes_with_it(&world).await;
    the_operator_may_do_what_its_manifest_grants_and_nothing_else(&world).await;
    dns_fails_on_demand(&world).await;
    an_apiserver_comes_back_with_its_data(&world).await;
    the_ca_answers_stops_and_comes_back(&world).await;

    let (pids, directory) = (world.pids(), world.directory().to_owned());
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    drop(world);
    assert!(!pids.iter().any(|pid| is_alive(*pid)));
    assert!(!directory.exists());
}

/// `KUBERNETES=1.34` chooses the release.
async fn the_api_server_is_of_the_chosen_release(world: &World) {
    let chosen = std::env::var("KUBERNETES").ok().filter(|release| !release.is_empty());
    let version = world.admin().apiserver_version().await.unwrap();
    let expected = chosen.unwrap_or_else(|| "1.36".to_owned());
    assert_eq!(format!("{}.{}", version.major, version.minor), expected);
}

async fn the_gateway_routes_by_the_rules_of_ingresses(world: &World) {
    eventually(SOON, "the route to the shop", async || {
        (get(world, "shop.example", "/").await == (200, "web".into())).then_some(())
    })
    .await;
    assert_eq!(get(world, "shop.example:8080", "/cart").await, (200, "cart".into()));
    assert_eq!(get(world, "shop.example", "/cart/1").await, (200, "web".into()));
    assert_eq!(get(world, "other.example", "/").await.0, 404);
}

async fn what_an_ingress_owns_goes_with_it(world: &World) {
    let ingresses: Api<Ingress> = Api::namespaced(world.admin(), "shop");
    let secrets: Api<Secret> = Api::namespaced(world.admin(), "shop");
    let uid = ingresses.get("web").await.unwrap().metadata.uid.unwrap();
    let owner =
        format!("{{apiVersion: networking.k8s.io/v1, kind: Ingress, name: web, uid: {uid}}}");
    let secret = format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: web-tls, namespace: shop, \
         ownerReferences: [{owner}]}}}}"
    );
    apply_yaml(&world.admin(), &secret).await.unwrap();
    ingresses.delete("web", &DeleteParams::default()).await.unwrap();
    eventually(SOON, "the Secret is collected", async || {
        secrets.get_opt("web-tls").await.unwrap().is_none().then_some(())
    })
    .await;
    eventually(SOON, "the route is gone", async || {
        (get(world, "shop.example", "/").await.0 == 404).then_some(())
    })
    .await;
}

async fn the_operator_may_do_what_its_manifest_grants_and_nothing_else(world: &World) {
    let client = world.operator_client().await.unwrap();
    let ingresses: Api<Ingress> = Api::all(client.clone());
    let secrets: Api<Secret> = Api::all(client);
    assert!(ingresses.list(&ListParams::default()).await.is_ok());
    assert!(secrets.list(&ListParams::default()).await.is_err());
    let refused = world.audit().into_iter().find(|entry| entry.code == 403).unwrap();
    assert_eq!(refused.user, "system:serviceaccount:ingress-acme:ingress-acme");
    assert_eq!((refused.verb.as_str(), refused.resource.as_str()), ("list", "secrets"));
}

async fn dns_fails_on_demand(world: &World) {
    assert_eq!(dns_code(world.nameserver(), "shop.example"), 0);
    world.dns_fail("shop.example").await.unwrap();
    assert_eq!(dns_code(world.nameserver(), "shop.example"), 2);
    assert_eq!(dns_code(world.nameserver(), "other.example"), 0);
    world.dns_restore("shop.example").await.unwrap();
    assert_eq!(dns_code(world.nameserver(), "shop.example"), 0);
}

async fn an_apiserver_comes_back_with_its_data(world: &World) {
    world.restart_apiserver().await.unwrap();
    let namespaces: Api<Namespace> = Api::all(world.admin());
    assert!(namespaces.get_opt("shop").await.unwrap().is_some());
}

async fn the_ca_answers_stops_and_comes_back(world: &World) {
    let root = std::fs::read(world.acme_ca_file()).unwrap();
    let root = reqwest::Certificate::from_pem(&root).unwrap();
    let client = reqwest::Client::builder().user_agent("test").no_proxy().tls_certs_only([root]);
    let client = client.build().unwrap();
    let directory = async || {
        let deadline = Duration::from_secs(2);
        client.get(world.acme_directory()).timeout(deadline).send().await
    };
    assert!(directory().await.unwrap().text().await.unwrap().contains("newOrder"));
    assert!(!world.ca_is_wedged().await);
    let before = world.issuing_roots_pem().await.unwrap();
    world.pause_ca().unwrap();
    // The signal takes effect with a delay, so a request may still be answered.
    let frozen = async || directory().await.is_err().then_some(());
    eventually(SOON, "the CA is frozen", frozen).await;
    world.resume_ca().unwrap();
    assert!(directory().await.is_ok());
    world.restart_ca().await.unwrap();
    assert_ne!(world.issuing_roots_pem().await.unwrap(), before);
    assert_eq!((world.certificates_issued(), world.orders_created()), (0, 0));
}

/// A stand-in for the operator: a shell script with this body.
fn script(name: &str, body: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = directory.join(format!("{name}-{}", std::process::id()));
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

async fn written(operator: &Operator, text: &str) {
    eventually(SOON, text, async || {
        let log = std::fs::read_to_string(operator.log_path()).unwrap();
        log.contains(text).then_some(())
    })
    .await;
}

#[tokio::test]
async fn after_a_panic_no_process_is_left_and_the_logs_are_kept() {
    let seen: Mutex<Vec<(Vec<u32>, PathBuf)>> = Mutex::default();
    let ran = retry_when_wedged(3, async |world: &World| {
        operators_are_reported_their_world_and_their_end_is_seen(world).await;
        let operator = waiting(world);
        let pids = [world.pids(), vec![operator.pid()]].concat();
        assert!(pids.iter().all(|pid| is_alive(*pid)));
        seen.lock().unwrap().push((pids, world.directory().to_owned()));
        fail();
    });
    let panic = AssertUnwindSafe(ran).catch_unwind().await.unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
    let seen = seen.into_inner().unwrap();
    let [(pids, directory)] = &seen[..] else { panic!("a CA that is well was tried again") };
    assert!(!pids.iter().any(|pid| is_alive(*pid)));
    assert!(directory.join("pebble.log").exists());
    std::fs::remove_dir_all(directory).unwrap();
}

/// Panics without the output of `panic!`, to keep the test's output clean.
fn fail() {
    resume_unwind(Box::new("on purpose"));
}

fn waiting(world: &World) -> Operator {
    let binary = script("waits", "exec sleep 600");
    world.spawn_operator(OperatorOptions::new(binary)).unwrap()
}

async fn operators_are_reported_their_world_and_their_end_is_seen(world: &World) {
    let body = "echo \"$@\"; trap 'exit 7' TERM; trap 'echo dumped' USR1; echo up
while true; do sleep 0.1; done";
    let options = OperatorOptions::new(script("drains", body)).args(["--issuers=2"]);
    let operator = world.spawn_operator(options).unwrap();
    written(&operator, &format!("--probe-port={} --issuers=2", world.gateway_port())).await;
    written(&operator, "up").await;
    operator.signal("USR1").unwrap();
    written(&operator, "dumped").await;
    assert!(operator.is_running());
    assert_eq!(operator.terminate().await.unwrap(), 7);
    assert!(!operator.is_running() && operator.signal("TERM").is_err());

    let killed = waiting(world);
    killed.kill().await;
    assert_eq!(killed.exit_code(), Some(137));

    let ends = OperatorOptions::new(script("ends", "echo 'no such flag'; exit 2"));
    let error = world.start_operator(ends).await.err().unwrap().to_string();
    assert!(error.contains("ended with code 2") && error.contains("no such flag"), "{error}");
    the_solver_route_leads_to_a_live_operator(world).await;
}

async fn the_solver_route_leads_to_a_live_operator(world: &World) {
    apply_yaml(&world.admin(), &solver_route(&["shop.example"])).await.unwrap();
    let path = "/.well-known/acme-challenge/token";
    let dead = waiting(world);
    eventually(SOON, "the route to the solver", async || {
        (get(world, "shop.example", path).await.0 == 503).then_some(())
    })
    .await;
    let live = waiting(world);
    let answers = std::net::TcpListener::bind(live.solver_address()).unwrap();
    let solver = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut connection, _) = answers.accept().unwrap();
        let mut request = [0; 1024];
        let read = connection.read(&mut request).unwrap();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\ntoken.me";
        connection.write_all(answer).unwrap();
        String::from_utf8_lossy(&request[..read]).to_lowercase()
    });
    assert_eq!(get(world, "shop.example", path).await, (200, "token.me".into()));
    let request = solver.join().unwrap();
    assert!(request.contains(path) && request.contains("host: shop.example"), "{request}");
    drop((dead, live));
}

#[tokio::test]
async fn configmaps_need_no_namespace_to_be_applied() {
    // Kept in this file so that one test runs beside another world.
    let world = world().await;
    let yaml = "{apiVersion: v1, kind: ConfigMap, metadata: {name: here}, data: {a: b}}";
    apply_yaml(&world.admin(), yaml).await.unwrap();
    apply_yaml(&world.admin(), yaml).await.unwrap();
    let here: Api<ConfigMap> = Api::default_namespaced(world.admin());
    assert!(here.get_opt("here").await.unwrap().is_some());
    let unknown = "{apiVersion: v1, kind: Nonsense, metadata: {name: x}}";
    let error = apply_yaml(&world.admin(), unknown).await.unwrap_err();
    assert!(error.to_string().starts_with("Nonsense/x: "));
}
