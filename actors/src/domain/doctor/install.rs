//! The install in the cluster: API server, Deployment, flags, Lease.

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
    /// Sources of variables that nobody can read from the Deployment alone: `ConfigMaps` and Secrets.
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
