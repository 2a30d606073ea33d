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

use crate::kubernetes::client::{WATCH_SECONDS, detail};

/// Number of objects per page of a list.
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
            ScopeWatch { api, scope: scope.clone(), on_error, events: None, listing: true }
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
}

impl ScopeWatch {
    fn changes(self) -> LocalBoxStream<'static, IngressChange> {
        stream::unfold(self, async |mut place| Some((place.next().await, place))).boxed_local()
    }

    async fn next(&mut self) -> IngressChange {
        loop {
            let events = self.events.get_or_insert_with(|| events(&self.api));
            let step = if self.listing {
                tokio::time::timeout(LIST_STALLED, events.next()).await
            } else {
                Ok(events.next().await)
            };
            match step {
                Ok(Some(Ok(event))) => return self.change(event),
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

fn events(api: &Api<Ingress>) -> Events {
    let config = watcher::Config::default().page_size(PAGE).timeout(WATCH_SECONDS);
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
    use kube::core::Status;

    use super::*;

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
