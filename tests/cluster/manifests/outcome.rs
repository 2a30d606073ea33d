//! The manifests of `tests/manifests/`, each with the outcome beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

/// Suffix of the file with a manifest, and of the one with its outcome.
const SUFFIXES: [&str; 2] = [".yaml", ".outcome.yaml"];

/// Annotation of a TLS Secret whose data the test makes: a self-signed certificate for these hosts.
/// No private key is kept in a file.
const SELF_SIGNED: &str = "example.com/self-signed";

/// Namespace and name.
pub(super) type Key = (String, String);

/// Objects that belong together, and what becomes of them.
pub(super) struct Manifest {
    /// Name of the files, and of the namespace of objects that name none.
    pub(super) name: String,
    /// Objects in the order of the file, each with its namespace.
    pub(super) objects: Vec<Value>,
    pub(super) outcome: Outcome,
}

/// What the author of a manifest wants.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outcome {
    /// The same in words.
    wants: String,
    /// Every Ingress that the API server takes.
    #[serde(default)]
    pub(super) ingresses: BTreeMap<String, IngressOutcome>,
    /// Every Secret that the operator writes, each of them once.
    #[serde(default)]
    pub(super) secrets: BTreeMap<String, SecretOutcome>,
    /// Objects that the API server refuses, with a part of its answer.
    #[serde(default)]
    pub(super) refused: BTreeMap<String, String>,
}

/// What becomes of an Ingress.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IngressOutcome {
    /// Secret in the `spec.tls` that is filled in. Without it, `spec.tls` stays as written.
    pub(super) fills: Option<String>,
    /// Reasons of Events beside `Issuing` and `Issued`, each with a part of its note.
    #[serde(default)]
    pub(super) told: BTreeMap<String, String>,
    /// What `explain` names as the reason why no certificate is ordered.
    pub(super) left_alone: Option<String>,
}

/// A certificate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretOutcome {
    pub(super) names: BTreeSet<String>,
    /// Ingresses of the namespace that own the Secret.
    pub(super) owners: BTreeSet<String>,
    /// Annotations of the user that are on the Secret too.
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// Reads all manifests.
    ///
    /// # Panics
    /// With the name of the first file that is not as it should be.
    pub(super) fn all() -> Vec<Self> {
        let names: BTreeSet<String> = files().filter_map(|file| stem(&file)).collect();
        names.into_iter().map(Self::read).collect()
    }

    fn read(name: String) -> Self {
        let read = |suffix: &str| {
            let file = directory().join(format!("{name}{suffix}"));
            let text = fs::read_to_string(&file);
            text.unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        };
        let [manifest, outcome] = SUFFIXES.map(read);
        let outcome: Outcome = serde_saphyr::from_str(&outcome)
            .unwrap_or_else(|error| panic!("the outcome of {name}: {error}"));
        let documents: Vec<Value> = serde_saphyr::from_multiple(&manifest)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let objects = documents.into_iter().map(|document| object(document, &name)).collect();
        let manifest = Self { name, objects, outcome };
        manifest.assert_complete();
        manifest
    }

    /// Every Ingress has an outcome, and every outcome an Ingress.
    fn assert_complete(&self) {
        let Outcome { wants, ingresses, refused, .. } = &self.outcome;
        assert!(!wants.is_empty(), "{}: what does its author want?", self.name);
        let of_kind = self.objects.iter().filter(|object| object["kind"] == "Ingress");
        let written: BTreeSet<Key> = of_kind.map(key_of).collect();
        let told: BTreeSet<Key> =
            ingresses.keys().chain(refused.keys()).map(|name| self.key(name)).collect();
        assert_eq!(written, told, "{}: the Ingresses, and those of the outcome", self.name);
    }

    /// Key of an object that the outcome names, as `NAME` or as `NAMESPACE/NAME`.
    pub(super) fn key(&self, name: &str) -> Key {
        let (namespace, name) = name.split_once('/').unwrap_or((&self.name, name));
        (namespace.to_owned(), name.to_owned())
    }

    /// Namespaces of the objects.
    pub(super) fn namespaces(&self) -> BTreeSet<String> {
        self.objects.iter().map(|object| key_of(object).0).collect()
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests")
}

fn files() -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory()).expect("the manifests").map(|file| file.expect("a file").path())
}

/// Name of the manifest that a file is a part of.
fn stem(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    SUFFIXES.iter().rev().find_map(|suffix| name.strip_suffix(suffix)).map(str::to_owned)
}

/// The object of one document, in its namespace and with the data that the test makes.
fn object(mut document: Value, namespace: &str) -> Value {
    let metadata = &mut document["metadata"];
    if metadata["namespace"].is_null() {
        metadata["namespace"] = json!(namespace);
    }
    let hosts = metadata["annotations"][SELF_SIGNED].as_str().map(str::to_owned);
    if let Some(hosts) = hosts {
        let hosts: Vec<String> = hosts.split(',').map(str::to_owned).collect();
        let made = rcgen::generate_simple_self_signed(hosts).expect("the names are good");
        document["stringData"] =
            json!({ "tls.crt": made.cert.pem(), "tls.key": made.signing_key.serialize_pem() });
    }
    document
}

/// Namespace and name of an object.
pub(super) fn key_of(object: &Value) -> Key {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

#[test]
fn each_manifest_has_an_outcome_and_each_outcome_a_manifest() {
    let manifests = Manifest::all();
    assert!(manifests.len() >= 60, "{}", manifests.len());
    let is_known = |file: &PathBuf| stem(file).is_some() || file.ends_with("README.md");
    let strays: Vec<PathBuf> = files().filter(|file| !is_known(file)).collect();
    assert!(strays.is_empty(), "neither manifests nor outcomes: {strays:?}");
}
