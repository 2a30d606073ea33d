//! Deletion of objects: immediately, or once the last finalizer is removed.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Store;
use super::listing::Listing;
use crate::kube::object::{Key, Stored};
use crate::kube::ownership::{Author, second};
use crate::kube::refusal::Refusal;
use crate::kube::resource::Resource;

/// Result of a deletion.
#[derive(Debug)]
pub(crate) enum Deleted {
    /// Deleted; contains the last version.
    Gone(Arc<Stored>),
    /// Marked for deletion.
    Leaving(Arc<Stored>),
}

impl Store {
    /// Deletes one object; `options` are the `DeleteOptions` of the request, or null.
    pub(crate) fn delete(
        &mut self,
        resource: Resource,
        key: &Key,
        options: &Value,
        by: &Author<'_>,
    ) -> Result<Deleted, Refusal> {
        let live = self.get(resource, key)?;
        preconditions(resource, &live, &options["preconditions"])?;
        if options["propagationPolicy"] == "Orphan" {
            self.orphan(&live.uid, by);
        }
        self.withdraw(resource, &live, by)
    }

    /// Deletes all objects that a list would return, and returns their previous versions.
    pub(crate) fn delete_collection(
        &mut self,
        listing: &Listing<'_>,
        by: &Author<'_>,
    ) -> Result<Vec<Arc<Stored>>, Refusal> {
        let items = self.list(listing)?.items;
        for live in &items {
            self.withdraw(listing.resource, live, by)?;
        }
        Ok(items)
    }

    fn withdraw(
        &mut self,
        resource: Resource,
        live: &Arc<Stored>,
        by: &Author<'_>,
    ) -> Result<Deleted, Refusal> {
        let mut object = live.value();
        let is_held = !object["metadata"]["finalizers"].is_null();
        if !is_held && resource != Resource::Namespaces {
            let gone = self.remove(resource, &live.key);
            let gone = gone.ok_or_else(|| Refusal::not_found(resource, &live.key.name))?;
            return Ok(Deleted::Gone(gone));
        }
        if live.is_terminating {
            return Ok(Deleted::Leaving(Arc::clone(live)));
        }
        object["metadata"]["deletionTimestamp"] = json!(second(by.now));
        object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        if resource == Resource::Namespaces {
            object["status"]["phase"] = json!("Terminating");
        }
        Ok(Deleted::Leaving(self.keep(resource, &live.key, object)))
    }

    /// Removes an object under deletion once all finalizers are gone. A Namespace stays until its
    /// contents are gone.
    pub(super) fn finish_deletion(&mut self, resource: Resource, object: &Stored) {
        let free = || object.value()["metadata"]["finalizers"].is_null();
        if object.is_terminating && resource != Resource::Namespaces && free() {
            self.remove(resource, &object.key);
        }
    }
}

fn preconditions(resource: Resource, live: &Stored, wanted: &Value) -> Result<(), Refusal> {
    let revision = live.revision.to_string();
    let checks = [
        ("uid", "UID in precondition", "UID in object meta", &*live.uid),
        (
            "resourceVersion",
            "ResourceVersion in precondition",
            "ResourceVersion in object meta",
            &revision,
        ),
    ];
    for (field, what, there, is) in checks {
        if let Some(asked) = wanted[field].as_str()
            && asked != is
        {
            let why = format!("Precondition failed: {what}: {asked}, {there}: {is}");
            return Err(Refusal::conflict(resource, &live.key.name, &why));
        }
    }
    Ok(())
}
