//! Merges the plans of all Ingresses that use one Secret into its desired certificate. Thousands of
//! Ingresses may share a Secret, so the time is linear in their number, and the result is bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::indexed_ingress::IndexedIngress;
use crate::domain::cas::{Cas, Source};
use crate::domain::certificate::KeyAlgorithm;
use crate::domain::copied::Copied;
use crate::domain::desired::desired_certificate::{DesiredCertificate, Route, WantedRoute};
use crate::domain::desired::host_claims::Verdict;
use crate::domain::desired::hosts::{NAMES_KEPT, is_listed};
use crate::domain::desired::plan::{self, Adoption, PlannedCertificate, adoption};
use crate::domain::desired::public_names::wants_dns;
use crate::domain::desired::secret_names::is_choosable;
use crate::domain::dns::account::DnsAccounts;
use crate::domain::hash::stable_hash;
use crate::domain::ingress::{Edition, IngressClass, IngressView, SecretKey, TlsBlock};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::rule_host::RuleHost;
use crate::domain::solver_place::{PlaceChoice, PlaceChoices, SolverPlace};
use crate::domain::time::Timestamp;
use crate::domain::top_k::top_k;
use crate::domain::validity::renew_requests;

/// An Ingress, and the certificate that it plans in the Secret.
pub(super) type User<'a> = (&'a IndexedIngress, &'a PlannedCertificate);

/// What the flags say where the Ingresses say nothing.
pub(super) struct Defaults<'a> {
    pub(super) cas: &'a Cas,
    pub(super) profile: Option<&'a String>,
    pub(super) algorithm: KeyAlgorithm,
    pub(super) places: &'a PlaceChoices,
    pub(super) dns_accounts: &'a DnsAccounts,
}

/// Routes of a certificate in the making, and the number of classes of each host.
struct Routing<'a> {
    places: &'a PlaceChoices,
    /// Creation of the newest Ingress with each.
    routes: BTreeMap<(IngressClass, DnsName, SolverPlace, RuleHost), Timestamp>,
    classes: BTreeMap<DnsName, usize>,
}

impl<'a> Routing<'a> {
    fn new(places: &'a PlaceChoices) -> Self {
        Self { places, routes: BTreeMap::new(), classes: BTreeMap::new() }
    }

    /// Adds the route of one more Ingress, while its host has not too many.
    fn add(&mut self, view: &IngressView, host: &DnsName, looks_for_rule: bool) {
        let rule = looks_for_rule.then(|| view.rule_serving(host)).flatten();
        let place = self.places.place(view, rule.is_some());
        let rule = rule.unwrap_or_else(|| host.clone().into());
        let route = (view.class.clone(), host.clone(), place, rule);
        if let Some(newest) = self.routes.get_mut(&route) {
            *newest = view.created.max(*newest);
            return;
        }
        let classes = self.classes.entry(host.clone()).or_default();
        if *classes < limits::CLASSES_PER_HOST {
            *classes += 1;
            self.routes.insert(route, view.created);
        }
    }

    fn wanted(self) -> impl Iterator<Item = WantedRoute> {
        self.routes.into_iter().map(|((class, host, place, rule), newest)| {
            let route = Route { class, rule, place };
            WantedRoute { host, route, newest }
        })
    }
}

/// Merges the plans of the `users` of a Secret; `None` if they have no names. Hosts that other
/// namespaces have, and undecided ones, are left out; `verdicts` says how each host stands.
pub(super) fn merge(
    secret: &SecretKey,
    users: &[User<'_>],
    defaults: &Defaults<'_>,
    verdicts: &dyn Fn(&DnsName) -> Verdict,
) -> Option<DesiredCertificate> {
    let mut desired = of_nobody(secret);
    let mut routing = Routing::new(defaults.places);
    for (entry, planned) in users {
        let names = desired.add_verdicts(planned, verdicts);
        desired.add_names(&entry.view, &names, &mut routing, defaults.dns_accounts);
        desired.add_annotations(&entry.view);
        desired.add_consent(entry, users.len());
        desired.add_fill(&entry.view, planned, &names);
        _ = desired.add_refused(&planned.refused); // the bound holds for all together
        desired.grouped |= entry.plan.group.is_some();
        desired.renew_only &= planned.renew_only;
        desired.add_edition(&entry.view);
    }
    desired.drop_covered();
    desired.routes = routing.wanted().filter(|wanted| desired.has_route(&wanted.host)).collect();
    desired.edition.0 = desired.edition.0.wrapping_add(desired.dns_accounts);
    desired.add_owners(users);
    desired.keeps_surplus = desired.grouped;
    desired.partial |= desired.grouped; // a bad host must not fail the other Ingresses
    let choice = defaults.cas.choice_for(&desired, None);
    let (refuses_ca, profile) = (choice.refusal.is_some(), choice.ca.profile.as_ref());
    let algorithm = choice.ca.algorithm.unwrap_or(defaults.algorithm);
    if defaults.cas.source == Source::File {
        // Another CA than before ends the pause after a failure of that one.
        let of_ca = stable_hash(&choice.ca.directory);
        desired.edition.0 = desired.edition.0.wrapping_add(of_ca);
    }
    desired.refuses_ca = refuses_ca;
    desired.renew_only |= refuses_ca;
    desired.profile = desired.profile.or_else(|| profile.or(defaults.profile).cloned());
    let asked = strongest(users);
    (desired.algorithm, desired.asks_algorithm) = (asked.unwrap_or(algorithm), asked.is_some());
    let any = !desired.names.is_empty() || !desired.undecided.is_empty();
    any.then_some(desired)
}

/// The strongest key that any Ingress of a Secret asks for.
fn strongest(users: &[User<'_>]) -> Option<KeyAlgorithm> {
    users.iter().filter_map(|(entry, _)| plan::algorithm(&entry.view).ok().flatten()).max()
}

/// The desired certificate before any Ingress is merged into it.
fn of_nobody(secret: &SecretKey) -> DesiredCertificate {
    DesiredCertificate {
        secret: secret.clone(),
        names: BTreeSet::new(),
        in_dns: BTreeSet::new(),
        covered: BTreeSet::new(),
        dns_accounts: 0,
        owners: BTreeSet::new(),
        routes: Arc::default(),
        algorithm: KeyAlgorithm::default(),
        asks_algorithm: false,
        profile: None,
        ca: None,
        refuses_ca: false,
        adopt: false,
        adopts_at_once: false,
        partial: true,
        grouped: false,
        keeps_surplus: false,
        renew: None,
        fill: BTreeMap::new(),
        fill_more: false,
        renew_only: true,
        moving: BTreeSet::new(),
        refused: BTreeSet::new(),
        undecided: BTreeSet::new(),
        copied: Copied::default(),
        edition: Edition::default(),
    }
}

impl DesiredCertificate {
    /// Adds the hosts of one more Ingress that are taken or undecided. Returns the others.
    fn add_verdicts<'a>(
        &mut self,
        planned: &'a PlannedCertificate,
        verdicts: &dyn Fn(&DnsName) -> Verdict,
    ) -> BTreeSet<&'a DnsName> {
        let mut names = BTreeSet::new();
        for name in planned.names.iter() {
            let kept_out = match verdicts(name) {
                Verdict::Has | Verdict::Shares => {
                    names.insert(name);
                    continue;
                }
                Verdict::Taken => &mut self.refused,
                Verdict::Undecided => &mut self.undecided,
            };
            if kept_out.len() < NAMES_KEPT {
                kept_out.insert(name.clone());
            }
        }
        names
    }

    /// Adds the names of one more Ingress, while there are not too many, with their routes.
    fn add_names(
        &mut self,
        view: &IngressView,
        names: &BTreeSet<&DnsName>,
        routing: &mut Routing<'_>,
        dns_accounts: &DnsAccounts,
    ) {
        let (wants_dns, namespace) = (wants_dns(view), &view.key.namespace);
        // Where all rules are for one name, a look at a hundred of them would change nothing.
        let is_in_place = || routing.places.choice(view) == PlaceChoice::InPlace;
        let looks_for_rule = view.has_general_rule() || is_in_place();
        for host in names.iter().copied() {
            if self.names.len() >= NAMES_KEPT && !self.names.contains(host) {
                continue;
            }
            self.names.insert(host.clone());
            if wants_dns || host.is_wildcard() {
                let granted: Vec<_> = dns_accounts.granted(namespace, host).collect();
                if !granted.is_empty() && !host.is_wildcard() {
                    self.in_dns.insert(host.clone());
                }
                if !granted.is_empty() {
                    self.dns_accounts ^= stable_hash((host, granted));
                }
            }
            routing.add(view, host, looks_for_rule);
        }
    }

    /// Adds names that are left out, while there are not too many. Returns whether there is room
    /// for more.
    pub(super) fn add_refused(&mut self, names: &[DnsName]) -> bool {
        let room = NAMES_KEPT.saturating_sub(self.refused.len());
        self.refused.extend(names.iter().take(room).cloned());
        self.refused.len() < NAMES_KEPT
    }

    /// Drops names that a wildcard of the certificate covers: CAs refuse an order with both.
    fn drop_covered(&mut self) {
        let wildcards: BTreeSet<DnsName> =
            self.names.iter().filter(|name| name.is_wildcard()).cloned().collect();
        if wildcards.is_empty() {
            return;
        }
        let is_covered =
            |name: &DnsName| name.covering_wildcard().is_some_and(|one| wildcards.contains(&one));
        self.covered = self.names.extract_if(.., |name| is_covered(name)).collect();
    }

    /// Whether HTTP-01 proves the name, or would without a wildcard that covers it, which takes a
    /// route.
    fn has_route(&self, name: &DnsName) -> bool {
        (self.names.contains(name) || self.covered.contains(name))
            && !name.is_wildcard()
            && !self.in_dns.contains(name)
    }

    /// Adds the edition of one more Ingress, in any order.
    fn add_edition(&mut self, view: &IngressView) {
        let of_one = stable_hash((&view.key, view.edition));
        self.edition = Edition(self.edition.0.wrapping_add(of_one));
    }

    fn add_annotations(&mut self, view: &IngressView) {
        self.profile =
            self.profile.take().or_else(|| view.annotation("profile").map(str::to_owned));
        self.ca = self.ca.take().or_else(|| view.annotation("ca").map(str::to_owned));
        self.partial &= view.annotation("partial") == Some("true");
    }

    /// Adds the consent of one of `users` Ingresses to take over the Secret. It is about one's own
    /// Secret, not about one that is shared for its hosts.
    fn add_consent(&mut self, entry: &IndexedIngress, users: usize) {
        let is_given = entry.plan.chosen
            && users > 1
            && !is_choosable(&entry.view.key.name, &self.secret.name);
        if let Some(adoption) = adoption(&entry.view).filter(|_| !is_given) {
            self.adopt = true;
            self.adopts_at_once |= adoption == Adoption::AtOnce;
        }
    }

    fn add_fill(
        &mut self,
        view: &IngressView,
        planned: &PlannedCertificate,
        names: &BTreeSet<&DnsName>,
    ) {
        // A host of another namespace stays left out.
        let as_far_as_possible = names.len() < planned.names.len()
            && is_listed(&view.tls, &planned.secret.name, names.iter().copied());
        if !planned.fill || names.is_empty() || as_far_as_possible {
            return;
        }
        if self.fill.len() >= limits::SHARERS {
            self.fill_more = true;
            return;
        }
        self.fill.insert(view.reference(), names.iter().copied().cloned().collect());
        let elsewhere = |block: &TlsBlock| {
            block.secret_name.as_deref().is_some_and(|name| name != &*planned.secret.name)
        };
        if view.tls.iter().any(elsewhere) {
            self.moving.insert(view.reference());
        }
    }

    /// Adds the oldest Ingresses as owners, with their requests for a new certificate and what is
    /// copied. Age does not
    /// change by an edit, so that owners are added and removed with their Ingresses only.
    fn add_owners(&mut self, users: &[User<'_>]) {
        let views = users.iter().map(|(entry, _)| &entry.view);
        let mut owners: Vec<&IngressView> = if users.len() > limits::SHARERS {
            top_k(views, 0, limits::SHARERS, |view| (view.created, &view.key))
        } else {
            views.collect()
        };
        owners.sort_unstable_by_key(|view| &view.key);
        for view in &owners {
            self.copied.add_those_of(&view.copied);
        }
        self.owners = owners.iter().map(|view| view.reference()).collect();
        self.renew =
            renew_requests::joined(owners.iter().filter_map(|view| view.annotation("renew")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::desired::index::Index;
    use crate::domain::desired::plan::tests::{block, ingress, named};
    use crate::domain::ingress::IngressKey;

    /// The `number`-th Ingress that shares a Secret; the later ones are older.
    fn sharer(number: usize, host: &str, class: &str) -> IngressView {
        let mut view = ingress("web", &format!("i{number:05}"), &[]);
        view.tls = vec![block("shared", &[host])];
        view.class = IngressClass::Named(class.into());
        view.created = Timestamp::from_secs(-i64::try_from(number).unwrap());
        view.annotations.insert("renew".into(), format!("{number:0253}"));
        view
    }

    fn shared(views: impl IntoIterator<Item = IngressView>) -> (Index, DesiredCertificate) {
        let mut index = Index::default();
        views.into_iter().for_each(|view| _ = index.apply(view));
        let desired = index.desired(&SecretKey::new("web", "shared")).unwrap();
        (index, desired)
    }

    #[test]
    fn of_five_thousand_sharers_the_oldest_hundred_own_the_secret_and_all_are_served() {
        let host = |number: usize| format!("h{}.example.com", number % 100);
        let (_, desired) = shared((0..5_000).map(|n| sharer(n, &host(n), &format!("c{n}"))));
        assert_eq!((desired.names.len(), desired.owners.len()), (100, limits::SHARERS));
        let oldest = IngressKey::new("web", "i04999");
        assert!(desired.owners.iter().any(|owner| owner.key == oldest));
        assert_eq!(desired.routes.len(), 100 * limits::CLASSES_PER_HOST);
        assert!(desired.renew.unwrap().len() <= limits::RENEW_JOINED);
    }

    #[test]
    fn a_ninth_class_of_a_host_is_told_with_the_limit_and_its_neighbours_are_routed() {
        for count in [9, 2 * limits::SHARERS_KEPT] {
            let views = (0..count).map(|n| sharer(n, "a.example.com", &format!("c{n:02}")));
            let own = named("other", "shop", &["a.example.net"]);
            let (mut index, _) = shared(views.chain([own]));
            let told = |index: &Index, namespace: &str, name: &str| -> Vec<String> {
                let problems = index.problems(&IngressKey::new(namespace, name)).unwrap();
                problems.iter().map(ToString::to_string).collect()
            };
            let ninth = told(&index, "web", "i00008");
            assert_eq!(ninth.len(), 1, "{ninth:?}");
            assert!(ninth[0].contains("more than 8 classes") && ninth[0].contains("a.example.com"));
            assert_eq!(told(&index, "web", "i00007"), [""; 0], "the eighth has its route");
            assert_eq!(told(&index, "other", "shop"), [""; 0]);
            let of_other = index.desired(&SecretKey::new("other", "shop")).unwrap();
            assert_eq!(of_other.routes.len(), 1);
            index.apply(sharer(8, "a.example.com", "c00"));
            assert_eq!(told(&index, "web", "i00008"), [""; 0], "a class that is routed");
            index.apply(sharer(8, "b.example.com", "c08"));
            assert_eq!(told(&index, "web", "i00008"), [""; 0], "a host of its own");
        }
    }

    #[test]
    fn names_end_at_one_more_than_a_certificate_may_have() {
        let host = |number: usize| format!("h{number}.example.com");
        let (_, desired) = shared((0..5_000).map(|n| sharer(n, &host(n), "nginx")));
        assert_eq!((desired.names.len(), desired.routes.len()), (NAMES_KEPT, NAMES_KEPT));
    }

    #[test]
    fn a_kept_answer_follows_every_change_of_a_sharer() {
        let (mut index, before) = shared((0..200).map(|n| sharer(n, "a.example.com", "nginx")));
        let secret = SecretKey::new("web", "shared");
        index.apply(sharer(7, "b.example.com", "nginx"));
        let edited = index.desired(&secret).unwrap();
        assert_eq!((before.names.len(), edited.names.len()), (1, 2));
        index.remove(&IngressKey::new("web", "i00007"));
        assert_eq!(index.desired(&secret).unwrap().names.len(), 1);
        index.apply(sharer(200, "c.example.com", "nginx"));
        assert_eq!(index.desired(&secret).unwrap().names.len(), 2);
    }
}
