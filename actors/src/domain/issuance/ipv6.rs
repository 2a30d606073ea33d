//! Hosts that lead elsewhere over IPv6 than over IPv4. Let's Encrypt asks over IPv6 first, and
//! falls back to IPv4 only where the connection times out
//! (<https://letsencrypt.org/docs/ipv6-support/>).

use crate::domain::name::DnsName;

/// What a host that was reached over IPv4 answers over IPv6.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OverIpv6 {
    /// The host has no addresses of both families that the same CA sees.
    NotAsked,
    /// The challenge path leads to our solver.
    Reached,
    /// Another server answers, or the connection is refused.
    Elsewhere(String),
    /// No connection comes about. A CA falls back to IPv4 then, and this cluster may have no IPv6.
    Silent(String),
}

impl OverIpv6 {
    /// Returns the text for the user, if a CA that asks over IPv6 first would not validate the
    /// host.
    pub(crate) fn warning(&self, host: &DnsName) -> Option<String> {
        let Self::Elsewhere(what) = self else { return None };
        Some(format!(
            "over IPv4 the challenge path of {host} leads to the operator, and over IPv6 it does not: {what}. Let's Encrypt \
             asks over IPv6 first and falls back to IPv4 only where the connection times out, so it will probably refuse the \
             host. Let the AAAA record lead to this ingress controller, or remove it. The order goes on meanwhile"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_or_a_refusal_over_ipv6_is_a_warning() {
        let host = DnsName::parse("www.example.com").unwrap();
        let silent = OverIpv6::Silent("network unreachable".to_owned());
        for outcome in [OverIpv6::NotAsked, OverIpv6::Reached, silent] {
            assert_eq!(outcome.warning(&host), None);
        }
        let warning = OverIpv6::Elsewhere("connection refused".to_owned()).warning(&host).unwrap();
        for part in ["www.example.com", "connection refused", "AAAA record"] {
            assert!(warning.contains(part), "{warning}");
        }
    }
}
