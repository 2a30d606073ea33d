//! A forward proxy that is also every server behind it: it ends TLS with a certificate of the test,
//! and answers for the host that a client asks for.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::apis::{APIS, Api};
use super::zone::Zone;

/// A request.
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    query: String,
    /// Headers and body as they came, which a server may echo.
    pub(crate) whole: String,
    pub(crate) body: String,
    /// The body, if it is JSON.
    pub(crate) json: Value,
}

impl Asked {
    /// Reads the next request; `None` at the end of the connection.
    pub(crate) async fn read(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Self> {
        let (mut whole, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            whole += &line;
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let body = String::from_utf8_lossy(&body).into_owned();
        let mut first = whole.split_whitespace();
        let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let json = serde_json::from_str(&body).unwrap_or_default();
        let (path, query) = (path.to_owned(), query.to_owned());
        Some(Self { method, path, query, whole: whole + &body, body, json })
    }

    /// Parts of the path.
    pub(crate) fn parts(&self) -> Vec<&str> {
        self.path.split('/').filter(|part| !part.is_empty()).collect()
    }

    /// A parameter of the query.
    pub(crate) fn query(&self, name: &str) -> String {
        let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
    }
}

/// Zones by provider, and the status that answers in place of all others.
#[derive(Clone, Default)]
pub(crate) struct Services {
    zones: Arc<Mutex<BTreeMap<&'static str, Zone>>>,
    trouble: Arc<Mutex<Option<u16>>>,
}

impl Services {
    /// Values of the challenge at a provider.
    pub(crate) fn values(&self, provider: &'static str) -> Vec<String> {
        let mut values =
            self.zones.lock().unwrap().entry(provider).or_default().values(super::zone::NAME);
        values.sort();
        values
    }

    /// All records of a provider.
    pub(crate) fn count(&self, provider: &'static str) -> usize {
        self.zones.lock().unwrap().entry(provider).or_default().all().len()
    }

    /// Answers everything with this status and an echo of the request.
    pub(crate) fn trouble(&self, status: Option<u16>) {
        *self.trouble.lock().unwrap() = status;
    }

    /// Serves for ever.
    pub(crate) async fn serve(self, listener: TcpListener, tls: ServerConfig) {
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (services, acceptor) = (self.clone(), acceptor.clone());
            tokio::spawn(async move { services.connection(stream, acceptor).await });
        }
    }

    /// `None` at the end of the connection.
    async fn connection(&self, mut stream: TcpStream, acceptor: TlsAcceptor) -> Option<()> {
        let mut head = BufReader::new(&mut stream);
        let mut first = String::new();
        head.read_line(&mut first).await.ok()?;
        let host = first.strip_prefix("CONNECT ")?.split(':').next()?.to_owned();
        while head.read_line(&mut first).await.ok()? > 2 {}
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
        let api = APIS.iter().find(|api| api.hosts.contains(&host.as_str()))?;
        let mut stream = BufReader::new(acceptor.accept(stream).await.ok()?);
        loop {
            let asked = Asked::read(&mut stream).await?;
            let (status, body) = self.answer(api, &asked);
            let mut text = String::new();
            let length = body.len();
            write!(
                text,
                "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nRetry-After: 0\r\n\r\n{body}"
            )
            .unwrap();
            stream.write_all(text.as_bytes()).await.ok()?;
            stream.flush().await.ok()?;
        }
    }

    fn answer(&self, api: &Api, asked: &Asked) -> (u64, String) {
        if let Some(status) = *self.trouble.lock().unwrap() {
            return (u64::from(status), asked.whole.clone());
        }
        let mut zones = self.zones.lock().unwrap();
        match (api.answer)(zones.entry(api.provider).or_default(), asked) {
            None => (404, "{}".to_owned()),
            Some(Value::String(text)) => (200, text),
            Some(value) => (value["stand-in-status"].as_u64().unwrap_or(200), value.to_string()),
        }
    }
}
