//! What happened, and could not be observed again. Everything else is asked of the world when it is needed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::domain::certificate::{KeyAlgorithm, PrivateKey};
use crate::domain::desired::desired_certificate::Fingerprint;
use crate::domain::failure::FailureClass;
use crate::domain::ingress::SecretKey;
use crate::domain::name::DnsName;
use crate::domain::rate_limits::LimitHit;
use crate::domain::time::Timestamp;

/// An event of one Secret's stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A certificate is wanted, and its key exists: nothing was asked of the CA before this.
    IssuanceStarted {
        /// Names of the order to be.
        names: BTreeSet<DnsName>,
        /// Kind of `key`.
        algorithm: KeyAlgorithm,
        /// ACME profile asked for.
        profile: Option<String>,
        /// Value of the renew annotation that this answers.
        renew: Option<String>,
        /// Names of the desired certificate that it does without, for they have failed.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        left_out: BTreeSet<DnsName>,
        /// The ACME directory that is asked, where it is not the first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        directory: Option<String>,
        /// What the desired certificate was.
        fingerprint: Fingerprint,
        /// The key that the certificate will be for.
        key: PrivateKey,
    },
    /// The CA has an order for the names (RFC 8555 §7.4).
    OrderOpened {
        /// Its URL; all that is needed to resume it.
        url: String,
    },
    /// The certificate is in its Secret.
    CertificateInstalled {
        /// Serial number, hexadecimal.
        serial: String,
        /// End of its validity.
        not_after: Timestamp,
        /// Names of the desired certificate that it does without.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        left_out: BTreeSet<DnsName>,
    },
    /// The attempt failed.
    IssuanceFailed {
        /// Kind of failure.
        class: FailureClass,
        /// In the words of who refused.
        detail: String,
        /// What the desired certificate was; an edit that changes it clears the pause.
        fingerprint: Fingerprint,
        /// Not before this the same desired certificate is tried again.
        retry_at: Timestamp,
        /// The names that are the reason, where not all of them are.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        names: BTreeSet<DnsName>,
        /// A certificate for a subset of the names was tried: not before this another such is, and `retry_at` is about all.
        #[serde(rename = "part_retry_at", default, skip_serializing_if = "Option::is_none")]
        subset_retry_at: Option<Timestamp>,
        /// Since when all failures at the CA were the CA's own, if this is one or says nothing about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        down_since: Option<Timestamp>,
        /// The CA that failed last was the second.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        at_fallback: bool,
    },
    /// The CA has closed a scope of orders (RFC 8555 §6.6). It concerns all streams, and changes the state of none;
    /// this one met it.
    #[serde(rename = "scope_closed")]
    RateLimitHit {
        /// The ACME directory that it is true of.
        directory: String,
        /// What is closed, and until when.
        #[serde(rename = "closing")]
        hit: LimitHit,
    },
    /// The work is no longer wanted.
    IssuanceAbandoned {
        /// Why, for the log.
        why: String,
    },
}

impl Event {
    /// Its name in logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::IssuanceStarted { .. } => "issuance_started",
            Self::OrderOpened { .. } => "order_opened",
            Self::CertificateInstalled { .. } => "certificate_installed",
            Self::IssuanceFailed { .. } => "issuance_failed",
            Self::RateLimitHit { .. } => "scope_closed",
            Self::IssuanceAbandoned { .. } => "issuance_abandoned",
        }
    }
}

/// An event with its stream and its time: one entry of the journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The Secret whose stream this belongs to.
    pub stream: SecretKey,
    /// When it was decided.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}
