//! History of certificates: the last records of each event stream, for the status page. The journal
//! drops a record once a later one stands for it, so the records are kept here as short texts,
//! without key material.
//!
//! The number of records is bounded. Beyond it, the namespace with the most streams loses the
//! stream that has had no record for the longest time, so that a tenant with thousands of failing
//! certificates takes no other tenant's history.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::domain::cut::cut;
use crate::domain::desired::desired_certificate::display_names;
use crate::domain::dns::txt::TxtRecord;
use crate::domain::ingress::SecretKey;
use crate::domain::issuance::{
    CertificateInstalled, Event, IssuanceAbandoned, IssuanceFailed, OrderOpened, RateLimitHit,
    Record, TxtAdded,
};
use crate::domain::limits;
use crate::domain::rate_limits::LimitHit;
use crate::domain::time::Timestamp;
use crate::domain::top_k::top_k;

/// One record of the journal, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryRecord {
    /// Number in the order of all records of this process.
    pub number: u64,
    /// Secret of the event stream.
    pub secret: SecretKey,
    /// Time of the decision.
    pub at: Timestamp,
    /// Kind of the event, in plain words.
    pub what: &'static str,
    /// Content of the event, at most [`limits::HISTORY_TEXT`] bytes.
    pub text: Box<str>,
}

/// Last records of the event streams.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Number of the last record.
    last: u64,
    /// Records of each stream, the oldest first.
    streams: HashMap<SecretKey, VecDeque<HistoryRecord>>,
    /// Streams of each namespace by the number of their last record.
    by_age: BTreeMap<Arc<str>, BTreeMap<u64, SecretKey>>,
}

impl History {
    /// Adds a record, at the cost of the oldest of its stream or of a whole stream, if there are
    /// too many.
    pub(crate) fn push(&mut self, record: &Record) {
        self.last += 1;
        let (number, secret, at) = (self.last, record.stream.clone(), record.at);
        let records = self.streams.entry(secret.clone()).or_default();
        let streams = self.by_age.entry(Arc::clone(&secret.namespace)).or_default();
        if let Some(before) = records.back() {
            streams.remove(&before.number);
        }
        streams.insert(number, secret.clone());
        if records.len() >= limits::HISTORY_RECORDS {
            records.pop_front();
        }
        let (what, text) = described(&record.event);
        let text = cut(text, limits::HISTORY_TEXT).into();
        records.push_back(HistoryRecord { number, secret, at, what, text });
        if self.streams.len() > limits::HISTORY_STREAMS {
            self.drop_stream();
        }
    }

    fn drop_stream(&mut self) {
        let by_size = |streams: &&mut BTreeMap<u64, SecretKey>| {
            (streams.len(), streams.first_key_value().map(|(number, _)| Reverse(*number)))
        };
        let Some(streams) = self.by_age.values_mut().max_by_key(by_size) else { return };
        if let Some((_, secret)) = streams.pop_first() {
            self.streams.remove(&secret);
            if streams.is_empty() {
                self.by_age.remove(&secret.namespace);
            }
        }
    }

    /// Records of one stream, the newest first.
    pub(crate) fn of(&self, secret: &SecretKey) -> impl Iterator<Item = &HistoryRecord> {
        self.streams.get(secret).into_iter().flatten().rev()
    }

    /// The last `count` records of all streams, the newest first.
    pub(crate) fn newest(&self, count: usize) -> Vec<HistoryRecord> {
        let all = self.streams.values().flatten();
        top_k(all, 0, count, |record| Reverse(record.number)).into_iter().cloned().collect()
    }
}

/// Describes an event in plain words: its kind and its content.
fn described(event: &Event) -> (&'static str, String) {
    match event {
        Event::IssuanceStarted(started) => {
            let left_out = started.all_left_out();
            let without = if left_out.is_empty() {
                String::new()
            } else {
                format!(", without {}", display_names(&left_out))
            };
            let at = match &started.ca {
                Some(ca) if !ca.fallback => Some(format!(", at {}", ca.directory)),
                Some(ca) => Some(format!(", at the fallback CA {}", ca.directory)),
                None => started.directory.as_ref().map(|url| format!(", at the fallback CA {url}")),
            };
            let names = display_names(&started.all_names());
            let text = format!("for {names}{without}{}", at.unwrap_or_default());
            ("issuance started", text)
        }
        Event::OrderOpened(OrderOpened { url }) => ("order opened", url.clone()),
        Event::CertificateInstalled(CertificateInstalled { serial, not_after, .. }) => {
            ("certificate installed", format!("valid until {not_after}, serial {serial}"))
        }
        Event::IssuanceFailed(IssuanceFailed { class, detail, retry_at, .. }) => {
            let text = format!("{}, next attempt at {retry_at}: {detail}", class.label());
            ("issuance failed", text)
        }
        Event::RateLimitHit(RateLimitHit { hit, .. }) => {
            let LimitHit { scope, until, detail, .. } = hit;
            ("rate limit", format!("on {scope} until {until}: {detail}"))
        }
        Event::IssuanceAbandoned(IssuanceAbandoned { why }) => ("issuance given up", why.clone()),
        Event::TxtAdded(TxtAdded { txt, .. }) => ("TXT record added", described_txt(txt)),
        Event::TxtRemoved(TxtAdded { txt, .. }) => ("TXT record removed", described_txt(txt)),
    }
}

fn described_txt(TxtRecord { account, name, value, .. }: &TxtRecord) -> String {
    format!("{name} with the value {value}, with DNS account {account}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(namespace: &str, name: &str, url: &str) -> Record {
        Record {
            stream: SecretKey::new(namespace, name),
            at: Timestamp::from_secs(1),
            event: Event::OrderOpened(OrderOpened { url: url.to_owned() }),
        }
    }

    fn texts<'a>(records: impl IntoIterator<Item = &'a HistoryRecord>) -> Vec<&'a str> {
        records.into_iter().map(|record| &*record.text).collect()
    }

    #[test]
    fn a_stream_keeps_its_last_records_and_the_newest_come_first() {
        let mut history = History::default();
        for number in 0..=limits::HISTORY_RECORDS {
            history.push(&opened("web", "shop", &number.to_string()));
            history.push(&opened("web", "blog", &format!("blog {number}")));
        }
        let shop = SecretKey::new("web", "shop");
        let kept: Vec<String> =
            (1..=limits::HISTORY_RECORDS).rev().map(|number| number.to_string()).collect();
        assert_eq!(texts(history.of(&shop)), kept);
        let last = limits::HISTORY_RECORDS;
        assert_eq!(texts(&history.newest(2)), [format!("blog {last}"), last.to_string()]);
        assert_eq!(history.of(&SecretKey::new("web", "none")).count(), 0);
    }

    #[test]
    fn a_namespace_of_many_streams_loses_its_own_oldest_and_no_other_namespaces() {
        let mut history = History::default();
        history.push(&opened("tiny", "shop", "kept"));
        for number in 0..limits::HISTORY_STREAMS * 2 {
            history.push(&opened("many", &format!("i{number}"), "url"));
        }
        assert_eq!(texts(history.of(&SecretKey::new("tiny", "shop"))), ["kept"]);
        assert_eq!(history.streams.len(), limits::HISTORY_STREAMS);
        assert_eq!(history.of(&SecretKey::new("many", "i0")).count(), 0);
        let last = format!("i{}", limits::HISTORY_STREAMS * 2 - 1);
        assert_eq!(history.of(&SecretKey::new("many", &last)).count(), 1);
        let by_age: usize = history.by_age.values().map(BTreeMap::len).sum();
        assert_eq!(by_age, limits::HISTORY_STREAMS);
    }

    #[test]
    fn a_stream_with_a_new_record_stays_longer_than_its_neighbours() {
        let mut history = History::default();
        for number in 0..limits::HISTORY_STREAMS {
            history.push(&opened("many", &format!("i{number}"), "url"));
        }
        history.push(&opened("many", "i0", "again"));
        history.push(&opened("many", "new", "url"));
        assert_eq!(texts(history.of(&SecretKey::new("many", "i0"))), ["again", "url"]);
        assert_eq!(history.of(&SecretKey::new("many", "i1")).count(), 0);
    }

    #[test]
    fn a_long_text_is_cut() {
        let mut history = History::default();
        history.push(&opened("web", "shop", &"x".repeat(limits::URL_MAX)));
        let text = &history.newest(1)[0].text;
        assert!(text.len() <= limits::HISTORY_TEXT && text.starts_with("xxx"), "{text}");
    }
}
