//! DNS server on UDP and TCP (RFC 1035): resolves every name to 127.0.0.1, except names with
//! simulated trouble. It answers as a resolver does, and also to questions that are meant for the
//! authoritative servers of a zone.

mod provider;
mod records;
mod zone;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NS, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record as ResourceRecord, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable};

use crate::SimError;
pub use provider::Provider;
pub(crate) use records::ALIASES;
pub use records::Writes;
use records::normal;
pub use zone::{Issue, Trouble, Zone};
pub(crate) use zone::{NOBODY, Record};

/// Size of the query buffer, in bytes. Queries without EDNS are shorter (RFC 1035 §2.3.4), and ours
/// have one name.
const QUESTION_MAX: usize = 1232;
/// Longest answer over UDP, in bytes (RFC 9715 §3.2).
const ANSWER_MAX: usize = 1232;
/// Attempts to find a port that is free in UDP and TCP.
const SOCKET_ATTEMPTS: usize = 100;
/// Time that a client over TCP has for its question.
const PATIENCE: Duration = Duration::from_secs(1);
/// Interval at which the thread of UDP checks for shutdown.
const LOOK: Duration = Duration::from_millis(50);
/// TTL of all answers, because a test may change a name at any time.
const TTL: u32 = 0;

/// A running DNS server. Dropping the value stops the server.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    zone: Zone,
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Dns {
    /// Starts the server on a free port of loopback.
    pub fn start() -> Result<Self, SimError> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Starts the server at this address, such as one for `/etc/resolv.conf`, which names no ports.
    pub fn start_at(address: SocketAddr) -> Result<Self, SimError> {
        let failed = || SimError::io("start the DNS server");
        let (udp, tcp) = sockets(address).map_err(failed())?;
        let address = udp.local_addr().map_err(failed())?;
        udp.set_read_timeout(Some(LOOK)).map_err(failed())?;
        let (zone, ended) = (Zone::default(), Arc::new(AtomicBool::new(false)));
        let (of_udp, of_tcp) = (zone.clone(), zone.clone());
        let (udp_end, tcp_end) = (Arc::clone(&ended), Arc::clone(&ended));
        let named = || thread::Builder::new().name("dns".into());
        let udp = named().spawn(move || serve_udp(&udp, &of_udp, &udp_end)).map_err(failed())?;
        let tcp = named().spawn(move || serve_tcp(&tcp, &of_tcp, &tcp_end)).map_err(failed())?;
        Ok(Self { address, zone, ended, threads: vec![udp, tcp] })
    }

    /// Address of the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Names of the server.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        _ = TcpStream::connect(self.address); // wakes the thread that accepts
        for thread in self.threads.drain(..) {
            _ = thread.join();
        }
    }
}

/// Opens both sockets on one port. A free port of UDP may be taken in TCP.
fn sockets(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    for _ in 0..SOCKET_ATTEMPTS {
        let udp = UdpSocket::bind(address)?;
        match TcpListener::bind(udp.local_addr()?) {
            Err(_) if address.port() == 0 => {}
            tcp => return Ok((udp, tcp?)),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

fn serve_udp(socket: &UdpSocket, zone: &Zone, ended: &AtomicBool) {
    let mut question = [0; QUESTION_MAX];
    while !ended.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
        if let Some(answer) = answered(&question[..length], zone, ANSWER_MAX) {
            _ = socket.send_to(&answer, from); // the client may be gone
        }
    }
}

/// Answers one question of each connection, after which clients ask over UDP again.
fn serve_tcp(listener: &TcpListener, zone: &Zone, ended: &AtomicBool) {
    for connection in listener.incoming() {
        if ended.load(Ordering::Relaxed) {
            return;
        }
        _ = connection.and_then(|connection| answer_one(connection, zone)); // it may be gone
    }
}

fn answer_one(mut connection: TcpStream, zone: &Zone) -> io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut length = [0; 2];
    connection.read_exact(&mut length)?;
    let mut question = vec![0; u16::from_be_bytes(length).into()];
    connection.read_exact(&mut question)?;
    let answer = answered(&question, zone, u16::MAX.into()).unwrap_or_default();
    let length = u16::try_from(answer.len()).unwrap_or(u16::MAX).to_be_bytes();
    connection.write_all(&[&length[..], &answer].concat())
}

/// The answer to a question; one that is longer than `longest` is cut, so that the client asks over
/// TCP (RFC 2181 §9).
fn answered(question: &[u8], zone: &Zone, longest: usize) -> Option<Vec<u8>> {
    let asked = Message::from_bytes(question).ok()?;
    let mut answer = answer(&asked, zone);
    let bytes = answer.to_bytes().ok()?;
    if bytes.len() <= longest {
        return Some(bytes);
    }
    answer.metadata.truncation = true;
    answer.answers.clear();
    answer.to_bytes().ok()
}

/// Returns the records of the name; for types without any, a success without records (RFC 2308
/// §2.2). Aliases are followed, and stand in the answer.
fn answer(asked: &Message, zone: &Zone) -> Message {
    let mut answer = Message::response(asked.metadata.id, OpCode::Query);
    answer.metadata.recursion_desired = asked.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.metadata.authoritative = !asked.metadata.recursion_desired;
    let Some(query) = asked.queries.first() else { return answer };
    answer.add_query(query.clone());
    let kind = query.query_type();
    let mut name = normal(&query.name().to_ascii());
    for _ in 0..ALIASES {
        let Some(target) = zone.alias(&name) else { break };
        let data = of_name(&target).map(|target| RData::CNAME(CNAME(target)));
        answer.add_answers(data.and_then(|data| record(&name, data)));
        if kind == RecordType::CNAME {
            return answer;
        }
        name = target;
    }
    match zone.resolve(&name) {
        Ok(address) => {
            let found = records(zone, &name, kind, address);
            answer.add_answers(found.into_iter().filter_map(|data| record(&name, data)));
        }
        Err(Trouble::NxDomain) => answer.metadata.response_code = ResponseCode::NXDomain,
        Err(_) => answer.metadata.response_code = ResponseCode::ServFail,
    }
    answer
}

/// Records of this type at a name without an alias.
fn records(zone: &Zone, name: &str, kind: RecordType, address: Ipv4Addr) -> Vec<RData> {
    match kind {
        RecordType::A => vec![RData::A(A(address))],
        RecordType::CAA => zone.caa(name).into_iter().map(RData::CAA).collect(),
        RecordType::TXT => {
            let texts = zone.txt(name).unwrap_or_default();
            texts.iter().map(|text| RData::TXT(txt(text))).collect()
        }
        RecordType::NS => {
            let servers = zone.servers(name).unwrap_or_default();
            servers.iter().filter_map(|server| Some(RData::NS(NS(of_name(server)?)))).collect()
        }
        RecordType::SOA => {
            let servers = zone.servers(name).unwrap_or_default();
            let primary = servers.first().and_then(|server| of_name(server));
            let soa = |name: Name| SOA::new(name.clone(), name, 1, 1, 1, 1, TTL);
            primary.map(|name| RData::SOA(soa(name))).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// A TXT record, whose text is split into strings of 255 octets (RFC 1035 §3.3).
fn txt(text: &str) -> TXT {
    TXT::from_bytes(text.as_bytes().chunks(255).collect())
}

fn of_name(name: &str) -> Option<Name> {
    format!("{name}.").parse().ok()
}

fn record(name: &str, data: RData) -> Option<ResourceRecord> {
    Some(ResourceRecord::from_rdata(of_name(name)?, TTL, data))
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{MessageType, Query};

    use super::*;

    fn ask(zone: &Zone, name: &str, kind: RecordType) -> (ResponseCode, usize) {
        let mut question = Message::new(7, MessageType::Query, OpCode::Query);
        question.add_query(Query::query(name.parse::<Name>().unwrap(), kind));
        let answer = answer(&question, zone);
        assert_eq!(answer.metadata.id, 7);
        (answer.metadata.response_code, answer.answers.len())
    }

    #[test]
    fn every_name_is_at_loopback_and_has_no_other_records() {
        let zone = Zone::default();
        assert_eq!(ask(&zone, "a.example.", RecordType::A), (ResponseCode::NoError, 1));
        assert_eq!(ask(&zone, "a.example.", RecordType::AAAA), (ResponseCode::NoError, 0));
    }

    #[test]
    fn trouble_holds_for_a_name_and_all_under_it_until_it_is_over() {
        let zone = Zone::default();
        zone.set("Example.org", Some(Trouble::NxDomain));
        zone.set("x.example.net", Some(Trouble::ServFail));
        assert_eq!(ask(&zone, "a.b.example.org.", RecordType::A), (ResponseCode::NXDomain, 0));
        assert_eq!(ask(&zone, "X.example.net.", RecordType::AAAA), (ResponseCode::ServFail, 0));
        assert_eq!(zone.resolve("example.net"), Ok(Ipv4Addr::LOCALHOST));
        zone.set("example.org", Some(Trouble::Dead));
        assert_eq!(zone.resolve("a.example.org."), Ok(NOBODY));
        zone.exempt("a.example.org");
        assert_eq!(zone.resolve("a.example.org"), Ok(Ipv4Addr::LOCALHOST));
        assert_eq!(zone.resolve("b.example.org"), Ok(NOBODY));
        zone.set("example.org", None);
        assert_eq!(zone.resolve("b.example.org"), Ok(Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn wrong_signatures_are_seen_by_a_resolver_that_validates_and_by_no_other() {
        let zone = Zone::default();
        zone.set("example.net", Some(Trouble::Bogus));
        zone.set("example.org", Some(Trouble::BogusCaa));
        for name in ["a.example.net", "a.example.org"] {
            for kind in [RecordType::A, RecordType::CAA] {
                assert_eq!(ask(&zone, &format!("{name}."), kind).0, ResponseCode::NoError);
            }
        }
        let validated = |name, record| zone.resolve_validated(name, record).err();
        for record in [Record::Address, Record::Caa] {
            assert_eq!(validated("a.example.net", record), Some(Trouble::Bogus));
        }
        assert_eq!(validated("a.example.org", Record::Address), None);
        assert_eq!(validated("a.example.org", Record::Caa), Some(Trouble::BogusCaa));
    }

    #[test]
    fn records_are_found_behind_aliases_and_zones_have_their_servers() {
        let zone = Zone::default();
        let counts = |name: &str, kind| ask(&zone, name, kind).1;
        let challenge = "_acme-challenge.a.example.com.";
        zone.set_alias(challenge, Some("a.acme.example.net"));
        zone.add_txt("a.acme.example.net", &"x".repeat(600));
        zone.add_txt("a.acme.example.net", "two");
        assert_eq!(counts(challenge, RecordType::CNAME), 1);
        assert_eq!(counts(challenge, RecordType::TXT), 3, "the alias and two texts");
        assert_eq!(zone.txt(challenge).unwrap().len(), 2);
        assert_eq!(counts("a.acme.example.net.", RecordType::SOA), 0);
        for kind in [RecordType::SOA, RecordType::NS] {
            assert_eq!(counts("example.net.", kind), 1, "{kind}");
        }
        zone.set_alias("a.acme.example.net", Some(challenge));
        assert_eq!(ask(&zone, challenge, RecordType::TXT).0, ResponseCode::ServFail);
        assert_eq!(zone.txt(challenge), Err(Trouble::ServFail));
    }

    #[test]
    fn it_answers_over_a_socket_until_it_is_dropped() {
        let dns = Dns::start().unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut question = Message::new(9, MessageType::Query, OpCode::Query);
        question.add_query(Query::query("a.example.".parse::<Name>().unwrap(), RecordType::A));
        client.send_to(&question.to_bytes().unwrap(), dns.address()).unwrap();
        let mut answer = [0; 512];
        let (length, _) = client.recv_from(&mut answer).unwrap();
        assert_eq!(Message::from_bytes(&answer[..length]).unwrap().answers.len(), 1);
        let address = dns.address();
        drop(dns);
        assert!(UdpSocket::bind(address).is_ok());
    }
}
