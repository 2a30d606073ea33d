//! Other installs of the operator, and other issuers, in the cluster.

use std::collections::BTreeSet;

use super::{Check, Fact, Finding, joined};

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
    use crate::domain::doctor::Verdict::{Fail, Ok as Well, Skipped, Warn};

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
}
