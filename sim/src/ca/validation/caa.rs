//! CAA records (RFC 8659) with `accounturi` and `validationmethods` (RFC 8657), which CAs must obey
//! from 2027-03-15 (CA/B Forum ballot SC-098v2), and which Let's Encrypt obeys already.

use hickory_proto::rr::rdata::CAA;

use super::super::documents::CAA_IDENTITY;
use super::super::names::base;
use super::super::orders::Kind;
use super::{Problem, dns};
use crate::dns::{Record, Zone};

/// Checks the records of `name`, or of its closest parent that has any (RFC 8659 §3). A look-up
/// that fails forbids issuance too (Baseline Requirements §3.2.2.8).
pub(super) fn check(
    zone: &Zone,
    (name, kind): (&str, Kind),
    account_url: &str,
) -> Result<(), Problem> {
    let (name, wildcard) = (base(name), name.starts_with("*."));
    let about = |problem: Problem| {
        let detail = format!("While processing CAA for {name}: {}", problem.detail);
        Problem { detail, ..problem }
    };
    let mut domain = Some(name);
    while let Some(at) = domain {
        let looked_up = zone.resolve_validated(at, Record::Caa);
        looked_up.map_err(|trouble| about(dns(trouble, "CAA", at)))?;
        let records = zone.caa(at);
        if !records.is_empty() {
            let detail = format!("CAA record for {at} prevents issuance");
            let refused = about(Problem::new(403, "caa", detail));
            let allowed = allow(&records, (wildcard, kind), account_url);
            return if allowed { Ok(()) } else { Err(refused) };
        }
        domain = at.split_once('.').map(|(_, parent)| parent);
    }
    Ok(())
}

/// Whether the records let this account have a certificate. For a wildcard, `issuewild` replaces
/// `issue` (RFC 8659 §4.3).
fn allow(records: &[CAA], (wildcard, kind): (bool, Kind), account_url: &str) -> bool {
    let known = |one: &CAA| ["issue", "issuewild", "iodef"].contains(&tag(one).as_str());
    if records.iter().any(|one| one.issuer_critical && !known(one)) {
        return false;
    }
    let wild = wildcard && records.iter().any(|one| tag(one) == "issuewild");
    let counts = if wild { "issuewild" } else { "issue" };
    let mut issues = records.iter().filter(|one| tag(one) == counts).peekable();
    issues.peek().is_none() || issues.any(|one| allows(one, kind, account_url))
}

fn tag(record: &CAA) -> String {
    record.tag.to_ascii_lowercase()
}

fn allows(issue: &CAA, kind: Kind, account_url: &str) -> bool {
    let Ok((Some(domain), parameters)) = issue.value_as_issue() else { return false };
    let of = |wanted: &'static str| {
        let all = parameters.iter().filter(move |one| one.key().eq_ignore_ascii_case(wanted));
        all.map(|one| one.value().trim())
    };
    domain.to_ascii().trim_end_matches('.').eq_ignore_ascii_case(CAA_IDENTITY)
        && of("accounturi").count() <= 1
        && of("accounturi").all(|account| account == account_url)
        && of("validationmethods").all(|list| list.split(',').any(|one| one.trim() == kind.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Issue, Trouble};

    const ACCOUNT: &str = "https://127.0.0.1/acme/acct/7";
    const OTHER: &str = "https://127.0.0.1/acme/acct/8";

    fn refusal(issue: &[Issue<'_>]) -> Option<Problem> {
        let zone = Zone::default();
        zone.set_caa("example.com", issue);
        check(&zone, ("a.example.com", Kind::Http01), ACCOUNT).err()
    }

    #[test]
    fn records_must_name_the_ca_and_the_account_and_the_method_where_they_have_those() {
        let ca = Some(CAA_IDENTITY);
        let allowed: [&[Issue<'_>]; 5] = [
            &[],
            &[(ca, &[])],
            &[(None, &[]), (ca, &[("accounturi", ACCOUNT)])],
            &[(ca, &[("accounturi", OTHER)]), (ca, &[("accounturi", ACCOUNT)])],
            &[(ca, &[("validationmethods", "dns-01,http-01"), ("accounturi", ACCOUNT)])],
        ];
        for issue in allowed {
            assert_eq!(refusal(issue), None, "{issue:?}");
        }
        let forbidden: [&[Issue<'_>]; 5] = [
            &[(None, &[])],
            &[(Some("other.example"), &[])],
            &[(ca, &[("accounturi", OTHER)])],
            &[(ca, &[("validationmethods", "dns-01")])],
            &[(ca, &[("accounturi", ACCOUNT), ("accounturi", ACCOUNT)])],
        ];
        let words =
            "While processing CAA for a.example.com: CAA record for example.com prevents issuance";
        for issue in forbidden {
            let problem = refusal(issue).unwrap_or_else(|| panic!("{issue:?}"));
            assert_eq!(
                (problem.kind, problem.status, problem.detail.as_str()),
                ("caa", 403, words)
            );
        }
    }

    #[test]
    fn the_closest_domain_decides_and_a_look_up_that_fails_forbids() {
        let zone = Zone::default();
        zone.set_caa("example.com", &[(None, &[])]);
        zone.set_caa("a.example.com", &[(Some(CAA_IDENTITY), &[])]);
        assert_eq!(check(&zone, ("a.example.com", Kind::Http01), ACCOUNT), Ok(()));
        assert_eq!(check(&zone, ("b.example.com", Kind::Http01), ACCOUNT).unwrap_err().kind, "caa");
        zone.set("c.example.net", Some(Trouble::BogusCaa));
        let problem = check(&zone, ("c.example.net", Kind::Http01), ACCOUNT).unwrap_err();
        assert_eq!((problem.kind, problem.status), ("dns", 400));
        let words = "DNS problem: SERVFAIL looking up CAA for c.example.net - the domain's nameservers may be malfunctioning";
        assert!(problem.detail.ends_with(words), "{}", problem.detail);
    }
}
