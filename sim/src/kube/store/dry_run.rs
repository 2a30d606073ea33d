//! Dry runs (`dryRun=All`) of patches: the object as it would be, which is checked and not stored.

use std::sync::Arc;

use serde_json::Value;

use super::Store;
use super::identity::same_version;
use super::writing::Changed;
use crate::kube::object::{Key, Stored};
use crate::kube::ownership::Author;
use crate::kube::refusal::Refusal;
use crate::kube::resource::Resource;
use crate::kube::validation::check;

impl Store {
    /// Returns an object that is there as a server-side apply would leave it (`dryRun=All`), and
    /// stores nothing.
    pub(crate) fn try_apply(
        &self,
        resource: Resource,
        key: &Key,
        mut applied: Value,
        by: &Author<'_>,
        force: bool,
    ) -> Result<Arc<Stored>, Refusal> {
        let Some(changed) = self.changed(resource, key, &mut applied, by, force)? else {
            return Err(Refusal::not_found(resource, &key.name));
        };
        let Changed { live, before, mut object, owners } = changed;
        let causes = check(resource, Some(&before), &object);
        if !causes.is_empty() {
            return Err(Refusal::invalid(resource, &key.name, &causes));
        }
        owners.write(resource, &mut object);
        Ok(Arc::new(Stored::new(key.clone(), live.revision, &object)))
    }

    /// Returns an object as a merge patch would leave it (`dryRun=All`), and stores nothing.
    pub(crate) fn try_merge(
        &self,
        resource: Resource,
        key: &Key,
        patch: &Value,
    ) -> Result<Arc<Stored>, Refusal> {
        let (live, object) = self.merged(resource, key, patch)?;
        same_version(resource, &live, &object)?;
        let causes = check(resource, Some(&live.value()), &object);
        if !causes.is_empty() {
            return Err(Refusal::invalid(resource, &key.name, &causes));
        }
        Ok(Arc::new(Stored::new(key.clone(), live.revision, &object)))
    }
}
