//! Tells open pages when something has changed, by server-sent events. A message has no content:
//! the page fetches itself again, so that each text is made and escaped in one place.
//!
//! A stream looks at counters, and asks the arbiter nothing. Beyond a few streams the oldest ends,
//! and no newcomer is refused: a page that was closed leaves its stream behind, until the next
//! message finds nobody. A client that reads nothing has no more memory than the kernel's buffer,
//! because the next message is made when the last one is gone, and its connection ends like any
//! other.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::{Stream, stream};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::reporting::metrics::Totals;
use russe::{Event, Message};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Health;

/// State of the operator as far as a stream looks at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seen {
    totals: Totals,
    leads: bool,
    ready: bool,
}

/// One open stream.
struct Watcher {
    health: Health,
    number: u64,
    /// Number of the newest stream.
    newest: watch::Receiver<u64>,
    began: Instant,
    last_message: Instant,
    /// State at the last message; `None` before the first.
    seen: Option<Seen>,
}

impl Health {
    /// Returns a stream of messages.
    pub(super) fn changes(&self) -> impl Stream<Item = Result<Bytes, russe::Error>> + use<> {
        let mut number = 0;
        self.0.change_streams.send_modify(|newest| {
            *newest += 1;
            number = *newest;
        });
        let (began, last_message, health) = (Instant::now(), Instant::now(), self.clone());
        let newest = self.0.change_streams.subscribe();
        let watcher = Watcher { health, number, newest, began, last_message, seen: None };
        stream::unfold(watcher, |mut watcher| async move {
            let event = watcher.next().await?;
            Some((encoded(event), watcher))
        })
    }

    /// Whether the replica drains. A stream that is opened meanwhile ends too.
    fn drains(&self) -> bool {
        self.0.was_ready.load(Ordering::Relaxed) && !self.is_ready()
    }

    fn seen(&self) -> Seen {
        Seen {
            totals: self.0.metrics.totals(),
            leads: self.0.reporter.get().is_some(),
            ready: self.is_ready(),
        }
    }
}

impl Watcher {
    /// Waits for the next message: at once for the first, because the page may be older than the
    /// stream. There is none after the life of the stream, beyond the number of streams, and when
    /// the process ends.
    async fn next(&mut self) -> Option<Event> {
        let Some(before) = self.seen else {
            self.seen = Some(self.health.seen());
            return Some(changed());
        };
        let ends_at = self.number + limits::CHANGE_STREAMS;
        loop {
            tokio::select! {
                _ = self.newest.wait_for(|newest| *newest >= ends_at) => return None,
                () = sleep(limits::CHANGE_LOOK) => {}
            }
            let now = self.health.seen();
            if self.began.elapsed() >= limits::CHANGE_STREAM_LIFE || self.health.drains() {
                return None;
            }
            if now != before {
                self.seen = Some(now);
                self.last_message = Instant::now();
                return Some(changed());
            }
            if self.last_message.elapsed() >= limits::CHANGE_BEAT {
                self.last_message = Instant::now();
                return Some(Event::Comment("still here".into()));
            }
        }
    }
}

fn encoded(event: Event) -> Result<Bytes, russe::Error> {
    Ok(event.into_bytestring()?.into_bytes())
}

fn changed() -> Event {
    Event::Message(Message {
        data: "the page".into(), // one without data is dropped by browsers
        event: Some("changed".into()),
        retry: Some(limits::CHANGE_RETRY),
        id: None,
    })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::StreamExt;
    use prometheus_client::registry::Registry;

    use super::*;
    use ingress_acme_actors::reporting::metrics::Metrics;

    fn health(metrics: &Metrics) -> Health {
        Health::new(Registry::default(), metrics.clone(), "https://ca.example/directory")
    }

    async fn text(
        stream: &mut (impl Stream<Item = Result<Bytes, russe::Error>> + Unpin),
    ) -> String {
        String::from_utf8(stream.next().await.unwrap().unwrap().to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_a_message_and_silence_is_a_comment_and_the_stream_ends() {
        let metrics = Metrics::default();
        let mut stream = pin!(health(&metrics).changes());
        let began = Instant::now();
        let first = text(&mut stream).await;
        assert!(first.contains("event: changed\n") && first.contains("retry: 2000\n"), "{first}");
        assert!(first.contains("data: ") && first.ends_with("\n\n"), "{first}");
        assert_eq!(began.elapsed().as_secs(), 0);
        assert_eq!(text(&mut stream).await, ": still here\n\n");
        assert_eq!(began.elapsed(), limits::CHANGE_BEAT);
        metrics.managed(1);
        assert_eq!(text(&mut stream).await, first);
        assert_eq!(began.elapsed(), limits::CHANGE_BEAT + limits::CHANGE_LOOK);
        while let Some(message) = stream.next().await {
            assert!(message.unwrap().starts_with(b": "));
        }
        assert_eq!(began.elapsed(), limits::CHANGE_STREAM_LIFE);
    }

    #[tokio::test(start_paused = true)]
    async fn changes_without_a_pause_are_a_message_a_second_and_no_longer_life() {
        let metrics = Metrics::default();
        let mut stream = pin!(health(&metrics).changes());
        let mut messages = 0;
        while stream.next().await.is_some() {
            messages += 1;
            metrics.managed(messages);
        }
        assert_eq!(u64::try_from(messages), Ok(limits::CHANGE_STREAM_LIFE.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_the_replica_drains() {
        let health = health(&Metrics::default());
        health.set_ready(true);
        let mut stream = pin!(health.changes());
        text(&mut stream).await;
        health.set_ready(false);
        assert!(stream.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_number_of_streams_the_oldest_ends_at_once() {
        let health = health(&Metrics::default());
        let began = Instant::now();
        let mut oldest = pin!(health.changes());
        let mut second = pin!(health.changes());
        for stream in [&mut oldest, &mut second] {
            text(stream).await;
        }
        let _newer: Vec<_> = (2..=limits::CHANGE_STREAMS).map(|_| health.changes()).collect();
        assert!(oldest.next().await.is_none());
        assert_eq!(began.elapsed().as_secs(), 0);
        assert_eq!(text(&mut second).await, ": still here\n\n");
    }
}
