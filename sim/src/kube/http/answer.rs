//! Answers to requests, each by one call of the store.

use std::sync::Arc;

use actix_web::http::StatusCode;
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::State;
use super::asked::{Asked, Place};
use super::core_event::core_event;
use super::table::table;
use super::watching::Watching;
use crate::exchange::{Body, Response};
use crate::kube::object::{Key, Stored};
use crate::kube::refusal::{Cause, Refusal};
use crate::kube::resource::{Resource, discovery};
use crate::kube::store::{Deleted, Page};

const CONTENT_TYPE: &str = "content-type";
const RETRY_AFTER: &str = "retry-after";
const JSON: &str = "application/json";

/// Answer to a request.
pub(super) enum Answer {
    Whole(StatusCode, Bytes),
    Watch(Box<Watching>),
}

impl Answer {
    pub(super) fn code(&self) -> u16 {
        match self {
            Self::Whole(code, _) => code.as_u16(),
            Self::Watch(_) => 200,
        }
    }

    pub(super) fn response(self, state: &Arc<State>) -> Response {
        let (status, body) = match self {
            Self::Whole(code, body) => (code.as_u16(), Body::Whole(body)),
            Self::Watch(watching) => {
                (200, Body::Stream(watching.stream(Arc::clone(state)).boxed()))
            }
        };
        Response { status, headers: Vec::new(), body }.with(CONTENT_TYPE, JSON)
    }

    fn value(value: &Value) -> Self {
        Self::Whole(StatusCode::OK, value.to_string().into())
    }
}

/// Converts a refusal to a response.
pub(super) fn refused(refusal: &Refusal) -> Response {
    let response = Response::new(refusal.code(), refusal.body().to_string());
    let response = response.with(CONTENT_TYPE, JSON);
    if refusal.code() == 429 { response.with(RETRY_AFTER, "1") } else { response }
}

/// Executes a request.
pub(super) fn answer(state: &State, asked: &Asked, body: &Bytes) -> Result<Answer, Refusal> {
    let Some(place) = &asked.place else {
        return discovery(&asked.path)
            .map(|document| Answer::value(&document))
            .ok_or_else(Refusal::no_such_path);
    };
    match (asked.verb, place.key()) {
        ("get", Some(key)) => {
            let object = state.store().get(place.resource, &key)?;
            Ok(read_one(state, asked, place, &object))
        }
        ("create", _) => create(state, asked, place, body),
        ("update", Some(key)) => {
            let object = parsed(body)?;
            let updated = state.write(&asked.manager, place.status, |store, by, random| {
                store.replace(place.resource, &key, object, by, random)
            })?;
            Ok(one(StatusCode::OK, &updated, asked))
        }
        ("patch", Some(key)) => patch(state, asked, place, &key, body),
        ("delete", Some(key)) => delete(state, asked, place, &key, body),
        ("watch", _) => Ok(Answer::Watch(Box::new(Watching::begin(state, asked, place.clone())))),
        ("deletecollection", _) => {
            let listing = place.listing(&asked.options, 0);
            let items = state.write(&asked.manager, false, |store, by, _| {
                store.delete_collection(&listing, by)
            })?;
            let revision = state.store().revision();
            Ok(list(place.resource, &Page { items, revision, token: None }, asked))
        }
        _ => {
            let listing = place.listing(&asked.options, asked.options.limit);
            let page = state.store().list(&listing)?;
            Ok(read_list(state, asked, place, page))
        }
    }
}

/// Converts an object that was read to the form asked for.
fn read_one(state: &State, asked: &Asked, place: &Place, object: &Stored) -> Answer {
    if asked.as_table {
        let revision = json!({"resourceVersion": object.revision.to_string()});
        let objects = [object.value()];
        return Answer::value(&table(place.resource, &objects, &revision, state.clock.now()));
    }
    if place.core_events && !asked.metadata_only {
        return Answer::value(&core_event(&object.value()));
    }
    one(StatusCode::OK, object, asked)
}

/// Converts a page of a list to the form asked for.
fn read_list(state: &State, asked: &Asked, place: &Place, mut page: Page) -> Answer {
    if place.core_events {
        page.items.retain(|event| asked.options.fields.involve(&event.value()));
    }
    let values = || page.items.iter().map(|object| object.value());
    let metadata = list_metadata(&page);
    if asked.as_table {
        let objects: Vec<Value> = values().collect();
        return Answer::value(&table(place.resource, &objects, &metadata, state.clock.now()));
    }
    if place.core_events && !asked.metadata_only {
        let events: Vec<Value> = values().map(|event| core_event(&event)).collect();
        return Answer::value(&json!({
            "kind": "EventList", "apiVersion": "v1", "metadata": metadata, "items": events,
        }));
    }
    list(place.resource, &page, asked)
}

fn create(state: &State, asked: &Asked, place: &Place, body: &Bytes) -> Result<Answer, Refusal> {
    let object = parsed(body)?;
    if place.resource.is_namespaced() && place.namespace.is_none() {
        return Err(Refusal::method_not_allowed());
    }
    let namespace = place.namespace.as_deref().unwrap_or_default();
    let created = state.write(&asked.manager, false, |store, by, random| {
        store.create(place.resource, namespace, object, by, random)
    })?;
    Ok(one(StatusCode::CREATED, &created, asked))
}

fn patch(
    state: &State,
    asked: &Asked,
    place: &Place,
    key: &Key,
    body: &Bytes,
) -> Result<Answer, Refusal> {
    let kind = asked.content_type.split(';').next().unwrap_or_default();
    match kind {
        "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
            let (patch, dry_run) = (parsed(body)?, asked.options.dry_run);
            let patched = state.write(&asked.manager, place.status, |store, by, _| {
                if dry_run {
                    store.try_merge(place.resource, key, &patch)
                } else {
                    store.merge(place.resource, key, &patch, by)
                }
            })?;
            Ok(one(StatusCode::OK, &patched, asked))
        }
        "application/apply-patch+yaml" => {
            if !asked.options.names_manager {
                let cause = Cause {
                    message: "Required value: is required for apply patch".to_owned(),
                    ..Cause::required("fieldManager")
                };
                return Err(Refusal::patch_options(&cause));
            }
            let (applied, force) = (parsed(body)?, asked.options.force);
            if asked.options.dry_run {
                let tried = state.write(&asked.manager, place.status, |store, by, _| {
                    store.try_apply(place.resource, key, applied, by, force)
                })?;
                return Ok(one(StatusCode::OK, &tried, asked));
            }
            let (object, is_new) =
                state.write(&asked.manager, place.status, |store, by, random| {
                    store.apply(place.resource, key, applied, by, (force, random))
                })?;
            let code = if is_new { StatusCode::CREATED } else { StatusCode::OK };
            Ok(one(code, &object, asked))
        }
        other => Err(Refusal::unsupported_patch(other)),
    }
}

fn delete(
    state: &State,
    asked: &Asked,
    place: &Place,
    key: &Key,
    body: &Bytes,
) -> Result<Answer, Refusal> {
    let options = if body.is_empty() { Value::Null } else { parsed(body)? };
    let deleted = state.write(&asked.manager, false, |store, by, _| {
        store.delete(place.resource, key, &options, by)
    })?;
    match deleted {
        Deleted::Leaving(object) => Ok(one(StatusCode::OK, &object, asked)),
        Deleted::Gone(object) => {
            let resource = place.resource;
            let mut details =
                json!({"name": key.name, "kind": resource.plural(), "uid": object.uid});
            if !resource.group().is_empty() {
                details["group"] = json!(resource.group());
            }
            Ok(Answer::value(&json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
            })))
        }
    }
}

/// Parses JSON, or the YAML allowed for an apply.
fn parsed(body: &Bytes) -> Result<Value, Refusal> {
    serde_json::from_slice(body).or_else(|error| {
        let text = std::str::from_utf8(body).unwrap_or_default();
        let yaml = serde_saphyr::from_str::<Value>(text).ok().filter(Value::is_object);
        yaml.ok_or_else(|| Refusal::bad_request(format!("the body cannot be read: {error}")))
    })
}

fn one(code: StatusCode, object: &Stored, asked: &Asked) -> Answer {
    if !asked.metadata_only {
        return Answer::Whole(code, object.json().clone());
    }
    let mut text = Vec::new();
    object.write_to(&mut text, true);
    Answer::Whole(code, text.into())
}

fn list_metadata(page: &Page) -> Value {
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if let Some(token) = &page.token {
        metadata["continue"] = json!(token);
    }
    metadata
}

fn list(resource: Resource, page: &Page, asked: &Asked) -> Answer {
    let metadata = list_metadata(page);
    let (kind, version) = if asked.metadata_only {
        ("PartialObjectMetadata", "meta.k8s.io/v1")
    } else {
        (resource.kind(), resource.api_version())
    };
    let head = format!(
        r#"{{"kind":"{kind}List","apiVersion":"{version}","metadata":{metadata},"items":["#
    );
    let mut text = head.into_bytes();
    for (index, item) in page.items.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        item.write_to(&mut text, asked.metadata_only);
    }
    text.extend_from_slice(b"]}");
    Answer::Whole(StatusCode::OK, text.into())
}
