//! Last reads of Secrets, reduced to the fields that a write needs, and the decision how to write.

use std::collections::HashMap;

use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::ingress::SecretKey;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::ports::PortError;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::fields::TLS_TYPE;
use super::view::other_install;
use crate::kubernetes::client::{FIELD_MANAGER, is_ours};

/// Longest field manager (metav1, `ApplyOptions`), in bytes.
const MANAGER_MAX: usize = 128;

/// State of an existing Secret at its last read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Existing {
    /// `metadata.resourceVersion`. The write applies to this version only.
    pub(super) resource_version: String,
    pub(super) ours: bool,
    /// Install that has the Secret, if it is not ours; cut for display.
    pub(super) other_install: Option<String>,
    /// Field manager that has applied the fields of ours.
    pub(super) manager: Option<String>,
    pub(super) is_tls: bool,
    pub(super) immutable: bool,
}

impl Existing {
    pub(super) fn of(secret: &Secret, install: Option<&str>) -> Self {
        let other = other_install(&secret.metadata, install);
        Self {
            resource_version: secret.metadata.resource_version.clone().unwrap_or_default(),
            ours: is_ours(&secret.metadata),
            other_install: other.map(|other| cut(other, limits::SHOWN_MAX)),
            manager: manager_of(&secret.metadata).map(str::to_owned),
            is_tls: secret.type_.as_deref() == Some(TLS_TYPE),
            immutable: secret.immutable == Some(true),
        }
    }
}

/// How to write a Secret.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Write {
    /// Apply without force.
    Create,
    /// Apply with force as `manager`, provided that the Secret still has this version.
    Replace { resource_version: String, manager: Option<String> },
}

/// Field manager with which an install creates its Secrets. Two installs have different ones, so
/// that of two creates at the same moment the API server refuses the second: with one manager, it
/// would replace the certificate of the first. The usual install has the manager that releases
/// before 0.2 had.
pub(super) fn manager_for(install: Option<&str>) -> String {
    match install {
        None | Some(FIELD_MANAGER) => FIELD_MANAGER.to_owned(),
        Some(install) => format!("{FIELD_MANAGER}-{install}"),
    }
}

/// Field manager of ours that has applied fields of the Secret. The same manager must apply the
/// next version: the fields of a manager that applies no more can never be removed.
fn manager_of(metadata: &ObjectMeta) -> Option<&str> {
    let entries = metadata.managed_fields.iter().flatten();
    let applied = entries.filter(|entry| entry.operation.as_deref() == Some("Apply"));
    let managers = applied.filter_map(|entry| entry.manager.as_deref());
    let is_ours = |manager: &&str| {
        let rest = manager.strip_prefix(FIELD_MANAGER);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    managers.filter(is_ours).find(|manager| manager.len() <= MANAGER_MAX)
}

/// Decides whether and how a Secret may be written. `adopt` permits taking over a Secret that is
/// not ours.
///
/// # Errors
/// A permanent conflict if the Secret is not ours and not adopted, has another type, is immutable,
/// or belongs to another install, whether or not it may be adopted.
pub(super) fn write_for(key: &SecretKey, last: &LastRead, adopt: bool) -> Result<Write, PortError> {
    let refuse = |why: &str| Err(PortError::permanent(FailureClass::Conflict, why));
    let LastRead::Present(seen) = last else { return Ok(Write::Create) };
    if let Some(other) = &seen.other_install {
        return refuse(&format!(
            "Secret {key} belongs to the ingress-acme install `{other}` and is left as it is; \
             its annotation ingress-acme.dev/install hands it over"
        ));
    }
    if !seen.ours && !adopt {
        return refuse(&format!(
            "Secret {key} was not made by ingress-acme and is left as it is; delete it, name another one in spec.tls, or \
             allow the takeover with the annotation ingress-acme.dev/adopt-secret: \"true\""
        ));
    }
    if !seen.is_tls {
        return refuse(&format!(
            "Secret {key} is not of type {TLS_TYPE} and its type cannot be changed; delete it or name another one"
        ));
    }
    if seen.immutable {
        return refuse(&format!("Secret {key} is immutable; delete it or name another one"));
    }
    let (resource_version, manager) = (seen.resource_version.clone(), seen.manager.clone());
    Ok(Write::Replace { resource_version, manager })
}

/// Result of the last read of a Secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum LastRead {
    /// No such Secret.
    Absent,
    /// The Secret exists.
    Present(Existing),
}

impl LastRead {
    pub(super) fn of(secret: Option<&Secret>, install: Option<&str>) -> Self {
        secret.map_or(Self::Absent, |secret| Self::Present(Existing::of(secret, install)))
    }
}

/// Last reads, bounded. Two generations; the older one is dropped as a whole.
pub(super) struct Memory {
    /// Maximum size of a generation.
    generation: usize,
    young: HashMap<SecretKey, LastRead>,
    old: HashMap<SecretKey, LastRead>,
}

impl Memory {
    /// Creates a memory that keeps at least the last `capacity / 2` reads, and at most `capacity`.
    pub(super) fn holding(capacity: usize) -> Self {
        Self { generation: (capacity / 2).max(1), young: HashMap::new(), old: HashMap::new() }
    }

    pub(super) fn remember(&mut self, key: &SecretKey, read: LastRead) {
        if self.young.len() >= self.generation && !self.young.contains_key(key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key.clone(), read);
    }

    /// Removes and returns the last read. The write that follows makes that read outdated.
    pub(super) fn take(&mut self, key: &SecretKey) -> Option<LastRead> {
        let old = self.old.remove(key);
        self.young.remove(key).or(old)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

    use super::*;

    fn key(number: usize) -> SecretKey {
        SecretKey::new("web", &format!("s{number}"))
    }

    fn seen() -> Existing {
        Existing {
            resource_version: "7".into(),
            ours: true,
            other_install: None,
            manager: Some("ingress-acme-tls".into()),
            is_tls: true,
            immutable: false,
        }
    }

    fn present() -> LastRead {
        LastRead::Present(seen())
    }

    #[test]
    fn what_is_ours_is_replaced_in_the_version_that_was_read() {
        let foreign = LastRead::Present(Existing { ours: false, ..seen() });
        let manager = Some("ingress-acme-tls".into());
        let replace = Ok(Write::Replace { resource_version: "7".into(), manager });
        assert_eq!(write_for(&key(0), &LastRead::Absent, false), Ok(Write::Create));
        assert_eq!(write_for(&key(0), &present(), false), replace);
        assert_eq!(write_for(&key(0), &foreign, true), replace);
    }

    #[test]
    fn what_is_not_ours_or_cannot_be_changed_is_a_conflict() {
        let refused = [
            (Existing { ours: false, ..seen() }, false, "not made by"),
            (Existing { is_tls: false, ..seen() }, false, "not of type"),
            (Existing { ours: false, is_tls: false, ..seen() }, true, "not of type"),
            (Existing { immutable: true, ..seen() }, true, "is immutable"),
            (Existing { other_install: Some("b".into()), ..seen() }, true, "install `b`"),
        ];
        for (seen, adopt, why) in refused {
            match write_for(&key(0), &LastRead::Present(seen), adopt) {
                Err(PortError::Permanent(failure)) => {
                    assert_eq!(failure.class, FailureClass::Conflict);
                    assert!(failure.detail.contains(why), "{}", failure.detail);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_manager_that_applied_a_secret_applies_it_again() {
        let applied_by = |operation: &str, managers: &[&str]| {
            let entry = |manager: &&str| ManagedFieldsEntry {
                manager: Some((*manager).to_owned()),
                operation: Some(operation.to_owned()),
                ..ManagedFieldsEntry::default()
            };
            let managed_fields = Some(managers.iter().map(entry).collect());
            let metadata = ObjectMeta { managed_fields, ..ObjectMeta::default() };
            manager_of(&metadata).map(str::to_owned)
        };
        let long = format!("ingress-acme-{}", "x".repeat(200));
        let ours = applied_by("Apply", &["kubectl", &long, "ingress-acme-tls"]);
        assert_eq!(ours.as_deref(), Some("ingress-acme-tls"));
        assert_eq!(applied_by("Apply", &["ingress-acme"]).as_deref(), Some("ingress-acme"));
        assert_eq!(applied_by("Apply", &["ingress-acmes"]), None);
        assert_eq!(applied_by("Update", &["ingress-acme"]), None);
        assert_eq!(manager_for(Some("ingress-acme")), manager_for(None));
        assert_ne!(manager_for(Some("tls")), manager_for(Some("staging")));
    }

    #[test]
    fn memory_is_bounded_and_gives_each_read_once() {
        let mut memory = Memory::holding(4);
        for number in 0..100 {
            memory.remember(&key(number), present());
            assert!(memory.young.len() + memory.old.len() <= 4);
        }
        assert_eq!(memory.take(&key(0)), None);
        assert_eq!(memory.take(&key(99)), Some(present()));
        assert_eq!(memory.take(&key(99)), None);
    }

    #[test]
    fn the_newest_read_counts() {
        let mut memory = Memory::holding(2);
        memory.remember(&key(0), present());
        memory.remember(&key(1), LastRead::Absent);
        memory.remember(&key(0), LastRead::Absent);
        assert_eq!(memory.take(&key(0)), Some(LastRead::Absent));
        assert_eq!(memory.take(&key(0)), None);
    }
}
