//! `status -w`: the watch of the Ingresses and of the operator's Events, and the rows that change
//! with them. Secrets are read when an Ingress or an Event tells of news, because few users may
//! list Secrets.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::StreamExt;
use futures_util::stream::{self, LocalBoxStream};
use ingress_acme_actors::domain::desired::index::WatchScope;
use ingress_acme_actors::domain::ingress::IngressKey;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::ports::Clock;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Client;
use kube::runtime::watcher;
use tokio::time::{Instant, timeout, timeout_at};

use super::list::Listing;
use super::row::Row;
use super::snapshot::Snapshot;
use super::user_events::ours;
use crate::kubernetes::client::scope_watch::{ScopeWatch, Watched, Watching};
use crate::kubernetes::ingresses::view;
use crate::process::clock::SystemClock;

/// Time for which changes are gathered before the Secrets are read: an operator sends several
/// Events for one step, and a table that changes more often cannot be read.
const PAUSE: Duration = Duration::from_secs(1);

const INGRESSES: Watching = Watching { plural: "Ingresses", rights: "install.yaml", labels: None };
const EVENTS: Watching = Watching { plural: "Events", rights: "install.yaml", labels: None };

/// Pause before Secrets are read again that could not be read.
const RETRY: Duration = Duration::from_secs(5);

/// News of the cluster.
enum News {
    Ingress(Box<watcher::Event<Ingress>>),
    Event(Box<Event>),
    /// The user may not watch Ingresses.
    Forbidden,
}

/// Prints the list, and then the rows that change, until Ctrl-C or until nobody reads on.
///
/// # Errors
/// The user may not watch Ingresses.
pub(super) async fn follow(
    snapshot: Snapshot,
    mut listing: Listing,
    list: &str,
) -> anyhow::Result<ExitCode> {
    let mut news = news(&snapshot.client, snapshot.place.namespace.as_deref());
    let mut followed = Followed::new(snapshot);
    if !put(list)? {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        // What could not be read is read again, also without news.
        let patience = if followed.changed.is_empty() { limits::FLAG_MAX } else { RETRY };
        match timeout(patience, news.next()).await {
            Ok(Some(first)) => followed.hear(first)?,
            Ok(None) => bail!("the watch ended"),
            Err(_) => {}
        }
        let until = Instant::now() + PAUSE;
        while let Ok(Some(next)) = timeout_at(until, news.next()).await {
            followed.hear(next)?;
        }
        let rows = followed.changed_rows().await;
        if !put(&listing.show(&rows, followed.snapshot.now)?)? {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Prints lines, if there are any. Returns whether the reader is still there.
fn put(text: &str) -> anyhow::Result<bool> {
    if text.is_empty() {
        return Ok(true);
    }
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// Both watches. They resume after an error, and list again where the API server has forgotten
/// their place (410).
fn news(client: &Client, namespace: Option<&str>) -> LocalBoxStream<'static, News> {
    let scope: WatchScope = namespace.map(Into::into);
    let ingresses = ScopeWatch::new(client, &scope, INGRESSES).stream();
    let ingresses = ingresses.filter_map(async |watched| match watched {
        Watched::Event(event) => Some(News::Ingress(Box::new(event))),
        Watched::Failed("forbidden") => Some(News::Forbidden),
        Watched::Failed(_) => None,
    });
    let events = ScopeWatch::<Event>::new(client, &scope, EVENTS).stream();
    let events = events.filter_map(async |watched| match watched {
        Watched::Event(watcher::Event::Apply(event) | watcher::Event::InitApply(event)) => {
            Some(News::Event(Box::new(event)))
        }
        _ => None,
    });
    stream::select(ingresses, events).boxed_local()
}

/// The state as known, and the rows as printed last.
struct Followed {
    snapshot: Snapshot,
    printed: BTreeMap<Subject, Row>,
    /// Ingresses with news since the last rows.
    changed: BTreeSet<IngressKey>,
    /// Ingresses of a list that is on its way; `None` between lists.
    listed: Option<HashSet<IngressKey>>,
}

/// Namespace, Ingress and Secret of a row.
type Subject = (String, String, Option<String>);

fn subject(row: &Row) -> Subject {
    let (namespace, ingress, secret) = row.subject();
    (namespace.to_owned(), ingress.to_owned(), secret.map(str::to_owned))
}

impl Followed {
    fn new(snapshot: Snapshot) -> Self {
        let printed = snapshot.rows().into_iter().map(|row| (subject(&row), row)).collect();
        Self { snapshot, printed, changed: BTreeSet::new(), listed: None }
    }

    fn hear(&mut self, news: News) -> anyhow::Result<()> {
        match news {
            News::Forbidden => bail!("the Ingresses may not be watched with these credentials"),
            News::Event(event) => {
                // Events of Ingresses that nobody has are not kept: anybody may write any number.
                if let Some((key, event)) = ours(*event)
                    && self.snapshot.has(&key)
                    && self.snapshot.events.add(key.clone(), event)
                {
                    self.changed.insert(key);
                }
            }
            News::Ingress(event) => self.hear_of_ingress(*event),
        }
        Ok(())
    }

    fn hear_of_ingress(&mut self, event: watcher::Event<Ingress>) {
        match event {
            watcher::Event::Init => self.listed = Some(HashSet::new()),
            watcher::Event::Apply(ingress) | watcher::Event::InitApply(ingress) => {
                self.apply(&ingress);
            }
            watcher::Event::Delete(ingress) => self.remove(&view(&ingress).key),
            watcher::Event::InitDone => {
                let Some(listed) = self.listed.take() else { return };
                let known = self.snapshot.index.all().filter(|key| !listed.contains(key));
                let gone: Vec<IngressKey> = known.cloned().collect();
                for key in &gone {
                    self.remove(key);
                }
            }
        }
    }

    fn apply(&mut self, ingress: &Ingress) {
        let view = view(ingress);
        let key = view.key.clone();
        if let Some(listed) = &mut self.listed {
            listed.insert(key.clone());
        }
        if self.snapshot.index.view(&key) != Some(&view) {
            self.changed.extend(self.snapshot.index.apply(view));
            self.changed.insert(key);
        }
    }

    fn remove(&mut self, key: &IngressKey) {
        self.changed.extend(self.snapshot.index.remove(key));
        self.snapshot.events.forget(key);
        self.changed.insert(key.clone());
    }

    /// Reads what the news is about. Returns the rows that differ from those that were printed.
    async fn changed_rows(&mut self) -> Vec<Row> {
        if self.changed.is_empty() || self.snapshot.select().await.is_err() {
            return Vec::new();
        }
        let mut changed = std::mem::take(&mut self.changed);
        changed.extend(self.snapshot.unread());
        let changed: Vec<IngressKey> = changed.into_iter().collect();
        self.snapshot.now = SystemClock::default().now();
        self.changed.extend(self.snapshot.read_secrets(&changed).await);
        self.differences(self.snapshot.rows())
    }

    /// Remembers the rows of now. A row of a deleted Ingress is printed once more.
    fn differences(&mut self, rows: Vec<Row>) -> Vec<Row> {
        let rows: BTreeMap<Subject, Row> =
            rows.into_iter().map(|row| (subject(&row), row)).collect();
        let gone = |row: &&Row| {
            let (namespace, ingress, _) = row.subject();
            !self.snapshot.has(&IngressKey::new(namespace, ingress))
        };
        let deleted = self.printed.values().filter(gone).map(Row::deleted);
        let news = rows.iter().filter(|(subject, row)| self.printed.get(*subject) != Some(row));
        let differences = deleted.chain(news.map(|(_, row)| row.clone())).collect();
        self.printed = rows;
        differences
    }
}

#[cfg(test)]
mod tests {
    use ingress_acme_actors::domain::ingress::SecretKey;
    use serde_json::json;

    use super::*;
    use crate::commands::status::snapshot::Place;
    use crate::kubernetes::events::CONTROLLER;

    fn ingress(name: &str, host: &str) -> Ingress {
        let metadata = json!({"namespace": "web", "name": name, "uid": name});
        let spec =
            json!({"tls": [{"hosts": [host], "secretName": name}], "rules": [{"host": host}]});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    /// Two Ingresses, whose Secrets are not there. Within a runtime, which the client needs.
    fn followed() -> Followed {
        let mut snapshot = Snapshot::without_cluster(Place::within("web"));
        for name in ["a", "b"] {
            snapshot.index.apply(view(&ingress(name, &format!("{name}.example.com"))));
            snapshot.secrets.insert(SecretKey::new("web", name), Ok(None));
        }
        Followed::new(snapshot)
    }

    fn changed(followed: &mut Followed) -> Vec<String> {
        let changed = std::mem::take(&mut followed.changed);
        changed.into_iter().map(|key| key.to_string()).collect()
    }

    fn hear(followed: &mut Followed, events: Vec<watcher::Event<Ingress>>) {
        for event in events {
            followed.hear(News::Ingress(Box::new(event))).unwrap();
        }
    }

    #[tokio::test]
    async fn a_new_list_after_410_tells_of_what_changed_and_what_is_gone_and_of_nothing_else() {
        let mut followed = followed();
        let same = || watcher::Event::InitApply(ingress("a", "a.example.com"));
        let b = watcher::Event::InitApply(ingress("b", "b.example.com"));
        hear(&mut followed, vec![watcher::Event::Init, same(), b, watcher::Event::InitDone]);
        assert_eq!(changed(&mut followed), [""; 0]);
        assert_eq!(followed.differences(followed.snapshot.rows()), []);

        hear(&mut followed, vec![watcher::Event::Init, same(), watcher::Event::InitDone]);
        assert_eq!(changed(&mut followed), ["web/b"]);
        let rows = followed.differences(followed.snapshot.rows());
        let subjects: Vec<_> = rows.iter().map(Row::subject).collect();
        assert_eq!(subjects, [("web", "b", Some("b"))]);
        assert!(rows[0].cells(false, true, followed.snapshot.now).contains(&"deleted".to_owned()));
        assert_eq!(followed.differences(followed.snapshot.rows()), [], "it is told once");
    }

    #[tokio::test]
    async fn an_edit_and_a_deletion_are_news_and_the_same_again_is_none() {
        let mut followed = followed();
        hear(&mut followed, vec![watcher::Event::Apply(ingress("a", "new.example.com"))]);
        assert_eq!(changed(&mut followed), ["web/a"]);
        let rows = followed.differences(followed.snapshot.rows());
        assert_eq!(rows.iter().map(Row::subject).collect::<Vec<_>>(), [("web", "a", Some("a"))]);
        hear(&mut followed, vec![watcher::Event::Apply(ingress("a", "new.example.com"))]);
        assert_eq!(changed(&mut followed), [""; 0]);
        hear(&mut followed, vec![watcher::Event::Delete(ingress("a", "new.example.com"))]);
        assert_eq!(changed(&mut followed), ["web/a"]);
        assert_eq!(followed.differences(followed.snapshot.rows()).len(), 1);
        assert!(followed.hear(News::Forbidden).is_err());
    }

    #[tokio::test]
    async fn an_event_is_news_once_and_only_of_an_ingress_that_is_there() {
        let mut followed = followed();
        let event = |name: &str| {
            let regarding = json!({"kind": "Ingress", "namespace": "web", "name": name});
            let event = json!({
                "metadata": {"namespace": "web"}, "reportingController": CONTROLLER,
                "reason": "Failed", "type": "Warning", "regarding": regarding,
            });
            News::Event(Box::new(serde_json::from_value(event).unwrap()))
        };
        followed.hear(event("nobody")).unwrap();
        assert_eq!(changed(&mut followed), [""; 0]);
        assert!(followed.snapshot.events.of(&IngressKey::new("web", "nobody")).is_empty());
        followed.hear(event("a")).unwrap();
        assert_eq!(changed(&mut followed), ["web/a"]);
        followed.hear(event("a")).unwrap();
        assert_eq!(changed(&mut followed), [""; 0]);
        let rows = followed.differences(followed.snapshot.rows());
        assert!(rows[0].cells(false, true, followed.snapshot.now).contains(&"failing".to_owned()));
    }
}
