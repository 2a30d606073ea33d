//! Networks that validate (MPIC, multi-perspective issuance corroboration): the CA's own one and
//! remote ones in other parts of the world (CA/B Forum Baseline Requirements §3.2.2.9).

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

use futures_util::future::join_all;

use super::Problem;

/// Network that sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Network {
    Own,
    /// Number of a remote network, from 1.
    Remote(usize),
}

/// The remote networks, and the hosts that give them no answer.
#[derive(Debug)]
pub(in crate::ca) struct Networks {
    remote: usize,
    /// Blocked networks and the host, or every host, that blocks them.
    blocked: RwLock<BTreeSet<(usize, Option<String>)>>,
}

impl Networks {
    pub(in crate::ca) fn new(remote: usize) -> Self {
        Self { remote, blocked: RwLock::default() }
    }

    pub(in crate::ca) fn set_blocked(&self, network: usize, host: Option<&str>, blocked: bool) {
        let one = (network, host.map(str::to_ascii_lowercase));
        let mut all = self.blocked.write().unwrap_or_else(PoisonError::into_inner);
        _ = if blocked { all.insert(one) } else { all.remove(&one) };
    }

    pub(super) fn is_blocked(&self, network: Network, host: &str) -> bool {
        let Network::Remote(number) = network else { return false };
        let all = self.blocked.read().unwrap_or_else(PoisonError::into_inner);
        all.contains(&(number, None)) || all.contains(&(number, Some(host.to_ascii_lowercase())))
    }

    /// Lets all remote networks validate at once. The failure is that of the first of too many, in
    /// Boulder's words (`va/va.go`).
    pub(super) async fn corroborate<F: Future<Output = Result<(), Problem>>>(
        &self,
        validate_from: impl Fn(Network) -> F,
    ) -> Result<(), Problem> {
        let all = (1..=self.remote).map(|number| validate_from(Network::Remote(number)));
        let outcomes = join_all(all).await;
        let failed: Vec<Problem> = outcomes.into_iter().filter_map(Result::err).collect();
        if failed.len() <= may_fail(self.remote) {
            return Ok(());
        }
        let first = failed.into_iter().next();
        first.map_or(Ok(()), |problem| {
            let detail = format!("During secondary validation: {}", problem.detail);
            Err(Problem { detail, ..problem })
        })
    }
}

/// Number of remote networks that may fail (Baseline Requirements §3.2.2.9, table of the quorum).
fn may_fail(remote: usize) -> usize {
    match remote {
        0 | 1 => 0,
        2..=5 => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Whether a host passes that blocks these of five networks, and how many have asked.
    async fn passes(blocking: &[usize]) -> (Result<(), Problem>, usize) {
        let networks = Networks::new(5);
        for network in blocking {
            networks.set_blocked(*network, Some("A.example.com"), true);
        }
        let asked = Cell::new(0);
        let outcome = networks.corroborate(async |network| {
            asked.set(asked.get() + 1);
            let blocked = networks.is_blocked(network, "a.example.com");
            if blocked { Err(Problem::unauthorized(format!("{network:?}"))) } else { Ok(()) }
        });
        (outcome.await, asked.get())
    }

    #[tokio::test]
    async fn of_five_networks_one_may_fail_and_the_first_of_two_is_reported() {
        assert_eq!(passes(&[]).await, (Ok(()), 5));
        assert_eq!(passes(&[4]).await, (Ok(()), 5));
        let (outcome, asked) = passes(&[5, 2]).await;
        let problem = outcome.unwrap_err();
        assert_eq!((problem.kind, asked), ("unauthorized", 5));
        assert_eq!(problem.detail, "During secondary validation: Remote(2)");
    }

    #[test]
    fn a_network_is_blocked_by_one_host_or_by_all_until_it_is_no_more() {
        let networks = Networks::new(5);
        let blocked = |host| networks.is_blocked(Network::Remote(1), host);
        networks.set_blocked(1, Some("a.example.com"), true);
        assert_eq!((blocked("a.example.com"), blocked("b.example.com")), (true, false));
        networks.set_blocked(1, None, true);
        networks.set_blocked(1, Some("a.example.com"), false);
        assert!(blocked("b.example.com") && blocked("a.example.com"));
        assert!(!networks.is_blocked(Network::Own, "a.example.com"));
        networks.set_blocked(1, None, false);
        assert!(!blocked("b.example.com"));
    }

    #[test]
    fn the_quorum_is_that_of_the_baseline_requirements() {
        assert_eq!([0, 1, 2, 4, 5, 6, 9].map(may_fail), [0, 0, 1, 1, 1, 2, 2]);
    }
}
