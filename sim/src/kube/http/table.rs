//! Tables (`Accept: application/json;as=Table`): the cells that `kubectl get` prints, with ages by
//! the simulated clock. Columns are those of `k8s.io/kubernetes`, `pkg/printers/internalversion`.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kube::resource::Resource;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Number of hosts of an Ingress that are printed.
const HOSTS: usize = 3;

/// A column and its cell of one object. A priority above 0 means `-o wide` only.
type Cell = (&'static str, u8, Value);

/// Returns the table of these objects. `metadata` is that of the list.
pub(super) fn table(
    resource: Resource,
    objects: &[Value],
    metadata: &Value,
    now: Timestamp,
) -> Value {
    let columns: Vec<Value> = cells(resource, &Value::Null, now)
        .into_iter()
        .map(|(name, priority, cell)| {
            let kind = if cell.is_number() { "integer" } else { "string" };
            let format = if name == "Name" { "name" } else { "" };
            json!({"name": name, "type": kind, "format": format, "description": "", "priority": priority})
        })
        .collect();
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let cells = cells(resource, object, now).into_iter().map(|(_, _, cell)| cell);
            let partial = json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                "metadata": object["metadata"],
            });
            json!({"cells": cells.collect::<Vec<_>>(), "object": partial})
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns, "rows": rows,
    })
}

fn cells(resource: Resource, object: &Value, now: Timestamp) -> Vec<Cell> {
    let name = ("Name", 0, object["metadata"]["name"].clone());
    let age = ("Age", 0, age(&object["metadata"]["creationTimestamp"], now));
    match resource {
        Resource::Ingresses => ingress(object, name, age),
        Resource::Secrets => {
            let data = object["data"].as_object().map_or(0, serde_json::Map::len);
            vec![name, ("Type", 0, object["type"].clone()), ("Data", 0, json!(data)), age]
        }
        Resource::Events => event(object, name, now),
        Resource::Namespaces => {
            vec![name, ("Status", 0, object["status"]["phase"].clone()), age]
        }
        _ => vec![name, age],
    }
}

fn ingress(object: &Value, name: Cell, age: Cell) -> Vec<Cell> {
    let spec = &object["spec"];
    let class = spec["ingressClassName"].as_str().unwrap_or("<none>");
    let addresses = list(&object["status"]["loadBalancer"]["ingress"]).iter();
    let addresses = addresses.filter_map(|one| one["ip"].as_str().or(one["hostname"].as_str()));
    let addresses = addresses.collect::<Vec<_>>().join(",");
    let ports = if list(&spec["tls"]).is_empty() { "80" } else { "80, 443" };
    vec![
        name,
        ("Class", 0, json!(class)),
        ("Hosts", 0, json!(hosts(list(&spec["rules"])))),
        ("Address", 0, json!(addresses)),
        ("Ports", 0, json!(ports)),
        age,
    ]
}

fn hosts(rules: &[Value]) -> String {
    let hosts: Vec<&str> = rules.iter().filter_map(|rule| rule["host"].as_str()).collect();
    let first = hosts[..hosts.len().min(HOSTS)].join(",");
    match hosts.len() {
        0 => "*".to_owned(),
        count if count > HOSTS => format!("{first} + {} more...", count - HOSTS),
        _ => first,
    }
}

fn event(object: &Value, name: Cell, now: Timestamp) -> Vec<Cell> {
    let last = match &object["series"]["lastObservedTime"] {
        Value::Null => &object["eventTime"],
        last => last,
    };
    let about = &object["regarding"];
    let kind = about["kind"].as_str().unwrap_or_default().to_lowercase();
    let about = format!("{kind}/{}", about["name"].as_str().unwrap_or_default());
    vec![
        ("Last Seen", 0, age(last, now)),
        ("Type", 0, object["type"].clone()),
        ("Reason", 0, object["reason"].clone()),
        ("Object", 0, json!(about)),
        ("Source", 1, object["reportingController"].clone()),
        ("Message", 0, object["note"].clone()),
        ("Name", 1, name.2),
    ]
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Formats the time since `then`, in the largest units of kubectl's `HumanDuration`.
fn age(then: &Value, now: Timestamp) -> Value {
    let then = then.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let Some(then) = then else { return json!("<unknown>") };
    let seconds = now.duration_since(then).as_secs();
    json!(match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        _ if seconds < 2 * MINUTE => format!("{seconds}s"),
        _ if seconds < 3 * HOUR => format!("{}m", seconds / MINUTE),
        _ if seconds < 2 * DAY => format!("{}h", seconds / HOUR),
        _ => format!("{}d", seconds / DAY),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(resource: Resource, object: &Value) -> (Vec<String>, Vec<Value>) {
        let now = "2026-11-27T10:00:00Z".parse().unwrap();
        let table = table(resource, std::slice::from_ref(object), &json!({}), now);
        assert_eq!(table["rows"][0]["object"]["metadata"], object["metadata"]);
        let names = list(&table["columnDefinitions"]).iter();
        let names = names.map(|column| column["name"].as_str().unwrap().to_owned()).collect();
        (names, list(&table["rows"][0]["cells"]).to_vec())
    }

    #[test]
    fn an_ingress_has_its_hosts_and_ports_in_cells() {
        let rules: Vec<Value> =
            (0..5).map(|number| json!({"host": format!("{number}.test")})).collect();
        let metadata = json!({"name": "shop", "creationTimestamp": "2026-11-23T09:00:00Z"});
        let ingress = json!({"metadata": metadata, "spec": {"rules": rules, "tls": [{}]}});
        let (names, cells) = row(Resource::Ingresses, &ingress);
        assert_eq!(names, ["Name", "Class", "Hosts", "Address", "Ports", "Age"]);
        let hosts = "0.test,1.test,2.test + 2 more...";
        assert_eq!(cells, ["shop", "<none>", hosts, "", "80, 443", "4d"]);
        let empty = json!({"metadata": metadata, "spec": {}});
        assert_eq!(row(Resource::Ingresses, &empty).1[2..5], ["*", "", "80"]);
    }

    #[test]
    fn an_event_says_when_it_was_seen_last_and_about_what() {
        let mut event = json!({
            "metadata": {"name": "e"}, "type": "Normal", "reason": "Issued", "note": "a certificate",
            "eventTime": "2026-11-27T09:00:00.000000Z", "reportingController": "c",
            "regarding": {"kind": "Ingress", "name": "shop"},
        });
        let (names, cells) = row(Resource::Events, &event);
        assert_eq!(names[..4], ["Last Seen", "Type", "Reason", "Object"]);
        assert_eq!(cells, ["60m", "Normal", "Issued", "ingress/shop", "c", "a certificate", "e"]);
        event["series"] = json!({"count": 2, "lastObservedTime": "2026-11-27T09:59:01.000000Z"});
        assert_eq!(row(Resource::Events, &event).1[0], "59s");
    }

    #[test]
    fn an_age_is_in_the_units_of_kubectl() {
        let now: Timestamp = "2026-11-27T10:00:00Z".parse().unwrap();
        for (then, text) in [
            ("2026-11-27T10:00:02Z", "<invalid>"),
            ("2026-11-27T10:00:01Z", "0s"),
            ("2026-11-27T09:58:01Z", "119s"),
            ("2026-11-27T09:58:00Z", "2m"),
            ("2026-11-27T07:00:00Z", "3h"),
            ("2026-11-25T10:00:00Z", "2d"),
            ("", "<unknown>"),
        ] {
            assert_eq!(age(&json!(then), now), json!(text), "{then}");
        }
    }
}
