//! One Ingress of the index, and what a newer view of it changes.

use crate::domain::desired::plan::{Plan, plan};
use crate::domain::desired::selection::{Selection, Skip, select};
use crate::domain::ingress::IngressView;

/// An Ingress and what follows from its view alone.
#[derive(Debug)]
pub(super) struct IndexedIngress {
    pub(super) view: IngressView,
    pub(super) skip: Option<Skip>,
    pub(super) plan: Plan,
}

/// What of an Ingress's desired certificates a newer view changes.
pub(super) enum Change {
    /// Nothing that is work.
    Nothing,
    /// What its Secrets are to hold.
    Content,
    /// Which Secrets it uses.
    Secrets,
}

impl IndexedIngress {
    pub(super) fn new(selection: &Selection, view: IngressView) -> Self {
        let skip = select(selection, &view).err();
        let plan = if skip.is_none() { plan(&view) } else { Plan::default() };
        Self { view, skip, plan }
    }

    pub(super) fn is_managed(&self) -> bool {
        self.skip.is_none()
    }

    /// Its group, or what that goes by, is another than that of `old`.
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

    /// What this view asks for that `old` did not, or no longer asks for.
    ///
    /// A `spec.tls` that we have just filled in asks for nothing new.
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
        if same_content { Change::Nothing } else { Change::Content }
    }
}
