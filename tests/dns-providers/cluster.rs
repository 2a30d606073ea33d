//! Providers that are objects of a cluster, on a real API server with the operator's rights:
//! `DNSEndpoint`s, which a stand-in for ExternalDNS writes to BIND, and a webhook solver behind the
//! aggregator.

use std::path::Path;
use std::sync::{Arc, Mutex};

use ingress_acme_actors::domain::dns::txt::TxtRecord;
use ingress_acme_control_plane::{Bind, TSIG_SECRET, World, apply_yaml, eventually};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::services::Asked;
use crate::{Accounts, NAMESPACE, SOON, are_installed, permanent, record};

const ZONE: &str = "example.test";
const NAME: &str = "_acme-challenge.example.test";
const GROUP: &str = "acme.example.com";

/// What ExternalDNS installs, without the schema of fields that are not used here.
const CRD: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: dnsendpoints.externaldns.k8s.io
  annotations: {api-approved.kubernetes.io: 'https://github.com/kubernetes-sigs/external-dns/pull/2007'}
spec:
  group: externaldns.k8s.io
  names: {kind: DNSEndpoint, listKind: DNSEndpointList, plural: dnsendpoints, singular: dnsendpoint}
  scope: Namespaced
  versions:
    - name: v1alpha1
      served: true
      storage: true
      subresources: {status: {}}
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              properties:
                endpoints:
                  type: array
                  items:
                    type: object
                    properties:
                      dnsName: {type: string}
                      recordTTL: {type: integer, format: int64}
                      recordType: {type: string}
                      targets: {type: array, items: {type: string}}
            status: {type: object}
";

#[tokio::test]
async fn objects_of_a_cluster_are_providers_with_the_rights_of_their_files() {
    if !are_installed(&["named", "dig", "nsupdate"]) {
        return;
    }
    let world = World::start().await.unwrap_or_else(|error| panic!("{error}"));
    let operator = world.operator_client().await.unwrap();
    let accounts = Accounts::of(world.admin(), operator, None);
    run(&world, "kubectl -n ingress-acme create secret generic dns-example --from-literal=provider=cloudflare --from-literal=api-token=TOKEN --from-literal=zones=example.com --from-literal=namespaces=web").await;
    run(
        &world,
        "kubectl -n ingress-acme label secret dns-example ingress-acme.dev/dns-account=true",
    )
    .await;
    let read = accounts.until(|accounts| accounts.get("dns-example").is_some()).await;
    assert!(read.get("dns-example").unwrap().namespaces.has("web"));
    external_dns(&world, &accounts).await;
    webhook(&world, &accounts).await;
}

/// An object of the same name without our label is somebody else's, and stays as it is.
async fn own_object_only(admin: &Client, accounts: &Accounts, record: &TxtRecord) {
    let [object] = &endpoints(admin).await[..] else { panic!("one object") };
    let label = "app.kubernetes.io/managed-by";
    let mark = async |value: Value| {
        let labels = json!({"metadata": {"labels": {label: value}}});
        let api = dns_endpoints(admin);
        let patched =
            api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(labels)).await;
        patched.unwrap().metadata.resource_version
    };
    let ours = object.labels()[label].clone();
    let version = mark(json!("somebody-else")).await;
    for error in [accounts.records.add(record).await, accounts.records.remove(record).await] {
        let error = permanent(error);
        assert!(error.contains("not of ingress-acme"), "{error}");
    }
    let [same] = &endpoints(admin).await[..] else { panic!("one object") };
    assert_eq!(same.metadata.resource_version, version);
    mark(json!(ours)).await;
}

/// Runs a documented command in the repository.
async fn run(world: &World, command: &str) {
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let done = world.kubectl().args(words).current_dir(root).output().await.unwrap();
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
}

async fn external_dns(world: &World, accounts: &Accounts) {
    apply_yaml(&world.admin(), CRD).await.unwrap();
    accounts.account("endpoints", ZONE, &[("provider", "external-dns")]).await;
    let [one, other] = ["value-1", "value-2"].map(|value| record("endpoints", ZONE, ZONE, value));
    let error = eventually(SOON, "the CRD is served", async || {
        let refused = accounts.records.add(&one).await;
        let refused = permanent(refused);
        refused.contains("is forbidden").then_some(refused)
    });
    let error = error.await;
    assert!(error.contains("docs/dns.md names the file"), "{error}");

    run(world, "kubectl apply -f deploy/external-dns.yaml").await;
    let bind = Bind::start(&[(ZONE, "")]).await.unwrap();
    let stand_in = tokio::spawn(write_to(world.admin(), bind.address().port()));
    let shows = async |values: &[&str]| {
        eventually(SOON, &format!("{values:?}"), async || (bind.txt(NAME) == values).then_some(()))
            .await;
    };
    eventually(SOON, "the right", async || accounts.records.add(&one).await.ok()).await;
    shows(&["value-1"]).await;
    own_object_only(&world.admin(), accounts, &other).await;
    accounts.records.add(&other).await.unwrap();
    accounts.records.add(&other).await.unwrap();
    shows(&["value-1", "value-2"]).await;
    accounts.records.remove(&one).await.unwrap();
    shows(&["value-2"]).await;
    accounts.records.remove(&one).await.unwrap();
    accounts.records.remove(&other).await.unwrap();
    shows(&[]).await;
    assert!(endpoints(&world.admin()).await.is_empty(), "nothing is left behind");
    stand_in.abort();
}

fn dns_endpoints(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("externaldns.k8s.io", "v1alpha1", "DNSEndpoint");
    let kind = ApiResource::from_gvk_with_plural(&kind, "dnsendpoints");
    Api::namespaced_with(client.clone(), NAMESPACE, &kind)
}

async fn endpoints(client: &Client) -> Vec<DynamicObject> {
    dns_endpoints(client).list(&ListParams::default()).await.unwrap().items
}

/// Stands in for ExternalDNS: gives the name in BIND the targets of its `DNSEndpoint`.
async fn write_to(client: Client, port: u16) {
    let mut known = Vec::new();
    loop {
        let targets: Vec<String> = endpoints(&client).await.iter().flat_map(targets).collect();
        if targets != known {
            let mut script = format!(
                "server 127.0.0.1 {port}\nkey hmac-sha256:acme {TSIG_SECRET}\nzone {ZONE}\nupdate delete {NAME} TXT\n"
            );
            for target in &targets {
                script.extend(["update add ", NAME, " 60 TXT ", target, "\n"]);
            }
            let mut nsupdate = tokio::process::Command::new("nsupdate");
            nsupdate.stdin(std::process::Stdio::piped()).kill_on_drop(true);
            let mut nsupdate = nsupdate.spawn().unwrap();
            let script = script + "send\n";
            nsupdate.stdin.take().unwrap().write_all(script.as_bytes()).await.unwrap();
            assert!(nsupdate.wait().await.unwrap().success());
            known = targets;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

fn targets(object: &DynamicObject) -> Vec<String> {
    let endpoint = object.data.pointer("/spec/endpoints/0").unwrap();
    assert_eq!((&endpoint["dnsName"], &endpoint["recordType"]), (&json!(NAME), &json!("TXT")));
    let targets = endpoint["targets"].as_array().unwrap().iter();
    targets.map(|target| target.as_str().unwrap().to_owned()).collect()
}

/// Requests that the solver was asked.
type Requests = Arc<Mutex<Vec<Value>>>;

async fn webhook(world: &World, accounts: &Accounts) {
    let requests = Requests::default();
    let port = start_solver(world, requests.clone()).await;
    let keys = [
        ("provider", "webhook"),
        ("group", GROUP),
        ("solver", "my-solver"),
        ("config", "{\"tokenSecretRef\": {\"name\": \"token-of-the-solver\"}}"),
    ];
    accounts.account("webhook", ZONE, &keys).await;
    let value = record("webhook", ZONE, ZONE, "value-1");
    let error = permanent(accounts.records.add(&value).await);
    assert!(
        error.contains("is forbidden") && error.contains("docs/dns.md names the file"),
        "{error}"
    );
    assert!(requests.lock().unwrap().is_empty());

    run(world, "kubectl apply -f deploy/dns-webhook.yaml").await;
    eventually(SOON, "the solver is asked", async || accounts.records.add(&value).await.ok()).await;
    accounts.records.remove(&value).await.unwrap();
    let asked = requests.lock().unwrap().clone();
    let actions: Vec<_> = asked.iter().map(|request| request["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["Present", "CleanUp"], "of port {port}");
    for request in &asked {
        assert_eq!(request["resourceNamespace"], NAMESPACE);
        assert_eq!((&request["key"], &request["dnsName"]), (&json!("value-1"), &json!(ZONE)));
        assert_eq!(request["resolvedFQDN"], format!("{NAME}."));
        assert_eq!(request["resolvedZone"], format!("{ZONE}."));
        assert_eq!(request["config"]["tokenSecretRef"]["name"], "token-of-the-solver");
        assert_eq!((&request["type"], &request["uid"]), (&json!("dns-01"), &asked[0]["uid"]));
    }
    let refused = record("webhook", ZONE, ZONE, "refused");
    let error = crate::transient(accounts.records.add(&refused).await);
    assert!(error.contains("the solver answers: Refused [redacted] has no right"), "{error}");
}

/// Starts a solver, and registers it with the aggregator. Its Service leads to loopback.
async fn start_solver(world: &World, requests: Requests) -> u16 {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["solver.dns-webhook.svc".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider().into();
    let tls = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let tls = tls.unwrap().with_no_client_auth();
    let tls = tls.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(solve(listener, TlsAcceptor::from(Arc::new(tls)), requests));
    let roots = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, certificate.pem());
    let registered = format!(
        "
apiVersion: v1
kind: Namespace
metadata: {{name: dns-webhook}}
---
apiVersion: v1
kind: Service
metadata: {{name: solver, namespace: dns-webhook}}
spec: {{type: ExternalName, externalName: localhost}}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {{name: v1alpha1.{GROUP}}}
spec:
  group: {GROUP}
  version: v1alpha1
  groupPriorityMinimum: 1000
  versionPriority: 15
  caBundle: {roots}
  service: {{name: solver, namespace: dns-webhook, port: {port}}}
"
    );
    apply_yaml(&world.admin(), &registered).await.unwrap();
    port
}

async fn solve(listener: TcpListener, acceptor: TlsAcceptor, requests: Requests) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, requests) = (acceptor.clone(), requests.clone());
        tokio::spawn(async move {
            let mut stream = BufReader::new(acceptor.accept(stream).await.ok()?);
            loop {
                let asked = Asked::read(&mut stream).await?;
                let body = answer(&asked, &requests).to_string();
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
                let text = format!("{head} {}\r\n\r\n{body}", body.len());
                stream.write_all(text.as_bytes()).await.ok()?;
                stream.flush().await.ok()?;
            }
            #[expect(unreachable_code, reason = "the type of the block")]
            Some(())
        });
    }
}

fn answer(asked: &Asked, requests: &Requests) -> Value {
    let version = format!("{GROUP}/v1alpha1");
    if asked.method == "GET" {
        return json!({"apiVersion": "v1", "kind": "APIResourceList", "groupVersion": version,
            "resources": [{"name": "my-solver", "singularName": "", "namespaced": false,
                "kind": "ChallengePayload", "verbs": ["create"]}]});
    }
    assert_eq!(asked.path, format!("/apis/{version}/my-solver"));
    let request = &asked.json["request"];
    if request["key"] == "refused" {
        let status = json!({"reason": "Refused", "message": "token-of-the-solver has no right"});
        return json!({"response": {"uid": request["uid"], "success": false, "status": status}});
    }
    requests.lock().unwrap().push(request.clone());
    json!({"response": {"uid": request["uid"], "success": true}})
}
