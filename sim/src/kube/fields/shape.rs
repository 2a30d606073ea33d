//! Granularity of field ownership: maps are owned field by field, lists as a whole, with few
//! exceptions.
//!
//! The rules stand in for the schema of the supported kinds, as far as ownership needs one.
//! `spec.ports` of a Service is owned as a whole here, but by port on a real server.

use serde_json::{Value, json};

/// Granularity of ownership of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The object itself.
    Object,
    /// The object's `metadata`.
    Metadata,
    /// The object's `spec`.
    Spec,
    /// Maps owned by field, lists as a whole.
    Granular,
    /// Owned as a whole.
    Atomic,
    /// List with items identified by `uid`, each owned as a whole.
    ByUid,
    /// List of strings, each owned separately.
    Set,
}

/// A child value: step in `FieldsV1`, value, shape.
pub(crate) type Part<'a> = (String, &'a Value, Shape);

impl Shape {
    /// Returns the shape of a field; `None` for fields set by the server, which no manager owns.
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

    /// Whether an empty map is a field of its own.
    pub(crate) fn counts_when_empty(self) -> bool {
        matches!(self, Self::Spec | Self::Granular)
    }

    pub(crate) fn is_granular_list(self) -> bool {
        matches!(self, Self::ByUid | Self::Set)
    }

    /// Returns the step to an item of a list.
    pub(crate) fn step(self, item: &Value) -> Option<String> {
        match self {
            Self::ByUid => Some(format!("k:{}", json!({"uid": item.get("uid")?}))),
            Self::Set => Some(format!("v:{item}")),
            _ => None,
        }
    }

    /// Returns the children of a value; `None` if the value is owned as a whole.
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
