//! Caches an answer that costs the arbiter time, so that one is made at most once a second for any
//! number of clients.

use std::future::Future;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// Longest age of a returned answer.
const AGE: Duration = Duration::from_secs(1);

/// The last answer with its question and its time.
pub(super) struct Cached<Q>(Mutex<Option<(Instant, Q, String)>>);

impl<Q> Default for Cached<Q> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<Q: PartialEq> Cached<Q> {
    /// Returns the last answer if young and for the same question, otherwise the result of `make`.
    /// Only one answer is made at a time. An error is not cached.
    pub(super) async fn answer<E>(
        &self,
        question: Q,
        make: impl Future<Output = Result<String, E>>,
    ) -> Result<String, E> {
        let mut last = self.0.lock().await;
        let young =
            |(made, asked, _): &&(Instant, Q, String)| made.elapsed() < AGE && *asked == question;
        if let Some((.., answer)) = last.as_ref().filter(young) {
            return Ok(answer.clone());
        }
        let answer = make.await?;
        *last = Some((Instant::now(), question, answer.clone()));
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(cached: &Cached<u8>, question: u8, answer: Result<&str, &str>) -> String {
        let make = async { answer.map(str::to_owned).map_err(str::to_owned) };
        cached.answer(question, make).await.unwrap_or_else(|error| error)
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_young_answer_to_the_same_question_is_given_again() {
        let cached = Cached::default();
        assert_eq!(ask(&cached, 1, Err("not now")).await, "not now");
        assert_eq!(ask(&cached, 1, Ok("first")).await, "first");
        assert_eq!(ask(&cached, 1, Ok("second")).await, "first");
        assert_eq!(ask(&cached, 2, Ok("other")).await, "other");
        tokio::time::advance(AGE).await;
        assert_eq!(ask(&cached, 2, Ok("later")).await, "later");
    }
}
