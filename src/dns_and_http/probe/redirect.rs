//! Rules of the probe, without I/O: the names that it asks, and the redirects that it follows.
//!
//! Whoever may create an Ingress chooses the host, and the host's server chooses the redirects, so
//! the probe must not become a tool for requests within the cluster.

use ingress_acme_actors::domain::public_name::is_within;
use url::{Host, Url};

/// Domains that no redirect leads to, beside those of the cluster.
const PRIVATE: [&str; 6] = ["local", "internal", "svc", "localhost", "localdomain", "home.arpa"];
/// Domains of every cluster: that of Services, and the default of the cluster's domain.
const OF_ANY_CLUSTER: [&str; 2] = ["svc", "cluster.local"];
/// Longest name shown: the longest DNS name.
const SHOWN: usize = 253;

/// Domains whose names are the cluster's own.
#[derive(Clone, Debug)]
pub(super) struct ClusterDomains(Vec<String>);

impl ClusterDomains {
    /// Creates the domains from the search domains of a pod, one of which is `svc.<domain>`
    /// (`<namespace>.svc.<domain>` is another).
    pub(super) fn of_search<'a>(search: impl IntoIterator<Item = &'a str>) -> Self {
        let mut domains = OF_ANY_CLUSTER.map(str::to_owned).to_vec();
        for listed in search {
            let listed = canonical(listed);
            let after = listed.strip_prefix("svc.").or(listed.split_once(".svc.").map(|two| two.1));
            let domain = after.filter(|domain| !domain.is_empty()).map(str::to_owned);
            domains.extend(domain.filter(|domain| !domains.contains(domain)));
        }
        Self(domains)
    }

    /// Whether `name` is one of the cluster's own, with or without a final dot.
    pub(super) fn contain(&self, name: &str) -> bool {
        let name = canonical(name);
        self.0.iter().any(|domain| is_within(&name, domain))
    }
}

/// Rules for the redirects of one probe.
pub(super) struct Redirects<'a> {
    /// The host of the Ingress.
    pub(super) host: &'a str,
    /// Token in the path of the first request.
    pub(super) token: &'a str,
    /// Port of the first request.
    pub(super) port: u16,
    pub(super) cluster: &'a ClusterDomains,
}

impl Redirects<'_> {
    /// Returns the target of a redirect from `from`, if a CA would follow the redirect and the
    /// probe may.
    ///
    /// # Errors
    /// Says why the redirect is not followed.
    pub(super) fn target(&self, from: &Url, location: Option<&str>) -> Result<Url, String> {
        let to = location.and_then(|location| from.join(location).ok());
        let to = to.ok_or_else(|| "a redirect without a usable Location".to_owned())?;
        let refuse = |why: &str| Err(format!("a redirect to {}; {why}", self.shown(&to)));
        let port = to.port_or_known_default();
        let web = matches!(to.scheme(), "http" | "https");
        if !web || !port.is_some_and(|port| [80, 443, self.port].contains(&port)) {
            return refuse("CAs follow redirects only to ports 80 and 443");
        }
        if !to.domain().is_some_and(|name| self.is_allowed(name)) {
            return refuse("CAs follow redirects only to public names");
        }
        if !to.path().contains(self.token) {
            return refuse("its path lacks the token of the challenge, so no solver could answer");
        }
        Ok(to)
    }

    /// Host of `url` for an Event: only a public name is shown, because another one may tell of a
    /// network that the reader of the Event cannot see.
    pub(super) fn shown(&self, url: &Url) -> String {
        match url.host() {
            Some(Host::Domain(name)) if self.is_allowed(name) => {
                let plain = |octet: char| octet.is_ascii_alphanumeric() || ".-_".contains(octet);
                let name = name.chars().take(SHOWN);
                name.map(|octet| if plain(octet) { octet } else { '?' }).collect()
            }
            Some(Host::Domain(_)) => "a name that is not public".to_owned(),
            Some(_) => "an IP address".to_owned(),
            None => "no host".to_owned(),
        }
    }

    /// Whether a redirect may lead to `name`: back to the host itself, or to a name that is neither
    /// the cluster's own nor private by its form.
    fn is_allowed(&self, name: &str) -> bool {
        let name = canonical(name);
        let is_private = || PRIVATE.iter().any(|domain| is_within(&name, domain));
        !self.cluster.contain(&name) && (name == self.host || (name.contains('.') && !is_private()))
    }
}

/// `name` in lower case, without final dots.
fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cluster() -> ClusterDomains {
        ClusterDomains::of_search([
            "web.svc.k8s.corp.",
            "svc.k8s.corp.",
            "k8s.corp",
            "corp.example",
        ])
    }

    fn target(location: &str) -> Result<String, String> {
        let cluster = cluster();
        let rules =
            Redirects { host: "a.example.com", token: "TOKEN", port: 80, cluster: &cluster };
        let from = Url::parse("http://a.example.com/.well-known/acme-challenge/TOKEN").unwrap();
        rules.target(&from, Some(location)).map(String::from)
    }

    #[test]
    fn names_of_services_and_of_the_clusters_domain_are_its_own_with_or_without_a_final_dot() {
        let own = [
            "redis.prod.svc",
            "redis.prod.svc.",
            "redis.prod.svc.cluster.local",
            "redis.prod.svc.cluster.local.",
            "REDIS.prod.svc.Cluster.Local..",
            "a.cluster.local",
            "redis.prod.svc.k8s.corp",
            "k8s.corp.",
        ];
        for name in own {
            assert!(cluster().contain(name), "{name}");
        }
        for name in ["a.example.com", "corp.example", "svc.example.com", "mysvc", "x.notk8s.corp"] {
            assert!(!cluster().contain(name), "{name}");
        }
        assert_eq!(ClusterDomains::of_search(["svc.", ".svc.", "", "svc"]).0, OF_ANY_CLUSTER);
    }

    #[test]
    fn a_redirect_to_a_private_name_is_refused_with_or_without_a_final_dot() {
        let private = [
            "x.svc.cluster.local",
            "x.svc.cluster.local.",
            "x.svc.k8s.corp.",
            "x.internal.",
            "printer.local",
            "nas.home.arpa",
            "localhost",
            "intranet",
        ];
        for name in private {
            let said = target(&format!("http://{name}/TOKEN")).unwrap_err();
            assert!(said.starts_with("a redirect to a name that is not public; "), "{said}");
        }
        for address in ["127.0.0.1", "[::1]", "2130706433", "0x7f.1", "127.1.", "1.1.1.1"] {
            let said = target(&format!("http://{address}/TOKEN")).unwrap_err();
            assert!(said.starts_with("a redirect to an IP address; "), "{said}");
        }
    }

    #[test]
    fn a_redirect_keeps_the_token_in_its_path() {
        assert!(target("https://a.example.com/.well-known/acme-challenge/TOKEN").is_ok());
        assert!(target("//b.example.com/moved/TOKEN?x=1").is_ok());
        for lost in ["/login", "https://b.example.com/?t=TOKEN", "https://b.example.com/#TOKEN"] {
            let said = target(lost).unwrap_err();
            assert!(said.contains("lacks the token"), "{said}");
        }
    }

    #[test]
    fn a_private_host_may_redirect_to_itself() {
        let cluster = cluster();
        let rules = Redirects { host: "a.internal", token: "TOKEN", port: 80, cluster: &cluster };
        let from = Url::parse("http://a.internal/TOKEN").unwrap();
        assert!(rules.target(&from, Some("https://a.internal/TOKEN")).is_ok());
        assert!(rules.target(&from, Some("https://b.internal/TOKEN")).is_err());
    }

    proptest! {
        #[test]
        fn any_location_gives_a_target_or_a_short_printable_reason(location in "\\PC{0,400}|(http|https|//|ftp)[:/]{0,3}.{0,300}") {
            match target(&location) {
                Ok(to) => prop_assert!(to.contains("TOKEN") && to.len() < 10 * location.len() + 200),
                Err(why) => {
                    prop_assert!(why.len() < 400, "{}", why.len());
                    prop_assert!(why.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{why}");
                }
            }
        }

        #[test]
        fn any_search_domain_is_taken(search in "[a-zA-Z.]{0,40}|.{0,60}") {
            let domains = ClusterDomains::of_search([search.as_str()]);
            prop_assert!(domains.0.iter().all(|domain| !domain.is_empty()) && domains.0.len() <= 3);
            prop_assert!(!domains.contain("example.com") || search.to_lowercase().contains("svc."));
        }
    }
}
