//! Rate limits of the CA, parsed from the text of a refusal: the problem document has no field for
//! scope and pace (RFC 8555 §6.6).
//!
//! The known texts are those of Let's Encrypt's Boulder; texts of other CAs are parsed as far as
//! possible.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;

use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::domain::rate_limits::{LimitScope, RateLimit};

/// Parses the text of a refusal of an order for `names`, which are empty for any other request.
///
/// A text that identifies no scope of the order counts for the whole account, because another order
/// would be refused too. The pace of such a text is used only if the text mentions the account or
/// the address.
pub fn rate_limit(text: &str, names: &BTreeSet<DnsName>) -> RateLimit {
    let scope = scope(text, names);
    let of_account = ["this account", "this IP"].iter().any(|whose| text.contains(whose));
    let known = scope != LimitScope::Account || of_account;
    RateLimit { scope, pace: pace(text).filter(|_| known) }
}

fn scope(text: &str, names: &BTreeSet<DnsName>) -> LimitScope {
    if text.contains("exact set") && !names.is_empty() {
        return LimitScope::Set(names.clone());
    }
    let words: BTreeSet<String> = text
        .split(|c: char| !(c.is_ascii_alphanumeric() || "-.*".contains(c)))
        .map(|word| word.trim_matches('.').to_ascii_lowercase())
        .collect();
    let named = |of: fn(&DnsName) -> &str| names.iter().find(|name| words.contains(of(name)));
    let name = named(DnsName::as_str).or_else(|| named(DnsName::base));
    let mut domains = names.iter().flat_map(DnsName::domains);
    match (name, domains.find(|domain| words.contains(*domain))) {
        // A name may be the registered domain. The text says which of the two is counted.
        (Some(name), _) if !text.contains("certificates") => LimitScope::Name(name.clone()),
        (_, Some(domain)) => LimitScope::Domain(domain.to_owned()),
        _ => LimitScope::Account,
    }
}

/// Parses a rate such as `(300) … in the last 3h0m0s`: one in 36 s.
fn pace(text: &str) -> Option<Duration> {
    let (_, rest) = text.split_once('(')?;
    let (count, _) = rest.split_once(')')?;
    let count: u32 = count.trim().parse().ok().filter(|count| *count > 0)?;
    let (_, rest) = text.split_once("in the last ")?;
    let period = rest.split([',', ' ']).next()?;
    let period: SignedDuration = period.parse().ok()?;
    Some(Duration::try_from(period).ok()? / count)
}

/// The texts are those of Boulder (<https://github.com/letsencrypt/boulder>,
/// `ratelimits/transaction.go`).
#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn names(hosts: &[&str]) -> BTreeSet<DnsName> {
        hosts.iter().map(|host| DnsName::parse_certified(host).unwrap()).collect()
    }

    fn read(text: &str, hosts: &[&str]) -> RateLimit {
        rate_limit(text, &names(hosts))
    }

    #[test]
    fn the_scope_and_the_pace_are_read_off_what_the_ca_says() {
        let hosts = ["a.example.com", "b.example.co.uk"];
        let cases = [
            (
                "too many new orders (300) from this account in the last 3h0m0s, retry after 2026-11-24 12:00:00 UTC",
                RateLimit { scope: LimitScope::Account, pace: Some(Duration::from_secs(36)) },
            ),
            (
                "too many new registrations (10) from this IP address in the last 3h0m0s, retry after ...",
                RateLimit { scope: LimitScope::Account, pace: Some(Duration::from_mins(18)) },
            ),
            (
                "too many certificates (50) already issued for \"example.co.uk\" in the last 168h0m0s, retry after ...",
                RateLimit {
                    scope: LimitScope::Domain("example.co.uk".into()),
                    pace: Some(168 * HOUR / 50),
                },
            ),
            (
                "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, ...",
                RateLimit { scope: LimitScope::Set(names(&hosts)), pace: Some(168 * HOUR / 5) },
            ),
            (
                "too many failed authorizations (5) for \"a.example.com\" in the last 1h0m0s, retry after ...",
                RateLimit {
                    scope: LimitScope::Name(DnsName::parse("a.example.com").unwrap()),
                    pace: Some(HOUR / 5),
                },
            ),
            ("Rate limit exceeded", RateLimit { scope: LimitScope::Account, pace: None }),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text, &hosts), expected, "{text}");
        }
    }

    #[test]
    fn a_name_that_is_its_own_registered_domain_is_reported_from_others_by_what_is_counted() {
        let of_certificates =
            "too many certificates (50) already issued for \"example.com\" in the last 168h0m0s";
        let of_failures =
            "too many failed authorizations (5) for \"example.com\" in the last 1h0m0s";
        let apex = DnsName::parse("example.com").unwrap();
        assert_eq!(
            read(of_certificates, &["example.com"]).scope,
            LimitScope::Domain("example.com".into())
        );
        assert_eq!(read(of_failures, &["example.com"]).scope, LimitScope::Name(apex));
    }

    #[test]
    fn a_wildcard_is_meant_with_its_label_and_without() {
        let of = |what: &str, hosts: &[&str]| {
            read(&format!("too many {what} for \"{}\" in the last 1h0m0s", hosts[0]), &hosts[1..])
        };
        let name = |name: &str| LimitScope::Name(DnsName::parse_certified(name).unwrap());
        let both = |said| of("failed authorizations (5)", &[said, "*.example.com", "example.com"]);
        assert_eq!(both("*.example.com").scope, name("*.example.com"));
        assert_eq!(both("example.com").scope, name("example.com"));
        let alone = |what| of(what, &["example.com", "*.example.com"]).scope;
        assert_eq!(alone("failed authorizations (5)"), name("*.example.com"));
        let domain = LimitScope::Domain("example.com".to_owned());
        assert_eq!(alone("certificates (50) already issued"), domain);
    }

    #[test]
    fn a_part_of_a_name_is_not_the_name() {
        let text = "too many certificates (50) already issued for \"shop.example.com.evil.net\"";
        assert_eq!(read(text, &["shop.example.com"]).scope, LimitScope::Account);
    }

    #[test]
    fn odd_numbers_say_nothing_of_a_pace() {
        for text in
            ["(0) in the last 3h0m0s", "(many) in the last 3h", "(3) in the last -3h", "(3)"]
        {
            assert_eq!(read(text, &["a.example.com"]).pace, None, "{text}");
        }
    }

    #[test]
    fn a_domain_is_the_one_that_the_ca_names_whatever_lists_of_suffixes_say() {
        let text = "too many certificates (50) already issued for \"b.c.example.com\" in the last 168h0m0s";
        assert_eq!(
            read(text, &["a.b.c.example.com"]).scope,
            LimitScope::Domain("b.c.example.com".into())
        );
    }

    #[test]
    fn a_refusal_of_another_request_than_a_new_order_is_about_the_account() {
        let text = "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s";
        assert_eq!(read(text, &[]), RateLimit::ACCOUNT);
    }

    proptest::proptest! {
        #[test]
        fn any_text_has_a_scope_of_the_order_or_of_the_account(
            text in "(.{0,80}|too many|exact set|\\(|\\)|in the last |[0-9]{1,25}|h|m|s|a\\.example\\.com| ){0,12}",
        ) {
            let limit = read(&text, &["a.example.com"]);
            let of_it = match limit.scope {
                LimitScope::Domain(domain) => "a.example.com".ends_with(&domain),
                LimitScope::Set(set) => set == names(&["a.example.com"]),
                LimitScope::Name(name) => name.as_str() == "a.example.com",
                LimitScope::Account => true,
                LimitScope::Address | LimitScope::Share(_) => false,
            };
            proptest::prop_assert!(of_it);
        }
    }
}
