//! Statuses that instant-acme does not know, mapped to known ones (RFC 8555 §7.1.6).
//!
//! instant-acme refuses a whole answer because of one unknown status, or because of one challenge
//! of another type without the fields of `http-01`. An unknown status permits one conclusion: the
//! object is in no final state that the client knows. So the client waits, up to the deadline of an
//! order (`limits::ORDER_DEADLINE`), and leaves the verdict to the CA.

use bytes::Bytes;
use instant_acme::Challenge;
use serde_json::Value;

/// Statuses of an order (RFC 8555 §7.1.3).
const ORDER: [&str; 5] = ["pending", "ready", "processing", "valid", "invalid"];
/// Statuses of an authorization (RFC 8555 §7.1.4).
const AUTHORIZATION: [&str; 6] =
    ["pending", "valid", "invalid", "deactivated", "expired", "revoked"];
/// Statuses of a challenge (RFC 8555 §7.1.5).
const CHALLENGE: [&str; 4] = ["pending", "processing", "valid", "invalid"];

/// Rewrites an order or an authorization in the answer of `endpoint`, if instant-acme would refuse
/// the answer. Any other body is returned as it is.
///
/// - An order of unknown status is `processing`: the next poll tells more.
/// - An authorization of unknown status, such as `processing`, is `pending`: not valid yet, and not
///   lost.
/// - A challenge of unknown status is `processing`: not answered a second time, and not lost.
/// - A challenge of another type than `http-01` that cannot be read is left out.
pub(super) fn with_known_statuses(endpoint: &str, body: Bytes) -> Bytes {
    let rewrite = match endpoint {
        "authorization" => rewrite_authorization,
        "new_order" | "order" | "finalize" => rewrite_order,
        _ => return body,
    };
    let Ok(mut object) = serde_json::from_slice::<Value>(&body) else { return body };
    if rewrite(&mut object) { object.to_string().into() } else { body }
}

/// Returns whether anything was rewritten.
fn rewrite_order(order: &mut Value) -> bool {
    replace_unknown(order, &ORDER, "processing")
}

fn rewrite_authorization(authorization: &mut Value) -> bool {
    let mut rewritten = replace_unknown(authorization, &AUTHORIZATION, "pending");
    let Some(challenges) = authorization.get_mut("challenges").and_then(Value::as_array_mut) else {
        return rewritten;
    };
    for challenge in challenges.iter_mut() {
        rewritten |= replace_unknown(challenge, &CHALLENGE, "processing");
    }
    let before = challenges.len();
    challenges.retain(|challenge| is_http(challenge) || is_readable(challenge));
    rewritten || challenges.len() < before
}

/// Replaces a status that is a text, but none of `known`.
fn replace_unknown(object: &mut Value, known: &[&str], replacement: &str) -> bool {
    let Some(Value::String(status)) = object.get_mut("status") else { return false };
    let is_unknown = !known.contains(&status.as_str());
    if is_unknown {
        replacement.clone_into(status);
    }
    is_unknown
}

fn is_http(challenge: &Value) -> bool {
    challenge.get("type").and_then(Value::as_str) == Some("http-01")
}

fn is_readable(challenge: &Value) -> bool {
    <Challenge as serde::Deserialize>::deserialize(challenge).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn rewritten(endpoint: &str, object: &Value) -> Value {
        let body = with_known_statuses(endpoint, object.to_string().into());
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn an_unknown_status_means_that_the_client_waits() {
        for endpoint in ["new_order", "order", "finalize"] {
            let order = rewritten(endpoint, &json!({"status": "on-hold", "finalize": "f"}));
            assert_eq!(order, json!({"status": "processing", "finalize": "f"}));
        }
        let authorization = rewritten(
            "authorization",
            &json!({"status": "processing", "challenges": [
                {"type": "http-01", "status": "queued", "url": "u", "token": "t"},
                {"type": "dns-persist-01", "status": "pending"},
                {"type": "dns-persist-02", "status": "queued", "url": "u"},
            ]}),
        );
        assert_eq!(
            authorization,
            json!({"status": "pending", "challenges": [
                {"type": "http-01", "status": "processing", "url": "u", "token": "t"},
                {"type": "dns-persist-02", "status": "processing", "url": "u"},
            ]})
        );
    }

    #[test]
    fn an_http_challenge_that_cannot_be_read_stays_so_that_the_error_is_told() {
        let broken = json!({"status": "pending", "challenges": [{"type": "http-01"}]});
        assert_eq!(rewritten("authorization", &broken), broken);
    }

    #[test]
    fn known_statuses_and_other_answers_keep_every_byte() {
        for status in ORDER {
            let body = Bytes::from(format!("{{ \"status\" : \"{status}\" }}"));
            assert_eq!(with_known_statuses("order", body.clone()), body);
        }
        let body = Bytes::from_static(b"{ \"status\" : \"odd\" }");
        for endpoint in ["directory", "new_account", "certificate", "challenge", "other"] {
            assert_eq!(with_known_statuses(endpoint, body.clone()), body);
        }
    }

    proptest! {
        #[test]
        fn any_body_gives_one_that_is_not_much_longer(body in prop::collection::vec(any::<u8>(), 0..300)) {
            for endpoint in ["order", "authorization"] {
                let rewritten = with_known_statuses(endpoint, body.clone().into());
                prop_assert!(rewritten.len() <= 6 * body.len() + 16);
            }
        }
    }
}
