//! Field ownership: `metadata.managedFields` and server-side apply.
//!
//! The rules are those of a real server. An apply owns the fields it sets, conflicts with fields
//! that other managers own with another value, and removes fields previously owned, no longer set,
//! and not owned by another manager. Any other write owns the fields it changes and takes them from
//! their owners. An object with cleared managed fields is untracked until the first apply, which
//! assigns all existing fields to `before-first-apply`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fields::{Difference, FieldSet, merged};
use super::refusal::{Cause, Refusal};
use super::resource::Resource;

/// Owner of the fields that existed before an object was tracked.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Field manager and time of a write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Author<'a> {
    /// Name of the field manager.
    pub(crate) manager: &'a str,
    pub(crate) now: Timestamp,
    /// Whether the write is to the subresource `status`.
    pub(crate) status: bool,
}

/// Owners of the fields of one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Owners(Vec<Owner>);

#[derive(Clone, Debug, PartialEq)]
struct Owner {
    manager: String,
    applies: bool,
    status: bool,
    time: String,
    fields: FieldSet,
}

impl Owner {
    fn is(&self, author: &Author<'_>, applies: bool) -> bool {
        let same = self.manager == author.manager && self.status == author.status;
        same && self.applies == applies
    }

    /// Formats the owner as in the refusal of an apply.
    fn named(&self, resource: Resource) -> String {
        let (manager, version) = (&self.manager, resource.api_version());
        let using = if self.applies { String::new() } else { format!(" using {version}") };
        let status = if self.status { " with subresource \"status\"" } else { "" };
        format!("conflict with \"{manager}\"{status}{using}")
    }
}

impl Owners {
    /// Parses `metadata.managedFields` of an object.
    pub(crate) fn of(object: &Value) -> Self {
        let entries = object["metadata"]["managedFields"].as_array();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let owner = |entry: &Value| Owner {
            manager: text(&entry["manager"]),
            applies: entry["operation"] == "Apply",
            status: entry["subresource"] == "status",
            time: text(&entry["time"]),
            fields: FieldSet::from_v1(&entry["fieldsV1"]),
        };
        let owners = entries.into_iter().flatten().map(owner);
        Self(owners.filter(|owner| !owner.fields.is_empty()).collect())
    }

    /// Writes `metadata.managedFields` of an object.
    pub(crate) fn write(&self, resource: Resource, object: &mut Value) {
        let entry = |owner: &Owner| {
            let operation = if owner.applies { "Apply" } else { "Update" };
            let mut entry = json!({
                "manager": owner.manager, "operation": operation, "apiVersion": resource.api_version(),
                "time": owner.time, "fieldsType": "FieldsV1", "fieldsV1": owner.fields.to_v1(),
            });
            if owner.status {
                entry["subresource"] = json!("status");
            }
            entry
        };
        let Some(metadata) = object["metadata"].as_object_mut() else { return };
        if self.0.is_empty() {
            metadata.remove("managedFields");
        } else {
            let entries = self.0.iter().map(entry).collect();
            metadata.insert("managedFields".to_owned(), entries);
        }
    }

    /// Whether both have the same owners of the same fields; times are ignored.
    pub(crate) fn same_fields(&self, other: &Self) -> bool {
        let untimed = |owners: &Self| {
            let mut owners = owners.0.clone();
            for owner in &mut owners {
                owner.time.clear();
            }
            owners.sort_by(|a, b| {
                (&a.manager, a.applies, a.status).cmp(&(&b.manager, b.applies, b.status))
            });
            owners
        };
        untimed(self) == untimed(other)
    }

    /// Returns the owners of a new object created without apply.
    pub(crate) fn of_new(object: &Value, author: &Author<'_>) -> Self {
        let mut owners = Self::default();
        owners.grow(author, false, &FieldSet::of(object));
        owners
    }

    /// Returns the owners after a write other than an apply; `after` may contain or clear managed
    /// fields.
    pub(crate) fn updated(before: &Value, after: &Value, author: &Author<'_>) -> Self {
        let brought = &after["metadata"]["managedFields"];
        if *brought == json!([{}]) {
            return Self::default();
        }
        let mut owners = Self::of(after);
        if owners.0.is_empty() {
            owners = Self::of(before);
        }
        if owners.0.is_empty() {
            return owners;
        }
        let Difference { changed, removed } = Difference::between(before, after);
        for owner in &mut owners.0 {
            owner.fields.take(&removed);
            if !owner.is(author, false) {
                owner.fields.take(&changed);
            }
        }
        owners.grow(author, false, &changed);
        owners
    }

    fn grow(&mut self, author: &Author<'_>, applies: bool, fields: &FieldSet) {
        if !fields.is_empty() {
            let at = self.0.iter().position(|owner| owner.is(author, applies));
            let at = at.unwrap_or_else(|| {
                self.0.push(Owner::new(author, applies));
                self.0.len() - 1
            });
            self.0[at].fields.add(fields);
            self.0[at].time = second(author.now);
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        self.0.retain(|owner| !owner.fields.is_empty());
        self.0.sort_by(|a, b| {
            (!a.applies, &a.time, &a.manager).cmp(&(!b.applies, &b.time, &b.manager))
        });
    }
}

impl Owner {
    fn new(author: &Author<'_>, applies: bool) -> Self {
        let Author { manager, now, status } = *author;
        let (manager, time) = (manager.to_owned(), second(now));
        Self { manager, applies, status, time, fields: FieldSet::default() }
    }
}

/// Applies `applied` to `live`, which is empty for a new object. Returns the new object and its
/// owners.
pub(crate) fn apply(
    resource: Resource,
    live: &Value,
    applied: &Value,
    author: &Author<'_>,
    force: bool,
) -> Result<(Value, Owners), Refusal> {
    let mut owners = Owners::of(live);
    if owners.0.is_empty() {
        let before = Author { manager: BEFORE_FIRST_APPLY, status: false, ..*author };
        owners.grow(&before, false, &FieldSet::of(live));
    }
    let mut says = FieldSet::of(applied);
    if resource.has_status() {
        says = says.within_status(author.status);
    }
    let mut object = merged(live, applied);
    let changed = Difference::between(live, &object).changed;
    give_way(resource, &mut owners, &changed.common(&says), author, force)?;

    let mine = owners.0.iter().position(|owner| owner.is(author, true));
    let mut gone = mine.map(|at| owners.0[at].fields.clone()).unwrap_or_default();
    gone.take(&says);
    for owner in owners.0.iter().filter(|owner| !owner.is(author, true)) {
        gone.take(&owner.fields);
    }
    gone.remove_from(&mut object);

    if let Some(at) = mine {
        owners.0[at].fields = FieldSet::default();
    }
    owners.grow(author, true, &says);
    Ok((object, owners))
}

/// Removes applied fields with another value from the other owners; without `force`, such fields
/// are refused as conflicts.
fn give_way(
    resource: Resource,
    owners: &mut Owners,
    changed: &FieldSet,
    author: &Author<'_>,
    force: bool,
) -> Result<(), Refusal> {
    let mut causes = Vec::new();
    for owner in owners.0.iter_mut().filter(|owner| !owner.is(author, true)) {
        let conflicts = owner.fields.common(changed);
        let message = owner.named(resource);
        let cause =
            |field| Cause { field, reason: "FieldManagerConflict", message: message.clone() };
        causes.extend(conflicts.paths().into_iter().map(cause));
        owner.fields.take(&conflicts);
    }
    if force || causes.is_empty() { Ok(()) } else { Err(Refusal::field_conflicts(&causes)) }
}

/// Formats a time as `metav1.Time`: RFC 3339 in whole seconds.
pub(crate) fn second(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn author(manager: &str) -> Author<'_> {
        Author { manager, now: Timestamp::UNIX_EPOCH, status: false }
    }

    fn applied(
        live: &Value,
        applied: &Value,
        manager: &str,
        force: bool,
    ) -> Result<Value, Refusal> {
        let (mut object, owners) =
            apply(Resource::Secrets, live, applied, &author(manager), force)?;
        owners.write(Resource::Secrets, &mut object);
        Ok(object)
    }

    fn created() -> Value {
        let mut object = json!({"metadata": {"labels": {"a": "1"}}, "type": "Opaque"});
        Owners::of_new(&object, &author("maker")).write(Resource::Secrets, &mut object);
        object
    }

    #[test]
    fn a_field_of_another_conflicts_unless_it_has_the_same_value() {
        let same = json!({"metadata": {}, "type": "Opaque"});
        assert!(applied(&created(), &same, "me", false).is_ok());
        let other = json!({"metadata": {"labels": {"a": "2"}}, "type": "other"});
        let refusal = applied(&created(), &other, "me", false).unwrap_err();
        let message = "Apply failed with 2 conflicts: conflict with \"maker\" using v1: .metadata.labels.a\n\
                       conflict with \"maker\" using v1: .type";
        assert_eq!((refusal.code(), refusal.to_string().as_str()), (409, message));
        let forced = applied(&created(), &other, "me", true).unwrap();
        let managers = forced["metadata"]["managedFields"].as_array().unwrap();
        assert_eq!((managers.len(), &managers[0]["manager"]), (1, &json!("me")));
    }

    #[test]
    fn a_field_no_longer_applied_goes_unless_another_owns_it_too() {
        let both = json!({"metadata": {"labels": {"a": "1", "b": "1"}}});
        let live = applied(&created(), &both, "me", false).unwrap();
        let live = applied(&live, &json!({"metadata": {}}), "me", false).unwrap();
        assert_eq!(live["metadata"]["labels"], json!({"a": "1"}));
        assert_eq!(live["metadata"]["managedFields"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn an_object_that_is_not_tracked_is_owned_before_the_first_apply() {
        let cleared = json!({"metadata": {"managedFields": [{}]}, "type": "Opaque"});
        assert_eq!(Owners::updated(&created(), &cleared, &author("x")), Owners::default());
        let live = json!({"metadata": {}, "type": "Opaque"});
        let changed = json!({"metadata": {}, "type": "Opaque", "data": {}});
        assert_eq!(Owners::updated(&live, &changed, &author("x")), Owners::default());
        let refusal = applied(&live, &json!({"metadata": {}, "type": "tls"}), "me", false);
        assert!(refusal.unwrap_err().to_string().contains("before-first-apply"));
    }

    #[test]
    fn an_update_owns_what_it_changes_and_nobody_what_it_removes() {
        let after = json!({"metadata": {"labels": {"b": "1"}}, "type": "Opaque"});
        let owners = Owners::updated(&created(), &after, &author("other"));
        let mut object = after.clone();
        owners.write(Resource::Secrets, &mut object);
        let fields = &object["metadata"]["managedFields"];
        assert_eq!(fields[0]["fieldsV1"], json!({"f:type": {}}));
        assert_eq!(fields[1]["fieldsV1"], json!({"f:metadata": {"f:labels": {"f:b": {}}}}));
    }
}
