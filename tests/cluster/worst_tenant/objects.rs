//! The worst objects that the API server takes, as JSON.

use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde_json::{Value, json};

use super::evil::{DOMAIN, HARMS};
use super::good;

/// Size up to which the large Ingresses are filled. etcd takes requests of 1.5 MiB.
const LARGE: usize = 1024 * 1024;
/// Longest sum of an object's annotations, in bytes.
const ANNOTATIONS: usize = 256 * 1024;
/// Largest sum of a Secret's values, in bytes.
const SECRET: usize = 1024 * 1024;

/// Body of a request that creates an object.
pub(super) struct Object {
    /// Path of the collection.
    pub(super) collection: &'static str,
    pub(super) body: Vec<u8>,
}

fn ingress_of(name: &str, annotations: &Value, spec: &str) -> Object {
    let metadata = json!({ "name": name, "annotations": annotations });
    let body = format!(
        r#"{{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{metadata},"spec":{spec}}}"#
    );
    let collection = "/apis/networking.k8s.io/v1/namespaces/bad/ingresses";
    Object { collection, body: body.into_bytes() }
}

fn ingress(name: &str, spec: &str) -> Object {
    ingress_of(name, &json!({}), spec)
}

/// An Ingress with one host and one block.
fn small(name: &str, secret: &str, host: &str) -> Object {
    let spec = json!({
        "rules": [{ "host": host }],
        "tls": [{ "hosts": [host], "secretName": secret }],
    });
    ingress(name, &spec.to_string())
}

/// Joins the JSON of `part` for 0, 1, … until the text is long enough.
fn up_to(length: usize, part: impl Fn(usize) -> String) -> String {
    let mut text = part(0);
    let mut number = 1;
    while text.len() < length {
        text.push(',');
        text += &part(number);
        number += 1;
    }
    text
}

/// A host that does harm; all harms take turns.
pub(super) fn evil_host(number: usize, label: &str) -> String {
    format!("{label}{number}.{}.{DOMAIN}", HARMS[number % HARMS.len()])
}

/// Blocks without hosts, which all mean all hosts of as many rules.
pub(super) fn square(number: usize) -> Object {
    let rules = up_to(LARGE / 2, |host| {
        format!(r#"{{"host":"{}"}}"#, evil_host(host, &format!("q{number}-")))
    });
    let blocks = up_to(LARGE / 2, |block| format!(r#"{{"secretName":"square-{number}-{block}"}}"#));
    ingress(&format!("a-square-{number}"), &format!(r#"{{"rules":[{rules}],"tls":[{blocks}]}}"#))
}

/// The same with as many rules as blocks, in 150 KB.
pub(super) fn small_square(number: usize) -> Object {
    let rules: Vec<Value> =
        (0..3_000).map(|host| json!({ "host": evil_host(host, &format!("s{number}-")) })).collect();
    let tls: Vec<Value> =
        (0..3_000).map(|block| json!({ "secretName": format!("sq-{number}-{block}") })).collect();
    let spec = json!({ "rules": rules, "tls": tls });
    ingress(&format!("a-small-square-{number}"), &spec.to_string())
}

/// Thousands of blocks with some hosts each.
pub(super) fn blocks(number: usize) -> Object {
    let blocks = up_to(LARGE, |block| {
        let hosts: Vec<String> =
            (0..5).map(|host| evil_host(5 * block + host, &format!("b{number}-"))).collect();
        json!({ "hosts": hosts, "secretName": format!("blocks-{number}-{block}") }).to_string()
    });
    let spec = format!(r#"{{"defaultBackend":{BACKEND},"tls":[{blocks}]}}"#);
    ingress(&format!("a-blocks-{number}"), &spec)
}

/// Blocks of a hundred hosts that stall: as many as one certificate may have.
pub(super) fn stalling(number: usize) -> Object {
    let blocks = up_to(LARGE, |block| {
        let host = |host| format!("t{number}-{}.stall.{DOMAIN}", 100 * block + host);
        let hosts: Vec<String> = (0..100).map(host).collect();
        json!({ "hosts": hosts, "secretName": format!("stalling-{number}-{block}") }).to_string()
    });
    let spec = format!(r#"{{"defaultBackend":{BACKEND},"tls":[{blocks}]}}"#);
    ingress(&format!("a-stalling-{number}"), &spec)
}

/// Tens of thousands of hosts in one block.
pub(super) fn hosts(number: usize) -> Object {
    let hosts = up_to(LARGE, |host| format!("\"{}\"", evil_host(host, &format!("h{number}-"))));
    let spec = format!(
        r#"{{"defaultBackend":{BACKEND},"tls":[{{"hosts":[{hosts}],"secretName":"hosts-{number}"}}]}}"#
    );
    ingress(&format!("a-hosts-{number}"), &spec)
}

const BACKEND: &str = r#"{"service":{"name":"web","port":{"number":80}}}"#;

/// The longest names, and annotations of ours and of others up to the limit.
pub(super) fn annotated(number: usize) -> Object {
    let label = "n".repeat(63);
    let name = format!("{:a<59}{number:04}.{label}.{label}.{}", "a", "n".repeat(61));
    let ours = ANNOTATIONS / 4;
    let annotations = json!({
        "ingress-acme.dev/renew": "r".repeat(ours),
        "ingress-acme.dev/group": "g".repeat(ours),
        "ingress-acme.dev/filled-tls": "f.example.com,".repeat(ours / 14),
        format!("{}/{label}", &name[..253]): "o".repeat(ours - 1_000),
    });
    let host = format!("{label}.{label}.{label}.{}.evil.example.com", "h".repeat(61 - 17));
    let spec =
        json!({ "tls": [{ "hosts": [host], "secretName": name }], "rules": [{ "host": host }] });
    ingress_of(&name, &annotations, &spec.to_string())
}

/// A class of its own for a host that leads here, so with a certificate and a solver Ingress.
pub(super) fn class(number: usize) -> Object {
    let host = format!("c{number}.bad.example.com");
    let spec = json!({
        "ingressClassName": format!("class-{number}"),
        "rules": [{ "host": host }],
        "tls": [{ "hosts": [host], "secretName": format!("class-{number}") }],
    });
    ingress(&format!("class-{number}"), &spec.to_string())
}

/// One of many Ingresses with one Secret, and with a host of its own.
pub(super) fn sharer(number: usize) -> Object {
    let host = format!("s{number}.shared.bad.example.com");
    small(&format!("sharer-{number}"), "shared", &host)
}

/// One of many Ingresses with one Secret and one host, which is legal.
pub(super) fn twin(number: usize) -> Object {
    small(&format!("twin-{number}"), "twins", "twins.bad.example.com")
}

/// A host that harms its caller.
pub(super) fn dead(number: usize) -> Object {
    small(&format!("dead-{number}"), &format!("dead-{number}"), &evil_host(number, "d"))
}

/// A claim on hosts of the other tenant.
pub(super) fn claim(number: usize) -> Object {
    let host = good::host(u32::try_from(number).expect("a small number"));
    small(&format!("claim-{number}"), &format!("claim-{number}"), &host)
}

/// An Ingress whose Secret is one of [`garbage`] and [`secret`].
pub(super) fn large_secret_user(number: usize) -> Object {
    small(&format!("large-{number}"), &format!("large-{number}"), &evil_host(number, "l"))
}

/// The largest Secret with our label and without any certificate.
pub(super) fn garbage(number: usize) -> Object {
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned();
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let count = (SECRET - key.len()) / certificate.len();
    secret(number, &Pair { certificate: certificate.repeat(count), key })
}

/// A certificate and its key, in PEM.
pub(super) struct Pair {
    certificate: String,
    key: String,
}

/// A certificate with thousands of names.
pub(super) fn many_names() -> Pair {
    let names: Vec<String> = (0..10_000).map(|name| evil_host(name, "m")).collect();
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name = DistinguishedName::new();
    let certificate = params.self_signed(&key).expect("a certificate").pem();
    Pair { certificate, key: key.serialize_pem() }
}

/// A Secret with our label.
pub(super) fn secret(number: usize, pair: &Pair) -> Object {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {
            "name": format!("large-{number}"),
            "labels": { "app.kubernetes.io/managed-by": "ingress-acme" },
        },
        "stringData": { "tls.crt": pair.certificate, "tls.key": pair.key },
    });
    let body = object.to_string().into_bytes();
    Object { collection: "/api/v1/namespaces/bad/secrets", body }
}
