//! Statuses (RFC 8555 §7.1.6) that are missing, in other letters or unknown.
//!
//! An unknown status permits one conclusion: the object is in no final state that the client knows.
//! So the client waits, up to the deadline of an order (`limits::ORDER_DEADLINE`), and leaves the
//! verdict to the CA.

use serde_json::Value;

use super::Deviations;

/// Statuses of an order (RFC 8555 §7.1.3).
pub(super) const ORDER: [&str; 5] = ["pending", "ready", "processing", "valid", "invalid"];
/// Statuses of an authorization (RFC 8555 §7.1.4).
pub(super) const AUTHORIZATION: [&str; 6] =
    ["pending", "valid", "invalid", "deactivated", "expired", "revoked"];
/// Statuses of a challenge (RFC 8555 §7.1.5).
pub(super) const CHALLENGE: [&str; 4] = ["pending", "processing", "valid", "invalid"];

/// Rewrites the status of `object` as one of `known`. One that is missing becomes `first`, an
/// unknown one `waiting`.
pub(super) fn rewrite(
    object: &mut Value,
    (known, first, waiting): (&[&str], &str, &str),
    found: &mut Deviations,
) {
    let (deviation, status) = match object.get("status").and_then(Value::as_str) {
        Some(status) if known.contains(&status) => return,
        Some(status) => match known.iter().find(|one| one.eq_ignore_ascii_case(status)) {
            Some(known) => ("writes statuses in other letters", *known),
            None => ("has statuses that RFC 8555 does not have", waiting),
        },
        None => ("leaves out statuses", first),
    };
    found.insert(deviation);
    object["status"] = status.into();
}
