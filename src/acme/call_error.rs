//! How a call to the CA failed, before it is told to the port.

use http::StatusCode;
use instant_acme::Error;

use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::ports::PortError;

use super::problem;
use super::transport::Call;

/// How a call failed, before it is told to the port.
pub(super) enum CallError {
    /// At the CA or on the way there.
    Acme(Error),
    /// Already in the port's words.
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
    /// Something is missing without which there is nothing to ask for.
    pub(super) fn lacking(what: String) -> Self {
        Self::Port(PortError::permanent(FailureClass::Rejected, what))
    }

    /// The last part of the CA's problem type; empty where there is none.
    pub(super) fn kind(&self) -> &str {
        match self {
            Self::Acme(Error::Api(problem)) => problem::kind(problem),
            _ => "",
        }
    }

    /// In the port's words; to be asked before any further request of the call.
    pub(super) fn into_port_error(self, doing: &str) -> PortError {
        match self {
            Self::Acme(error) => problem::port_error(doing, &error),
            Self::Port(error) => error,
        }
    }

    /// As [`Self::into_port_error`], but where `advice` has something for a refusal of this kind, with that instead of what is
    /// advised for an order.
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

    /// It may be the word of what is replaced that the CA does not take (RFC 9773 §5): it was replaced before, or is
    /// none of its own, or it has never heard of such a thing.
    pub(super) fn is_about_replacing(&self) -> bool {
        let conflict = Call::answered() == Some(StatusCode::CONFLICT);
        conflict
            || matches!(self.kind(), "alreadyReplaced" | "malformed")
            || matches!(self, Self::Acme(Error::Unsupported(_)))
    }

    /// The CA says no, and not because it is busy: the order may look otherwise than was thought.
    pub(super) fn is_refusal(&self) -> bool {
        let busy = |status: StatusCode| {
            status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
        };
        matches!(self, Self::Acme(Error::Api(_))) && !Call::answered().is_some_and(busy)
    }
}
