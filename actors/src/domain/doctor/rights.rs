//! Rights of the operator: those of the manifests in `deploy/`, and the lines about them.

use std::fmt;

use super::{Check, Fact, Finding, joined};
use crate::domain::limits;

/// A right of the operator.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Right {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Plural of the resource.
    pub resource: &'static str,
    /// Verb.
    pub verb: &'static str,
    /// Namespace; `None` for all.
    pub namespace: Option<String>,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, resource, verb, namespace } = self;
        let dot = if group.is_empty() { "" } else { "." };
        let place = namespace.as_ref().map_or_else(
            || "all namespaces".to_owned(),
            |namespace| format!("namespace {namespace}"),
        );
        write!(f, "{verb} {resource}{dot}{group} in {place}")
    }
}

/// API group, resource and verbs.
type Rule = (&'static str, &'static str, &'static [&'static str]);

/// Rules where Ingresses are served: the `ClusterRole` of `deploy/install.yaml`, without the
/// objects of the cluster.
pub const WHERE_SERVED: [Rule; 3] = [
    ("networking.k8s.io", "ingresses", &["list", "watch", "patch"]),
    ("", "secrets", &["get", "create", "patch"]),
    ("events.k8s.io", "events", &["create"]),
];
/// Rules for objects of the cluster: the rest of that `ClusterRole`. An install for some namespaces
/// works without them.
pub const OF_THE_CLUSTER: [Rule; 1] = [("networking.k8s.io", "ingressclasses", &["list"])];
/// Rules in the operator's own namespace: the Role of `deploy/install.yaml`.
pub const OWN: [Rule; 3] = [
    ("networking.k8s.io", "ingresses", &["create", "patch", "delete"]),
    ("", "secrets", &["list", "watch", "deletecollection"]),
    ("coordination.k8s.io", "leases", &["get", "create", "update"]),
];
/// Rules of `deploy/watch-secrets.yaml`, for `--watch-secrets`.
pub const WATCH_SECRETS: [Rule; 1] = [("", "secrets", &["list", "watch"])];

/// Rights of an operator in namespace `own` that serves `watched` namespaces, or all.
pub fn rights_needed(own: &str, watched: &[String], watch_secrets: bool) -> Vec<Right> {
    let places: Vec<Option<String>> = match watched {
        [] => vec![None],
        some => some.iter().take(limits::NAMESPACES_ASKED).cloned().map(Some).collect(),
    };
    let mut all = Vec::new();
    for place in places {
        all.extend(of_rules(&WHERE_SERVED, place.as_deref()));
        if watch_secrets {
            all.extend(of_rules(&WATCH_SECRETS, place.as_deref()));
        }
    }
    if watched.is_empty() {
        all.extend(of_rules(&OF_THE_CLUSTER, None));
    }
    all.extend(of_rules(&OWN, Some(own)));
    all
}

fn of_rules<'a>(
    rules: &'a [Rule],
    namespace: Option<&'a str>,
) -> impl Iterator<Item = Right> + use<'a> {
    rules.iter().flat_map(move |(group, resource, verbs)| {
        let namespace = namespace.map(str::to_owned);
        verbs.iter().map(move |verb| Right { group, resource, verb, namespace: namespace.clone() })
    })
}

/// Answers of the API server about the rights of a `ServiceAccount`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rights {
    /// User name of the `ServiceAccount`.
    pub of: String,
    /// Number of rights that were asked for.
    pub asked: usize,
    /// Rights that are missing.
    pub missing: Vec<Right>,
}

/// Whether the operator has its rights.
pub fn rights(found: &Fact<Rights>) -> Finding {
    let check = Check::Rights;
    match found {
        Err(why) => Finding::skipped(check, why),
        Ok(Rights { of, asked, missing }) if missing.is_empty() => {
            Finding::ok(check, &format!("{of} has all {asked} rights"))
        }
        Ok(Rights { of, missing, .. }) => Finding::fail(
            check,
            &format!("{of} may not {}", joined(missing)),
            "apply deploy/install.yaml again (with --watch-secrets also deploy/watch-secrets.yaml), or give the rights by a \
             RoleBinding to its ClusterRole",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::doctor::Verdict::{Fail, Ok as Well, Skipped};

    #[test]
    fn the_rights_are_asked_for_where_ingresses_are_served_and_missing_ones_are_named() {
        let all = rights_needed("ops", &[], false);
        assert_eq!(all.len(), 17);
        let shown: Vec<String> = all.iter().map(Right::to_string).collect();
        assert!(shown.contains(&"patch ingresses.networking.k8s.io in all namespaces".to_owned()));
        assert!(shown.contains(&"deletecollection secrets in namespace ops".to_owned()));
        let some = rights_needed("ops", &["web".to_owned()], true);
        assert!(some.iter().all(|right| right.resource != "ingressclasses"));
        assert!(some.iter().any(|right| right.to_string() == "watch secrets in namespace web"));
        let missing = vec![all[2].clone()];
        let found = rights(&Ok(Rights { of: "sa".to_owned(), asked: 16, missing }));
        assert_eq!(found.verdict, Fail);
        assert!(found.seen.contains("sa may not patch ingresses.networking.k8s.io"), "{found:?}");
        let none = Rights { of: "sa".to_owned(), asked: 16, missing: Vec::new() };
        assert_eq!(rights(&Ok(none)).verdict, Well);
        assert_eq!(rights(&Err("forbidden".to_owned())).verdict, Skipped);
    }
}
