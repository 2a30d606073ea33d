//! Client of a dry run: refuses every request that changes something before it is sent, but an
//! Event.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Method, Request, Response, StatusCode, Uri};
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use tower::Service;

/// Returns a client that sends reads through `client`, and new Events. Must be called within a
/// runtime.
pub fn read_only(client: &Client) -> Client {
    Client::new(ReadOnly(client.clone()), client.default_namespace())
}

/// A client wrapped as a service that refuses requests.
struct ReadOnly(Client);

impl Service<Request<Body>> for ReadOnly {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, kube::Error>> + Send>>;

    /// Always ready: the inner client checks its readiness when sending.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !may_pass(request.method(), request.uri()) {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            tracing::error!(%method, path, "a dry run must not send this; it is not sent");
            return Box::pin(std::future::ready(Err(refusal())));
        }
        let client = self.0.clone();
        Box::pin(async move { client.send(request).await })
    }
}

/// Reads, and the creation of an Event in a namespace.
fn may_pass(method: &Method, uri: &Uri) -> bool {
    let path: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let is_event = matches!(path[..], ["apis", "events.k8s.io", "v1", "namespaces", _, "events"]);
    method == Method::GET || (method == Method::POST && is_event)
}

fn refusal() -> kube::Error {
    let status = Status::failure("a dry run changes nothing", "DryRun");
    kube::Error::Api(Box::new(status.with_code(StatusCode::FORBIDDEN.as_u16())))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn reads_pass_and_of_all_writes_a_new_event_only() {
        let pass = |method: Method, path: &str| may_pass(&method, &path.parse().unwrap());
        let events = "/apis/events.k8s.io/v1/namespaces/web/events";
        assert!(pass(Method::GET, "/api/v1/namespaces/web/secrets/shop"));
        assert!(pass(Method::POST, &format!("{events}?fieldManager=ingress-acme")));
        for (method, path) in [
            (Method::POST, "/api/v1/namespaces/web/events"),
            (Method::POST, "/api/v1/namespaces/web/secrets"),
            (Method::POST, "/apis/events.k8s.io/v1/namespaces/web/events/one"),
            (Method::PATCH, &format!("{events}/one")),
            (Method::DELETE, events),
            (Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/i/leases/ingress-acme"),
            (Method::PATCH, "/apis/networking.k8s.io/v1/namespaces/web/ingresses/shop"),
        ] {
            assert!(!pass(method.clone(), path), "{method} {path}");
        }
    }

    #[tokio::test]
    async fn what_is_refused_never_leaves_the_process() {
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = sent.clone();
        let server = tower::service_fn(move |_: Request<Body>| {
            counter.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok::<_, Infallible>(Response::new(Body::from(b"{}".to_vec()))))
        });
        let client = read_only(&Client::new(server, "web"));
        let ask = |method: Method| {
            let request = Request::builder().method(method).uri("/api/v1/namespaces/web/secrets");
            client.request_text(request.body(Vec::new()).unwrap())
        };
        assert!(ask(Method::GET).await.is_ok());
        let refused = ask(Method::DELETE).await.unwrap_err();
        assert!(refused.to_string().contains("a dry run changes nothing"), "{refused}");
        assert_eq!(sent.load(Ordering::Relaxed), 1);
    }
}
