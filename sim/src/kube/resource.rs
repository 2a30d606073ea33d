//! Supported kinds of objects and their names in paths, bodies and refusals.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Resource {
    Namespaces,
    Secrets,
    Services,
    EndpointSlices,
    Ingresses,
    IngressClasses,
    Events,
    Leases,
}

/// Names of a kind.
struct Names {
    /// API group; empty for the core group.
    group: &'static str,
    plural: &'static str,
    singular: &'static str,
    kind: &'static str,
    /// Short name for kubectl; empty if there is none.
    short: &'static str,
}

/// API version of all kinds.
const VERSION: &str = "v1";
/// API group of Events.
const EVENTS: &str = "events.k8s.io";
/// Verbs of all kinds.
const VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// Verbs of Events in the core group.
pub(crate) const CORE_EVENT_VERBS: [&str; 2] = ["get", "list"];

impl Resource {
    pub(crate) const ALL: [Self; 8] = [
        Self::Namespaces,
        Self::Secrets,
        Self::Services,
        Self::EndpointSlices,
        Self::Ingresses,
        Self::IngressClasses,
        Self::Events,
        Self::Leases,
    ];

    const fn names(self) -> Names {
        let (group, plural, singular, kind, short) = match self {
            Self::Namespaces => ("", "namespaces", "namespace", "Namespace", "ns"),
            Self::Secrets => ("", "secrets", "secret", "Secret", ""),
            Self::Services => ("", "services", "service", "Service", "svc"),
            Self::EndpointSlices => {
                ("discovery.k8s.io", "endpointslices", "endpointslice", "EndpointSlice", "")
            }
            Self::Ingresses => ("networking.k8s.io", "ingresses", "ingress", "Ingress", "ing"),
            Self::IngressClasses => {
                ("networking.k8s.io", "ingressclasses", "ingressclass", "IngressClass", "")
            }
            Self::Events => (EVENTS, "events", "event", "Event", "ev"),
            Self::Leases => ("coordination.k8s.io", "leases", "lease", "Lease", ""),
        };
        Names { group, plural, singular, kind, short }
    }

    pub(crate) const fn group(self) -> &'static str {
        self.names().group
    }

    pub(crate) const fn plural(self) -> &'static str {
        self.names().plural
    }

    pub(crate) const fn kind(self) -> &'static str {
        self.names().kind
    }

    /// Returns the value of `apiVersion`.
    pub(crate) const fn api_version(self) -> &'static str {
        match self {
            Self::Namespaces | Self::Secrets | Self::Services => VERSION,
            Self::EndpointSlices => "discovery.k8s.io/v1",
            Self::Ingresses | Self::IngressClasses => "networking.k8s.io/v1",
            Self::Events => "events.k8s.io/v1",
            Self::Leases => "coordination.k8s.io/v1",
        }
    }

    pub(crate) fn is_namespaced(self) -> bool {
        !matches!(self, Self::Namespaces | Self::IngressClasses)
    }

    /// Whether the kind has a subresource `status`; writes to the object itself then leave the
    /// status unchanged.
    pub(crate) fn has_status(self) -> bool {
        matches!(self, Self::Namespaces | Self::Services | Self::Ingresses)
    }

    /// Whether `metadata.generation` counts changes of the spec.
    pub(crate) fn has_generation(self) -> bool {
        matches!(self, Self::Ingresses | Self::IngressClasses | Self::EndpointSlices)
    }

    /// Whether a PUT without `resourceVersion` is accepted.
    pub(crate) fn may_be_updated_blindly(self) -> bool {
        self != Self::Leases
    }

    /// Whether a PUT creates a missing object.
    pub(crate) fn is_created_by_put(self) -> bool {
        matches!(self, Self::Leases | Self::Services | Self::Events)
    }

    /// Returns the resource name for error messages: `secrets`, `ingresses.networking.k8s.io`.
    pub(crate) fn qualified(self) -> String {
        match self.group() {
            "" => self.plural().to_owned(),
            group => format!("{}.{group}", self.plural()),
        }
    }

    /// Returns the kind for error messages: `Secret`, `Ingress.networking.k8s.io`.
    pub(crate) fn qualified_kind(self) -> String {
        match self.group() {
            "" => self.kind().to_owned(),
            group => format!("{}.{group}", self.kind()),
        }
    }

    /// Finds the kind named by a path.
    pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter().filter(|_| version == VERSION);
        all.find(|resource| resource.group() == group && resource.plural() == plural)
    }

    /// Finds the kind of an object.
    pub(crate) fn of(object: &Value) -> Option<Self> {
        let (version, kind) = (object.get("apiVersion")?.as_str()?, object.get("kind")?.as_str()?);
        let mut all = Self::ALL.into_iter();
        all.find(|resource| resource.api_version() == version && resource.kind() == kind)
    }
}

/// Returns the answer for a `path` without a resource: discovery of groups and kinds, the version,
/// or health.
pub(crate) fn discovery(path: &str) -> Option<Value> {
    match path {
        "/version" => Some(json!({"major": "1", "minor": "36", "gitVersion": "v1.36.3-simulated"})),
        "/livez" | "/readyz" | "/healthz" => Some(json!("ok")),
        "/api" => Some(json!({"kind": "APIVersions", "versions": [VERSION]})),
        "/apis" => {
            let groups: Vec<Value> = groups().into_iter().map(group).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": VERSION, "groups": groups}))
        }
        "/api/v1" => Some(resources("")),
        _ => {
            let (group, version) = path.strip_prefix("/apis/")?.split_once('/')?;
            (version == VERSION && groups().contains(group)).then(|| resources(group))
        }
    }
}

/// Groups but the core group, each once.
fn groups() -> BTreeSet<&'static str> {
    Resource::ALL.into_iter().map(Resource::group).filter(|group| !group.is_empty()).collect()
}

fn group(name: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/{VERSION}"), "version": VERSION});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn resources(group: &str) -> Value {
    let of_group = Resource::ALL.into_iter().filter(|resource| resource.group() == group);
    let mut resources: Vec<Value> = of_group.map(|resource| described(resource, &VERBS)).collect();
    if group.is_empty() {
        resources.push(described(Resource::Events, &CORE_EVENT_VERBS));
    }
    let version = if group.is_empty() { VERSION.to_owned() } else { format!("{group}/{VERSION}") };
    json!({"kind": "APIResourceList", "apiVersion": VERSION, "groupVersion": version, "resources": resources})
}

/// Returns a kind as discovery tells it.
fn described(resource: Resource, verbs: &[&str]) -> Value {
    let Names { plural, singular, kind, short, .. } = resource.names();
    let mut described = json!({
        "name": plural, "singularName": singular, "kind": kind,
        "namespaced": resource.is_namespaced(), "verbs": verbs,
    });
    if !short.is_empty() {
        described["shortNames"] = json!([short]);
    }
    described
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_found_by_its_path_and_by_its_object() {
        for resource in Resource::ALL {
            let found = Resource::find(resource.group(), "v1", resource.plural());
            assert_eq!(found, Some(resource));
            let object = json!({"apiVersion": resource.api_version(), "kind": resource.kind()});
            assert_eq!(Resource::of(&object), Some(resource));
        }
        assert_eq!(Resource::find("", "v1", "pods"), None);
    }

    #[test]
    fn discovery_tells_the_kinds_of_a_group() {
        let document = discovery("/apis/networking.k8s.io/v1").unwrap();
        assert_eq!(document["resources"][0]["kind"], "Ingress");
        assert_eq!(discovery("/apis/apps/v1"), None);
    }

    #[test]
    fn discovery_names_each_group_once_although_two_kinds_share_one() {
        let document = discovery("/apis").unwrap();
        let groups = document["groups"].as_array().unwrap().iter();
        let names: Vec<&str> = groups.map(|group| group["name"].as_str().unwrap()).collect();
        let expected =
            ["coordination.k8s.io", "discovery.k8s.io", "events.k8s.io", "networking.k8s.io"];
        assert_eq!(names, expected);
    }
}
