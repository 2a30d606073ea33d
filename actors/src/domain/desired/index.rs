//! Index of all Ingresses, trimmed, and the desired certificate of each Secret.
//!
//! Computes the desired certificate of a Secret from the newest views. Each change returns the
//! Ingresses to reconcile; a change of labels, backends or foreign annotations is told apart
//! (`take_edited`), and one of the status returns none.

mod ca_choices;
mod cert_manager;
mod choices;
mod dns_accounts;
mod groups;
mod host_owners;
mod indexed_ingress;
mod left_alone;
mod merge;
mod merged;
mod parting;
mod private_ca;
mod problems;
mod rooms;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::domain::cas::Cas;
use crate::domain::certificate::KeyAlgorithm;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::desired::host_claims::HostClaims;
use crate::domain::desired::plan::{Plan, PlannedCertificate};
use crate::domain::desired::selection::{Selection, Skip, TakesBack, select};
use crate::domain::dns::account::DnsAccounts;
use crate::domain::ingress::{IngressKey, IngressRef, IngressView, SecretKey};
use crate::domain::limits;
use groups::Groups;
use indexed_ingress::{Change, IndexedIngress, Terms, is_managed};
use left_alone::{LeftAlone, choosable_names};
pub(crate) use private_ca::has_internal_names;
use rooms::{Rooms, Space};

/// All observed Ingresses by key, with an index from each Secret to the Ingresses that use the
/// Secret.
#[derive(Debug, Default)]
pub struct Index {
    selection: Selection,
    cas: Rc<Cas>,
    default_profile: Option<String>,
    default_algorithm: KeyAlgorithm,
    /// Boxed, so that a growing table does not move the values.
    entries: HashMap<IngressKey, Box<IndexedIngress>>,
    /// Sorted keys. Nearly every Secret has one user, and a set would allocate room for eleven.
    users: HashMap<SecretKey, Vec<IngressKey>>,
    /// Ingresses that name a Secret in a block whose names are all left out.
    refused_blocks: BTreeMap<SecretKey, BTreeSet<IngressKey>>,
    listing: HashMap<WatchScope, HashSet<IngressKey>>,
    /// Scopes that were listed once.
    listed: HashSet<WatchScope>,
    managed: usize,
    /// Number of managed Ingresses of each namespace that has any.
    namespaces: HashMap<Arc<str>, usize>,
    unused: Vec<SecretKey>,
    /// Secrets that lost their last user, until the pool has taken them.
    orphans: BTreeSet<SecretKey>,
    /// Ingresses with an edit that changes no desired certificate, until they are taken.
    edited: Vec<IngressKey>,
    groups: Groups,
    /// Desired certificates of Secrets with many users.
    merged: RefCell<HashMap<SecretKey, Option<DesiredCertificate>>>,
    host_claims: HostClaims,
    left_alone: LeftAlone,
    rooms: Rooms,
    /// Namespaces with a certificate of the CA in use for an internal name.
    proven_private: HashSet<Arc<str>>,
    /// The accounts at DNS providers.
    dns_accounts: Arc<DnsAccounts>,
}

/// Scope of one watch: one namespace, or all of them (`None`).
pub type WatchScope = Option<Arc<str>>;

/// Whether `namespace` is within `scope`.
pub fn covers(scope: &WatchScope, namespace: &str) -> bool {
    scope.as_ref().is_none_or(|only| **only == *namespace)
}

impl Index {
    /// Creates an empty index. `default_profile` is `--profile`; the annotation of an Ingress wins.
    pub fn new(selection: Selection, default_profile: Option<String>) -> Self {
        let host_claims = HostClaims::new(selection.shared_hosts);
        Self { selection, default_profile, host_claims, ..Self::default() }
    }

    /// Sets `--key-algorithm`; the annotation of an Ingress wins.
    #[must_use]
    pub fn with_algorithm(self, default_algorithm: KeyAlgorithm) -> Self {
        Self { default_algorithm, ..self }
    }

    /// Stores the newest view of an Ingress. Returns the keys to reconcile.
    pub fn apply(&mut self, mut view: IngressView) -> Vec<IngressKey> {
        for listed in self.listing.values_mut() {
            listed.insert(view.key.clone());
        }
        let kept = self.entries.get(&view.key);
        let skip = select(&self.selection, &view).err();
        let old = kept.map(|kept| kept.space);
        let (is_managed, names) = (is_managed(skip.as_ref()), choosable_names(&view));
        let space = self.rooms.make_room(&mut view, old, is_managed);
        let is_left_alone = !is_managed || space.is_left_out;
        self.left_alone.record(&view.key, if is_left_alone { names } else { Vec::new() });
        let Some(kept) = kept else { return self.begin(view, skip, space) };
        if kept.view == view && kept.space == space {
            return Vec::new();
        }
        self.replan(view, skip, space)
    }

    /// Plans the Ingresses anew that `is_concerned` says. Returns these, and the other keys to
    /// reconcile.
    fn replan_those(&mut self, is_concerned: impl Fn(&IngressView) -> bool) -> Vec<IngressKey> {
        let concerned = self.entries.values().filter(|entry| is_concerned(&entry.view));
        let views: Vec<_> = concerned.map(|entry| (entry.view.clone(), entry.space)).collect();
        let mut changed = Vec::new();
        for (view, space) in views {
            let skip = select(&self.selection, &view).err();
            changed.push(view.key.clone());
            changed.extend(self.replan(view, skip, space));
        }
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    /// Replaces the plan of a known Ingress. Returns the keys to reconcile.
    fn replan(&mut self, view: IngressView, skip: Option<Skip>, space: Space) -> Vec<IngressKey> {
        let key = view.key.clone();
        let shared = self.named_and_shared(&key);
        let mut changed = self.replace(view, skip, space);
        let mut others = self.part(&key);
        others.append(&mut self.part_sharers(&key, &shared));
        if !others.is_empty() {
            changed.extend(others);
            changed.sort_unstable();
            changed.dedup();
        }
        changed
    }

    fn replace(&mut self, view: IngressView, skip: Option<Skip>, space: Space) -> Vec<IngressKey> {
        let accounts = self.dns_accounts.clone();
        let terms = self.terms(&view, space, &accounts);
        let Some(kept) = self.entries.get_mut(&view.key) else { return Vec::new() };
        let mut new = IndexedIngress::new(view, skip, terms);
        new.keep_place(kept);
        new.keep_name(kept);
        let change = new.change(kept);
        let groups = new.moves(kept).then(|| (kept.group(), new.group()));
        let (before, after) = (kept.is_managed(), new.is_managed());
        let key = new.view.key.clone();
        let old = std::mem::replace(&mut **kept, new);
        self.count(&key, before, after);
        self.forget_merged(&old.plan);
        let freed = self.reclaim(&key, &old);
        let mut regrouped = groups.map_or_else(BTreeSet::new, |groups| self.regroup(&key, groups));
        regrouped.extend(freed);
        match change {
            Change::Nothing if regrouped.is_empty() => Vec::new(),
            Change::Edited if regrouped.is_empty() => {
                self.edited.push(key);
                Vec::new()
            }
            Change::Content if regrouped.is_empty() => vec![key],
            Change::Nothing | Change::Edited | Change::Content => {
                regrouped.insert(key);
                regrouped.into_iter().collect()
            }
            Change::Secrets => {
                let unused = self.unused.len();
                regrouped.append(&mut self.unlink(&key, &old.plan));
                if space.is_left_out {
                    // Its certificates are not renewed: their expiry stays shown.
                    self.unused.truncate(unused);
                }
                self.link(&key);
                regrouped.insert(key);
                regrouped.into_iter().collect()
            }
        }
    }

    /// Terms of the plan of an Ingress.
    fn terms<'a>(
        &self,
        view: &IngressView,
        space: Space,
        dns_accounts: &'a DnsAccounts,
    ) -> Terms<'a> {
        let only_public = self.only_public(&view.key.namespace);
        let leaves_tls = view.leaves_tls().unwrap_or(self.selection.leaves_tls);
        let cas = self.cas.clone();
        Terms { cas, dns_accounts, only_public, space, most: self.most_bytes(), leaves_tls }
    }

    fn begin(
        &mut self,
        mut view: IngressView,
        skip: Option<Skip>,
        space: Space,
    ) -> Vec<IngressKey> {
        // Keys of one namespace share the text of its name.
        if let Some((namespace, _)) = self.namespaces.get_key_value(&view.key.namespace) {
            view.key.namespace = namespace.clone();
        }
        let terms = self.terms(&view, space, &self.dns_accounts);
        let mut entry = IndexedIngress::new(view, skip, terms);
        entry.is_fresh = !self.is_first_list(&entry.view.key.namespace);
        let (key, asks) = (entry.view.key.clone(), entry.plan != Plan::default());
        let group = entry.group();
        self.count(&key, false, entry.is_managed());
        let (created, hosts) = (entry.view.created, entry.plan.hosts());
        self.claim(&key, created, hosts.iter());
        self.entries.insert(key.clone(), Box::new(entry));
        self.link(&key);
        let mut changed = self.regroup(&key, (None, group));
        if asks {
            changed.insert(key);
        }
        changed.into_iter().collect()
    }

    /// Removes a deleted Ingress. Returns the keys to reconcile: the Ingress itself, and one of the
    /// remaining users of each of its Secrets.
    pub fn remove(&mut self, key: &IngressKey) -> Vec<IngressKey> {
        let Some(entry) = self.entries.remove(key) else { return Vec::new() };
        self.count(key, entry.is_managed(), false);
        self.left_alone.forget(key);
        self.rooms.leave(&key.namespace, entry.space);
        let mut changed = self.unlink(key, &entry.plan);
        changed.append(&mut self.release(key, entry.plan.hosts().iter()));
        changed.append(&mut self.regroup(key, (entry.group(), None)));
        if entry.plan != Plan::default() {
            changed.insert(key.clone());
        }
        changed.into_iter().collect()
    }

    /// Starts a full list of `scope`. Ingresses missing from the list are removed at its end.
    pub(crate) fn list_begins(&mut self, scope: WatchScope) {
        self.listing.insert(scope, HashSet::new());
    }

    /// Ends the list of `scope`. Returns the keys to reconcile because an Ingress is gone.
    pub(crate) fn list_ends(&mut self, scope: &WatchScope) -> Vec<IngressKey> {
        self.listed.insert(scope.clone());
        let Some(listed) = self.listing.remove(scope) else { return Vec::new() };
        let within =
            |key: &IngressKey| scope.as_ref().is_none_or(|namespace| *namespace == key.namespace);
        let gone = |key: &&IngressKey| within(key) && !listed.contains(*key);
        let gone: Vec<IngressKey> = self.entries.keys().filter(gone).cloned().collect();
        gone.iter().flat_map(|key| self.remove(key)).collect()
    }

    /// Keys of the Ingresses managed by ingress-acme.
    pub fn managed(&self) -> impl Iterator<Item = &IngressKey> {
        self.entries.iter().filter(|(_, entry)| entry.is_managed()).map(|(key, _)| key)
    }

    /// Returns Secrets that lost their last user since the last call.
    pub(crate) fn take_unused(&mut self) -> Vec<SecretKey> {
        let mut unused = std::mem::take(&mut self.unused);
        unused.retain(|secret| !self.users.contains_key(secret));
        unused
    }

    /// Returns the Ingresses with an edit since the last call that changes no desired certificate.
    /// Such an edit may mend the cause of a failure.
    pub(crate) fn take_edited(&mut self) -> Vec<IngressKey> {
        std::mem::take(&mut self.edited)
    }

    /// Returns the Secrets of `namespace` that lost their last user since the last call.
    pub(crate) fn take_orphans(&mut self, namespace: &Arc<str>) -> Vec<SecretKey> {
        let first = SecretKey { namespace: namespace.clone(), name: "".into() };
        let within = self.orphans.range(first..).take_while(|key| key.namespace == *namespace);
        let orphans: Vec<SecretKey> = within.cloned().collect();
        for orphan in &orphans {
            self.orphans.remove(orphan);
        }
        orphans
    }

    /// Puts back orphans that the pool could not take.
    pub(crate) fn return_orphans(&mut self, orphans: impl IntoIterator<Item = SecretKey>) {
        self.orphans.extend(orphans.into_iter().filter(|orphan| !self.users.contains_key(orphan)));
    }

    /// Counts an Ingress that was managed before, and is after a change.
    fn count(&mut self, key: &IngressKey, before: bool, after: bool) {
        if before == after {
            return;
        }
        self.managed = self.managed + usize::from(after) - usize::from(before);
        let count = self.namespaces.entry(key.namespace.clone()).or_default();
        *count = *count + usize::from(after) - usize::from(before);
        if *count == 0 {
            self.namespaces.remove(&key.namespace);
        }
    }

    /// Whether Ingresses of other namespaces are managed: any, or one with a host under `domain`.
    pub(crate) fn is_needed_elsewhere(&self, namespace: &str, domain: Option<&str>) -> bool {
        let any = self.namespaces.keys().any(|other| **other != *namespace);
        any && domain.is_none_or(|domain| self.host_claims.are_elsewhere(namespace, domain))
    }

    /// Number of Ingresses managed by ingress-acme.
    pub(crate) fn managed_count(&self) -> usize {
        self.managed
    }

    /// Keys of all Ingresses.
    pub fn all(&self) -> impl Iterator<Item = &IngressKey> {
        self.entries.keys()
    }

    /// Newest view of an Ingress.
    pub fn view(&self, key: &IngressKey) -> Option<&IngressView> {
        self.entries.get(key).map(|entry| &entry.view)
    }

    /// Reason why an Ingress is not managed; `None` if unknown or managed. A certificate that it
    /// has may be renewed all the same ([`Skip::renews`]).
    pub fn skip(&self, key: &IngressKey) -> Option<&Skip> {
        self.entries.get(key)?.skip.as_ref()
    }

    /// The Ingress, if a `spec.tls` that we filled in is taken back, and why.
    pub(crate) fn takes_back(&self, key: &IngressKey) -> Option<(IngressRef, TakesBack)> {
        let entry = self.entries.get(key)?;
        Some((entry.view.reference(), entry.takes_back()?))
    }

    /// Leaves a filled-in `spec.tls` that cannot be taken back, until the Ingress is edited.
    /// Returns whether that is new.
    pub(crate) fn leave_filled(&mut self, key: &IngressKey) -> bool {
        let Some(entry) = self.entries.get_mut(key) else { return false };
        !std::mem::replace(&mut entry.stays_filled, true)
    }

    /// Secrets used by an Ingress.
    pub fn secrets(&self, key: &IngressKey) -> Vec<SecretKey> {
        self.planned(key).iter().map(|planned| planned.secret.clone()).collect()
    }

    /// Certificates planned for an Ingress, one per Secret; none before its Secret is chosen.
    pub fn planned(&self, key: &IngressKey) -> &[PlannedCertificate] {
        let entry = self.entries.get(key).filter(|entry| !entry.plan.open);
        entry.map_or(&[], |entry| &entry.plan.certificates)
    }

    /// Whether any Ingress uses `secret`.
    pub(crate) fn is_wanted(&self, secret: &SecretKey) -> bool {
        self.users.contains_key(secret)
    }

    /// The first Ingresses that use a Secret, [`limits::SHARERS`] at most.
    pub(crate) fn users(&self, secret: &SecretKey) -> impl Iterator<Item = &IngressKey> {
        self.users.get(secret).into_iter().flatten().take(limits::SHARERS)
    }

    /// Whether several Ingresses use `secret`.
    pub(crate) fn is_shared(&self, secret: &SecretKey) -> bool {
        self.users.get(secret).is_some_and(|users| users.len() > 1)
    }

    /// Adds `key` to the users of its Secrets.
    fn link(&mut self, key: &IngressKey) {
        for secret in self.secrets(key) {
            self.merged.borrow_mut().remove(&secret);
            self.orphans.remove(&secret);
            let users = self.users.entry(secret).or_default();
            if let Err(place) = users.binary_search(key) {
                users.reserve_exact(1);
                users.insert(place, key.clone());
            }
        }
        for (secret, _) in self.entries.get(key).iter().flat_map(|entry| &entry.plan.refused_blocks)
        {
            self.merged.borrow_mut().remove(secret);
            self.refused_blocks.entry(secret.clone()).or_default().insert(key.clone());
        }
    }

    /// Removes `key` from the users of the Secrets in `plan`. Returns one remaining user of each.
    fn unlink(&mut self, key: &IngressKey, plan: &Plan) -> BTreeSet<IngressKey> {
        if plan.open {
            return BTreeSet::new();
        }
        self.forget_merged(plan);
        for (secret, _) in &plan.refused_blocks {
            let Some(keys) = self.refused_blocks.get_mut(secret) else { continue };
            keys.remove(key);
            if keys.is_empty() {
                self.refused_blocks.remove(secret);
            }
        }
        let mut neighbours = BTreeSet::new();
        for PlannedCertificate { secret, .. } in &plan.certificates {
            let Some(users) = self.users.get_mut(secret) else { continue };
            if let Ok(place) = users.binary_search(key) {
                users.remove(place);
            }
            neighbours.extend(users.first().cloned());
            if users.is_empty() {
                self.users.remove(secret);
                self.unused.push(secret.clone());
                self.orphans.insert(secret.clone());
            }
        }
        neighbours
    }
}

#[cfg(test)]
mod boundary_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::desired::plan::tests::{block, ingress, names};
    use crate::domain::ingress::Edition;
    use crate::domain::marks::Mark;

    fn shop() -> IngressView {
        ingress("web", "shop", &["shop.example.com"])
    }

    fn key(name: &str) -> IngressKey {
        IngressKey::new("web", name)
    }

    fn with_tls(name: &str, secret: &str, hosts: &[&str]) -> IngressView {
        IngressView { tls: vec![block(secret, hosts)], ..ingress("web", name, hosts) }
    }

    #[test]
    fn only_what_matters_is_work() {
        let mut index = Index::default();
        assert_eq!(index.apply(shop()), [key("shop")]);
        assert_eq!(index.apply(shop()), []);
        let mut annotated = shop();
        annotated.annotations.insert("filled-tls".into(), "nothing".into());
        assert_eq!(index.apply(annotated.clone()), []);
        annotated.annotations.insert("renew".into(), "2026-11-24".into());
        assert_eq!(index.apply(annotated), [key("shop")]);
        assert_eq!(index.apply(ingress("web", "shop", &["new.example.com"])), [key("shop")]);
    }

    #[test]
    fn an_edit_of_anything_else_is_told_apart() {
        let mut index = Index::default();
        index.apply(shop());
        index.choose(&key("shop"), "shop");
        assert_eq!(index.apply(IngressView { edition: Edition(1), ..shop() }), []);
        assert_eq!((index.take_edited(), index.take_edited()), (vec![key("shop")], Vec::new()));
        let secret = SecretKey::new("web", "shop");
        let before = index.desired(&secret).unwrap();
        index.apply(IngressView { edition: Edition(2), ..shop() });
        let after = index.desired(&secret).unwrap();
        assert_eq!(before.fingerprint(), after.fingerprint());
        assert_ne!(before.attempted(), after.attempted());
    }

    #[test]
    fn a_spec_tls_that_we_filled_in_is_no_work() {
        let mut index = Index::default();
        index.apply(shop());
        index.choose(&key("shop"), "shop");
        assert_eq!(index.apply(with_tls("shop", "shop", &["shop.example.com"])), []);
        assert!(index.desired(&SecretKey::new("web", "shop")).unwrap().fill.is_empty());
        assert_eq!(index.take_edited(), []);
    }

    #[test]
    fn a_shared_secret_holds_the_union_and_has_all_as_owners() {
        let mut index = Index::default();
        index.apply(with_tls("one", "shared", &["a.example.com"]));
        index.apply(with_tls("two", "shared", &["b.example.com"]));
        let desired = index.desired(&SecretKey::new("web", "shared")).unwrap();
        assert_eq!(desired.names, names(&["a.example.com", "b.example.com"]));
        assert_eq!(desired.owners.len(), 2);
    }

    #[test]
    fn whoever_shares_a_secret_settles_what_the_other_left_behind() {
        let mut index = Index::default();
        index.apply(with_tls("one", "shared", &["a.example.com"]));
        index.apply(with_tls("two", "shared", &["b.example.com"]));
        assert_eq!(index.remove(&key("two")), [key("one"), key("two")]);
        assert_eq!(
            index.desired(&SecretKey::new("web", "shared")).unwrap().names,
            names(&["a.example.com"])
        );
        assert_eq!(index.remove(&key("one")), [key("one")]);
        assert_eq!(index.take_unused(), [SecretKey::new("web", "shared")]);
        assert_eq!(index.desired(&SecretKey::new("web", "shared")), None);
    }

    #[test]
    fn a_new_list_finds_what_is_gone_and_says_nothing_of_the_rest() {
        let mut index = Index::default();
        index.apply(shop());
        index.apply(ingress("web", "gone", &["gone.example.com"]));
        index.apply(ingress("other", "kept", &["kept.example.com"]));
        let web = Some("web".into());
        index.list_begins(web.clone());
        assert_eq!(index.apply(shop()), []);
        assert_eq!(index.list_ends(&web), [key("gone")]);
        assert_eq!((index.managed().count(), index.managed_count()), (2, 2));
    }

    #[test]
    fn an_ingress_that_is_not_ours_is_never_work_and_one_that_leaves_us_is_once() {
        let mut index = Index::default();
        let theirs = IngressView {
            mark: Some(Mark::OtherIssuer("cert-manager.io/issuer".into())),
            ..shop()
        };
        assert_eq!(index.apply(theirs.clone()), []);
        assert_eq!(index.apply(shop()), [key("shop")]);
        assert_eq!(index.apply(theirs), [key("shop")]);
        assert_eq!(index.desired(&SecretKey::new("web", "shop")), None);
    }
}
