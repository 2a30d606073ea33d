//! Labels of the metrics, all from closed sets: `ca` is a name of `--cas-file`, or `first`,
//! `fallback` and `rehearsal` for those of the flags.

use prometheus_client::encoding::EncodeLabelSet;

/// Source of an event on an Ingress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The watch.
    Watch,
    /// The scan or the ARI poller.
    Scan,
    /// The check that a Secret exists.
    Check,
}

/// Kind of an issued certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IssueKind {
    /// First certificate: the Secret held no readable one.
    First,
    /// Renewal: the certificate was due, or the user requested a new one.
    Renew,
    /// Replacement of a wrong certificate: other names, another key, or expired.
    Replace,
}

impl Source {
    pub(super) fn label(self) -> BySource {
        match self {
            Self::Watch => BySource { source: "watch" },
            Self::Scan => BySource { source: "scan" },
            Self::Check => BySource { source: "check" },
        }
    }
}

impl IssueKind {
    pub(super) fn label(self) -> ByKind {
        match self {
            Self::First => ByKind { kind: "first" },
            Self::Renew => ByKind { kind: "renew" },
            Self::Replace => ByKind { kind: "replace" },
        }
    }
}

/// Label `source`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct BySource {
    pub(super) source: &'static str,
}

/// Label `plan`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByPlan {
    pub(super) plan: &'static str,
}

/// Label `kind`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByKind {
    pub(super) kind: &'static str,
}

/// Label `reason`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByReason {
    pub(super) reason: &'static str,
}

/// Label `result`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByResult {
    pub(super) result: &'static str,
}

/// Labels of a write at a DNS provider.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByWrite {
    pub(super) operation: &'static str,
    pub(super) result: &'static str,
}

/// Label `step`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByStep {
    pub(super) step: &'static str,
}

/// Label `endpoint`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByEndpoint {
    pub(super) endpoint: &'static str,
}

/// Label `event`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByEvent {
    pub(super) event: &'static str,
}

/// Labels of a request to the CA.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByAnswer {
    pub(super) endpoint: &'static str,
    pub(super) status: u16,
    pub(super) ca: String,
}

/// Labels of a request to the API server.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByRequest {
    pub(super) verb: &'static str,
    pub(super) resource: &'static str,
    pub(super) code: u16,
}

/// Labels of a rate limit.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByScope {
    pub(super) scope: &'static str,
    pub(super) ca: String,
}

/// Label `state`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByState {
    pub(super) state: &'static str,
}

/// Label `port`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByPort {
    pub(super) port: &'static str,
}
