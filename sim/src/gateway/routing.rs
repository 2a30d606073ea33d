//! Interpretation of Ingress rules, as pure functions.
//!
//! <https://kubernetes.io/docs/concepts/services-networking/ingress/#path-types>

use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend};

/// Name of the solver's Service, in the namespace of each install.
const SOLVER: &str = "ingress-acme-solver";

/// Service behind a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backend {
    pub(super) namespace: String,
    pub(super) service: String,
}

impl Backend {
    /// Whether this is the solver's Service of an install.
    pub(super) fn is_solver(&self) -> bool {
        self.service == SOLVER
    }
}

/// One path of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// Host in lower case; `*.` matches one label; `None` matches every host.
    host: Option<String>,
    path: String,
    /// Path type `Exact`; other types match by path elements.
    exact: bool,
    pub(super) backend: Backend,
}

/// Rank of a matching route; the greatest wins. The host decides first (exact, then wildcard, then
/// any host), then the longest path, then the path type `Exact`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    host: HostRank,
    path_length: usize,
    exact: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HostRank {
    Any,
    Wildcard,
    Named,
}

/// Returns all routes of an Ingress; a rule without paths has none.
pub(super) fn routes_of(ingress: &Ingress) -> Vec<Route> {
    let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
    let Some(spec) = &ingress.spec else { return Vec::new() };
    let rules = spec.rules.iter().flatten().flat_map(|rule| {
        let paths = rule.http.iter().flat_map(|http| &http.paths);
        paths.filter_map(|path| route(namespace, rule.host.as_deref(), path))
    });
    let default = spec.default_backend.as_ref().and_then(|default| {
        let backend = backend(namespace, default)?;
        Some(Route { host: None, path: "/".into(), exact: false, backend })
    });
    rules.chain(default).collect()
}

fn route(namespace: &str, host: Option<&str>, path: &HTTPIngressPath) -> Option<Route> {
    Some(Route {
        host: host.filter(|host| !host.is_empty()).map(str::to_ascii_lowercase),
        path: path.path.clone().unwrap_or_else(|| "/".into()),
        exact: path.path_type == "Exact",
        backend: backend(namespace, &path.backend)?,
    })
}

fn backend(namespace: &str, backend: &IngressBackend) -> Option<Backend> {
    let service = backend.service.as_ref()?.name.clone();
    Some(Backend { namespace: namespace.to_owned(), service })
}

/// Returns the host of a `Host` header: lower case, without port.
pub(super) fn host_of(header: &str) -> String {
    let host = match header.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => header,
    };
    host.to_ascii_lowercase()
}

/// Returns the part of `host` after the first label, which a wildcard has after `*.`.
pub(super) fn parent(host: &str) -> Option<&str> {
    host.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, parent)| parent)
}

impl Route {
    /// Host of the rule; `None` matches every host.
    pub(super) fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Returns the rank for a request, if the route matches; `host` must come from [`host_of`].
    pub(super) fn rank(&self, host: &str, path: &str) -> Option<Rank> {
        let host = self.host_rank(host)?;
        let fits = if self.exact { self.path == path } else { is_prefix(&self.path, path) };
        let path_length = self.path.trim_end_matches('/').len();
        fits.then_some(Rank { host, path_length, exact: self.exact })
    }

    fn host_rank(&self, host: &str) -> Option<HostRank> {
        match self.host.as_deref() {
            None => Some(HostRank::Any),
            Some(own) if own == host => Some(HostRank::Named),
            Some(own) => {
                let own = own.strip_prefix("*.")?;
                (parent(host) == Some(own)).then_some(HostRank::Wildcard)
            }
        }
    }
}

/// Whether `prefix` matches by whole elements: `/a` matches `/a` and `/a/b`, but not `/ab`.
fn is_prefix(prefix: &str, path: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(host: Option<&str>, path: &str, exact: bool) -> Route {
        let backend = Backend { namespace: "shop".into(), service: "web".into() };
        Route { host: host.map(Into::into), path: path.into(), exact, backend }
    }

    fn fits(route: &Route, host: &str, path: &str) -> bool {
        route.rank(host, path).is_some()
    }

    #[test]
    fn a_prefix_matches_whole_path_elements() {
        let shop = route(None, "/shop", false);
        assert!(fits(&shop, "a.example", "/shop"));
        assert!(fits(&shop, "a.example", "/shop/cart"));
        assert!(!fits(&shop, "a.example", "/shopping"));
        assert!(fits(&route(None, "/", false), "a.example", "/anything"));
    }

    #[test]
    fn a_trailing_slash_of_a_prefix_says_nothing() {
        let challenges = route(None, "/.well-known/acme-challenge/", false);
        assert!(fits(&challenges, "a.example", "/.well-known/acme-challenge/token"));
        assert!(fits(&challenges, "a.example", "/.well-known/acme-challenge"));
    }

    #[test]
    fn an_exact_path_matches_itself_alone() {
        let exact = route(None, "/shop", true);
        assert!(fits(&exact, "a.example", "/shop"));
        assert!(!fits(&exact, "a.example", "/shop/"));
    }

    #[test]
    fn a_wildcard_matches_exactly_one_label() {
        let wildcard = route(Some("*.example.com"), "/", false);
        assert!(fits(&wildcard, "a.example.com", "/"));
        assert!(!fits(&wildcard, "a.b.example.com", "/"));
        assert!(!fits(&wildcard, "example.com", "/"));
    }

    #[test]
    fn the_named_host_wins_then_the_longest_path_then_exact() {
        let rank = |host, path, exact| route(host, path, exact).rank("a.example", "/x/y");
        let any = rank(None, "/x/y", true);
        let wildcard = rank(Some("*.example"), "/x/y", false);
        let short = rank(Some("a.example"), "/x", false);
        let long = rank(Some("a.example"), "/x/y", false);
        let exact = rank(Some("a.example"), "/x/y", true);
        assert!(None < any && any < wildcard && wildcard < short && short < long && long < exact);
    }

    #[test]
    fn the_host_header_loses_its_port_and_its_case() {
        assert_eq!(host_of("Shop.Example:8080"), "shop.example");
        assert_eq!(host_of("shop.example"), "shop.example");
    }
}
