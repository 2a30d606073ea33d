//! An entry of the index, and the effect of a newer view.

use std::collections::HashMap;

use super::rooms::Space;
use crate::domain::desired::plan::{Plan, PlannedCertificate, plan};
use crate::domain::desired::selection::Skip;
use crate::domain::ingress::{IngressView, SecretKey};

/// Number of certificates up to which a plan is searched one by one.
const SHORT_PLAN: usize = 16;

/// An Ingress with its plan, computed from its view alone.
#[derive(Debug)]
pub(super) struct IndexedIngress {
    pub(super) view: IngressView,
    pub(super) skip: Option<Skip>,
    pub(super) plan: Plan,
    /// What the Ingress takes up.
    pub(super) space: Space,
    /// Place of each Secret in the plan, where the plan is long.
    places: HashMap<SecretKey, usize>,
}

/// Terms of a plan, beside the Ingress itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Whether the CA certifies public names only.
    pub(super) only_public: bool,
    /// What the Ingress takes up.
    pub(super) space: Space,
    /// Bytes that the Ingresses of one namespace may take up.
    pub(super) most: usize,
}

/// Effect of a newer view on the desired certificates of an Ingress.
pub(super) enum Change {
    /// No work.
    Nothing,
    /// The Ingress was edited, and its desired certificates stay as they are: work for those that
    /// fail.
    Edited,
    /// The content of its Secrets changes.
    Content,
    /// The set of its Secrets changes.
    Secrets,
}

impl IndexedIngress {
    /// Plans an Ingress, unless there is a reason to skip it.
    pub(super) fn new(view: IngressView, skip: Option<Skip>, terms: Terms) -> Self {
        let Terms { only_public, space, most } = terms;
        let mut plan = match &skip {
            Some(_) => Plan::default(),
            None if space.is_left_out => Plan::left_out(most),
            None => plan(&view),
        };
        if only_public {
            plan.keep_public(&view);
        }
        let mut places = HashMap::new();
        if plan.certificates.len() > SHORT_PLAN {
            let secrets = plan.certificates.iter().map(|planned| planned.secret.clone());
            places.extend(secrets.zip(0..));
        }
        Self { view, skip, plan, space, places }
    }

    /// The certificate planned in `secret`, if any.
    pub(super) fn planned(&self, secret: &SecretKey) -> Option<&PlannedCertificate> {
        let certificates = &self.plan.certificates;
        match self.places.get(secret) {
            Some(place) => certificates.get(*place),
            None if self.places.is_empty() => {
                certificates.iter().find(|planned| planned.secret == *secret)
            }
            None => None,
        }
    }

    pub(super) fn is_managed(&self) -> bool {
        self.skip.is_none()
    }

    /// Whether the group must be computed again: the group, or an input of its buckets, differs
    /// from `old`.
    pub(super) fn moves(&self, old: &Self) -> bool {
        if self.plan.group.is_none() && old.plan.group.is_none() {
            return false;
        }
        let [planned, before] = [self, old].map(|entry| entry.plan.certificates.first());
        let settled = planned.is_some_and(|planned| !planned.fill);
        self.plan.group != old.plan.group
            || (self.view.tls != old.view.tls && !settled)
            || planned.map(|planned| &planned.names) != before.map(|before| &before.names)
    }

    /// Compares the desired certificates with those of `old`.
    ///
    /// A `spec.tls` that we have just filled in is no change.
    pub(super) fn change(&self, old: &Self) -> Change {
        let pairs = || self.plan.certificates.iter().zip(&old.plan.certificates);
        let same_secrets = self.plan.certificates.len() == old.plan.certificates.len()
            && pairs().all(|(new, old)| new.secret == old.secret);
        if !same_secrets {
            return Change::Secrets;
        }
        let same_annotation = |short| self.view.annotation(short) == old.view.annotation(short);
        let same_content = pairs()
            .all(|(new, old)| new.names == old.names && (!new.fill || old.fill))
            && self.plan.problems == old.plan.problems
            && self.view.uid == old.view.uid
            && self.view.class == old.view.class
            && ["profile", "key-algorithm", "renew", "adopt-secret", "partial"]
                .into_iter()
                .all(same_annotation);
        if !same_content {
            Change::Content
        } else if self.view.edition == old.view.edition {
            Change::Nothing
        } else {
            Change::Edited
        }
    }
}
