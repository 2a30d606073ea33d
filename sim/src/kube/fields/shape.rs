//! How the parts of an object are owned: each field of a map by itself, a list as a whole, with few exceptions.
//!
//! This is the schema of the kinds that the server knows, as far as ownership goes. `spec.ports` of a Service is a
//! whole here, and by port in reality.

use serde_json::{Value, json};

/// How a part of an object is owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The object itself.
    Object,
    /// Its `metadata`.
    Metadata,
    /// Its `spec`.
    Spec,
    /// Maps by their fields, lists as a whole.
    Granular,
    /// As a whole.
    Atomic,
    /// A list of which each item is owned as a whole and known by its `uid`.
    ByUid,
    /// A list of strings, each owned by itself.
    Set,
}

/// A part: its step in `FieldsV1`, its value, its shape.
pub(crate) type Part<'a> = (String, &'a Value, Shape);

impl Shape {
    /// The shape of a field; none for what the server sets, which nobody owns.
    pub(crate) fn field(self, name: &str) -> Option<Self> {
        Some(match (self, name) {
            (Self::Object, "metadata") => Self::Metadata,
            (Self::Object, "spec") => Self::Spec,
            (Self::Object, "regarding" | "related") | (Self::Spec, "selector") => Self::Atomic,
            (Self::Object, "apiVersion" | "kind")
            | (
                Self::Metadata,
                "name"
                | "namespace"
                | "uid"
                | "resourceVersion"
                | "generation"
                | "selfLink"
                | "managedFields"
                | "creationTimestamp"
                | "deletionTimestamp"
                | "deletionGracePeriodSeconds",
            ) => return None,
            (Self::Metadata, "ownerReferences") => Self::ByUid,
            (Self::Metadata, "finalizers") => Self::Set,
            _ => Self::Granular,
        })
    }

    pub(crate) fn is_granular(self) -> bool {
        matches!(self, Self::Object | Self::Metadata | Self::Spec | Self::Granular)
    }

    /// An empty map is a field of its own.
    pub(crate) fn counts_when_empty(self) -> bool {
        matches!(self, Self::Spec | Self::Granular)
    }

    pub(crate) fn is_granular_list(self) -> bool {
        matches!(self, Self::ByUid | Self::Set)
    }

    /// The step to an item of a list.
    pub(crate) fn step(self, item: &Value) -> Option<String> {
        match self {
            Self::ByUid => Some(format!("k:{}", json!({"uid": item.get("uid")?}))),
            Self::Set => Some(format!("v:{item}")),
            _ => None,
        }
    }

    /// The parts of a value, or none if it is owned as a whole.
    pub(crate) fn parts(self, value: &Value) -> Option<Vec<Part<'_>>> {
        match value {
            Value::Object(fields) if self.is_granular() => {
                let parts = fields.iter().filter_map(|(name, value)| {
                    Some((format!("f:{name}"), value, self.field(name)?))
                });
                Some(parts.collect())
            }
            Value::Array(items) if self.is_granular_list() => {
                let parts =
                    items.iter().filter_map(|item| Some((self.step(item)?, item, Self::Atomic)));
                Some(parts.collect())
            }
            _ => None,
        }
    }
}
