//! Validation of objects and of changes to them.
//!
//! Only errors that the operator can cause are checked; a real server checks many more.

use serde_json::{Value, json};

use super::refusal::Cause;
use super::resource::Resource;

/// Longest DNS name, and longest name of most objects.
const SUBDOMAIN_MAX: usize = 253;
/// Longest label of a DNS name, and longest name of a Namespace or Service.
const LABEL_MAX: usize = 63;
/// Largest decoded data of a Secret, in bytes.
const SECRET_MAX: usize = 1 << 20;
/// Message for an invalid name.
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const IMMUTABLE: &str = "field is immutable";

/// Returns the errors in an object and in the change to it.
pub(crate) fn check(resource: Resource, before: Option<&Value>, after: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if before.is_none() {
        name(resource, after, &mut causes);
    }
    owners(after, &mut causes);
    match resource {
        Resource::Secrets => secret(before, after, &mut causes),
        Resource::Ingresses => ingress(after, &mut causes),
        Resource::Events => event(after, &mut causes),
        Resource::Leases => lease(after, &mut causes),
        Resource::Namespaces
        | Resource::Services
        | Resource::EndpointSlices
        | Resource::IngressClasses => {}
    }
    causes
}

fn invalid(value: &Value, why: &str) -> String {
    format!("Invalid value: {value}: {why}")
}

fn name(resource: Resource, object: &Value, causes: &mut Vec<Cause>) {
    let name = &object["metadata"]["name"];
    let text = name.as_str().unwrap_or_default();
    let short = matches!(resource, Resource::Namespaces | Resource::Services);
    let good = if short { is_label(text) } else { is_subdomain(text) };
    if !good {
        causes.push(Cause::invalid("metadata.name", invalid(name, SUBDOMAIN)));
    }
}

fn owners(object: &Value, causes: &mut Vec<Cause>) {
    let owners = object["metadata"]["ownerReferences"].as_array();
    for (index, owner) in owners.into_iter().flatten().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner[field].as_str().unwrap_or_default().is_empty() {
                let field = format!("metadata.ownerReferences[{index}].{field}");
                causes.push(Cause::invalid(field, invalid(&json!(""), "must not be empty")));
            }
        }
    }
}

fn secret(before: Option<&Value>, after: &Value, causes: &mut Vec<Cause>) {
    let data = after.get("data").and_then(Value::as_object);
    if after["type"] == "kubernetes.io/tls" {
        for key in ["tls.crt", "tls.key"] {
            if data.is_none_or(|data| !data.contains_key(key)) {
                causes.push(Cause::required(format!("data[{key}]")));
            }
        }
    }
    let encoded = data.into_iter().flatten().map(|(_, value)| value.as_str().map_or(0, str::len));
    if encoded.sum::<usize>() / 4 * 3 > SECRET_MAX {
        let message = format!("Too long: may not be more than {SECRET_MAX} bytes");
        let field = "data".to_owned();
        causes.push(Cause { field, reason: "FieldValueTooLong", message });
    }
    let Some(before) = before else { return };
    if before["type"] != after["type"] {
        causes.push(Cause::invalid("type", invalid(&after["type"], IMMUTABLE)));
    }
    if before["immutable"] == true {
        let forbidden = "Forbidden: field is immutable when `immutable` is set";
        for field in ["immutable", "data"] {
            if before[field] != after[field] {
                causes.push(Cause::forbidden(field, forbidden));
            }
        }
    }
}

fn ingress(ingress: &Value, causes: &mut Vec<Cause>) {
    let spec = &ingress["spec"];
    if spec["rules"].is_null() && spec["defaultBackend"].is_null() {
        let why = "either `defaultBackend` or `rules` must be specified";
        causes.push(Cause::invalid("spec", invalid(&json!({}), why)));
    }
    for (index, rule) in spec["rules"].as_array().into_iter().flatten().enumerate() {
        host(&rule["host"], format!("spec.rules[{index}].host"), causes);
        if rule.get("http").is_some_and(|http| http["paths"].is_null()) {
            causes.push(Cause::required(format!("spec.rules[{index}].http.paths")));
        }
        for (place, path) in rule["http"]["paths"].as_array().into_iter().flatten().enumerate() {
            if path["pathType"].is_null() {
                let field = format!("spec.rules[{index}].http.paths[{place}].pathType");
                causes.push(Cause::required(field));
            }
        }
    }
    for (index, tls) in spec["tls"].as_array().into_iter().flatten().enumerate() {
        for (place, name) in tls["hosts"].as_array().into_iter().flatten().enumerate() {
            host(name, format!("spec.tls[{index}].hosts[{place}]"), causes);
        }
    }
}

/// Checks a host: a DNS name, optionally with a wildcard as first label; not an IP address.
fn host(host: &Value, field: String, causes: &mut Vec<Cause>) {
    let Some(text) = host.as_str().filter(|text| !text.is_empty()) else { return };
    if text.parse::<std::net::IpAddr>().is_ok() {
        let why = "must be a DNS name, not an IP address";
        causes.push(Cause::invalid(field, invalid(host, why)));
    } else if !is_subdomain(text.strip_prefix("*.").unwrap_or(text)) {
        causes.push(Cause::invalid(field, invalid(host, SUBDOMAIN)));
    }
}

fn event(event: &Value, causes: &mut Vec<Cause>) {
    for field in ["eventTime", "reportingController", "reportingInstance", "action", "reason"] {
        if event[field].as_str().unwrap_or_default().is_empty() {
            causes.push(Cause::required(field));
        }
    }
    let about = event["regarding"]["namespace"].as_str().unwrap_or_default();
    let here = event["metadata"]["namespace"].as_str().unwrap_or_default();
    if about != here && !(about.is_empty() && here == "default") {
        let why = "does not match event.namespace";
        causes.push(Cause::invalid("involvedObject.namespace", invalid(&json!(about), why)));
    }
}

fn lease(lease: &Value, causes: &mut Vec<Cause>) {
    let duration = &lease["spec"]["leaseDurationSeconds"];
    if duration.as_i64().is_some_and(|seconds| seconds <= 0) {
        let why = "must be greater than 0";
        causes.push(Cause::invalid("spec.leaseDurationSeconds", invalid(duration, why)));
    }
}

fn is_subdomain(name: &str) -> bool {
    let label = |label: &str| is_label_of(label, SUBDOMAIN_MAX);
    name.len() <= SUBDOMAIN_MAX && name.split('.').all(label)
}

fn is_label(name: &str) -> bool {
    is_label_of(name, LABEL_MAX)
}

fn is_label_of(label: &str, max: usize) -> bool {
    let edge = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let bytes = label.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    let inner = bytes.iter().all(|letter| edge(*letter) || *letter == b'-');
    edge(*first) && edge(*last) && inner && label.len() <= max
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(resource: Resource, before: Option<&Value>, after: &Value) -> Vec<String> {
        check(resource, before, after).into_iter().map(|cause| cause.field).collect()
    }

    #[test]
    fn a_tls_secret_needs_both_keys_and_keeps_its_type() {
        let tls = json!({"metadata": {"name": "s"}, "type": "kubernetes.io/tls", "data": {"tls.crt": ""}});
        assert_eq!(fields(Resource::Secrets, None, &tls), ["data[tls.key]"]);
        let opaque = json!({"metadata": {"name": "s"}, "type": "Opaque"});
        let expected = ["data[tls.key]", "type"];
        assert_eq!(fields(Resource::Secrets, Some(&opaque), &tls), expected);
    }

    #[test]
    fn an_immutable_secret_keeps_its_data() {
        let before = json!({"type": "Opaque", "immutable": true, "data": {"a": "QQ=="}});
        let after = json!({"type": "Opaque", "data": {}});
        assert_eq!(fields(Resource::Secrets, Some(&before), &after), ["immutable", "data"]);
    }

    #[test]
    fn an_ingress_needs_rules_and_hosts_that_are_names() {
        let with = |host: &str| {
            let ingress = json!({"metadata": {"name": "i"}, "spec": {"rules": [{"host": host}]}});
            fields(Resource::Ingresses, None, &ingress)
        };
        for good in ["a.example.com", "*.example.com", "", "a-b.c"] {
            assert_eq!(with(good), [""; 0], "{good}");
        }
        for bad in ["A.example.com", "*", "a_b.c", "127.0.0.1", "a..b", "-a.b", "*.*.a"] {
            assert_eq!(with(bad), ["spec.rules[0].host"], "{bad}");
        }
        let empty = json!({"metadata": {"name": "X"}, "spec": {}});
        assert_eq!(fields(Resource::Ingresses, None, &empty), ["metadata.name", "spec"]);
    }

    #[test]
    fn an_event_is_in_the_namespace_of_what_it_is_about() {
        let event = json!({
            "metadata": {"name": "e", "namespace": "web"}, "regarding": {"namespace": "other"},
            "eventTime": "t", "reportingController": "c", "reportingInstance": "i", "action": "a",
        });
        let expected = ["reason", "involvedObject.namespace"];
        assert_eq!(fields(Resource::Events, None, &event), expected);
    }
}
