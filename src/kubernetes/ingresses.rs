//! Watched Ingresses: kube's list and watch, converted to changes of reduced views.
//!
//! Out of scope: which Ingresses are managed, and the effect of a change.

mod aliases;
mod marks;
mod view;

use std::cell::RefCell;
use std::rc::Rc;

use async_trait::async_trait;
use futures_util::future::ready;
use futures_util::stream::{self, LocalBoxStream, StreamExt};
use ingress_acme_actors::domain::desired::index::WatchScope;
use ingress_acme_actors::domain::ingress::{IngressKey, IngressView};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::said::Said;
use ingress_acme_actors::ports::{IngressChange, IngressSource};
use k8s_openapi::api::networking::v1::Ingress;
use kube::runtime::watcher;
use kube::{Api, Client};

pub use view::view;
use view::{Reading, view_with};

use crate::kubernetes::api_groups;
use crate::kubernetes::client::scope_watch::{ScopeWatch, Watched, Watching, scopes};
use crate::kubernetes::client::{detail, find};

/// Ingresses of all namespaces, or of a subset.
pub struct Ingresses {
    client: Client,
    scopes: Vec<WatchScope>,
    /// Called with the reason of each watch error, for a counter: `gone`, `forbidden`, `connection`
    /// or `other`.
    on_error: Rc<dyn Fn(&'static str)>,
    /// Ingresses without room that could not be read, which is tried every few minutes.
    unread: RefCell<Said<IngressKey>>,
    /// What is read beside the fields that every Ingress has.
    reading: Reading,
}

const WATCHING: Watching = Watching { plural: "Ingresses", rights: "install.yaml", labels: None };

impl Ingresses {
    /// Watches `namespaces`, or all namespaces if the slice is empty.
    pub fn new(client: Client, namespaces: &[String], on_error: Box<dyn Fn(&'static str)>) -> Self {
        let (unread, reading) = Default::default();
        Self { client, scopes: scopes(namespaces), on_error: on_error.into(), unread, reading }
    }

    /// Keeps annotations with these prefixes, for the Secrets.
    #[must_use]
    pub fn copying(self, prefixes: &[String]) -> Self {
        let reading = Reading { copied: prefixes.into(), ..self.reading };
        Self { reading, ..self }
    }

    /// Looks for routes of this install to the solver, outside the operator's namespace.
    #[must_use]
    pub fn outside(self, own_namespace: &str, install: &str) -> Self {
        let outside = Some((own_namespace.into(), install.into()));
        let reading = Reading { outside, ..self.reading };
        Self { reading, ..self }
    }
}

#[async_trait(?Send)]
impl IngressSource for Ingresses {
    /// Lists the one with this name, because the operator has no right to `get` Ingresses.
    async fn get(&self, key: &IngressKey) -> Option<IngressView> {
        let api: Api<Ingress> = Api::namespaced(self.client.clone(), &key.namespace);
        let read = tokio::time::timeout(limits::KUBE_CALL, find(&api, &key.name)).await;
        match read {
            Ok(Ok(found)) => {
                self.unread.borrow_mut().has_ended(key);
                found.map(|found| view_with(&found, &self.reading))
            }
            Ok(Err(error)) => {
                let error = detail(&error);
                if self.unread.borrow_mut().is_news(key.clone(), &error) {
                    tracing::warn!(ingress = %key, error, "the Ingress is not read");
                }
                None
            }
            Err(_) => None,
        }
    }

    fn watch(&self) -> LocalBoxStream<'static, IngressChange> {
        let watches = self.scopes.iter().cloned().map(|scope| {
            let (on_error, reading) = (self.on_error.clone(), self.reading.clone());
            let watched = ScopeWatch::new(&self.client, &scope, WATCHING).stream();
            watched.filter_map(move |watched| {
                ready(match watched {
                    Watched::Event(event) => Some(change(event, &scope, &reading)),
                    Watched::Failed(reason) => {
                        on_error(reason);
                        None
                    }
                })
            })
        });
        let watches = stream::select_all(watches.collect::<Vec<_>>());
        let groups = api_groups::later(self.client.clone()).map(IngressChange::CertManager);
        stream::select(watches, groups).boxed_local()
    }
}

fn change(event: watcher::Event<Ingress>, scope: &WatchScope, reading: &Reading) -> IngressChange {
    let view = |ingress: &Ingress| view_with(ingress, reading);
    match event {
        watcher::Event::Init => IngressChange::ListBegins(scope.clone()),
        watcher::Event::InitApply(ingress) => IngressChange::Listed(view(&ingress)),
        watcher::Event::InitDone => IngressChange::ListEnds(scope.clone()),
        watcher::Event::Apply(ingress) => IngressChange::Applied(view(&ingress)),
        watcher::Event::Delete(ingress) => IngressChange::Deleted(view(&ingress).key),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::kubernetes::client::counted;

    /// An API server with 40 Ingresses of 400 KB, which answers lists in pages and no watch.
    async fn large(request: http::Request<Body>) -> Result<http::Response<Body>, Infallible> {
        let query: HashMap<String, String> =
            url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        if query.contains_key("watch") {
            std::future::pending::<()>().await;
        }
        let from: usize = query.get("continue").map_or(0, |token| token.parse().unwrap());
        let limit: usize = query["limit"].parse().unwrap();
        let end = (from + limit).min(40);
        let hosts = vec!["h.example.com"; 25_000];
        let item = |number| {
            // The last one is of another namespace.
            let (namespace, hosts) =
                if number < 39 { ("web", &hosts[..]) } else { ("other", &hosts[..1]) };
            json!({
                "metadata": {"name": format!("i{number:02}"), "namespace": namespace},
                "spec": {"tls": [{"hosts": hosts}]},
            })
        };
        let next = if end < 40 { end.to_string() } else { String::new() };
        let list = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressList",
            "metadata": {"resourceVersion": "1", "continue": next},
            "items": (from..end).map(item).collect::<Vec<_>>(),
        });
        Ok(http::Response::new(Body::from(list.to_string().into_bytes())))
    }

    #[tokio::test]
    async fn a_page_that_is_too_large_is_listed_in_smaller_ones() {
        let (codes, seen) = (Arc::new(AtomicUsize::new(0)), Vec::<String>::new());
        let counter = codes.clone();
        let hook = Arc::new(move |_, _, _| _ = counter.fetch_add(1, Ordering::Relaxed));
        let client = counted(&Client::new(tower::service_fn(large), "web"), hook);
        let source = Ingresses::new(client, &[], Box::new(|reason| panic!("{reason}")));
        let (mut changes, mut listed) = (source.watch(), seen);
        loop {
            match changes.next().await.unwrap() {
                IngressChange::ListBegins(_) => listed.clear(),
                IngressChange::Listed(view) => listed.push(view.key.to_string()),
                IngressChange::ListEnds(_) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(listed.len(), 40);
        assert!(listed.contains(&"other/i39".to_owned()), "its neighbour is listed");
        // All 40, then 125 at once and 31 at once are too large; 7 at once are six pages.
        let requests = codes.load(Ordering::Relaxed);
        assert!(requests <= 3 + 6 + 1, "{requests} requests");
    }
}
