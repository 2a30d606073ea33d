//! Challenges of a CA: how a name is proved (RFC 8555 §8).

use std::collections::BTreeMap;

use crate::domain::name::DnsName;

/// Challenges in DNS that the CA offers for a name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Offers {
    /// Value of the TXT record of DNS-01 (RFC 8555 §8.4): base64url of the SHA-256 of the key
    /// authorization.
    pub dns_01: Option<String>,
    /// `issuer-domain-names` of DNS-PERSIST-01 (draft-ietf-acme-dns-persist), any of which the
    /// record may name.
    pub dns_persist_01: Option<Vec<String>>,
}

/// How a name is proved to the CA.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Method {
    /// HTTP-01 (RFC 8555 §8.3).
    Http01,
    /// DNS-01 (RFC 8555 §8.4).
    Dns01,
    /// DNS-PERSIST-01 (draft-ietf-acme-dns-persist).
    DnsPersist01,
}

impl Method {
    /// Name of the challenge at the CA, in CAA records (RFC 8657 §4) and in texts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::Dns01 => "dns-01",
            Self::DnsPersist01 => "dns-persist-01",
        }
    }
}

/// Methods of the names of an order that are not proved by HTTP-01.
pub type Methods = BTreeMap<DnsName, Method>;
