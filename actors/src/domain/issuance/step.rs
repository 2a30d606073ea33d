//! Steps of a job, and the inputs that decide on the next one.

use std::collections::BTreeSet;

use super::fallback::Fallback;
use super::in_flight::InFlight;
use super::observed::Observed;
use crate::domain::caa::Issuer;
use crate::domain::challenge::Methods;
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::dns::account::DnsAccounts;
use crate::domain::dns::txt::TxtRecord;
use crate::domain::failure::Failure;
use crate::domain::ingress::{Edition, SecretKey};
use crate::domain::name::DnsName;
use crate::domain::new_orders::NewOrders;
use crate::domain::rate_limits::{LimitScope, RateLimits};
use crate::domain::scheduling::priority::Priority;
use crate::domain::scheduling::requeue::Requeue;
use crate::domain::time::Timestamp;
use crate::domain::validity::check::{Assessment, IssueReason};

/// One step of a job: a few port calls of one kind, or a commit to the journal, or both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Read the Secret.
    ReadSecret,
    /// Check that the CA issued the certificate in the Secret.
    VerifyCertificate,
    /// Read the Secrets that decide which namespace has a host.
    CheckHosts,
    /// Route the challenge path of each host to the solver.
    PublishRoutes,
    /// Fetch our own challenge path of these hosts, through DNS and the ingress controller.
    Probe(BTreeSet<DnsName>),
    /// Look up the CAA records of these hosts (RFC 8659).
    LookUpCaa(BTreeSet<DnsName>),
    /// Look up what DNS says about the challenges of these names.
    LookUpDns(BTreeSet<DnsName>),
    /// Have these hosts validated at the rehearsal CA.
    Rehearse(BTreeSet<DnsName>),
    /// Generate a key and journal the start of an issuance.
    Begin {
        /// Reason for a new certificate.
        reason: IssueReason,
        /// Names of the certificate.
        names: BTreeSet<DnsName>,
        /// Directory URL of the CA; `None` for the first CA of the flags.
        directory: Option<String>,
    },
    /// Open an order at the CA (RFC 8555 §7.4).
    OpenOrder,
    /// Fetch the order.
    Refresh,
    /// Fetch the order with its authorizations, and what the CA offers for each.
    ReadOffers,
    /// Journal TXT records of the order, and write them (RFC 8555 §8.4).
    AddTxt(BTreeSet<TxtRecord>),
    /// Look for the TXT records at the authoritative servers.
    LookForTxt(BTreeSet<TxtRecord>),
    /// Accept the challenges of the order by these methods (RFC 8555 §7.5.1).
    Accept(Methods),
    /// Send the CSR (RFC 8555 §7.4).
    Finalize,
    /// Download the chain and check the leaf (RFC 8555 §7.4.2).
    Download,
    /// Write the Secret, then journal.
    Install,
    /// Set the owner references of a Secret of ours.
    UpdateOwners,
    /// Fill in `spec.tls`.
    FillTls,
    /// Journal that the issuance is dropped.
    Abandon(&'static str),
    /// Journal the failure.
    Fail(Failure),
    /// Wait until `until`. With `at_ca` the CA works on the order and the job keeps its slot.
    Wait {
        /// Time of the next evaluation.
        until: Timestamp,
        /// The CA works on the order.
        at_ca: bool,
    },
    /// Wait until `until` for another Secret's order for exactly the same names.
    WaitForOrder(Timestamp),
    /// Wait until new orders are allowed again.
    WaitForNewOrders,
    /// Wait in the queue of a rate limit.
    WaitForLimit(LimitScope, Priority),
    /// The job is done.
    Done(Requeue),
}

impl Step {
    /// Name of the step in metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::ReadSecret => "read_secret",
            Self::CheckHosts => "check_hosts",
            Self::VerifyCertificate => "verify_certificate",
            Self::PublishRoutes => "publish_routes",
            Self::Probe(_) => "probe",
            Self::LookUpCaa(_) => "look_up_caa",
            Self::LookUpDns(_) => "look_up_dns",
            Self::Rehearse(_) => "rehearse",
            Self::Begin { .. } => "begin",
            Self::OpenOrder => "open_order",
            Self::Refresh => "refresh",
            Self::ReadOffers => "read_offers",
            Self::AddTxt(_) => "add_txt",
            Self::LookForTxt(_) => "look_for_txt",
            Self::Accept(_) => "accept",
            Self::Finalize => "finalize",
            Self::Download => "download",
            Self::Install => "install",
            Self::UpdateOwners => "update_owners",
            Self::FillTls => "fill_tls",
            Self::Abandon(_) => "abandon",
            Self::Fail(_) => "fail",
            Self::Wait { .. }
            | Self::WaitForOrder(_)
            | Self::WaitForNewOrders
            | Self::WaitForLimit(..)
            | Self::Done(_) => "none",
        }
    }
}

/// Everything that [`next`](super::next()) decides on, beside the journaled state.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Inputs<'a> {
    /// The Secret.
    pub stream: &'a SecretKey,
    /// The newest desired certificate; `None` when no Ingress names the Secret.
    pub desired: Option<&'a DesiredCertificate>,
    /// Observations of the job.
    pub observed: &'a Observed,
    /// Directory, ARI status and time that a certificate is checked with.
    pub assessment: Assessment<'a>,
    /// The fallback CAs, in order.
    pub fallbacks: &'a [Fallback<'a>],
    /// Directory URL of the CA of issuances that name none.
    pub first_ca: &'a str,
    /// How an issuance at the CA names it: not at all, where it is the first one of the flags.
    pub mark: Option<&'a str>,
    /// Whether the certificate in the Secret is meant to be one of a CA that is configured.
    pub of_known_ca: bool,
    /// Whether the CA is one of a file and certifies public names only. Of the CA of the flags, the
    /// plan says so.
    pub is_public: bool,
    /// Whether the CA of the issuance under way is no longer configured.
    pub ca_is_gone: bool,
    /// End of the pause of an order that is kept; an edit of the desired certificate ends the pause
    /// earlier.
    pub paused_until: Option<Timestamp>,
    /// Edition that the Ingresses had when this process first looked at a failure of release 0.1.0,
    /// which journaled none.
    pub first_edition: Option<Edition>,
    /// Rate limits of the CA: the one that the issuance is at, or the one that the certificate
    /// should have. So are the directory and the window of the assessment.
    pub rate_limits: &'a RateLimits,
    /// `--install-id`.
    pub install_id: &'a str,
    /// `--owner-references`: whether a Secret is owned by its Ingresses.
    pub owner_references: bool,
    /// Whether the CA is asked through a proxy: then the names of the Internet may not
    /// resolve here.
    pub through_proxy: bool,
    /// Position of the switch for new orders.
    pub new_orders: &'a NewOrders,
    /// The accounts at DNS providers.
    pub dns_accounts: &'a DnsAccounts,
    /// The CA in terms of DNS-PERSIST-01 records, where that method is in use.
    pub persist: Option<&'a Issuer>,
    /// Whether there is a rehearsal CA.
    pub rehearses: bool,
    /// Issuances under way of all Secrets.
    pub in_flight: &'a InFlight,
}
