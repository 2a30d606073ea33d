//! State of the cluster as the commands read it: the Ingresses, the Secrets that they ask for, and
//! the Events of the operator.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use anyhow::bail;
use futures_util::{StreamExt, stream};
use ingress_acme_actors::domain::certificate::SecretView;
use ingress_acme_actors::domain::desired::index::Index;
use ingress_acme_actors::domain::desired::secret_names::chosen_name;
use ingress_acme_actors::domain::desired::selection::{Selection, Skip};
use ingress_acme_actors::domain::ingress::{IngressKey, SecretKey};
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::ports::{Clock, PortError, SecretReads};
use ingress_acme_actors::secret_choice::SecretChoice;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Api, Client};

use super::PAGE;
use super::row::Row;
use super::user_events::{UserEvents, user_events};
use crate::commands::cli::ScopeArgs;
use crate::kubernetes::api_groups::serves_cert_manager;
use crate::kubernetes::client;
use crate::kubernetes::ingresses::view;
use crate::kubernetes::tls_secrets::KubeTlsSecrets;
use crate::process::clock::SystemClock;

/// Number of Secrets read concurrently.
pub(in crate::commands) const AT_ONCE: usize = 16;

/// Which Ingresses are shown.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Place {
    /// `None` for all namespaces.
    pub(in crate::commands) namespace: Option<String>,
    /// Label selector, in the words of the user: the API server reads it.
    pub(in crate::commands) selector: Option<String>,
}

impl Place {
    pub(in crate::commands) fn of(scope: &ScopeArgs, default: &str) -> Self {
        Self { namespace: scope.namespace(default), selector: scope.selector.clone() }
    }

    /// All Ingresses of a namespace.
    pub(in crate::commands) fn within(namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), selector: None }
    }

    pub(in crate::commands) fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        }
    }

    /// Text of kubectl about an empty list.
    pub(in crate::commands) fn nothing_found(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("No resources found in {namespace} namespace."),
            None => "No resources found".to_owned(),
        }
    }
}

/// State of the cluster, for one namespace or all.
pub(super) struct Snapshot {
    pub(super) client: Client,
    pub(super) place: Place,
    /// All Ingresses of the place, also those without the labels: they may share a Secret with one
    /// that has them.
    pub(super) index: Index,
    /// Ingresses with the labels; `None` for all.
    selected: Option<BTreeSet<IngressKey>>,
    pub(super) secrets: HashMap<SecretKey, Result<Option<SecretView>, String>>,
    pub(super) events: UserEvents,
    pub(super) now: Timestamp,
}

impl Snapshot {
    /// Reads the Ingresses of a place. Reads Secrets and Events for all these Ingresses, or for the
    /// Ingress named `only`.
    pub(super) async fn take(
        client: &Client,
        place: Place,
        only: Option<&str>,
    ) -> anyhow::Result<Self> {
        // Which namespace has a host is known to the operator only, and told by its Events.
        let cert_manager = serves_cert_manager(client).await;
        let selection = Selection { shared_hosts: true, cert_manager, ..Selection::default() };
        // All Ingresses are shown: the memory is that of the user.
        let mut index = Index::new(selection, None).with_room(usize::MAX);
        let selected = selected(client, &place).await?;
        for ingress in ingresses(client, &place).await? {
            index.apply(view(&ingress));
        }
        index.part_all(&place.namespace.as_deref().map(Into::into));
        let wanted = |key: &&IngressKey| {
            only.is_none_or(|name| *key.name == *name)
                && selected.as_ref().is_none_or(|selected| selected.contains(*key))
        };
        let keys: Vec<IngressKey> = index.managed().filter(wanted).cloned().collect();
        let events = user_events(&place.api(client), only).await?;
        let (secrets, now) = (HashMap::new(), SystemClock::default().now());
        let client = client.clone();
        let mut snapshot = Self { client, place, index, selected, secrets, events, now };
        snapshot.read_secrets(&keys).await;
        Ok(snapshot)
    }

    /// Reads the Secrets of these Ingresses, after a choice of their names where it is open.
    /// Returns the Ingresses with a Secret that could not be read for now; an earlier read of such
    /// a Secret stays.
    pub(super) async fn read_secrets(&mut self, keys: &[IngressKey]) -> Vec<IngressKey> {
        let tls_secrets = KubeTlsSecrets::new(self.client.clone());
        self.index = choose_secrets(std::mem::take(&mut self.index), keys, &tls_secrets).await;
        let wanted: BTreeSet<SecretKey> =
            keys.iter().flat_map(|key| self.index.secrets(key)).collect();
        let reads = stream::iter(wanted).map(|secret| async {
            let read = tls_secrets.read(&secret).await;
            (secret, read)
        });
        let mut unread = BTreeSet::new();
        for (secret, read) in reads.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await {
            if matches!(read, Err(PortError::Transient { .. })) {
                unread.insert(secret.clone());
                if self.secrets.contains_key(&secret) {
                    continue;
                }
            }
            self.secrets.insert(secret, read.map_err(|error| error.to_string()));
        }
        let used: BTreeSet<SecretKey> =
            self.index.managed().flat_map(|key| self.index.secrets(key)).collect();
        self.secrets.retain(|secret, _| used.contains(secret));
        let is_unread = |key: &&IngressKey| {
            self.index.secrets(key).iter().any(|secret| unread.contains(secret))
        };
        keys.iter().filter(is_unread).cloned().collect()
    }

    /// Ingresses with a Secret that nobody has read: theirs is a new one since an edit of another
    /// Ingress, or they have the labels since now.
    pub(super) fn unread(&self) -> Vec<IngressKey> {
        let is_unread = |key: &&IngressKey| {
            self.is_selected(key)
                && self.index.secrets(key).iter().any(|secret| !self.secrets.contains_key(secret))
        };
        self.index.managed().filter(is_unread).cloned().collect()
    }

    /// Reads which Ingresses have the labels now.
    pub(super) async fn select(&mut self) -> anyhow::Result<()> {
        self.selected = selected(&self.client, &self.place).await?;
        Ok(())
    }

    pub(super) fn has(&self, key: &IngressKey) -> bool {
        self.index.view(key).is_some()
    }

    fn is_selected(&self, key: &IngressKey) -> bool {
        self.selected.as_ref().is_none_or(|selected| selected.contains(key))
    }

    /// Ingresses that are shown, by namespace and name. Our own solver Ingresses are not.
    pub(super) fn shown(&self) -> Vec<&IngressKey> {
        let is_users = |key: &&IngressKey| self.index.view(key).is_some_and(|view| !view.is_solver);
        let mut keys: Vec<&IngressKey> =
            self.index.all().filter(|key| self.is_selected(key)).filter(is_users).collect();
        keys.sort();
        keys
    }

    /// Returns the reason why an annotation would not lead to a new certificate, if there is one.
    pub(super) fn reason_not_to_renew(&self, key: &IngressKey) -> Option<String> {
        if let Some(why) = self.left_alone(key) {
            return Some(why.to_string());
        }
        let secrets = self.index.secrets(key);
        if secrets.is_empty() {
            return Some(self.problems(key).join("; "));
        }
        let foreign = |secret: &SecretKey| {
            let adopted = self.index.desired(secret).is_some_and(|desired| desired.adopt);
            let read = self.secrets.get(secret).and_then(|read| read.as_ref().ok()?.as_ref());
            !adopted && read.is_some_and(|found| !found.ours)
        };
        let all = secrets.iter().all(foreign);
        all.then(|| "its Secret was not made by ingress-acme".to_owned())
    }

    /// Secrets whose certificates the operator issues or renews for an Ingress.
    pub(super) fn secrets_of(&self, key: &IngressKey) -> anyhow::Result<Vec<SecretKey>> {
        if let Some(why) = self.left_alone(key) {
            bail!("ingress-acme does not serve Ingress {key}: {why}");
        }
        Ok(self.index.secrets(key))
    }

    /// Why nothing is done for an Ingress. One that would get no new certificate is served if it
    /// has a certificate of ours.
    fn left_alone(&self, key: &IngressKey) -> Option<&Skip> {
        let found = |secret: &SecretKey| {
            self.secrets.get(secret)?.as_ref().ok()?.as_ref().map(|it| it.ours)
        };
        let has_one = || self.index.secrets(key).iter().any(|secret| found(secret) == Some(true));
        self.index.skip(key).filter(|why| !why.renews() || !has_one())
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        self.shown().into_iter().flat_map(|key| self.rows_of(key)).collect()
    }

    /// Returns one row per certificate, or a single row for an Ingress without certificates.
    fn rows_of(&self, key: &IngressKey) -> Vec<Row> {
        let Some(view) = self.index.view(key).filter(|view| !view.is_solver) else {
            return Vec::new();
        };
        if let Some(why) = self.left_alone(key) {
            return vec![Row::skipped(view, &why.to_string())];
        }
        let mut problems = self.problems(key);
        let renewed = |why| format!("only the certificates that it has are renewed, because {why}");
        problems.extend(self.index.skip(key).map(renewed));
        let secrets = self.index.secrets(key);
        if secrets.is_empty() {
            return vec![Row::skipped(view, &problems.join("; "))];
        }
        let last = self.events.of(key).last();
        let row = |secret: &SecretKey| {
            let desired = self.index.desired(secret)?;
            let read = self.secrets.get(secret)?;
            Some(Row::of(view, &desired, read, last, self.now))
        };
        secrets.iter().filter_map(row).map(|row| row.with_problems(&problems)).collect()
    }

    fn problems(&self, key: &IngressKey) -> Vec<String> {
        let problems = self.index.problems(key).into_iter().flatten();
        problems.map(|problem| problem.to_string()).collect()
    }

    pub(super) fn explanation(&self, key: &IngressKey) -> String {
        let mut lines = vec![format!("Ingress {key}")];
        lines.extend(self.rows_of(key).iter().map(Row::explanation));
        let events = self.events.of(key);
        lines.push(
            if events.is_empty() { "\nNo Events." } else { "\nEvents, newest last:" }.to_owned(),
        );
        lines.extend(events.iter().map(|events| format!("  {events}")));
        lines.join("\n")
    }
}

/// Finds the Secrets of Ingresses that leave the name to the operator.
async fn choose_secrets(index: Index, keys: &[IngressKey], secrets: &KubeTlsSecrets) -> Index {
    let index = RefCell::new(index);
    let choice = SecretChoice { index: &index, tls_secrets: secrets, is_live: &|_| false };
    let choices = stream::iter(keys).map(|key| async {
        if let Err(PortError::Permanent(_)) = choice.choose(key).await {
            // The user may not read Secrets: the row says so of the most likely one.
            index.borrow_mut().choose(key, &chosen_name(&key.name, 1));
        }
    });
    choices.buffer_unordered(AT_ONCE).for_each(|()| std::future::ready(())).await;
    index.into_inner()
}

pub(in crate::commands) async fn ingresses(
    client: &Client,
    place: &Place,
) -> anyhow::Result<Vec<Ingress>> {
    let api: Api<Ingress> = place.api(client);
    match client::list_all(&api, ListParams::default().limit(PAGE)).await {
        Ok(all) => Ok(all),
        Err(error) => bail!("the Ingresses cannot be listed: {}", client::detail(&error)),
    }
}

/// Keys of the Ingresses with the labels, by their metadata; `None` without a selector.
pub(in crate::commands) async fn selected(
    client: &Client,
    place: &Place,
) -> anyhow::Result<Option<BTreeSet<IngressKey>>> {
    let Some(selector) = &place.selector else { return Ok(None) };
    let params = ListParams::default().labels(selector).limit(PAGE);
    let listed = client::list_all_metadata(&place.api::<Ingress>(client), params).await;
    let listed = listed.map_err(|error| {
        anyhow::anyhow!("-l {selector} cannot be used: {}", client::detail(&error))
    })?;
    let key = |metadata: &ObjectMeta| {
        Some(IngressKey::new(metadata.namespace.as_deref()?, metadata.name.as_deref()?))
    };
    Ok(Some(listed.iter().filter_map(key).collect()))
}

#[cfg(test)]
impl Snapshot {
    /// A snapshot of nothing, for tests of the rules. Its client needs a runtime.
    pub(super) fn without_cluster(place: Place) -> Self {
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap()));
        Self {
            client: client.unwrap(),
            place,
            index: Index::default(),
            selected: None,
            secrets: HashMap::new(),
            events: UserEvents::default(),
            now: Timestamp::from_secs(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A canary, whose Secret `shop` is ours or not.
    fn canary(ours: bool) -> Snapshot {
        let metadata = json!({
            "namespace": "web", "name": "shop", "uid": "u1",
            "annotations": {"nginx.ingress.kubernetes.io/canary": "true"},
        });
        let (rule, tls) =
            (json!({"host": "a.example.com"}), json!({"hosts": [], "secretName": "shop"}));
        let spec = json!({"rules": [rule], "tls": [tls]});
        let ingress = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
        let mut index = Index::default();
        index.apply(view(&ingress));
        let secret = SecretView {
            ours,
            other_install: None,
            other_issuer: None,
            untrusted: false,
            is_tls: true,
            immutable: false,
            certificate: Err("none".to_owned()),
            owners: BTreeSet::new(),
            renew: None,
            directory: None,
            instead_of: None,
            ca: None,
            account: None,
            copied: None,
        };
        let secrets = [(SecretKey::new("web", "shop"), Ok(Some(secret)))].into();
        Snapshot { index, secrets, ..Snapshot::without_cluster(Place::within("web")) }
    }

    #[tokio::test]
    async fn what_is_renewed_for_an_ingress_can_be_revoked_whatever_its_marks() {
        let key = IngressKey::new("web", "shop");
        assert_eq!(canary(true).secrets_of(&key).unwrap(), [SecretKey::new("web", "shop")]);
        let why = canary(false).secrets_of(&key).unwrap_err().to_string();
        assert!(why.contains("canary"), "{why}");
    }
}
