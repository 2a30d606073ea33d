//! Hosts of an Ingress as names of a certificate. The number of names and of bad hosts that are
//! kept is bounded, because an Ingress may list tens of thousands of hosts.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::domain::cut::cut;
use crate::domain::desired::problem::Problem;
use crate::domain::ingress::TlsBlock;
use crate::domain::limits;
use crate::domain::name::{BadName, DnsName};

/// Largest number of names that are kept of one certificate, and of wildcards beside them: one more
/// than any certificate may have, so that too many are noticed. Wildcards count apart, because they
/// may be left out.
pub(super) const NAMES_KEPT: usize = limits::MAX_NAMES + 1;

/// Names of one list of hosts, and its bad hosts.
#[derive(Debug)]
pub(super) struct Hosts {
    /// The first [`NAMES_KEPT`] wildcards and other names, sorted and without duplicates.
    pub names: Arc<[DnsName]>,
    /// The first [`limits::BAD_HOSTS`] hosts that are not names, as problems.
    pub bad: Vec<Problem>,
    /// Number of further hosts that are not names.
    pub more_bad: usize,
}

impl Hosts {
    /// Reads hosts as written. Reads no further once there are too many names.
    pub(super) fn read(hosts: &[String]) -> Self {
        let (mut names, mut bad, mut more_bad) = (Vec::new(), Vec::new(), 0);
        for host in hosts {
            match DnsName::parse_certified(host) {
                Ok(name) => names.push(name),
                Err(why) if bad.len() < limits::BAD_HOSTS => bad.push(bad_host(host, why)),
                Err(_) => more_bad += 1,
            }
            if names.len() >= 2 * NAMES_KEPT {
                bound(&mut names);
                if names.len() >= 2 * NAMES_KEPT {
                    break;
                }
            }
        }
        bound(&mut names);
        Self { names: names.into(), bad, more_bad }
    }
}

/// Returns the union of two sorted lists, of at most [`NAMES_KEPT`] wildcards and other names.
pub(super) fn union(one: &Arc<[DnsName]>, other: &Arc<[DnsName]>) -> Arc<[DnsName]> {
    if Arc::ptr_eq(one, other) || one.len() >= 2 * NAMES_KEPT {
        return one.clone();
    }
    let mut names: Vec<DnsName> = one.iter().chain(other.iter()).cloned().collect();
    bound(&mut names);
    names.into()
}

/// Reduces hosts as written to those that decide on the plan, in order and without duplicates: the
/// first 101 wildcards and other names, and the first [`limits::BAD_HOSTS`] + 1 that are neither.
pub fn distinct_hosts<'a>(hosts: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let (mut known, mut kept) = (HashSet::new(), Vec::new());
    let (mut bad, mut wildcards, mut others) = (0, 0, 0);
    for host in hosts {
        if others >= NAMES_KEPT {
            break;
        }
        let (count, most) = match DnsName::parse_certified(host) {
            Err(_) => (&mut bad, limits::BAD_HOSTS + 1),
            Ok(name) if name.is_wildcard() => (&mut wildcards, NAMES_KEPT),
            Ok(_) => (&mut others, NAMES_KEPT),
        };
        if *count < most && known.insert(host) {
            *count += 1;
            kept.push(host.clone());
        }
    }
    kept.shrink_to_fit(); // a vector that grows has room for four, and nearly every one has one
    kept
}

/// Whether two lists of hosts ask for the same certificate.
pub(super) fn same_names(one: &[String], other: &[String]) -> bool {
    names_of(one) == names_of(other)
}

fn bad_host(host: &str, why: BadName) -> Problem {
    Problem::BadHost { host: cut(host, limits::SHOWN_MAX), why }
}

/// Sorts names, and keeps the first [`NAMES_KEPT`] of both kinds. Wildcards come first, because `*`
/// is less than all letters, digits and `-`.
fn bound(names: &mut Vec<DnsName>) {
    names.sort_unstable();
    names.dedup();
    let wildcards = names.partition_point(DnsName::is_wildcard);
    names.drain(wildcards.min(NAMES_KEPT)..wildcards);
    names.truncate(wildcards.min(NAMES_KEPT) + NAMES_KEPT);
}

/// Whether a block of `tls` has the Secret `secret` and lists exactly `names`.
pub(super) fn is_listed<'a>(
    tls: &[TlsBlock],
    secret: &str,
    names: impl IntoIterator<Item = &'a DnsName>,
) -> bool {
    let names: BTreeSet<DnsName> = names.into_iter().cloned().collect();
    let mut blocks = tls.iter().filter(|block| block.secret_name.as_deref() == Some(secret));
    blocks.any(|block| names_of(&block.hosts) == names)
}

fn names_of(hosts: &[String]) -> BTreeSet<DnsName> {
    hosts.iter().filter_map(|host| DnsName::parse_certified(host).ok()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hosts(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("h{number}.example.com")).collect()
    }

    #[test]
    fn one_name_more_than_a_certificate_may_have_is_kept() {
        assert_eq!(Hosts::read(&hosts(100)).names.len(), 100);
        assert_eq!(Hosts::read(&hosts(101)).names.len(), 101);
        assert_eq!(Hosts::read(&hosts(30_000)).names.len(), 101);
        assert_eq!(distinct_hosts(&hosts(30_000)).len(), 101);
    }

    #[test]
    fn wildcards_take_no_room_of_other_names() {
        let mut many: Vec<String> = hosts(150).iter().map(|host| format!("*.{host}")).collect();
        many.extend(hosts(100));
        let names = Hosts::read(&distinct_hosts(&many)).names;
        let others = names.iter().filter(|name| !name.is_wildcard()).count();
        assert_eq!((names.len() - others, others), (NAMES_KEPT, 100));
    }

    #[test]
    fn a_name_behind_thousands_of_bad_or_repeated_hosts_is_found() {
        let mut many = vec!["*".to_owned(); 3_000];
        many.extend((0..3_000).map(|number| format!("bad_{number}")));
        many.extend(vec!["a.example.com".to_owned(); 3_000]);
        many.push("b.example.com".to_owned());
        let kept = distinct_hosts(&many);
        assert_eq!(kept.len(), 2 + limits::BAD_HOSTS + 1);
        let read = Hosts::read(&kept);
        assert_eq!((read.names.len(), read.bad.len(), read.more_bad), (2, limits::BAD_HOSTS, 1));
    }

    #[test]
    fn a_bad_host_is_shown_in_part_and_moves_no_cursor() {
        let read = Hosts::read(&[format!("a\u{1b}[2J\u{202e}{}", "b".repeat(1_000))]);
        let text = read.bad[0].to_string();
        assert!(text.starts_with("host `a [2J bbb") && text.contains("… (cut: "), "{text}");
    }

    proptest! {
        /// Trimming at the adapter changes nothing of the names, and little is kept.
        #[test]
        fn any_hosts_give_few_names_and_problems(hosts in prop::collection::vec(".{0,80}|(\\*\\.)?[a-z]{1,3}\\.[a-z]{2}", 0..600)) {
            let kept = distinct_hosts(&hosts);
            prop_assert!(kept.len() <= 2 * NAMES_KEPT + limits::BAD_HOSTS + 1);
            let (whole, trimmed) = (Hosts::read(&hosts), Hosts::read(&kept));
            prop_assert!(whole.bad.len() <= limits::BAD_HOSTS && whole.names.len() <= 2 * NAMES_KEPT);
            prop_assert!(whole.names.len() >= NAMES_KEPT || whole.names == trimmed.names);
            prop_assert_eq!(whole.bad.is_empty(), trimmed.bad.is_empty());
        }
    }
}
