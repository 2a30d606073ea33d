//! TXT records of challenges: their names and values.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::name::DnsName;

/// Longest DNS name in text form, in octets (RFC 1035 §2.3.4, without the trailing dot).
const MAX_NAME: usize = 253;
/// Longest label, in octets (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;
/// Label in front of the name that DNS-01 proves (RFC 8555 §8.4).
const CHALLENGE: &str = "_acme-challenge";
/// Label in front of the name that DNS-PERSIST-01 proves.
const PERSISTENT: &str = "_validation-persist";

/// A name in DNS, in lower case and without the trailing dot. Labels may begin with an underscore,
/// which no host of a certificate does.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordName(Arc<str>);

/// A text that is no name of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "is not a DNS name: labels of 1 to 63 letters, digits, `-` and `_`, 253 characters at most"
)]
pub struct BadRecordName;

/// A TXT record of a DNS-01 challenge (RFC 8555 §8.4), as it is journaled before it is written.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct TxtRecord {
    /// Name of the account's Secret.
    pub account: String,
    /// Provider of the account. `None` in a journal of a release that did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Zone of the record: the closest name above with a SOA record.
    pub zone: RecordName,
    /// Name of the record, after all CNAMEs.
    pub name: RecordName,
    /// The value: base64url of the SHA-256 of the key authorization.
    pub value: String,
    /// Name that the challenge proves, without the wildcard label.
    pub domain: DnsName,
}

/// A write of a record at a DNS provider.
#[derive(Clone, Copy, Debug)]
pub enum TxtWrite {
    /// Adds the record.
    Add,
    /// Removes the record.
    Remove,
}

impl TxtWrite {
    /// Verb for texts and metrics.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
        }
    }
}

/// Where the challenge of a name is written: after all CNAMEs of `_acme-challenge.NAME`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChallengeTarget {
    /// Name of the record.
    pub name: RecordName,
    /// Zone of the record: the closest name above with a SOA record.
    pub zone: RecordName,
}

impl RecordName {
    /// Reads a name. Trailing dots are dropped and upper case is lowered.
    ///
    /// # Errors
    /// [`BadRecordName`].
    pub fn parse(text: &str) -> Result<Self, BadRecordName> {
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let legal = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        let is_label =
            |label: &str| (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(legal);
        if text.len() > MAX_NAME || !text.split('.').all(is_label) {
            return Err(BadRecordName);
        }
        Ok(Self(text.into()))
    }

    /// Name of the record of a DNS-01 challenge for `name`; that of a wildcard is the one of its
    /// domain. `None` if that name would be too long.
    pub fn of_challenge(name: &DnsName) -> Option<Self> {
        Self::parse(&format!("{CHALLENGE}.{}", name.base())).ok()
    }

    /// Name of the DNS-PERSIST-01 record for `name`; that of a wildcard is the one of its domain.
    /// `None` if that name would be too long.
    pub fn of_persist(name: &DnsName) -> Option<Self> {
        Self::parse(&format!("{PERSISTENT}.{}", name.base())).ok()
    }

    /// Whether the first label is that of a DNS-01 challenge.
    pub fn is_challenge(&self) -> bool {
        self.0.split_once('.').is_some_and(|(first, _)| first == CHALLENGE)
    }

    /// Whether `name` is this name or below it. `name` is in lower case, without a trailing dot.
    pub fn covers(&self, name: &str) -> bool {
        name.strip_suffix(&*self.0).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// The name in lower case, without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RecordName {
    type Error = BadRecordName;
    fn try_from(text: String) -> Result<Self, BadRecordName> {
        Self::parse(&text)
    }
}

impl From<RecordName> for String {
    fn from(name: RecordName) -> Self {
        name.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_wildcard_is_proved_at_the_name_of_its_domain() {
        let of = |name: &str| {
            let name = DnsName::parse_certified(name).unwrap();
            let names = [RecordName::of_challenge(&name), RecordName::of_persist(&name)];
            names.map(|name| name.unwrap().to_string())
        };
        let expected = ["_acme-challenge.example.com", "_validation-persist.example.com"];
        assert_eq!(of("*.example.com"), expected);
        assert_eq!(of("example.com"), expected);
        let long = format!(
            "{}.{}.{}.{}.com",
            "a".repeat(62),
            "a".repeat(62),
            "a".repeat(62),
            "a".repeat(50)
        );
        assert_eq!(RecordName::of_challenge(&DnsName::parse(&long).unwrap()), None);
    }

    proptest! {
        /// Any text is a name or none, and a name reads back the same.
        #[test]
        fn any_text_is_read_in_bounds(text in "([a-zA-Z0-9_.-]{0,80}|.{0,300})") {
            if let Ok(name) = RecordName::parse(&text) {
                prop_assert!(name.as_str().len() <= text.len());
                prop_assert!(name.covers(name.as_str()));
                prop_assert_eq!(RecordName::parse(name.as_str()), Ok(name));
            }
        }
    }
}
