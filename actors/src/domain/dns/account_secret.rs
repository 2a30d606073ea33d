//! The Secret of a DNS account: the keys that are the same for every provider. Those of the
//! provider itself are read by its adapter.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::cut::cut;
use crate::domain::dns::account::{DnsAccount, Namespaces};
use crate::domain::dns::txt::RecordName;
use crate::domain::limits;

/// Label of a Secret that is a DNS account, with the value `true`.
pub const LABEL: &str = "ingress-acme.dev/dns-account";
/// Key of the provider's name.
const PROVIDER: &str = "provider";
/// Key of the zones whose names are proved with the account.
const ZONES: &str = "zones";
/// Key of the zones that exist for challenges alone.
const DELEGATION_ZONES: &str = "delegation-zones";
/// Key of the namespaces that the account serves.
const NAMESPACES: &str = "namespaces";
/// The value of [`NAMESPACES`] that stands for all.
const ALL: &str = "*";
/// Longest name of a namespace, in bytes (RFC 1123 label).
const MAX_NAMESPACE: usize = 63;

/// Keys that are the same for every provider.
pub const COMMON_KEYS: [&str; 4] = [PROVIDER, ZONES, DELEGATION_ZONES, NAMESPACES];

/// Data of a Secret as text. Values are without the white space around them, which `echo` and
/// editors leave.
pub type Data<'a> = BTreeMap<&'a str, &'a str>;

/// Why the Secret of an account cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadAccount {
    /// A key is not there, or has no value.
    #[error("it has no key `{0}`")]
    Missing(&'static str),
    /// Neither zones nor delegation zones.
    #[error("it has neither `zones` nor `delegation-zones`, so nothing can be written with it")]
    NoZones,
    /// A name of a list is not what the key lists.
    #[error("key `{0}` has `{1}`, which {2}")]
    BadName(&'static str, String, &'static str),
    /// A list has too many names.
    #[error("key `{0}` lists more than {limit} names", limit = limits::DNS_ACCOUNT_NAMES)]
    TooMany(&'static str),
    /// A value is too long, of a key that [`text`] names.
    #[error("key `{0}` has more than {limit} bytes", limit = limits::DNS_ACCOUNT_VALUE)]
    TooLong(String),
    /// A value is not UTF-8.
    #[error("key `{0}` is not text")]
    NotText(String),
}

/// Reads the values of a Secret as texts.
///
/// # Errors
/// [`BadAccount::TooLong`], [`BadAccount::NotText`].
pub fn text<'a>(
    data: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<Data<'a>, BadAccount> {
    let value = |(key, value): (&'a str, &'a [u8])| {
        let shown = || cut(key, limits::SHOWN_MAX);
        if value.len() > limits::DNS_ACCOUNT_VALUE {
            return Err(BadAccount::TooLong(shown()));
        }
        let text = std::str::from_utf8(value).map_err(|_| BadAccount::NotText(shown()))?;
        Ok((key, text.trim()))
    };
    data.into_iter().map(value).collect()
}

/// Reads the account, without its credentials. `version` is that of its Secret.
///
/// # Errors
/// [`BadAccount`]: no value of a provider's own keys is in its text.
pub fn account(name: &str, version: &str, data: &Data<'_>) -> Result<DnsAccount, BadAccount> {
    let provider = data.get(PROVIDER).filter(|provider| !provider.is_empty());
    let provider = provider.ok_or(BadAccount::Missing(PROVIDER))?;
    let (zones, delegation_zones) = (zones(data, ZONES)?, zones(data, DELEGATION_ZONES)?);
    if zones.is_empty() && delegation_zones.is_empty() {
        return Err(BadAccount::NoZones);
    }
    Ok(DnsAccount {
        name: name.to_owned(),
        version: version.to_owned(),
        provider: cut(*provider, limits::SHOWN_MAX),
        zones,
        delegation_zones,
        namespaces: namespaces(data)?,
    })
}

fn zones(data: &Data<'_>, key: &'static str) -> Result<BTreeSet<RecordName>, BadAccount> {
    let zone = |text: &str| {
        let why = "is not a zone: labels of 1 to 63 letters, digits, `-` and `_`";
        RecordName::parse(text).map_err(|_| bad(key, text, why))
    };
    names(data, key)?.into_iter().map(zone).collect()
}

fn namespaces(data: &Data<'_>) -> Result<Namespaces, BadAccount> {
    let names = names(data, NAMESPACES)?;
    if names.contains(&ALL) {
        return Ok(Namespaces::All);
    }
    let legal = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    let namespace = |text: &str| {
        let is_name = text.len() <= MAX_NAMESPACE && text.bytes().all(legal);
        let why = "is neither the name of a namespace nor `*`";
        is_name.then(|| text.to_owned()).ok_or_else(|| bad(NAMESPACES, text, why))
    };
    Ok(Namespaces::These(names.into_iter().map(namespace).collect::<Result<_, _>>()?))
}

/// Names of a list, which commas or white space separate.
fn names<'a>(data: &Data<'a>, key: &'static str) -> Result<Vec<&'a str>, BadAccount> {
    let listed = data.get(key).copied().unwrap_or_default();
    let names = listed.split(|c: char| c == ',' || c.is_whitespace());
    let names = names.filter(|name| !name.is_empty()).take(limits::DNS_ACCOUNT_NAMES + 1);
    let names: Vec<&str> = names.collect();
    if names.len() > limits::DNS_ACCOUNT_NAMES {
        return Err(BadAccount::TooMany(key));
    }
    Ok(names)
}

fn bad(key: &'static str, text: &str, why: &'static str) -> BadAccount {
    BadAccount::BadName(key, cut(text, limits::SHOWN_MAX), why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(data: &[(&str, &str)]) -> Result<DnsAccount, String> {
        let bytes = data.iter().map(|(key, value)| (*key, value.as_bytes()));
        let data = text(bytes).map_err(|why| why.to_string())?;
        account("a", "1", &data).map_err(|why| why.to_string())
    }

    #[test]
    fn an_account_says_its_zones_and_whom_it_serves() {
        let read = read(&[
            ("provider", "rfc2136\n"),
            ("zones", "Example.com., example.org\n  example.net"),
            ("delegation-zones", "acme.example.net"),
            ("namespaces", "web, api"),
            ("tsig-secret", "c2VjcmV0"),
        ]);
        let account = read.unwrap();
        assert_eq!((&*account.name, &*account.provider), ("a", "rfc2136"));
        let zones: Vec<_> = account.zones.iter().map(RecordName::as_str).collect();
        assert_eq!(zones, ["example.com", "example.net", "example.org"]);
        assert_eq!(account.delegation_zones.len(), 1);
        assert!(account.namespaces.has("web") && account.namespaces.has("api"));
        assert!(!account.namespaces.has("other"));
    }

    #[test]
    fn an_account_without_namespaces_serves_none_and_a_star_all() {
        let base = [("provider", "rfc2136"), ("zones", "example.com")];
        assert!(!read(&base).unwrap().namespaces.has("default"));
        let with =
            |namespaces| read(&[base[0], base[1], ("namespaces", namespaces)]).unwrap().namespaces;
        assert_eq!(with(""), Namespaces::These(BTreeSet::new()));
        assert_eq!(with("*"), Namespaces::All);
        assert_eq!(with("web, *"), Namespaces::All);
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_key() {
        let zones = ("zones", "example.com");
        let cases: [(&[(&str, &str)], &str); 6] = [
            (&[zones], "it has no key `provider`"),
            (&[("provider", "  "), zones], "it has no key `provider`"),
            (&[("provider", "x")], "neither `zones` nor `delegation-zones`"),
            (&[("provider", "x"), ("zones", "*.example.com")], "key `zones` has `*.example.com`"),
            (&[("provider", "x"), zones, ("namespaces", "Web")], "key `namespaces` has `Web`"),
            (&[("provider", "x"), zones, ("delegation-zones", "a..b")], "key `delegation-zones`"),
        ];
        for (data, expected) in cases {
            let error = read(data).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_account_beyond_a_bound_is_refused_with_the_bound() {
        let list = |names: usize| "a.example, ".repeat(names);
        let most = limits::DNS_ACCOUNT_NAMES;
        assert!(read(&[("provider", "x"), ("zones", &list(most))]).is_ok());
        let error = read(&[("provider", "x"), ("zones", &list(most + 1))]).unwrap_err();
        assert_eq!(error, "key `zones` lists more than 1000 names");
        let long = "k".repeat(limits::DNS_ACCOUNT_VALUE + 1);
        let error = read(&[("provider", "x"), ("api-token", &long)]).unwrap_err();
        assert_eq!(error, "key `api-token` has more than 65536 bytes");
        let binary = text([("api-token", &b"\xff"[..])]);
        assert_eq!(binary, Err(BadAccount::NotText("api-token".to_owned())));
    }

    proptest! {
        /// Any data is an account or a bounded reason, which has no value of a provider's key.
        #[test]
        fn any_data_is_an_account_or_a_bounded_reason(
            provider in ".{0,200}", zones in "([a-z.,* ]{0,300}|.{0,300})",
            namespaces in ".{0,300}", credential in "[A-Z]{30,60}",
        ) {
            let data = [
                ("provider", &*provider), ("zones", &zones), ("namespaces", &namespaces),
                ("api-token", &credential),
            ];
            match read(&data) {
                Ok(account) => prop_assert!(account.provider.len() <= limits::SHOWN_MAX),
                Err(reason) => {
                    prop_assert!(reason.len() <= limits::QUOTED_MAX, "{}", reason.len());
                    prop_assert!(!reason.contains(&credential));
                }
            }
        }
    }
}
