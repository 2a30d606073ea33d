//! Identity of objects: keys, uids, versions, and generated names.

use serde_json::Value;

use crate::kube::object::{Key, Stored};
use crate::kube::refusal::{Cause, Refusal};
use crate::kube::resource::Resource;

/// Letters of generated names: no vowels and no lookalikes.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// Number of letters in a generated suffix.
const SUFFIX: u32 = 5;

/// Returns the key of an object. The object's name and namespace, if set, must match the path.
pub(super) fn key_of(
    resource: Resource,
    namespace: &str,
    name: &str,
    object: &Value,
) -> Result<Key, Refusal> {
    for (what, expected) in [("name", name), ("namespace", namespace)] {
        let given = object["metadata"][what].as_str().unwrap_or(expected);
        if given != expected && !given.is_empty() {
            let why = format!(
                "the {what} of the object ({given}) does not match the {what} on the URL ({expected})"
            );
            return Err(Refusal::bad_request(why));
        }
    }
    let namespace = if resource.is_namespaced() { namespace } else { "" };
    Ok(Key::new(namespace, name))
}

pub(super) fn same_version(
    resource: Resource,
    live: &Stored,
    object: &Value,
) -> Result<(), Refusal> {
    let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    if !version.is_empty() && version != live.revision.to_string() {
        return Err(Refusal::modified(resource, &live.key.name));
    }
    Ok(())
}

pub(super) fn same_uid(resource: Resource, live: &Stored, object: &Value) -> Result<(), Refusal> {
    let uid = &object["metadata"]["uid"];
    if uid.as_str().is_some_and(|uid| *uid != *live.uid) {
        let why = format!("Invalid value: {uid}: field is immutable");
        let cause = Cause::invalid("metadata.uid", why);
        return Err(Refusal::invalid(resource, &live.key.name, &[cause]));
    }
    Ok(())
}

/// Returns a version 4 UUID (RFC 9562 §5.4).
pub(super) fn uid(random: u128) -> String {
    let bits = random & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

pub(super) fn suffix(random: u128) -> String {
    let base = LETTERS.len() as u128;
    let letter = |place: u32| usize::try_from(random / base.pow(place) % base).unwrap_or(0);
    (0..SUFFIX).map(|place| char::from(LETTERS[letter(place)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_a_random_uuid() {
        assert_eq!(uid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(suffix(28).len(), 5);
    }
}
