//! Caches an answer that costs time and memory, so that one is made at most once a second for any
//! number of clients, answers to different questions take half of the time at most, and slow
//! readers hold few of them.

use std::future::Future;

use bytes::Bytes;
use ingress_acme_actors::domain::limits;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use super::Unanswered;

/// The last answer with its question and its time, and older ones that are still being sent.
pub(super) struct Cached<Q>(Mutex<Texts<Q>>);

struct Texts<Q> {
    /// Time at which another answer may be made.
    next: Option<Instant>,
    newest: Option<(Instant, Q, Bytes)>,
    older: Vec<Bytes>,
}

impl<Q> Default for Cached<Q> {
    fn default() -> Self {
        Self(Mutex::new(Texts { next: None, newest: None, older: Vec::new() }))
    }
}

impl<Q: PartialEq> Cached<Q> {
    /// Returns the last answer if young and for the same question, otherwise the result of `make`.
    /// Only one answer is made at a time, after a pause as long as the last one took: others use
    /// the event loop too. An error is not cached. While too many answers are still
    /// being sent, none is made: the last one is returned whatever its age.
    pub(super) async fn answer(
        &self,
        question: Q,
        make: impl Future<Output = Result<String, Unanswered>>,
    ) -> Result<Bytes, Unanswered> {
        let mut texts = self.0.lock().await;
        let may_be_made = texts.unread() < limits::ANSWERS_HELD;
        let same = texts.newest.as_ref().filter(|(_, asked, _)| *asked == question);
        match same {
            Some((made, _, text)) if made.elapsed() < limits::ANSWER_AGE || !may_be_made => {
                return Ok(text.clone());
            }
            _ if !may_be_made => return Err(Unanswered::Busy),
            _ => {}
        }
        if let Some(next) = texts.next {
            sleep_until(next).await;
        }
        let began = Instant::now();
        let made = make.await;
        texts.next = Some(Instant::now() + began.elapsed());
        let text = Bytes::from(made?);
        let last = texts.newest.replace((Instant::now(), question, text.clone()));
        texts.older.extend(last.map(|(.., last)| last));
        Ok(text)
    }
}

impl<Q> Texts<Q> {
    /// Number of answers that connections still hold. Drops the others, except the newest.
    fn unread(&mut self) -> usize {
        self.older.retain(|text| !text.is_unique());
        let newest = self.newest.as_ref().is_some_and(|(.., text)| !text.is_unique());
        self.older.len() + usize::from(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(cached: &Cached<u8>, question: u8, answer: &str) -> Result<Bytes, Unanswered> {
        cached.answer(question, async { Ok(answer.to_owned()) }).await
    }

    async fn later() {
        tokio::time::advance(limits::ANSWER_AGE).await;
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_young_answer_to_the_same_question_is_given_again() {
        let cached = Cached::default();
        let failed = cached.answer(1, async { Err(Unanswered::Late) }).await;
        assert!(matches!(failed, Err(Unanswered::Late)));
        assert_eq!(ask(&cached, 1, "first").await.unwrap(), "first");
        assert_eq!(ask(&cached, 1, "second").await.unwrap(), "first");
        assert_eq!(ask(&cached, 2, "other").await.unwrap(), "other");
        later().await;
        assert_eq!(ask(&cached, 2, "later").await.unwrap(), "later");
    }

    #[tokio::test(start_paused = true)]
    async fn different_questions_take_half_of_the_time_at_most() {
        let cached = Cached::default();
        let began = Instant::now();
        for question in 0..10 {
            let slow = async {
                tokio::time::sleep(limits::ANSWER_AGE).await;
                Ok("text".to_owned())
            };
            drop(cached.answer(question, slow).await.unwrap());
        }
        assert_eq!(began.elapsed(), 19 * limits::ANSWER_AGE, "ten answers and nine pauses");
    }

    #[tokio::test(start_paused = true)]
    async fn clients_of_one_second_share_the_memory_of_one_text() {
        let cached = Cached::default();
        let first = ask(&cached, 1, "text").await.unwrap();
        assert_eq!(ask(&cached, 1, "text").await.unwrap().as_ptr(), first.as_ptr());
    }

    #[tokio::test(start_paused = true)]
    async fn while_slow_readers_hold_too_many_texts_no_other_is_made() {
        let cached = Cached::default();
        let mut held = Vec::new();
        for second in 0..800 {
            held.push(ask(&cached, 1, &second.to_string()).await.unwrap());
            later().await;
        }
        let mut texts: Vec<*const u8> = held.iter().map(|text| text.as_ptr()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), limits::ANSWERS_HELD);
        assert!(matches!(ask(&cached, 2, "other").await, Err(Unanswered::Busy)));
        held.clear();
        assert_eq!(ask(&cached, 1, "fresh").await.unwrap(), "fresh");
    }
}
