//! Errors of the ports, and the deadline of a call.

use std::time::Duration;

use crate::domain::cut::cut;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::limits;

/// Error of a port call.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PortError {
    /// The call may succeed soon: a timeout, a broken connection, HTTP 5xx, a conflict of versions.
    #[error("{detail}")]
    Transient {
        /// Text of the side that refused, at most [`limits::DETAIL_MAX`] bytes.
        detail: String,
        /// Time until a retry is allowed, if the other side named one.
        retry_after: Option<Duration>,
    },
    /// The call will not succeed soon.
    #[error("{}", .0.detail)]
    Permanent(Failure),
}

impl PortError {
    /// Creates a transient error without a retry time.
    pub fn transient(detail: impl Into<String>) -> Self {
        Self::transient_until(detail, None)
    }

    /// Creates a transient error with the time until a retry, if the other side named one. Cuts a
    /// long text.
    pub fn transient_until(detail: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self::Transient { detail: cut(detail, limits::DETAIL_MAX), retry_after }
    }

    /// Creates a permanent error of this class.
    pub fn permanent(class: FailureClass, detail: impl Into<String>) -> Self {
        Self::Permanent(Failure::new(class, detail))
    }

    /// The failure of whoever does not try again at once: of `class`, where the error is transient.
    #[must_use]
    pub fn into_failure(self, class: FailureClass) -> Failure {
        match self {
            Self::Transient { detail, retry_after } => {
                Failure { retry_after, ..Failure::new(class, detail) }
            }
            Self::Permanent(failure) => failure,
        }
    }

    /// Says in front of the text what the error is about.
    #[must_use]
    pub fn about(self, what: &str) -> Self {
        let told = |detail: &str| cut(format!("{what}: {detail}"), limits::DETAIL_MAX);
        match self {
            Self::Transient { detail, retry_after } => {
                Self::Transient { detail: told(&detail), retry_after }
            }
            Self::Permanent(failure) => {
                Self::Permanent(Failure { detail: told(&failure.detail), ..failure })
            }
        }
    }
}

/// Awaits a port call for at most `limit`. A call that takes longer is a transient error.
pub async fn bounded<T>(
    limit: Duration,
    whom: &str,
    call: impl Future<Output = Result<T, PortError>>,
) -> Result<T, PortError> {
    let late = |_| Err(PortError::transient(format!("the {whom} did not answer within {limit:?}")));
    tokio::time::timeout(limit, call).await.unwrap_or_else(late)
}

/// Error of a write of a TXT record.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct TxtError {
    /// The error.
    pub error: PortError,
    /// Further writes that would fail alike.
    pub pauses: Pauses,
}

/// Writes of TXT records that pause after an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pauses {
    /// None.
    Nothing,
    /// Those of the account in the zone of the record.
    Zone,
    /// All of the account: its provider is slow, or says that it is busy.
    Account,
}

impl From<PortError> for TxtError {
    /// A transient error pauses the zone, and with a Retry-After the account.
    fn from(error: PortError) -> Self {
        let pauses = match &error {
            PortError::Transient { retry_after: Some(_), .. } => Pauses::Account,
            PortError::Transient { retry_after: None, .. } => Pauses::Zone,
            PortError::Permanent(_) => Pauses::Nothing,
        };
        Self { error, pauses }
    }
}

/// Error of the journal.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process leads, or a write has had no result for too long: this process must have no
    /// further effect.
    #[error(
        "the journal takes no more records of this process, which stops before any further effect"
    )]
    Fenced,
    /// The journal cannot be written or read at the moment.
    #[error("the journal is not available: {0}")]
    Unavailable(String),
    /// The record was refused and is not in the journal; the same record would be refused again.
    /// The journal goes on with other records.
    #[error("the API server refuses this record of the journal, which was not written: {0}")]
    Refused(String),
}

/// Error of the creation of a segment.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CreateError {
    /// A segment with this number exists.
    #[error("a segment with this number exists")]
    Exists,
    /// The segment was refused and not created; the same content would be refused again.
    #[error("{0}")]
    Refused(String),
    /// The result is unknown: the segment may have been created.
    #[error("{0}")]
    Unknown(String),
}
