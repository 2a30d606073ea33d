//! Names in orders: syntax, registered domains, policy and CAA.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};

use super::problem::Problem;

/// Names of an order: lower case, sorted, without duplicates.
pub(super) type Names = std::sync::Arc<[Box<str>]>;

/// Identifier of one exact set of names: a truncated hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SetId([u8; 16]);

impl SetId {
    pub(super) fn of(names: &[Box<str>]) -> Self {
        let hash = digest(&SHA256, names.join(",").as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_ref()[..16]);
        Self(id)
    }
}

/// Returns the registered domain of a name: one label below a public suffix
/// (<https://publicsuffix.org>), or the name itself if that is a suffix.
pub(super) fn registered_domain(name: &str) -> &str {
    psl::domain_str(name).unwrap_or(name)
}

/// Names for which nothing is issued, by reason; each entry also covers all names below.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    /// Names refused in new orders.
    pub(super) forbidden: BTreeSet<String>,
    /// Names whose validation fails because of a CAA record (RFC 8659).
    pub(super) caa: BTreeSet<String>,
}

impl Policy {
    /// Normalizes the names of an order and checks each (RFC 8555 §7.4).
    pub(super) fn check(&self, asked: &[String]) -> Result<Names, Problem> {
        let names: BTreeSet<String> = asked.iter().map(|name| name.to_ascii_lowercase()).collect();
        let refused = |name: &String| self.refusal(name).map(|problem| (name.clone(), problem));
        if let Some(name) = names.iter().find(|name| is_redundant(name, &names)) {
            let what = "is redundant with a wildcard domain in the same request. Remove one or the other from the certificate request.";
            return Err(Problem::malformed(format!("Domain name {name:?} {what}")));
        }
        let refused: Vec<_> = names.iter().filter_map(refused).collect();
        match Problem::of_names("Invalid identifiers requested", refused) {
            Some(problem) => Err(problem),
            None => Ok(names.into_iter().map(String::into_boxed_str).collect()),
        }
    }

    fn refusal(&self, name: &str) -> Option<Problem> {
        let (kind, why) = match ill_formed(name) {
            Some(why) => ("malformed", why),
            None if covers(&self.forbidden, base(name)) => (
                "rejectedIdentifier",
                "The ACME server refuses to issue a certificate for this domain name, because it is forbidden by policy",
            ),
            None => return None,
        };
        Some(Problem::new(400, kind, format!("Cannot issue for {name:?}: {why}")))
    }

    /// Returns the problem if a CAA record forbids issuance for `name`.
    pub(super) fn caa_problem(&self, name: &str) -> Option<Problem> {
        let forbids = covers(&self.caa, name);
        forbids
            .then(|| Problem::new(403, "caa", format!("CAA record for {name} prevents issuance")))
    }
}

/// Whether `names` contains the name or one of its parent domains.
fn covers(names: &BTreeSet<String>, name: &str) -> bool {
    let mut zone = Some(name);
    while let Some(name) = zone {
        if names.contains(name) {
            return true;
        }
        zone = name.split_once('.').map(|(_, parent)| parent);
    }
    false
}

/// The name without the label `*`, if it is a wildcard.
pub(super) fn base(name: &str) -> &str {
    name.strip_prefix("*.").unwrap_or(name)
}

/// Whether the wildcard above the name is in the same order, as Boulder refuses it.
fn is_redundant(name: &str, names: &BTreeSet<String>) -> bool {
    let above = name.split_once('.').filter(|(first, _)| *first != "*");
    above.is_some_and(|(_, parent)| names.contains(&format!("*.{parent}")))
}

fn ill_formed(name: &str) -> Option<&'static str> {
    let labels: Vec<&str> = base(name).split('.').collect();
    let bad = |octet: u8| !(octet.is_ascii_alphanumeric() || octet == b'-');
    if name.len() > 253 {
        Some("Domain name is longer than 253 bytes")
    } else if labels.iter().any(|label| label.bytes().any(bad)) {
        Some("Domain name contains an invalid character")
    } else if labels.iter().any(|label| label.is_empty()) {
        Some("Domain name contains an empty label")
    } else if labels.iter().any(|label| label.len() > 63) {
        Some("Domain has a label (component between dots) longer than 63 bytes")
    } else if labels.iter().any(|label| label.starts_with('-') || label.ends_with('-')) {
        Some("Domain name contains a label that begins or ends with a hyphen")
    } else if labels.len() < 2 {
        Some("Domain name needs at least one dot")
    } else if labels.len() > 10 {
        Some("Domain name has more than 10 labels (parts)")
    } else if labels.last().is_some_and(|label| label.bytes().all(|octet| octet.is_ascii_digit())) {
        Some("Domain name is an IP address")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &Policy, names: &[&str]) -> Result<Names, Problem> {
        policy.check(&names.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn names_are_sorted_lower_case_and_single() {
        let names = check(&Policy::default(), &["B.example.com", "a.example.com", "b.example.com"]);
        assert_eq!(names.unwrap().join(" "), "a.example.com b.example.com");
    }

    #[test]
    fn what_is_no_public_name_is_malformed() {
        let long = format!("{}.example.com", "a".repeat(64));
        let deep = "a.".repeat(10) + "com";
        let bad = ["com", "a_b.example.com", "a..example.com", "-a.example.com", "10.0.0.1"];
        for name in bad.into_iter().chain([long.as_str(), deep.as_str()]) {
            assert_eq!(check(&Policy::default(), &[name]).unwrap_err().kind, "malformed", "{name}");
        }
    }

    #[test]
    fn forbidden_names_are_rejected_each_by_name() {
        let mut policy = Policy::default();
        policy.forbidden.insert("example.org".to_owned());
        let refused = check(&policy, &["a.example.com", "a.b.example.org", "*.example.org"]);
        let refused = refused.unwrap_err();
        assert_eq!((refused.kind, refused.status), ("rejectedIdentifier", 400));
        let names: Vec<_> = refused.about.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["*.example.org", "a.b.example.org"]);
        assert!(check(&policy, &["example.com"]).is_ok());
    }

    #[test]
    fn a_wildcard_stands_beside_its_domain_and_not_beside_what_it_covers() {
        let check = |names: &[&str]| check(&Policy::default(), names).map_err(|why| why.kind);
        assert!(check(&["*.example.com", "example.com", "a.b.example.com"]).is_ok());
        assert_eq!(check(&["*.example.com", "a.example.com"]), Err("malformed"));
        for bad in ["*", "*.com", "*.*.example.com", "a.*.example.com"] {
            assert_eq!(check(&[bad]), Err("malformed"), "{bad}");
        }
    }

    #[test]
    fn the_registered_domain_is_one_label_below_the_public_suffix() {
        assert_eq!(registered_domain("a.b.example.com"), "example.com");
        assert_eq!(registered_domain("a.example.co.uk"), "example.co.uk");
        assert_eq!(registered_domain("a.example.test"), "example.test");
        assert_eq!(registered_domain("co.uk"), "co.uk");
    }
}
