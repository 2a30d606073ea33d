//! DNS for the probe: fresh answers of one nameserver, or of the system's nameservers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_resolver::TokioResolver;
use hickory_resolver::system_conf::read_system_conf;
use ingress_acme_actors::domain::address::is_forbidden;
use ingress_acme_actors::domain::limits;

use super::network::Network;
use crate::dns_and_http::resolver::{self, NameserverError, words};

/// A name without addresses, with the reason in terms of DNS.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unresolved(String);

/// Resolves host names. Cheap to clone.
#[derive(Clone)]
pub struct Names(pub(super) Source);

/// Where answers come from.
#[derive(Clone)]
pub(super) enum Source {
    Nameservers(Box<TokioResolver>),
    InProcess(Arc<dyn Network>),
}

impl Names {
    /// Creates a resolver that asks `nameserver`, by default those of `/etc/resolv.conf`.
    pub fn new(nameserver: Option<SocketAddr>) -> Result<Self, NameserverError> {
        let resolver = match nameserver {
            Some(address) => resolver::of(&[address]),
            None => resolver::of_system(),
        };
        Ok(Self(Source::Nameservers(Box::new(resolver?))))
    }

    /// Resolves in a network of this process.
    pub(super) fn of(network: Arc<dyn Network>) -> Self {
        Self(Source::InProcess(network))
    }

    /// Resolves `host`, IPv4 first, since more clusters reach themselves by IPv4. Addresses that
    /// must never be contacted are left out.
    pub(super) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Unresolved> {
        let addresses = match &self.0 {
            Source::InProcess(network) => {
                usable(network.addresses(host).await.map_err(Unresolved)?.into_iter())
            }
            Source::Nameservers(resolver) => {
                // The final dot disables search domains, which CAs do not have.
                let found = resolver.lookup_ip(format!("{}.", host.trim_end_matches('.'))).await;
                usable(found.map_err(|error| Unresolved(words(&error)))?.iter())
            }
        };
        if addresses.is_empty() {
            return Err(Unresolved(
                "no A or AAAA record with an address that may be asked".to_owned(),
            ));
        }
        Ok(addresses)
    }
}

/// The first addresses of an answer that may be contacted, IPv4 first.
pub(in crate::dns_and_http) fn usable(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let allowed = addresses.map(|address| address.to_canonical());
    let mut allowed: Vec<IpAddr> =
        allowed.filter(|address| !is_forbidden(*address)).take(limits::PROBE_ADDRESSES).collect();
    allowed.sort_by_key(IpAddr::is_ipv6);
    allowed
}

/// Search domains of the system, which in a pod contain the cluster's domain; none if
/// `/etc/resolv.conf` cannot be read.
pub(super) fn search_domains() -> Vec<String> {
    let search = read_system_conf().map(|(config, _)| config.search().to_vec());
    search.unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, UdpSocket};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use ingress_acme_actors::domain::limits::PROBE_CALL;
    use ingress_acme_actors::domain::name::DnsName;
    use proptest::prelude::*;

    use super::*;

    /// Starts a nameserver that answers each query with the result of `answer`.
    fn nameserver(mut answer: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut packet = [0; 1024];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                let _ = socket.send_to(&answer(&packet[..length]), from);
            }
        });
        address
    }

    /// An answer to `query` with these flags and records.
    fn answer(query: &[u8], flags: [u8; 2], count: u8, records: &[u8]) -> Vec<u8> {
        let end = 12 + query[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
        let mut answer = query[..2].to_vec();
        answer.extend(flags);
        answer.extend([0, 1, 0, count, 0, 0, 0, 0]);
        answer.extend(&query[12..end]);
        answer.extend(records);
        answer
    }

    /// A CNAME record of the queried name to `label` below that name.
    fn alias(label: &[u8]) -> Vec<u8> {
        let mut record = vec![0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0];
        let length = if label.is_empty() { 2 } else { label.len() + 3 };
        record.push(u8::try_from(length).unwrap());
        if !label.is_empty() {
            record.push(u8::try_from(label.len()).unwrap());
            record.extend(label);
        }
        record.extend([0xc0, 12]);
        record
    }

    #[tokio::test]
    async fn broken_circular_and_endless_answers_are_an_error_within_the_deadline() {
        let broken = [
            nameserver(|query| query[..2].to_vec()),
            nameserver(|query| answer(query, [0x81, 0x80], 200, &[0xc0; 400])),
            nameserver(|query| answer(query, [0x81, 0x80], 1, &alias(b""))),
            nameserver(|query| answer(query, [0x81, 0x80], 1, &alias(b"x"))),
            nameserver(|query| answer(query, [0x83, 0x80], 0, &[])), // cut, and no TCP
            nameserver(<[u8]>::to_vec),
        ];
        let asked = broken.map(async |server| {
            let names = Names::new(Some(server)).unwrap();
            tokio::time::timeout(PROBE_CALL, names.addresses("a.example.com")).await
        });
        for (case, found) in futures_util::future::join_all(asked).await.into_iter().enumerate() {
            assert!(!matches!(found, Ok(Ok(_))), "{case}: {found:?}");
        }
    }

    /// An A record of the queried name.
    fn address(query: &[u8], last: u8) -> Vec<u8> {
        let record = [0xc0, 12, 0, 1, 0, 1, 0, 1, 0, 0, 0, 4, 192, 0, 2, last];
        answer(query, [0x81, 0x80], 1, &record)
    }

    #[tokio::test]
    async fn hosts_of_a_domain_share_the_answers_about_their_domain() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let server = nameserver(move |query| {
            counter.fetch_add(1, Ordering::SeqCst);
            answer(query, [0x81, 0x80], 0, &[])
        });
        let names = Names::new(Some(server)).unwrap();
        for number in 0..40 {
            let host = DnsName::parse(&format!("h{number}.shop.example.com")).unwrap();
            assert!(names.caa(&host).await.unwrap().records.is_empty());
        }
        let asked = asked.load(Ordering::SeqCst);
        // Each host, and its three parents once a second.
        assert!((43..100).contains(&asked), "{asked} questions; 160 without a memory");
    }

    #[tokio::test]
    async fn a_new_record_is_found_whatever_the_ttl_of_the_old_one() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let server = nameserver(move |query| {
            let is_first = counter.fetch_add(1, Ordering::SeqCst) < 2;
            address(query, if is_first { 1 } else { 2 })
        });
        let names = Names::new(Some(server)).unwrap();
        let [old, new] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        assert_eq!(names.addresses("a.example.com").await.unwrap(), [old]);
        tokio::time::sleep(limits::DNS_ANSWER_AGE).await;
        assert_eq!(names.addresses("a.example.com").await.unwrap(), [new]);
    }

    proptest! {
        #[test]
        fn any_addresses_give_few_usable_ones(bits in prop::collection::vec(any::<u128>(), 0..200)) {
            let of = |bits: &u128| -> IpAddr {
                match u32::try_from(*bits % (1 << 33)) {
                    Ok(v4) => std::net::Ipv4Addr::from_bits(v4).into(),
                    Err(_) => Ipv6Addr::from_bits(*bits).into(),
                }
            };
            let usable = usable(bits.iter().map(of));
            prop_assert!(usable.len() <= limits::PROBE_ADDRESSES);
            prop_assert!(usable.iter().all(|address| !is_forbidden(*address)));
            prop_assert!(usable.is_sorted_by_key(IpAddr::is_ipv6));
        }
    }
}
