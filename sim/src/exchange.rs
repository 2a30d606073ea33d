//! Requests to the simulated servers and their responses, apart from the transport: each server
//! answers a [`Request`], whether a socket or a client in the same process has brought it.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;

use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};

/// Sends a request to a server of the same process. Clones lead to the same server.
pub type InProcess =
    Arc<dyn Fn(Request) -> Pin<Box<dyn Future<Output = Response> + Send>> + Send + Sync>;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method in upper case.
    pub method: String,
    /// Host that the client asked for, with the port if not the default.
    pub host: String,
    /// Path, as sent.
    pub path: String,
    /// Query without the question mark; empty without one.
    pub query: String,
    /// Names in lower case, and values that are text.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Bytes,
    /// Address of the client.
    pub peer: IpAddr,
}

impl Request {
    /// Creates a request without a body from this process.
    pub fn new(method: &str, host: &str, path: &str) -> Self {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        Self {
            method: method.to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
            peer: Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// Reads the head of a request that came over a socket.
    pub(crate) fn of(request: &HttpRequest, body: Bytes) -> Self {
        let text = |(name, value): (
            &actix_web::http::header::HeaderName,
            &actix_web::http::header::HeaderValue,
        )| { Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())) };
        let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.ip());
        Self {
            method: request.method().as_str().to_owned(),
            host: request.connection_info().host().to_owned(),
            path: request.path().to_owned(),
            query: request.query_string().to_owned(),
            headers: request.headers().iter().filter_map(text).collect(),
            body,
            peer,
        }
    }

    /// Value of the first header with this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut same = self.headers.iter().filter(|(other, _)| other == name);
        same.next().map(|(_, value)| value.as_str())
    }
}

/// A response.
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body,
}

/// Body of a response.
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// That of a watch, which goes on.
    Stream(BoxStream<'static, std::io::Result<Bytes>>),
    /// The connection breaks before the body.
    Broken,
    /// The connection breaks in the middle of this body.
    Cut(Bytes),
}

impl Response {
    /// Creates a response without headers.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, headers: Vec::new(), body: Body::Whole(body.into()) }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// A response whose connection breaks before the body.
    pub(crate) fn broken() -> Self {
        Self { status: 200, headers: Vec::new(), body: Body::Broken }
    }

    /// The same response, whose connection breaks in the middle of the body.
    pub(crate) fn cut(self) -> Self {
        match self.body {
            Body::Whole(body) => Self { body: Body::Cut(body), ..self },
            _ => Self::broken(),
        }
    }

    /// Converts to a response for a socket.
    pub(crate) fn over_socket(self) -> HttpResponse {
        let status = StatusCode::from_u16(self.status);
        let mut response = HttpResponse::build(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
        for (name, value) in self.headers {
            response.append_header((name, value));
        }
        match self.body {
            Body::Whole(body) if body.is_empty() => response.finish(),
            Body::Whole(body) => response.body(body),
            Body::Stream(lines) => response.streaming(lines),
            Body::Broken => response.body(broken(Bytes::new(), 1)),
            Body::Cut(body) => {
                response.body(broken(body.slice(..body.len() / 2), body.len() as u64 + 1))
            }
        }
    }
}

/// A body of `length` bytes whose connection breaks after `sent`.
fn broken(
    sent: Bytes,
    length: u64,
) -> SizedStream<impl futures_util::Stream<Item = Result<Bytes, std::io::Error>>> {
    let gone = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    SizedStream::new(length, stream::iter([Ok(sent), Err(gone)]))
}
