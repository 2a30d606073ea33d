//! One version of an object: the JSON sent to clients, and the metadata the store needs without
//! parsing.
//!
//! There may be a hundred thousand objects, so each JSON text is kept once, as bytes, and parsed
//! only for a write.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::selector::Labels;

/// Namespace and name; the namespace of a Namespace is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl Key {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// One immutable version of an object.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) key: Key,
    /// `metadata.resourceVersion`.
    pub(crate) revision: u64,
    pub(crate) uid: Arc<str>,
    pub(crate) labels: Labels,
    /// `uid` of each owner reference.
    pub(crate) owners: Vec<Arc<str>>,
    /// Whether the object is being deleted.
    pub(crate) is_terminating: bool,
    json: Bytes,
    /// Range of the metadata in the JSON.
    metadata: Range<usize>,
}

impl Stored {
    /// Creates a version from an object with complete metadata.
    pub(crate) fn new(key: Key, revision: u64, object: &Value) -> Self {
        let (json, metadata) = written(object);
        let meta = &object["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let labels = meta["labels"].as_object().into_iter().flatten();
        let owners = meta["ownerReferences"].as_array().into_iter().flatten();
        Self {
            key,
            revision,
            uid: text(&meta["uid"]).into(),
            labels: labels.map(|(name, value)| (name.clone(), text(value))).collect(),
            owners: owners.map(|owner| text(&owner["uid"]).into()).collect(),
            is_terminating: meta.get("deletionTimestamp").is_some(),
            json,
            metadata,
        }
    }

    /// Returns the JSON as sent to clients.
    pub(crate) fn json(&self) -> &Bytes {
        &self.json
    }

    /// Appends the JSON, or only the metadata as a `PartialObjectMetadata`.
    pub(crate) fn write_to(&self, text: &mut Vec<u8>, metadata_only: bool) {
        if !metadata_only {
            return text.extend_from_slice(&self.json);
        }
        let head = br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#;
        text.extend_from_slice(head);
        text.extend_from_slice(&self.json[self.metadata.clone()]);
        text.push(b'}');
    }

    /// Parses the JSON, for changes.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.json).expect("it was written by this module")
    }
}

/// Serializes an object and returns the range of the metadata.
fn written(object: &Value) -> (Bytes, Range<usize>) {
    let empty = Map::new();
    let object = object.as_object().unwrap_or(&empty);
    let (mut json, mut metadata) = (vec![b'{'], 0..0);
    let first = ["kind", "apiVersion", "metadata"];
    let rest = object.keys().map(String::as_str).filter(|name| !first.contains(name));
    for name in first.into_iter().chain(rest) {
        let Some(value) = object.get(name) else { continue };
        if json.len() > 1 {
            json.push(b',');
        }
        append(&mut json, name);
        json.push(b':');
        let begin = json.len();
        append(&mut json, value);
        if name == "metadata" {
            metadata = begin..json.len();
        }
    }
    json.push(b'}');
    // Drops the spare capacity of the vector.
    (json.into_boxed_slice().into(), metadata)
}

fn append(json: &mut Vec<u8>, value: impl serde::Serialize) {
    serde_json::to_writer(json, &value).expect("memory takes any JSON value");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_reads_as_it_was_written_and_its_metadata_alone_too() {
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "data": {"a": "QQ=="},
            "metadata": {"name": "s", "uid": "u", "labels": {"a": "b"}, "ownerReferences": [{"uid": "o"}]},
        });
        let stored = Stored::new(Key::new("web", "s"), 7, &object);
        assert_eq!(stored.value(), object);
        assert_eq!(
            (&*stored.uid, stored.labels["a"].as_str(), &*stored.owners[0]),
            ("u", "b", "o")
        );
        let mut partial = Vec::new();
        stored.write_to(&mut partial, true);
        let partial: Value = serde_json::from_slice(&partial).unwrap();
        assert_eq!(partial["metadata"], object["metadata"]);
        assert_eq!(partial.get("data"), None);
    }
}
