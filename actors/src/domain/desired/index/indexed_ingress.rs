//! An entry of the index, and the effect of a newer view.

use std::collections::HashMap;
use std::rc::Rc;

use super::rooms::Space;
use crate::domain::cas::Cas;
use crate::domain::desired::plan::{Plan, PlannedCertificate, filled_by_us, plan};
use crate::domain::desired::problem::Problem;
use crate::domain::desired::selection::{Skip, TakesBack};
use crate::domain::dns::account::DnsAccounts;
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
    /// Whether the Ingress was created a moment ago, so that it can have no Secret of ours.
    pub(super) is_fresh: bool,
    /// Whether `spec.tls` could not be taken back, and nobody has edited the Ingress since.
    pub(super) stays_filled: bool,
    /// How often the API server has refused a look for its Secret, one after the other.
    pub(super) refusals: u32,
    /// Place of each Secret in the plan, where the plan is long.
    places: HashMap<SecretKey, usize>,
}

/// Annotations that change a desired certificate.
#[rustfmt::skip] // two lines are enough
const WISHES: [&str; 8] = [
    "ca", "profile", "key-algorithm", "renew", "adopt-secret", "partial", "challenge", "use-wildcard",
];

/// Terms of a plan, beside the Ingress itself.
#[derive(Clone, Debug)]
pub(super) struct Terms<'a> {
    /// The CAs.
    pub(super) cas: Rc<Cas>,
    /// The accounts at DNS providers.
    pub(super) dns_accounts: &'a DnsAccounts,
    /// Whether the CA of the flags certifies public names only.
    pub(super) only_public: bool,
    /// What the Ingress takes up.
    pub(super) space: Space,
    /// Bytes that the Ingresses of one namespace may take up.
    pub(super) most: usize,
    /// Whether `spec.tls` is left as it is.
    pub(super) leaves_tls: bool,
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

/// Whether an Ingress with this reason against it is checked.
pub(super) fn is_managed(skip: Option<&Skip>) -> bool {
    skip.is_none_or(Skip::renews)
}

impl PlannedCertificate {
    /// Whether there is work that `old` left out: `spec.tls` to fill in, or a first certificate.
    fn has_more_work(&self, old: &Self) -> bool {
        (self.fill && !old.fill) || (old.renew_only && !self.renew_only)
    }
}

impl IndexedIngress {
    /// Plans an Ingress, unless there is a reason to skip it. Some reasons let a certificate be
    /// renewed that is there already.
    pub(super) fn new(view: IngressView, skip: Option<Skip>, terms: Terms<'_>) -> Self {
        let Terms { cas, dns_accounts, only_public, space, most, leaves_tls } = terms;
        let mut plan = match &skip {
            Some(skip) if !skip.renews() => Plan::left_alone(skip.problem()),
            _ if space.is_left_out => Plan::left_out(most),
            _ => plan(&view),
        };
        if leaves_tls {
            plan.leave_tls();
        }
        plan.refuse_cas(&view, &cas);
        plan.keep_public(&view, |namespace, names, asked| {
            cas.are_public_only(namespace, names, asked).unwrap_or(only_public)
        });
        plan.keep_proved(&view, dns_accounts);
        if skip.as_ref().is_some_and(Skip::renews) {
            plan.only_renew();
        }
        let mut places = HashMap::new();
        if plan.certificates.len() > SHORT_PLAN {
            let secrets = plan.certificates.iter().map(|planned| planned.secret.clone());
            places.extend(secrets.zip(0..));
        }
        let (is_fresh, stays_filled) = (false, false);
        Self { view, skip, plan, space, is_fresh, stays_filled, refusals: 0, places }
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

    /// Whether the Ingress is checked: it is managed, or a certificate that it has is renewed.
    pub(super) fn is_managed(&self) -> bool {
        is_managed(self.skip.as_ref())
    }

    /// Why a `spec.tls` that we filled in is taken back, if it is: the user says so, or the
    /// controller rejects it.
    pub(super) fn takes_back(&self) -> Option<TakesBack> {
        let why = match &self.skip {
            Some(Skip::Minion(_)) => TakesBack::Minion,
            _ if self.is_managed() && self.view.leaves_tls() == Some(true) => TakesBack::Asked,
            _ => return None,
        };
        (filled_by_us(&self.view) && !self.stays_filled).then_some(why)
    }

    /// Keeps the Secret that was chosen before, whatever better name is free by now, and what an
    /// edit alone changes.
    pub(super) fn keep_name(&mut self, old: &Self) {
        self.is_fresh = old.is_fresh && old.plan.open;
        let is_edited = self.view.edition != old.view.edition || self.view.tls != old.view.tls;
        self.stays_filled = old.stays_filled && !is_edited;
        let before = old.plan.certificates.first().filter(|_| old.plan.chosen);
        if let Some(planned) = before.filter(|_| self.plan.open) {
            self.plan.settle(planned.secret.clone());
        }
    }

    /// Forgets refusals of the API server, because the Secret is chosen or not needed.
    pub(super) fn forget_refusals(&mut self) {
        self.refusals = 0;
        self.plan.problems.retain(|problem| !matches!(problem, Problem::SecretRefused { .. }));
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
        let same_secrets = self.plan.open == old.plan.open
            && self.plan.certificates.len() == old.plan.certificates.len()
            && pairs().all(|(new, old)| new.secret == old.secret)
            && self.plan.refused_blocks == old.plan.refused_blocks;
        if !same_secrets {
            return Change::Secrets;
        }
        let same_annotation = |short| self.view.annotation(short) == old.view.annotation(short);
        let same_content = pairs()
            .all(|(new, old)| new.names == old.names && !new.has_more_work(old))
            && self.plan.problems == old.plan.problems
            && self.view.uid == old.view.uid
            && self.view.class == old.view.class
            && self.view.copied == old.view.copied
            && (self.takes_back().is_none() || self.takes_back() == old.takes_back())
            && WISHES.into_iter().all(same_annotation);
        if !same_content {
            Change::Content
        } else if self.view.edition == old.view.edition {
            Change::Nothing
        } else {
            Change::Edited
        }
    }
}
