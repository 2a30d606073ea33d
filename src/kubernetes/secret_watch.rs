//! Watched TLS Secrets: their names, so that a deleted one is noticed at once.
//!
//! Only metadata of Secrets with our label is asked for. The rights are another matter: RBAC knows
//! no labels, and who may list Secrets may read them (`deploy/watch-secrets.yaml`).

use futures_util::future::ready;
use futures_util::stream::{self, LocalBoxStream, StreamExt};
use ingress_acme_actors::domain::desired::index::WatchScope;
use ingress_acme_actors::domain::ingress::SecretKey;
use ingress_acme_actors::ports::{SecretChange, SecretWatch};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::PartialObjectMeta;
use kube::runtime::watcher;

use crate::kubernetes::client::scope_watch::{ScopeWatch, Watched, Watching, scopes};
use crate::kubernetes::client::{MANAGED_BY, MANAGED_BY_LABEL};
use crate::kubernetes::journal_segments;

/// TLS Secrets of all namespaces, or of a subset.
pub struct WatchedSecrets {
    client: Client,
    scopes: Vec<WatchScope>,
}

/// The journal writes many times a second, and has our label too.
fn watching() -> Watching {
    let labels = format!("{MANAGED_BY_LABEL}={MANAGED_BY},!{}", journal_segments::LABEL);
    Watching { plural: "Secrets", rights: "watch-secrets.yaml", labels: Some(labels) }
}

impl WatchedSecrets {
    /// Watches `namespaces`, or all namespaces if the slice is empty.
    pub fn new(client: Client, namespaces: &[String]) -> Self {
        Self { client, scopes: scopes(namespaces) }
    }
}

impl SecretWatch for WatchedSecrets {
    fn watch(&self) -> LocalBoxStream<'static, SecretChange> {
        let watches = self.scopes.iter().cloned().map(|scope| {
            let watched = ScopeWatch::new(&self.client, &scope, watching()).stream();
            watched.filter_map(move |watched| {
                ready(match watched {
                    Watched::Event(event) => change(&event, &scope),
                    Watched::Failed(_) => Some(SecretChange::Failed(scope.clone())),
                })
            })
        });
        stream::select_all(watches.collect::<Vec<_>>()).boxed_local()
    }
}

fn change(
    event: &watcher::Event<PartialObjectMeta<Secret>>,
    scope: &WatchScope,
) -> Option<SecretChange> {
    Some(match event {
        watcher::Event::Init => SecretChange::ListBegins(scope.clone()),
        watcher::Event::InitApply(secret) => SecretChange::Listed(key(secret)?),
        watcher::Event::InitDone => SecretChange::ListEnds(scope.clone()),
        watcher::Event::Apply(_) => SecretChange::Applied(scope.clone()),
        watcher::Event::Delete(secret) => SecretChange::Deleted(scope.clone(), key(secret)?),
    })
}

fn key(secret: &PartialObjectMeta<Secret>) -> Option<SecretKey> {
    let metadata = &secret.metadata;
    Some(SecretKey::new(metadata.namespace.as_deref()?, metadata.name.as_deref()?))
}
