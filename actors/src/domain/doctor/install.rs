//! The install in the cluster: API server, Deployment, flags, Lease, rights, other installs.

use std::collections::BTreeSet;
use std::fmt;

use super::{Check, Fact, Finding, joined};
use crate::domain::limits;
use crate::domain::time::Timestamp;

/// The API server answers with this version.
pub fn api_server(version: &Fact<String>) -> Finding {
    match version {
        Ok(version) => Finding::ok(Check::ApiServer, &format!("Kubernetes {version} answers")),
        Err(why) => Finding::fail(
            Check::ApiServer,
            &format!("the API server does not answer: {why}"),
            "check --context and --kubeconfig with `kubectl version`; no other check of the cluster is possible",
        ),
    }
}

/// A Deployment of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deployment {
    /// `namespace/name`.
    pub name: String,
    /// Image of its container.
    pub image: String,
    /// Replicas that are wanted.
    pub wanted: i32,
    /// Replicas that are ready.
    pub ready: i32,
}

/// The Deployments of the operator's namespace.
pub fn deployment(namespace: &str, found: &Fact<Vec<Deployment>>) -> Finding {
    let check = Check::Deployment;
    match found.as_deref() {
        Err(why) => Finding::skipped(check, &format!("no Deployment can be read: {why}")),
        Ok([]) => Finding::fail(
            check,
            &format!(
                "namespace {namespace} has no Deployment with the label app.kubernetes.io/name=ingress-acme"
            ),
            "apply deploy/install.yaml, or name the operator's namespace with --operator-namespace",
        ),
        Ok([Deployment { name, image, wanted, ready }]) => {
            let seen = format!("{name} has {ready} of {wanted} replicas ready, image {image}");
            let (own, short) = name.split_once('/').unwrap_or((namespace, name));
            let look = format!(
                "see `kubectl -n {own} describe pods` and `kubectl -n {own} logs deploy/{short}`"
            );
            match ready {
                0 => Finding::fail(check, &seen, &look),
                ready if ready < wanted => Finding::warn(check, &seen, &look),
                _ => Finding::ok(check, &seen),
            }
        }
        Ok(several) => Finding::fail(
            check,
            &format!(
                "namespace {namespace} has several Deployments of the operator ({}), which share one Lease, journal and \
                 account",
                joined(several.iter().map(|one| &one.name))
            ),
            "keep one, and raise its replicas instead; a second install belongs into a namespace of its own",
        ),
    }
}

/// Flags of the Deployment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Flags {
    /// URL of the directory.
    pub directory: String,
    /// The flags that are set, by `args` or the environment, as `--name=value`.
    pub set: Vec<String>,
    /// Sources of variables that nobody can read from the Deployment alone: ConfigMaps and Secrets.
    pub unread: Vec<String>,
}

/// The flags, or the refusal of the command line's parser.
pub fn flags(found: &Fact<Flags>) -> Finding {
    let check = Check::Flags;
    match found {
        Err(why) => Finding::fail(
            check,
            &format!("the flags of the Deployment are not those of this release: {why}"),
            "correct its args and environment, or use the ingress-acme of its release",
        ),
        Ok(Flags { directory, set, unread }) => {
            let set = if set.is_empty() { "none is set".to_owned() } else { joined(set) };
            let seen = format!("CA {directory}; flags: {set}");
            if unread.is_empty() {
                return Finding::ok(check, &seen);
            }
            Finding::warn(
                check,
                &format!("{seen}; not read: {}", joined(unread)),
                "flags in these sources count in the operator and not here: name the CA with --acme-directory",
            )
        }
    }
}

/// The Lease of the replicas.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lease {
    /// Holder; `None` where nobody leads.
    pub holder: Option<String>,
    /// Last renewal, by the holder's clock.
    pub renewed: Option<Timestamp>,
}

/// Whether a replica leads. `now` is the API server's time. `elects` is `--leader-elect`.
pub fn leader(found: &Fact<Option<Lease>>, now: Option<Timestamp>, elects: bool) -> Finding {
    let check = Check::Leader;
    if !elects {
        return Finding::ok(check, "no Lease is used (--leader-elect false)");
    }
    let log = "read the logs of all replicas: the operator names the reason why none can lead";
    let lease = match found {
        Err(why) => return Finding::skipped(check, &format!("the Lease cannot be read: {why}")),
        Ok(None) => {
            return Finding::fail(check, "there is no Lease: no replica has led yet", log);
        }
        Ok(Some(lease)) => lease,
    };
    let Some(holder) = lease.holder.as_deref().filter(|holder| !holder.is_empty()) else {
        return Finding::fail(check, "the Lease has no holder", log);
    };
    let age = lease.renewed.zip(now).map(|(renewed, now)| now.since(renewed));
    match age.filter(|age| *age > limits::LEASE_STALE) {
        Some(age) => {
            let seen = format!("{holder} has not renewed the Lease for {} s", age.as_secs());
            Finding::fail(check, &seen, log)
        }
        None => Finding::ok(check, &format!("{holder} leads")),
    }
}

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

/// Rules where Ingresses are served: the ClusterRole of `deploy/install.yaml`, without the objects
/// of the cluster.
pub const WHERE_SERVED: [Rule; 3] = [
    ("networking.k8s.io", "ingresses", &["list", "watch", "patch"]),
    ("", "secrets", &["get", "create", "patch"]),
    ("events.k8s.io", "events", &["create"]),
];
/// Rules for objects of the cluster: the rest of that ClusterRole. An install for some namespaces
/// works without them.
pub const OF_THE_CLUSTER: [Rule; 1] = [("networking.k8s.io", "ingressclasses", &["list"])];
/// Rules in the operator's own namespace: the Role of `deploy/install.yaml`.
pub const OWN: [Rule; 3] = [
    ("networking.k8s.io", "ingresses", &["create", "patch", "delete"]),
    ("", "secrets", &["list", "deletecollection"]),
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

/// Answers of the API server about the rights of a ServiceAccount.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rights {
    /// User name of the ServiceAccount.
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

/// Ingresses that an install serves, by its flags.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Serves {
    /// `--watch-namespace`; none for all.
    pub namespaces: BTreeSet<String>,
    /// `--ingress-class`; none for all.
    pub classes: BTreeSet<String>,
    /// `--manage annotated`.
    pub annotated: bool,
}

impl Serves {
    /// Whether no Ingress is served by both.
    fn is_apart_from(&self, other: &Self) -> bool {
        let disjoint = |one: &BTreeSet<String>, other: &BTreeSet<String>| {
            !one.is_empty() && !other.is_empty() && one.is_disjoint(other)
        };
        disjoint(&self.namespaces, &other.namespaces) || disjoint(&self.classes, &other.classes)
    }
}

/// Another install of the operator in the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OtherInstall {
    /// `namespace/name` of its Deployment, or of its Lease.
    pub name: String,
    /// Served Ingresses; `None` where its flags are not known.
    pub serves: Option<Serves>,
}

/// Other issuers in the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Others {
    /// Other installs of this operator.
    pub installs: Vec<OtherInstall>,
    /// Whether cert-manager's resources are there.
    pub cert_manager: bool,
    /// Things that the user may not list, so that others may be missing here.
    pub unread: Option<String>,
}

/// Whether another install serves the same Ingresses as this one.
pub fn installs(own: &Serves, found: &Fact<Others>) -> Finding {
    let check = Check::Installs;
    let others = match found {
        Err(why) => return Finding::skipped(check, why),
        Ok(others) => others,
    };
    let apart =
        "give each its own Ingresses by --watch-namespace or --ingress-class, or delete one";
    let overlaps =
        |one: &&OtherInstall| one.serves.as_ref().is_none_or(|serves| !own.is_apart_from(serves));
    let overlapping: Vec<&OtherInstall> = others.installs.iter().filter(overlaps).collect();
    if let Some(first) = overlapping.first() {
        let seen = format!("{} serves the same Ingresses too, at least in part", first.name);
        let annotated = own.annotated || first.serves.as_ref().is_some_and(|one| one.annotated);
        return match (annotated, &first.serves) {
            (true, _) => Finding::warn(
                check,
                &format!("{seen}, if they have the annotation ingress-acme.dev/enabled"),
                apart,
            ),
            (false, None) => Finding::warn(
                check,
                &format!("{} is a second install, whose flags are not known", first.name),
                apart,
            ),
            (false, Some(_)) => Finding::fail(check, &format!("{seen}: both order"), apart),
        };
    }
    let mut seen = match &others.installs[..] {
        [] => "no other install is seen".to_owned(),
        some => format!("{} serves other Ingresses", joined(some.iter().map(|one| &one.name))),
    };
    if others.cert_manager {
        seen += "; cert-manager is there, and keeps the Ingresses that name its issuers";
    }
    if let Some(unread) = &others.unread {
        return Finding::skipped(check, &format!("{seen}, but {unread}"));
    }
    Finding::ok(check, &seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::doctor::Verdict::{self, Fail, Ok as Well, Skipped, Warn};

    fn unknown<T>() -> Fact<T> {
        Err("forbidden".to_owned())
    }

    #[test]
    fn a_deployment_is_ready_half_ready_missing_or_one_too_many() {
        let of = |ready: i32| Deployment {
            name: "ops/acme".to_owned(),
            image: "acme:1".to_owned(),
            wanted: 2,
            ready,
        };
        let cases: [(Fact<Vec<Deployment>>, Verdict, &str); 6] = [
            (Ok(vec![of(2)]), Well, "2 of 2 replicas ready, image acme:1"),
            (Ok(vec![of(1)]), Warn, "kubectl -n ops logs deploy/acme"),
            (Ok(vec![of(0)]), Fail, "kubectl -n ops describe pods"),
            (Ok(vec![]), Fail, "--operator-namespace"),
            (Ok(vec![of(2), of(2)]), Fail, "keep one"),
            (unknown(), Skipped, "forbidden"),
        ];
        for (found, verdict, words) in cases {
            let finding = deployment("ops", &found);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.words().contains(words), "{finding:?}");
        }
    }

    #[test]
    fn a_lease_needs_a_holder_who_renews() {
        let now = Timestamp::from_secs(1_000);
        let lease = |holder: Option<&str>, age: i64| {
            let renewed = Some(Timestamp::from_secs(1_000 - age));
            Ok(Some(Lease { holder: holder.map(str::to_owned), renewed }))
        };
        let stale = i64::try_from(limits::LEASE_STALE.as_secs()).unwrap();
        let cases: [(Fact<Option<Lease>>, bool, Verdict); 8] = [
            (lease(Some("pod"), 4), true, Well),
            (lease(Some("pod"), stale), true, Well),
            (lease(Some("pod"), stale + 1), true, Fail),
            (lease(Some("pod"), -900), true, Well),
            (lease(Some(""), 4), true, Fail),
            (lease(None, 4), true, Fail),
            (Ok(None), true, Fail),
            (Ok(None), false, Well),
        ];
        for (found, elects, verdict) in cases {
            let finding = leader(&found, Some(now), elects);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
        }
        assert_eq!(leader(&unknown(), Some(now), true).verdict, Skipped);
        assert_eq!(
            leader(&lease(Some("pod"), 900), None, true).verdict,
            Well,
            "no time to compare"
        );
    }

    #[test]
    fn the_rights_are_asked_for_where_ingresses_are_served_and_missing_ones_are_named() {
        let all = rights_needed("ops", &[], false);
        assert_eq!(all.len(), 16);
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
        assert_eq!(rights(&unknown()).verdict, Skipped);
    }

    fn serves(namespaces: &[&str], classes: &[&str]) -> Serves {
        let set = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        Serves { namespaces: set(namespaces), classes: set(classes), annotated: false }
    }

    #[test]
    fn a_second_install_is_a_failure_unless_it_serves_other_ingresses() {
        let judged = |own: &Serves, other: Option<Serves>| {
            let installs = vec![OtherInstall { name: "b/acme".to_owned(), serves: other }];
            super::installs(own, &Ok(Others { installs, ..Others::default() })).verdict
        };
        let all = serves(&[], &[]);
        assert_eq!(judged(&all, Some(all.clone())), Fail);
        assert_eq!(judged(&all, Some(serves(&["web"], &[]))), Fail, "web is served twice");
        assert_eq!(judged(&serves(&["api"], &[]), Some(serves(&["web"], &[]))), Well);
        assert_eq!(judged(&serves(&[], &["a"]), Some(serves(&[], &["b"]))), Well);
        assert_eq!(judged(&serves(&[], &["a"]), Some(serves(&["web"], &["a", "b"]))), Fail);
        assert_eq!(judged(&all, Some(Serves { annotated: true, ..all.clone() })), Warn);
        assert_eq!(judged(&all, None), Warn);
        let alone =
            Others { unread: Some("Leases may not be listed".to_owned()), ..Others::default() };
        assert_eq!(super::installs(&all, &Ok(alone)).verdict, Skipped);
        let beside = super::installs(&all, &Ok(Others { cert_manager: true, ..Others::default() }));
        assert!(beside.verdict == Well && beside.seen.contains("cert-manager"), "{beside:?}");
    }

    #[test]
    fn flags_from_elsewhere_are_a_warning_and_unknown_ones_a_failure() {
        let of = |unread: &[&str]| Flags {
            directory: "https://ca.example/dir".to_owned(),
            set: vec!["--manage=annotated".to_owned()],
            unread: unread.iter().map(|one| (*one).to_owned()).collect(),
        };
        let read = flags(&Ok(of(&[])));
        assert!(read.verdict == Well && read.seen.contains("--manage=annotated"), "{read:?}");
        let partly = flags(&Ok(of(&["ConfigMap acme"])));
        assert!(partly.verdict == Warn && partly.seen.contains("ConfigMap acme"), "{partly:?}");
        assert_eq!(flags(&unknown()).verdict, Fail);
        assert_eq!(api_server(&unknown()).verdict, Fail);
        assert_eq!(api_server(&Ok("v1.36.3".to_owned())).verdict, Well);
    }
}
