//! A guess about `NetworkPolicies`: whether those that select the operator's pods let challenges in,
//! and requests out. Whether the network plugin enforces policies, and which addresses a peer has,
//! cannot be seen from the objects, so that a rule for some peers counts as one that lets through.

use super::{Check, Fact, Finding, joined};

/// Port of the DNS (RFC 1035).
const DNS: u16 = 53;
/// Port of DNS pods in `OpenShift`, which a policy sees in place of 53.
const DNS_OF_OPENSHIFT: u16 = 5353;
/// Port of the API server's Service.
const HTTPS: u16 = 443;
/// Port of the API server behind its Service, which a policy sees in place of 443.
const API_SERVER: u16 = 6443;
/// Port of the probe.
const HTTP: u16 = 80;

/// A `NetworkPolicy` that selects the operator's pods.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Policy {
    /// Name.
    pub name: String,
    /// Rules for connections to the pods; `None` if the policy is not about them.
    pub ingress: Option<Vec<Rule>>,
    /// Rules for connections of the pods; `None` if the policy is not about them.
    pub egress: Option<Vec<Rule>>,
}

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rule {
    /// TCP ports and UDP ports; none for all.
    pub ports: Vec<Ports>,
    /// Whether all peers are let through.
    pub any_peer: bool,
}

/// A port or a range of ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// Whether they are those of UDP; otherwise of TCP.
    pub udp: bool,
    /// First and last one.
    pub range: (u16, u16),
}

/// Ports that the operator uses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Needs {
    /// Port of the solver.
    pub solver: u16,
    /// Ports on the way to the CAs: those of their directories, or of the proxy.
    pub ca: Vec<u16>,
}

impl Rule {
    fn lets(&self, udp: bool, port: u16) -> bool {
        let is_it =
            |ports: &Ports| ports.udp == udp && (ports.range.0..=ports.range.1).contains(&port);
        self.ports.is_empty() || self.ports.iter().any(is_it)
    }
}

/// Rules of one direction; `None` if no policy isolates the pods there.
type Rules<'a> = Option<Vec<&'a Rule>>;

/// The rules of all policies add up.
fn rules(policies: &[Policy], of: impl Fn(&Policy) -> Option<&Vec<Rule>>) -> Rules<'_> {
    let all: Vec<&Vec<Rule>> = policies.iter().filter_map(of).collect();
    (!all.is_empty()).then(|| all.into_iter().flatten().collect())
}

/// Whether rules let none of these ports through.
fn is_closed(rules: &Rules<'_>, udp: bool, ports: &[u16]) -> bool {
    let open = |port: &u16| rules.iter().flatten().any(|rule| rule.lets(udp, *port));
    rules.is_some() && !ports.iter().any(open)
}

/// Connections that the operator needs and that are not let through.
fn shut(needs: &Needs, incoming: &Rules<'_>, outgoing: &Rules<'_>) -> Vec<String> {
    let mut shut = Vec::new();
    if is_closed(incoming, false, &[needs.solver]) {
        shut.push(format!("challenges in at port {}", needs.solver));
    }
    if is_closed(outgoing, true, &[DNS, DNS_OF_OPENSHIFT]) {
        shut.push(format!("DNS out to port {DNS}/UDP"));
    }
    if is_closed(outgoing, false, &[HTTPS, API_SERVER]) {
        shut.push(format!("the API server out to ports {HTTPS} and {API_SERVER}"));
    }
    let cas = needs.ca.iter().filter(|port| is_closed(outgoing, false, &[**port]));
    shut.extend(cas.map(|port| format!("the CA out to port {port}")));
    shut
}

/// Judges the policies that select the operator's pods.
pub fn network_policies(needs: &Needs, found: &Fact<Vec<Policy>>) -> Finding {
    let check = Check::NetworkPolicy;
    let policies = match found.as_deref() {
        Err(why) => return Finding::skipped(check, &format!("they cannot be read: {why}")),
        Ok([]) => return Finding::ok(check, "none selects the operator's pods"),
        Ok(policies) => policies,
    };
    let names = joined(policies.iter().map(|one| &one.name));
    let incoming = rules(policies, |one| one.ingress.as_ref());
    let outgoing = rules(policies, |one| one.egress.as_ref());
    let shut = shut(needs, &incoming, &outgoing);
    if !shut.is_empty() {
        return Finding::fail(
            check,
            &format!("{names} would not let through: {}", joined(&shut)),
            "add rules for these ports, as the NetworkPolicy of deploy/install.yaml has them",
        );
    }
    if is_closed(&outgoing, false, &[HTTP]) {
        return Finding::warn(
            check,
            &format!("{names} would not let the probe out to port {HTTP}"),
            "add that port to the egress rules: without the probe, an order waits for five minutes",
        );
    }
    let all_sources = incoming
        .is_none_or(|all| all.iter().any(|one| one.any_peer && one.lets(false, needs.solver)));
    let sources = if all_sources { "from anywhere" } else { "from the peers of its rules" };
    Finding::ok(
        check,
        &format!("{names} lets challenges in {sources}, and DNS, API server and CA out"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::doctor::Verdict::{self, Fail, Ok as Well, Skipped, Warn};

    fn tcp(port: u16) -> Ports {
        Ports { udp: false, range: (port, port) }
    }

    fn rule(ports: &[Ports]) -> Rule {
        Rule { ports: ports.to_vec(), any_peer: true }
    }

    fn policy(ingress: Option<Vec<Rule>>, egress: Option<Vec<Rule>>) -> Policy {
        Policy { name: "p".to_owned(), ingress, egress }
    }

    fn judged(policies: Vec<Policy>) -> (Verdict, String) {
        let needs = Needs { solver: 8089, ca: vec![14_000] };
        let finding = network_policies(&needs, &Ok(policies));
        (finding.verdict, finding.words())
    }

    fn out() -> Vec<Rule> {
        let dns = Ports { udp: true, range: (53, 53) };
        vec![rule(&[dns]), rule(&[tcp(443)]), rule(&[tcp(80), tcp(14_000)])]
    }

    #[test]
    fn policies_that_let_all_through_are_well() {
        assert_eq!(judged(Vec::new()).0, Well);
        assert_eq!(judged(vec![policy(None, None)]).0, Well);
        assert_eq!(judged(vec![policy(Some(vec![rule(&[tcp(8089)])]), Some(out()))]).0, Well);
        assert_eq!(judged(vec![policy(Some(vec![rule(&[])]), Some(vec![rule(&[])]))]).0, Well);
        let wide = Ports { udp: false, range: (8_000, 9_000) };
        assert_eq!(judged(vec![policy(Some(vec![rule(&[wide])]), None)]).0, Well);
        let (denied, let_in) =
            (policy(Some(vec![]), None), policy(Some(vec![rule(&[tcp(8089)])]), None));
        assert_eq!(judged(vec![denied, let_in]).0, Well, "the rules of all policies add up");
        let some = Rule { any_peer: false, ..rule(&[tcp(8089)]) };
        let (verdict, words) = judged(vec![policy(Some(vec![some]), None)]);
        assert!(verdict == Well && words.contains("peers of its rules"), "{words}");
    }

    #[test]
    fn a_policy_without_a_port_that_is_needed_fails_and_names_the_port() {
        let udp = Ports { udp: true, range: (8089, 8089) };
        for rules in [vec![], vec![rule(&[tcp(9090)])], vec![rule(&[udp])]] {
            let (verdict, words) = judged(vec![policy(Some(rules), None)]);
            assert!(verdict == Fail && words.contains("port 8089"), "{words}");
        }
        for (at, words) in [(0, "53/UDP"), (1, "the API server"), (2, "port 14000")] {
            let mut rules = out();
            rules.remove(at);
            let (verdict, said) = judged(vec![policy(None, Some(rules))]);
            assert!(verdict == Fail && said.contains(words), "{said}");
        }
        let mut rules = out();
        rules[2] = rule(&[tcp(14_000)]);
        let (verdict, said) = judged(vec![policy(None, Some(rules))]);
        assert!(verdict == Warn && said.contains("port 80"), "{said}");
        let needs = Needs { solver: 8089, ca: vec![443] };
        assert_eq!(network_policies(&needs, &Err("forbidden".to_owned())).verdict, Skipped);
    }
}
