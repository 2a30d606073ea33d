//! Watched Ingresses: kube's list and watch, converted to changes of reduced views.
//!
//! Out of scope: which Ingresses are managed, and the effect of a change.

mod view;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, LocalBoxStream, StreamExt};
use ingress_acme_actors::domain::desired::index::WatchScope;
use ingress_acme_actors::ports::{IngressChange, IngressSource};
use k8s_openapi::api::networking::v1::Ingress;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};

pub use view::view;

use crate::kubernetes::client::{WATCH_SECONDS, detail, is_too_large};

/// Number of objects per page of a list. A page that is too large is asked for again with a quarter
/// of the objects.
const PAGE: u32 = 500;
/// Time without a further object after which a list is restarted. Longer than the longest pause
/// between two attempts (30 s plus as much jitter) and a slow page together.
const LIST_STALLED: Duration = Duration::from_mins(2);

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

impl IngressSource for Ingresses {
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
                page: PAGE,
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
    /// Number of objects per page.
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
                tokio::time::timeout(LIST_STALLED, events.next()).await
            } else {
                Ok(events.next().await)
            };
            match step {
                Ok(Some(Ok(event))) => return self.change(event),
                Ok(Some(Err(error))) if self.page > 1 && is_page_too_large(&error) => {
                    self.page = (self.page / 4).max(1);
                    self.relist("a page of the list is too large; it is asked for in smaller ones");
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

fn is_page_too_large(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(error) if is_too_large(error))
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
    use std::sync::{Arc as Shared, Mutex};

    use http::{Request, Response};
    use kube::client::Body;
    use kube::core::Status;
    use serde_json::json;
    use tower::service_fn;

    use super::*;
    use crate::kubernetes::client::counted;

    /// Largest Ingress of a tenant: etcd stores 1.5 MiB.
    fn largest(number: usize) -> String {
        let (metadata, more) = (json!({"name": format!("i{number}")}), ",{}".repeat(399_999));
        format!("{{\"metadata\":{metadata},\"spec\":{{\"tls\":[{{}}{more}]}}}}")
    }

    fn parameter(request: &Request<Body>, name: &str) -> Option<usize> {
        let query = request.uri().query().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        let value = pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)?;
        value.parse().ok()
    }

    /// Number of the largest Ingresses.
    const COUNT: usize = 5;

    /// An API server with these Ingresses, which records the limit of each page.
    fn server_of_the_largest(asked: Shared<Mutex<Vec<usize>>>) -> Client {
        let server = service_fn(move |request: Request<Body>| {
            let (limit, from) = (parameter(&request, "limit"), parameter(&request, "continue"));
            asked.lock().unwrap().extend(limit);
            async move {
                let Some(limit) = limit else { return std::future::pending().await }; // a watch
                let from = from.unwrap_or_default();
                let items: Vec<String> = (from..COUNT).take(limit).map(largest).collect();
                let next = from + items.len();
                let next = if next < COUNT { next.to_string() } else { String::new() };
                let metadata = json!({"resourceVersion": "1", "continue": next});
                let (kind, items) = (json!("IngressList"), items.join(","));
                let list =
                    format!("{{\"kind\":{kind},\"metadata\":{metadata},\"items\":[{items}]}}");
                std::io::Result::Ok(Response::new(Body::from(list.into_bytes())))
            }
        });
        counted(&Client::new(server, "web"), Arc::new(|_, _, _| {}))
    }

    #[tokio::test]
    async fn a_page_of_the_largest_ingresses_is_asked_for_in_smaller_ones() {
        let asked = Shared::new(Mutex::new(Vec::new()));
        let client = server_of_the_largest(asked.clone());
        let (errors, count) = (Rc::new(Mutex::new(Vec::new())), Rc::new(Mutex::new(0)));
        let told = errors.clone();
        let on_error = Box::new(move |reason| told.lock().unwrap().push(reason));
        let mut changes = Ingresses::new(client, &[], on_error).watch();
        while let Some(change) = changes.next().await {
            match change {
                IngressChange::ListBegins(_) => *count.lock().unwrap() = 0,
                IngressChange::Listed(view) => {
                    assert_eq!(view.tls.len() + view.tls_left_out, 400_000);
                    *count.lock().unwrap() += 1;
                }
                IngressChange::ListEnds(_) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(*count.lock().unwrap(), COUNT);
        let asked = asked.lock().unwrap().clone();
        assert_eq!(asked[..5], [500, 125, 31, 7, 1]);
        assert_eq!(errors.lock().unwrap().len(), 4, "each is counted");
    }

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
}
