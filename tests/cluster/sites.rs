//! Ingresses like those that users write, and checks of their results.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ingress_acme::pki::inspect;
use ingress_acme_control_plane::{World, eventually};
use ingress_acme_sim::clock::Clock;
use ingress_acme_sim::trust::verify_chain;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

/// Timeout of a wait, long enough for a slow and busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(4);

/// Builder of an Ingress.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) hosts: Vec<String>,
    tls: Vec<Value>,
    class: Option<String>,
    annotations: BTreeMap<String, String>,
}

impl Site {
    /// Starts with one rule per host.
    pub(crate) fn new(namespace: &str, name: &str, hosts: &[&str]) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            tls: Vec::new(),
            class: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Adds a `spec.tls` block.
    pub(crate) fn tls(mut self, secret: &str, hosts: &[&str]) -> Self {
        self.tls.push(json!({ "secretName": secret, "hosts": hosts }));
        self
    }

    /// Sets `spec.ingressClassName`.
    pub(crate) fn class(mut self, class: &str) -> Self {
        self.class = Some(class.to_owned());
        self
    }

    /// Adds an annotation.
    pub(crate) fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    fn object(&self) -> Ingress {
        let backend = json!({ "service": { "name": self.name, "port": { "number": 80 } } });
        let http = json!({ "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] });
        let rules: Vec<Value> =
            self.hosts.iter().map(|host| json!({ "host": host, "http": http })).collect();
        let mut spec = json!({ "ingressClassName": self.class, "tls": self.tls, "rules": rules });
        if rules.is_empty() {
            spec["defaultBackend"] = backend;
        }
        let metadata = json!({
            "namespace": self.namespace, "name": self.name, "annotations": self.annotations,
        });
        serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).expect("an Ingress")
    }

    /// Creates the Ingress.
    pub(crate) async fn create(&self, client: &Client) {
        let api: Api<Ingress> = Api::namespaced(client.clone(), &self.namespace);
        api.create(&PostParams::default(), &self.object()).await.expect("the Ingress is created");
    }
}

/// Creates a namespace.
pub(crate) async fn namespace(client: &Client, name: &str) {
    let object: Namespace =
        serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &object).await.expect("the namespace");
}

/// Reads an Ingress.
pub(crate) async fn ingress(client: &Client, namespace: &str, name: &str) -> Ingress {
    Api::namespaced(client.clone(), namespace).get(name).await.expect("the Ingress")
}

/// Deletes an Ingress.
pub(crate) async fn delete(client: &Client, namespace: &str, name: &str) {
    let api: Api<Ingress> = Api::namespaced(client.clone(), namespace);
    api.delete(name, &DeleteParams::default()).await.expect("the Ingress is deleted");
}

/// Adds a host to an existing Ingress, like a user's edit.
pub(crate) async fn add_host(client: &Client, namespace: &str, name: &str, host: &str) {
    let api: Api<Ingress> = Api::namespaced(client.clone(), namespace);
    let backend = json!({ "service": { "name": name, "port": { "number": 80 } } });
    let rule = json!({
        "host": host,
        "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] },
    });
    let patch = json!([{ "op": "add", "path": "/spec/rules/-", "value": rule }]);
    let patch = Patch::Json::<()>(serde_json::from_value(patch).unwrap());
    api.patch(name, &PatchParams::default(), &patch).await.expect("the host is added");
}

/// Reads a Secret, if there is one.
pub(crate) async fn secret(client: &Client, namespace: &str, name: &str) -> Option<Secret> {
    Api::namespaced(client.clone(), namespace).get_opt(name).await.expect("the API server answers")
}

/// Waits for a certificate with exactly these names.
pub(crate) async fn certificate(
    client: &Client,
    namespace: &str,
    name: &str,
    names: &[&str],
) -> Secret {
    let wanted: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let what = format!("a certificate for {names:?} in Secret {namespace}/{name}");
    eventually(PATIENCE, &what, async || {
        let found = secret(client, namespace, name).await?;
        (names_in(&found).as_ref() == Some(&wanted)).then_some(found)
    })
    .await
}

/// One data entry as text.
pub(crate) fn text(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.0.clone()).ok()
}

/// Names in the certificate of a Secret.
pub(crate) fn names_in(secret: &Secret) -> Option<BTreeSet<String>> {
    inspect(&text(secret, "tls.crt")?, None).ok().map(|leaf| leaf.names)
}

/// Panics unless the Secret is a valid TLS Secret: the key matches the certificate, and a client
/// trusts the chain for all names.
pub(crate) async fn verify(world: &World, secret: &Secret) {
    let name = secret.metadata.name.as_deref().unwrap_or_default();
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"), "{name}");
    let (chain, key) = (text(secret, "tls.crt").unwrap(), text(secret, "tls.key").unwrap());
    let leaf = inspect(&chain, Some(&key)).unwrap();
    assert!(leaf.key_matches, "{name}: the key is that of the certificate");
    let names: Vec<&str> = leaf.names.iter().map(String::as_str).collect();
    let roots = match world.simulated_ca() {
        Some(ca) => ca.root_pem(),
        None => world.issuing_roots_pem().await.expect("the CA shows its root"),
    };
    verify_chain(&chain, &roots, &names, Clock::default().now())
        .unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// Reasons and notes of the Events on an Ingress, oldest first.
pub(crate) async fn events(client: &Client, namespace: &str, name: &str) -> Vec<(String, String)> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let mut events = api.list(&ListParams::default()).await.expect("the Events").items;
    events.sort_by_key(|event| event.event_time.clone().map(|at| at.0));
    let about = |event: &Event| {
        event.regarding.as_ref().is_some_and(|about| about.name.as_deref() == Some(name))
    };
    let reason_and_note =
        |event: Event| (event.reason.unwrap_or_default(), event.note.unwrap_or_default());
    events.into_iter().filter(about).map(reason_and_note).collect()
}

/// All Secrets of a namespace, by name.
pub(crate) async fn tls_secrets(client: &Client, namespace: &str) -> BTreeMap<String, Secret> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let found = api.list(&ListParams::default()).await.expect("the Secrets").items;
    let named = |secret: Secret| Some((secret.metadata.name.clone()?, secret));
    found.into_iter().filter_map(named).collect()
}

/// Hosts of the solver Ingresses.
pub(crate) async fn routed(client: &Client) -> BTreeSet<String> {
    let api: Api<Ingress> = Api::namespaced(client.clone(), "ingress-acme");
    let found = api.list(&ListParams::default()).await.expect("the solver Ingresses").items;
    let rules = found.into_iter().filter_map(|ingress| ingress.spec?.rules).flatten();
    rules.filter_map(|rule| rule.host).collect()
}
