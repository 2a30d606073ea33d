//! DNS-PERSIST-01 records (draft-ietf-acme-dns-persist): a TXT record that lets an account at a CA
//! prove a name for as long as the record is there.
//!
//! The CA decides. Records are read as strictly as the strictest CA may read them, for an order
//! that fails costs one of the validations that the CA allows.

use std::fmt::Write;

use crate::domain::caa::Issuer;
use crate::domain::dns::txt::RecordName;
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::time::Timestamp;

/// Longest string of a TXT record, in octets (RFC 1035 §3.3).
const STRING_MAX: usize = 255;
/// Whitespace around the parts of a record (RFC 8659 §4.2, `WSP`).
const WHITESPACE: [char; 2] = [' ', '\t'];

/// What a record means for an account that wants to prove a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// The account proves the name with the record.
    Fits,
    /// The record names another CA.
    OtherCa,
    /// The record names the CA and cannot be read, for this reason.
    Malformed(&'static str),
    /// The record names another account of the CA.
    OtherAccount,
    /// The name is a wildcard, and the record lacks `policy=wildcard`.
    NoWildcard,
    /// `persistUntil` (seconds since 1970) is over, or will be before an order is done.
    Ends(i64),
}

/// Value of a record after the domain of the CA (RFC 8659 §4.2).
#[derive(Default)]
struct Parameters<'a> {
    account: Option<&'a str>,
    wildcard: bool,
    until: Option<i64>,
}

/// Whether one of the records at the name lets the issuer's account prove `name` at `now`.
pub fn permits(records: &[String], issuer: &Issuer, name: &DnsName, now: Timestamp) -> bool {
    records.iter().any(|record| meaning(record, issuer, name, now) == Meaning::Fits)
}

/// What the record at the name means for the issuer's account. Each record stands for itself.
pub fn meaning(record: &str, issuer: &Issuer, name: &DnsName, now: Timestamp) -> Meaning {
    let mut parts = record.split(';').map(|part| part.trim_matches(WHITESPACE));
    let domain = parts.next().unwrap_or_default();
    if domain.is_empty() || !issuer.domains.iter().any(|own| own == domain) {
        return Meaning::OtherCa;
    }
    let read = match parameters(parts) {
        Ok(read) => read,
        Err(why) => return Meaning::Malformed(why),
    };
    let Some(account) = read.account else { return Meaning::Malformed("it has no accounturi") };
    let done_by = (now + limits::ORDER_DEADLINE).as_secs();
    match read.until {
        _ if issuer.account.as_deref() != Some(account) => Meaning::OtherAccount,
        _ if name.is_wildcard() && !read.wildcard => Meaning::NoWildcard,
        Some(until) if until < done_by => Meaning::Ends(until),
        _ => Meaning::Fits,
    }
}

/// Reads the parameters. Those that are not known are ignored (draft §4, item 1).
fn parameters<'a>(parts: impl Iterator<Item = &'a str>) -> Result<Parameters<'a>, &'static str> {
    let (mut read, mut tags) = (Parameters::default(), Vec::new());
    for part in parts {
        let (tag, value) = part.split_once('=').ok_or("a parameter has no `=`")?;
        let tag = tag.trim_matches(WHITESPACE).to_ascii_lowercase();
        let value = value.trim_matches(WHITESPACE);
        let is_tag = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
        if tag.is_empty() || !tag.bytes().all(is_tag) {
            return Err("a parameter has no tag of letters and digits");
        }
        if !value.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err("the value of a parameter has a space or another character than ASCII");
        }
        match tag.as_str() {
            "accounturi" if value.is_empty() => return Err("accounturi is empty"),
            "accounturi" => read.account = Some(value),
            "policy" => read.wildcard = value.eq_ignore_ascii_case("wildcard"),
            "persistuntil" => {
                let seconds = value.parse().map_err(|_| "persistUntil is no number of seconds")?;
                read.until = Some(seconds);
            }
            _ => {}
        }
        if tags.contains(&tag) {
            return Err("a parameter is there twice");
        }
        tags.push(tag);
    }
    Ok(read)
}

/// The value by which the account proves `name`; `None` while the CA's name or the account is
/// unknown.
pub fn value_to_set(issuer: &Issuer, name: &DnsName) -> Option<String> {
    let (domain, account) = (issuer.domains.first()?, issuer.account.as_ref()?);
    let policy = if name.is_wildcard() { "; policy=wildcard" } else { "" };
    Some(format!("{domain}; accounturi={account}{policy}"))
}

/// The record by which the account proves `name`, as in a zone file. What is unknown yet is named
/// in its place.
pub fn record_to_set(issuer: &Issuer, name: &DnsName) -> String {
    let at = RecordName::of_persist(name).map_or_else(String::new, |at| format!("{at}. "));
    match value_to_set(issuer, name) {
        Some(value) => format!("{at}IN TXT {}", quoted(&value)),
        None => format!("{at}IN TXT, whose value `ingress-acme record` prints"),
    }
}

/// The text as strings of a zone file (RFC 1035 §5.1), none longer than a TXT record may have.
fn quoted(value: &str) -> String {
    let (mut text, mut length) = (String::from("\""), 0);
    for character in value.chars() {
        if length + character.len_utf8() > STRING_MAX {
            text.push_str("\" \"");
            length = 0;
        }
        length += character.len_utf8();
        _ = match character {
            '"' | '\\' => write!(text, "\\{character}"), // writing to a String never fails
            other => write!(text, "{other}"),
        };
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ACCOUNT: &str = "https://ca.example/acct/7";
    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn issuer() -> Issuer {
        let domains = vec!["ca.example".to_owned(), "ca.example.net".to_owned()];
        Issuer { domains, account: Some(ACCOUNT.to_owned()) }
    }

    fn name(name: &str) -> DnsName {
        DnsName::parse_certified(name).unwrap()
    }

    fn of(record: &str) -> Meaning {
        meaning(record, &issuer(), &name("example.com"), NOW)
    }

    /// The cases of Pebble's own test of its validation.
    #[test]
    fn records_are_read_as_the_draft_and_pebble_say() {
        let fits = [
            format!("ca.example; accounturi={ACCOUNT}"),
            format!("ca.example.net;accounturi={ACCOUNT}"),
            format!("  ca.example \t;  AccountURI = {ACCOUNT} ; policy = WILDCARD "),
            format!("ca.example; accounturi={ACCOUNT}; unknown=x; persistUntil=4102444800"),
            format!("ca.example; accounturi={ACCOUNT}; policy=other"),
            format!("ca.example; accounturi={ACCOUNT}; policy="),
        ];
        for record in fits {
            assert_eq!(of(&record), Meaning::Fits, "{record}");
        }
        for other in ["", ";", "other.example", "CA.example", "; accounturi=x", "v=spf1 -all"] {
            assert_eq!(of(other), Meaning::OtherCa, "{other}");
        }
        let malformed = [
            "ca.example".to_owned(),
            format!("ca.example; accounturi={ACCOUNT};"),
            format!("ca.example; accounturi={ACCOUNT}; ACCOUNTURI={ACCOUNT}"),
            "ca.example; accounturi".to_owned(),
            "ca.example; accounturi=".to_owned(),
            format!("ca.example; accounturi={ACCOUNT}; =x"),
            format!("ca.example; accounturi={ACCOUNT}; policy=wild card"),
            format!("ca.example; accounturi={ACCOUNT}; policy=ä"),
            format!("ca.example; accounturi={ACCOUNT}; persistUntil="),
            format!("ca.example; accounturi={ACCOUNT}; persistUntil=soon"),
        ];
        for record in malformed {
            assert!(matches!(of(&record), Meaning::Malformed(_)), "{record}");
        }
        assert_eq!(of("ca.example; accounturi=https://ca.example/acct/8"), Meaning::OtherAccount);
    }

    #[test]
    fn a_wildcard_needs_the_policy_and_a_host_does_not() {
        let (bare, wild) = (
            format!("ca.example; accounturi={ACCOUNT}"),
            format!("ca.example; accounturi={ACCOUNT}; policy=wildcard"),
        );
        let of = |record: &str, to: &str| meaning(record, &issuer(), &name(to), NOW);
        assert_eq!(of(&bare, "*.example.com"), Meaning::NoWildcard);
        assert_eq!(of(&wild, "*.example.com"), Meaning::Fits);
        assert_eq!(of(&wild, "example.com"), Meaning::Fits);
    }

    #[test]
    fn a_record_that_ends_before_an_order_is_done_is_not_used() {
        let done_by = (NOW + limits::ORDER_DEADLINE).as_secs();
        let until = |until: i64| {
            let record = format!("ca.example; accounturi={ACCOUNT}; persistUntil={until}");
            of(&record)
        };
        assert_eq!(until(done_by), Meaning::Fits);
        for early in [done_by - 1, NOW.as_secs(), 1, -1, i64::MIN] {
            assert_eq!(until(early), Meaning::Ends(early));
        }
        assert_eq!(until(i64::MAX), Meaning::Fits);
    }

    #[test]
    fn one_record_that_fits_is_enough_and_nothing_fits_an_account_that_is_not_known() {
        let fits = format!("ca.example; accounturi={ACCOUNT}");
        let records = ["ca.example".to_owned(), "other.example".to_owned(), fits];
        let host = name("example.com");
        assert!(permits(&records, &issuer(), &host, NOW));
        assert!(!permits(&records[..2], &issuer(), &host, NOW));
        assert!(!permits(&records, &Issuer { account: None, ..issuer() }, &host, NOW));
        assert!(!permits(&records, &Issuer { domains: Vec::new(), ..issuer() }, &host, NOW));
    }

    #[test]
    fn the_record_to_set_is_that_of_a_zone_file() {
        let expected = format!(
            "_validation-persist.example.com. IN TXT \"ca.example; accounturi={ACCOUNT}; policy=wildcard\""
        );
        assert_eq!(record_to_set(&issuer(), &name("*.example.com")), expected);
        let of_host = record_to_set(&issuer(), &name("example.com"));
        assert_eq!(of_host, expected.replace("; policy=wildcard", ""));
        let unknown = record_to_set(&Issuer::default(), &name("example.com"));
        assert!(unknown.contains("`ingress-acme record` prints"), "{unknown}");
        assert_eq!(quoted(r#"a"\"#), r#""a\"\\""#);
        assert_eq!(quoted(&"x".repeat(256)), format!("\"{}\" \"x\"", "x".repeat(255)));
    }

    proptest! {
        /// Any text has a meaning, and only one that names the account of the CA fits.
        #[test]
        fn any_text_has_a_meaning(
            text in "(ca\\.example[ ;=,a-zA-Z0-9:/.-]{0,80}|.{0,200}|[;= a-z]{0,3000})",
        ) {
            for name in ["example.com", "*.example.com"] {
                let name = DnsName::parse_certified(name).unwrap();
                if meaning(&text, &issuer(), &name, NOW) == Meaning::Fits {
                    prop_assert!(text.contains(ACCOUNT) && text.contains("ca.example"));
                }
            }
        }

        /// The record that is printed is the one that is used, whatever the account's URL.
        #[test]
        fn the_record_to_set_fits(path in "[!-:<-~]{0,600}", wildcard in any::<bool>()) {
            let account = Some(format!("https://ca.example/{path}"));
            let issuer = Issuer { account, ..issuer() };
            let name = name(if wildcard { "*.example.com" } else { "example.com" });
            let value = value_to_set(&issuer, &name).unwrap();
            prop_assert_eq!(meaning(&value, &issuer, &name, NOW), Meaning::Fits);
            let record = record_to_set(&issuer, &name);
            let strings = record.split_once(" IN TXT ").unwrap().1;
            let unquoted = strings[1..strings.len() - 1].replace("\" \"", "");
            prop_assert_eq!(unquoted.replace("\\\"", "\"").replace("\\\\", "\\"), value);
        }
    }
}
