//! Requests to the API server within the process, with faults: a service under kube's client.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use ingress_acme_actors::domain::limits;
use ingress_acme_sim::exchange::{Body, InProcess, Request, Response};
use ingress_acme_sim::kube::User;
use kube::Client;

use crate::faults::{Fault, STALL, Schedule};

type Stream = BoxStream<'static, io::Result<Frame<Bytes>>>;
type Answer = http::Response<StreamBody<Stream>>;

/// Creates the client of a user. Without a schedule, requests meet no fault and take no time.
pub(crate) fn client(wire: InProcess, user: User, faults: Option<Arc<Schedule>>) -> Client {
    let send = move |request: http::Request<kube::client::Body>| {
        let (wire, faults) = (wire.clone(), faults.clone());
        async move {
            let request = read(request, user).await?;
            match faults {
                None => answered(wire(request).await, None),
                Some(faults) => exchange(&wire, request, &faults).await,
            }
        }
    };
    Client::new(tower::service_fn(send), "default")
}

async fn read(request: http::Request<kube::client::Body>, user: User) -> io::Result<Request> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    let mut headers: Vec<_> = parts.headers.iter().filter_map(text).collect();
    headers.push(("authorization".to_owned(), format!("Bearer {}", user.token())));
    let agent = if user == User::Operator { ingress_acme::USER_AGENT } else { "somebody" };
    headers.push(("user-agent".to_owned(), agent.to_owned()));
    Ok(Request {
        method: parts.method.as_str().to_owned(),
        host: "api.example".to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers,
        body,
        peer: Ipv4Addr::LOCALHOST.into(),
    })
}

fn broken(kind: io::ErrorKind) -> io::Error {
    io::Error::from(kind)
}

async fn exchange(wire: &InProcess, request: Request, faults: &Schedule) -> io::Result<Answer> {
    let is_watch = request.query.contains("watch=");
    let verb = if is_watch { "watch" } else { request.method.as_str() };
    let name = created(&request).unwrap_or_default();
    let (latency, fault) = faults.turn(&format!("{verb} {} {name}", request.path)).await;
    match fault {
        Some(Fault::Dropped) => return Err(broken(io::ErrorKind::ConnectionRefused)),
        Some(Fault::Stalled) => {
            tokio::time::sleep(STALL).await;
            return Err(broken(io::ErrorKind::TimedOut));
        }
        Some(Fault::Refused(status, retry_after)) => return refused(status, retry_after),
        Some(Fault::Overtaken) => overtake(wire, &request).await,
        _ => {}
    }
    let response = wire(request).await;
    match fault {
        Some(Fault::Unanswered) => Err(broken(io::ErrorKind::ConnectionReset)),
        Some(Fault::Late) => {
            tokio::time::sleep(STALL).await;
            answered(response, None)
        }
        Some(Fault::Garbage) => answered(Response::new(200, "<html>a captive portal</html>"), None),
        Some(Fault::Cut) => answered(response, Some(latency)),
        _ => answered(response, None),
    }
}

/// Name of the object that a request creates.
fn created(request: &Request) -> Option<String> {
    if request.method != "POST" {
        return None;
    }
    let object: serde_json::Value = serde_json::from_slice(&request.body).ok()?;
    Some(object.pointer("/metadata/name")?.as_str()?.to_owned())
}

/// A refusal in the words of a proxy, or of the API server.
fn refused(status: u16, retry_after: Option<u64>) -> io::Result<Answer> {
    let body = if status == 503 {
        "upstream connect error\n".to_owned()
    } else {
        let message = "too much is asked for";
        serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
            "reason": "TooManyRequests", "code": status,
        })
        .to_string()
    };
    let mut response = Response::new(status, body);
    if let Some(seconds) = retry_after {
        response = response.with("retry-after", seconds.to_string());
    }
    answered(response, None)
}

/// Writes an annotation of the object that the request is about to write.
async fn overtake(wire: &InProcess, request: &Request) {
    if !matches!(request.method.as_str(), "PUT" | "PATCH") || request.path.contains("/leases/") {
        return;
    }
    let patch = serde_json::json!({"metadata": {"annotations": {"another-writer": "was here"}}});
    let mut other = Request::new("PATCH", "api.example", &request.path);
    other.headers = vec![
        ("authorization".to_owned(), format!("Bearer {}", User::Admin.token())),
        ("content-type".to_owned(), "application/merge-patch+json".to_owned()),
        ("user-agent".to_owned(), "another-controller".to_owned()),
    ];
    other.body = patch.to_string().into();
    wire(other).await;
}

/// Converts a response. With `cut`, a whole body breaks in the middle, and a stream after that
/// many events.
fn answered(response: Response, cut: Option<Duration>) -> io::Result<Answer> {
    let reset = || Err(broken(io::ErrorKind::ConnectionReset));
    let body: Stream = match (response.body, cut) {
        (Body::Broken | Body::Cut(_), _) => return Err(broken(io::ErrorKind::ConnectionReset)),
        (Body::Whole(body), None) => stream::iter([Ok(Frame::data(body))]).boxed(),
        (Body::Whole(body), Some(_)) => {
            let half = body.slice(..body.len() / 2);
            stream::iter([Ok(Frame::data(half)), reset()]).boxed()
        }
        (Body::Stream(lines), None) => noticing_silence(lines),
        (Body::Stream(lines), Some(latency)) => {
            let events = usize::try_from(latency.as_millis() % 4).unwrap_or_default();
            noticing_silence(
                lines
                    .take(events)
                    .chain(stream::iter([Err(broken(io::ErrorKind::ConnectionReset))]))
                    .boxed(),
            )
        }
    };
    let mut answer = http::Response::builder().status(response.status);
    for (name, value) in response.headers {
        answer = answer.header(name, value);
    }
    answer.body(StreamBody::new(body)).map_err(io::Error::other)
}

/// A connection without any byte for [`limits::KUBE_SILENCE`] is given up, as by kube's connector.
fn noticing_silence(lines: BoxStream<'static, io::Result<Bytes>>) -> Stream {
    let next = async |mut lines: BoxStream<'static, io::Result<Bytes>>| match tokio::time::timeout(
        limits::KUBE_SILENCE,
        lines.next(),
    )
    .await
    {
        Ok(None) => None,
        Ok(Some(line)) => Some((line.map(Frame::data), lines)),
        Err(_) => Some((Err(broken(io::ErrorKind::TimedOut)), stream::empty().boxed())),
    };
    stream::unfold(lines, next).boxed()
}
