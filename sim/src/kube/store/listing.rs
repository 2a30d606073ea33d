//! Paged lists, and the events of watches.
//!
//! Later pages show the current objects under the revision of the first page; a watch from that
//! revision delivers all changes made in between.

use std::ops::Bound;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::Store;
use crate::kube::history::{Change, WatchEventType};
use crate::kube::object::{Key, Stored};
use crate::kube::refusal::Refusal;
use crate::kube::resource::Resource;
use crate::kube::selector::{Fields, Selector};

/// Selection of objects, with the position in a paged list.
#[derive(Clone, Debug)]
pub(crate) struct Listing<'a> {
    pub(crate) resource: Resource,
    /// Namespace; `None` means all.
    pub(crate) namespace: Option<&'a str>,
    pub(crate) selector: &'a Selector,
    pub(crate) fields: &'a Fields,
    /// Largest number of objects in a page; 0 means all.
    pub(crate) limit: usize,
    /// Token from the previous page; empty for the first page.
    pub(crate) token: &'a str,
}

/// One page of a list.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) items: Vec<Arc<Stored>>,
    /// Revision of the whole list.
    pub(crate) revision: u64,
    /// Token of the next page, if any.
    pub(crate) token: Option<String>,
}

/// A watch event about one object.
pub(crate) type MatchedChange = (WatchEventType, Arc<Stored>);

/// Position in a list, as the continue token.
#[derive(Serialize, Deserialize)]
struct Token {
    /// Revision of the first page; `None` means the current revision.
    revision: Option<u64>,
    /// The list continues after this object.
    namespace: String,
    name: String,
}

impl Token {
    fn write(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("memory takes any JSON value"))
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let token = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        token.ok_or_else(|| Refusal::bad_request("continue key is not valid"))
    }
}

impl Listing<'_> {
    fn takes(&self, object: &Stored) -> bool {
        self.is_of(object) && self.selector.matches(&object.labels)
    }

    /// Whether the object matches apart from the labels, which may change.
    fn is_of(&self, object: &Stored) -> bool {
        let Key { namespace, name } = &object.key;
        self.namespace.is_none_or(|wanted| **namespace == *wanted)
            && self.fields.name.as_deref().is_none_or(|wanted| **name == *wanted)
            && self.fields.namespace.as_deref().is_none_or(|wanted| **namespace == *wanted)
    }
}

impl Store {
    /// Returns one page.
    pub(crate) fn list(&self, listing: &Listing<'_>) -> Result<Page, Refusal> {
        let token = match listing.token {
            "" => None,
            text => Some(Token::read(text)?),
        };
        let revision = token.as_ref().and_then(|token| token.revision).unwrap_or(self.revision);
        if revision < self.lists_forgotten
            && let Some(token) = token
        {
            return Err(Refusal::list_expired(Token { revision: None, ..token }.write()));
        }
        let limit = if listing.limit == 0 { usize::MAX } else { listing.limit };
        let mut found = self.range(listing, token.as_ref());
        let items: Vec<_> = found.by_ref().take(limit).cloned().collect();
        let last = items.last().filter(|_| found.next().is_some());
        let token = last.map(|last| {
            let Key { namespace, name } = &last.key;
            let (namespace, name) = (namespace.to_string(), name.to_string());
            Token { revision: Some(revision), namespace, name }.write()
        });
        Ok(Page { items, revision, token })
    }

    fn range<'a>(
        &'a self,
        listing: &'a Listing<'_>,
        after: Option<&Token>,
    ) -> impl Iterator<Item = &'a Arc<Stored>> {
        let namespace = listing.namespace.or(listing.fields.namespace.as_deref());
        let begin = match after {
            Some(token) => Bound::Excluded(Key::new(&token.namespace, &token.name)),
            None => Bound::Included(Key::new(namespace.unwrap_or_default(), "")),
        };
        let all = self.table(listing.resource).objects.range((begin, Bound::Unbounded));
        let within = move |object: &&Arc<Stored>| {
            namespace.is_none_or(|namespace| *object.key.namespace == *namespace)
        };
        let all = all.map(|(_, object)| object).take_while(within);
        all.filter(|object| listing.takes(object))
    }

    /// Returns the matching events since a revision, at most `limit`, and the revision up to which
    /// the result is complete.
    pub(crate) fn changes(
        &self,
        listing: &Listing<'_>,
        since: u64,
    ) -> Result<(Vec<MatchedChange>, u64), Refusal> {
        let changes = self.table(listing.resource).history.since(since)?;
        let mut matching = Vec::new();
        for change in changes {
            if matching.len() >= listing.limit {
                let up_to = change.object.revision - 1;
                return Ok((matching, up_to));
            }
            let event_type = meaning(listing, change);
            matching.extend(event_type.map(|event_type| (event_type, Arc::clone(&change.object))));
        }
        Ok((matching, self.revision.max(since)))
    }
}

/// Returns the event that a change means for a selection: an object that no longer matches was
/// deleted, and one that matches now was added.
fn meaning(listing: &Listing<'_>, change: &Change) -> Option<WatchEventType> {
    if !listing.is_of(&change.object) {
        return None;
    }
    let is_selected = listing.selector.matches(&change.object.labels);
    let before = change.labels_before.as_ref().unwrap_or(&change.object.labels);
    let was_selected =
        change.event_type != WatchEventType::Added && listing.selector.matches(before);
    match (change.event_type, was_selected, is_selected) {
        (WatchEventType::Deleted, true, _) | (WatchEventType::Modified, true, false) => {
            Some(WatchEventType::Deleted)
        }
        (WatchEventType::Modified, true, true) => Some(WatchEventType::Modified),
        (WatchEventType::Added | WatchEventType::Modified, false, true) => {
            Some(WatchEventType::Added)
        }
        _ => None,
    }
}
