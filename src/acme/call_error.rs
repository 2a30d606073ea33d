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
