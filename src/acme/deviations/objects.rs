//! Orders, authorizations and challenges (RFC 8555 §7.1.3 to §7.1.5).

use instant_acme::Challenge;
use serde_json::{Value, json};

use super::problems::rewrite_problem;
use super::statuses::{self, AUTHORIZATION, CHALLENGE, ORDER};
use super::{Deviation, Deviations, OTHER_TYPE, RELATIVE, absolute};

/// Deviation: a field is missing that every object of its kind has.
const MISSING: Deviation = "leaves out fields of orders and authorizations";

/// A new order without a status is pending: nothing of it can be done yet.
pub(super) fn rewrite_new_order(order: &mut Value, url: &str, found: &mut Deviations) {
    statuses::rewrite(order, (&ORDER, "pending", "processing"), found);
    rewrite_order(order, url, found);
}

/// An order of unknown status is `processing`: the next poll tells more.
pub(super) fn rewrite_order(order: &mut Value, url: &str, found: &mut Deviations) {
    statuses::rewrite(order, (&ORDER, "processing", "processing"), found);
    listed(order, "authorizations", found);
    if let Some(urls) = order["authorizations"].as_array_mut() {
        let before = urls.len();
        urls.retain(Value::is_string);
        if urls.len() < before {
            found.insert(OTHER_TYPE);
        }
        for one in urls {
            if let Some(absolute) = one.as_str().and_then(|text| absolute(text, url)) {
                found.insert(RELATIVE);
                *one = absolute.into();
            }
        }
    }
    make_absolute(order, "finalize", url, found);
    make_absolute(order, "certificate", url, found);
    if !order["finalize"].is_string() {
        found.insert(MISSING);
        order["finalize"] = String::new().into();
    }
    drop_unless(order, "certificate", Value::is_string, found);
    drop_unless(order, "profile", Value::is_string, found);
    drop_unless(order, "replaces", is_certificate_id, found);
    rewrite_error(order, found);
}

/// An authorization of unknown status, such as `processing`, is `pending`: not valid yet, and not
/// lost. A challenge of unknown status is `processing`: not answered a second time, and not lost. A
/// challenge of another type than `http-01` that cannot be read is left out.
pub(super) fn rewrite_authorization(object: &mut Value, url: &str, found: &mut Deviations) {
    statuses::rewrite(object, (&AUTHORIZATION, "pending", "pending"), found);
    lower_case(object, "/identifier/type", found);
    drop_unless(object, "wildcard", Value::is_boolean, found);
    listed(object, "challenges", found);
    let Some(challenges) = object["challenges"].as_array_mut() else { return };
    for challenge in challenges.iter_mut().filter(|challenge| challenge.is_object()) {
        rewrite_challenge(challenge, url, found);
    }
    let before = challenges.len();
    challenges.retain(|challenge| challenge["type"] == "http-01" || is_readable(challenge));
    if challenges.len() < before {
        found.insert("offers challenges that cannot be read");
    }
}

pub(super) fn rewrite_challenge(challenge: &mut Value, url: &str, found: &mut Deviations) {
    lower_case(challenge, "/type", found);
    statuses::rewrite(challenge, (&CHALLENGE, "pending", "processing"), found);
    if !challenge["url"].is_string()
        && let Some(uri) = challenge.get("uri").filter(|uri| uri.is_string()).cloned()
    {
        found.insert("names the URL of a challenge `uri`, as before RFC 8555");
        challenge["url"] = uri;
    }
    make_absolute(challenge, "url", url, found);
    rewrite_error(challenge, found);
}

/// Makes the URL in a field absolute.
pub(super) fn make_absolute(object: &mut Value, field: &str, base: &str, found: &mut Deviations) {
    let relative = object.get(field).and_then(Value::as_str);
    if let Some(absolute) = relative.and_then(|text| absolute(text, base)) {
        found.insert(RELATIVE);
        object[field] = absolute.into();
    }
}

/// Makes a list of a field that is none.
fn listed(object: &mut Value, field: &str, found: &mut Deviations) {
    if !object[field].is_array() {
        found.insert(MISSING);
        object[field] = json!([]);
    }
}

/// Removes a field, if it is there and not as it should be.
pub(super) fn drop_unless(
    object: &mut Value,
    field: &str,
    is_right: impl Fn(&Value) -> bool,
    found: &mut Deviations,
) {
    let Some(object) = object.as_object_mut() else { return };
    if object.get(field).is_some_and(|value| !value.is_null() && !is_right(value)) {
        found.insert(OTHER_TYPE);
        object.remove(field);
    }
}

/// Makes the error of an order or a challenge readable.
fn rewrite_error(object: &mut Value, found: &mut Deviations) {
    drop_unless(object, "error", Value::is_object, found);
    if let Some(error) = object.get_mut("error").filter(|error| error.is_object()) {
        rewrite_problem(error, found);
    }
}

/// Whether a value is a certificate identifier (RFC 9773 §4.1): two parts with a dot between them.
fn is_certificate_id(value: &Value) -> bool {
    let Some(id) = value.as_str() else { return false };
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic());
    id.split_once('.').is_some_and(|(key, serial)| {
        is_part(key) && is_part(serial) && !serial.contains('.') && !id.contains(['"', '\\'])
    })
}

/// Rewrites the text in a field (RFC 6901) in lower case, such as the type `DNS`.
fn lower_case(object: &mut Value, field: &str, found: &mut Deviations) {
    if let Some(Value::String(text)) = object.pointer_mut(field)
        && text.bytes().any(|byte| byte.is_ascii_uppercase())
    {
        found.insert("writes types in other letters");
        text.make_ascii_lowercase();
    }
}

fn is_readable(challenge: &Value) -> bool {
    <Challenge as serde::Deserialize>::deserialize(challenge).is_ok()
}
