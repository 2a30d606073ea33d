//! Requests to the CA within the process, with faults.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use ingress_acme::acme::InProcess as Wire;
use ingress_acme::pki;
use ingress_acme_sim::exchange::{Body, InProcess, Request, Response};

use crate::faults::{Fault, STALL, Schedule};

/// Creates the way to the CA.
pub(crate) fn wire(ca: InProcess, faults: Arc<Schedule>) -> Wire {
    Arc::new(move |request| {
        let (ca, faults) = (ca.clone(), faults.clone());
        Box::pin(async move { exchange(&ca, read(&request), &faults).await })
    })
}

fn read(request: &reqwest::Request) -> Request {
    let url = request.url();
    let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
    Request {
        method: request.method().as_str().to_owned(),
        host: url.host_str().unwrap_or_default().to_owned(),
        path: url.path().to_owned(),
        query: url.query().unwrap_or_default().to_owned(),
        headers: request.headers().iter().filter_map(text).collect(),
        body: Bytes::copy_from_slice(body),
        peer: Ipv4Addr::LOCALHOST.into(),
    }
}

async fn exchange(
    ca: &InProcess,
    request: Request,
    faults: &Schedule,
) -> io::Result<reqwest::Response> {
    let (_, fault) = faults.turn(&kind(&request)).await;
    match fault {
        Some(Fault::Dropped) => return Err(io::ErrorKind::ConnectionRefused.into()),
        Some(Fault::Stalled) => {
            tokio::time::sleep(STALL).await;
            return Err(io::ErrorKind::TimedOut.into());
        }
        Some(Fault::Refused(status, retry_after)) => return refused(status, retry_after),
        _ => {}
    }
    let is_chain = request.path.contains("/acme/cert/");
    let response = ca(request).await;
    match fault {
        Some(Fault::Unanswered) => return Err(io::ErrorKind::ConnectionReset.into()),
        Some(Fault::Late) => tokio::time::sleep(STALL).await,
        Some(Fault::Garbage) => return answered(Response::new(200, "{\"status\": \"va"), false),
        Some(Fault::Cut) => return answered(response, true),
        Some(fault @ (Fault::WrongKey | Fault::WrongChain)) if is_chain => {
            return answered(wrong(response, fault), false);
        }
        _ => {}
    }
    answered(response, false)
}

/// Method and path; of a new order the payload of the JWS too, which has the names.
fn kind(request: &Request) -> String {
    let mut kind = format!("{} {}", request.method, request.path);
    if request.path.ends_with("/new-order") {
        let jws: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
        kind += jws["payload"].as_str().unwrap_or_default();
    }
    kind
}

fn refused(status: u16, retry_after: Option<u64>) -> io::Result<reqwest::Response> {
    let kind = if status == 429 { "rateLimited" } else { "serverInternal" };
    let problem = serde_json::json!({
        "type": format!("urn:ietf:params:acme:error:{kind}"), "status": status,
        "detail": "Service busy; retry later.",
    });
    let mut response = Response::new(status, problem.to_string());
    response = response.with("content-type", "application/problem+json");
    if let Some(seconds) = retry_after {
        response = response.with("retry-after", seconds.to_string());
    }
    answered(response, false)
}

/// A chain that must not be installed: a certificate for the same names with a key of somebody
/// else, or one whose issuer is not the next certificate.
fn wrong(mut response: Response, fault: Fault) -> Response {
    let Body::Whole(chain) = &response.body else { return response };
    let chain = String::from_utf8_lossy(chain).into_owned();
    let Ok(leaf) = pki::inspect(&chain, None) else { return response };
    let names: Vec<String> = leaf.names.into_iter().collect();
    let other = rcgen::generate_simple_self_signed(names).expect("the names are good").cert.pem();
    let end = "-----END CERTIFICATE-----\n";
    let first = chain.split_inclusive(end).next().unwrap_or_default().to_owned();
    let body = if fault == Fault::WrongKey { other } else { first + &other };
    response.body = Body::Whole(body.into());
    response
}

fn answered(response: Response, cut: bool) -> io::Result<reqwest::Response> {
    let Body::Whole(body) = response.body else {
        return Err(io::ErrorKind::ConnectionReset.into());
    };
    let mut answer = http::Response::builder().status(response.status);
    for (name, value) in response.headers {
        answer = answer.header(name, value);
    }
    let body = if cut {
        let half = Frame::data(body.slice(..body.len() / 2));
        let broken = io::Error::from(io::ErrorKind::UnexpectedEof);
        reqwest::Body::wrap(StreamBody::new(stream::iter([Ok(half), Err(broken)])))
    } else {
        body.into()
    };
    Ok(answer.body(body).map_err(io::Error::other)?.into())
}
