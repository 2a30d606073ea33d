//! Endpoints of the solver's Service, as the gateway knows them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Addresses behind the Service, each with the time from which and until which it is known.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    known: Vec<Endpoint>,
    /// Time between a change and its effect; `None` if changes have their effect at once, and all
    /// addresses are tried.
    late: Option<Duration>,
    /// Number of requests so far.
    requests: usize,
}

#[derive(Debug)]
struct Endpoint {
    address: SocketAddr,
    from: Instant,
    until: Option<Instant>,
}

impl Endpoints {
    pub(super) fn follow(&mut self, late: Duration) {
        self.late = Some(late);
    }

    pub(super) fn add(&mut self, address: SocketAddr, now: Instant) {
        let from = now + self.late.unwrap_or_default();
        self.known.push(Endpoint { address, from, until: None });
    }

    pub(super) fn remove(&mut self, address: SocketAddr, now: Instant) {
        let until = now + self.late.unwrap_or_default();
        for endpoint in self.known.iter_mut().filter(|endpoint| endpoint.address == address) {
            endpoint.until.get_or_insert(until);
        }
    }

    /// Addresses to try for one request, in order.
    pub(super) fn of_a_request(&mut self, now: Instant) -> Vec<SocketAddr> {
        self.known.retain(|endpoint| endpoint.until.is_none_or(|until| now < until));
        let known = self.known.iter().filter(|endpoint| endpoint.from <= now);
        let all: Vec<SocketAddr> = known.map(|endpoint| endpoint.address).collect();
        if self.late.is_none() || all.is_empty() {
            return all;
        }
        self.requests = self.requests.wrapping_add(1);
        vec![all[self.requests % all.len()]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Duration = Duration::from_secs(5);

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn by_default_changes_are_known_at_once_and_all_addresses_are_tried() {
        let (mut endpoints, now) = (Endpoints::default(), Instant::now());
        endpoints.add(address(1), now);
        endpoints.add(address(2), now);
        assert_eq!(endpoints.of_a_request(now), [address(1), address(2)]);
        endpoints.remove(address(1), now);
        assert_eq!(endpoints.of_a_request(now), [address(2)]);
    }

    #[test]
    fn a_late_gateway_sends_each_request_to_one_address_also_after_its_removal() {
        let (mut endpoints, now) = (Endpoints::default(), Instant::now());
        endpoints.follow(LATE);
        endpoints.add(address(1), now);
        assert!(endpoints.of_a_request(now).is_empty());
        let soon = now + LATE;
        endpoints.add(address(2), soon);
        endpoints.remove(address(1), soon);
        endpoints.remove(address(1), soon + LATE / 2);
        assert_eq!(endpoints.of_a_request(soon), [address(1)]);
        assert_eq!(endpoints.of_a_request(soon + LATE), [address(2)]);
        endpoints.add(address(3), soon);
        let asked: Vec<_> = (0..4).map(|_| endpoints.of_a_request(soon + LATE)).collect();
        assert_eq!(asked[0], asked[2]);
        assert!(asked[0] != asked[1] && asked.iter().all(|one| one.len() == 1));
    }
}
