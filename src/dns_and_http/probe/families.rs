//! The probe of `doctor`: one address of each family is asked by itself, with the bounds and the
//! rules of the operator's probe.

use std::net::IpAddr;

use futures_util::future::join_all;
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::doctor::hosts::Answer;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;
use tokio::time::timeout;

use super::exchange::NoAnswer;
use super::{HttpProbe, OTHER_KEY, token};

/// Addresses of a host, and an answer of one of each family.
#[derive(Clone, Debug, Default)]
pub struct Families {
    /// All addresses that may be asked, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// Answers of the first address of each family.
    pub answers: Vec<(IpAddr, Answer)>,
}

impl HttpProbe {
    /// Resolves the host, and asks one address of each family at the same time.
    ///
    /// # Errors
    /// Why the host has no address that may be asked.
    pub async fn by_family(&self, host: &DnsName) -> Result<Families, String> {
        let host = host.as_str();
        if self.cluster.contain(host) {
            return Err(
                "it is a name of the cluster itself, which the probe does not ask".to_owned()
            );
        }
        let found = timeout(limits::DOCTOR_DNS, self.names.addresses(host)).await;
        let found = found.map_err(|_| "the nameserver does not answer".to_owned())?;
        let addresses = found.map_err(|why| cut(why.to_string(), limits::PROBE_TEXT_MAX))?;
        let of_family = |v6: bool| addresses.iter().copied().find(|one| one.is_ipv6() == v6);
        let firsts = [of_family(false), of_family(true)].into_iter().flatten();
        let answers = firsts.map(async |address| (address, self.answer_of(host, address).await));
        Ok(Families { answers: join_all(answers).await, addresses })
    }

    async fn answer_of(&self, host: &str, address: IpAddr) -> Answer {
        let Some(token) = token() else { return Answer::Silent("no random numbers".to_owned()) };
        let asked = timeout(limits::PROBE_CALL, self.ask(host, &token, &[address])).await;
        let Ok(asked) = asked else {
            return Answer::Silent(format!("no answer within {} s", limits::PROBE_CALL.as_secs()));
        };
        let Err(NoAnswer { why, silent, answered }) = asked else { return Answer::Ours };
        let (is_solver, why) = (why == OTHER_KEY, cut(why, limits::PROBE_TEXT_MAX));
        match (answered, silent) {
            (true, _) if is_solver && self.thumbprint.current().is_none() => Answer::Solver,
            (true, _) => Answer::Other(why),
            (false, true) => Answer::Silent(why),
            (false, false) => Answer::Refused(why),
        }
    }
}
