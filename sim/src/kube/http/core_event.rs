//! Events in the core group: the same objects as in events.k8s.io, in the older form that kubectl
//! reads.

use serde_json::{Value, json};

/// Fields of `events.k8s.io/v1`, and their names in the core group (`k8s.io/kubernetes`,
/// `pkg/apis/events/v1/conversion.go`).
const FIELDS: [(&str, &str); 11] = [
    ("metadata", "metadata"),
    ("regarding", "involvedObject"),
    ("related", "related"),
    ("note", "message"),
    ("reason", "reason"),
    ("type", "type"),
    ("action", "action"),
    ("eventTime", "eventTime"),
    ("series", "series"),
    ("reportingController", "reportingComponent"),
    ("reportingInstance", "reportingInstance"),
];

/// Converts an Event of events.k8s.io.
pub(super) fn core_event(event: &Value) -> Value {
    let mut core = json!({"kind": "Event", "apiVersion": "v1"});
    for (from, to) in FIELDS {
        if let Some(value) = event.get(from) {
            core[to] = value.clone();
        }
    }
    core
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_names_of_the_core_group() {
        let event = json!({
            "kind": "Event", "apiVersion": "events.k8s.io/v1", "metadata": {"name": "a"},
            "regarding": {"name": "shop"}, "note": "done", "reportingController": "c",
        });
        let core = json!({
            "kind": "Event", "apiVersion": "v1", "metadata": {"name": "a"},
            "involvedObject": {"name": "shop"}, "message": "done", "reportingComponent": "c",
        });
        assert_eq!(core_event(&event), core);
    }
}
