//! Contract of the objects that the operator writes and of its admin port. The program runs in the
//! simulated world and is tested from outside, so that this test survives any change of the code.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use ingress_acme::commands::cli::LETS_ENCRYPT;
use ingress_acme::commands::storm::Simulated;
use ingress_acme::kubernetes::account_secret::AccountSecret;
use ingress_acme::kubernetes::tls_secrets::KubeTlsSecrets;
use ingress_acme::pki::inspect;
use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::domain::copied::Copied;
use ingress_acme_actors::domain::ingress::SecretKey;
use ingress_acme_actors::ports::{AccountStore, Installation, TlsSecrets};
use ingress_acme_sim::kube::User;
use ingress_acme_sim::{Options, ca};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::ListParams;
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::metrics::{exposed, sample};
use crate::site::Site;
use crate::{OPERATOR, hold, lines, pretty};

const PATIENCE: Duration = Duration::from_mins(2);

/// Polls until `look` returns a value; panics after [`PATIENCE`].
async fn eventually<T>(wanted: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("never: {wanted}"))
}

/// JSON of an object, with placeholders for values that differ between runs.
fn plain(object: &impl serde::Serialize) -> Value {
    let mut value = serde_json::to_value(object).unwrap();
    scrub(&mut value);
    value
}

/// Fields whose values differ between runs.
const OF_A_RUN: [&str; 8] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "time",
    "acquireTime",
    "renewTime",
    "eventTime",
    "note",
];

fn scrub(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("fieldsV1");
            fields.remove("generation");
            for (name, value) in fields {
                match name.as_str() {
                    name if OF_A_RUN.contains(&name) => *value = format!("[{name}]").into(),
                    "data" => value.as_object_mut().unwrap().values_mut().for_each(|bytes| {
                        *bytes = "[bytes]".into();
                    }),
                    "ingress-acme.dev/directory" => *value = "[directory]".into(),
                    "ingress-acme.dev/account" => *value = "[account]".into(),
                    _ => scrub(value),
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(scrub),
        _ => {}
    }
}

/// A simulated cluster with an operator.
struct Scene {
    simulated: Simulated,
    client: Client,
}

impl Scene {
    /// Starts with validations that take one second, long enough for the test to see the solver
    /// Ingress.
    async fn start() -> Self {
        let ca = ca::Options { validation_delay: Duration::from_secs(1), ..ca::Options::default() };
        let options = Options { ca, ..Options::default() };
        let simulated = Simulated::start_with(options, &[], Path::new(OPERATOR)).await.unwrap();
        let client = simulated.target().unwrap().client;
        Self { simulated, client }
    }

    fn load(&self, object: Value) {
        self.simulated.world().api().load(object).unwrap();
    }

    fn site(&self) {
        self.load(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "web"}}));
        let marks = json!({"ingress-acme.dev/renew": "now"});
        self.load(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"namespace": "web", "name": "shop", "annotations": marks},
            "spec": {"ingressClassName": "nginx", "rules": [{"host": "shop.example.com"}]},
        }));
        self.load(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"namespace": "web", "name": "wild"},
            "spec": {"rules": [{"host": "*.example.com"}]},
        }));
    }

    /// Objects of one kind in a namespace.
    async fn all<K>(&self, namespace: &str) -> Vec<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        api.list(&ListParams::default()).await.unwrap().items
    }

    /// The first object in the operator's namespace whose name starts with `start`.
    async fn own<K>(&self, start: &str) -> Option<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let named = |object: &K| object.meta().name.as_ref().unwrap().starts_with(start);
        self.all::<K>("ingress-acme").await.into_iter().find(named)
    }

    async fn fetched(&self, path: &str) -> (u16, String, String) {
        let url = self.simulated.metrics_url().replace("/metrics", path);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(url).send().await.unwrap();
        let kind = answer.headers().get("content-type");
        let kind = kind.map_or("-", |kind| kind.to_str().unwrap()).to_owned();
        let status = answer.status().as_u16();
        (status, kind, answer.text().await.unwrap())
    }
}

#[actix::test]
async fn all_that_an_operator_writes_and_answers_is_as_before() {
    let scene = Scene::start().await;
    scene.site();
    let solver = eventually("a solver Ingress", async || scene.own::<Ingress>("").await).await;
    hold("object-solver-ingress", &pretty(&plain(&solver)));
    check_own_objects(&scene).await;
    let filled = async || {
        let mut all = scene.all::<Ingress>("web").await.into_iter();
        all.find(|ingress| ingress.spec.as_ref().is_some_and(|spec| spec.tls.is_some()))
    };
    let shop = eventually("spec.tls", filled).await;
    hold("object-ingress", &pretty(&plain(&shop)));
    let secret = scene.all::<Secret>("web").await.pop().unwrap();
    hold("object-secret", &pretty(&plain(&secret)));
    check_events(&scene).await;
    check_ports(&scene).await;
    check_words_of_metrics(&scene).await;
    assert!(scene.simulated.end().await.unwrap().success());
}

async fn check_own_objects(scene: &Scene) {
    let lease = scene.own::<Lease>("").await.unwrap();
    hold("object-lease", &pretty(&plain(&lease)));
    let found = async || scene.own::<Secret>("ingress-acme-journal-").await;
    let segment = eventually("a segment of the journal", found).await;
    hold("object-journal", &pretty(&plain(&segment)));
    let found = async || {
        let account = scene.own::<Secret>("ingress-acme-account-").await?;
        account.data.as_ref()?.contains_key("account.url").then_some(account)
    };
    let account = eventually("an account", found).await;
    let mut account = plain(&account);
    // The name ends with a hash of the directory's URL, which contains a port of this run.
    account["metadata"]["name"] = "ingress-acme-account-[hash]".into();
    hold("object-account", &pretty(&account));
}

async fn check_events(scene: &Scene) {
    for reason in ["Issued", "Skipped"] {
        let exposed = async || {
            let mut all = scene.all::<Event>("web").await.into_iter();
            all.find(|event| event.reason.as_deref() == Some(reason))
        };
        let mut event = eventually(reason, exposed).await;
        let name = event.metadata.name.unwrap();
        let (start, hash) = name.split_once('.').unwrap();
        assert_eq!(hash.len(), 16, "{name}");
        event.metadata.name = Some(format!("{start}.[hash]"));
        hold(&format!("object-event-{}", reason.to_lowercase()), &pretty(&plain(&event)));
    }
}

fn keys(json: &str) -> String {
    let value: Value = serde_json::from_str(json).unwrap();
    value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ")
}

/// Paths that are answered at once. `/changes` is a stream.
const PATHS: [&str; 12] = [
    "/",
    "/ingresses?search=shop&namespace=web",
    "/ingress?namespace=web&name=shop",
    "/ingress?namespace=web&name=none",
    "/explain?namespace=web&name=shop",
    "/style.css",
    "/script.js",
    "/livez",
    "/readyz",
    "/metrics",
    "/debug/state",
    "/api/v1/ingresses?state=failing&search=shop",
];

async fn check_ports(scene: &Scene) {
    let mut all = Vec::new();
    for path in PATHS {
        let (status, kind, text) = scene.fetched(path).await;
        let exposed = if kind == "application/json" { keys(&text) } else { String::new() };
        all.push(format!("{path}: {status} {kind} {exposed}"));
    }
    hold("ports", &lines(all));
}

/// Label values that appear only in slow runs, so that no snapshot can hold them.
const LATER: [&str; 6] = [
    "update",
    "delete",
    "deletecollection",
    "renewal_info",
    "issuance_failed",
    "issuance_abandoned",
];

/// Checks label values that no type lists; this flow produces nearly all of them.
async fn check_words_of_metrics(scene: &Scene) {
    let (_, _, text) = scene.fetched("/metrics").await;
    let mut all = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = sample(line);
        for (label, value) in labels {
            let held = ["step", "event", "endpoint", "verb", "resource"].contains(&label.as_str());
            if held && !LATER.contains(&value.as_str()) {
                let family = name.trim_end_matches("_bucket").trim_end_matches("_sum");
                let family = family.trim_end_matches("_count").trim_end_matches("_total");
                all.insert(format!("{family} {label}={value}"));
            }
        }
    }
    hold("metric-words", &lines(all));
    let transient = |family: &&String| !family.contains("process_") && !family.contains("restarts");
    let families: Vec<String> =
        exposed(&text, "# TYPE ").iter().filter(transient).cloned().collect();
    hold("metrics-of-an-operator", &lines(families));
}

#[actix::test]
async fn the_account_of_lets_encrypt_is_kept_under_the_name_of_before() {
    let site = Site::start();
    let client = Client::try_from(site.world().api().config(User::Admin)).unwrap();
    let account = AccountSecret::new(client, "ingress-acme", LETS_ENCRYPT, None);
    assert_eq!(account.name(), "ingress-acme-account-237ba9eb");
}

#[actix::test]
async fn an_external_account_is_read_from_the_keys_of_before() {
    let site = Site::start();
    site.load(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"namespace": "ingress-acme", "name": "eab"},
        "data": {"kid": "azE=", "hmac": "Wm05dg=="},
    }));
    let client = Client::try_from(site.world().api().config(User::Admin)).unwrap();
    let account = AccountSecret::new(client, "ingress-acme", LETS_ENCRYPT, Some("eab".to_owned()));
    let external = account.external_account().await.unwrap().unwrap();
    assert_eq!((external.kid.as_str(), external.hmac.as_slice()), ("k1", &b"foo"[..]));
}

#[actix::test]
async fn a_secret_says_where_its_certificate_is_from_under_the_annotations_of_before() {
    let site = Site::start();
    let client = Client::try_from(site.world().api().config(User::Admin)).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["a.example.com".to_owned()]).unwrap();
    let what = Installation {
        chain: "chain".to_owned(),
        leaf: inspect(&params.self_signed(&key).unwrap().pem(), None).unwrap(),
        key: PrivateKey::from_pem("key".to_owned()),
        owners: Some(BTreeSet::new()),
        renew: Some("now".to_owned()),
        adopt: false,
        directory: "https://second.example/directory".to_owned(),
        instead_of: Some("https://ca.example/directory".to_owned()),
        ca: None,
        account: Some("https://second.example/account/1".to_owned()),
        copied: Copied::default(),
    };
    let tls_secrets = KubeTlsSecrets::new(client.clone());
    tls_secrets.install(&SecretKey::new("web", "shop"), what).await.unwrap();
    let api: Api<Secret> = Api::namespaced(client, "web");
    let secret = api.get("shop").await.unwrap();
    hold("object-secret-of-the-second-ca", &pretty(&plain(&secret)));
}
