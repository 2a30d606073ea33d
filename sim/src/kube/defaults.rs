//! Normalization of objects before validation: empty values are dropped, defaults are filled in,
//! and fields that only the server may set are restored.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::refusal::Refusal;
use super::resource::Resource;

/// Metadata fields set by the server at creation or deletion.
const SYSTEM: [&str; 8] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// Normalizes an object for storage, apart from its system metadata.
pub(crate) fn complete(resource: Resource, object: &mut Value) -> Result<(), Refusal> {
    let not_an_object = || Refusal::bad_request("the body of the request is no object of the API");
    let fields = object.as_object_mut().ok_or_else(not_an_object)?;
    for (name, expected) in [("kind", resource.kind()), ("apiVersion", resource.api_version())] {
        let given = fields.entry(name).or_insert_with(|| json!(expected));
        if given != expected {
            let why = format!("{given} does not match the expected {name} ({expected})");
            return Err(Refusal::bad_request(why));
        }
    }
    if !fields.entry("metadata").or_insert_with(|| json!({})).is_object() {
        return Err(not_an_object());
    }
    drop_empty(object);
    if resource == Resource::Secrets {
        complete_secret(object)?;
    }
    for place in ["/metadata", ""] {
        if let Some(Value::Object(fields)) = object.pointer_mut(place) {
            let optional = ["labels", "annotations", "data"];
            fields.retain(|name, value| !optional.contains(&name.as_str()) || *value != json!({}));
        }
    }
    Ok(())
}

/// Drops nulls and empty lists, which are equivalent to absent fields.
fn drop_empty(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(drop_empty);
            fields.retain(|_, value| !value.is_null() && *value != json!([]));
        }
        // Items stay even if empty: `managedFields: [{}]` clears the managed fields.
        Value::Array(items) => items.iter_mut().for_each(drop_empty),
        _ => {}
    }
}

/// Moves `stringData` to `data`, encoded as base64, and checks the encoding of `data`.
fn complete_secret(secret: &mut Value) -> Result<(), Refusal> {
    let Some(fields) = secret.as_object_mut() else { return Ok(()) };
    if let Some(Value::Object(texts)) = fields.remove("stringData") {
        let data = fields.entry("data").or_insert_with(|| json!({}));
        for (name, text) in texts {
            data[name] = json!(STANDARD.encode(text.as_str().unwrap_or_default()));
        }
    }
    for (name, value) in fields.get("data").and_then(Value::as_object).into_iter().flatten() {
        if value.as_str().is_none_or(|text| STANDARD.decode(text).is_err()) {
            let why = format!(
                "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data in data.{name}"
            );
            return Err(Refusal::bad_request(why));
        }
    }
    Ok(())
}

/// Fills in the defaults of a new object. Called after field ownership is computed, because no
/// manager owns defaults.
pub(crate) fn fill_in(resource: Resource, object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    let Some(fields) = object.as_object_mut() else { return };
    match resource {
        Resource::Secrets => _ = fields.entry("type").or_insert_with(|| json!("Opaque")),
        Resource::Ingresses | Resource::Services => {
            fields.insert("status".into(), json!({"loadBalancer": {}}));
        }
        Resource::Namespaces => {
            fields.insert("spec".into(), json!({"finalizers": ["kubernetes"]}));
            fields.insert("status".into(), json!({"phase": "Active"}));
            let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
            metadata["labels"]["kubernetes.io/metadata.name"] = name;
        }
        Resource::EndpointSlices
        | Resource::IngressClasses
        | Resource::Events
        | Resource::Leases => {}
    }
}

/// Restores the fields that a write may not change: system metadata, and either the status or
/// everything but the status.
pub(crate) fn restore_immutable(
    resource: Resource,
    before: &Value,
    after: &mut Value,
    status: bool,
) {
    if status {
        let (status, managed) = (after["status"].take(), after["metadata"]["managedFields"].take());
        *after = before.clone();
        after["status"] = status;
        after["metadata"]["managedFields"] = managed;
        drop_empty(after);
        return;
    }
    let none = Map::new();
    let old = before["metadata"].as_object().unwrap_or(&none);
    if let Some(new) = after["metadata"].as_object_mut() {
        for name in SYSTEM {
            match old.get(name) {
                Some(value) => _ = new.insert(name.to_owned(), value.clone()),
                None => _ = new.remove(name),
            }
        }
    }
    if resource.has_status() {
        after["status"] = before["status"].clone();
    }
    if resource == Resource::Namespaces {
        after["spec"] = before["spec"].clone();
    }
}

/// Applies a JSON Merge Patch (RFC 7396).
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        let Some(fields) = target.as_object_mut() else { return };
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_goes_and_text_becomes_data() {
        let mut secret = json!({
            "metadata": {"name": "s", "labels": {}, "finalizers": [], "generateName": null},
            "stringData": {"a": "b"}, "data": {"c": "QQ=="},
        });
        complete(Resource::Secrets, &mut secret).unwrap();
        assert_eq!(secret["metadata"], json!({"name": "s"}));
        assert_eq!(secret["data"], json!({"a": "Yg==", "c": "QQ=="}));
        assert_eq!(secret.get("stringData"), None);
        assert!(complete(Resource::Secrets, &mut json!({"data": {"a": "?"}})).is_err());
        assert!(complete(Resource::Secrets, &mut json!({"kind": "Pod"})).is_err());
    }

    #[test]
    fn only_the_status_or_only_the_rest_is_changed() {
        let before = json!({"metadata": {"uid": "1"}, "spec": {"a": 1}, "status": {"b": 1}});
        let wanted = json!({"metadata": {"uid": "2", "labels": {"x": "y"}}, "spec": {"a": 2}, "status": {"b": 2}});
        let mut after = wanted.clone();
        restore_immutable(Resource::Ingresses, &before, &mut after, false);
        let main = json!({"metadata": {"uid": "1", "labels": {"x": "y"}}, "spec": {"a": 2}, "status": {"b": 1}});
        assert_eq!(after, main);
        let mut after = wanted;
        restore_immutable(Resource::Ingresses, &before, &mut after, true);
        let status = json!({"metadata": {"uid": "1"}, "spec": {"a": 1}, "status": {"b": 2}});
        assert_eq!(after, status);
    }

    #[test]
    fn a_merge_patch_removes_by_null_and_goes_into_maps() {
        let mut target = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        merge(&mut target, &json!({"a": {"b": null, "e": {"f": null, "g": 1}}, "d": [2]}));
        assert_eq!(target, json!({"a": {"c": 2, "e": {"g": 1}}, "d": [2]}));
    }
}
