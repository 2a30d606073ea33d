//! Errors inside one call to the CA, before conversion to a port error.

use http::StatusCode;
use instant_acme::Error;

use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::ports::PortError;

use super::call::Call;
use super::problem;

/// Error of one call, before conversion to a port error.
pub(super) enum CallError {
    /// Error of the CA or of the connection.
    Acme(Error),
    /// Error that is already a port error.
    Port(PortError),
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Acme(error)
    }
}

impl From<PortError> for CallError {
    fn from(error: PortError) -> Self {
        Self::Port(error)
    }
}

impl CallError {
    /// Whether the CA refuses the contacts of an account (RFC 8555 §6.7).
    pub(super) fn is_about_contacts(&self) -> bool {
        matches!(self.kind(), "invalidContact" | "unsupportedContact")
    }

    /// Error for a missing precondition: no request is possible.
    pub(super) fn lacking(what: String) -> Self {
        Self::Port(PortError::permanent(FailureClass::Rejected, what))
    }

    /// Last segment of the CA's problem type; empty without a problem document.
    pub(super) fn kind(&self) -> &str {
        match self {
            Self::Acme(Error::Api(problem)) => problem::kind(problem),
            _ => "",
        }
    }

    /// Converts to a port error. Must be called before the next request of the call, whose response
    /// replaces the recorded status and `Retry-After`.
    pub(super) fn into_port_error(self, doing: &str) -> PortError {
        match self {
            Self::Acme(error) => problem::port_error(doing, &error),
            Self::Port(error) => error,
        }
    }

    /// Like [`Self::into_port_error`], but with the text from `advice`, if any, for this kind of
    /// refusal. The default text is about orders.
    pub(super) fn advised(
        self,
        doing: &str,
        advice: impl FnOnce(&str) -> Option<&'static str>,
    ) -> PortError {
        match (&self, advice(self.kind())) {
            (Self::Acme(Error::Api(problem)), Some(advice)) => {
                let said = format!("{doing}: {}; {advice}", problem::words(problem));
                PortError::permanent(FailureClass::Rejected, said)
            }
            _ => self.into_port_error(doing),
        }
    }

    /// Like [`Self::into_port_error`], and permanent for each refusal (4xx) that names no time: the
    /// CA has answered, so that the same question soon after helps nobody (RFC 9773 §4.3.3).
    pub(super) fn settled(self, doing: &str) -> Self {
        let is_refused = Call::last_status().is_some_and(|status| status.is_client_error());
        Self::Port(match self.into_port_error(doing) {
            PortError::Transient { detail, retry_after: None } if is_refused => {
                PortError::permanent(FailureClass::RateLimited, detail)
            }
            error => error,
        })
    }

    /// Whether the CA may have refused `replaces` (RFC 9773 §5): the certificate was already
    /// replaced, or belongs to another CA or account, or the CA does not support the field. Which
    /// problem a CA answers then is not defined (Pebble: 403 `unauthorized` for another account),
    /// so each refusal counts that another order would not meet as well.
    pub(super) fn is_about_replacing(&self) -> bool {
        let passes = matches!(self.kind(), "rateLimited" | "badNonce");
        let is_refusal = (self.is_refusal() && !passes) || self.is_plain_refusal();
        is_refusal || matches!(self, Self::Acme(Error::Unsupported(_)))
    }

    /// Whether the answer refuses the request without a problem document (RFC 8555 §6.7), and not
    /// because of load: a proxy in front of the CA may have judged the request by its body.
    fn is_plain_refusal(&self) -> bool {
        let loaded =
            |status| matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        let refused = |status: StatusCode| status.is_client_error() && !loaded(status);
        let plain = matches!(self, Self::Acme(error) if !matches!(error, Error::Api(_)));
        plain && Call::last_status().is_some_and(refused)
    }

    /// Whether the CA refused the request, and not because of load: the order may be in another
    /// state than expected.
    pub(super) fn is_refusal(&self) -> bool {
        let busy = |status: StatusCode| {
            status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
        };
        matches!(self, Self::Acme(Error::Api(_))) && !Call::last_status().is_some_and(busy)
    }
}

/// Discards an error that says that the order does not exist.
pub(super) fn unless_gone(error: Error) -> Result<(), CallError> {
    let error = CallError::Acme(error);
    let unknown = Call::last_status() == Some(StatusCode::NOT_FOUND)
        || matches!(error.kind(), "unauthorized" | "orderDoesNotExist");
    if unknown { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Whether an order is sent again without `replaces` after this error, and this last answer.
    async fn is_sent_without(error: fn() -> Error, status: u16) -> bool {
        let call = Call::with_response(StatusCode::from_u16(status).unwrap(), None);
        call.run(async { CallError::Acme(error()).is_about_replacing() }).await
    }

    fn problem(kind: &str) -> Error {
        let problem = format!(r#"{{"type": "urn:ietf:params:acme:error:{kind}"}}"#);
        Error::Api(serde_json::from_str(&problem).unwrap())
    }

    fn html() -> Error {
        Error::Json(serde_json::from_str::<()>("<html>403</html>").unwrap_err())
    }

    #[tokio::test]
    async fn a_refusal_with_or_without_a_problem_document_may_be_about_replacing() {
        for status in [400, 403, 409, 422] {
            assert!(is_sent_without(html, status).await, "{status}");
            assert!(is_sent_without(|| problem("unauthorized"), status).await, "{status}");
        }
        assert!(is_sent_without(|| Error::Unsupported("replaces"), 200).await);
    }

    #[tokio::test]
    async fn load_nonces_limits_and_lost_answers_are_not_about_replacing() {
        for status in [200, 408, 429, 500, 502, 503] {
            assert!(!is_sent_without(html, status).await, "{status}");
        }
        assert!(!is_sent_without(|| problem("rateLimited"), 429).await);
        assert!(!is_sent_without(|| problem("badNonce"), 400).await);
        assert!(!is_sent_without(|| problem("serverInternal"), 500).await);
        assert!(!CallError::Acme(html()).is_about_replacing(), "there was no answer");
    }

    /// The error of a question for a renewal window, after an answer with this status.
    async fn settled(status: u16, retry_after: Option<u64>) -> PortError {
        let retry_after = retry_after.map(Duration::from_secs);
        let call = Call::with_response(StatusCode::from_u16(status).unwrap(), retry_after);
        let transient = PortError::Transient { detail: "no".to_owned(), retry_after };
        call.run(async { CallError::Port(transient).settled("asking").into_port_error("") }).await
    }

    /// RFC 9773 §4.3.3: six hours, which the poller waits after a permanent error.
    #[tokio::test]
    async fn a_refusal_that_names_no_time_is_settled_and_an_outage_is_not() {
        for status in [400, 404, 408, 429] {
            let error = settled(status, None).await;
            assert!(matches!(error, PortError::Permanent(_)), "{status}: {error:?}");
        }
        let named = settled(429, Some(600)).await;
        assert!(matches!(named, PortError::Transient { retry_after: Some(_), .. }), "{named:?}");
        for status in [500, 503] {
            let error = settled(status, None).await;
            assert!(matches!(error, PortError::Transient { .. }), "{status}: {error:?}");
        }
    }
}
