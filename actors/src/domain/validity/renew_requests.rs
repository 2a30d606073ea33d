//! Requests for a new certificate: the values of `ingress-acme.dev/renew` of all owners of a
//! Secret, and those that the certificate in the Secret has answered.

use std::collections::BTreeSet;

use crate::domain::hash::stable_hash;
use crate::domain::limits;

/// Joins requests with commas; `None` if there are none. Where they are longer than
/// [`limits::RENEW_JOINED`] together, each is replaced by a hash, because the Secret keeps them in
/// an annotation.
pub(crate) fn joined<'a>(requests: impl Iterator<Item = &'a str>) -> Option<String> {
    let requests: Vec<&str> = requests.collect();
    let length: usize = requests.iter().map(|request| request.len() + 1).sum();
    if length <= limits::RENEW_JOINED {
        return (!requests.is_empty()).then(|| requests.join(","));
    }
    let hashes: BTreeSet<String> =
        requests.iter().flat_map(|all| all.split(',')).map(hashed).collect();
    Some(hashes.into_iter().collect::<Vec<_>>().join(","))
}

/// Whether a certificate that answered the requests `answered` also answers `requested`.
pub(crate) fn are_answered(requested: Option<&str>, answered: Option<&str>) -> bool {
    let Some(requested) = requested else { return true };
    let answered: BTreeSet<&str> = answered.into_iter().flat_map(|all| all.split(',')).collect();
    let hashes = || answered.iter().map(|request| hashed(request)).collect::<BTreeSet<String>>();
    let open: Vec<&str> = requested.split(',').filter(|one| !answered.contains(one)).collect();
    // Values that were answered before they were hashed.
    open.is_empty() || {
        let hashes = hashes();
        open.iter().all(|request| hashes.contains(*request))
    }
}

/// Hash of a request: short enough for [`limits::SHARERS`] of them.
fn hashed(request: &str) -> String {
    let hash = stable_hash(request);
    format!("#{:08x}", (hash ^ (hash >> 32)) & u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_requests_are_joined_as_they_are() {
        assert_eq!(joined([].into_iter()), None);
        assert_eq!(joined(["2", "1", "2"].into_iter()).as_deref(), Some("2,1,2"));
        assert!(are_answered(Some("1"), Some("2,1")) && !are_answered(Some("3"), Some("2,1")));
        assert!(are_answered(None, None) && !are_answered(Some("1"), None));
    }

    #[test]
    fn many_long_requests_become_hashes_and_stay_answered() {
        let long: Vec<String> = (0..100).map(|number| format!("{number:0253}")).collect();
        let requested = joined(long.iter().map(String::as_str)).unwrap();
        assert!(requested.len() <= limits::RENEW_JOINED, "{}", requested.len());
        assert!(are_answered(Some(&requested), Some(&long.join(","))), "answered in full before");
        assert!(are_answered(Some(&requested), Some(&requested)));
        let fewer = joined(long[1..].iter().map(String::as_str)).unwrap();
        assert!(
            are_answered(Some(&fewer), Some(&requested)),
            "a sharer that leaves asks for nothing"
        );
        assert!(!are_answered(Some(&requested), Some(&fewer)));
    }

    #[test]
    fn requests_with_their_commas_are_joined_up_to_the_longest_annotation() {
        let longest = "x".repeat(limits::RENEW_JOINED - 1);
        assert_eq!(joined([&*longest].into_iter()).as_deref(), Some(&*longest));
        let too_long = "x".repeat(limits::RENEW_JOINED);
        assert_eq!(joined([&*too_long].into_iter()), Some(hashed(&too_long)));
    }
}
