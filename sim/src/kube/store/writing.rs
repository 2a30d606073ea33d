//! Creation and changes of objects.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Store;
use super::identity::{key_of, same_uid, same_version, suffix, uid};
use crate::kube::defaults::{complete, fill_in, merge, restore_immutable};
use crate::kube::object::{Key, Stored};
use crate::kube::ownership::{self, Author, Owners, second};
use crate::kube::refusal::{Cause, Refusal};
use crate::kube::resource::Resource;
use crate::kube::validation::check;

/// What a server-side apply makes of an object.
pub(super) struct Changed {
    pub(super) live: Arc<Stored>,
    pub(super) before: Value,
    pub(super) object: Value,
    pub(super) owners: Owners,
}

impl Store {
    /// Creates an object; `random` determines the uid and the suffix of a generated name.
    pub(crate) fn create(
        &mut self,
        resource: Resource,
        namespace: &str,
        mut object: Value,
        by: &Author<'_>,
        random: u128,
    ) -> Result<Arc<Stored>, Refusal> {
        complete(resource, &mut object)?;
        let metadata = &object["metadata"];
        let text = |name: &str| metadata[name].as_str().unwrap_or_default();
        let name = match (text("name"), text("generateName")) {
            ("", "") => {
                let why = Cause {
                    message: "Required value: name or generateName is required".into(),
                    ..Cause::required("metadata.name")
                };
                return Err(Refusal::invalid(resource, "", &[why]));
            }
            ("", prefix) => format!("{prefix}{}", suffix(random)),
            (name, _) => name.to_owned(),
        };
        if !text("resourceVersion").is_empty() {
            return Err(Refusal::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        let key = key_of(resource, namespace, &name, &object)?;
        self.namespace_takes(resource, &key)?;
        if self.find(resource, &key).is_some() {
            return Err(Refusal::already_exists(resource, &name));
        }
        let owners = Owners::of_new(&object, by);
        self.begin(resource, &key, object, &owners, by, random)
    }

    /// Replaces an object (PUT); for some kinds, a missing object is created.
    pub(crate) fn replace(
        &mut self,
        resource: Resource,
        key: &Key,
        mut object: Value,
        by: &Author<'_>,
        random: u128,
    ) -> Result<Arc<Stored>, Refusal> {
        complete(resource, &mut object)?;
        key_of(resource, &key.namespace, &key.name, &object)?;
        let live = self.find(resource, key).cloned();
        if live.is_none() && (by.status || !resource.is_created_by_put()) {
            return Err(Refusal::not_found(resource, &key.name));
        }
        let (found, uid) = (live.as_ref(), &object["metadata"]["uid"]);
        let found = found.map_or("", |live| &live.uid);
        if let Some(uid) = uid.as_str().filter(|uid| *uid != found) {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {found}"
            );
            return Err(Refusal::conflict(resource, &key.name, &why));
        }
        let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if version.is_empty() && !resource.may_be_updated_blindly() {
            let why = "Invalid value: 0: must be specified for an update";
            let cause = Cause::invalid("metadata.resourceVersion", why);
            return Err(Refusal::invalid(resource, &key.name, &[cause]));
        }
        if let Some(live) = live {
            return self.change(resource, &live, object, by);
        }
        object["metadata"]["name"] = json!(key.name);
        object["metadata"]["resourceVersion"] = Value::Null;
        self.create(resource, &key.namespace, object, by, random)
    }

    /// Changes an object by a JSON Merge Patch.
    pub(crate) fn merge(
        &mut self,
        resource: Resource,
        key: &Key,
        patch: &Value,
        by: &Author<'_>,
    ) -> Result<Arc<Stored>, Refusal> {
        let (live, object) = self.merged(resource, key, patch)?;
        self.change(resource, &live, object, by)
    }

    /// An object, and the same after a merge patch.
    pub(super) fn merged(
        &self,
        resource: Resource,
        key: &Key,
        patch: &Value,
    ) -> Result<(Arc<Stored>, Value), Refusal> {
        let live = self.get(resource, key)?;
        let mut object = live.value();
        merge(&mut object, patch);
        complete(resource, &mut object).map_err(Refusal::unprocessable)?;
        key_of(resource, &key.namespace, &key.name, &object)?;
        same_uid(resource, &live, &object)?;
        Ok((live, object))
    }

    /// Applies a server-side apply. Returns the object and whether it is new.
    pub(crate) fn apply(
        &mut self,
        resource: Resource,
        key: &Key,
        mut applied: Value,
        by: &Author<'_>,
        (force, random): (bool, u128),
    ) -> Result<(Arc<Stored>, bool), Refusal> {
        match self.changed(resource, key, &mut applied, by, force)? {
            None => self.apply_new(resource, key, &applied, by, random).map(|new| (new, true)),
            Some(Changed { live, before, object, owners }) => {
                self.settle(resource, &live, &before, object, &owners).map(|object| (object, false))
            }
        }
    }

    /// The change that a server-side apply makes to an object; `None` if there is no such object.
    pub(super) fn changed(
        &self,
        resource: Resource,
        key: &Key,
        applied: &mut Value,
        by: &Author<'_>,
        force: bool,
    ) -> Result<Option<Changed>, Refusal> {
        if !applied["metadata"]["managedFields"].is_null() {
            return Err(Refusal::bad_request("metadata.managedFields must be nil"));
        }
        complete(resource, applied)?;
        key_of(resource, &key.namespace, &key.name, applied)?;
        let Some(live) = self.find(resource, key).cloned() else { return Ok(None) };
        same_version(resource, &live, applied)?;
        let before = live.value();
        let (mut object, owners) = ownership::apply(resource, &before, applied, by, force)?;
        same_uid(resource, &live, applied)?;
        complete(resource, &mut object)?;
        restore_immutable(resource, &before, &mut object, by.status);
        Ok(Some(Changed { live, before, object, owners }))
    }

    fn apply_new(
        &mut self,
        resource: Resource,
        key: &Key,
        applied: &Value,
        by: &Author<'_>,
        random: u128,
    ) -> Result<Arc<Stored>, Refusal> {
        if by.status {
            return Err(Refusal::not_found(resource, &key.name));
        }
        self.namespace_takes(resource, key)?;
        if let Some(uid) = applied["metadata"]["uid"].as_str() {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(Refusal::conflict(resource, &key.name, &why));
        }
        let nothing = json!({"metadata": {}});
        let (mut object, owners) = ownership::apply(resource, &nothing, applied, by, false)?;
        complete(resource, &mut object)?;
        self.begin(resource, key, object, &owners, by, random)
    }

    /// Checks that the namespace of a new object exists and is not being deleted.
    fn namespace_takes(&self, resource: Resource, key: &Key) -> Result<(), Refusal> {
        if !resource.is_namespaced() {
            return Ok(());
        }
        let namespace = self.get(Resource::Namespaces, &Key::new("", &key.namespace))?;
        if namespace.is_terminating {
            return Err(Refusal::terminating(resource, &key.name, &key.namespace));
        }
        Ok(())
    }

    fn begin(
        &mut self,
        resource: Resource,
        key: &Key,
        mut object: Value,
        owners: &Owners,
        by: &Author<'_>,
        random: u128,
    ) -> Result<Arc<Stored>, Refusal> {
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(key.name);
        if resource.is_namespaced() {
            metadata["namespace"] = json!(key.namespace);
        }
        metadata["uid"] = json!(uid(random));
        metadata["creationTimestamp"] = json!(second(by.now));
        if resource.has_generation() {
            metadata["generation"] = json!(1);
        }
        fill_in(resource, &mut object);
        let causes = check(resource, None, &object);
        if !causes.is_empty() {
            return Err(Refusal::invalid(resource, &key.name, &causes));
        }
        owners.write(resource, &mut object);
        Ok(self.keep(resource, key, object))
    }

    /// Stores a change other than an apply.
    pub(super) fn change(
        &mut self,
        resource: Resource,
        live: &Arc<Stored>,
        mut object: Value,
        by: &Author<'_>,
    ) -> Result<Arc<Stored>, Refusal> {
        same_version(resource, live, &object)?;
        let before = live.value();
        restore_immutable(resource, &before, &mut object, by.status);
        if resource == Resource::Secrets && object["type"].is_null() {
            object["type"] = json!("Opaque");
        }
        let owners = Owners::updated(&before, &object, by);
        self.settle(resource, live, &before, object, &owners)
    }

    /// Validates a change and stores the object, unless nothing changed.
    fn settle(
        &mut self,
        resource: Resource,
        live: &Arc<Stored>,
        before: &Value,
        mut object: Value,
        owners: &Owners,
    ) -> Result<Arc<Stored>, Refusal> {
        let causes = check(resource, Some(before), &object);
        if !causes.is_empty() {
            return Err(Refusal::invalid(resource, &live.key.name, &causes));
        }
        let old = Owners::of(before);
        let unchanged = owners.same_fields(&old);
        if unchanged {
            old.write(resource, &mut object);
        } else {
            owners.write(resource, &mut object);
        }
        if unchanged && object == *before {
            return Ok(Arc::clone(live));
        }
        if resource.has_generation() && object["spec"] != before["spec"] {
            let generation = before["metadata"]["generation"].as_u64().unwrap_or(1);
            object["metadata"]["generation"] = json!(generation + 1);
        }
        let kept = self.keep(resource, &live.key, object);
        self.finish_deletion(resource, &kept);
        Ok(kept)
    }
}
