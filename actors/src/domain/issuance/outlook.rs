//! What the operator begins with for a Secret that it has never worked on, as a command tells it
//! beforehand. The rules are those of a job, so that both say the same.

use super::evaluation::Evaluation;
use super::in_flight::InFlight;
use super::next::next;
use super::observed::Observed;
use super::state::State;
use super::step::{Inputs, Step};
use crate::domain::certificate::{SecretStatus, SecretView};
use crate::domain::desired::desired_certificate::DesiredCertificate;
use crate::domain::dns::account::DnsAccounts;
use crate::domain::failure::Failure;
use crate::domain::new_orders::NewOrders;
use crate::domain::rate_limits::RateLimits;
use crate::domain::time::Timestamp;
use crate::domain::validity::check::{Assessment, IssueReason};
use crate::domain::validity::renewal::AriStatus;

/// First thing that becomes of a Secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outlook {
    /// No order: the Secret is good, or left as it is.
    Kept,
    /// An order, once its hosts are reached.
    Ordered {
        /// Reason for the new certificate.
        reason: IssueReason,
        /// Whether the order replaces a certificate of this CA that shares a name (RFC 9773 §5).
        /// Let's Encrypt counts such an order in no limit.
        replaces: bool,
    },
    /// No order, and the user is told why.
    Refused(Failure),
    /// Secrets must be read first: several namespaces name a host.
    Undecided,
}

impl Outlook {
    /// Labels of all outlooks, for metrics.
    pub const LABELS: [&str; 5] = ["new", "renewal", "kept", "refused", "undecided"];

    /// Label for metrics.
    pub fn label(&self) -> &'static str {
        Self::LABELS[match self {
            Self::Ordered { replaces: false, .. } => 0,
            Self::Ordered { replaces: true, .. } => 1,
            Self::Kept => 2,
            Self::Refused(_) => 3,
            Self::Undecided => 4,
        }]
    }

    /// Why the Secret, as `found`, gets no certificate of ours; `None` if it has or gets one.
    pub fn refusal(&self, found: Option<&SecretView>) -> Option<String> {
        match self {
            Self::Ordered { .. } => None,
            Self::Kept => match found {
                Some(found) if found.ours => None,
                Some(_) => Some(
                    "the Secret is somebody else's and serves its hosts: it is left as it is"
                        .to_owned(),
                ),
                None => Some("no new certificate is issued for it".to_owned()),
            },
            Self::Refused(failure) => Some(failure.detail.clone()),
            Self::Undecided => Some("it is not known whose its hosts are".to_owned()),
        }
    }
}

/// Returns what the operator of `install_id` begins with for `desired`, where its Secret is as
/// `found`, at the CA of `directory`; `reissues` says whether one of another CA is replaced now.
pub fn outlook(
    desired: &DesiredCertificate,
    found: SecretStatus,
    (directory, reissues): (&str, bool),
    install_id: &str,
    now: Timestamp,
) -> Outlook {
    let observed = Observed { secret: Some((found, now)), ..Observed::default() };
    let (state, rate_limits) = (State::Idle, RateLimits::default());
    let inputs = Inputs {
        stream: &desired.secret,
        desired: Some(desired),
        observed: &observed,
        assessment: Assessment { directory, ari: AriStatus::None, installed: None, reissues, now },
        fallbacks: &[],
        first_ca: directory,
        mark: None,
        of_known_ca: false,
        is_public: false,
        ca_is_gone: false,
        paused_until: None,
        first_edition: None,
        rate_limits: &rate_limits,
        install_id,
        owner_references: true,
        through_proxy: false,
        new_orders: &NewOrders::default(),
        dns_accounts: &DnsAccounts::default(),
        persist: None,
        rehearses: false,
        in_flight: &InFlight::default(),
    };
    match next(&state, inputs) {
        Step::CheckHosts => Outlook::Undecided,
        Step::Fail(failure) => Outlook::Refused(failure),
        // Owner references, copied annotations and `spec.tls` cost no order.
        Step::Done(_) | Step::UpdateOwners | Step::FillTls => Outlook::Kept,
        // All other steps lead to an order: a route and a probe of each host come before it.
        _ => match (Evaluation { state: &state, desired, inputs }).check() {
            Ok(()) => Outlook::Kept,
            Err(reason) => {
                let replaces = replaces(desired, &observed, directory);
                Outlook::Ordered { reason, replaces }
            }
        },
    }
}

fn replaces(desired: &DesiredCertificate, observed: &Observed, directory: &str) -> bool {
    let of_this_ca = observed.found().filter(|found| found.cert_id().is_some());
    let present = of_this_ca.and_then(|found| found.issued_by(directory));
    present.is_some_and(|present| desired.names.iter().any(|name| present.is_for(name)))
}
