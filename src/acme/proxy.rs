//! The proxy between the operator and its CA: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and
//! `NO_PROXY` of the environment, in either case. The HTTP client of the CA reads them; no other
//! part of the operator uses a proxy.

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

/// Names of variables with proxies, the first of each that is set counts.
const HTTPS: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const ALL: [&str; 2] = ["ALL_PROXY", "all_proxy"];
const NO: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Host and port of the proxy that an environment names for `directory`, without its credentials;
/// `None` without one, and where the environment excepts the directory.
pub fn proxy_of<'a>(
    directory: &str,
    variable: impl Fn(&str) -> Option<&'a str>,
) -> Option<(String, u16)> {
    let first = |names: &[&str]| names.iter().find_map(|name| variable(name)).unwrap_or_default();
    let proxies = Matcher::builder().https(first(&HTTPS)).all(first(&ALL)).no(first(&NO)).build();
    let found = proxies.intercept(&directory.parse().ok()?)?;
    let port = found.uri().port_u16().unwrap_or(if found.uri().scheme_str() == Some("https") {
        443
    } else {
        80
    });
    Some((found.uri().host()?.to_owned(), port))
}

/// Whether requests to the directory go through a proxy.
pub fn is_proxied(directory: &str) -> bool {
    is_intercepted(&Matcher::from_env(), directory)
}

fn is_intercepted(proxies: &Matcher, directory: &str) -> bool {
    directory.parse::<Uri>().is_ok_and(|uri| proxies.intercept(&uri).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_behind_the_proxy_of_its_scheme_unless_it_is_excepted() {
        let proxies = Matcher::builder().https("http://proxy.example:3128").no("ca.lan,10.0.0.0/8");
        let proxies = proxies.build();
        let behind = |directory: &str| is_intercepted(&proxies, directory);
        assert!(behind("https://acme-v02.api.letsencrypt.org/directory"));
        assert!(!behind("https://ca.lan/acme") && !behind("https://10.1.2.3:9000/acme"));
        assert!(!behind("http://acme.example.com/directory"), "another scheme");
        assert!(!behind("no url"));
    }

    #[test]
    fn the_proxy_of_another_environment_is_known_without_its_credentials() {
        let of = |directory: &str, set: &[(&str, &'static str)]| {
            proxy_of(directory, |name| {
                set.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
            })
        };
        let ca = "https://ca.example/dir";
        let proxy = Some(("proxy.example".to_owned(), 3128));
        let with_password = "http://user:secret@proxy.example:3128";
        assert_eq!(of(ca, &[("HTTPS_PROXY", with_password)]), proxy);
        assert_eq!(of(ca, &[("all_proxy", "http://proxy.example:3128")]), proxy);
        assert_eq!(of(ca, &[("https_proxy", "proxy.example:3128")]), proxy);
        assert_eq!(
            of(ca, &[("https_proxy", "http://proxy.example")]).map(|(_, port)| port),
            Some(80)
        );
        assert_eq!(of(ca, &[("HTTPS_PROXY", with_password), ("no_proxy", "ca.example")]), None);
        assert_eq!(of(ca, &[("HTTP_PROXY", with_password)]), None, "another scheme");
    }
}
