//! Reports every request to the API server to a hook, with verb and resource as in the audit log.
//! The service wraps kube's client, so the requests of all adapters pass through.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request, Response, Uri};
use http_body_util::{Either, LengthLimitError, Limited};
use ingress_acme_actors::domain::limits;
use kube::Client;
use kube::client::Body;
use tower::Service;

/// Called once per request with the verb, the plural of the resource (both closed sets, fit for
/// metric labels) and the HTTP status, 0 without an answer. A request is reported when its response
/// begins: the body of a watch continues after that.
pub type KubeRequestHook = Arc<dyn Fn(&'static str, &'static str, u16) + Send + Sync>;

/// Resources that this operator requests. All others are reported as `other`.
const RESOURCES: [&str; 4] = ["ingresses", "secrets", "events", "leases"];

/// Returns a client that sends through `client` and reports every request to `hook`. Must be called
/// within a runtime.
pub fn counted(client: &Client, hook: KubeRequestHook) -> Client {
    Client::new(Counted { client: client.clone(), hook }, client.default_namespace())
}

/// A client wrapped as a service that reports its requests.
struct Counted {
    client: Client,
    hook: KubeRequestHook,
}

impl Service<Request<Body>> for Counted {
    type Response = Response<Bounded>;
    type Error = kube::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bounded>, kube::Error>> + Send>>;

    /// Always ready: the inner client checks its readiness when sending.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (verb, resource) = classify(request.method(), request.uri());
        let mut asked = Asked { hook: self.hook.clone(), verb, resource, code: 0 };
        let client = self.client.clone();
        Box::pin(async move {
            let answer = client.send(request).await;
            asked.answered(answer.as_ref().map_or(0, |answer| answer.status().as_u16()));
            let is_watch = verb == "watch";
            answer.map(|answer| answer.map(|body| bounded(body, is_watch)))
        })
    }
}

/// Body of a response: bounded, or that of a watch.
type Bounded = Either<Limited<Body>, Body>;

/// Bounds a response by [`limits::KUBE_RESPONSE`]; reading a larger one is an error. A watch has no
/// end.
fn bounded(body: Body, is_watch: bool) -> Bounded {
    if is_watch {
        return Either::Right(body);
    }
    Either::Left(Limited::new(body, limits::KUBE_RESPONSE))
}

/// Whether the error is a response that was larger than [`limits::KUBE_RESPONSE`].
pub fn is_too_large(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A request in flight. Reported on drop, so also if the caller gave up waiting.
struct Asked {
    hook: KubeRequestHook,
    verb: &'static str,
    resource: &'static str,
    code: u16,
}

impl Asked {
    /// Sets the status to report.
    fn answered(&mut self, code: u16) {
        self.code = code;
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        (self.hook)(self.verb, self.resource, self.code);
    }
}

/// Returns verb and resource of a request. The path is `/api/v1/…` or `/apis/GROUP/VERSION/…`, then
/// `[namespaces/NAMESPACE/]RESOURCE[/NAME[/SUBRESOURCE]]`.
fn classify(method: &Method, uri: &Uri) -> (&'static str, &'static str) {
    let mut path = uri.path().split('/').filter(|part| !part.is_empty());
    let versioned = match path.next() {
        Some("api") => path.next(),
        Some("apis") => path.nth(1),
        _ => None,
    };
    let rest: Vec<&str> = path.collect();
    let (resource, named) = match (versioned, &rest[..]) {
        (Some(_), ["namespaces", _, resource, name @ ..] | [resource, name @ ..]) => {
            (*resource, !name.is_empty())
        }
        _ => ("", true),
    };
    let watch = uri.query().into_iter().flat_map(|query| query.split('&'));
    let watch = watch.into_iter().any(|pair| matches!(pair, "watch=true" | "watch=1"));
    let known = RESOURCES.into_iter().find(|known| *known == resource);
    (verb(method, named, watch), known.unwrap_or("other"))
}

fn verb(method: &Method, named: bool, watch: bool) -> &'static str {
    match (method.as_str(), named) {
        ("GET", false) if watch => "watch",
        ("GET", false) => "list",
        ("GET", true) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use tokio::time::timeout;
    use tower::service_fn;

    use super::*;

    fn asked(method: &str, uri: &str) -> (&'static str, &'static str) {
        classify(&method.parse().unwrap(), &uri.parse().unwrap())
    }

    #[test]
    fn a_request_is_named_as_the_audit_log_names_it() {
        let ingresses = "/apis/networking.k8s.io/v1/ingresses";
        let secrets = "/api/v1/namespaces/web/secrets";
        for (method, uri, expected) in [
            ("GET", format!("{ingresses}?limit=500"), ("list", "ingresses")),
            ("GET", format!("{ingresses}?&watch=true&timeoutSeconds=60"), ("watch", "ingresses")),
            ("GET", format!("{secrets}/shop"), ("get", "secrets")),
            ("GET", format!("{secrets}?&labelSelector=a"), ("list", "secrets")),
            ("POST", format!("{secrets}?"), ("create", "secrets")),
            ("PATCH", format!("{secrets}/shop?&force=true"), ("patch", "secrets")),
            ("DELETE", format!("{secrets}/shop?"), ("delete", "secrets")),
            ("DELETE", secrets.to_owned(), ("deletecollection", "secrets")),
            (
                "PUT",
                "/apis/coordination.k8s.io/v1/namespaces/ingress-acme/leases/ingress-acme"
                    .to_owned(),
                ("update", "leases"),
            ),
            (
                "POST",
                "/apis/events.k8s.io/v1/namespaces/web/events".to_owned(),
                ("create", "events"),
            ),
            ("GET", "/api/v1/namespaces/web".to_owned(), ("get", "other")),
            ("GET", "/version".to_owned(), ("get", "other")),
        ] {
            assert_eq!(asked(method, &uri), expected, "{method} {uri}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_an_error_and_a_request_given_up_are_each_counted_once() {
        let recorded = Arc::new(Mutex::new(Vec::new()));
        let calls = recorded.clone();
        let hook: KubeRequestHook = Arc::new(move |verb, resource, code| {
            calls.lock().unwrap().push((verb, resource, code));
        });
        let server = service_fn(async |request: Request<Body>| match request.uri().path() {
            "/api/v1/secrets" => Ok(Response::builder().status(403).body(Body::empty()).unwrap()),
            "/api/v1/events" => Err("broken"),
            _ => std::future::pending().await,
        });
        let client = counted(&Client::new(server, "web"), hook);
        assert_eq!(client.default_namespace(), "web");
        let ask = |path: &str| client.send(Request::get(path).body(Body::empty()).unwrap());
        assert_eq!(ask("/api/v1/secrets").await.unwrap().status(), 403);
        assert!(matches!(ask("/api/v1/events").await, Err(kube::Error::Service(_))));
        let late = timeout(Duration::from_millis(1), ask("/api/v1/secrets/shop")).await;
        assert!(late.is_err());
        let expected = [("list", "secrets", 403), ("list", "events", 0), ("get", "secrets", 0)];
        assert_eq!(*recorded.lock().unwrap(), expected);
    }
}
