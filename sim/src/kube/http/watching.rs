//! A watch: the position of one client in the history, and the signals that wake the watch.
//!
//! A watch has no queue and reads the history from its position, so a slow client costs nothing. If
//! the position was forgotten meanwhile, the client gets a 410.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::asked::{Asked, Options, Place};
use super::{Signals, State};
use crate::kube::User;
use crate::kube::history::WatchEventType;
use crate::kube::object::Stored;

/// Largest number of changes sent at once.
const BATCH: usize = 100;
/// Time between bookmarks. In a shorter watch, the only bookmark comes shortly before the end.
const BOOKMARK: Duration = Duration::from_mins(1);
const BEFORE_THE_END: Duration = Duration::from_secs(2);

/// One open watch.
pub(super) struct Watching {
    place: Place,
    options: Options,
    metadata_only: bool,
    user: User,
    signals: watch::Receiver<Signals>,
    /// Number of cuts at the start of this watch.
    cuts: u64,
    /// Revision up to which all changes were sent.
    position: u64,
    /// Objects that existed at the start and are still to be sent.
    initial: VecDeque<Arc<Stored>>,
    ends: Instant,
    bookmark: Instant,
    is_over: bool,
}

impl Watching {
    /// Starts at the client's revision; without one, or at 0, with all existing objects.
    pub(super) fn begin(state: &State, asked: &Asked, place: Place) -> Self {
        let options = asked.options.clone();
        let signals = state.signals.subscribe();
        let cuts = signals.borrow().cuts;
        let now = Instant::now();
        let ends = now + options.timeout;
        let (mut position, mut initial) = (options.revision.unwrap_or(0), VecDeque::new());
        if position == 0 {
            let store = state.store();
            let all =
                store.list(&place.listing(&Options { token: String::new(), ..options.clone() }, 0));
            initial = all.map(|page| page.items.into()).unwrap_or_default();
            position = store.revision();
        }
        let bookmark = (now + BOOKMARK).min(ends - BEFORE_THE_END.min(options.timeout));
        Self {
            place,
            options,
            metadata_only: asked.metadata_only,
            user: asked.user,
            signals,
            cuts,
            position,
            initial,
            ends,
            bookmark,
            is_over: false,
        }
    }

    /// Returns the body of the response.
    pub(super) fn stream(
        self,
        state: Arc<State>,
    ) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
        stream::unfold((self, state), async |(mut watching, state)| {
            let lines = watching.next(&state).await?;
            Some((Ok(lines), (watching, state)))
        })
    }

    async fn next(&mut self, state: &State) -> Option<Bytes> {
        loop {
            let signals = *self.signals.borrow_and_update();
            let now = Instant::now();
            if self.is_over || signals.cuts != self.cuts {
                return None;
            }
            let is_silent = signals.held || (signals.frozen && self.user == User::Operator);
            if !is_silent && let Some(lines) = self.next_lines(state) {
                return Some(lines);
            }
            if now >= self.ends {
                return None;
            }
            if now >= self.bookmark {
                self.bookmark = now + BOOKMARK;
                if self.options.bookmarks && !is_silent {
                    return Some(self.mark());
                }
            }
            tokio::select! {
                changed = self.signals.changed() => changed.ok()?,
                () = sleep_until(self.ends.min(self.bookmark)) => {}
            }
        }
    }

    /// Returns the events to send now, if any.
    fn next_lines(&mut self, state: &State) -> Option<Bytes> {
        let mut lines = Vec::new();
        if !self.initial.is_empty() {
            let some = self.initial.len().min(BATCH);
            for object in self.initial.drain(..some) {
                line(&mut lines, WatchEventType::Added, &object, self.metadata_only);
            }
            return Some(lines.into());
        }
        let changes =
            state.store().changes(&self.place.listing(&self.options, BATCH), self.position);
        match changes {
            Ok((changes, position)) => {
                self.position = position;
                for (event_type, object) in changes {
                    line(&mut lines, event_type, &object, self.metadata_only);
                }
            }
            Err(refusal) => {
                self.is_over = true;
                let error = json!({"type": "ERROR", "object": refusal.body()});
                lines = format!("{error}\n").into_bytes();
            }
        }
        (!lines.is_empty()).then(|| lines.into())
    }

    fn mark(&self) -> Bytes {
        let resource = self.place.resource;
        let (kind, version) = if self.metadata_only {
            ("PartialObjectMetadata", "meta.k8s.io/v1")
        } else {
            (resource.kind(), resource.api_version())
        };
        let metadata = json!({"resourceVersion": self.position.to_string()});
        let object = json!({"kind": kind, "apiVersion": version, "metadata": metadata});
        format!("{}\n", json!({"type": "BOOKMARK", "object": object})).into()
    }
}

fn line(lines: &mut Vec<u8>, event_type: WatchEventType, object: &Stored, metadata_only: bool) {
    lines.extend_from_slice(br#"{"type":""#);
    lines.extend_from_slice(event_type.name().as_bytes());
    lines.extend_from_slice(br#"","object":"#);
    object.write_to(lines, metadata_only);
    lines.extend_from_slice(b"}\n");
}
