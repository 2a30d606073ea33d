//! One Ingress and its hosts: whether it is served, and for each host DNS, the route to
//! this cluster over both families, and CAA records.

use std::net::IpAddr;

use super::{Check, Fact, Finding, joined};
use crate::domain::address::is_globally_routable;
use crate::domain::caa::{CaaSet, Issuer, Permission};
use crate::domain::issuance::Method;
use crate::domain::name::DnsName;

/// Certificates of an Ingress, by the rules of the operator and the flags of its Deployment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Served {
    /// Secrets of its certificates.
    pub secrets: Vec<String>,
    /// Reasons why hosts, or all of them, get no certificate.
    pub reasons: Vec<String>,
}

/// Whether the Ingress `key` gets its certificates; `None` if there is no such Ingress.
pub fn ingress(key: &str, found: &Fact<Option<Served>>) -> Finding {
    let check = Check::Ingress;
    let advice = format!(
        "see `ingress-acme explain {key}`, and docs/ingresses.md for marks of other issuers"
    );
    match found {
        Err(why) => Finding::skipped(check, &format!("{key} cannot be read: {why}")),
        Ok(None) => Finding::fail(
            check,
            &format!("there is no Ingress {key}"),
            "name it as NAMESPACE/NAME, or its namespace with -n",
        ),
        Ok(Some(Served { secrets, reasons })) => match (&secrets[..], &reasons[..]) {
            ([], []) => Finding::fail(check, &format!("{key} has no host"), &advice),
            ([], _) => Finding::fail(
                check,
                &format!("{key} gets no certificate: {}", joined(reasons)),
                &advice,
            ),
            (_, []) => Finding::ok(check, &format!("{key} is served, Secret {}", joined(secrets))),
            _ => Finding::warn(
                check,
                &format!("{key} is served in part: {}", joined(reasons)),
                &advice,
            ),
        },
    }
}

/// Addresses of a host.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Addresses {
    /// Addresses by DNS.
    pub found: Vec<IpAddr>,
    /// Addresses in the status of the Ingress; none if its controller writes names or nothing.
    pub of_ingress: Vec<IpAddr>,
    /// Whether the CA is public, and asks public addresses only.
    pub is_public_ca: bool,
}

/// Whether a host has addresses that the CA can ask.
pub fn dns(host: &str, found: &Fact<Addresses>) -> Finding {
    let check = Check::Dns;
    let Addresses { found, of_ingress, is_public_ca } = match found {
        Err(why) => {
            return Finding::fail(
                check,
                &format!("{host} does not resolve here: {why}"),
                "create an A or AAAA record that leads to the ingress controller",
            );
        }
        Ok(addresses) => addresses,
    };
    let of_family = |is_v6: bool| {
        let all: Vec<&IpAddr> = found.iter().filter(|one| one.is_ipv6() == is_v6).collect();
        if all.is_empty() { "none".to_owned() } else { joined(all) }
    };
    let seen = format!("{host} has A {}, AAAA {}", of_family(false), of_family(true));
    if *is_public_ca && !found.iter().any(|one| is_globally_routable(*one)) {
        return Finding::warn(
            check,
            &format!("{seen}: none is public"),
            "the CA asks public DNS: look there with `dig @1.1.1.1`, or repeat with --nameserver",
        );
    }
    if !of_ingress.is_empty() && !found.iter().any(|one| of_ingress.contains(one)) {
        return Finding::warn(
            check,
            &format!("{seen}, and the Ingress has the address {}", joined(of_ingress)),
            "let the record lead to the address of the Ingress, unless a load balancer or CDN stands in front",
        );
    }
    Finding::ok(check, &seen)
}

/// Answer of one address to a request for a random token of the challenge path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// An operator's solver answered with our account key.
    Ours,
    /// A solver answered, with a key that nobody could compare with ours.
    Solver,
    /// Another server answered, or a solver with another key.
    Other(String),
    /// No server answered, but one refused, or broke off.
    Refused(String),
    /// Nothing came back.
    Silent(String),
}

/// Answer of a host over one family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// The address.
    pub address: IpAddr,
    /// Its answer.
    pub answer: Answer,
    /// Whether a solver Ingress of ours routes the challenge path of the host now; `None` if nobody
    /// knows.
    pub is_routed: Option<bool>,
    /// Whether the host has addresses of the other family, to which CAs fall back.
    pub has_other_family: bool,
}

/// Whether an address of a host leads to this cluster.
pub fn route(host: &str, found: &Route) -> Finding {
    let check = Check::Route;
    let Route { address, answer, is_routed, has_other_family } = found;
    let family = if address.is_ipv6() { "IPv6" } else { "IPv4" };
    let place = format!("http://{host} over {family} ({address})");
    match answer {
        Answer::Ours => Finding::ok(check, &format!("{place} leads to the operator")),
        Answer::Solver => Finding::ok(
            check,
            &format!(
                "{place} leads to a solver, of which account is not known: you may not read the account's Secret"
            ),
        ),
        Answer::Other(why) if *is_routed == Some(true) => Finding::fail(
            check,
            &format!("the challenge path of {place} is routed to the operator, but {why}"),
            "let the record lead to the ingress controller of the Ingress, and see `class` for a rule of that controller",
        ),
        Answer::Other(why) => Finding::ok(
            check,
            &format!(
                "{place} answers ({why}); its challenge path is routed to the operator only while one is pending"
            ),
        ),
        Answer::Refused(why) => Finding::fail(
            check,
            &format!("{place} takes no request: {why}"),
            "let port 80 of that address lead to the ingress controller, or remove the record",
        ),
        Answer::Silent(why) if address.is_ipv6() && *has_other_family => Finding::warn(
            check,
            &format!("{place} is silent: {why}"),
            "a CA falls back to IPv4 after a timeout; if this machine has IPv6, remove the AAAA record or open port 80",
        ),
        Answer::Silent(why) => Finding::fail(
            check,
            &format!("{place} is silent: {why}"),
            "open port 80 to the world, from the firewall to the ingress controller; some clusters do not reach their own \
             address, so try from outside",
        ),
    }
}

/// A CA, as its CAA records name it.
#[derive(Clone, Copy, Debug)]
pub struct CaOfHost<'a> {
    /// Its identities and our account.
    pub issuer: &'a Issuer,
    /// Its name in the file of `--cas-file`.
    pub name: Option<&'a str>,
    /// Whether the certificate of the host is to be one of this CA. Otherwise it is a CA that other
    /// Ingresses have, or a fallback.
    pub is_meant: bool,
}

/// Whether the CAA records of a host let the CA issue.
pub fn caa(host: &DnsName, of: CaOfHost<'_>, found: &Fact<CaaSet>) -> Finding {
    let CaOfHost { issuer, name, is_meant } = of;
    let (check, ca) = (Check::Caa, name.map_or("the CA".to_owned(), |name| format!("CA {name}")));
    let set = match found {
        Err(why) => {
            return Finding::fail(
                check,
                &format!("the CAA records of {host} are not known: {why}"),
                "repair the nameserver: a CA issues nothing then (RFC 8659 §3)",
            );
        }
        Ok(set) if set.records.is_empty() => {
            return Finding::ok(check, &format!("{host} has no CAA record: any CA may issue"));
        }
        Ok(set) => set,
    };
    let seen = format!("{} has CAA {}", set.domain, set.shown());
    let change = match issuer.domains.first() {
        Some(ca) => {
            format!("add `0 issue \"{ca}\"` at {}, or see `ingress-acme caa {host}`", set.domain)
        }
        None => format!("see `ingress-acme caa {host}`"),
    };
    match set.permission(issuer, host, Method::Http01) {
        Permission::Allowed => Finding::ok(check, &format!("{seen}: {ca} may issue for {host}")),
        Permission::Forbidden(why) => {
            let judged = if is_meant { Finding::fail } else { Finding::warn };
            judged(check, &format!("{seen}: {ca} may not issue for {host}, {why}"), &change)
        }
        Permission::Unknown(why) => Finding::warn(
            check,
            &format!("{seen}: nobody knows whether {ca} may issue, {why}"),
            &change,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::caa::CaaRecord;
    use crate::domain::doctor::Verdict::{self, Fail, Ok as Well, Skipped, Warn};

    const HOST: &str = "shop.example.com";

    fn strings(all: &[&str]) -> Vec<String> {
        all.iter().map(|one| (*one).to_owned()).collect()
    }

    #[test]
    fn an_ingress_is_served_in_part_or_not_and_the_reason_is_named() {
        let of = |secrets: &[&str], reasons: &[&str]| {
            Ok(Some(Served { secrets: strings(secrets), reasons: strings(reasons) }))
        };
        let cases: [(Fact<Option<Served>>, Verdict, &str); 6] = [
            (of(&["shop-tls"], &[]), Well, "Secret shop-tls"),
            (of(&["shop-tls"], &["a wildcard"]), Warn, "in part: a wildcard"),
            (of(&[], &["another issuer"]), Fail, "no certificate: another issuer"),
            (of(&[], &[]), Fail, "has no host"),
            (Ok(None), Fail, "there is no Ingress web/shop"),
            (Err("forbidden".to_owned()), Skipped, "forbidden"),
        ];
        for (found, verdict, words) in cases {
            let finding = ingress("web/shop", &found);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.words().contains(words), "{finding:?}");
        }
    }

    #[test]
    fn a_host_resolves_to_an_address_that_the_ca_can_ask() {
        let of = |found: &[&str], of_ingress: &[&str], is_public_ca| {
            let parsed = |all: &[&str]| all.iter().map(|one| one.parse().unwrap()).collect();
            let addresses =
                Addresses { found: parsed(found), of_ingress: parsed(of_ingress), is_public_ca };
            dns(HOST, &Ok(addresses))
        };
        let both = of(&["1.1.1.1", "2606:4700::1"], &[], true);
        assert_eq!(both.seen, "shop.example.com has A 1.1.1.1, AAAA 2606:4700::1");
        assert_eq!(both.verdict, Well);
        assert_eq!(of(&["10.0.0.1"], &[], true).verdict, Warn);
        assert_eq!(of(&["10.0.0.1"], &[], false).verdict, Well);
        assert_eq!(of(&["1.1.1.1"], &["8.8.8.8"], true).verdict, Warn);
        assert_eq!(of(&["1.1.1.1"], &["1.1.1.1", "8.8.8.8"], true).verdict, Well);
        assert_eq!(dns(HOST, &Err("NXDOMAIN".to_owned())).verdict, Fail);
    }

    #[test]
    fn a_route_is_judged_by_family_and_by_whether_a_challenge_is_pending() {
        let judged = |v6: bool, answer: Answer, is_routed, has_other_family| {
            let address = if v6 { "2606:4700::1" } else { "1.1.1.1" }.parse().unwrap();
            route(HOST, &Route { address, answer, is_routed, has_other_family }).verdict
        };
        let other = || Answer::Other("another server answered, HTTP 4xx".to_owned());
        let (refused, silent) = (
            Answer::Refused("connection refused".to_owned()),
            Answer::Silent("timeout".to_owned()),
        );
        assert_eq!(judged(false, Answer::Ours, None, false), Well);
        assert_eq!(judged(false, Answer::Solver, Some(true), false), Well);
        assert_eq!(judged(false, other(), Some(true), false), Fail);
        assert_eq!(judged(false, other(), Some(false), false), Well);
        assert_eq!(judged(false, other(), None, false), Well);
        assert_eq!(judged(true, refused.clone(), None, true), Fail);
        assert_eq!(judged(false, refused, None, true), Fail);
        assert_eq!(judged(true, silent.clone(), None, true), Warn);
        assert_eq!(judged(true, silent.clone(), None, false), Fail);
        assert_eq!(judged(false, silent, None, true), Fail);
    }

    #[test]
    fn caa_records_that_forbid_the_ca_fail_with_the_record_to_add() {
        let issuer = Issuer { domains: strings(&["ca.example"]), account: None };
        let host = DnsName::parse(HOST).unwrap();
        let meant = CaOfHost { issuer: &issuer, name: None, is_meant: true };
        let other = CaOfHost { name: Some("own"), is_meant: false, ..meant };
        let by = |of: CaOfHost<'_>, value: &str| {
            let record =
                CaaRecord { critical: false, tag: "issue".to_owned(), value: value.to_owned() };
            let set = CaaSet { domain: "example.com".to_owned(), records: vec![record] };
            caa(&host, of, &Ok(set))
        };
        let of = |value: &str| by(meant, value);
        assert_eq!(of("ca.example").verdict, Well);
        let no = of("other.example");
        assert!(
            no.verdict == Fail && no.words().contains("add `0 issue \"ca.example\"`"),
            "{no:?}"
        );
        assert_eq!(of("ca.example; accounturi=https://ca.example/1").verdict, Warn);
        let elsewhere = by(other, "other.example");
        assert!(
            elsewhere.verdict == Warn && elsewhere.seen.contains("CA own may not issue"),
            "{elsewhere:?}"
        );
        assert_eq!(caa(&host, meant, &Ok(CaaSet::default())).verdict, Well);
        assert_eq!(caa(&host, meant, &Err("SERVFAIL".to_owned())).verdict, Fail);
    }
}
