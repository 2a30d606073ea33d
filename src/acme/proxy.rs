//! The proxy between the operator and its CA: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and
//! `NO_PROXY` of the environment, in either case. The HTTP client of the CA reads them; no other
//! part of the operator uses a proxy.

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

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
}
