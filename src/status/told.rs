//! What users were told on their Ingresses: the operator's Kubernetes Events.

use std::collections::HashMap;
use std::fmt;

use anyhow::Context;
use ingress_acme_actors::domain::ingress::IngressKey;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client};

use super::PAGE;
use crate::announcer::CONTROLLER;

/// One Event.
#[derive(Clone, Debug)]
pub(super) struct Told {
    at: String,
    reason: String,
    note: String,
    warning: bool,
}

impl Told {
    /// Something is wrong.
    pub(super) fn is_warning(&self) -> bool {
        self.warning
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.at, self.reason, self.note)
    }
}

/// The Events on Ingresses of a namespace or of all, or on one of them; each list oldest first.
pub(super) async fn told(
    client: &Client,
    namespace: Option<&str>,
    only: Option<&str>,
) -> anyhow::Result<HashMap<IngressKey, Vec<Told>>> {
    let api: Api<Event> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut params = ListParams::default().limit(PAGE);
    let mut all: HashMap<IngressKey, Vec<Told>> = HashMap::new();
    loop {
        let page = match api.list(&params).await {
            Err(kube::Error::Api(status)) if status.code == 403 => {
                eprintln!(
                    "note: without the right to list Events, what was last told is not shown"
                );
                return Ok(all);
            }
            page => page.context("the Events cannot be listed")?,
        };
        for (key, told) in page.items.into_iter().filter_map(ours) {
            if only.is_none_or(|name| *key.name == *name) {
                all.entry(key).or_default().push(told);
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    for told in all.values_mut() {
        told.sort_by(|one, other| one.at.cmp(&other.at));
    }
    Ok(all)
}

fn ours(event: Event) -> Option<(IngressKey, Told)> {
    if event.reporting_controller.as_deref() != Some(CONTROLLER) {
        return None;
    }
    let about = event.regarding?;
    let key = IngressKey::new(about.namespace.as_deref()?, about.name.as_deref()?);
    let at = event.event_time.map_or_else(String::new, |at| at.0.to_string());
    let warning = event.type_.as_deref() == Some("Warning");
    let reason = event.reason.unwrap_or_default();
    Some((key, Told { at, reason, note: event.note.unwrap_or_default(), warning }))
}
