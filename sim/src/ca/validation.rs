//! Validation of names: over HTTP (RFC 8555 §8.3), with requests to hosts and the wording of
//! failures, or in DNS.
//!
//! Names are resolved with the simulated DNS zone, as a resolver that validates DNSSEC; the
//! validation port replaces port 80 of every host. The network of the CA asks first, then the
//! remote networks, then the CAA records are looked up.

mod caa;
mod in_dns;
mod networks;

use std::error::Error;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HOST, LOCATION};
use reqwest::{Client, StatusCode, Url};

use super::core::Validation;
use super::names::base;
use super::orders::Kind;
use super::problem::Problem;
use crate::SimError;
use crate::dns::{NOBODY, Record, Trouble, Zone};
use crate::exchange::{Body, InProcess, Request, Response};

use networks::Network;
pub(super) use networks::Networks;

/// Label before a name for DNS-01 (RFC 8555 §8.4).
const CHALLENGE: &str = "_acme-challenge";
/// Label before a name for DNS-PERSIST-01.
const PERSISTENT: &str = "_validation-persist";
/// Largest number of redirects followed.
const REDIRECTS: usize = 10;
/// Largest part of an answer that is read, in bytes.
const ANSWER_MAX: usize = 512;
/// User agent sent to the hosts.
const USER_AGENT: &str = "Mozilla/5.0 (compatible; ingress-acme simulated validation server)";

/// Client that sends validation requests.
pub(super) struct Validator {
    wire: Wire,
    zone: Zone,
    pub(super) networks: Networks,
}

/// Way to the hosts.
enum Wire {
    /// Over sockets, to this port in place of port 80.
    Sockets(Client, u16),
    /// To the gateway of the same process, with a time limit.
    InProcess(InProcess, Duration),
}

/// Response of a host: status, `Location`, and the first part of a body that was not cut.
struct Fetched {
    status: StatusCode,
    location: Option<String>,
    body: Option<Vec<u8>>,
}

impl Validator {
    /// Creates a validator. `port` replaces port 80; `patience` limits each request.
    pub(super) fn new(
        zone: Zone,
        port: u16,
        patience: Duration,
        networks: Networks,
    ) -> Result<Self, SimError> {
        // The crypto provider of this crate, independent of the process default.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let client = Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(patience)
            .timeout(patience)
            .user_agent(USER_AGENT)
            .build()?;
        Ok(Self { wire: Wire::Sockets(client, port), zone, networks })
    }

    /// Creates a validator whose requests go to `hosts`, a gateway of the same process.
    pub(super) fn in_process(
        zone: Zone,
        hosts: InProcess,
        patience: Duration,
        networks: Networks,
    ) -> Self {
        Self { wire: Wire::InProcess(hosts, patience), zone, networks }
    }

    /// Checks that every network sees the answer to the challenge, but for those that the quorum
    /// may miss, and that its CAA records let this account have a certificate.
    pub(super) async fn validate(
        &self,
        wanted: &Validation,
        account_url: &str,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let from = async |network| match wanted.kind {
            Kind::Http01 => self.over_http(network, wanted).await,
            Kind::Dns01 => in_dns::challenge(&self.texts(network, wanted, CHALLENGE)?, wanted),
            Kind::DnsPersist01 => {
                let records = self.texts(network, wanted, PERSISTENT)?.1;
                in_dns::persistent(&records, &wanted.name, account_url, now)
            }
        };
        from(Network::Own).await?;
        self.networks.corroborate(from).await?;
        caa::check(&self.zone, (&wanted.name, wanted.kind), account_url)
    }

    /// The name with this label before it, and its TXT records.
    fn texts(
        &self,
        network: Network,
        wanted: &Validation,
        label: &str,
    ) -> Result<(String, Vec<String>), Problem> {
        let domain = base(&wanted.name);
        let name = format!("{label}.{domain}");
        if self.networks.is_blocked(network, domain) {
            let detail = format!("DNS problem: query timed out looking up TXT for {name}");
            return Err(Problem::new(400, "dns", detail));
        }
        let found = self.zone.txt_validated(&name).map_err(|trouble| dns(trouble, "TXT", &name))?;
        Ok((name, found))
    }

    async fn over_http(&self, network: Network, wanted: &Validation) -> Result<(), Problem> {
        let Validation { name, token, answer, .. } = wanted;
        let url = format!("http://{name}/.well-known/acme-challenge/{token}");
        let mut url = Url::parse(&url).map_err(|wrong| Problem::malformed(wrong.to_string()))?;
        for _ in 0..=REDIRECTS {
            let (address, response) = self.fetch(network, &url).await?;
            if !response.status.is_redirection() {
                return check_response(&url, address, response, answer);
            }
            url = next(&url, address, &response)?;
        }
        Err(connection(&format!("Fetching {url}: Too many redirects")))
    }

    async fn fetch(&self, network: Network, url: &Url) -> Result<(Ipv4Addr, Fetched), Problem> {
        let host = url.host_str().unwrap_or_default();
        let address = self.resolve(host)?;
        if self.networks.is_blocked(network, host) {
            let what = "Timeout during connect (likely firewall problem)";
            return Err(connection(&format!("{address}: Fetching {url}: {what}")));
        }
        let query = url.query().map_or_else(String::new, |query| format!("?{query}"));
        let path = format!("{}{query}", url.path());
        let fetched = match &self.wire {
            Wire::Sockets(client, port) => {
                let (scheme, port) =
                    (url.scheme(), if url.scheme() == "http" { *port } else { 443 });
                let real = format!("{scheme}://{address}:{port}{path}");
                match client.get(real).header(HOST, host).send().await {
                    Ok(response) => Ok(fetched(response).await),
                    Err(error) => Err(cause(&error)),
                }
            }
            Wire::InProcess(_, _) if !address.is_loopback() || address == NOBODY => {
                Err("Connection refused")
            }
            Wire::InProcess(hosts, patience) => {
                let asked = hosts(Request::new("GET", host, &path));
                let late = |_| "Timeout after connect (your server may be slow or overloaded)";
                tokio::time::timeout(*patience, asked).await.map_err(late).map(of_process)
            }
        };
        let failed = |why| connection(&format!("{address}: Fetching {url}: {why}"));
        Ok((address, fetched.map_err(failed)?))
    }

    fn resolve(&self, host: &str) -> Result<Ipv4Addr, Problem> {
        let found = self.zone.resolve_validated(host, Record::Address);
        found.map_err(|trouble| dns(trouble, "A", host))
    }
}

/// Problem of a look-up, in the words of Boulder (`bdns/problem.go`).
fn dns(trouble: Trouble, kind: &str, name: &str) -> Problem {
    let (code, why) = match trouble {
        Trouble::NxDomain => ("NXDOMAIN", "check that a DNS record exists for this domain"),
        _ => ("SERVFAIL", "the domain's nameservers may be malfunctioning"),
    };
    let detail = format!("DNS problem: {code} looking up {kind} for {name} - {why}");
    Problem::new(400, "dns", detail)
}

/// Reads a response that came over a socket.
async fn fetched(mut response: reqwest::Response) -> Fetched {
    let status = response.status();
    let location = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
    let location = location.map(str::to_owned);
    let mut body = Some(Vec::new());
    while let Some(read) = body.as_mut().filter(|read| read.len() < ANSWER_MAX) {
        if status != StatusCode::OK {
            break;
        }
        match response.chunk().await {
            Ok(Some(chunk)) => read.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(_) => body = None,
        }
    }
    Fetched { status, location, body }
}

fn of_process(response: Response) -> Fetched {
    let mut headers = response.headers.into_iter();
    Fetched {
        status: StatusCode::from_u16(response.status).unwrap_or(StatusCode::BAD_GATEWAY),
        location: headers.find(|(name, _)| *name == "location").map(|(_, value)| value),
        body: if let Body::Whole(body) = response.body { Some(body.to_vec()) } else { None },
    }
}

/// Returns the target of a redirect, which must have port 80 or 443.
fn next(url: &Url, address: Ipv4Addr, response: &Fetched) -> Result<Url, Problem> {
    let bad =
        |what: &str| connection(&format!("{address}: Fetching {url}: Invalid {what} in redirect"));
    let location = response.location.as_deref();
    let next = url.join(location.ok_or_else(|| bad("location"))?).map_err(|_| bad("location"))?;
    let known = matches!(next.port_or_known_default(), Some(80 | 443));
    if !matches!(next.scheme(), "http" | "https") {
        return Err(bad("protocol scheme"));
    }
    if known { Ok(next) } else { Err(bad("port")) }
}

fn check_response(
    url: &Url,
    address: Ipv4Addr,
    response: Fetched,
    answer: &str,
) -> Result<(), Problem> {
    let status = response.status;
    if status != StatusCode::OK {
        let status = status.as_u16();
        let detail = format!("{address}: Invalid response from {url}: {status}");
        return Err(Problem::unauthorized(detail));
    }
    let cut =
        || connection(&format!("{address}: Fetching {url}: Error reading HTTP response body"));
    let mut body = response.body.ok_or_else(cut)?;
    body.truncate(ANSWER_MAX);
    let body = String::from_utf8_lossy(&body);
    if body.trim_end() == answer {
        return Ok(());
    }
    let got = body.trim_end();
    Err(Problem::unauthorized(format!(
        "The key authorization file from the server did not match this challenge. Expected {answer:?} (got {got:?})"
    )))
}

fn connection(detail: &str) -> Problem {
    Problem::new(400, "connection", detail)
}

/// Short description of a failed connection.
fn cause(error: &reqwest::Error) -> &'static str {
    let mut source = error.source();
    while let Some(error) = source {
        match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
            Some(ErrorKind::ConnectionRefused) => return "Connection refused",
            Some(ErrorKind::ConnectionReset) => return "Connection reset by peer",
            _ => source = error.source(),
        }
    }
    match (error.is_timeout(), error.is_connect()) {
        (true, true) => "Timeout during connect (likely firewall problem)",
        (true, false) => "Timeout after connect (your server may be slow or overloaded)",
        _ => "Error getting validation data",
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// Validates `a.example.com` at a host that sends these answers in turn. Returns the result and
    /// the requests the host received.
    async fn validate(answers: &[&str]) -> (Result<(), Problem>, Vec<String>) {
        let host = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = host.local_addr().unwrap().port();
        let validator = Validator::new(Zone::default(), port, SOON, Networks::new(0)).unwrap();
        let wanted = Validation {
            authorization: 1,
            kind: Kind::Http01,
            name: "a.example.com".to_owned(),
            token: "token".to_owned(),
            answer: "token.thumbprint".to_owned(),
        };
        let mut asked = Vec::new();
        let serve = async {
            for answer in answers {
                let (mut connection, _) = host.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let length = connection.read(&mut request).await.unwrap();
                asked.push(String::from_utf8_lossy(&request[..length]).into_owned());
                let answer = format!("HTTP/1.1 {answer}");
                connection.write_all(answer.as_bytes()).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let outcome = tokio::select! {
            outcome = validator.validate(&wanted, "account", Timestamp::UNIX_EPOCH) => outcome,
            () = serve => unreachable!("it waits for ever"),
        };
        (outcome, asked)
    }

    fn redirect(to: &str) -> String {
        format!("302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    }

    const GOOD: &str = "200 OK\r\nconnection: close\r\n\r\ntoken.thumbprint\n";

    #[tokio::test]
    async fn a_redirect_is_followed_to_another_host_and_its_port_80_is_the_validation_port() {
        let there = redirect("http://b.example.com/else?where");
        let (outcome, asked) = validate(&[&there, GOOD]).await;
        assert_eq!(outcome, Ok(()));
        assert!(asked[0].contains("host: a.example.com\r\n"), "{}", asked[0]);
        assert!(asked[1].starts_with("GET /else?where "), "{}", asked[1]);
        assert!(asked[1].contains("host: b.example.com\r\n"), "{}", asked[1]);
    }

    #[tokio::test]
    async fn redirects_have_an_end_and_lead_only_to_ports_80_and_443() {
        let round = redirect("/again");
        let (outcome, asked) = validate(&[round.as_str(); REDIRECTS + 1]).await;
        assert!(outcome.unwrap_err().detail.contains("Too many redirects"));
        assert_eq!(asked.len(), REDIRECTS + 1);
        let (outcome, _) = validate(&[&redirect("http://a.example.com:8080/")]).await;
        assert!(outcome.unwrap_err().detail.ends_with("Invalid port in redirect"));
    }

    #[tokio::test]
    async fn an_endless_answer_is_not_read_to_its_end() {
        let long = format!("200 OK\r\nconnection: close\r\n\r\n{}", "a".repeat(10_000));
        let (outcome, _) = validate(&[&long]).await;
        let problem = outcome.unwrap_err();
        assert_eq!(problem.kind, "unauthorized");
        assert!(problem.detail.len() < 2 * ANSWER_MAX, "{}", problem.detail.len());
    }
}
