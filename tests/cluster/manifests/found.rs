//! Objects in the cluster, compared with the outcomes.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::{Ingress, IngressTLS};
use kube::api::{ListParams, ObjectMeta};
use kube::{Api, Client};

use super::outcome::{IngressOutcome, Key, Manifest, SecretOutcome};
use crate::sites::names_in;

/// Mark of the operator on a `spec.tls` that it has filled in.
const FILLED: &str = "ingress-acme.dev/filled-tls";

/// All Ingresses, Secrets and Events of the cluster.
pub(super) struct Found {
    pub(super) ingresses: BTreeMap<Key, Ingress>,
    pub(super) secrets: BTreeMap<Key, Secret>,
    /// Reasons and notes, by Ingress.
    events: BTreeMap<Key, Vec<(String, String)>>,
}

impl Found {
    pub(super) async fn now(client: &Client) -> Self {
        let ingresses: Api<Ingress> = Api::all(client.clone());
        let secrets: Api<Secret> = Api::all(client.clone());
        let all: Api<Event> = Api::all(client.clone());
        let params = ListParams::default();
        let ingresses = ingresses.list(&params).await.expect("the Ingresses").items;
        let secrets = secrets.list(&params).await.expect("the Secrets").items;
        let mut events = BTreeMap::<Key, Vec<(String, String)>>::new();
        for event in all.list(&params).await.expect("the Events").items {
            let about = event.regarding.unwrap_or_default();
            let key = (about.namespace.unwrap_or_default(), about.name.unwrap_or_default());
            let told = (event.reason.unwrap_or_default(), event.note.unwrap_or_default());
            events.entry(key).or_default().push(told);
        }
        Self {
            ingresses: ingresses.into_iter().map(|one| (key(&one.metadata), one)).collect(),
            secrets: secrets.into_iter().map(|one| (key(&one.metadata), one)).collect(),
            events,
        }
    }

    /// Versions of all objects of these manifests, which no further write changes.
    pub(super) fn versions(&self) -> Vec<Option<&str>> {
        let of = |metadata: &'_ ObjectMeta| metadata.namespace.as_deref() != Some("ingress-acme");
        let ingresses = self.ingresses.values().map(|one| &one.metadata);
        let metadata = ingresses.chain(self.secrets.values().map(|one| &one.metadata));
        metadata.filter(|one| of(one)).map(|one| one.resource_version.as_deref()).collect()
    }

    /// What is not as the outcome of a manifest says; `before` is what its author has applied.
    pub(super) fn differences(&self, manifest: &Manifest, before: &Self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, outcome) in &manifest.outcome.ingresses {
            let key = manifest.key(name);
            let issued = is_issued(manifest, &key);
            let mut say = |what: String| wrong.push(format!("Ingress {}/{}: {what}", key.0, key.1));
            self.check_spec(&key, outcome, before, &mut say);
            self.check_events(&key, outcome, issued, &mut say);
        }
        self.check_secrets(manifest, before, &mut wrong);
        wrong
    }

    /// Nothing of the Ingress has changed but `spec.tls` and its mark, where they are filled in.
    fn check_spec(
        &self,
        key: &Key,
        outcome: &IngressOutcome,
        before: &Self,
        say: &mut impl FnMut(String),
    ) {
        let (Some(now), Some(then)) = (self.ingresses.get(key), before.ingresses.get(key)) else {
            return say("is not there".to_owned());
        };
        let (now, mut tls) = without_tls(now);
        let (then, written) = without_tls(then);
        if now != then {
            say(format!("was {then:?} and is {now:?}"));
        }
        let Some(secret) = &outcome.fills else {
            return if tls != written {
                say(format!("spec.tls was {written:?} and is {tls:?}"));
            };
        };
        let filled = tls.pop().filter(|_| tls.is_empty() && written.is_empty());
        let hosts: BTreeSet<String> =
            filled.iter().flat_map(|block| block.hosts.clone().unwrap_or_default()).collect();
        let found = filled.and_then(|block| block.secret_name);
        let rules = then.spec.into_iter().flat_map(|spec| spec.rules.unwrap_or_default());
        let hosts_of_rules = rules.filter_map(|rule| rule.host).collect();
        let certificate = self.secrets.get(&(key.0.clone(), secret.clone())).and_then(names_in);
        let expected = &certificate.unwrap_or_default() & &hosts_of_rules;
        if found.as_ref() != Some(secret) || hosts != expected {
            say(format!("spec.tls has {found:?} for {hosts:?}, not {secret} for {expected:?}"));
        }
    }

    fn check_events(
        &self,
        key: &Key,
        outcome: &IngressOutcome,
        issued: bool,
        say: &mut impl FnMut(String),
    ) {
        let events = self.events.get(key).map_or(&[][..], Vec::as_slice);
        let is_told = |reason: &str, text: &str| {
            events.iter().any(|(found, note)| found == reason && note.contains(text))
        };
        let wanted = outcome.told.iter().map(|(reason, text)| (reason.as_str(), text.as_str()));
        let issued = issued.then_some(("Issued", ""));
        let missing: Vec<_> =
            wanted.chain(issued).filter(|(reason, text)| !is_told(reason, text)).collect();
        let is_known = |reason: &str| {
            let of_a_certificate = ["Issuing", "Issued"].contains(&reason) && issued.is_some();
            of_a_certificate || outcome.told.contains_key(reason)
        };
        let beside = events.iter().any(|(reason, _)| !is_known(reason));
        let told = events.iter().filter(|(reason, _)| outcome.told.contains_key(reason)).count();
        if !missing.is_empty() || beside || told > outcome.told.len() {
            say(format!("lacks {missing:?} of its Events, or has others: {events:?}"));
        }
    }

    /// The namespaces hold what their users have made, as it was, and the Secrets of the outcome.
    fn check_secrets(&self, manifest: &Manifest, before: &Self, wrong: &mut Vec<String>) {
        let outcomes: BTreeMap<Key, &SecretOutcome> =
            manifest.outcome.secrets.iter().map(|(name, one)| (manifest.key(name), one)).collect();
        let namespaces = manifest.namespaces();
        let of_these = |(key, _): &(&Key, &Secret)| namespaces.contains(&key.0);
        for (key, secret) in self.secrets.iter().filter(of_these) {
            match outcomes.get(key) {
                Some(outcome) => {
                    wrong.extend(difference(secret, outcome).map(|what| format!("{key:?} {what}")));
                }
                None if before.secrets.get(key) == Some(secret) => {}
                None => wrong.push(format!("Secret {key:?} is not as its user made it")),
            }
        }
        let expected =
            outcomes.keys().chain(before.secrets.keys().filter(|key| namespaces.contains(&key.0)));
        let missing = expected.filter(|key| !self.secrets.contains_key(key));
        wrong.extend(missing.map(|key| format!("there is no Secret {key:?}")));
    }
}

/// Whether a certificate is issued for an Ingress.
fn is_issued(manifest: &Manifest, ingress: &Key) -> bool {
    let mut secrets = manifest.outcome.secrets.iter();
    secrets.any(|(name, secret)| {
        manifest.key(name).0 == ingress.0 && secret.owners.contains(&ingress.1)
    })
}

/// Why a Secret is not as its outcome says.
fn difference(secret: &Secret, outcome: &SecretOutcome) -> Option<String> {
    let names = names_in(secret).unwrap_or_default();
    let references = secret.metadata.owner_references.iter().flatten();
    let owners: BTreeSet<String> = references.map(|owner| owner.name.clone()).collect();
    let annotations = secret.metadata.annotations.clone().unwrap_or_default();
    let is_copied =
        outcome.annotations.iter().all(|(name, value)| annotations.get(name) == Some(value));
    let is_right = names == outcome.names && owners == outcome.owners && is_copied;
    (!is_right).then(|| format!("has {names:?}, is owned by {owners:?}, with {annotations:?}"))
}

/// The Ingress as its user sees it, without `spec.tls` and the mark, and `spec.tls`.
fn without_tls(ingress: &Ingress) -> (Ingress, Vec<IngressTLS>) {
    let mut ingress = ingress.clone();
    let metadata = &mut ingress.metadata;
    (metadata.resource_version, metadata.managed_fields, metadata.generation) = (None, None, None);
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(FILLED);
    }
    metadata.annotations = metadata.annotations.take().filter(|all| !all.is_empty());
    let tls = ingress.spec.as_mut().and_then(|spec| spec.tls.take()).unwrap_or_default();
    (ingress, tls)
}

fn key(metadata: &ObjectMeta) -> Key {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    (text(&metadata.namespace), text(&metadata.name))
}
