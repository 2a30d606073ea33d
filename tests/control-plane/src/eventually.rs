//! Waits of tests: for a condition with a deadline, never for a fixed time.

use std::time::Duration;

use tokio::time::Instant;

const POLL: Duration = Duration::from_millis(100);

/// Polls `probe` every 100 ms until the first answer, and returns that answer.
///
/// # Panics
///
/// Without an answer within `deadline`; the message contains `what`. The deadline also cuts off a
/// probe that hangs.
pub async fn eventually<T>(
    deadline: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + deadline;
    while Instant::now() < end {
        if let Ok(Some(answer)) = tokio::time::timeout_at(end, probe()).await {
            return answer;
        }
        tokio::time::sleep(POLL).await;
    }
    panic!("not within {deadline:?}: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_answer_is_returned() {
        let mut asked = 0;
        let answer = eventually(Duration::from_secs(5), "an answer", async || {
            asked += 1;
            (asked == 3).then_some("here")
        })
        .await;
        assert_eq!((answer, asked), ("here", 3));
    }

    #[tokio::test]
    #[should_panic(expected = "not within 150ms: the moon turns green")]
    async fn a_probe_that_hangs_is_cut_off_and_the_message_names_what_was_awaited() {
        let never = async || std::future::pending::<Option<()>>().await;
        eventually(Duration::from_millis(150), "the moon turns green", never).await;
    }
}
