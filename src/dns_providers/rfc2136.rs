//! Dynamic updates (RFC 2136), signed with a TSIG key (RFC 8945), over TCP.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, Engine};
use hickory_proto::op::update_message::{append, delete_by_rdata};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::rdata::tsig::{TsigAlgorithm, TsigError};
use hickory_proto::rr::{Name, RData, RecordSet, RecordType, TSigVerifier, TSigner};
use ingress_acme_actors::domain::dns::txt::TxtRecord;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::ports::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::credentials::Credentials;
use super::error::{Kind, ProviderError};
use super::records::{TTL, Writer};

/// Port of DNS.
const PORT: u16 = 53;
/// Algorithm of a key that names none: the one that `tsig-keygen` of BIND chooses.
const ALGORITHM: &str = "hmac-sha256";
/// Difference of the clocks that a signature allows, in seconds (RFC 8945 §10).
const FUDGE: u16 = 300;

/// A name server that takes updates, and a key for it.
pub(super) struct Rfc2136 {
    /// Host and port; the host is resolved at each write, because the server of a cluster moves.
    server: String,
    signer: TSigner,
    clock: Arc<dyn Clock + Send + Sync>,
}

/// The change of one update.
#[derive(Clone, Copy)]
enum Change {
    Add,
    Remove,
}

impl Rfc2136 {
    /// Reads `server`, `tsig-key-name`, `tsig-secret` and `tsig-algorithm`.
    pub(super) fn new(
        credentials: &Credentials,
        clock: Arc<dyn Clock + Send + Sync>,
    ) -> Result<Self, String> {
        let server = with_port(credentials.get("server"))
            .ok_or("key `server` is not `HOST`, `HOST:PORT` or `[IPV6]:PORT`")?;
        let key = BASE64_STANDARD.decode(credentials.get("tsig-secret"));
        let key = key.map_err(|_| "key `tsig-secret` is not Base64")?;
        let name = Name::from_ascii(credentials.get("tsig-key-name"));
        let name = name.map_err(|_| "key `tsig-key-name` is not a DNS name")?;
        let algorithm = credentials.some("tsig-algorithm").unwrap_or(ALGORITHM);
        let algorithm =
            Name::from_ascii(algorithm.to_ascii_lowercase()).map(TsigAlgorithm::from_name);
        let algorithm = algorithm.ok().filter(TsigAlgorithm::supported);
        let algorithm = algorithm.ok_or(
            "key `tsig-algorithm` is none of hmac-sha256, hmac-sha384, hmac-sha512, hmac-sha1",
        )?;
        let signer = TSigner::new(key, algorithm, name, FUDGE);
        let signer = signer.map_err(|error| format!("the key of TSIG cannot be used: {error}"))?;
        Ok(Self { server, signer, clock })
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, ProviderError> {
        let found = tokio::net::lookup_host(&self.server).await;
        let wrong = |error: std::io::Error| {
            ProviderError::new(Kind::Passing, format!("{} is not resolved: {error}", self.server))
        };
        Ok(found.map_err(wrong)?.take(limits::PROBE_ATTEMPTS).collect())
    }

    /// Asks one address after the other, until one accepts a connection and answers.
    async fn change(&self, change: Change, record: &TxtRecord) -> Result<(), ProviderError> {
        let mut last = format!("{} has no address", self.server);
        for address in self.addresses().await? {
            let (message, verifier) = self.update(change, record)?;
            let asked = exchange(address, &message);
            match tokio::time::timeout(limits::DNS_PROVIDER_REQUEST, asked).await {
                Ok(Ok(answer)) => return self.check(&answer, verifier, record),
                Ok(Err(error)) => last = format!("no answer of {address}: {error}"),
                Err(_) => last = format!("{address} does not answer"),
            }
        }
        Err(ProviderError::new(Kind::Passing, last))
    }

    /// The signed message (RFC 2136 §2.5.1, §2.5.4), and what verifies its answer.
    fn update(
        &self,
        change: Change,
        record: &TxtRecord,
    ) -> Result<(Vec<u8>, TSigVerifier), ProviderError> {
        let wrong = |error: String| ProviderError::new(Kind::Request, error);
        let name = |name: &str| {
            Name::from_ascii(format!("{name}.")).map_err(|error| wrong(error.to_string()))
        };
        let (owner, zone) = (name(record.name.as_str())?, name(record.zone.as_str())?);
        // hickory would panic.
        if !zone.zone_of(&owner) {
            return Err(wrong(format!("{owner} is not in zone {zone}")));
        }
        let mut values = RecordSet::with_ttl(owner, RecordType::TXT, TTL);
        values.add_rdata(RData::TXT(TXT::new(vec![record.value.clone()])));
        let mut message = match change {
            Change::Add => append(values, zone, false, false),
            Change::Remove => delete_by_rdata(values, zone, false),
        };
        let now = u64::try_from(self.clock.now().as_secs()).unwrap_or_default();
        let verifier = message.finalize(&self.signer, now);
        let verifier = verifier.map_err(|error| wrong(error.to_string()))?;
        let verifier = verifier.ok_or_else(|| wrong("the update is not signed".to_owned()))?;
        let bytes = message.to_vec().map_err(|error| wrong(error.to_string()))?;
        Ok((bytes, verifier))
    }

    /// Reads the answer. That of a server which does not know the key is not signed (RFC 8945
    /// §5.3.2), so that only success is verified.
    fn check(
        &self,
        answer: &[u8],
        mut verifier: TSigVerifier,
        record: &TxtRecord,
    ) -> Result<(), ProviderError> {
        let unreadable = |error: String| {
            let words = format!("{} gives an answer that is not accepted: {error}", self.server);
            ProviderError::new(Kind::Passing, words)
        };
        let message = Message::from_vec(answer).map_err(|error| unreadable(error.to_string()))?;
        if message.response_code == ResponseCode::NoError {
            return verifier
                .verify(answer)
                .map(drop)
                .map_err(|error| unreadable(error.to_string()));
        }
        let code = message.response_code;
        let error = message.signature().and_then(|signature| signature.data.error);
        let (kind, why) = refused(code, error);
        let (server, zone) = (&self.server, &record.zone);
        Err(ProviderError::new(kind, format!("{server} answers `{code}` for zone {zone}: {why}")))
    }
}

/// What a response code means (RFC 2136 §2.2, RFC 8945 §5.3).
fn refused(code: ResponseCode, error: Option<TsigError>) -> (Kind, &'static str) {
    match (code, error) {
        (_, Some(TsigError::BadKey)) => (Kind::Credentials, "it does not know the TSIG key"),
        (_, Some(TsigError::BadSig)) => {
            (Kind::Credentials, "the secret of the TSIG key is another")
        }
        (_, Some(TsigError::BadTime)) => {
            (Kind::Passing, "its clock and that of the operator differ by minutes")
        }
        (ResponseCode::NotAuth | ResponseCode::NotZone, _) => {
            (Kind::Zone, "it does not serve the zone")
        }
        (ResponseCode::Refused, _) => {
            (Kind::Credentials, "the TSIG key may not update this name, or the zone is not served")
        }
        (ResponseCode::ServFail, _) => (Kind::Passing, "it could not write the zone"),
        _ => (Kind::Request, "the update is refused"),
    }
}

/// Sends a message over TCP (RFC 7766 §8), and returns the answer: 64 KiB at most, by its length
/// field.
async fn exchange(address: SocketAddr, message: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let length = u16::try_from(message.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[async_trait]
impl Writer for Rfc2136 {
    async fn add(&self, record: &TxtRecord) -> Result<(), ProviderError> {
        self.change(Change::Add, record).await
    }

    async fn remove(&self, record: &TxtRecord) -> Result<(), ProviderError> {
        self.change(Change::Remove, record).await
    }
}

/// The server with its port. An address of IPv6 is in brackets where a port follows.
fn with_port(server: &str) -> Option<String> {
    if server.parse::<std::net::Ipv6Addr>().is_ok() {
        return Some(format!("[{server}]:{PORT}"));
    }
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && !port.contains(']') => {
            (host, port.parse().ok()?)
        }
        _ => (server, PORT),
    };
    let is_ipv6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_ipv6 = is_ipv6.is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
    let legal = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_');
    let is_name = !host.is_empty() && host.bytes().all(legal);
    (is_ipv6 || is_name).then(|| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_response_code_has_its_class() {
        let cases = [
            (ResponseCode::NotAuth, Some(TsigError::BadKey), Kind::Credentials),
            (ResponseCode::NotAuth, Some(TsigError::BadSig), Kind::Credentials),
            (ResponseCode::NotAuth, Some(TsigError::BadTime), Kind::Passing),
            (ResponseCode::NotAuth, None, Kind::Zone),
            (ResponseCode::NotZone, None, Kind::Zone),
            (ResponseCode::Refused, None, Kind::Credentials),
            (ResponseCode::ServFail, None, Kind::Passing),
            (ResponseCode::FormErr, None, Kind::Request),
        ];
        for (code, error, kind) in cases {
            assert_eq!(refused(code, error).0, kind, "{code} {error:?}");
        }
    }

    #[test]
    fn a_server_is_a_host_or_an_address_with_or_without_a_port() {
        let cases = [
            ("ns1.example.com", Some("ns1.example.com:53")),
            ("bind.dns.svc:5353", Some("bind.dns.svc:5353")),
            ("192.0.2.1", Some("192.0.2.1:53")),
            ("2001:db8::1", Some("[2001:db8::1]:53")),
            ("[2001:db8::1]", Some("[2001:db8::1]:53")),
            ("[2001:db8::1]:5353", Some("[2001:db8::1]:5353")),
            ("", None),
            ("tcp://192.0.2.1", None),
            ("ns1.example.com:dns", None),
            ("[ns1]:53", None),
        ];
        for (server, expected) in cases {
            assert_eq!(with_port(server).as_deref(), expected, "{server}");
        }
    }
}
