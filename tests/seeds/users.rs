//! Edits of users and of other controllers in the cluster, and the state that they find.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ingress_acme::pki;
use ingress_acme_sim::direct::DirectWorld;
use ingress_acme_sim::kube::User;
use ingress_acme_sim::trust::verify_chain;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::api_transport;

const NAMESPACES: [&str; 2] = ["web", "shop"];
/// Hosts of one Ingress: each edit chooses some of them, by a bit mask.
const HOSTS: u8 = 3;

/// How an Ingress asks for its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A `spec.tls` of its own.
    Own,
    /// No `spec.tls`.
    Plain,
    /// `spec.tls` with the Secret of the namespace that others name too.
    Shared,
    /// The annotation `partial`.
    Partial,
    /// The annotation `group`.
    Grouped,
}

const KINDS: [Kind; 5] = [Kind::Own, Kind::Plain, Kind::Shared, Kind::Partial, Kind::Grouped];

/// The users of one world.
pub(crate) struct Users {
    client: Client,
    world: Rc<DirectWorld>,
    /// Hosts that each Ingress is wanted with; 0 where there is none.
    wanted: Vec<u8>,
    /// Objects of somebody else, by name, as they were made.
    foreign: BTreeMap<String, String>,
}

fn kind(n: usize) -> Kind {
    KINDS[(n / NAMESPACES.len()) % KINDS.len()]
}

fn namespace(n: usize) -> &'static str {
    NAMESPACES[n % NAMESPACES.len()]
}

fn name(n: usize) -> String {
    format!("s{n}")
}

/// A host of an Ingress.
pub(crate) fn host(n: usize, bit: u8) -> String {
    format!("h{bit}.s{n}.example.com")
}

fn hosts(n: usize, chosen: u8) -> Vec<String> {
    (0..HOSTS).filter(|bit| chosen & (1 << bit) != 0).map(|bit| host(n, bit)).collect()
}

fn ingress(n: usize, chosen: u8) -> Value {
    let (hosts, kind) = (hosts(n, chosen), kind(n));
    let backend = json!({"service": {"name": "site", "port": {"number": 80}}});
    let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
    let rules: Vec<Value> =
        hosts.iter().map(|host| json!({"host": host, "http": {"paths": paths}})).collect();
    let secret = if kind == Kind::Shared { "shared".to_owned() } else { name(n) };
    let mut spec = json!({"rules": rules});
    if !matches!(kind, Kind::Plain | Kind::Grouped) {
        spec["tls"] = json!([{"hosts": hosts, "secretName": secret}]);
    }
    let annotations = match kind {
        Kind::Partial => json!({"ingress-acme.dev/partial": "true"}),
        Kind::Grouped => json!({"ingress-acme.dev/group": "true"}),
        _ => json!({}),
    };
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": name(n), "namespace": namespace(n), "annotations": annotations},
        "spec": spec,
    })
}

impl Users {
    /// Makes the namespaces, and objects that are not for this operator.
    pub(crate) fn of(world: &Rc<DirectWorld>, ingresses: usize) -> Self {
        let client = api_transport::client(world.api.transport(), User::Admin, None);
        for name in NAMESPACES {
            let metadata = json!({"name": name});
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
            world.api.load(namespace).expect("it is new");
        }
        let cert_manager = json!({"cert-manager.io/cluster-issuer": "le"});
        let rules = json!([{"host": "foreign.example.com"}]);
        let tls = json!([{"hosts": ["foreign.example.com"], "secretName": "foreign"}]);
        let metadata = |name: &str| json!({"name": name, "namespace": "web"});
        let mut issued = metadata("foreign");
        issued["annotations"] = cert_manager;
        let objects = [
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": issued,
                "spec": {"rules": rules, "tls": tls}}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata("foreign"),
                "type": "kubernetes.io/tls", "data": {"tls.crt": "eA==", "tls.key": "eA=="}}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata("password"),
                "type": "Opaque", "data": {"password": "eA=="}}),
        ];
        let mut foreign = BTreeMap::new();
        for object in objects {
            let made = world.api.load(object).expect("it is new");
            let key = |part: &str| made["metadata"][part].as_str().unwrap_or_default().to_owned();
            let kind = made["kind"].as_str().unwrap_or_default();
            foreign.insert(format!("{kind} {}", key("name")), key("resourceVersion"));
        }
        Self { client, world: world.clone(), wanted: vec![0; ingresses], foreign }
    }

    /// Number of Ingresses that there may be.
    pub(crate) fn count(&self) -> usize {
        self.wanted.len()
    }

    fn ingresses(&self, n: usize) -> Api<Ingress> {
        Api::namespaced(self.client.clone(), namespace(n))
    }

    fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Gives an Ingress these hosts; with none, deletes the Ingress.
    pub(crate) async fn edit(&mut self, n: usize, chosen: u8) {
        let before = std::mem::replace(&mut self.wanted[n], chosen);
        let (api, object) = (self.ingresses(n), ingress(n, chosen));
        let patch = || Patch::Merge(json!({"spec": object["spec"]}));
        let edited = match (before, chosen) {
            (0, 0) => Ok(()),
            (_, 0) => api.delete(&name(n), &DeleteParams::default()).await.map(drop),
            (0, _) => {
                let object = serde_json::from_value(object).expect("it is an Ingress");
                api.create(&PostParams::default(), &object).await.map(drop)
            }
            _ => api.patch(&name(n), &PatchParams::default(), &patch()).await.map(drop),
        };
        edited.expect("the users' requests meet no faults");
    }

    /// Secret that the newest version of the Ingress names.
    async fn secret_of(&self, n: usize) -> Option<String> {
        let ingress = self.ingresses(n).get_opt(&name(n)).await.expect("it is read")?;
        ingress.spec?.tls?.first()?.secret_name.clone()
    }

    /// Deletes the Secret of an Ingress.
    pub(crate) async fn delete_secret(&self, n: usize) {
        if let Some(secret) = self.secret_of(n).await {
            // There may be none yet.
            _ = self.secrets(namespace(n)).delete(&secret, &DeleteParams::default()).await;
        }
    }

    /// Writes something else into the Secret of an Ingress: no certificate, or one that has
    /// expired, with its key.
    pub(crate) async fn overwrite_secret(&self, n: usize, expired: bool) {
        let Some(secret) = self.secret_of(n).await else { return };
        let names = hosts(n, self.wanted[n]);
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(names).expect("the names are good");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 3, 1);
        let old = params.self_signed(&key).expect("a certificate").pem();
        let (chain, key) =
            if expired { (old, key.serialize_pem()) } else { (String::new(), String::new()) };
        let data = json!({"stringData": {"tls.crt": chain, "tls.key": key}});
        let patch = Patch::Merge(data);
        _ = self.secrets(namespace(n)).patch(&secret, &PatchParams::default(), &patch).await;
    }

    /// Asserts that each Ingress is served by what a client trusts, and that what belongs to
    /// somebody else is as it was.
    pub(crate) async fn assert_served(&self) {
        for n in (0..self.wanted.len()).filter(|n| self.wanted[*n] != 0) {
            if let Err(why) = self.served(n).await {
                let events = self.events().await;
                panic!("{} of {:?} is not served: {why}\n{events}", name(n), kind(n));
            }
        }
        for (object, version) in &self.foreign {
            assert_eq!(self.version_of(object).await.as_deref(), Some(&**version), "{object}");
        }
    }

    async fn served(&self, n: usize) -> Result<(), String> {
        let secret = self.secret_of(n).await.ok_or("there is no spec.tls")?;
        let found = self.secrets(namespace(n)).get_opt(&secret).await.expect("it is read");
        let mut data = found.and_then(|found| found.data).ok_or("there is no Secret")?;
        let mut text = |entry: &str| {
            let bytes = data.remove(entry).map(|bytes| bytes.0).unwrap_or_default();
            String::from_utf8(bytes).unwrap_or_default()
        };
        let (chain, key) = (text("tls.crt"), text("tls.key"));
        let leaf = pki::inspect(&chain, Some(&key))?;
        let (wanted, roots) = (hosts(n, self.wanted[n]), self.world.ca.root_pem());
        let all: Vec<&str> = wanted.iter().map(String::as_str).collect();
        verify_chain(&chain, &roots, &all, self.world.clock.now())
            .map_err(|why| why.to_string())?;
        if !leaf.key_matches {
            return Err("the key is of another certificate".to_owned());
        }
        let exact: BTreeSet<String> = wanted.into_iter().collect();
        let alone = !matches!(kind(n), Kind::Shared | Kind::Grouped);
        if alone && leaf.names != exact {
            return Err(format!("it has the names {:?} in place of {exact:?}", leaf.names));
        }
        Ok(())
    }

    async fn version_of(&self, object: &str) -> Option<String> {
        let (kind, name) = object.split_once(' ')?;
        if kind == "Secret" {
            let found = self.secrets("web").get_opt(name).await.expect("it is read")?;
            return found.metadata.resource_version;
        }
        let ingresses: Api<Ingress> = Api::namespaced(self.client.clone(), "web");
        ingresses.get_opt(name).await.expect("it is read")?.metadata.resource_version
    }

    /// All Events, for the message of a failure.
    async fn events(&self) -> String {
        use k8s_openapi::api::events::v1::Event;
        let events = Api::<Event>::all(self.client.clone()).list(&ListParams::default()).await;
        let line = |event: Event| {
            let about = event.regarding.and_then(|about| about.name).unwrap_or_default();
            let (reason, note) = (event.reason.unwrap_or_default(), event.note.unwrap_or_default());
            let at = event.event_time.map(|at| at.0.to_string()).unwrap_or_default();
            format!("{at} {about}: {reason}: {note}\n")
        };
        let mut lines: Vec<String> = events.expect("they are read").into_iter().map(line).collect();
        lines.sort();
        lines.concat()
    }
}
