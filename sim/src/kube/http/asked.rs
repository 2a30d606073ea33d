//! Parsing of requests: path, query and headers.

use std::collections::HashMap;
use std::time::Duration;

use actix_web::web::Query;

use crate::exchange::Request;
use crate::kube::User;
use crate::kube::object::Key;
use crate::kube::refusal::Refusal;
use crate::kube::resource::{CORE_EVENT_VERBS, Resource};
use crate::kube::selector::{Fields, Selector};
use crate::kube::store::Listing;

/// Duration of a watch without `timeoutSeconds`.
const WATCH: Duration = Duration::from_mins(30);

/// A parsed request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) user: User,
    /// Verb as in audit logs.
    pub(super) verb: &'static str,
    /// Addressed objects; `None` for a path that is no resource.
    pub(super) place: Option<Place>,
    pub(super) path: String,
    /// Whether the answer contains only metadata.
    pub(super) metadata_only: bool,
    /// Whether the answer to a get or a list is a table, for kubectl.
    pub(super) as_table: bool,
    pub(super) content_type: String,
    /// Field manager, from the query or else the user agent.
    pub(super) manager: String,
    pub(super) options: Options,
}

/// Objects addressed by a path.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) resource: Resource,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    /// Whether the path names the subresource `status`.
    pub(super) status: bool,
    /// Whether the path names Events in the core group, whose form differs.
    pub(super) core_events: bool,
}

/// Parsed query.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "parameters that do not exclude each other")]
pub(super) struct Options {
    pub(super) selector: Selector,
    pub(super) fields: Fields,
    pub(super) limit: usize,
    pub(super) token: String,
    /// `resourceVersion`.
    pub(super) revision: Option<u64>,
    pub(super) timeout: Duration,
    pub(super) bookmarks: bool,
    pub(super) force: bool,
    /// `dryRun`, for a patch of an object that is there.
    pub(super) dry_run: bool,
    pub(super) names_manager: bool,
}

impl Asked {
    pub(super) fn read(request: &Request, user: User) -> Result<Self, Refusal> {
        let query = Query::<HashMap<String, String>>::from_query(&request.query);
        let query = query.map_err(|error| Refusal::bad_request(error.to_string()))?.into_inner();
        let header = |name: &str| request.header(name).unwrap_or_default().to_owned();
        let agent = header("user-agent");
        let agent = agent.split('/').next().filter(|agent| !agent.is_empty()).unwrap_or("unknown");
        let named = query.get("fieldManager").filter(|name| !name.is_empty());
        let path = request.path.as_str();
        let place = Place::at(path)?;
        let is_watch = query.get("watch").is_some_and(|watch| watch == "true" || watch == "1");
        let verb = verb(&request.method, place.as_ref(), is_watch)?;
        let options = Options::read(&query)?;
        let core_events = place.as_ref().is_some_and(|place| place.core_events);
        if core_events && !CORE_EVENT_VERBS.contains(&verb) {
            return Err(Refusal::method_not_allowed());
        }
        if !core_events {
            options.fields.without_involved()?;
        }
        let accept = header("accept");
        Ok(Self {
            user,
            verb,
            place,
            path: path.to_owned(),
            metadata_only: accept.starts_with("application/json;as=PartialObjectMetadata"),
            as_table: accept.starts_with("application/json;as=Table"),
            content_type: header("content-type"),
            manager: named.map_or(agent, String::as_str).to_owned(),
            options,
        })
    }

    /// Resource name as in audit logs.
    pub(super) fn resource_name(&self) -> String {
        self.place.as_ref().map_or_else(String::new, |place| {
            let status = if place.status { "/status" } else { "" };
            format!("{}{status}", place.resource.plural())
        })
    }
}

impl Place {
    /// Parses a path; `None` for a path outside all resources.
    fn at(path: &str) -> Result<Option<Self>, Refusal> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Ok(None),
        };
        let (namespace, rest) = match rest {
            [] => return Ok(None),
            ["namespaces", namespace, plural, rest @ ..] if *plural != "status" => {
                (Some((*namespace).to_owned()), (*plural, rest))
            }
            [plural, rest @ ..] => (None, (*plural, rest)),
        };
        let (plural, rest) = rest;
        let core_events = group.is_empty() && plural == Resource::Events.plural();
        let group = if core_events { Resource::Events.group() } else { group };
        let resource = Resource::find(group, version, plural).ok_or_else(Refusal::no_such_path)?;
        let (name, status) = match rest {
            [] => (None, false),
            [name] => (Some((*name).to_owned()), false),
            [name, "status"] if resource.has_status() => (Some((*name).to_owned()), true),
            _ => return Err(Refusal::no_such_path()),
        };
        // An object of a namespaced kind needs a namespace in its path.
        if resource.is_namespaced() != namespace.is_some()
            && (name.is_some() || namespace.is_some())
        {
            return Err(Refusal::no_such_path());
        }
        Ok(Some(Self { resource, namespace, name, status, core_events }))
    }

    /// Returns the key of the object, if the path names a single one.
    pub(super) fn key(&self) -> Option<Key> {
        let namespace = self.namespace.as_deref().unwrap_or_default();
        self.name.as_deref().map(|name| Key::new(namespace, name))
    }

    /// Returns the selection of objects for a list; `limit` 0 means all.
    pub(super) fn listing<'a>(&'a self, options: &'a Options, limit: usize) -> Listing<'a> {
        Listing {
            resource: self.resource,
            namespace: self.namespace.as_deref(),
            selector: &options.selector,
            fields: &options.fields,
            limit,
            token: &options.token,
        }
    }
}

impl Options {
    fn read(query: &HashMap<String, String>) -> Result<Self, Refusal> {
        let text = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        let number = |name: &str| match text(name) {
            "" => Ok(None),
            text => text.parse::<u64>().map(Some).map_err(|_| {
                Refusal::bad_request(format!("{name}: Invalid value: \"{text}\": no number"))
            }),
        };
        let is_set = |name: &str| text(name) == "true" || text(name) == "1";
        Ok(Self {
            selector: Selector::parse(text("labelSelector"))?,
            fields: Fields::parse(text("fieldSelector"))?,
            limit: number("limit")?.map_or(0, |limit| usize::try_from(limit).unwrap_or(0)),
            token: text("continue").to_owned(),
            revision: number("resourceVersion")?,
            timeout: number("timeoutSeconds")?.map_or(WATCH, Duration::from_secs),
            bookmarks: is_set("allowWatchBookmarks"),
            force: is_set("force"),
            dry_run: query.get("dryRun").is_some_and(|stages| stages == "All"),
            names_manager: !text("fieldManager").is_empty(),
        })
    }
}

fn verb(method: &str, place: Option<&Place>, watch: bool) -> Result<&'static str, Refusal> {
    let names_one = place.is_some_and(|place| place.name.is_some());
    Ok(match (method, place.is_some(), names_one) {
        ("GET", false, _) | ("GET", true, true) => "get",
        ("GET", true, false) if watch => "watch",
        ("GET", true, false) => "list",
        ("POST", true, false) => "create",
        ("PUT", true, true) => "update",
        ("PATCH", true, true) => "patch",
        ("DELETE", true, true) => "delete",
        ("DELETE", true, false) => "deletecollection",
        _ => return Err(Refusal::method_not_allowed()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> Option<(Resource, Option<String>, Option<String>, bool)> {
        let place = Place::at(path).ok()??;
        Some((place.resource, place.namespace, place.name, place.status))
    }

    #[test]
    fn a_path_leads_to_objects() {
        let (web, shop) = (Some("web".to_owned()), Some("shop".to_owned()));
        let ingresses = "/apis/networking.k8s.io/v1/namespaces/web/ingresses";
        assert_eq!(place(ingresses), Some((Resource::Ingresses, web.clone(), None, false)));
        let status = (Resource::Ingresses, web.clone(), shop, true);
        assert_eq!(place(&format!("{ingresses}/shop/status")), Some(status));
        assert_eq!(place("/api/v1/secrets"), Some((Resource::Secrets, None, None, false)));
        let namespace = (Resource::Namespaces, None, web, false);
        assert_eq!(place("/api/v1/namespaces/web"), Some(namespace));
    }

    #[test]
    fn other_paths_lead_nowhere() {
        for path in ["/api/v1/pods", "/api/v1/secrets/a", "/api/v2/secrets"] {
            assert_eq!(Place::at(path).unwrap_err().code(), 404, "{path}");
        }
        assert_eq!(Place::at("/api/v1"), Ok(None));
        assert_eq!(Place::at("/readyz"), Ok(None));
    }
}
