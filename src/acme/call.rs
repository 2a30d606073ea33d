//! Record of one port call: the endpoint of its next request, and what the CA answered last.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;

use ingress_acme_actors::domain::name::DnsName;

tokio::task_local! {
    /// Current port call; records the result of every request.
    pub(super) static CALL: Call;
}

/// Record of one port call's responses. Clones share the record.
#[derive(Clone, Debug, Default)]
pub(super) struct Call(Arc<Mutex<CallRecord>>);

#[derive(Clone, Debug, Default)]
pub(super) struct CallRecord {
    /// Names of the order that the call opens.
    names: BTreeSet<DnsName>,
    /// Endpoint of the next request, if the URL does not determine the endpoint.
    pub(super) endpoint: Option<&'static str>,
    /// Endpoint of the last response.
    pub(super) answered: Option<&'static str>,
    pub(super) status: Option<StatusCode>,
    pub(super) retry_after: Option<Duration>,
    /// Whether the last response to a challenge says that the challenge is valid already.
    pub(super) challenge_valid: bool,
    /// `issuer-domain-names` of the last response, if that is an authorization.
    pub(super) issuer_names: Option<Vec<String>>,
    /// URLs of the last response's alternates.
    pub(super) alternates: Vec<String>,
    /// `Location` of the last response.
    pub(super) location: Option<String>,
}

impl Call {
    /// Runs `work` as this call.
    pub(super) async fn run<T>(&self, work: impl Future<Output = T>) -> T {
        CALL.scope(self.clone(), work).await
    }

    /// Records the names that the current call orders a certificate for.
    pub(super) fn set_ordered_names(names: &BTreeSet<DnsName>) {
        let _ = CALL.try_with(|call| call.with(|record| record.names.clone_from(names)));
    }

    /// Names that the current call orders a certificate for; empty for any other call.
    pub(super) fn ordered_names() -> BTreeSet<DnsName> {
        CALL.try_with(|call| call.with(|record| record.names.clone())).unwrap_or_default()
    }

    /// Sets the endpoint of the current call's next request.
    pub(super) fn set_endpoint(endpoint: &'static str) {
        let _ = CALL.try_with(|call| call.with(|record| record.endpoint = Some(endpoint)));
    }

    /// Endpoint of the current call's last response.
    pub(super) fn last_endpoint() -> Option<&'static str> {
        CALL.try_with(|call| call.with(|record| record.answered)).ok().flatten()
    }

    /// Status of the current call's last response.
    pub(super) fn last_status() -> Option<StatusCode> {
        CALL.try_with(Self::status).ok().flatten()
    }

    /// `Retry-After` of the current call's last response.
    pub(super) fn last_retry_after() -> Option<Duration> {
        CALL.try_with(Self::retry_after).ok().flatten()
    }

    /// Whether the CA has validated within the current call's last request to a challenge.
    pub(super) fn is_challenge_valid() -> bool {
        CALL.try_with(|call| call.with(|record| record.challenge_valid)).unwrap_or_default()
    }

    /// Takes the `issuer-domain-names` of the current call's last response. An authorization that
    /// is read from the cache finds none.
    pub(super) fn take_issuer_names() -> Option<Vec<String>> {
        CALL.try_with(|call| call.with(|record| record.issuer_names.take())).ok().flatten()
    }

    /// URLs of the alternates in the current call's last response.
    pub(super) fn alternates() -> Vec<String> {
        CALL.try_with(|call| call.with(|record| record.alternates.clone())).unwrap_or_default()
    }

    /// Whether the last response of the current call is a success of this endpoint.
    pub(super) fn has_succeeded(endpoint: &'static str) -> bool {
        let is_success = Self::last_status().is_some_and(|status| status.is_success());
        Self::last_endpoint() == Some(endpoint) && is_success
    }

    /// `Location` of the current call's last response.
    pub(super) fn last_location() -> Option<String> {
        CALL.try_with(|call| call.with(|record| record.location.clone())).ok().flatten()
    }

    /// Status of the last response.
    pub(super) fn status(&self) -> Option<StatusCode> {
        self.with(|record| record.status)
    }

    /// `Retry-After` of the last response.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.with(|record| record.retry_after)
    }

    /// Creates a call with this last response.
    #[cfg(test)]
    pub(super) fn with_response(status: StatusCode, retry_after: Option<Duration>) -> Self {
        let call = Self::default();
        call.with(|record| (record.status, record.retry_after) = (Some(status), retry_after));
        call
    }

    pub(super) fn with<T>(&self, act: impl FnOnce(&mut CallRecord) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
