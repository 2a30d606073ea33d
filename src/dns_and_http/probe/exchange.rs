//! One HTTP/1.1 request of the probe to an address that is resolved and checked already.
//!
//! The connection is driven within the call, so that nothing goes on after its deadline. Head and
//! body are bounded, because the server is chosen by whoever chose the host. (reqwest has no such
//! bounds, and resolves names itself.)

use std::error::Error as StdError;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ingress_acme_actors::domain::limits;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

use super::network::{Connection, Network, connect};

/// Response to one request.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// `Location`, if it is text.
    pub(super) location: Option<String>,
    /// The body, up to [`limits::PROBE_BODY_MAX`]; `None` if it is longer. Not read of a redirect
    /// or an error.
    pub(super) body: Option<Vec<u8>>,
    /// Address of the server.
    pub(super) address: IpAddr,
}

/// Reason why a request has no answer.
#[derive(Debug)]
pub(super) struct NoAnswer {
    pub(super) why: String,
    /// Whether no connection came about, and none was refused: packets are dropped on the way, or
    /// there is no route from here.
    pub(super) silent: bool,
    /// Whether a server has answered before, with a redirect.
    pub(super) answered: bool,
}

impl NoAnswer {
    fn silent(why: String) -> Self {
        Self { why, silent: true, answered: false }
    }
}

impl From<String> for NoAnswer {
    fn from(why: String) -> Self {
        Self { why, silent: false, answered: false }
    }
}

/// Sends requests. Cheap to clone.
#[derive(Clone)]
pub(super) struct Exchange {
    tls: TlsConnector,
    /// Network in place of this machine's.
    network: Option<Arc<dyn Network>>,
}

impl Exchange {
    /// Creates the client. Certificates are not checked: a host may not have a valid one yet, and
    /// CAs do not check here either.
    pub(super) fn new(
        provider: Arc<CryptoProvider>,
        network: Option<Arc<dyn Network>>,
    ) -> Result<Self, rustls::Error> {
        let any = Arc::new(AnyCertificate(provider.clone()));
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(any)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), network })
    }

    /// Requests `url` from the first of `addresses` that accepts a connection. `host` is the value
    /// of the `Host` header.
    pub(super) async fn get(
        &self,
        url: &Url,
        host: &str,
        addresses: &[IpAddr],
    ) -> Result<Answer, NoAnswer> {
        let port = url.port_or_known_default().unwrap_or(80);
        let mut missed = NoAnswer::silent("no address".to_owned());
        for address in addresses.iter().take(limits::PROBE_ATTEMPTS) {
            let socket = SocketAddr::new(*address, port);
            match timeout(limits::PROBE_CONNECT, self.connect(socket)).await {
                Ok(Ok(stream)) => return Ok(self.ask(stream, url, host, *address).await?),
                Ok(Err(error)) => {
                    let silent = error.kind() != ErrorKind::ConnectionRefused;
                    missed = NoAnswer { silent, ..NoAnswer::silent(words(&error)) };
                }
                Err(late) => missed = NoAnswer::silent(late.to_string()),
            }
        }
        Err(missed)
    }

    async fn connect(&self, server: SocketAddr) -> std::io::Result<Box<dyn Connection>> {
        match &self.network {
            None => connect(server).await,
            Some(network) => network.connect(server).await,
        }
    }

    async fn ask(
        &self,
        stream: Box<dyn Connection>,
        url: &Url,
        host: &str,
        address: IpAddr,
    ) -> Result<Answer, String> {
        if url.scheme() != "https" {
            return send(stream, url, host, address).await;
        }
        let name = ServerName::try_from(url.domain().unwrap_or_default().to_owned());
        let name = name.map_err(|_| "a name that TLS does not know".to_owned())?;
        let stream = self.tls.connect(name, stream).await.map_err(|error| words(&error))?;
        send(stream, url, host, address).await
    }
}

/// Sends the request and reads the response, within the bounds of [`limits`].
async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    url: &Url,
    host: &str,
    address: IpAddr,
) -> Result<Answer, String> {
    let mut http = http1::Builder::new();
    http.max_buf_size(limits::PROBE_HEAD_MAX).max_headers(limits::PROBE_FIELDS_MAX);
    let (mut sender, connection) =
        http.handshake(TokioIo::new(stream)).await.map_err(|error| refused(&error))?;
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, crate::USER_AGENT)
        .header(ACCEPT, "*/*") // mod_security blocks requests without it
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| refused(&error))?;
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let (status, location) = (answer.status(), location.map(str::to_owned));
        let body = if status.is_success() { body(answer.into_body()).await? } else { None };
        Ok(Answer { status, location, body, address })
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        _ = connection => exchange.await, // which has the reason, or all that arrived
    }
}

async fn body(mut incoming: Incoming) -> Result<Option<Vec<u8>>, String> {
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| refused(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if body.len() + data.len() > limits::PROBE_BODY_MAX {
            return Ok(None);
        }
        body.extend_from_slice(&data);
    }
    Ok(Some(body))
}

fn refused(error: &hyper::Error) -> String {
    if error.is_parse() {
        let most = limits::PROBE_HEAD_MAX / 1024;
        return format!("another server answered, with no head of HTTP/1.1 within {most} KiB");
    }
    words(error)
}

/// The innermost cause, which is short and specific.
fn words(error: &(dyn StdError + 'static)) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string().to_lowercase()
}

/// Accepts any certificate, with any signature that the provider knows.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What a web server sends: a response with anything in its places, or other bytes.
    fn sent() -> impl Strategy<Value = Vec<u8>> {
        let field = prop_oneof![
            6 => "(location|content-length|transfer-encoding|content-encoding|x): ?[ -~]{0,40}",
            2 => "content-length: [0-9]{1,20}",
            2 => Just("transfer-encoding: chunked".to_owned()),
            1 => Just(format!("location: {}", "x".repeat(2 * limits::PROBE_HEAD_MAX))),
            1 => Just(vec!["x: y"; 2 * limits::PROBE_FIELDS_MAX].join("\r\n")),
            1 => "[ -~]{0,40}",
        ];
        let body = prop_oneof![
            6 => prop::collection::vec(any::<u8>(), 0..40),
            2 => Just(b"5\r\ntoken\r\n0\r\n\r\n".to_vec()),
            1 => Just(vec![b'x'; 8 * limits::PROBE_BODY_MAX]),
        ];
        let status = "HTTP/1\\.[019] ([0-9]{1,4}|200|302|404)( [ -~]{0,20})?|[ -~]{0,40}";
        let whole = (status, prop::collection::vec(field, 0..6), body);
        let whole = whole.prop_map(|(status, fields, body)| {
            let lines = [vec![status], fields, vec![String::new(); 2]].concat();
            [lines.join("\r\n").into_bytes(), body].concat()
        });
        prop_oneof![6 => whole, 1 => prop::collection::vec(any::<u8>(), 0..300)]
    }

    /// Asks a server that sends these bytes and closes the connection.
    async fn asked(sent: &[u8]) -> Result<Answer, String> {
        let (client, mut server) = tokio::io::duplex(1 << 16);
        let url = Url::parse("http://a.example/.well-known/acme-challenge/t").unwrap();
        let answer = send(client, &url, "a.example", Ipv4Addr::LOCALHOST.into());
        let serving = async {
            _ = server.write_all(sent).await;
            _ = server.shutdown().await;
            _ = server.read_to_end(&mut Vec::new()).await;
        };
        tokio::join!(answer, serving).0
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_bounded_answer_or_a_short_reason(sent in sent()) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            match runtime.block_on(asked(&sent)) {
                Ok(answer) => {
                    prop_assert!(answer.body.is_none_or(|body| body.len() <= limits::PROBE_BODY_MAX));
                    let location = answer.location.unwrap_or_default();
                    prop_assert!(location.len() <= limits::PROBE_HEAD_MAX);
                }
                Err(why) => {
                    prop_assert!((1..=limits::PROBE_TEXT_MAX).contains(&why.len()), "{}", why);
                    prop_assert!(!why.chars().any(char::is_control), "{}", why);
                }
            }
        }
    }
}
