//! Body of a response whose text all connections share. Only one chunk at a time is copied for a
//! connection, so that a slow reader holds a reference to the text and no text of its own.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use ingress_acme_actors::domain::limits;

/// The rest of a text that is being sent.
pub(in super::super) struct SharedText(pub(in super::super) Bytes);

impl MessageBody for SharedText {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(u64::try_from(self.0.len()).unwrap_or(u64::MAX))
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let next = self.0.len().min(limits::ANSWER_CHUNK);
        Poll::Ready(Some(Ok(self.0.split_to(next))))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn a_text_is_sent_whole_in_chunks_that_share_its_memory() {
        let text = Bytes::from(vec![b'x'; limits::ANSWER_CHUNK * 2 + 1]);
        let mut body = pin!(SharedText(text.clone()));
        assert_eq!(body.size(), BodySize::Sized(text.len() as u64));
        let (mut sent, mut at) = (0, text.as_ptr());
        while let Some(Ok(chunk)) = poll_fn(|cx| body.as_mut().poll_next(cx)).await {
            assert_eq!(chunk.as_ptr(), at);
            assert!(chunk.len() <= limits::ANSWER_CHUNK);
            sent += chunk.len();
            at = at.wrapping_add(chunk.len());
        }
        assert_eq!(sent, text.len());
    }
}
