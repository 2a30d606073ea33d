//! Keeps a storm from consuming the rate limits of a public production CA.

use std::net::IpAddr;

use url::{Host, Url};

/// Words in host names by which CAs mark test environments.
const TRYING_OUT: [&str; 5] = ["staging", "stage", "test", "sandbox", "pebble"];
/// DNS zones that contain no public CA.
const PRIVATE: [&str; 6] = ["localhost", "local", "internal", "svc", "test", "home.arpa"];

/// Whether a storm is harmless for the CA with this directory: a staging CA, or one in a private
/// network.
pub fn is_harmless(directory: &str) -> bool {
    let Ok(url) = directory.parse::<Url>() else { return false };
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_private(),
        Some(Host::Ipv6(address)) => {
            address.is_loopback()
                || IpAddr::V6(address).to_canonical().is_loopback()
                || address.is_unique_local()
        }
        Some(Host::Domain(name)) => is_harmless_name(&name.to_ascii_lowercase()),
        None => false,
    }
}

fn is_harmless_name(name: &str) -> bool {
    let within = |zone: &str| {
        name == zone || name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'))
    };
    let mut words = name.split(['.', '-']);
    PRIVATE.into_iter().any(within)
        || !name.contains('.')
        || words.any(|word| TRYING_OUT.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staging_and_private_cas_are_harmless() {
        for directory in [
            "https://acme-staging-v02.api.letsencrypt.org/directory",
            "https://127.0.0.1:14000/dir",
            "https://[::1]:14000/dir",
            "https://pebble:14000/dir",
            "https://pebble.pebble.svc:14000/dir",
            "https://ca.svc.cluster.local/dir",
            "https://10.1.2.3/dir",
        ] {
            assert!(is_harmless(directory), "{directory}");
        }
    }

    #[test]
    fn a_public_ca_is_not() {
        for directory in [
            "https://acme-v02.api.letsencrypt.org/directory",
            "https://acme.zerossl.com/v2/DV90",
            "https://contest.example.com/",
            "https://8.8.8.8/dir",
            "nonsense",
            "",
        ] {
            assert!(!is_harmless(directory), "{directory}");
        }
    }
}
