//! Events: the facts that cannot be observed again. Everything else is read from Kubernetes or the
//! CA when needed.
//!
//! The JSON of an event is a contract with every journal that was ever written: fields and names
//! only grow.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::certificate::{KeyAlgorithm, PrivateKey};
use crate::domain::cut::cut;
use crate::domain::desired::desired_certificate::Fingerprint;
use crate::domain::dns::txt::TxtRecord;
use crate::domain::failure::FailureClass;
use crate::domain::ingress::{Edition, SecretKey};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::rate_limits::LimitHit;
use crate::domain::time::Timestamp;

/// An event in the event stream of one Secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// An issuance started and its key exists. The CA was not asked before this event.
    IssuanceStarted(IssuanceStarted),
    /// The CA opened an order for the names (RFC 8555 §7.4).
    OrderOpened(OrderOpened),
    /// The certificate is in its Secret.
    CertificateInstalled(CertificateInstalled),
    /// The attempt failed.
    IssuanceFailed(IssuanceFailed),
    /// The CA refused an order because of a rate limit (RFC 8555 §6.6). The limit applies to all
    /// event streams and changes the state of none. The event is in the stream of the refused
    /// Secret.
    #[serde(rename = "scope_closed")]
    RateLimitHit(RateLimitHit),
    /// The issuance is no longer needed.
    IssuanceAbandoned(IssuanceAbandoned),
    /// A TXT record is about to be written for a challenge of an order. Neither that nor its
    /// removal changes a state.
    TxtAdded(TxtAdded),
    /// A TXT record is removed from DNS.
    TxtRemoved(TxtAdded),
}

/// A TXT record for a challenge of an order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TxtAdded {
    /// URL of the order.
    pub order: String,
    /// The record.
    pub txt: TxtRecord,
}

/// Names of an event: those that release 0.1.0 can read, and wildcards, which it reads nowhere.
pub(super) type Split = (BTreeSet<DnsName>, BTreeSet<DnsName>);

/// Divides names into those of hosts and wildcards. An event has a field for each, because release
/// 0.1.0 stops at a name that it cannot read, and passes over a field that it does not know.
pub(super) fn split(names: impl IntoIterator<Item = DnsName>) -> Split {
    names.into_iter().partition(|name| !name.is_wildcard())
}

/// The same for shared names, which stay shared where there are no wildcards.
pub(super) fn split_shared(
    names: &Arc<BTreeSet<DnsName>>,
) -> (Arc<BTreeSet<DnsName>>, BTreeSet<DnsName>) {
    if !names.iter().any(DnsName::is_wildcard) {
        return (names.clone(), BTreeSet::new());
    }
    let (names, wildcards) = split(names.iter().cloned());
    (Arc::new(names), wildcards)
}

/// Start of an issuance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IssuanceStarted {
    /// Names of the order, without wildcards.
    pub names: BTreeSet<DnsName>,
    /// Wildcards of the order.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub wildcards: BTreeSet<DnsName>,
    /// Kind of `key`.
    pub algorithm: KeyAlgorithm,
    /// ACME profile to request.
    pub profile: Option<String>,
    /// Value of the renew annotation that the certificate answers.
    pub renew: Option<String>,
    /// Names of the desired certificate that this one leaves out because they failed, without
    /// wildcards.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub left_out: BTreeSet<DnsName>,
    /// Wildcards of the desired certificate that this one leaves out because they failed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub left_out_wildcards: BTreeSet<DnsName>,
    /// Directory URL of the fallback CA; `None` for the first CA. So release 0.1.0 reads it, which
    /// knows these two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The CA, where `--cas-file` names several. Release 0.1.0 ignores the field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<ChosenCa>,
    /// Fingerprint of the desired certificate.
    pub fingerprint: Fingerprint,
    /// Private key of the certificate.
    pub key: PrivateKey,
}

/// CA of an issuance, chosen among those of `--cas-file`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChosenCa {
    /// Directory URL.
    pub directory: String,
    /// Whether it is asked in place of the CA that the certificate should have.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fallback: bool,
    /// Value of the annotation `ingress-acme.dev/ca` that the certificate answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
}

/// An order at the CA.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OrderOpened {
    /// URL of the order, which is enough to resume the order.
    pub url: String,
}

/// A certificate in its Secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CertificateInstalled {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// End of the certificate's validity.
    pub not_after: Timestamp,
    /// Names of the desired certificate that this one leaves out, without wildcards.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub left_out: BTreeSet<DnsName>,
    /// Wildcards of the desired certificate that this one leaves out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub left_out_wildcards: BTreeSet<DnsName>,
}

/// A failed attempt.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IssuanceFailed {
    /// Kind of failure.
    pub class: FailureClass,
    /// Text of the CA or the API server. The ledger and the live records of the journal share text
    /// and names, because thousands may fail for weeks.
    pub detail: Arc<str>,
    /// Fingerprint of the desired certificate; an edit that changes the fingerprint ends the pause.
    pub fingerprint: Fingerprint,
    /// Earliest time of the next attempt for the same desired certificate.
    pub retry_at: Timestamp,
    /// Names that caused the failure, where not all of them did, without wildcards.
    #[serde(default, skip_serializing_if = "has_none")]
    pub names: Arc<BTreeSet<DnsName>>,
    /// Wildcards that caused the failure, where not all names did.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub wildcards: BTreeSet<DnsName>,
    /// Earliest time of the next attempt for a subset of the names, where this attempt was for a
    /// subset; `retry_at` then is about all names.
    #[serde(rename = "part_retry_at", default, skip_serializing_if = "Option::is_none")]
    pub subset_retry_at: Option<Timestamp>,
    /// Start of an unbroken sequence of failures that are the CA's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down_since: Option<Timestamp>,
    /// The last failure at a CA was at the fallback CA.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_fallback: bool,
    /// Directory URL of that fallback CA. Release 0.1.0 journaled none: it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Arc<str>>,
    /// Edition of the Ingresses that the attempt was made for. Release 0.1.0 journaled none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edition: Option<Edition>,
    /// Time at which no edit is counted any more of those that ended a pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edits_until: Option<Timestamp>,
    /// In a snapshot: the failures before, which this record stands for too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folded: Option<Folded>,
}

/// Failures in a row, folded into the last one. Release 0.1.0 ignores the field, and continues with
/// one failure: the time of the next attempt is kept, and the pauses after that one begin anew.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Folded {
    /// Number of consecutive failures.
    pub attempts: u32,
    /// Time of the first failure.
    pub since: Timestamp,
    /// Number of consecutive failures of subsets of the names.
    #[serde(rename = "part_attempts", default, skip_serializing_if = "is_zero")]
    pub subset_attempts: u32,
}

fn has_none(names: &Arc<BTreeSet<DnsName>>) -> bool {
    names.is_empty()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A rate limit of a CA.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RateLimitHit {
    /// Directory URL of the CA.
    pub directory: String,
    /// Scope, time and pace of the limit.
    #[serde(rename = "closing")]
    pub hit: LimitHit,
}

/// End of an issuance that is not needed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IssuanceAbandoned {
    /// Reason, for the log.
    pub why: String,
}

impl IssuanceStarted {
    /// All names of the order.
    pub(crate) fn all_names(&self) -> BTreeSet<DnsName> {
        self.names.union(&self.wildcards).cloned().collect()
    }

    /// All names of the desired certificate that this one leaves out.
    pub(crate) fn all_left_out(&self) -> BTreeSet<DnsName> {
        self.left_out.union(&self.left_out_wildcards).cloned().collect()
    }
}

impl CertificateInstalled {
    /// All names of the desired certificate that this one leaves out.
    pub(crate) fn all_left_out(&self) -> BTreeSet<DnsName> {
        self.left_out.union(&self.left_out_wildcards).cloned().collect()
    }
}

impl IssuanceFailed {
    /// All names that caused the failure. Shared with the event where there are no wildcards.
    pub(crate) fn all_names(&self) -> Arc<BTreeSet<DnsName>> {
        if self.wildcards.is_empty() {
            return self.names.clone();
        }
        Arc::new(self.names.union(&self.wildcards).cloned().collect())
    }
}

impl Event {
    /// Whether release 0.1.0 cannot read the event. A segment has such events in a list of their
    /// own, which that release passes over. None of them changes the state of a stream.
    pub(crate) fn is_newer(&self) -> bool {
        match self {
            Self::TxtAdded(_) | Self::TxtRemoved(_) => true,
            Self::RateLimitHit(limited) => limited.hit.scope.has_wildcard(),
            _ => false,
        }
    }

    /// Name in logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::IssuanceStarted(_) => "issuance_started",
            Self::OrderOpened(_) => "order_opened",
            Self::CertificateInstalled(_) => "certificate_installed",
            Self::IssuanceFailed(_) => "issuance_failed",
            Self::RateLimitHit(_) => "scope_closed",
            Self::IssuanceAbandoned(_) => "issuance_abandoned",
            Self::TxtAdded(_) => "txt_added",
            Self::TxtRemoved(_) => "txt_removed",
        }
    }

    /// Cuts the texts from outside, which release 0.1.0 journaled in full.
    pub(crate) fn bound(&mut self) {
        let (text, max) = match self {
            Self::IssuanceFailed(failed) => {
                if failed.detail.len() > limits::DETAIL_MAX {
                    failed.detail = cut(&*failed.detail, limits::DETAIL_MAX).into();
                }
                return;
            }
            Self::RateLimitHit(limited) => (&mut limited.hit.detail, limits::DETAIL_MAX),
            Self::CertificateInstalled(installed) => {
                (&mut installed.serial, limits::CERTIFICATE_TEXT_MAX)
            }
            Self::IssuanceStarted(_)
            | Self::OrderOpened(_)
            | Self::IssuanceAbandoned(_)
            | Self::TxtAdded(_)
            | Self::TxtRemoved(_) => return,
        };
        *text = cut(std::mem::take(text), max);
    }
}

/// One entry of the journal: an event with its event stream and its time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Secret of the event stream.
    pub stream: SecretKey,
    /// Time of the decision.
    pub at: Timestamp,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}
