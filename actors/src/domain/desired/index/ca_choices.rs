//! Effect of the CAs on plans: a file with other CAs may come at any time.

use std::rc::Rc;

use super::Index;
use crate::domain::cas::{Cas, Reissue};
use crate::domain::ingress::{IngressKey, SecretKey};

impl Index {
    /// Sets the CAs before the first Ingress.
    #[must_use]
    pub fn with_cas(self, cas: Rc<Cas>) -> Self {
        Self { cas, ..self }
    }

    /// Plans all Ingresses anew with these CAs. Returns those with work to do: their plan changes,
    /// they may have a CA now that was refused, or another CA is to replace their certificates now.
    pub(crate) fn set_cas(&mut self, cas: &Rc<Cas>) -> Vec<IngressKey> {
        let old = std::mem::replace(&mut self.cas, cas.clone());
        let begins = cas.reissue == Reissue::Now && old.reissue != Reissue::Now;
        self.merged.borrow_mut().clear();
        let all: Vec<_> = self.entries.values().collect();
        let all: Vec<_> =
            all.into_iter().map(|one| (one.view.clone(), one.skip.clone(), one.space)).collect();
        let mut changed = Vec::new();
        for (view, skip, space) in all {
            changed.append(&mut self.replan(view, skip, space));
        }
        let moves = |secret: &SecretKey| {
            let Some(desired) = self.desired(secret) else { return false };
            let (was, is) = (old.choice_for(&desired, None), cas.choice_for(&desired, None));
            let is_other = was.ca.directory != is.ca.directory && cas.reissue == Reissue::Now;
            is_other || begins || was.refusal.is_some() != is.refusal.is_some()
        };
        let moving = self.users.iter().filter(|(secret, _)| moves(secret));
        changed.extend(moving.filter_map(|(_, users)| users.first().cloned()));
        changed.sort_unstable();
        changed.dedup();
        changed
    }
}
