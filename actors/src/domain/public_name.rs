//! Names that a public CA can certify, and directories of public CAs.
//!
//! A public CA certifies names below a public suffix of ICANN's only (CA/Browser Forum Baseline
//! Requirements, §4.2.2 and §7.1.4.2). An order for another name fails for certain, tells the CA an
//! internal name, and counts in the limits of the account.

use std::net::IpAddr;

use psl::{Psl, Type};

use crate::domain::address::is_globally_routable;
use crate::domain::name::DnsName;

/// Domains that no public CA certifies although the public suffix list has some of them: names for
/// special use (IANA Special-Use Domain Names), ICANN's `internal`, and Kubernetes' `svc`. `onion`
/// and the reverse zones have no HTTP-01. `example.com` is none of these: IANA itself has
/// certificates for that name.
const NEVER_PUBLIC: [&str; 14] = [
    "alt",
    "example",
    "home.arpa",
    "in-addr.arpa",
    "internal",
    "invalid",
    "ip6.arpa",
    "local",
    "localhost",
    "onion",
    "resolver.arpa",
    "service.arpa",
    "svc",
    "test",
];

/// Domains of public ACME directories. Their hosts are public even while they cannot be resolved.
const PUBLIC_DIRECTORIES: [&str; 9] = [
    "letsencrypt.org",
    "pki.goog",
    "zerossl.com",
    "buypass.com",
    "buypass.no",
    "ssl.com",
    "sectigo.com",
    "globalsign.com",
    "digicert.com",
];

/// Whether the CA in use is a public one, which certifies public names only (`--public-ca`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PublicCa {
    /// A private CA, which may certify any name.
    #[default]
    No,
    /// Public as far as the address of its host shows. A private CA may have such an address too: a
    /// certificate of this CA for an internal name proves it.
    ByAddress,
    /// Public for certain: a known one, or by `--public-ca true`.
    Yes,
}

/// Why no public CA certifies a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum NotPublic {
    /// A name of a domain for special or internal use.
    #[error("belongs to a domain for internal use")]
    Internal,
    /// A name without a top-level domain of ICANN's.
    #[error("has no public top-level domain")]
    UnknownSuffix,
    /// A public suffix itself, such as `co.uk`.
    #[error("is a public suffix, under which others register their names")]
    Suffix,
}

/// Whether a public CA can certify `name`, as far as the name itself shows. A suffix of the private
/// part of the list (`github.io`) is an ordinary name to CAs.
///
/// # Errors
/// [`NotPublic`] says why no public CA certifies the name.
pub fn check_public(name: &DnsName) -> Result<(), NotPublic> {
    let name = name.as_str();
    if NEVER_PUBLIC.iter().any(|domain| is_within(name, domain)) {
        return Err(NotPublic::Internal);
    }
    let suffix = psl::List.suffix(name.as_bytes());
    match suffix.and_then(|suffix| Some((suffix.typ()?, suffix.as_bytes().len()))) {
        None => Err(NotPublic::UnknownSuffix),
        Some((Type::Icann, length)) if length == name.len() => Err(NotPublic::Suffix),
        Some(_) => Ok(()),
    }
}

/// Whether `name` is `domain` or below it. Both are in lower case, without a final dot.
pub fn is_within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether the host of an ACME directory shows by itself whether the CA is public: a known public
/// directory, an address, or a name that exists inside a network only. `None` if the host must be
/// resolved.
pub fn public_by_name(host: &str) -> Option<PublicCa> {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    let host = host.to_ascii_lowercase();
    if PUBLIC_DIRECTORIES.iter().any(|domain| is_within(&host, domain)) {
        return Some(PublicCa::Yes);
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(public_by_address(&[address]));
    }
    let public = DnsName::parse(&host).is_ok_and(|name| check_public(&name).is_ok());
    (!public).then_some(PublicCa::No)
}

/// Whether the CA of a directory is public, by the addresses of its host: one of them is globally
/// routable.
pub fn public_by_address(addresses: &[IpAddr]) -> PublicCa {
    let is_public = addresses.iter().copied().any(is_globally_routable);
    if is_public { PublicCa::ByAddress } else { PublicCa::No }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn checked(name: &str) -> Result<(), NotPublic> {
        check_public(&DnsName::parse(name).unwrap())
    }

    #[test]
    fn names_below_a_suffix_of_icann_are_public() {
        let public = [
            "example.com",
            "shop.example.com",
            "example.co.uk",
            "a.b.xn--p1ai",
            "github.io",
            "me.github.io",
            "www.ck",
            "a.b.bd",
            "blog.dev",
        ];
        for name in public {
            assert_eq!(checked(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_for_internal_use_are_not_public_with_or_without_a_final_dot() {
        let internal = [
            "db.internal",
            "printer.local",
            "redis.prod.svc",
            "redis.prod.svc.cluster.local",
            "nas.home.arpa",
            "home.arpa",
            "app.localhost",
            "a.test",
            "shop.example",
            "a.invalid",
            "a.b.onion",
            "1.0.10.in-addr.arpa",
            "a.alt",
            "redis.prod.SVC.",
        ];
        for name in internal {
            assert_eq!(checked(name), Err(NotPublic::Internal), "{name}");
        }
    }

    #[test]
    fn names_outside_the_list_and_suffixes_themselves_are_not_public() {
        for name in ["a.nosuchtld", "intra.k8s", "nas.lan", "a.corp", "a.localdomain"] {
            assert_eq!(checked(name), Err(NotPublic::UnknownSuffix), "{name}");
        }
        for name in ["co.uk", "com.au", "x.ck", "city.kawasaki.jp.", "x.kawasaki.jp"] {
            let own = name.starts_with("city"); // an exception of the list
            assert_eq!(checked(name), if own { Ok(()) } else { Err(NotPublic::Suffix) }, "{name}");
        }
    }

    #[test]
    fn a_directory_is_public_by_name_or_by_a_globally_routable_address() {
        let found = |host: &str, addresses: &[&str]| {
            let addresses: Vec<IpAddr> = addresses.iter().map(|one| one.parse().unwrap()).collect();
            public_by_name(host).unwrap_or_else(|| public_by_address(&addresses))
        };
        assert_eq!(found("acme-v02.api.letsencrypt.org", &[]), PublicCa::Yes);
        assert_eq!(found("acme-staging-v02.api.letsencrypt.org", &["10.0.0.1"]), PublicCa::Yes);
        assert_eq!(found("dv.acme-v02.api.pki.goog", &[]), PublicCa::Yes);
        assert_eq!(found("ca.corp.example.com", &["10.0.0.1", "1.1.1.1"]), PublicCa::ByAddress);
        assert_eq!(found("1.1.1.1", &[]), PublicCa::ByAddress);
        assert_eq!(found("[2606:4700::1]", &[]), PublicCa::ByAddress);
        assert_eq!(found("ca.corp.example.com", &["10.0.0.1", "fd00::1"]), PublicCa::No);
        assert_eq!(found("ca.corp.example.com", &[]), PublicCa::No);
        assert_eq!(found("127.0.0.1", &[]), PublicCa::No);
        assert_eq!(found("[::1]", &[]), PublicCa::No);
        assert_eq!(found("localhost", &["1.1.1.1"]), PublicCa::No);
        assert_eq!(found("step-ca.step.svc.cluster.local.", &["1.1.1.1"]), PublicCa::No);
        assert_eq!(found("evil-letsencrypt.org", &["10.0.0.1"]), PublicCa::No);
    }

    proptest! {
        #[test]
        fn any_name_gets_an_answer_and_every_name_below_an_internal_one_the_same(
            host in "[a-z0-9-]{1,20}(\\.[a-z0-9-]{1,20}){1,6}\\.?",
            domain in prop::sample::select(&NEVER_PUBLIC[..]),
        ) {
            if let Ok(name) = DnsName::parse(&host) {
                let _ = check_public(&name);
            }
            if let Ok(name) = DnsName::parse(&format!("{}.{domain}", host.trim_end_matches('.'))) {
                prop_assert_eq!(check_public(&name), Err(NotPublic::Internal));
            }
        }

        #[test]
        fn any_text_as_the_host_of_a_directory_gets_an_answer(host in ".{0,300}", bits in any::<u32>()) {
            let _ = public_by_name(&host);
            let _ = public_by_address(&[IpAddr::V4(std::net::Ipv4Addr::from_bits(bits))]);
        }
    }
}
