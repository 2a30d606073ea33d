//! Kubernetes Events of the operator on users' Ingresses.

use std::collections::HashMap;
use std::fmt;

use anyhow::bail;
use ingress_acme_actors::domain::ingress::IngressKey;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client};

use super::PAGE;
use crate::kubernetes::client;
use crate::kubernetes::events::CONTROLLER;

/// One Event.
#[derive(Clone, Debug)]
pub(super) struct UserEvent {
    at: String,
    reason: String,
    note: String,
    warning: bool,
}

impl UserEvent {
    /// Time of the Event, as RFC 3339.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// Whether the Event is a warning.
    pub(super) fn is_warning(&self) -> bool {
        self.warning
    }
}

impl fmt::Display for UserEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.at, self.reason, self.note)
    }
}

/// Returns the Events on Ingresses of one namespace or all, or on the Ingress named `only`. Each
/// list starts with the oldest Event.
pub(super) async fn user_events(
    client: &Client,
    namespace: Option<&str>,
    only: Option<&str>,
) -> anyhow::Result<HashMap<IngressKey, Vec<UserEvent>>> {
    let api: Api<Event> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let events = match client::list_all(&api, ListParams::default().limit(PAGE)).await {
        Ok(events) => events,
        Err(kube::Error::Api(status)) if status.code == 403 => {
            eprintln!("note: without permission to list Events, the latest Events are not shown");
            Vec::new()
        }
        Err(error) => bail!("the Events cannot be listed: {}", client::detail(&error)),
    };
    let mut all: HashMap<IngressKey, Vec<UserEvent>> = HashMap::new();
    for (key, events) in events.into_iter().filter_map(ours) {
        if only.is_none_or(|name| *key.name == *name) {
            all.entry(key).or_default().push(events);
        }
    }
    for events in all.values_mut() {
        events.sort_by(|one, other| one.at.cmp(&other.at));
    }
    Ok(all)
}

fn ours(event: Event) -> Option<(IngressKey, UserEvent)> {
    if event.reporting_controller.as_deref() != Some(CONTROLLER) {
        return None;
    }
    let about = event.regarding?;
    if about.namespace != event.metadata.namespace {
        return None; // writers in other namespaces are not trusted for this one
    }
    let key = IngressKey::new(about.namespace.as_deref()?, about.name.as_deref()?);
    let at = event.event_time.map_or_else(String::new, |at| at.0.to_string());
    let warning = event.type_.as_deref() == Some("Warning");
    let reason = event.reason.unwrap_or_default();
    let note = plain(&event.note.unwrap_or_default());
    Some((key, UserEvent { at, reason: plain(&reason), note, warning }))
}

/// Replaces control characters, which a terminal would interpret.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(namespace: &str) -> Event {
        let event = json!({
            "metadata": { "namespace": namespace }, "reportingController": CONTROLLER,
            "reason": "Failed", "note": "\u{1b}[2Jred",
            "regarding": { "kind": "Ingress", "namespace": "web", "name": "shop" },
        });
        serde_json::from_value(event).unwrap()
    }

    #[test]
    fn only_events_of_its_own_namespace_tell_of_an_ingress_and_none_moves_the_cursor() {
        assert!(ours(event("elsewhere")).is_none());
        assert_eq!(ours(event("web")).unwrap().1.note, " [2Jred");
    }
}
