//! The cluster as a plan reads it: the Ingresses of all namespaces, and the Secrets that decide.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::anyhow;
use futures_util::{StreamExt, TryStreamExt, stream};
use ingress_acme_actors::domain::cas::Cas;
use ingress_acme_actors::domain::certificate::SecretStatus;
use ingress_acme_actors::domain::desired::index::Index;
use ingress_acme_actors::domain::desired::problem::Problem;
use ingress_acme_actors::domain::desired::selection::Selection;
use ingress_acme_actors::domain::ingress::{IngressKey, IngressView, SecretKey};
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::host_holders::HostHolders;
use ingress_acme_actors::ports::{Clock, SecretReads};
use ingress_acme_actors::secret_choice::SecretChoice;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Client;

use super::dns_accounts::dns_accounts;
use super::readable_secrets::ReadableSecrets;
use crate::commands::cli::ServingArgs;
use crate::commands::status::quota::count;
use crate::commands::status::snapshot::{AT_ONCE, Place, ingresses, selected};
use crate::kubernetes::api_groups::serves_cert_manager;
use crate::kubernetes::ingresses::view;
use crate::kubernetes::tls_secrets::is_owned_empty;
use crate::process::ca_sets::decided;
use crate::process::cas_file;
use crate::process::clock::SystemClock;
use crate::process::public_ca::public_ca;

/// All that a plan is made from.
pub(super) struct Survey {
    pub(super) index: Index,
    /// The CAs.
    pub(super) cas: Cas,
    /// Ingresses of namespaces that are not watched.
    pub(super) unwatched: BTreeMap<IngressKey, IngressView>,
    /// Ingresses whose empty `spec.tls` another writer owns, so that it is not filled in.
    pub(super) not_to_fill: BTreeSet<IngressKey>,
    /// Secrets of the Ingresses that are shown.
    pub(super) secrets: HashMap<SecretKey, SecretStatus>,
    /// Ingresses that are shown, by namespace and name.
    pub(super) shown: Vec<IngressKey>,
    pub(super) notes: Vec<String>,
    pub(super) now: Timestamp,
}

impl Survey {
    /// Reads the cluster. Hosts belong to one namespace, so that all Ingresses are read where the
    /// user may; those of `place` are shown, or `only` one of them. `own` is the operator's
    /// namespace.
    pub(super) async fn take(
        client: &Client,
        place: &Place,
        (serving, own): (&ServingArgs, &str),
        only: Option<&IngressKey>,
    ) -> anyhow::Result<Self> {
        let selection = Selection {
            cert_manager: serves_cert_manager(client).await,
            public_ca: public_ca(serving.public_ca, serving.acme_directory.as_str()).await,
            ..serving.selection()
        };
        let cas = match &serving.cas_file {
            Some(path) => decided(cas_file::read(path)?, serving.public_ca).await,
            None => Cas::alone(serving.acme_directory.as_str()),
        };
        let chosen = selected(client, place).await?;
        let (found, note) = all_ingresses(client, place).await?;
        let index = Index::new(selection, serving.profile.clone());
        let mut survey = Self {
            index: index.with_algorithm(serving.key_algorithm).with_cas(Rc::new(cas.clone())),
            cas,
            unwatched: BTreeMap::new(),
            not_to_fill: BTreeSet::new(),
            secrets: HashMap::new(),
            shown: Vec::new(),
            notes: note.into_iter().collect(),
            now: SystemClock::default().now(),
        };
        let owned = found.iter().filter(|one| is_owned_empty(one)).map(|one| view(one).key);
        survey.not_to_fill = owned.collect();
        let unread = match dns_accounts(client, own).await {
            Ok((accounts, notes)) => {
                _ = survey.index.set_dns_accounts(Arc::new(accounts)); // it has no Ingress yet
                survey.notes.extend(notes);
                None
            }
            Err(note) => Some(note),
        };
        survey.fill(found.iter().map(view), &serving.watched());
        survey.show(place, chosen.as_ref());
        survey.shown.retain(|key| only.is_none_or(|only| only == key));
        survey.notes.extend(unread.filter(|_| survey.has_unproved()));
        survey.read(&ReadableSecrets::of(client, place).await).await?;
        Ok(survey)
    }

    /// Puts the Ingresses into the index, as the first list of the operator does.
    pub(super) fn fill(&mut self, views: impl Iterator<Item = IngressView>, watched: &[String]) {
        for view in views {
            if watched.is_empty() || watched.iter().any(|one| **one == *view.key.namespace) {
                self.index.apply(view);
            } else {
                self.unwatched.insert(view.key.clone(), view);
            }
        }
        self.index.part_all(&None);
    }

    /// Whether a wildcard of an Ingress that is shown seems to be proved by no account.
    fn has_unproved(&self) -> bool {
        let problems = self.shown.iter().filter_map(|key| self.index.problems(key));
        problems.flatten().any(|problem| matches!(problem, Problem::Unproved { .. }))
    }

    /// Chooses what is shown. Our own solver Ingresses are not.
    fn show(&mut self, place: &Place, chosen: Option<&BTreeSet<IngressKey>>) {
        let is_shown = |key: &&IngressKey| {
            place.namespace.as_ref().is_none_or(|namespace| **namespace == *key.namespace)
                && chosen.is_none_or(|chosen| chosen.contains(*key))
                && !self.index.view(key).is_some_and(|view| view.is_solver)
        };
        let all = self.index.all().chain(self.unwatched.keys());
        let shown: BTreeSet<IngressKey> = all.filter(is_shown).cloned().collect();
        self.shown = shown.into_iter().collect();
    }

    /// Chooses the Secrets of the Ingresses that are shown, decides on hosts that several
    /// namespaces name, and reads these Secrets.
    async fn read(&mut self, secrets: &ReadableSecrets) -> anyhow::Result<()> {
        let index = RefCell::new(std::mem::take(&mut self.index));
        choose(&index, secrets, &self.shown).await?;
        let used: BTreeSet<SecretKey> =
            self.shown.iter().flat_map(|key| index.borrow().secrets(key)).collect();
        for secret in &used {
            decide(&index, secrets, secret).await?;
        }
        let reads = stream::iter(used).map(|secret| async move {
            let found = secrets.read(&secret).await.map_err(|error| anyhow!("{error}"))?;
            anyhow::Ok((secret, found))
        });
        self.secrets = reads.buffer_unordered(AT_ONCE).try_collect().await?;
        self.index = index.into_inner();
        let refused = secrets.refused();
        if let Some(first) = refused.first() {
            let others = match refused.len() {
                1 => String::new(),
                all => format!(" and {}", count(all - 1, "other namespace", "other namespaces")),
            };
            self.notes.push(format!(
                "Secrets of {first}{others} may not be read by you, so none seem to be there. The operator reads them: \
                 a good certificate needs no order, and a Secret of somebody else is left as it is"
            ));
        }
        Ok(())
    }
}

async fn choose(
    index: &RefCell<Index>,
    tls_secrets: &dyn SecretReads,
    shown: &[IngressKey],
) -> anyhow::Result<()> {
    let choice = SecretChoice { index, tls_secrets, is_live: &|_| false };
    let choices = stream::iter(shown).map(|key| choice.choose(key)).buffer_unordered(AT_ONCE);
    choices.try_collect::<()>().await.map_err(|error| anyhow!("{error}"))
}

/// Finds out which namespace has the undecided hosts of a Secret, a bounded number at a time.
async fn decide(
    index: &RefCell<Index>,
    tls_secrets: &dyn SecretReads,
    secret: &SecretKey,
) -> anyhow::Result<()> {
    let holders = HostHolders { index, tls_secrets, clock: &SystemClock::default() };
    holders.decide(secret).await.map_err(|unread| {
        anyhow!("Secret {unread} cannot be read for now, which shows whose a host is")
    })
}

/// All Ingresses, or those of the place with a note, where the user may read no others.
async fn all_ingresses(
    client: &Client,
    place: &Place,
) -> anyhow::Result<(Vec<Ingress>, Option<String>)> {
    let everywhere = Place { namespace: None, selector: None };
    match (ingresses(client, &everywhere).await, &place.namespace) {
        (Ok(all), _) => Ok((all, None)),
        (Err(_), Some(namespace)) => {
            let note = format!(
                "Ingresses of other namespaces than {namespace} may not be listed by you, so hosts that one of them has \
                 seem free"
            );
            Ok((ingresses(client, place).await?, Some(note)))
        }
        (Err(error), None) => Err(error),
    }
}

#[cfg(test)]
impl Survey {
    /// A survey of these Ingresses, whose Secrets are chosen among no others.
    pub(super) fn of_views(views: Vec<IngressView>, selection: Selection) -> Self {
        let mut survey = Self {
            index: Index::new(selection, None),
            cas: Cas::alone("https://ca.example/directory"),
            unwatched: BTreeMap::new(),
            not_to_fill: BTreeSet::new(),
            secrets: HashMap::new(),
            shown: views.iter().map(|view| view.key.clone()).collect(),
            notes: Vec::new(),
            now: Timestamp::from_secs(0),
        };
        survey.fill(views.into_iter(), &["web".to_owned()]);
        survey
    }
}
