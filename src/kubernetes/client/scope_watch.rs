//! List and watch of one kind of object in one namespace, or in all: kube's watcher, with smaller
//! pages where a page is too large, and a new list where a list stalls.

use std::fmt::Debug;

use futures_util::stream::{self, BoxStream, LocalBoxStream, StreamExt};
use ingress_acme_actors::domain::desired::index::WatchScope;
use ingress_acme_actors::domain::limits;
use k8s_openapi::NamespaceResourceScope;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::{WATCH_SECONDS, detail, is_too_large};

/// Stream of kube's watcher, which ends only when it is dropped.
type Events<K> = BoxStream<'static, Result<watcher::Event<K>, watcher::Error>>;

/// Next item of a [`ScopeWatch`].
pub(crate) enum Watched<K> {
    /// An object, or the begin or end of a list.
    Event(watcher::Event<K>),
    /// The list or watch failed, and is tried again after a pause. The reason is the label of a
    /// metric: `gone`, `forbidden`, `connection` or `other`.
    Failed(&'static str),
}

/// Kind of object that is watched.
pub(crate) struct Watching {
    /// Plural of the kind, in texts.
    pub(crate) plural: &'static str,
    /// File under `deploy/` with the rights of the watch.
    pub(crate) rights: &'static str,
    /// Label selector; `None` for all objects.
    pub(crate) labels: Option<String>,
}

/// State of the list or watch of one scope.
pub(crate) struct ScopeWatch<K> {
    api: Api<K>,
    scope: WatchScope,
    watching: Watching,
    /// Reconnects with backoff by itself. `None` before a restart.
    events: Option<Events<K>>,
    /// No complete list yet, so silence is an error. A watch may be silent.
    listing: bool,
    /// Number of objects per page of a list.
    page: u32,
}

impl<K> ScopeWatch<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + 'static,
{
    /// Sends no request until the stream is polled.
    pub(crate) fn new(client: &Client, scope: &WatchScope, watching: Watching) -> Self {
        let api = match scope {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        };
        Self {
            api,
            scope: scope.clone(),
            watching,
            events: None,
            listing: true,
            page: limits::OBJECTS_PAGE,
        }
    }

    /// Lists, then watches for ever.
    pub(crate) fn stream(self) -> LocalBoxStream<'static, Watched<K>> {
        stream::unfold(self, async |mut watch| Some((watch.next().await, watch))).boxed_local()
    }

    /// Next item. Lists first, then watches for ever.
    pub(crate) async fn next(&mut self) -> Watched<K> {
        loop {
            let events = self.events.take().unwrap_or_else(|| self.start());
            let events = self.events.insert(events);
            let step = if self.listing {
                tokio::time::timeout(limits::LIST_STALLED, events.next()).await
            } else {
                Ok(events.next().await)
            };
            match step {
                Ok(Some(Ok(event))) => {
                    match event {
                        watcher::Event::Init => self.listing = true,
                        watcher::Event::InitDone => self.listing = false,
                        _ => {}
                    }
                    return Watched::Event(event);
                }
                Ok(Some(Err(error)))
                    if self.page > limits::SMALLEST_PAGE && is_too_large(&error) =>
                {
                    self.use_smaller_pages();
                }
                Ok(Some(Err(error))) => return self.failed(&error),
                Ok(None) => return self.relist("the watch ended"),
                Err(_) => return self.relist("the list stalled"),
            }
        }
    }

    fn start(&self) -> Events<K> {
        let label_selector = self.watching.labels.clone();
        let config = watcher::Config { label_selector, ..watcher::Config::default() };
        let config = config.page_size(self.page).timeout(WATCH_SECONDS);
        watcher(self.api.clone(), config).default_backoff().boxed()
    }

    fn scope(&self) -> &str {
        self.scope.as_deref().unwrap_or("all namespaces")
    }

    fn failed(&self, error: &watcher::Error) -> Watched<K> {
        let Watching { plural, rights, .. } = self.watching;
        let (reason, next) = classify(error);
        let next = match reason {
            "forbidden" => format!("it is tried again; check the RBAC rules of deploy/{rights}"),
            _ => next.to_owned(),
        };
        let (scope, error) = (self.scope(), detail(error));
        tracing::warn!(scope, reason, error, next, "the watch of {plural} failed");
        Watched::Failed(reason)
    }

    /// Lists again with a quarter of the objects per page, because a page was larger than a
    /// response may be. The size stays, because the large objects do.
    fn use_smaller_pages(&mut self) {
        self.page = (self.page / 4).max(limits::SMALLEST_PAGE);
        let (page, plural) = (self.page, self.watching.plural);
        tracing::info!(page, "a page of {plural} is too large; smaller ones are listed");
        self.events = None;
        self.listing = true;
    }

    fn relist(&mut self, error: &'static str) -> Watched<K> {
        let (scope, plural) = (self.scope(), self.watching.plural);
        let next = "all are listed again now";
        tracing::warn!(scope, reason = "connection", error, next, "the watch of {plural} failed");
        self.events = None;
        self.listing = true;
        Watched::Failed("connection")
    }
}

/// Returns the metric label of an error, and the next action of kube's watcher.
fn classify(error: &watcher::Error) -> (&'static str, &'static str) {
    const RESUME: &str =
        "the watch is resumed at the same position, after a pause of at most a minute";
    const RELIST: &str = "all are listed again, after a pause of at most a minute";
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
        401 | 403 => ("forbidden", next),
        410 => ("gone", RELIST),
        _ => ("other", next),
    }
}

/// Scopes of a watch: these namespaces, or all of them if the slice is empty.
pub(crate) fn scopes(namespaces: &[String]) -> Vec<WatchScope> {
    let mut scopes: Vec<WatchScope> =
        namespaces.iter().map(|namespace| Some(namespace.as_str().into())).collect();
    scopes.sort();
    scopes.dedup();
    if scopes.is_empty() {
        scopes.push(None);
    }
    scopes
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

    #[test]
    fn each_namespace_is_watched_once_and_without_any_all_are() {
        assert_eq!(scopes(&[]), [None]);
        let twice = ["b".to_owned(), "a".to_owned(), "b".to_owned()];
        assert_eq!(scopes(&twice), [Some("a".into()), Some("b".into())]);
    }
}
