//! The read-only commands `status` and `explain`, and `renew`, which requests a new certificate.
//!
//! All use the user's own permissions and do not contact the operator: the Ingresses, the Secrets
//! and the Events contain its state.

mod row;
mod user_events;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;
use futures_util::{StreamExt, stream};
use ingress_acme_actors::domain::certificate::SecretView;
use ingress_acme_actors::domain::desired::index::Index;
use ingress_acme_actors::domain::desired::secret_names::chosen_name;
use ingress_acme_actors::domain::desired::selection::{Selection, Skip};
use ingress_acme_actors::domain::ingress::{ANNOTATION_PREFIX, IngressKey, SecretKey};
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::ports::{Clock, PortError, TlsSecrets};
use ingress_acme_actors::secret_choice::SecretChoice;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::commands::cli::{Output, StatusArgs};
use crate::kubernetes::api_groups::serves_cert_manager;
use crate::kubernetes::client;
use crate::kubernetes::ingresses::view;
use crate::kubernetes::tls_secrets::KubeTlsSecrets;
use crate::process::clock::SystemClock;
use row::Row;
pub(crate) use user_events::plain;
use user_events::{UserEvent, user_events};

/// Number of Secrets read concurrently.
const AT_ONCE: usize = 16;
/// Number of objects per page of a list.
const PAGE: u32 = 500;

/// State of the cluster, for one namespace or all.
struct Snapshot {
    index: Index,
    secrets: HashMap<SecretKey, Result<Option<SecretView>, String>>,
    events: HashMap<IngressKey, Vec<UserEvent>>,
    now: Timestamp,
}

/// Runs `status`.
pub async fn list(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let client = client::connect().await?;
    let own = args.namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let namespace = (!args.all_namespaces).then_some(own);
    let snapshot = Snapshot::take(&client, namespace.as_deref(), None).await?;
    let rows = snapshot.rows();
    Ok(match (args.output, namespace) {
        (Output::Json, _) => print(&serde_json::to_string_pretty(&rows)?),
        (Output::Table, Some(here)) if rows.is_empty() => {
            print(&format!("There is no Ingress in namespace {here}; -A shows all namespaces."))
        }
        (Output::Table, None) if rows.is_empty() => print("There is no Ingress in this cluster."),
        (Output::Table, _) => print(&row::table(&rows).to_string()),
    })
}

/// Runs `explain NS/NAME`.
pub async fn explain(key: &IngressKey) -> anyhow::Result<ExitCode> {
    let client = client::connect().await?;
    let snapshot = Snapshot::of_one(&client, key).await?;
    Ok(print(&snapshot.explanation(key)))
}

/// Runs `renew NS/NAME`.
pub async fn renew(key: &IngressKey) -> anyhow::Result<ExitCode> {
    Ok(print(&ask_for_renewal(&client::connect().await?, key).await?))
}

/// Annotates the Ingress and returns a message for the user.
pub(crate) async fn ask_for_renewal(client: &Client, key: &IngressKey) -> anyhow::Result<String> {
    let snapshot = Snapshot::of_one(client, key).await?;
    if let Some(why) = snapshot.reason_not_to_renew(key) {
        bail!("Ingress {key} cannot get a new certificate: {why}");
    }
    let now = SystemClock::default().now().to_string();
    let annotations = json!({ format!("{ANNOTATION_PREFIX}renew"): now });
    let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
    let api: Api<Ingress> = Api::namespaced(client.clone(), &key.namespace);
    if let Err(error) = api.patch(&key.name, &PatchParams::default(), &patch).await {
        bail!("Ingress {key} could not be annotated: {}", client::detail(&error));
    }
    Ok(format!(
        "A new certificate is requested by {ANNOTATION_PREFIX}renew: {now}.\n\
         Follow it with: ingress-acme explain {key}"
    ))
}

/// Returns the Secrets that an Ingress requests.
pub(crate) async fn secrets_of(
    client: &Client,
    key: &IngressKey,
) -> anyhow::Result<Vec<SecretKey>> {
    Snapshot::of_one(client, key).await?.secrets_of(key)
}

/// Writes to standard output. A closed pipe is not an error: the reader may stop early, as `head`
/// does, and the command continues.
pub(crate) fn print(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

impl Snapshot {
    /// Reads the Ingresses of one namespace or all. Reads Secrets and Events for all these
    /// Ingresses, or for the Ingress named `only`.
    async fn take(
        client: &Client,
        namespace: Option<&str>,
        only: Option<&str>,
    ) -> anyhow::Result<Self> {
        // Which namespace has a host is known to the operator only, and told by its Events.
        let cert_manager = serves_cert_manager(client).await;
        let selection = Selection { shared_hosts: true, cert_manager, ..Selection::default() };
        // All Ingresses are shown: the memory is that of the user.
        let mut index = Index::new(selection, None).with_room(usize::MAX);
        for ingress in ingresses(client, namespace).await? {
            index.apply(view(&ingress));
        }
        index.part_all(&namespace.map(Into::into));
        let wanted = |key: &&IngressKey| only.is_none_or(|name| *key.name == *name);
        let keys: Vec<IngressKey> = index.managed().filter(wanted).cloned().collect();
        let tls_secrets = KubeTlsSecrets::new(client.clone());
        let index = choose_secrets(index, &keys, &tls_secrets).await;
        let wanted: Vec<SecretKey> = keys.iter().flat_map(|key| index.secrets(key)).collect();
        let reads = stream::iter(wanted).map(|secret| async {
            let read = tls_secrets.read(&secret).await;
            (secret, read.map_err(|error| error.to_string()))
        });
        let secrets = reads.buffer_unordered(AT_ONCE).collect().await;
        let events = user_events(client, namespace, only).await?;
        Ok(Self { index, secrets, events, now: SystemClock::default().now() })
    }

    async fn of_one(client: &Client, key: &IngressKey) -> anyhow::Result<Self> {
        let snapshot = Self::take(client, Some(&key.namespace), Some(&key.name)).await?;
        if snapshot.index.view(key).is_none() {
            bail!("there is no Ingress {key}");
        }
        Ok(snapshot)
    }

    /// Returns the reason why an annotation would not lead to a new certificate, if there is one.
    fn reason_not_to_renew(&self, key: &IngressKey) -> Option<String> {
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
    fn secrets_of(&self, key: &IngressKey) -> anyhow::Result<Vec<SecretKey>> {
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

    fn rows(&self) -> Vec<Row> {
        let mut keys: Vec<&IngressKey> = self.index.all().collect();
        keys.sort();
        keys.into_iter().flat_map(|key| self.rows_of(key)).collect()
    }

    /// Returns one row per certificate, or a single row for an Ingress without certificates.
    fn rows_of(&self, key: &IngressKey) -> Vec<Row> {
        if self.index.view(key).is_some_and(|view| view.is_solver) {
            return Vec::new();
        }
        if let Some(why) = self.left_alone(key) {
            return vec![Row::skipped(key, &why.to_string())];
        }
        let mut problems = self.problems(key);
        let renewed = |why| format!("only the certificates that it has are renewed, because {why}");
        problems.extend(self.index.skip(key).map(renewed));
        let secrets = self.index.secrets(key);
        if secrets.is_empty() {
            return vec![Row::skipped(key, &problems.join("; "))];
        }
        let last = self.events.get(key).and_then(|events| events.last());
        let row = |secret: &SecretKey| {
            let desired = self.index.desired(secret)?;
            let read = self.secrets.get(secret)?;
            Some(Row::of(key, &desired, read, last, self.now))
        };
        secrets.iter().filter_map(row).map(|row| row.with_problems(&problems)).collect()
    }

    fn problems(&self, key: &IngressKey) -> Vec<String> {
        let problems = self.index.problems(key).into_iter().flatten();
        problems.map(|problem| problem.to_string()).collect()
    }

    fn explanation(&self, key: &IngressKey) -> String {
        let mut lines = vec![format!("Ingress {key}")];
        lines.extend(self.rows_of(key).iter().map(Row::explanation));
        let events = self.events.get(key).map_or(&[][..], Vec::as_slice);
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

async fn ingresses(client: &Client, namespace: Option<&str>) -> anyhow::Result<Vec<Ingress>> {
    let api: Api<Ingress> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    match client::list_all(&api, ListParams::default().limit(PAGE)).await {
        Ok(all) => Ok(all),
        Err(error) => bail!("the Ingresses cannot be listed: {}", client::detail(&error)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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
            account: None,
            copied: None,
        };
        let secrets = [(SecretKey::new("web", "shop"), Ok(Some(secret)))].into();
        Snapshot { index, secrets, events: HashMap::new(), now: Timestamp::from_secs(0) }
    }

    #[test]
    fn what_is_renewed_for_an_ingress_can_be_revoked_whatever_its_marks() {
        let key = IngressKey::new("web", "shop");
        assert_eq!(canary(true).secrets_of(&key).unwrap(), [SecretKey::new("web", "shop")]);
        let why = canary(false).secrets_of(&key).unwrap_err().to_string();
        assert!(why.contains("canary"), "{why}");
    }
}
