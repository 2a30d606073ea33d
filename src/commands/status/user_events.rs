//! Kubernetes Events of the operator on users' Ingresses.

use std::collections::HashMap;
use std::fmt;

use anyhow::bail;
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::ingress::IngressKey;
use ingress_acme_actors::domain::limits;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;

use super::PAGE;
use crate::kubernetes::client;
use crate::kubernetes::events::CONTROLLER;

/// One Event.
#[derive(Clone, PartialEq, Eq, Debug)]
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

/// Reads the Events on all Ingresses of `api`, or on the Ingress named `only`.
pub(super) async fn user_events(
    api: &Api<Event>,
    only: Option<&str>,
) -> anyhow::Result<UserEvents> {
    let mut newest = UserEvents::default();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = match api.list(&params).await {
            Ok(page) => page,
            Err(kube::Error::Api(status)) if status.code == 403 => {
                eprintln!(
                    "note: without permission to list Events, the latest Events are not shown"
                );
                break;
            }
            Err(error) => bail!("the Events cannot be listed: {}", client::detail(&error)),
        };
        for (key, event) in page.items.into_iter().filter_map(ours) {
            if only.is_none_or(|name| *key.name == *name) {
                newest.add(key, event);
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    Ok(newest)
}

/// The newest Events of each Ingress, oldest first; [`limits::EVENTS_READ`] at most.
#[derive(Default)]
pub(super) struct UserEvents(HashMap<IngressKey, Vec<UserEvent>>);

impl UserEvents {
    /// Events of an Ingress, oldest first.
    pub(super) fn of(&self, key: &IngressKey) -> &[UserEvent] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Drops the Events of a deleted Ingress.
    pub(super) fn forget(&mut self, key: &IngressKey) {
        self.0.remove(key);
    }

    /// Adds an Event. Returns whether it is a new one: a watch lists again what was listed.
    pub(super) fn add(&mut self, key: IngressKey, event: UserEvent) -> bool {
        let events = self.0.entry(key).or_default();
        if events.contains(&event) {
            return false;
        }
        let place = events.partition_point(|other| other.at <= event.at);
        events.insert(place, event);
        if events.len() > limits::EVENTS_READ {
            events.remove(0);
        }
        true
    }
}

/// Reads an Event of the operator on an Ingress; `None` for any other.
pub(super) fn ours(event: Event) -> Option<(IngressKey, UserEvent)> {
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
    // The API server takes a reason of 128 bytes and a note of 1 KiB, but an older one took more.
    let reason = cut(event.reason.unwrap_or_default(), limits::EVENT_NOTE_MAX);
    let note = cut(event.note.unwrap_or_default(), limits::EVENT_NOTE_MAX);
    Some((key, UserEvent { at, reason, note, warning }))
}

/// Replaces characters that a terminal would interpret, in a text of any length.
pub(crate) fn plain(text: &str) -> String {
    cut(text, usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
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

    #[test]
    fn of_thousands_of_events_the_newest_hundred_are_kept_and_each_is_cut() {
        let mut newest = UserEvents::default();
        for number in 0..5_000 {
            let second = (number * 7) % 5_000; // the list has no order
            let mut event = event("web");
            let at = k8s_openapi::jiff::Timestamp::from_second(second).unwrap();
            event.event_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(at));
            event.note = Some("x".repeat(100_000));
            let (key, event) = ours(event).unwrap();
            newest.add(key, event);
        }
        let events = newest.of(&IngressKey::new("web", "shop"));
        assert_eq!(events.len(), limits::EVENTS_READ);
        assert_eq!(events[0].at, "1970-01-01T01:21:40Z");
        assert_eq!(events[99].at, "1970-01-01T01:23:19Z");
        assert!(events.iter().all(|event| event.note.len() <= limits::EVENT_NOTE_MAX));
    }

    #[test]
    fn an_event_that_is_listed_again_is_no_news() {
        let mut events = UserEvents::default();
        let (key, one) = ours(event("web")).unwrap();
        assert!(events.add(key.clone(), one.clone()));
        assert!(!events.add(key.clone(), one.clone()));
        assert!(events.add(key.clone(), UserEvent { reason: "Issued".to_owned(), ..one }));
        assert_eq!(events.of(&key).len(), 2);
    }

    proptest! {
        #[test]
        fn any_event_is_passed_over_or_one_bounded_line(
            note in proptest::option::of(".{0,3000}"), reason in proptest::option::of(".{0,2000}"),
            kind in proptest::option::of("Warning|Normal|.{0,9}"), ours_or_not in any::<bool>(),
            at in proptest::option::of("2026-11-2[0-9]T08:00:00\\.[0-9]{6}Z|.{0,30}"),
            namespace in proptest::option::of("web|.{0,9}"), name in proptest::option::of(".{0,300}"),
        ) {
            let by = if ours_or_not { CONTROLLER } else { "someone" };
            let event = json!({
                "metadata": {"namespace": "web"}, "reportingController": by, "eventTime": at, "reason": reason,
                "note": note, "type": kind, "regarding": {"namespace": namespace, "name": name},
            });
            let Ok(event) = serde_json::from_value(event) else { return Ok(()) };
            let Some((key, event)) = ours(event) else { return Ok(()) };
            prop_assert!(ours_or_not && &*key.namespace == "web");
            let line = event.to_string();
            prop_assert!(line.len() <= 2 * limits::EVENT_NOTE_MAX + 60);
            prop_assert!(!line.chars().any(char::is_control));
        }
    }
}
