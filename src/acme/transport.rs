//! HTTP client for the CA: implements instant-acme's `HttpClient`. Adds deadlines, a response size
//! limit, metrics, and a record of the last response's status and `Retry-After`. Bodies are never
//! logged.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, StatusCode};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient, Problem};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::Instant;

use ingress_acme_actors::domain::cut::{CutText, cut};
use ingress_acme_actors::domain::limits;

use super::call::{CALL, Call};
use super::deviations::{self, Answer, Deviations};
use super::issuer_names::issuer_names;
use super::link_header::alternates;
use super::retry_after::retry_after;

/// Most redirects of a directory that are followed.
const REDIRECTS: usize = 3;

/// Connect timeout.
const CONNECT: Duration = Duration::from_secs(10);

/// Directory fields (RFC 8555 §7.1.1) and their endpoint names.
const RESOURCES: [(&str, &str); 5] = [
    ("newNonce", "new_nonce"),
    ("newAccount", "new_account"),
    ("newOrder", "new_order"),
    ("revokeCert", "revoke_cert"),
    ("keyChange", "key_change"),
];

/// Way of the requests to the CA.
#[derive(Clone, Default)]
pub enum Wire {
    /// TLS over TCP.
    #[default]
    Tls,
    /// A server of this process, such as a simulated CA.
    InProcess(InProcess),
}

/// Sends a request to a server of this process. An error means that no usable response came.
pub type InProcess = Arc<dyn Fn(reqwest::Request) -> Answered + Send + Sync>;

/// Response that is on its way.
type Answered = Pin<Box<dyn Future<Output = std::io::Result<reqwest::Response>> + Send>>;

/// Called after every request with the endpoint (a closed set, usable as a metric label), the HTTP
/// status (0 without a response) and the duration.
pub type RequestHook = Arc<dyn Fn(&'static str, u16, Duration) + Send + Sync>;

/// Error of a request without a usable response.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransportError {
    /// No connection, a broken connection, or a timeout; contains all causes.
    #[error("the CA cannot be reached: {0}")]
    Unreachable(String),
    /// The response is larger than this number of bytes.
    #[error("the CA's answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The headers are larger than [`limits::CA_HEADERS`], or a URL in them than
    /// [`limits::URL_MAX`].
    #[error("{what} of the CA's answer: {size} bytes, but at most {most} are accepted")]
    Headers {
        /// All of them, or one.
        what: &'static str,
        /// Their bytes.
        size: usize,
        /// The bound.
        most: usize,
    },
    /// The directory's `newNonce` (RFC 8555 §7.1.1) is no URL. Contains the value, cut.
    #[error("the CA's directory names no URL as newNonce: {0}")]
    NoNonceUrl(String),
    /// The answer is no directory (RFC 8555 §7.1.1).
    #[error("{url} is no ACME directory: it has no {lacking}; check --acme-directory")]
    NoDirectory {
        /// URL of the directory, cut.
        url: String,
        /// Names of the missing fields.
        lacking: String,
    },
}

impl From<reqwest::Error> for TransportError {
    fn from(error: reqwest::Error) -> Self {
        Self::Unreachable(with_causes(&error.without_url()))
    }
}

/// Error of the TLS setup.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The additional root is not valid PEM.
    #[error("the file of --acme-ca-file holds no readable PEM certificate: {0}")]
    Pem(String),
    /// rustls rejects the configuration.
    #[error("no TLS client can be made for the ACME directory: {0}")]
    Tls(String),
}

/// HTTP client of one CA. Clones share connections.
#[derive(Clone)]
pub(super) struct Transport {
    client: reqwest::Client,
    wire: Wire,
    /// Endpoint names by URL: the directory, and its resources once the directory was fetched.
    endpoints: Arc<RwLock<HashMap<String, &'static str>>>,
    /// `caaIdentities` of the directory.
    identities: Arc<RwLock<Vec<String>>>,
    /// Deviations that were logged.
    told: Arc<Mutex<Deviations>>,
    hook: RequestHook,
}

/// Reads the body of an answer; `None` if it is longer than `longest` bytes.
pub(crate) async fn body_within(
    answer: &mut reqwest::Response,
    longest: usize,
) -> reqwest::Result<Option<Vec<u8>>> {
    let mut read = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if read.len() + chunk.len() > longest {
            return Ok(None);
        }
        read.extend_from_slice(&chunk);
    }
    Ok(Some(read))
}

impl Transport {
    /// Creates a client that trusts the Mozilla roots, which are compiled in, and the certificates
    /// of `extra_roots` (PEM).
    pub(super) fn new(
        directory: &str,
        extra_roots: Option<&str>,
        wire: Wire,
        hook: RequestHook,
    ) -> Result<Self, TrustError> {
        let roots = trusted(extra_roots)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|wrong| TrustError::Tls(wrong.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT)
            .timeout(limits::CA_CALL)
            // The bound of a body is that of what the CA sends.
            .no_gzip()
            .no_deflate()
            // Never follow redirects: an ACME POST is signed for its URL (RFC 8555 §6.4).
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|wrong| TrustError::Tls(with_causes(&wrong)))?;
        let endpoints = Arc::new(RwLock::new(HashMap::from([(directory.to_owned(), "directory")])));
        let (identities, told) = (Arc::default(), Arc::default());
        Ok(Self { client, wire, endpoints, identities, told, hook })
    }

    fn endpoint(&self, url: &str, call: Option<&Call>) -> &'static str {
        let known = self.endpoints.read().unwrap_or_else(PoisonError::into_inner);
        let of_call = || call.and_then(|call| call.with(|record| record.endpoint));
        known.get(url).copied().or_else(of_call).unwrap_or("other")
    }

    /// Returns the URL of an endpoint, if the endpoint has a fixed URL and the directory was
    /// fetched.
    pub(super) fn url_of(&self, endpoint: &str) -> Option<String> {
        let known = self.endpoints.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(_, named)| **named == endpoint).map(|(url, _)| url.clone())
    }

    /// Names of the CA in CAA records; none before the directory was fetched.
    pub(super) fn caa_identities(&self) -> Vec<String> {
        self.identities.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records the URLs and the CAA identities of a directory (RFC 8555 §7.1.1), unless its nonce
    /// URL is wrong.
    fn learn(&self, directory: &[u8]) -> Result<(), TransportError> {
        let Ok(listed) = serde_json::from_slice::<serde_json::Value>(directory) else {
            return Ok(());
        };
        check_nonce_url(&listed)?;
        let identities =
            listed.pointer("/meta/caaIdentities").and_then(serde_json::Value::as_array);
        let identities = identities.into_iter().flatten().filter_map(serde_json::Value::as_str);
        let bounded =
            identities.filter(|name| name.len() <= limits::CAA_TAG).take(limits::CAA_RECORDS);
        *self.identities.write().unwrap_or_else(PoisonError::into_inner) =
            bounded.map(str::to_owned).collect();
        let mut known = self.endpoints.write().unwrap_or_else(PoisonError::into_inner);
        for (field, endpoint) in RESOURCES {
            let url = listed.get(field).and_then(serde_json::Value::as_str);
            if let Some(url) = url.filter(|url| url.len() <= limits::URL_MAX) {
                known.retain(|_, named| *named != endpoint);
                known.insert(url.to_owned(), endpoint);
            }
        }
        Ok(())
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        (headers, body): (HeaderMap, Bytes),
        longest: usize,
    ) -> Result<(StatusCode, HeaderMap, Bytes), TransportError> {
        let request = self.client.request(method, url).headers(headers).body(body);
        let request = request.header(USER_AGENT, crate::USER_AGENT);
        let mut answer = match &self.wire {
            Wire::Tls => request.send().await?,
            Wire::InProcess(send) => send(request.build()?)
                .await
                .map_err(|error| TransportError::Unreachable(with_causes(&error)))?,
        };
        check_headers(answer.headers())?;
        let read = body_within(&mut answer, longest).await?;
        let read = read.ok_or(TransportError::TooLarge(longest))?;
        Ok((answer.status(), std::mem::take(answer.headers_mut()), read.into()))
    }

    /// Sends a request and reports it. Follows the redirects of a directory, and asks for a nonce
    /// again by GET where the CA does not know HEAD.
    pub(super) async fn answer(
        &self,
        endpoint: &'static str,
        (mut method, url): (Method, &str),
        (headers, body): (HeaderMap, Bytes),
    ) -> Result<Answer, TransportError> {
        let mut url = url.to_owned();
        let (mut redirects, mut found) = (0, Deviations::new());
        loop {
            let started = Instant::now();
            let longest = longest_answer(endpoint);
            let sent = (headers.clone(), body.clone());
            let outcome = self.send(method.clone(), &url, sent, longest).await;
            let code = outcome.as_ref().map_or(0, |(status, ..)| status.as_u16());
            let took = started.elapsed();
            (self.hook)(endpoint, code, took);
            tracing::debug!(endpoint, status = code, ?took, %url, "request to the CA");
            let (status, headers, body) = outcome?;
            let mut answer = Answer { status, headers, body };
            let by_get = deviations::other_nonce_method(endpoint, status);
            if let Some(get) = by_get.filter(|get| *get != method) {
                found.insert("does not know HEAD for newNonce");
                method = get;
            } else if let Some(next) =
                deviations::redirected(endpoint, &url, &answer).filter(|_| redirects < REDIRECTS)
            {
                found.insert("redirects its directory");
                (redirects, url) = (redirects + 1, next);
            } else {
                found.append(&mut deviations::read_liberally(endpoint, &url, &mut answer));
                self.tell(&found);
                return Ok(answer);
            }
        }
    }

    /// Logs each deviation of the CA once.
    fn tell(&self, found: &Deviations) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for deviation in found {
            if told.insert(deviation) {
                tracing::warn!(
                    "the CA {deviation} (not as RFC 8555 says); its answers are read all the same"
                );
            }
        }
    }

    async fn exchange(
        self,
        request: Request<BodyWrapper<Bytes>>,
        call: Option<Call>,
    ) -> Result<BytesResponse, Error> {
        let (mut parts, body) = request.into_parts();
        // Only a response exposes its body as bytes in instant-acme.
        let mut body = BytesResponse::from(http::Response::new(body)).body;
        let body = body.into_bytes().await.map_err(Error::Other)?;
        parts.headers.remove(USER_AGENT);
        let url = parts.uri.to_string();
        let endpoint = self.endpoint(&url, call.as_ref());
        let mut outcome = self.answer(endpoint, (parts.method, &url), (parts.headers, body)).await;
        if let Some(call) = call {
            record(&call, endpoint, &url, outcome.as_mut().ok());
        }
        let answer = outcome.map_err(|error| Error::Other(Box::new(error)))?;
        if endpoint == "directory" {
            self.read_directory(&url, &answer)?;
        }
        let (mut parts, ()) = http::Response::new(()).into_parts();
        (parts.status, parts.headers) = (answer.status, answer.headers);
        Ok(BytesResponse { parts, body: Box::new(answer.body) })
    }

    /// Learns the URLs of a directory. A refusal is an error here, because instant-acme reads each
    /// answer as a directory.
    pub(super) fn read_directory(&self, url: &str, answer: &Answer) -> Result<(), Error> {
        if !answer.status.is_success() {
            let problem = serde_json::from_slice::<Problem>(&answer.body);
            let is_told = |problem: &Problem| problem.r#type.is_some() || problem.detail.is_some();
            let unexplained = Error::Str("the directory");
            return Err(problem.ok().filter(is_told).map_or(unexplained, Error::Api));
        }
        let learned = self.learn(&answer.body).and_then(|()| {
            let lacking = deviations::lacking(&answer.body);
            if lacking.is_empty() { Ok(()) } else { Err(no_directory(url, &lacking)) }
        });
        learned.map_err(|error| Error::Other(Box::new(error)))
    }
}

/// Records an answer, and caps its `Retry-After`.
pub(super) fn record(call: &Call, endpoint: &'static str, url: &str, answer: Option<&mut Answer>) {
    let mut answer = answer;
    let wait = answer.as_mut().and_then(|answer| capped_retry_after(&mut answer.headers));
    let answer = answer.as_deref();
    let alternates = answer.map(|answer| alternates(&answer.headers, url)).unwrap_or_default();
    let location = answer.and_then(|answer| answer.headers.get(LOCATION)?.to_str().ok());
    let issuers = answer.filter(|_| endpoint == "authorization");
    let issuers = issuers.and_then(|answer| issuer_names(&answer.body));
    let valid = endpoint == "challenge" && answer.is_some_and(|answer| is_valid(&answer.body));
    call.with(|record| {
        (record.answered, record.status) = (Some(endpoint), answer.map(|answer| answer.status));
        (record.retry_after, record.alternates) = (wait, alternates);
        record.location = location.map(str::to_owned);
        (record.challenge_valid, record.issuer_names) = (valid, issuers);
    });
}

fn no_directory(url: &str, lacking: &[&str]) -> TransportError {
    let url = cut(url, limits::QUOTED_MAX);
    TransportError::NoDirectory { url, lacking: lacking.join(", ") }
}

impl HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().exchange(request, CALL.try_with(Call::clone).ok()))
    }
}

/// The Mozilla roots, and the certificates of `extra_roots` (PEM). The text of an error has at most
/// [`limits::QUOTED_MAX`] bytes: the reader of PEM quotes whole lines of the file.
fn trusted(extra_roots: Option<&str>) -> Result<rustls::RootCertStore, TrustError> {
    let pem = |wrong: &dyn StdError| TrustError::Pem(cut(wrong.to_string(), limits::QUOTED_MAX));
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let mut added = 0;
    for root in CertificateDer::pem_slice_iter(extra_roots.unwrap_or_default().as_bytes()) {
        let root = root.map_err(|wrong| pem(&wrong))?;
        roots.add(root).map_err(|wrong| pem(&wrong))?;
        added += 1;
    }
    if extra_roots.is_some() && added == 0 {
        return Err(TrustError::Pem("there is no CERTIFICATE block in it".to_owned()));
    }
    Ok(roots)
}

/// Largest accepted body of an answer, in bytes.
fn longest_answer(endpoint: &str) -> usize {
    match endpoint {
        "authorization" | "challenge" => limits::AUTHORIZATION_MAX,
        _ => limits::ANSWER_MAX,
    }
}

/// Whether a challenge object (RFC 8555 §7.1.5) has the status `valid`: instant-acme does not
/// return the response to the request to validate.
fn is_valid(challenge: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Challenge<'a> {
        status: &'a str,
    }
    let read = serde_json::from_slice::<Challenge<'_>>(challenge);
    read.is_ok_and(|challenge| challenge.status == "valid")
}

/// Refuses large headers, and a `Location` that is too long to be journaled or stored: the URL of
/// an order or of the account.
fn check_headers(headers: &HeaderMap) -> Result<(), TransportError> {
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let location = headers.get(LOCATION).map_or(0, HeaderValue::len);
    let headers = ("the headers", size, limits::CA_HEADERS);
    let location = ("the header Location", location, limits::URL_MAX);
    match [headers, location].into_iter().find(|(_, size, most)| size > most) {
        Some((what, size, most)) => Err(TransportError::Headers { what, size, most }),
        None => Ok(()),
    }
}

/// Refuses a directory whose `newNonce` is no URL: instant-acme panics when it asks for a nonce.
/// Other wrong URLs are errors of the calls that need them.
fn check_nonce_url(directory: &serde_json::Value) -> Result<(), TransportError> {
    match directory.get("newNonce").and_then(serde_json::Value::as_str) {
        Some(url) if url.parse::<http::Uri>().is_err() => {
            let value = cut(url.escape_debug().to_string(), limits::QUOTED_MAX);
            Err(TransportError::NoNonceUrl(value))
        }
        _ => Ok(()),
    }
}

/// Returns `Retry-After`, capped at the largest plausible value. Caps the header too: instant-acme
/// adds the value to `SystemTime::now()`, which panics on overflow.
fn capped_retry_after(headers: &mut HeaderMap) -> Option<Duration> {
    let wait = retry_after(headers)?;
    if wait > limits::RETRY_AFTER_MAX {
        headers.insert(RETRY_AFTER, limits::RETRY_AFTER_MAX.as_secs().into());
    }
    Some(wait.min(limits::RETRY_AFTER_MAX))
}

/// Formats an error with all its causes, which reqwest omits; at most [`limits::QUOTED_MAX`] bytes.
fn with_causes(error: &dyn StdError) -> String {
    let mut text = CutText::new(limits::QUOTED_MAX);
    text.push(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push(": ");
        text.push(&error.to_string());
        cause = error.source();
    }
    text.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use instant_acme::{Account, NewAccount};
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::CallError;
    use super::super::jws::resource;
    use super::*;

    fn transport(extra_roots: Option<&str>) -> Result<Transport, TrustError> {
        Transport::new("https://ca.example/dir", extra_roots, Wire::Tls, Arc::new(|_, _, _| {}))
    }

    #[tokio::test]
    async fn endpoints_are_known_by_url_or_by_what_is_asked() {
        let transport = transport(None).unwrap();
        let of = |url| transport.endpoint(url, None);
        assert_eq!(of("https://ca.example/dir"), "directory");
        assert_eq!(of("https://ca.example/nonce"), "other");
        transport.learn(br#"{"newNonce": "https://ca.example/nonce"}"#).unwrap();
        assert_eq!(of("https://ca.example/nonce"), "new_nonce");
        let long = format!("https://ca.example/{}", "x".repeat(limits::URL_MAX));
        transport.learn(format!(r#"{{"newNonce": "{long}"}}"#).as_bytes()).unwrap();
        assert_eq!((of(&long), of("https://ca.example/nonce")), ("other", "new_nonce"));
        let call = Call::default();
        call.run(async { Call::set_endpoint("finalize") }).await;
        assert_eq!(transport.endpoint("https://ca.example/1", Some(&call)), "finalize");
        assert_eq!(transport.endpoint("https://ca.example/nonce", Some(&call)), "new_nonce");
    }

    #[tokio::test]
    async fn the_ca_sees_our_user_agent_and_not_the_librarys() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/dir", server.local_addr().unwrap());
        let transport = Transport::new(&url, None, Wire::Tls, Arc::new(|_, _, _| {})).unwrap();
        let asking = tokio::spawn(async move {
            let new = NewAccount {
                contact: &[],
                terms_of_service_agreed: true,
                only_return_existing: false,
            };
            Account::builder_with_http(Box::new(transport)).create(&new, url, None).await.map(drop)
        });
        let (mut connection, _) = server.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let length = connection.read(&mut request).await.unwrap();
        let request = String::from_utf8_lossy(&request[..length]).to_lowercase();
        let agents: Vec<&str> =
            request.lines().filter(|line| line.starts_with("user-agent:")).collect();
        assert_eq!(agents, [format!("user-agent: {}", crate::USER_AGENT)]);
        drop(connection);
        assert!(asking.await.unwrap().is_err());
    }

    #[test]
    fn a_retry_after_of_ages_is_capped() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, u64::MAX.into());
        assert_eq!(capped_retry_after(&mut headers), Some(limits::RETRY_AFTER_MAX));
        assert_eq!(retry_after(&headers), Some(limits::RETRY_AFTER_MAX));
        headers.insert(RETRY_AFTER, 60.into());
        assert_eq!(capped_retry_after(&mut headers), Some(Duration::from_mins(1)));
    }

    #[test]
    fn headers_and_urls_that_no_ca_sends_are_refused() {
        let of = |name: &'static str, size: usize| {
            HeaderMap::from_iter([(name.parse().unwrap(), "x".repeat(size).parse().unwrap())])
        };
        assert!(check_headers(&of("location", 200)).is_ok());
        assert!(check_headers(&of("location", limits::URL_MAX + 1)).is_err());
        assert!(check_headers(&of("link", limits::URL_MAX + 1)).is_ok());
        let error = check_headers(&of("replay-nonce", limits::CA_HEADERS)).unwrap_err().to_string();
        assert!(error.contains("16396 bytes, but at most 16384"), "{error}");
        let error = check_headers(&of("location", limits::URL_MAX + 1)).unwrap_err().to_string();
        assert!(error.contains("Location of the CA's answer: 2049 bytes, but at most 2048"));
    }

    #[tokio::test]
    async fn a_redirect_of_the_ca_is_an_answer_and_is_not_followed() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", server.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut connection, _) = server.accept().await.unwrap();
            _ = connection.read(&mut [0; 4_096]).await;
            let head = "HTTP/1.1 307 Elsewhere\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n";
            connection.write_all(head.as_bytes()).await.unwrap();
        });
        let nothing = (HeaderMap::new(), Bytes::new());
        let answer = transport(None).unwrap().send(Method::POST, &url, nothing, 1).await;
        assert_eq!(answer.unwrap().0, StatusCode::TEMPORARY_REDIRECT);
    }

    #[tokio::test]
    async fn an_answer_is_read_up_to_the_bound_of_its_kind_and_no_further() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", server.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut connection, _) = server.accept().await.unwrap();
                tokio::spawn(async move {
                    _ = connection.read(&mut [0; 4_096]).await;
                    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
                    _ = connection.write_all(head.as_bytes()).await;
                    while connection.write_all(&[b'x'; 4_096]).await.is_ok() {}
                });
            }
        });
        let transport = transport(None).unwrap();
        for endpoint in ["authorization", "order", "directory"] {
            let (nothing, longest) = ((HeaderMap::new(), Bytes::new()), longest_answer(endpoint));
            let refused = transport.send(Method::POST, &url, nothing, longest).await.unwrap_err();
            let (text, expected) = (refused.to_string(), format!("larger than {longest} bytes"));
            assert!(text.ends_with(&expected), "{text}");
        }
        assert_eq!([longest_answer("challenge"), longest_answer("certificate")], [65_536, 262_144]);
    }

    #[tokio::test]
    async fn an_answer_with_an_unknown_status_is_readable_and_an_error_is_as_it_was_sent() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/authorization", server.local_addr().unwrap());
        tokio::spawn(async move {
            for (status, field) in [("200 OK", "status"), ("400 Bad Request", "detail")] {
                let (mut connection, _) = server.accept().await.unwrap();
                _ = connection.read(&mut [0; 4_096]).await;
                let answer = format!(
                    "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 16\r\n\r\n{{\"{field}\":\"odd\"}}"
                );
                connection.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        for expected in [r#"{"challenges":[],"status":"pending"}"#, r#"{"detail":"odd"}"#] {
            let call = Call::default();
            call.run(async { Call::set_endpoint("authorization") }).await;
            let request = Request::post(&url).body(BodyWrapper::from(Vec::new())).unwrap();
            let answer = transport(None).unwrap().exchange(request, Some(call)).await.unwrap();
            let mut body = answer.body;
            assert_eq!(body.into_bytes().await.unwrap(), expected);
        }
    }

    #[test]
    fn an_extra_root_that_is_none_is_refused() {
        assert!(matches!(transport(Some("hello")), Err(TrustError::Pem(_))));
        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(transport(Some(damaged)), Err(TrustError::Pem(_))));
    }

    #[test]
    fn a_directory_without_a_url_for_nonces_is_refused_and_one_that_lacks_another_is_not() {
        let transport = transport(None).unwrap();
        for wrong in ["", "\u{b}", "https://ca example/nonce", &"x y".repeat(limits::URL_MAX)] {
            let error = transport.learn(json!({ "newNonce": wrong }).to_string().as_bytes());
            let text = error.expect_err("it is no URL").to_string();
            assert!(text.contains("newNonce") && text.len() <= 2 * limits::QUOTED_MAX, "{text}");
            assert!(!text.chars().any(char::is_control), "{text}");
        }
        let good = json!({ "newNonce": "https://ca.example/nonce", "keyChange": "" });
        assert!(transport.learn(good.to_string().as_bytes()).is_ok());
        assert!(transport.learn(b"no JSON").is_ok(), "instant-acme refuses it with a better text");
    }

    /// A value of a directory's field: often of the right type, sometimes huge.
    fn value() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            4 => "https://ca\\.example/[a-z]{1,9}", 2 => ".{0,60}", 1 => Just("x".repeat(100_000)),
        ];
        let text = text.prop_map(Value::from);
        prop_oneof![
            6 => text.clone(), 1 => any::<i64>().prop_map(Value::from), 1 => Just(Value::Null),
            2 => prop::collection::vec(text.clone(), 0..60).prop_map(Value::from),
            1 => ("[a-z]{0,9}", text).prop_map(|(name, text)| json!({ name: text })),
        ]
    }

    /// A directory (RFC 8555 §7.1.1), with its fields or without some of them; or anything else.
    fn directory() -> impl Strategy<Value = Vec<u8>> {
        const FIELDS: &str = "newNonce|newAccount|newOrder|revokeCert|keyChange|renewalInfo|.{0,9}";
        const META: &str = "caaIdentities|termsOfService|profiles|externalAccountRequired|.{0,9}";
        let meta = prop::collection::btree_map(META, value(), 0..5);
        let whole = (prop::collection::btree_map(FIELDS, value(), 0..9), meta);
        let whole = whole.prop_map(|(fields, meta)| {
            let mut document = json!(fields);
            document["meta"] = json!(meta);
            document.to_string().into_bytes()
        });
        prop_oneof![6 => whole, 1 => prop::collection::vec(any::<u8>(), 0..300)]
    }

    /// Asks a CA with this directory for an account and for a URL. Returns the errors as texts.
    async fn errors_of(transport: &Transport) -> Vec<String> {
        let new =
            NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
        let url = "https://ca.example/dir".to_owned();
        let account = Account::builder_with_http(Box::new(transport.clone()));
        let account = account.create(&new, url, None).await.map(drop).map_err(CallError::from);
        let nonce = resource(transport, "new_nonce").await.map(drop);
        let errors = [account, nonce].into_iter().filter_map(Result::err);
        errors.map(|error| error.into_port_error("the CA did not answer").to_string()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_directory_gives_a_few_bounded_urls_and_names_or_a_bounded_reason(body in directory()) {
            let wire = Wire::InProcess(Arc::new(move |_| {
                let answer = reqwest::Response::from(http::Response::new(body.clone()));
                Box::pin(std::future::ready(Ok(answer)))
            }));
            let hook: RequestHook = Arc::new(|_, _, _| {});
            let transport = Transport::new("https://ca.example/dir", None, wire, hook).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            for text in runtime.block_on(errors_of(&transport)) {
                prop_assert!((1..=2 * limits::DETAIL_MAX).contains(&text.len()), "{}", text.len());
                prop_assert!(text.starts_with("the CA did not answer: "), "{}", text);
                prop_assert!(!text.chars().any(char::is_control), "{}", text);
            }
            let identities = transport.caa_identities();
            prop_assert!(identities.len() <= limits::CAA_RECORDS);
            prop_assert!(identities.iter().all(|name| name.len() <= limits::CAA_TAG));
            let known = transport.endpoints.read().unwrap();
            prop_assert!(known.len() <= RESOURCES.len() + 1);
            prop_assert!(known.keys().all(|url| url.len() <= limits::URL_MAX));
        }
    }

    /// PEM of a certificate.
    static ROOT: LazyLock<String> = LazyLock::new(|| {
        let key = rcgen::KeyPair::generate().unwrap();
        let root = rcgen::CertificateParams::new(vec!["ca.example".to_owned()]).unwrap();
        root.self_signed(&key).unwrap().pem()
    });

    proptest! {
        #[test]
        fn any_file_of_roots_is_read_or_refused_in_a_bounded_text(
            at in any::<usize>(), flipped in any::<u8>(), copies in 0..4_usize,
            cut_at in any::<usize>(), noise in ".{0,200}", label in "[ -~]{0,2000}",
        ) {
            let mut damaged = ROOT.clone().into_bytes();
            let length = damaged.len();
            damaged[at % length] ^= flipped & 0x7f;
            let damaged = String::from_utf8(damaged).unwrap();
            let files = [
                format!("{noise}\n{}", ROOT.repeat(copies)), damaged[..cut_at % length].to_owned(), damaged,
                format!("-----BEGIN {label}-----\n{noise}\n-----END {label}-----\n"),
                format!("-----BEGIN {label}"), noise,
            ];
            let own = trusted(None).unwrap().len();
            for file in files {
                match trusted(Some(&file)) {
                    Ok(roots) => {
                        let added = roots.len() - own;
                        prop_assert!((1..=file.len() / 100).contains(&added), "{}", added);
                    }
                    Err(wrong) => {
                        let text = wrong.to_string();
                        prop_assert!(text.contains("--acme-ca-file"), "{}", text);
                        prop_assert!(text.len() <= limits::DETAIL_MAX, "{}", text.len());
                        prop_assert!(!text.chars().any(char::is_control), "{}", text);
                    }
                }
            }
        }
    }
}
