//! Directory objects (RFC 8555 §7.1.1).

use serde_json::Value;

use super::objects::{drop_unless, make_absolute};
use super::{Deviations, OTHER_TYPE, absolute};

/// Fields with a URL that a client needs for every certificate.
pub(in crate::acme) const NEEDED: [&str; 3] = ["newNonce", "newAccount", "newOrder"];
/// Fields with a URL that a CA may leave out.
const OPTIONAL: [&str; 4] = ["newAuthz", "revokeCert", "keyChange", "renewalInfo"];

/// Keeps what can be read of a directory: its URLs and the names of its profiles.
pub(super) fn rewrite(directory: &mut Value, url: &str, found: &mut Deviations) {
    for field in NEEDED {
        make_absolute(directory, field, url, found);
    }
    for field in OPTIONAL {
        make_absolute(directory, field, url, found);
        drop_unless(directory, field, Value::is_string, found);
    }
    // The identifier of a certificate is appended (RFC 9773 §4.1).
    let renewal = directory.get("renewalInfo").and_then(Value::as_str);
    if let Some(trimmed) = renewal.and_then(|url| url.strip_suffix('/')) {
        found.insert("ends the URL of renewalInfo with a slash");
        directory["renewalInfo"] = trimmed.to_owned().into();
    }
    meta(directory, found);
}

fn meta(directory: &mut Value, found: &mut Deviations) {
    let Some(object) = directory.as_object_mut() else { return };
    if object.get("meta").is_some_and(|meta| !meta.is_object()) {
        found.insert(OTHER_TYPE);
        object.remove("meta");
    }
    let Some(meta) = object.get_mut("meta").and_then(Value::as_object_mut) else { return };
    let Some(profiles) = meta.get_mut("profiles") else { return };
    let Value::Object(profiles) = profiles else {
        found.insert(OTHER_TYPE);
        meta.remove("profiles");
        return;
    };
    for description in profiles.values_mut().filter(|description| !description.is_string()) {
        found.insert(OTHER_TYPE);
        *description = String::new().into();
    }
}

/// Fields of [`NEEDED`] that an answer does not have as URLs. An answer that is no JSON object has
/// none of them.
pub(in crate::acme) fn lacking(directory: &[u8]) -> Vec<&'static str> {
    let listed = serde_json::from_slice::<Value>(directory).unwrap_or_default();
    let is_url = |field: &&'static str| {
        let url = listed.get(*field).and_then(Value::as_str);
        url.is_some_and(|url| !url.is_empty() && absolute(url, "https://ca.example/").is_none())
    };
    NEEDED.into_iter().filter(|field| !is_url(field)).collect()
}
