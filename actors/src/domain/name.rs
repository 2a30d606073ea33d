//! DNS names that a certificate can contain, and reasons why a host is not one.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A fully qualified, lower-case DNS name that a certificate can contain: at least two labels of
/// 1–63 octets `[a-z0-9-]`, 253 octets at most, no IP address. In front of them may be the label
/// `*`, where the name was read by [`DnsName::parse_certified`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsName(Arc<str>);

/// Longest DNS name in text form, in octets (RFC 1035 §2.3.4, without the trailing dot).
const MAX_NAME: usize = 253;
/// Longest label, in octets (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// First label of a wildcard.
const WILDCARD: &str = "*.";

/// Prefix of the labels of internationalized names (RFC 5890 §2.3.2.1).
const A_LABEL: &str = "xn--";

/// Why our certificates cannot contain a host of an Ingress.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum BadName {
    /// A wildcard where the name of one host is needed, or a wildcard of all names.
    #[error("is a wildcard, which is no name of one host")]
    Wildcard,
    /// An IP address, not a name.
    #[error("is an IP address, not a DNS name")]
    IpAddress,
    /// A single label, which is never a public name.
    #[error("has no dot, so no public CA can validate it")]
    NoDot,
    /// Longer than 253 octets.
    #[error("is {0} characters long; a DNS name has 253 at most")]
    TooLong(usize),
    /// A label longer than 63 octets.
    #[error("has a label of {0} characters; a DNS label has 63 at most")]
    LabelTooLong(usize),
    /// A label with the prefix of internationalized names that is no Punycode (RFC 5890 §2.3.2.1).
    #[error(
        "has the label `{0}`, which is not valid Punycode; write the host in its own letters and convert it again"
    )]
    BadALabel(String),
    /// Any other text that is not a DNS-1123 subdomain.
    #[error("is not a valid DNS name")]
    Malformed,
}

impl DnsName {
    /// Parses a host as stored by Kubernetes, or a wildcard: the label `*` and a name (RFC 6125
    /// §6.4.3), which is proved in DNS (RFC 8555 §7.1.3).
    ///
    /// # Errors
    /// [`BadName`] says why the host is neither.
    pub fn parse_certified(host: &str) -> Result<Self, BadName> {
        let Some(domain) = host.strip_prefix(WILDCARD) else { return Self::parse(host) };
        let domain = Self::parse(domain)?;
        let length = WILDCARD.len() + domain.0.len();
        if length > MAX_NAME {
            return Err(BadName::TooLong(length));
        }
        Ok(Self(format!("{WILDCARD}{domain}").into()))
    }

    /// Whether the name is a wildcard.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(WILDCARD)
    }

    /// The name without the label `*`, if it is a wildcard.
    pub fn base(&self) -> &str {
        self.0.strip_prefix(WILDCARD).unwrap_or(&self.0)
    }

    /// The name of the domain of a wildcard; any other name is itself.
    #[must_use]
    pub fn without_wildcard(&self) -> Self {
        self.0.strip_prefix(WILDCARD).map_or_else(|| self.clone(), |base| Self(base.into()))
    }

    /// The wildcard that covers this name (RFC 6125 §6.4.3): of its first label. A wildcard is
    /// covered by none.
    pub fn covering_wildcard(&self) -> Option<Self> {
        let (_, domain) = self.0.split_once('.').filter(|_| !self.is_wildcard())?;
        Self::parse_certified(&format!("{WILDCARD}{domain}")).ok()
    }

    /// Parses the name of one host as stored by Kubernetes. Trailing dots are dropped and upper
    /// case is lowered.
    ///
    /// # Errors
    /// [`BadName`] says why the host is not a valid name.
    pub fn parse(host: &str) -> Result<Self, BadName> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if host.starts_with(WILDCARD) || host == "*" {
            return Err(BadName::Wildcard);
        }
        let last = host.rfind('.').map_or(&*host, |dot| &host[dot + 1..]);
        let numeric = last.bytes().all(|octet| octet.is_ascii_digit());
        if (numeric || host.contains(':')) && host.parse::<IpAddr>().is_ok() {
            return Err(BadName::IpAddress);
        }
        if host.len() > MAX_NAME {
            return Err(BadName::TooLong(host.len()));
        }
        for label in host.as_bytes().split(|octet| *octet == b'.') {
            check_label(label)?;
        }
        if last.len() == host.len() {
            return Err(BadName::NoDot);
        }
        if numeric {
            return Err(BadName::Malformed); // RFC 1123 §2.1: the last label is not all digits
        }
        Ok(Self(host.into()))
    }

    /// Checks the labels of internationalized names (A-labels, RFC 5890 §2.3.2.1): the part after
    /// `xn--` must be the Punycode (RFC 3492) of a text with other letters than ASCII, and without
    /// spaces or control characters. Which letters a name may have is left to the CA.
    ///
    /// No part of [`parse`](Self::parse), because certificates and journals of earlier releases may
    /// have such names.
    ///
    /// # Errors
    /// [`BadName::BadALabel`] with the first label that no CA can read.
    pub(crate) fn check_a_labels(&self) -> Result<(), BadName> {
        let mut encoded = self.0.split('.').filter(|label| label.starts_with(A_LABEL));
        let is_bad = |label: &&str| {
            let text = idna::punycode::decode_to_string(&label[A_LABEL.len()..]);
            let odd = |letter: char| letter.is_control() || letter.is_whitespace();
            let again = text.filter(|text| !text.is_ascii() && !text.contains(odd));
            let again = again.and_then(|text| idna::punycode::encode_str(&text));
            again.as_deref() != Some(&label[A_LABEL.len()..])
        };
        encoded.find(is_bad).map_or(Ok(()), |label| Err(BadName::BadALabel(label.to_owned())))
    }

    /// Returns the name in lower case, without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Registered domain of the name, by the public suffix list: that by which CAs count.
    pub fn registered_domain(&self) -> Option<&str> {
        psl::domain_str(self.as_str())
    }

    /// The name itself and all domains above that contain a dot, longest first.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        let mut next = Some(self.as_str());
        std::iter::from_fn(move || {
            let domain = next?;
            next = domain.split_once('.').map(|(_, above)| above);
            next.map(|_| domain)
        })
    }
}

fn check_label(label: &[u8]) -> Result<(), BadName> {
    let legal = |octet: &u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || *octet == b'-';
    if label.len() > MAX_LABEL {
        return Err(BadName::LabelTooLong(label.len()));
    }
    let bounded = !label.starts_with(b"-") && !label.ends_with(b"-");
    if label.is_empty() || !bounded || !label.iter().all(legal) {
        return Err(BadName::Malformed);
    }
    Ok(())
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for DnsName {
    type Error = BadName;
    fn try_from(host: String) -> Result<Self, BadName> {
        Self::parse_certified(&host)
    }
}

impl From<DnsName> for Arc<str> {
    fn from(name: DnsName) -> Self {
        name.0
    }
}

impl From<DnsName> for String {
    fn from(name: DnsName) -> Self {
        name.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_hosts_are_names() {
        for host in ["example.com", "a.b-c.example.com", "xn--bcher-kva.example", "1.example.com"] {
            assert_eq!(DnsName::parse(host).map(String::from), Ok(host.to_owned()));
        }
        assert_eq!(DnsName::parse("Example.COM.").map(String::from), Ok("example.com".to_owned()));
    }

    #[test]
    fn each_bad_host_says_why() {
        let long_label = format!("{}.example.com", "a".repeat(64));
        let long_name = format!("{}example.com", "abcdefg.".repeat(32));
        let cases = [
            ("*.example.com", BadName::Wildcard),
            ("10.0.0.1", BadName::IpAddress),
            ("::1", BadName::IpAddress),
            ("localhost", BadName::NoDot),
            ("", BadName::Malformed),
            ("a..example.com", BadName::Malformed),
            ("-a.example.com", BadName::Malformed),
            ("exa_mple.com", BadName::Malformed),
            ("example.123", BadName::Malformed),
            (&long_label, BadName::LabelTooLong(64)),
            (&long_name, BadName::TooLong(267)),
        ];
        for (host, why) in cases {
            assert_eq!(DnsName::parse(host), Err(why), "{host}");
        }
    }

    #[test]
    fn the_longest_name_and_the_longest_label_are_names() {
        let label = "a".repeat(63);
        let host = format!("{label}.{label}.{label}.{}", "b".repeat(61));
        assert_eq!(host.len(), 253);
        let name = DnsName::parse(&host).unwrap();
        assert_eq!((name.to_string(), format!("{name:?}")), (host.clone(), host.clone()));
        assert_eq!(DnsName::parse(&format!("{host}b")), Err(BadName::TooLong(254)));
    }

    #[test]
    fn an_a_label_is_the_punycode_of_other_letters_than_ascii_and_says_so_where_it_is_none() {
        let check = |host: &str| DnsName::parse(host).unwrap().check_a_labels();
        for good in [
            "xn--bcher-kva.example",
            "www.xn--mnchen-3ya.xn--p1ai",
            "xn--i-7iq.example",
            "a--b.example",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["xn--99999999", "xn--a", "xn--abc-99999999"] {
            let host = format!("www.{bad}.example.com");
            assert_eq!(check(&host), Err(BadName::BadALabel(bad.to_owned())), "{host}");
        }
    }

    #[test]
    fn a_wildcard_is_a_star_before_a_name() {
        let name = DnsName::parse_certified("*.Apps.example.com.").unwrap();
        assert_eq!((name.as_str(), name.base()), ("*.apps.example.com", "apps.example.com"));
        assert!(name.is_wildcard() && name.covering_wildcard().is_none());
        let host = DnsName::parse_certified("a.apps.example.com").unwrap();
        assert_eq!((host.covering_wildcard(), host.is_wildcard()), (Some(name), false));
        assert_eq!(DnsName::parse("example.com").unwrap().covering_wildcard(), None);
        for bad in ["*", "*.", "*.com", "*.*.example.com", "a.*.example.com", "**.example.com"] {
            assert!(DnsName::parse_certified(bad).is_err(), "{bad}");
        }
        let long = format!("*.{}example.com", "abcdefg.".repeat(30));
        assert_eq!((long.len(), DnsName::parse(&long[2..]).is_ok()), (253, true));
        assert!(DnsName::parse_certified(&long).is_ok());
        let longer = format!("*.{}bexample.com", "abcdefg.".repeat(30));
        assert_eq!(DnsName::parse_certified(&longer), Err(BadName::TooLong(254)));
    }

    proptest! {
        #[test]
        fn any_label_of_other_letters_passes_and_any_text_after_the_prefix_has_an_answer(
            letters in "[a-zà-öα-ω一-丿]{1,8}[à-öα-ω一-丿]", after in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?",
        ) {
            let encoded = idna::punycode::encode_str(&letters).unwrap();
            let name = DnsName::parse(&format!("xn--{encoded}.example.com")).unwrap();
            prop_assert_eq!(name.check_a_labels(), Ok(()));
            let name = DnsName::parse(&format!("xn--{after}.example.com")).unwrap();
            let checked = name.check_a_labels();
            let bad = BadName::BadALabel(format!("xn--{after}"));
            prop_assert!(checked.is_ok() || checked == Err(bad));
        }
    }
}
