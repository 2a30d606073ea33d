//! Rules of ingress controllers about Ingresses that name the same host, and about what they see.

use std::collections::BTreeSet;

/// What a controller does with Ingresses of one host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Merging {
    /// The paths of all are merged: ingress-nginx, Traefik, Contour, both of `HAProxy`.
    #[default]
    ByPath,
    /// The oldest one has the host with all paths, the others are rejected: F5 NGINX, Azure's AGIC.
    /// Where the oldest is a master of F5's, the paths of its minions are merged.
    OldestHasHost,
    /// The namespace of the oldest one has the host: `OpenShift`'s router with
    /// `namespaceOwnership: Strict`.
    OldestNamespaceHasHost,
    /// Each has an address of its own, and the name leads to that of the user: GKE, AWS without a
    /// shared group, Cilium in dedicated mode.
    AddressPerIngress,
}

/// Rules of the simulated controller.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// What becomes of Ingresses with the same host.
    pub merging: Merging,
    /// Classes that the controller does not serve.
    pub unseen_classes: BTreeSet<String>,
    /// Namespaces that the controller does not watch.
    pub unseen_namespaces: BTreeSet<String>,
}

impl Rules {
    /// Whether the controller takes in an Ingress of this namespace and class.
    pub(super) fn sees(&self, namespace: &str, class: Option<&str>) -> bool {
        let is_unseen = class.is_some_and(|class| self.unseen_classes.contains(class));
        !is_unseen && !self.unseen_namespaces.contains(namespace)
    }
}
