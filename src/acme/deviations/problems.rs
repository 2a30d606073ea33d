//! Problem documents (RFC 8555 §6.7, RFC 7807).

use bytes::Bytes;
use http::StatusCode;
use instant_acme::Subproblem;
use serde_json::{Value, json};

use super::{Answer, Deviations};

/// Namespace of problem types (RFC 8555 §6.7).
const NAMESPACE: &str = "urn:ietf:params:acme:error:";
/// Namespaces of drafts of RFC 8555, which some CAs still use.
const OLD_NAMESPACES: [&str; 2] = ["urn:acme:error:", "acme:error:"];
/// Fields that other error formats use for the text of a problem.
const TEXTS: [&str; 4] = ["title", "message", "error_description", "error"];

/// Whether a body is a problem document of ACME.
pub(super) fn is_problem(body: &Bytes) -> bool {
    if !body.windows(6).any(|part| part == b"error:") {
        return false;
    }
    let object = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let kind = object["type"].as_str().unwrap_or_default();
    kind.starts_with(NAMESPACE) || OLD_NAMESPACES.iter().any(|old| kind.starts_with(old))
}

/// Status that a problem document names, else 400.
pub(super) fn status(body: &Bytes) -> StatusCode {
    let object = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let code = number(&object["status"]).filter(|code| (400..600).contains(code));
    code.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::BAD_REQUEST)
}

/// Makes the problem document of a refusal readable. `badNonce` gets the status with which
/// instant-acme repeats a request.
pub(super) fn rewrite(answer: &mut Answer, found: &mut Deviations) {
    let Ok(mut problem @ Value::Object(_)) = serde_json::from_slice::<Value>(&answer.body) else {
        return;
    };
    let mut of_body = Deviations::new();
    rewrite_problem(&mut problem, &mut of_body);
    if !of_body.is_empty() {
        answer.body = problem.to_string().into();
    }
    found.append(&mut of_body);
    let is_bad_nonce = problem["type"].as_str() == Some("urn:ietf:params:acme:error:badNonce");
    if is_bad_nonce && answer.status != StatusCode::BAD_REQUEST {
        found.insert("refuses nonces with another status than 400");
        answer.status = StatusCode::BAD_REQUEST;
    }
}

/// Makes one problem document readable.
pub(super) fn rewrite_problem(problem: &mut Value, found: &mut Deviations) {
    let other_type = "writes problem documents with fields of other types";
    let Some(object) = problem.as_object_mut() else { return };
    if object.get("status").is_some_and(|status| !status.is_null() && status.as_u64().is_none()) {
        found.insert(other_type);
        let code = object.remove("status").as_ref().and_then(number);
        object.extend(code.map(|code| ("status".to_owned(), code.into())));
    }
    if object.get("type").is_some_and(|kind| !kind.is_string() && !kind.is_null()) {
        found.insert(other_type);
        object.remove("type");
    }
    if let Some(kind) = object.get("type").and_then(Value::as_str)
        && let Some(kind) = OLD_NAMESPACES.iter().find_map(|old| kind.strip_prefix(old))
    {
        found.insert("writes problem types as before RFC 8555");
        let kind = format!("{NAMESPACE}{kind}");
        object.insert("type".to_owned(), kind.into());
    }
    if !object.get("detail").is_some_and(Value::is_string)
        && let Some(text) = text(object)
    {
        found.insert("explains refusals in other fields than `detail`");
        object.insert("detail".to_owned(), text.into());
    }
    match object.get_mut("subproblems") {
        None => {}
        Some(Value::Array(all)) => all.iter_mut().for_each(|one| subproblem(one, found)),
        Some(_) => {
            found.insert(other_type);
            object.remove("subproblems");
        }
    }
}

/// Text of a refusal in another field than `detail`, or in a `detail` that is no text.
fn text(object: &serde_json::Map<String, Value>) -> Option<String> {
    match object.get("detail") {
        None | Some(Value::Null) => {}
        Some(other) => return Some(other.to_string()),
    }
    TEXTS.into_iter().find_map(|field| match object.get(field)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Object(inner) => inner.get("message")?.as_str().map(str::to_owned),
        _ => None,
    })
}

/// Removes the identifier of a subproblem that cannot be read because of it, and all of one that
/// cannot be read without it either.
fn subproblem(one: &mut Value, found: &mut Deviations) {
    let is_readable = |one: &Value| <Subproblem as serde::Deserialize>::deserialize(one).is_ok();
    rewrite_problem(one, found);
    for without in [Some("identifier"), None] {
        if is_readable(one) {
            return;
        }
        found.insert("writes problem documents with fields of other types");
        match (without, one.as_object_mut()) {
            (Some(field), Some(object)) => drop(object.remove(field)),
            _ => *one = json!({}),
        }
    }
}

/// A status that is a number, or a text with one.
fn number(value: &Value) -> Option<u16> {
    let number = value.as_u64().and_then(|number| u16::try_from(number).ok());
    number.or_else(|| value.as_str()?.trim().parse().ok())
}
