//! DNS server on UDP (RFC 1035): resolves every name to 127.0.0.1, except names with simulated
//! trouble.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::caa::KeyValue;
use hickory_proto::rr::rdata::{A, CAA};
use hickory_proto::rr::{RData, Record as ResourceRecord, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable};

use crate::SimError;

/// Size of the query buffer, in bytes. Queries without EDNS are shorter (RFC 1035 §2.3.4), and ours
/// have one name.
const QUESTION_MAX: usize = 1232;
/// Interval at which the thread checks for shutdown.
const LOOK: Duration = Duration::from_millis(50);
/// TTL of all answers, because a test may change a name at any time.
const TTL: u32 = 0;

/// Simulated failure of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The name does not exist.
    NxDomain,
    /// The name server fails.
    ServFail,
    /// The name resolves to an address without a listener.
    Dead,
    /// The DNSSEC signatures of the name are wrong: a resolver that validates answers SERVFAIL (RFC
    /// 4035 §5.5), as those of CAs must (CA/B Forum ballot SC-085v2), and any other one resolves
    /// the name.
    Bogus,
    /// Only the CAA look-ups of the name are so.
    BogusCaa,
}

/// Type of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Address,
    Caa,
}

/// Address for [`Trouble::Dead`]: on loopback, without any simulated server.
pub(crate) const NOBODY: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 254);

/// An `issue` property (RFC 8659 §4.2): the CA, if any, and its parameters.
pub type Issue<'a> = (Option<&'a str>, &'a [(&'a str, &'a str)]);

fn caa_record((ca, parameters): &Issue<'_>) -> CAA {
    let options = parameters.iter().map(|(key, value)| KeyValue::new(*key, *value)).collect();
    CAA::new_issue(false, ca.and_then(|ca| ca.parse().ok()), options)
}

/// Names with trouble, each including all names below, and CAA records. Clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Zone(
    Arc<RwLock<HashMap<String, Option<Trouble>>>>,
    Arc<RwLock<HashMap<String, Vec<CAA>>>>,
);

impl Zone {
    /// Sets or clears the trouble of `name` and all names below.
    pub fn set(&self, name: &str, trouble: Option<Trouble>) {
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            Some(_) => _ = names.insert(name.to_ascii_lowercase(), trouble),
            None => _ = names.remove(&name.to_ascii_lowercase()),
        }
    }

    /// Exempts this name, and all names below, from the trouble of its parent domains.
    pub fn exempt(&self, name: &str) {
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_ascii_lowercase(), None);
    }

    /// Sets the CAA records of a name.
    pub fn set_caa(&self, name: &str, issue: &[Issue<'_>]) {
        let mut names = self.1.write().unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_ascii_lowercase(), issue.iter().map(caa_record).collect());
    }

    /// CAA records of a name (RFC 8659).
    pub fn caa(&self, name: &str) -> Vec<CAA> {
        let names = self.1.read().unwrap_or_else(PoisonError::into_inner);
        names.get(&name.trim_end_matches('.').to_ascii_lowercase()).cloned().unwrap_or_default()
    }

    /// Returns the address of a name, or its trouble, as a resolver without DNSSEC.
    pub fn resolve(&self, name: &str) -> Result<Ipv4Addr, Trouble> {
        match self.trouble(name) {
            Some(Trouble::Dead) => Ok(NOBODY),
            Some(trouble @ (Trouble::NxDomain | Trouble::ServFail)) => Err(trouble),
            Some(Trouble::Bogus | Trouble::BogusCaa) | None => Ok(Ipv4Addr::LOCALHOST),
        }
    }

    /// Returns the address of a name as a resolver that validates DNSSEC, or the trouble of a
    /// look-up of this type.
    pub(crate) fn resolve_validated(
        &self,
        name: &str,
        record: Record,
    ) -> Result<Ipv4Addr, Trouble> {
        match self.trouble(name) {
            Some(trouble @ Trouble::Bogus) => Err(trouble),
            Some(trouble @ Trouble::BogusCaa) if record == Record::Caa => Err(trouble),
            _ => self.resolve(name),
        }
    }

    /// Returns the trouble of a name or of its closest parent that has any.
    fn trouble(&self, name: &str) -> Option<Trouble> {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let mut zone = Some(name.as_str());
        while let Some(name) = zone {
            match names.get(name) {
                Some(trouble) => return *trouble,
                None => zone = name.split_once('.').map(|(_, parent)| parent),
            }
        }
        None
    }
}

/// A running DNS server. Dropping the value stops the server.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    zone: Zone,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dns {
    /// Starts the server on a free port of loopback.
    pub fn start() -> Result<Self, SimError> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Starts the server at this address, such as one for `/etc/resolv.conf`, which names no ports.
    pub fn start_at(address: SocketAddr) -> Result<Self, SimError> {
        let failed = || SimError::io("start the DNS server");
        let socket = UdpSocket::bind(address).map_err(failed())?;
        let address = socket.local_addr().map_err(failed())?;
        socket.set_read_timeout(Some(LOOK)).map_err(failed())?;
        let (zone, ended) = (Zone::default(), Arc::new(AtomicBool::new(false)));
        let (served, end) = (zone.clone(), Arc::clone(&ended));
        let serve = move || serve(&socket, &served, &end);
        let thread = thread::Builder::new().name("dns".into()).spawn(serve).map_err(failed())?;
        Ok(Self { address, zone, ended, thread: Some(thread) })
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
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, zone: &Zone, ended: &AtomicBool) {
    let mut question = [0; QUESTION_MAX];
    while !ended.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
        let asked = Message::from_bytes(&question[..length]).ok();
        let answer = asked.and_then(|asked| answer(&asked, zone).to_bytes().ok());
        if let Some(answer) = answer {
            _ = socket.send_to(&answer, from); // the client may be gone
        }
    }
}

/// Returns one A record, or the CAA records of the name; for other types, a success without
/// records (RFC 2308 §2.2).
fn answer(asked: &Message, zone: &Zone) -> Message {
    let mut answer = Message::response(asked.metadata.id, OpCode::Query);
    answer.metadata.recursion_desired = asked.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    let Some(query) = asked.queries.first() else { return answer };
    answer.add_query(query.clone());
    match zone.resolve(&query.name().to_ascii()) {
        Ok(address) if query.query_type() == RecordType::A => {
            answer.add_answer(record(query, address));
        }
        Ok(_) if query.query_type() == RecordType::CAA => {
            for caa in zone.caa(&query.name().to_ascii()) {
                let record = ResourceRecord::from_rdata(query.name().clone(), TTL, RData::CAA(caa));
                answer.add_answer(record);
            }
        }
        Err(Trouble::NxDomain) => answer.metadata.response_code = ResponseCode::NXDomain,
        Err(_) => answer.metadata.response_code = ResponseCode::ServFail,
        Ok(_) => {}
    }
    answer
}

fn record(query: &Query, address: Ipv4Addr) -> ResourceRecord {
    ResourceRecord::from_rdata(query.name().clone(), TTL, RData::A(A(address)))
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::MessageType;
    use hickory_proto::rr::Name;

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
