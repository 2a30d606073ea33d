//! CAA records (RFC 8659) with the parameters `accounturi` and `validationmethods` (RFC 8657):
//! whether the records of a domain let a CA issue for one account by one method.
//!
//! The CA decides. This is a look ahead from inside the cluster, so only a definite "no" counts:
//! what cannot be found out is left to the CA.

use std::fmt::Write;

use crate::domain::challenge::Method;
use crate::domain::cut::cut;
use crate::domain::limits;
use crate::domain::name::DnsName;

/// Tag of the property for all names.
const ISSUE: &str = "issue";
/// Tag of the property for wildcards, which then replaces `issue` (RFC 8659 §4.3).
const ISSUE_WILD: &str = "issuewild";

/// One CAA record (RFC 8659 §4.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaaRecord {
    /// Whether a CA that does not know the tag must not issue.
    pub critical: bool,
    /// Tag of the property, such as `issue`.
    pub tag: String,
    /// Value of the property; bytes that are no UTF-8 are replaced.
    pub value: String,
}

/// The CAA records that apply to a host: those of the closest domain that has any (RFC 8659 §3).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CaaSet {
    /// Domain of the records; empty without records.
    pub domain: String,
    /// The records.
    pub records: Vec<CaaRecord>,
}

/// The CA in terms of CAA records.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Issuer {
    /// Domain names of the CA: `caaIdentities` of its directory (RFC 8555 §7.1.1).
    pub domains: Vec<String>,
    /// URL of the account, once registered.
    pub account: Option<String>,
}

/// What the records of a host mean for an issuer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Permission {
    /// The issuer may issue.
    Allowed,
    /// The issuer must not issue, for this reason.
    Forbidden(&'static str),
    /// The records do not tell as long as this is not known.
    Unknown(&'static str),
}

/// Value of an `issue` property (RFC 8659 §4.2).
#[derive(PartialEq, Eq, Debug)]
struct Issue<'a> {
    domain: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl CaaSet {
    /// Whether the records let the issuer issue for a name that is proved by this method.
    pub fn permission(&self, issuer: &Issuer, name: &DnsName, method: Method) -> Permission {
        let known = |record: &&CaaRecord| {
            [ISSUE, ISSUE_WILD, "iodef", "contactemail", "contactphone", "issuemail", "issuevmc"]
                .iter()
                .any(|tag| record.tag.eq_ignore_ascii_case(tag))
        };
        if self.records.iter().any(|record| record.critical && !known(&record)) {
            return Permission::Forbidden("a critical tag is unknown (RFC 8659 §4.1)");
        }
        let mut issues = self.issues(name).peekable();
        if issues.peek().is_none() {
            return Permission::Allowed;
        }
        if issuer.domains.is_empty() {
            return Permission::Unknown("the CA does not name its CAA identities");
        }
        let mut found = Permission::Forbidden("no record names the CA");
        for issue in issues.filter_map(parse) {
            match issue.permission(issuer, method) {
                Some(Permission::Allowed) => return Permission::Allowed,
                Some(other) if matches!(found, Permission::Forbidden(_)) => found = other,
                _ => {}
            }
        }
        found
    }

    /// Values of the properties that count for this name: those of `issuewild` alone for a
    /// wildcard, if there are any (RFC 8659 §4.3).
    fn issues(&self, name: &DnsName) -> impl Iterator<Item = &str> {
        let has = |record: &CaaRecord, tag| record.tag.eq_ignore_ascii_case(tag);
        let wild = name.is_wildcard() && self.records.iter().any(|one| has(one, ISSUE_WILD));
        let tag = if wild { ISSUE_WILD } else { ISSUE };
        let issues = self.records.iter().filter(move |one| has(one, tag));
        issues.map(|record| record.value.as_str())
    }

    /// The records in the form of a zone file, without controls and at most
    /// [`limits::PROBE_TEXT_MAX`] bytes.
    pub fn shown(&self) -> String {
        let mut text = String::new();
        for CaaRecord { critical, tag, value } in &self.records {
            let (flags, separator) =
                (u8::from(*critical) << 7, if text.is_empty() { "" } else { ", " });
            let value = value.replace('"', "\\\"");
            let _ = write!(text, "{separator}{flags} {tag} \"{value}\""); // never fails
        }
        cut(text, limits::PROBE_TEXT_MAX)
    }
}

impl Issue<'_> {
    /// What this property means for the issuer; `None` if it names another CA.
    fn permission(&self, issuer: &Issuer, method: Method) -> Option<Permission> {
        if !issuer.domains.iter().any(|domain| same(domain, self.domain)) {
            return None;
        }
        let values = |wanted: &'static str| {
            let of_it =
                self.parameters.iter().filter(move |(tag, _)| tag.eq_ignore_ascii_case(wanted));
            of_it.map(|(_, value)| *value)
        };
        let accounts: Vec<&str> = values("accounturi").collect();
        let methods: Vec<&str> = values("validationmethods").collect();
        if accounts.len() > 1 {
            return Some(Permission::Forbidden("a record has accounturi twice (RFC 8657 §3)"));
        }
        let has = |methods: &&str| methods.split(',').any(|one| one.trim() == method.as_str());
        if !methods.iter().all(has) {
            return Some(Permission::Forbidden(left_out(method)));
        }
        Some(match (accounts.first(), &issuer.account) {
            (None, _) => Permission::Allowed,
            (Some(_), None) => Permission::Unknown("the account is not registered yet"),
            (Some(of), Some(account)) if *of == account => Permission::Allowed,
            (Some(_), Some(_)) => Permission::Forbidden("accounturi is that of another account"),
        })
    }
}

fn left_out(method: Method) -> &'static str {
    match method {
        Method::Http01 => "validationmethods leaves out http-01",
        Method::Dns01 => "validationmethods leaves out dns-01",
        Method::DnsPersist01 => "validationmethods leaves out dns-persist-01",
    }
}

fn same(one: &str, other: &str) -> bool {
    one.trim_end_matches('.').eq_ignore_ascii_case(other.trim_end_matches('.'))
}

/// Parses the value of an `issue` property; `None` if it is malformed, which authorizes nobody
/// (RFC 8659 §4.2).
fn parse(value: &str) -> Option<Issue<'_>> {
    let (domain, rest) = value.split_once(';').unwrap_or((value, ""));
    let domain = domain.trim_matches([' ', '\t']);
    let legal = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.');
    if !domain.bytes().all(legal) {
        return None;
    }
    let mut parameters = Vec::new();
    for parameter in rest.split(';').map(|one| one.trim_matches([' ', '\t'])) {
        if parameter.is_empty() {
            continue;
        }
        let (tag, value) = parameter.split_once('=')?;
        let (tag, value) = (tag.trim_matches([' ', '\t']), value.trim_matches([' ', '\t']));
        let named = !tag.is_empty() && tag.bytes().all(|one| one.is_ascii_alphanumeric());
        if !named || !value.bytes().all(|one| one.is_ascii_graphic()) {
            return None;
        }
        parameters.push((tag, value));
    }
    Some(Issue { domain, parameters })
}

/// The name and the domains above it, closest first, up to the top-level domain (RFC 8659 §3). The
/// search for a wildcard begins at its domain.
pub fn climb(name: &DnsName) -> impl Iterator<Item = &str> {
    let domains = name.domains().skip(usize::from(name.is_wildcard()));
    domains.chain(name.as_str().rsplit('.').next())
}

/// The record that lets only this account of the CA issue, for a wildcard by the methods in DNS and
/// for a host by HTTP-01 (RFC 8657); `None` while the CA or the account is unknown.
pub fn locking_record(issuer: &Issuer, name: &DnsName) -> Option<String> {
    let (domain, account) = (issuer.domains.first()?, issuer.account.as_ref()?);
    let (tag, methods): (_, &[Method]) = if name.is_wildcard() {
        (ISSUE_WILD, &[Method::Dns01, Method::DnsPersist01])
    } else {
        (ISSUE, &[Method::Http01])
    };
    let methods = methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(",");
    Some(format!(r#"0 {tag} "{domain}; accounturi={account}; validationmethods={methods}""#))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ACCOUNT: &str = "https://ca.example/acct/7";

    fn issuer() -> Issuer {
        Issuer { domains: vec!["ca.example".to_owned()], account: Some(ACCOUNT.to_owned()) }
    }

    fn host() -> DnsName {
        DnsName::parse("shop.example.com").unwrap()
    }

    fn wildcard() -> DnsName {
        DnsName::parse_certified("*.example.com").unwrap()
    }

    fn record(tag: &str, value: &str) -> CaaRecord {
        CaaRecord { critical: false, tag: tag.to_owned(), value: value.to_owned() }
    }

    fn permission(values: &[&str]) -> Permission {
        let records = values.iter().map(|value| record("issue", value)).collect();
        CaaSet { domain: "example.com".to_owned(), records }.permission(
            &issuer(),
            &host(),
            Method::Http01,
        )
    }

    #[test]
    fn records_allow_or_forbid_as_rfc_8659_and_rfc_8657_say() {
        let own = format!("ca.example; accounturi={ACCOUNT}");
        let locked = format!("{own}; validationmethods=dns-01,http-01");
        let allowed: [&[&str]; 9] = [
            &[],
            &["ca.example"],
            &["CA.Example."],
            &["  ca.example ; "],
            &["other.example", "ca.example"],
            &[&own],
            &[&locked],
            &["ca.example; policy=ev"],
            &["ca.example; accounturi=https://ca.example/acct/8", &own],
        ];
        for values in allowed {
            assert_eq!(permission(values), Permission::Allowed, "{values:?}");
        }
        let forbidden: [&[&str]; 9] = [
            &[";"],
            &[""],
            &["other.example"],
            &["ca.example; accounturi=https://ca.example/acct/8"],
            &["ca.example; validationmethods=dns-01"],
            &["ca.example; accounturi"],
            &["ca.example; accounturi=a; accounturi=b"],
            &["ca example"],
            &["other.example", ";", "ca.example; validationmethods=tls-alpn-01"],
        ];
        for values in forbidden {
            assert!(matches!(permission(values), Permission::Forbidden(_)), "{values:?}");
        }
    }

    #[test]
    fn what_is_not_known_forbids_nothing() {
        let records = vec![record("issue", &format!("ca.example; accounturi={ACCOUNT}"))];
        let set = CaaSet { domain: "example.com".to_owned(), records };
        let unnamed = Issuer { domains: Vec::new(), ..issuer() };
        let new = Issuer { account: None, ..issuer() };
        for issuer in [unnamed, new] {
            assert!(
                matches!(set.permission(&issuer, &host(), Method::Http01), Permission::Unknown(_)),
                "{issuer:?}"
            );
        }
    }

    #[test]
    fn other_tags_forbid_only_where_they_are_critical() {
        let critical = |tag| CaaRecord { critical: true, ..record(tag, "x") };
        let of = |record| CaaSet { domain: "a".to_owned(), records: vec![record] };
        for tag in ["iodef", "issuewild", "ISSUEMAIL"] {
            assert_eq!(
                of(critical(tag)).permission(&issuer(), &host(), Method::Http01),
                Permission::Allowed,
                "{tag}"
            );
        }
        assert_eq!(
            of(record("new", "x")).permission(&issuer(), &host(), Method::Http01),
            Permission::Allowed
        );
        assert!(matches!(
            of(critical("new")).permission(&issuer(), &host(), Method::Http01),
            Permission::Forbidden(_)
        ));
    }

    #[test]
    fn the_search_climbs_to_the_top_level_domain() {
        let host = DnsName::parse("a.b.example.com").unwrap();
        let all: Vec<&str> = climb(&host).collect();
        assert_eq!(all, ["a.b.example.com", "b.example.com", "example.com", "com"]);
        assert_eq!(climb(&wildcard()).collect::<Vec<_>>(), ["example.com", "com"]);
    }

    #[test]
    fn properties_for_wildcards_replace_the_others_for_wildcards_alone() {
        let of = |records: &[(&str, &str)], name: &DnsName| {
            let records = records.iter().map(|(tag, value)| record(tag, value)).collect();
            let set = CaaSet { domain: "example.com".to_owned(), records };
            set.permission(&issuer(), name, Method::Dns01) == Permission::Allowed
        };
        let (own, none) = (("issue", "ca.example"), ("issue", ";"));
        let (wild, no_wild) = (("issuewild", "ca.example"), ("ISSUEWILD", ";"));
        let both = |records: &[_]| (of(records, &host()), of(records, &wildcard()));
        assert_eq!(both(&[own]), (true, true));
        assert_eq!(both(&[none]), (false, false));
        assert_eq!(both(&[none, wild]), (false, true));
        assert_eq!(both(&[own, no_wild]), (true, false));
        assert_eq!(both(&[wild]), (true, true));
        assert_eq!(both(&[no_wild]), (true, false));
    }

    #[test]
    fn a_list_of_methods_allows_those_in_it() {
        let all = [Method::Http01, Method::Dns01, Method::DnsPersist01];
        let allowed = |list: &str| {
            let records = vec![record("issue", &format!("ca.example; validationmethods={list}"))];
            let set = CaaSet { domain: "example.com".to_owned(), records };
            all.map(|method| set.permission(&issuer(), &host(), method) == Permission::Allowed)
        };
        assert_eq!(allowed("dns-01"), [false, true, false]);
        assert_eq!(allowed("http-01,dns-persist-01"), [true, false, true]);
        assert_eq!(allowed("tls-alpn-01"), [false; 3]);
    }

    #[test]
    fn the_locking_record_allows_this_account_and_no_other() {
        let record = locking_record(&issuer(), &host()).unwrap();
        let value = record.split('"').nth(1).unwrap();
        assert_eq!(permission(&[value]), Permission::Allowed);
        let records = vec![self::record("issue", value)];
        let other = Issuer { account: Some("https://ca.example/acct/8".to_owned()), ..issuer() };
        let set = CaaSet { domain: "example.com".to_owned(), records };
        assert!(matches!(
            set.permission(&other, &host(), Method::Http01),
            Permission::Forbidden(_)
        ));
        assert_eq!(locking_record(&Issuer { account: None, ..issuer() }, &host()), None);
        let expected = format!(
            "0 issuewild \"ca.example; accounturi={ACCOUNT}; validationmethods=dns-01,dns-persist-01\""
        );
        assert_eq!(locking_record(&issuer(), &wildcard()), Some(expected));
    }

    #[test]
    fn a_record_that_allows_wins_over_one_that_is_not_known_and_that_over_one_that_forbids() {
        let unregistered = Issuer { account: None, ..issuer() };
        let of = |values: &[&str]| {
            let records = values.iter().map(|value| record("issue", value)).collect();
            CaaSet { domain: "example.com".to_owned(), records }.permission(
                &unregistered,
                &host(),
                Method::Http01,
            )
        };
        let (allows, unknown) = ("ca.example", "ca.example; accounturi=https://ca.example/acct/7");
        let forbids = "ca.example; validationmethods=dns-01";
        assert_eq!(of(&[allows, unknown, forbids]), Permission::Allowed);
        assert_eq!(of(&[forbids, unknown, allows]), Permission::Allowed);
        for values in [[forbids, unknown], [unknown, forbids]] {
            assert!(matches!(of(&values), Permission::Unknown(_)), "{values:?}");
        }
        let methods = Permission::Forbidden("validationmethods leaves out http-01");
        assert_eq!(of(&[forbids]), methods, "the reason is the one of the CA's own record");
        assert_eq!(of(&["other.example", forbids]), methods);
    }

    #[test]
    fn records_are_shown_as_in_a_zone_file() {
        let critical = CaaRecord { critical: true, ..record("issue", "ca.example") };
        let records = vec![critical, record("iodef", "mailto:\"a\"@b.c")];
        let set = CaaSet { domain: "example.com".to_owned(), records };
        assert_eq!(set.shown(), r#"128 issue "ca.example", 0 iodef "mailto:\"a\"@b.c""#);
        assert_eq!(CaaSet::default().shown(), "");
    }

    #[test]
    fn a_parameter_without_a_tag_or_with_a_space_in_its_value_authorizes_nobody() {
        let malformed = ["ca.example; =ev", "ca.example; po_licy=ev", "ca.example; policy=a b"];
        for value in malformed {
            assert!(matches!(permission(&[value]), Permission::Forbidden(_)), "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_records_are_allowed_or_not_and_shown_in_a_bounded_text(
            records in prop::collection::vec(
                (any::<bool>(), "issue|issuewild|iodef|[a-zA-Z]{0,9}", "ca\\.example[ ;=,a-z0-9:/.-]{0,60}|.{0,300}"), 0..12,
            ),
        ) {
            let of = |(critical, tag, value)| CaaRecord { critical, tag, value };
            let records: Vec<CaaRecord> = records.into_iter().map(of).collect();
            let set = CaaSet { domain: "example.com".to_owned(), records };
            let shown = set.shown();
            prop_assert!(shown.len() <= limits::PROBE_TEXT_MAX);
            prop_assert!(!shown.chars().any(char::is_control));
            // One more record never forbids what was allowed, unless its tag is critical.
            if set.permission(&issuer(), &host(), Method::Http01) == Permission::Allowed && set.issues(&host()).next().is_some() {
                let more = record("issue", ";");
                let records = set.records.iter().cloned().chain([more]).collect();
                let set = CaaSet { records, ..set };
                prop_assert_eq!(set.permission(&issuer(), &host(), Method::Http01), Permission::Allowed);
            }
        }
    }
}
