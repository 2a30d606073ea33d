//! Names of the Secrets that are ours to choose: those of Ingresses without `spec.tls`.
//!
//! The name is `NAME-tls`, because an application's own Secret often has the name of its Ingress,
//! and `NAME-tls-2` and so on where that one is somebody else's. What is there stays: release 0.1.0
//! chose `NAME`, and a Secret of ours that this Ingress owns is kept, whatever better name is free.
//! No two Ingresses with different hosts share a chosen Secret.

use std::collections::BTreeSet;

use crate::domain::certificate::SecretView;
use crate::domain::hash::stable_hash;
use crate::domain::limits;
use crate::domain::name::DnsName;

/// Longest name of a Secret, in bytes (a DNS subdomain, RFC 1123).
const LONGEST: usize = 253;

/// The `number`-th name for the Secret of an Ingress, from 1. A name that would be too long is cut
/// and ends in a hash.
pub fn chosen_name(ingress: &str, number: usize) -> String {
    let suffix = if number <= 1 { "-tls".to_owned() } else { format!("-tls-{number}") };
    if ingress.len() + suffix.len() <= LONGEST {
        return format!("{ingress}{suffix}");
    }
    let hash = format!("-tls-{:016x}", stable_hash((ingress, number)));
    let cut = &ingress[..ingress.floor_char_boundary(LONGEST - hash.len())];
    format!("{}{hash}", cut.trim_end_matches(['-', '.']))
}

/// Whether we could have chosen this name for the Secret of an Ingress.
pub(crate) fn is_choosable(ingress: &str, secret: &str) -> bool {
    let chosen = |number| chosen_name(ingress, number) == secret;
    secret == ingress || (1..=limits::SECRET_NAMES).any(chosen)
}

/// Whose a Secret is, from the point of view of one Ingress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Holder {
    /// There is no such Secret, and nobody asks for it.
    Nobody,
    /// It was made for this Ingress.
    ThisIngress,
    /// It is somebody else's, and handed over to this Ingress.
    HandedOver,
    /// It is somebody else's.
    Another,
}

/// What is known of a Secret and its users, for [`holder`].
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "four facts that do not exclude each other")]
pub(crate) struct Known<'a> {
    /// The Secret as read.
    pub secret: Option<&'a SecretView>,
    /// Whether the journal has an issuance or a failure for it.
    pub is_live: bool,
    /// Whether other Ingresses use it.
    pub is_used: bool,
    /// Whether an Ingress that is left alone names it, so that its issuer may create it; or another
    /// Ingress has its name, and may have the issuance.
    pub is_named: bool,
    /// Whether an Ingress of the namespace owns it. The owners of one that was deleted and made
    /// again are gone, and nobody's.
    pub is_owned: bool,
}

/// Whether the consent of an Ingress to take over a Secret reaches this one, which its user has not
/// named: the one with the name of the Ingress, or one whose certificate has all hosts.
pub(crate) fn reaches(
    ingress: &str,
    secret: &str,
    found: Option<&SecretView>,
    names: &[DnsName],
) -> bool {
    let certificate = found.and_then(|found| found.certificate.as_ref().ok());
    let covers = || certificate.is_some_and(|one| names.iter().all(|name| one.is_for(name)));
    ingress == secret || covers()
}

/// Returns whose a Secret is. `uid` and `names` are those of the Ingress; with `adopts` it takes
/// over a TLS Secret that is not ours, and that nobody else names.
pub(crate) fn holder(known: Known<'_>, uid: &str, names: &[DnsName], adopts: bool) -> Holder {
    let Known { secret, is_live, is_used, is_named, is_owned } = known;
    let Some(secret) = secret.filter(|_| !is_used) else {
        return match (is_used || is_named, is_live) {
            (true, _) => Holder::Another,
            (false, true) => Holder::ThisIngress,
            (false, false) => Holder::Nobody,
        };
    };
    let owned = secret.owners.contains(uid);
    // Without owners, as after a restore, with --owner-references false or when the Ingress was
    // made again: the hosts show whose it is, or an issuance for hosts that were edited since.
    let is_renewed = is_live && !is_named;
    let alike = || !is_owned && (is_renewed || has_exactly(secret, names));
    // The job of one that another install has reports that install.
    let is_made = secret.ours || secret.other_install.is_some();
    if is_made {
        return if owned || alike() { Holder::ThisIngress } else { Holder::Another };
    }
    let handed_over = adopts && !is_named && secret.is_tls && !secret.immutable;
    if handed_over { Holder::HandedOver } else { Holder::Another }
}

fn has_exactly(secret: &SecretView, names: &[DnsName]) -> bool {
    let names: BTreeSet<&str> = names.iter().map(DnsName::as_str).collect();
    let found = secret.certificate.as_ref().map(|leaf| leaf.names.iter().map(String::as_str));
    found.is_ok_and(|found| found.collect::<BTreeSet<_>>() == names)
}

/// Search for the Secret of an Ingress, one Secret after the other.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    ingress: String,
    /// Number of the next name; 0 is the name that release 0.1.0 chose.
    number: usize,
    /// Whether the Ingress was created a moment ago, so that the first free name will do. It may
    /// have been there before, and have a Secret of that time.
    is_fresh: bool,
    free: Option<String>,
    kept: Option<String>,
    /// The first Secret that is handed over. One of ours goes before.
    handed_over: Option<String>,
    is_over: bool,
}

impl Search {
    pub(crate) fn new(ingress: &str, is_fresh: bool) -> Self {
        let (free, kept, handed_over) = Default::default();
        let ingress = ingress.to_owned();
        Self { ingress, number: 0, is_fresh, free, kept, handed_over, is_over: false }
    }

    /// Name of the next Secret to look at; `None` once the search is over.
    pub(crate) fn next(&self) -> Option<String> {
        let name = || match self.number {
            0 => self.ingress.clone(),
            number => chosen_name(&self.ingress, number),
        };
        (!self.is_over).then(name)
    }

    /// Records whose the Secret that [`next`](Self::next) named is. A name behind free ones may be
    /// in use, because others had these names before.
    pub(crate) fn found(&mut self, holder: Holder) {
        let Some(name) = self.next() else { return };
        match holder {
            Holder::ThisIngress => (self.kept, self.is_over) = (Some(name), true),
            Holder::HandedOver => _ = self.handed_over.get_or_insert(name),
            Holder::Nobody if self.number > 0 => {
                self.is_over = self.is_fresh;
                self.free.get_or_insert(name);
            }
            Holder::Nobody | Holder::Another => {}
        }
        self.number += 1;
        self.is_over |= self.number > limits::SECRET_NAMES;
    }

    /// Secret of ours that the Ingress has, or else one that is handed over to it.
    pub(crate) fn kept(&self) -> Option<&str> {
        self.kept.as_deref().or(self.handed_over.as_deref())
    }

    /// Name for a new Secret. Where all are taken, the last one, whose conflict is reported.
    pub(crate) fn free(&self) -> String {
        let last = || chosen_name(&self.ingress, limits::SECRET_NAMES);
        self.free.clone().unwrap_or_else(last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::desired::plan::tests::names;
    use crate::domain::time::Timestamp;
    use crate::domain::validity::check::tests::secret;

    /// Runs a search over these holders, from `NAME` on.
    fn search(is_fresh: bool, holders: &[Holder]) -> (String, Option<String>, usize) {
        let mut search = Search::new("shop", is_fresh);
        let mut looks = 0;
        while let Some(name) = search.next() {
            looks += 1;
            let number = (0..99).find(|n| {
                (*n > 0 && chosen_name("shop", *n) == name) || (*n == 0 && name == "shop")
            });
            search.found(holders.get(number.unwrap()).copied().unwrap_or(Holder::Nobody));
        }
        (search.free(), search.kept().map(str::to_owned), looks)
    }

    use Holder::{Another, HandedOver, Nobody, ThisIngress};

    #[test]
    fn the_name_is_that_of_the_ingress_and_tls_and_a_number_where_that_one_is_somebody_elses() {
        assert_eq!(search(true, &[]), ("shop-tls".to_owned(), None, 2));
        assert_eq!(search(true, &[Nobody, Another, Another]), ("shop-tls-3".to_owned(), None, 4));
        let looks = limits::SECRET_NAMES + 1;
        assert_eq!(search(false, &[Another]), ("shop-tls".to_owned(), None, looks));
    }

    #[test]
    fn what_0_1_0_chose_is_kept_and_so_is_what_was_chosen_while_a_better_name_was_taken() {
        let kept = |holders: &[Holder]| search(false, holders).1.unwrap();
        assert_eq!(kept(&[ThisIngress, ThisIngress]), "shop");
        assert_eq!(kept(&[Another, ThisIngress]), "shop-tls");
        assert_eq!(kept(&[Another, Nobody, ThisIngress]), "shop-tls-2", "shop-tls is free now");
        assert_eq!(kept(&[Nobody, Another, Nobody, ThisIngress]), "shop-tls-3");
        assert_eq!(kept(&[Nobody, Nobody, Nobody, ThisIngress]), "shop-tls-3", "two are free now");
    }

    #[test]
    fn a_secret_that_is_handed_over_is_taken_where_there_is_none_of_ours() {
        let kept = |holders: &[Holder]| search(false, holders).1.unwrap();
        assert_eq!(kept(&[HandedOver, ThisIngress]), "shop-tls");
        assert_eq!(kept(&[HandedOver, Another, HandedOver]), "shop");
    }

    #[test]
    fn a_consent_reaches_the_secret_of_ones_own_name_and_one_with_all_hosts() {
        let hosts: Vec<DnsName> = names(&["a.example.com"]).into_iter().collect();
        let of = |host: &str| {
            let life = std::time::Duration::from_hours(1);
            secret(&[host], Timestamp::from_secs(0), life)
        };
        let reached = |name: &str, host: &str| reaches("a", name, Some(&of(host)), &hosts);
        assert!(reached("a", "b.example.com") && reached("a-tls", "a.example.com"));
        assert!(!reached("a-tls", "b.example.com"), "that of another site");
        assert!(!reaches("a", "a-tls", None, &hosts));
    }

    #[test]
    fn a_search_ends_though_all_names_are_taken() {
        let all = [Another; limits::SECRET_NAMES + 1];
        let last = chosen_name("shop", limits::SECRET_NAMES);
        assert_eq!(search(false, &all), (last, None, limits::SECRET_NAMES + 1));
    }

    #[test]
    fn a_secret_of_ours_is_of_the_ingress_that_owns_it_or_without_owners_of_the_one_with_its_hosts()
    {
        let hosts: Vec<DnsName> = names(&["a.example.com"]).into_iter().collect();
        let ours =
            secret(&["a.example.com"], Timestamp::from_secs(0), std::time::Duration::from_hours(1));
        let of = |secret: &SecretView, is_used: bool, adopts: bool| {
            let (is_owned, secret) = (!secret.owners.is_empty(), Some(secret));
            let known = Known { secret, is_live: false, is_used, is_named: false, is_owned };
            holder(known, "u1", &hosts, adopts)
        };
        let owned = |uid: &str| SecretView { owners: [uid.to_owned()].into(), ..ours.clone() };
        assert_eq!(of(&owned("u1"), false, false), ThisIngress);
        assert_eq!(of(&owned("u1"), true, false), Another, "another one asks for other hosts");
        assert_eq!(of(&owned("u2"), false, false), Another);
        let ownerless = SecretView { owners: BTreeSet::new(), ..ours.clone() };
        assert_eq!(of(&ownerless, false, false), ThisIngress);
        let other_hosts = SecretView { certificate: Err("none".to_owned()), ..ownerless };
        assert_eq!(of(&other_hosts, false, false), Another);
        let renewed = |is_named: bool| {
            let secret = Some(&other_hosts);
            let known = Known { secret, is_live: true, is_used: false, is_named, is_owned: false };
            holder(known, "u1", &hosts, false)
        };
        assert_eq!([renewed(false), renewed(true)], [ThisIngress, Another]);
        let install = |owner: &str| SecretView {
            ours: false,
            other_install: Some("staging".to_owned()),
            ..owned(owner)
        };
        let of_install = ["u1", "u2"].map(|owner| of(&install(owner), false, false));
        assert_eq!(of_install, [ThisIngress, Another], "the next number is taken");
        let foreign = SecretView { ours: false, ..owned("u2") };
        assert_eq!([of(&foreign, false, false), of(&foreign, false, true)], [Another, HandedOver]);
        let opaque = SecretView { is_tls: false, ..foreign };
        assert_eq!(of(&opaque, false, true), Another, "the application's own");
    }

    #[test]
    fn an_issuance_of_the_journal_keeps_its_secret() {
        let of = |is_live: bool, is_used: bool| {
            let (is_named, is_owned) = (false, false);
            let known = Known { secret: None, is_live, is_used, is_named, is_owned };
            holder(known, "u1", &[], false)
        };
        assert_eq!(
            [of(true, false), of(false, false), of(true, true)],
            [ThisIngress, Nobody, Another]
        );
    }

    proptest! {
        /// Names are names of Secrets, and different ones for each number and each Ingress.
        #[test]
        fn a_chosen_name_is_valid_however_long_the_name_of_the_ingress_is(
            ingress in "[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", number in 1_usize..30,
        ) {
            let name = chosen_name(&ingress, number);
            prop_assert!(name.len() <= 253 && name.contains("-tls"), "{}", name);
            prop_assert!(!name.contains(".-") || ingress.contains(".-"), "{}", name);
            prop_assert_ne!(chosen_name(&ingress, number + 1), name.clone());
            prop_assert_eq!(chosen_name(&ingress, number), name);
        }
    }

    #[test]
    fn a_name_that_we_could_have_chosen_is_known() {
        for name in ["shop", "shop-tls", "shop-tls-8"] {
            assert!(is_choosable("shop", name), "{name}");
        }
        for name in ["shop-tls-9", "my-certificate", "a-tls"] {
            assert!(!is_choosable("shop", name), "{name}");
        }
    }

    #[test]
    fn two_long_names_that_differ_at_their_ends_have_different_secrets() {
        let long = |end: char| format!("{}{end}", "a".repeat(252));
        let names = [long('x'), long('y')].map(|ingress| chosen_name(&ingress, 1));
        assert_ne!(names[0], names[1]);
        assert_eq!(names[0].len(), 253);
    }
}
