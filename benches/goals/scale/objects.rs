//! Objects that are loaded directly into the API server's store, without requests.

use ingress_acme_sim::World;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde_json::{Value, json};

/// A Namespace.
pub(super) fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// An Ingress with a rule for each host, and all of them in one block of `spec.tls`.
pub(super) fn ingress(namespace: &str, name: &str, secret: &str, hosts: &[String]) -> Value {
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
    let rule = |host: &String| json!({"host": host, "http": {"paths": [path]}});
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "rules": hosts.iter().map(rule).collect::<Vec<_>>(),
            "tls": [{"hosts": hosts, "secretName": secret}],
        },
    })
}

/// A Secret like one written by the operator for `owners`. Its certificate is self-signed, since
/// the operator does not check the issuer.
pub(super) fn secret(
    world: &World,
    key: &KeyPair,
    name: &str,
    owners: &[Value],
    hosts: &[String],
) -> anyhow::Result<Value> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    let now = time::OffsetDateTime::now_utc();
    (params.not_before, params.not_after) =
        (now - time::Duration::hours(1), now + time::Duration::days(89));
    let chain = params.self_signed(key)?.pem();
    let owner = |ingress: &Value| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "name": ingress["metadata"]["name"], "uid": ingress["metadata"]["uid"],
        })
    };
    Ok(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {
            "namespace": owners[0]["metadata"]["namespace"], "name": name,
            "labels": {"app.kubernetes.io/managed-by": "ingress-acme"},
            "annotations": {"ingress-acme.dev/directory": world.ca().directory_url()},
            "ownerReferences": owners.iter().map(owner).collect::<Vec<_>>(),
        },
        "stringData": {"tls.crt": chain, "tls.key": key.serialize_pem()},
    }))
}

/// Loads an object, and returns it as stored.
pub(super) fn load(world: &World, object: Value) -> anyhow::Result<Value> {
    world.api().load(object).map_err(|refusal| anyhow::anyhow!("{refusal:?}"))
}
