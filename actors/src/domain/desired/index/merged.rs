//! Desired certificate of each Secret, computed from the plans of its Ingresses when asked for. The
//! answers for Secrets of many Ingresses are kept, because their computation takes time for each.

use std::collections::BTreeSet;

use super::Index;
use super::indexed_ingress::IndexedIngress;
use super::merge::{Defaults, merge};
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::desired::plan::{Plan, PlannedCertificate};
use crate::domain::ingress::{IngressKey, SecretKey};
use crate::domain::limits;
use crate::domain::name::DnsName;

impl Index {
    /// Desired certificate of `secret`; `None` if no Ingress uses `secret`. The answer for a Secret
    /// of many Ingresses is kept until one of them changes.
    pub fn desired(&self, secret: &SecretKey) -> Option<DesiredCertificate> {
        let mut desired = self.with_merged(secret, |desired| Some(desired?.clone()))?;
        desired.keeps_surplus |= self.leaves_out(&secret.namespace);
        Some(desired)
    }

    /// Looks at the merged certificate of `secret`.
    pub(super) fn with_merged<T>(
        &self,
        secret: &SecretKey,
        look: impl FnOnce(Option<&DesiredCertificate>) -> T,
    ) -> T {
        let Some(users) = self.users.get(secret) else { return look(None) };
        let merged = || {
            let users = users.iter().filter_map(|key| self.planned_for(key, secret));
            let verdicts = self.verdicts(&secret.namespace);
            let mut desired = merge(
                secret,
                &users.collect::<Vec<_>>(),
                &Defaults {
                    cas: &self.cas,
                    profile: self.default_profile.as_ref(),
                    algorithm: self.default_algorithm,
                    places: &self.selection.places,
                    dns_accounts: &self.dns_accounts,
                },
                &verdicts,
            )?;
            for names in self.refused_blocks_of(secret) {
                if !desired.add_refused(names) {
                    break;
                }
            }
            Some(desired)
        };
        let blocks = self.refused_blocks.get(secret).map_or(0, BTreeSet::len);
        if users.len() + blocks < limits::SHARERS_KEPT {
            return look(merged().as_ref());
        }
        if let Some(kept) = self.merged.borrow().get(secret) {
            return look(kept.as_ref());
        }
        let desired = merged();
        let mut kept = self.merged.borrow_mut();
        if kept.len() >= limits::MERGED_KEPT {
            kept.clear();
        }
        look(kept.entry(secret.clone()).insert_entry(desired).get().as_ref())
    }

    /// Names of blocks with this Secret whose names are all left out, Ingress by Ingress.
    fn refused_blocks_of(&self, secret: &SecretKey) -> impl Iterator<Item = &[DnsName]> {
        let keys = self.refused_blocks.get(secret).into_iter().flatten();
        keys.filter_map(move |key| {
            let blocks = &self.entries.get(key)?.plan.refused_blocks;
            let place = blocks.binary_search_by(|(of, _)| of.cmp(secret)).ok()?;
            Some(&*blocks[place].1)
        })
    }

    /// Drops the kept answers for the Secrets of `plan`.
    pub(super) fn forget_merged(&self, plan: &Plan) {
        let mut merged = self.merged.borrow_mut();
        if !merged.is_empty() {
            for planned in &plan.certificates {
                merged.remove(&planned.secret);
            }
            for (secret, _) in &plan.refused_blocks {
                merged.remove(secret);
            }
        }
    }

    fn planned_for(
        &self,
        key: &IngressKey,
        secret: &SecretKey,
    ) -> Option<(&IndexedIngress, &PlannedCertificate)> {
        let entry: &IndexedIngress = self.entries.get(key)?;
        Some((entry, entry.planned(secret)?))
    }

    /// Drops the kept answers that may have a host.
    pub(super) fn forget_merged_with(&self, host: &DnsName) {
        let without = |desired: &DesiredCertificate| {
            ![&desired.names, &desired.undecided, &desired.refused]
                .into_iter()
                .any(|names| names.contains(host))
        };
        self.merged.borrow_mut().retain(|_, kept| kept.as_ref().is_some_and(without));
    }
}
