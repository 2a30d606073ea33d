//! Groups: one certificate for many Ingresses of one namespace and one registered domain. An
//! Ingress joins with `ingress-acme.dev/group: "true"`, and leaves `spec.tls` to ingress-acme.
//!
//! A CA limits certificates per registered domain, so many Ingresses under one domain can wait for
//! weeks. With [`limits::GROUP_NAMES`] names per certificate they need few certificates.
//!
//! The bucket of an Ingress depends only on the names and number of the members: a group with too
//! many names is split in two by one bit of the hash of each Ingress's name, and so on. So a new
//! member changes one certificate or splits one. A split bucket stays split while its Secrets are
//! in use. Otherwise an Ingress that comes and goes would cause two new certificates each time.

use std::collections::BTreeSet;

use crate::domain::hash::stable_hash;
use crate::domain::limits;
use crate::domain::name::DnsName;

/// Prefix of the names of group Secrets.
const PREFIX: &str = "group-";
/// Largest number of hash bits in a path. At that depth no two names share a bucket.
const DEPTH: usize = 32;

/// A member of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'a> {
    /// `metadata.name`.
    pub ingress: &'a str,
    /// Names that the Ingress needs a certificate for.
    pub names: &'a [DnsName],
    /// Path of the group's Secret that `spec.tls` of the Ingress names, if any.
    pub in_use: Option<&'a str>,
}

/// Registered domain (one label below a public suffix) shared by all `names`; `None` if they differ
/// or there is none.
pub(crate) fn registered_domain(names: &[DnsName]) -> Option<&str> {
    let domain = |name: &'_ DnsName| name.registered_domain().map(str::len);
    let (first, length) = (names.first()?.as_str(), domain(names.first()?)?);
    let common = &first[first.len() - length..];
    let same = |name: &DnsName| domain(name) == Some(length) && name.as_str().ends_with(common);
    names.iter().all(same).then_some(common)
}

/// Name of the Secret of a bucket. `path` holds the hash bits that lead to the bucket, as `0` and
/// `1`.
pub(crate) fn secret_name(domain: &str, path: &str) -> String {
    let dash = if path.is_empty() { "" } else { "-" };
    format!("{PREFIX}{domain}{dash}{path}")
}

/// Whether `secret`, a name chosen by ingress-acme, belongs to a group.
pub(crate) fn is_a_groups(secret: &str) -> bool {
    secret.starts_with(PREFIX)
}

/// Path of the bucket whose Secret is `secret`; `None` if `secret` is not one of the group of
/// `domain`.
pub(crate) fn path<'a>(domain: &str, secret: &'a str) -> Option<&'a str> {
    let rest = secret.strip_prefix(PREFIX)?.strip_prefix(domain)?;
    let path = if rest.is_empty() { rest } else { rest.strip_prefix('-')? };
    path.bytes().all(|bit| bit == b'0' || bit == b'1').then_some(path)
}

/// Extends the path of a bucket by the half that contains `ingress`.
pub(crate) fn deeper(path: &mut String, ingress: &str) {
    path.push(if bit(bits(ingress), path.len()) { '1' } else { '0' });
}

/// Computes the path of each member, in the order of `members`. All members are in the bucket at
/// `from`.
pub(crate) fn paths(from: &str, members: &[Member<'_>]) -> Vec<String> {
    let mut paths = vec![from.to_owned(); members.len()];
    let bits: Vec<u32> = members.iter().map(|member| bits(member.ingress)).collect();
    let mut open: Vec<Vec<usize>> = vec![(0..members.len()).collect()];
    while let Some(together) = open.pop() {
        let depth = together.first().map_or(DEPTH, |first| paths[*first].len());
        if depth >= DEPTH || !is_split(&together, (members, &bits), depth) {
            continue;
        }
        let mut halves = [Vec::new(), Vec::new()];
        for index in together {
            let bit = bit(bits[index], depth);
            paths[index].push(if bit { '1' } else { '0' });
            halves[usize::from(bit)].push(index);
        }
        open.extend(halves.into_iter().filter(|half| !half.is_empty()));
    }
    paths
}

/// Whether a bucket must be split: too many names for one certificate, or a half is in use.
fn is_split(together: &[usize], (members, bits): (&[Member<'_>], &[u32]), depth: usize) -> bool {
    let deeper = |index: &usize| {
        let own = |(depth, set): (usize, u8)| bit(bits[*index], depth) == (set == b'1');
        let is_its = |path: &str| path.len() > depth && path.bytes().enumerate().all(own);
        members[*index].in_use.is_some_and(is_its)
    };
    let mut names = BTreeSet::new();
    let mut all = together.iter().flat_map(|index| members[*index].names);
    let many = all.any(|name| names.insert(name) && names.len() > limits::GROUP_NAMES);
    (many && together.len() > 1) || together.iter().any(deeper)
}

fn bits(ingress: &str) -> u32 {
    let hash = stable_hash(ingress);
    u32::try_from((hash ^ (hash >> 32)) & u64::from(u32::MAX)).unwrap_or_default()
}

fn bit(bits: u32, depth: usize) -> bool {
    bits >> depth.min(DEPTH - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(host: &str) -> DnsName {
        DnsName::parse(host).unwrap()
    }

    fn hosts(count: usize) -> Vec<(String, Vec<DnsName>)> {
        let host = |number| (format!("i{number}"), vec![name(&format!("h{number}.example.com"))]);
        (0..count).map(host).collect()
    }

    fn members(hosts: &[(String, Vec<DnsName>)]) -> Vec<Member<'_>> {
        hosts.iter().map(|(ingress, names)| Member { ingress, names, in_use: None }).collect()
    }

    #[test]
    fn the_registered_domain_is_one_label_below_a_public_suffix_and_must_be_common() {
        let of = |hosts: &[&str]| {
            let names: Vec<DnsName> = hosts.iter().map(|host| name(host)).collect();
            registered_domain(&names).map(str::to_owned)
        };
        assert_eq!(of(&["a.b.example.co.uk", "example.co.uk"]).as_deref(), Some("example.co.uk"));
        assert_eq!(of(&["a.example.com", "a.example.org"]), None);
        assert_eq!(of(&["badexample.com", "example.com"]), None);
        assert_eq!(of(&["co.uk"]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_secret_tells_its_path() {
        for at in ["", "0", "101"] {
            assert_eq!(path("example.com", &secret_name("example.com", at)), Some(at));
        }
        for other in ["group-example.org", "group-example.com-x", "shop", "group-example.com1"] {
            assert_eq!(path("example.com", other), None, "{other}");
        }
    }

    #[test]
    fn twenty_five_names_are_together_and_one_more_splits_them() {
        let few = hosts(limits::GROUP_NAMES);
        assert!(paths("", &members(&few)).iter().all(String::is_empty));
        let many = hosts(limits::GROUP_NAMES + 1);
        assert!(paths("", &members(&many)).iter().all(|path| path.len() == 1));
    }

    #[test]
    fn what_is_split_stays_so_while_a_half_is_in_use() {
        let few = hosts(3);
        let mut members = members(&few);
        let in_use = if bit(bits("i1"), 0) { "1" } else { "0" };
        members[1].in_use = Some(in_use);
        assert!(paths("", &members).iter().all(|path| path.len() == 1));
        members[1].in_use = Some(if in_use == "1" { "0" } else { "1" });
        assert!(paths("", &members).iter().all(String::is_empty), "that half is not its own");
    }

    #[test]
    fn an_ingress_with_many_names_is_not_split() {
        let names: Vec<DnsName> = (0..60).map(|n| name(&format!("h{n}.example.com"))).collect();
        assert_eq!(paths("", &members(&[("big".to_owned(), names)])), [""]);
    }

    proptest! {
        /// No certificate has too many names, and a new member moves only members of the bucket
        /// that splits.
        #[test]
        fn parts_are_small_and_a_new_member_touches_one(count in 1_usize..120) {
            let (before, after) = (hosts(count), hosts(count + 1));
            let (before, after) = (paths("", &members(&before)), paths("", &members(&after)));
            let mut sizes = std::collections::BTreeMap::new();
            for path in &after {
                *sizes.entry(path).or_insert(0_usize) += 1;
            }
            prop_assert!(sizes.values().all(|size| *size <= limits::GROUP_NAMES));
            let moved: BTreeSet<&String> =
                before.iter().zip(&after).filter(|(one, other)| one != other).map(|(one, _)| one).collect();
            prop_assert!(moved.len() <= 1, "{moved:?}");
        }
    }

    #[test]
    fn the_part_of_a_group_that_an_ingress_is_in_is_the_same_in_every_release() {
        let part = |ingress: &str| {
            let mut path = String::new();
            (0..12).for_each(|_| deeper(&mut path, ingress));
            path
        };
        assert_eq!(
            ["shop", "blog", "api"].map(part),
            ["010100100010", "100001001101", "001101111011"]
        );
        assert!(is_a_groups(&secret_name("example.com", "01")) && !is_a_groups("shop"));
    }

    #[test]
    fn below_the_last_bit_of_the_hash_all_have_its_last_bit() {
        for ingress in ["shop", "blog", "api", "a", "b"] {
            let bits = bits(ingress);
            assert_eq!(bit(bits, DEPTH), bit(bits, DEPTH - 1));
            assert_eq!(bit(bits, DEPTH - 1), bits >= 1 << 31, "{ingress}");
        }
    }
}
