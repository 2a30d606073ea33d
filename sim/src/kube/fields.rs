//! Sets of object fields in the format of `metadata.managedFields` (`FieldsV1`): the fields of an
//! object, the difference of two objects, removal of fields.
//!
//! Ownership of fields is handled in `ownership`.

mod shape;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

pub(crate) use shape::Shape;

/// A set of fields, as a tree. The steps are those of `FieldsV1`: `f:name`, `k:{"uid":"…"}`,
/// `v:"…"`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    /// Whether the set contains this field itself.
    member: bool,
    children: BTreeMap<String, FieldSet>,
}

impl FieldSet {
    /// Returns all fields of an object.
    pub(crate) fn of(object: &Value) -> Self {
        Self::of_part(object, Shape::Object)
    }

    fn of_part(value: &Value, shape: Shape) -> Self {
        let Some(parts) = shape.parts(value) else {
            return Self { member: true, children: BTreeMap::new() };
        };
        let member = parts.is_empty() && shape.counts_when_empty();
        let children =
            parts.into_iter().map(|(step, value, shape)| (step, Self::of_part(value, shape)));
        Self { member, children: children.filter(|(_, child)| !child.is_empty()).collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    /// Parses `FieldsV1`.
    pub(crate) fn from_v1(fields: &Value) -> Self {
        let mut set = Self::default();
        for (step, fields) in fields.as_object().into_iter().flatten() {
            if step == "." {
                set.member = true;
                continue;
            }
            let mut child = Self::from_v1(fields);
            child.member |= child.children.is_empty();
            set.children.insert(step.clone(), child);
        }
        set
    }

    /// Formats as `FieldsV1`.
    pub(crate) fn to_v1(&self) -> Value {
        let mut fields = Map::new();
        if self.member && !self.children.is_empty() {
            fields.insert(".".to_owned(), Value::Object(Map::new()));
        }
        fields.extend(self.children.iter().map(|(step, child)| (step.clone(), child.to_v1())));
        Value::Object(fields)
    }

    /// Adds all fields of `other`.
    pub(crate) fn add(&mut self, other: &Self) {
        self.member |= other.member;
        for (step, child) in &other.children {
            self.children.entry(step.clone()).or_default().add(child);
        }
    }

    /// Removes all fields of `other`, including everything below its leaves.
    pub(crate) fn take(&mut self, other: &Self) {
        if other.member {
            self.member = false;
            if other.children.is_empty() {
                self.children.clear();
            }
        }
        for (step, child) in &other.children {
            if let Some(own) = self.children.get_mut(step) {
                own.take(child);
                if own.is_empty() {
                    self.children.remove(step);
                }
            }
        }
    }

    /// Returns the intersection of both sets.
    pub(crate) fn common(&self, other: &Self) -> Self {
        let children = self.children.iter().filter_map(|(step, child)| {
            let common = child.common(other.children.get(step)?);
            (!common.is_empty()).then(|| (step.clone(), common))
        });
        Self { member: self.member && other.member, children: children.collect() }
    }

    /// Keeps only the fields below `status`, or only the others.
    pub(crate) fn within_status(mut self, status: bool) -> Self {
        self.children.retain(|step, _| (step == "f:status") == status);
        self
    }

    /// Returns the path of each field, such as `.metadata.labels.app`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths("", &mut paths);
        paths
    }

    fn collect_paths(&self, here: &str, paths: &mut Vec<String>) {
        if self.member {
            paths.push(here.to_owned());
        }
        for (step, child) in &self.children {
            let step = match step.split_once(':') {
                Some(("f", name)) => format!(".{name}"),
                Some(("k", key)) => key.replace("{\"", "[").replace("\":", "=").replace('}', "]"),
                _ => format!("[{}]", step.trim_start_matches("v:")),
            };
            child.collect_paths(&format!("{here}{step}"), paths);
        }
    }

    /// Removes these fields from `object`, and maps and lists that become empty.
    pub(crate) fn remove_from(&self, object: &mut Value) {
        self.remove_part(object, Shape::Object);
    }

    fn remove_part(&self, value: &mut Value, shape: Shape) {
        match value {
            Value::Object(fields) => {
                for (step, child) in &self.children {
                    let name = step.trim_start_matches("f:");
                    let (Some(shape), Some(value)) = (shape.field(name), fields.get_mut(name))
                    else {
                        continue;
                    };
                    child.remove_part(value, shape);
                    if child.is_whole(value) {
                        fields.remove(name);
                    }
                }
            }
            Value::Array(items) => items.retain(|item| {
                let step = shape.step(item);
                step.is_none_or(|step| !self.children.contains_key(&step))
            }),
            _ => {}
        }
    }

    /// Whether the field must be removed as a whole: a leaf of the set, or emptied.
    fn is_whole(&self, rest: &Value) -> bool {
        let is_leaf = self.member && self.children.is_empty();
        let is_emptied = match rest {
            Value::Object(fields) => fields.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        is_leaf || is_emptied
    }
}

/// Difference of two objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Fields added or changed.
    pub(crate) changed: FieldSet,
    /// Fields removed.
    pub(crate) removed: FieldSet,
}

impl Difference {
    pub(crate) fn between(before: &Value, after: &Value) -> Self {
        Self::of_parts(before, after, Shape::Object)
    }

    fn of_parts(before: &Value, after: &Value, shape: Shape) -> Self {
        let (Some(old), Some(new)) = (shape.parts(before), shape.parts(after)) else {
            return Self::of_values(before, after, shape);
        };
        let mut difference = Self::default();
        // A map that became empty is a field of its own; a map that was empty no longer is.
        if shape.counts_when_empty() {
            difference.changed.member = new.is_empty() && !old.is_empty();
            difference.removed.member = old.is_empty() && !new.is_empty();
        }
        let mut old: BTreeMap<_, _> =
            old.into_iter().map(|(step, value, _)| (step, value)).collect();
        for (step, after, shape) in new {
            let of_part = match old.remove(&step) {
                Some(before) => Self::of_parts(before, after, shape),
                None => Self { changed: FieldSet::of_part(after, shape), ..Self::default() },
            };
            difference.put(step, of_part);
        }
        for (step, value, shape) in shape.parts(before).unwrap_or_default() {
            if old.contains_key(&step) {
                let removed = FieldSet::of_part(value, shape);
                difference.put(step, Self { removed, ..Self::default() });
            }
        }
        difference
    }

    fn of_values(before: &Value, after: &Value, shape: Shape) -> Self {
        if before == after {
            return Self::default();
        }
        let mut removed = FieldSet::of_part(before, shape);
        let changed = FieldSet::of_part(after, shape);
        removed.take(&changed);
        Self { changed, removed }
    }

    fn put(&mut self, step: String, part: Self) {
        if !part.changed.is_empty() {
            self.changed.children.insert(step.clone(), part.changed);
        }
        if !part.removed.is_empty() {
            self.removed.children.insert(step, part.removed);
        }
    }
}

/// Returns `live` with all fields of `applied` (server-side apply): granular maps and lists are
/// merged, all else is replaced.
pub(crate) fn merged(live: &Value, applied: &Value) -> Value {
    let mut object = live.clone();
    merge_part(&mut object, applied, Shape::Object);
    object
}

fn merge_part(live: &mut Value, applied: &Value, shape: Shape) {
    match (live, applied) {
        (Value::Object(live), Value::Object(applied)) if shape.is_granular() => {
            for (name, applied) in applied {
                let Some(shape) = shape.field(name) else { continue };
                match live.get_mut(name) {
                    Some(live) => merge_part(live, applied, shape),
                    None => _ = live.insert(name.clone(), applied.clone()),
                }
            }
        }
        (Value::Array(live), Value::Array(applied)) if shape.is_granular_list() => {
            for applied in applied {
                let step = shape.step(applied);
                match live.iter_mut().find(|item| shape.step(item) == step) {
                    Some(live) => live.clone_from(applied),
                    None => live.push(applied.clone()),
                }
            }
        }
        (live, applied) => live.clone_from(applied),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(set: &FieldSet) -> Vec<String> {
        set.paths()
    }

    #[test]
    fn a_set_reads_as_it_was_written_and_leaves_out_what_the_server_sets() {
        let object = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": "s", "uid": "u", "resourceVersion": "1", "labels": {"a": "b"},
                "ownerReferences": [{"uid": "o", "name": "x"}], "finalizers": ["f"],
            },
            "data": {"tls.crt": "QQ=="}, "type": "Opaque",
        });
        let set = FieldSet::of(&object);
        let expected = json!({
            "f:metadata": {
                "f:labels": {"f:a": {}}, "f:ownerReferences": {"k:{\"uid\":\"o\"}": {}}, "f:finalizers": {"v:\"f\"": {}},
            },
            "f:data": {"f:tls.crt": {}}, "f:type": {},
        });
        assert_eq!(set.to_v1(), expected);
        assert_eq!(FieldSet::from_v1(&expected), set);
        let shown = paths(&set);
        assert!(shown.contains(&".metadata.ownerReferences[uid=\"o\"]".to_owned()), "{shown:?}");
        assert!(shown.contains(&".data.tls.crt".to_owned()));
    }

    #[test]
    fn a_difference_is_by_field_in_maps_and_whole_in_lists() {
        let before = json!({"spec": {"tls": [1], "a": {"x": 1, "y": 1}}, "data": {"k": "1"}});
        let after = json!({"spec": {"tls": [1, 2], "a": {"x": 1, "y": 2}, "z": {}}});
        let Difference { changed, removed } = Difference::between(&before, &after);
        assert_eq!(paths(&changed), [".spec.a.y", ".spec.tls", ".spec.z"]);
        assert_eq!(paths(&removed), [".data.k"]);
        assert_eq!(Difference::between(&after, &after), Difference::default());
    }

    #[test]
    fn what_is_applied_is_merged_and_what_is_given_up_goes() {
        let live = json!({
            "metadata": {"labels": {"a": "1", "b": "1"}, "ownerReferences": [{"uid": "x"}, {"uid": "y"}]},
            "spec": {"tls": [1]},
        });
        let applied = json!({
            "metadata": {"labels": {"b": "2"}, "ownerReferences": [{"uid": "y", "name": "n"}, {"uid": "z"}]},
            "spec": {"tls": [2]},
        });
        let mut object = merged(&live, &applied);
        let owners = json!([{"uid": "x"}, {"uid": "y", "name": "n"}, {"uid": "z"}]);
        assert_eq!(object["metadata"]["ownerReferences"], owners);
        assert_eq!(object["metadata"]["labels"], json!({"a": "1", "b": "2"}));
        assert_eq!(object["spec"], json!({"tls": [2]}));
        FieldSet::of(&applied).remove_from(&mut object);
        let rest = json!({"metadata": {"labels": {"a": "1"}, "ownerReferences": [{"uid": "x"}]}});
        assert_eq!(object, rest);
    }

    #[test]
    fn sets_are_added_taken_away_and_compared() {
        let one = FieldSet::of(&json!({"data": {"a": 1, "b": 1}}));
        let two = FieldSet::of(&json!({"data": {"b": 1, "c": 1}}));
        assert_eq!(paths(&one.common(&two)), [".data.b"]);
        let mut all = one.clone();
        all.add(&two);
        assert_eq!(paths(&all), [".data.a", ".data.b", ".data.c"]);
        all.take(&one);
        assert_eq!(paths(&all), [".data.c"]);
        all.take(&two);
        assert!(all.is_empty());
    }
}
