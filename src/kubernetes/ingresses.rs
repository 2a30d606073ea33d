//! Watched Ingresses: kube's list and watch, converted to changes of reduced views.
//!
//! Out of scope: which Ingresses are managed, and the effect of a change.

mod view;

use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, LocalBoxStream, StreamExt};
use ingress_acme_actors::domain::desired::index::WatchScope;
use ingress_acme_actors::domain::ingress::{IngressKey, IngressView};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::ports::{IngressChange, IngressSource};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};

pub use view::view;

use crate::kubernetes::client::{WATCH_SECONDS, detail, is_too_large};

/// Ingresses of all namespaces, or of a subset.
pub struct Ingresses {
    client: Client,
    scopes: Vec<WatchScope>,
    /// Called with the reason of each watch error, for a counter: `gone`, `forbidden`, `connection`
    /// or `other`.
    on_error: Rc<dyn Fn(&'static str)>,
}

impl Ingresses {
    /// Watches `namespaces`, or all namespaces if the slice is empty.
    pub fn new(client: Client, namespaces: &[String], on_error: Box<dyn Fn(&'static str)>) -> Self {
        let mut scopes: Vec<WatchScope> =
            namespaces.iter().map(|namespace| Some(Arc::from(namespace.as_str()))).collect();
        scopes.sort();
        scopes.dedup();
        if scopes.is_empty() {
            scopes.push(None);
        }
        Self { client, scopes, on_error: on_error.into() }
    }
}

#[async_trait(?Send)]
impl IngressSource for Ingresses {
    /// Lists the one with this name, because the operator has no right to `get` Ingresses.
    async fn get(&self, key: &IngressKey) -> Option<IngressView> {
        let api: Api<Ingress> = Api::namespaced(self.client.clone(), &key.namespace);
        let named = ListParams::default().fields(&format!("metadata.name={}", key.name)).limit(1);
        let read = tokio::time::timeout(limits::KUBE_CALL, api.list(&named)).await;
        match read {
            Ok(Ok(list)) => list.items.first().map(view),
            Ok(Err(error)) => {
                tracing::warn!(ingress = %key, error = detail(&error), "the Ingress is not read");
                None
            }
            Err(_) => None,
        }
    }

    fn watch(&self) -> LocalBoxStream<'static, IngressChange> {
        let places = self.scopes.iter().map(|scope| {
            let api = match scope {
                Some(namespace) => Api::namespaced(self.client.clone(), namespace),
                None => Api::all(self.client.clone()),
            };
            let on_error = self.on_error.clone();
            ScopeWatch {
                api,
                scope: scope.clone(),
                on_error,
                events: None,
                listing: true,
                page: limits::INGRESSES_PAGE,
            }
            .changes()
        });
        stream::select_all(places.collect::<Vec<_>>()).boxed_local()
    }
}

type Events = BoxStream<'static, Result<watcher::Event<Ingress>, watcher::Error>>;

/// State of the list or watch of one scope.
struct ScopeWatch {
    api: Api<Ingress>,
    scope: WatchScope,
    on_error: Rc<dyn Fn(&'static str)>,
    /// Reconnects with backoff by itself. `None` before a restart.
    events: Option<Events>,
    /// No complete list yet, so silence is an error. A watch may be silent.
    listing: bool,
    /// Number of objects per page of a list.
    page: u32,
}

impl ScopeWatch {
    fn changes(self) -> LocalBoxStream<'static, IngressChange> {
        stream::unfold(self, async |mut place| Some((place.next().await, place))).boxed_local()
    }

    async fn next(&mut self) -> IngressChange {
        loop {
            let events = self.events.get_or_insert_with(|| events(&self.api, self.page));
            let step = if self.listing {
                tokio::time::timeout(limits::LIST_STALLED, events.next()).await
            } else {
                Ok(events.next().await)
            };
            match step {
                Ok(Some(Ok(event))) => return self.change(event),
                Ok(Some(Err(error)))
                    if self.page > limits::SMALLEST_PAGE && is_too_large(&error) =>
                {
                    self.use_smaller_pages();
                }
                Ok(Some(Err(error))) => self.report(&error),
                Ok(None) => self.relist("the watch ended"),
                Err(_) => self.relist("the list stalled"),
            }
        }
    }

    fn change(&mut self, event: watcher::Event<Ingress>) -> IngressChange {
        match event {
            watcher::Event::Init => {
                self.listing = true;
                IngressChange::ListBegins(self.scope.clone())
            }
            watcher::Event::InitApply(ingress) => IngressChange::Listed(view(&ingress)),
            watcher::Event::InitDone => {
                self.listing = false;
                IngressChange::ListEnds(self.scope.clone())
            }
            watcher::Event::Apply(ingress) => IngressChange::Applied(view(&ingress)),
            watcher::Event::Delete(ingress) => IngressChange::Deleted(view(&ingress).key),
        }
    }

    fn report(&self, error: &watcher::Error) {
        let (reason, next) = classify(error);
        let (scope, error) = (self.scope.as_deref().unwrap_or("all namespaces"), detail(error));
        tracing::warn!(scope, reason, error, next, "the watch of Ingresses failed");
        (self.on_error)(reason);
    }

    /// Lists again with a quarter of the objects per page, because a page was larger than a
    /// response may be. The size stays, because the large objects do.
    fn use_smaller_pages(&mut self) {
        self.page = (self.page / 4).max(limits::SMALLEST_PAGE);
        tracing::info!(
            page = self.page,
            "a page of Ingresses is too large; smaller ones are listed"
        );
        self.events = None;
        self.listing = true;
    }

    fn relist(&mut self, error: &'static str) {
        let scope = self.scope.as_deref().unwrap_or("all namespaces");
        let next = "all Ingresses are listed again now";
        tracing::warn!(scope, reason = "connection", error, next, "the watch of Ingresses failed");
        (self.on_error)("connection");
        self.events = None;
        self.listing = true;
    }
}

fn events(api: &Api<Ingress>, page: u32) -> Events {
    let config = watcher::Config::default().page_size(page).timeout(WATCH_SECONDS);
    watcher(api.clone(), config).default_backoff().boxed()
}

/// Returns the metric label of an error, and the next action of kube's watcher.
fn classify(error: &watcher::Error) -> (&'static str, &'static str) {
    const RESUME: &str =
        "the watch is resumed at the same position, after a pause of at most a minute";
    const RELIST: &str = "all Ingresses are listed again, after a pause of at most a minute";
    let listing = matches!(error, watcher::Error::InitialListFailed(_));
    let next = if listing { RELIST } else { RESUME };
    let code = match error {
        watcher::Error::WatchError(status)
        | watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code,
        watcher::Error::NoResourceVersion => return ("other", RELIST),
        _ => return ("connection", next),
    };
    match code {
        401 | 403 => {
            ("forbidden", "it is tried again; check the RBAC rules of deploy/install.yaml")
        }
        410 => ("gone", RELIST),
        _ => ("other", next),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use kube::client::Body;
    use kube::core::Status;
    use serde_json::json;

    use super::*;
    use crate::kubernetes::client::counted;

    #[test]
    fn each_error_of_the_watch_has_its_reason() {
        let status = |code| Status::failure("no", "").with_code(code).boxed();
        let broken = kube::Error::Service(std::io::Error::other("reset").into());
        let cases = [
            (watcher::Error::WatchError(status(410)), "gone"),
            (watcher::Error::InitialListFailed(kube::Error::Api(status(403))), "forbidden"),
            (watcher::Error::WatchStartFailed(kube::Error::Api(status(503))), "other"),
            (watcher::Error::WatchFailed(broken), "connection"),
            (watcher::Error::NoResourceVersion, "other"),
        ];
        for (error, reason) in cases {
            assert_eq!(classify(&error).0, reason, "{error}");
        }
    }

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
            json!({
                "metadata": {"name": format!("i{number:02}"), "namespace": "web"},
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
                IngressChange::Listed(view) => listed.push(view.key.name.to_string()),
                IngressChange::ListEnds(_) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(listed.len(), 40);
        // All 40, then 125 at once and 31 at once are too large; 7 at once are six pages.
        let requests = codes.load(Ordering::Relaxed);
        assert!(requests <= 3 + 6 + 1, "{requests} requests");
    }
}
