//! What a job may do next, and what the decision may look at.

use std::collections::BTreeSet;

use super::fallback::Fallback;
use super::observed::Observed;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::failure::Failure;
use crate::domain::ingress::SecretKey;
use crate::domain::name::DnsName;
use crate::domain::rate_limits::{LimitScope, RateLimits};
use crate::domain::scheduling::priority::Need;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::time::Timestamp;
use crate::domain::validity::check::IssueReason;
use crate::domain::validity::renewal::AriStatus;

/// One thing to do. Each is one port call or one commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Read the Secret.
    ReadSecret,
    /// Bring the challenge path of each host to the solver.
    PublishRoutes,
    /// Fetch our own challenge path of these hosts through DNS and the ingress.
    Probe(BTreeSet<DnsName>),
    /// Make a key and journal the start of a certificate.
    Begin {
        /// Why it is needed.
        reason: IssueReason,
        /// Its names.
        names: BTreeSet<DnsName>,
        /// The ACME directory to ask, where it is not the first.
        directory: Option<String>,
    },
    /// Ask the CA for an order.
    OpenOrder,
    /// Look at the order.
    Refresh,
    /// Tell the CA to validate.
    Accept,
    /// Send the CSR.
    Finalize,
    /// Fetch the chain and check it.
    Download,
    /// Write the Secret, then journal.
    Install,
    /// Set the owner references of a Secret of ours.
    UpdateOwners,
    /// Fill in `spec.tls`.
    FillTls,
    /// Journal that the work is dropped.
    Abandon(&'static str),
    /// Journal the failure.
    Fail(Failure),
    /// Nothing to do before then. With `at_ca`, the CA is at work and the job keeps its slot.
    Wait {
        /// When to go on.
        until: Timestamp,
        /// The CA is working on the order.
        at_ca: bool,
    },
    /// The CA takes no order for these names now: get in line.
    WaitForLimit(LimitScope, Need),
    /// The job is over.
    Done(Requeue),
}

/// What every decision may look at.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The Secret that it is about.
    pub stream: &'a SecretKey,
    /// The newest desired certificate; `None` when no Ingress wants the Secret.
    pub desired: Option<&'a DesiredCertificate>,
    /// What the job has learned.
    pub observed: &'a Observed,
    /// The ACME directory in use.
    pub directory: &'a str,
    /// The CA that is asked when the first has failed for long.
    pub fallback: Option<Fallback<'a>>,
    /// What the CA suggests for the certificate that was read.
    pub ari: AriStatus<'a>,
    /// When this process last installed a certificate for the stream.
    pub installed_at: Option<Timestamp>,
    /// Not before this an order that is kept is gone on with, unless the desired certificate changes.
    pub paused_until: Option<Timestamp>,
    /// What the CA has closed.
    pub rate_limits: &'a RateLimits,
    /// The time.
    pub now: Timestamp,
}
