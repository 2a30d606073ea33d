//! What matters most of all that is going on: what fails, what is in progress, which certificates end first.

use std::collections::BTreeMap;

use actix::prelude::*;

use super::Reporter;
use super::rows::{ClosedDump, DescribeJobs, FailureDump, JobDump, Which};
use crate::context::OperatorContext;
use crate::domain::ingress::{IngressKey, SecretKey};
use crate::domain::issuance::{Failing, State};
use crate::domain::name::DnsName;
use crate::domain::status::certificate_status::CertificateStatus;
use crate::domain::time::Timestamp;
use crate::domain::top_k::top_k;
use crate::domain::validity::expiries::{Expiries, Validity};

/// To the reporter: tell what matters most, at most `rows` of each kind.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Overview")]
pub struct GetOverview {
    /// Most rows of each kind.
    pub rows: usize,
}

/// What matters most.
#[derive(Clone, PartialEq, Eq, Debug, Default, MessageResponse)]
pub struct Overview {
    /// When it was so.
    pub now: Timestamp,
    /// Certificates whose dates are known.
    pub known: usize,
    /// What the CA takes no orders of for now.
    pub closed: Vec<ClosedDump>,
    /// How many certificates fail, by class.
    pub failures: BTreeMap<&'static str, usize>,
    /// Those without a certificate first, then by the end of the one they have.
    pub failing: Vec<FailingCertificate>,
    /// Those in a worker's hands first, then the parked, then the queued.
    pub working: Vec<CertificateInProgress>,
    /// Those that end first.
    pub ending: Vec<ExpiringCertificate>,
}

/// A certificate whose last attempt failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailingCertificate {
    /// Where it is to go.
    pub secret: SecretKey,
    /// Who asks for it.
    pub ingresses: Vec<IngressKey>,
    /// What it is to hold.
    pub hosts: Vec<String>,
    /// What failed.
    pub failure: FailureDump,
    /// End of the certificate that is there, if one is.
    pub not_after: Option<Timestamp>,
}

/// A certificate that is being worked on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateInProgress {
    /// Where it is to go.
    pub secret: SecretKey,
    /// What it is to hold.
    pub hosts: Vec<String>,
    /// `queued`, `running` or `parked`.
    pub phase: &'static str,
    /// Where its issuance is.
    pub issuance: &'static str,
    /// Since when it is asked for.
    pub since: Timestamp,
}

/// A certificate that ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExpiringCertificate {
    /// Where it is.
    pub secret: SecretKey,
    /// What it is to hold.
    pub hosts: Vec<String>,
    /// When it ends, and when it is renewed.
    pub validity: Validity,
    /// How it stands.
    pub status: CertificateStatus,
}

impl Handler<GetOverview> for Reporter {
    type Result = ResponseFuture<Overview>;

    fn handle(&mut self, GetOverview { rows }: GetOverview, _: &mut Context<Self>) -> Self::Result {
        let context = self.context.clone();
        let runs = self.pool.send(DescribeJobs(Which::First(rows)));
        Box::pin(async move {
            let runs = runs.await.unwrap_or_default().into_iter();
            let (failures, failing) = failing(&context, rows);
            Overview {
                now: context.clock.now(),
                known: context.dates.expiries.read(Expiries::len),
                closed: closed(&context, rows),
                failures,
                failing,
                working: runs.map(|run| in_progress(&context, run)).collect(),
                ending: expiring(&context, rows),
            }
        })
    }
}

/// At most `rows` active limits, those with the most waiting jobs first.
pub(super) fn closed(context: &OperatorContext, rows: usize) -> Vec<ClosedDump> {
    let now = context.clock.now();
    let rate_limits = context.limits.rate_limits.borrow();
    let mut closed: Vec<ClosedDump> = rate_limits.closed(now).map(ClosedDump::of).collect();
    closed.sort_by_key(|closed| std::cmp::Reverse((closed.waiting, closed.opens)));
    closed.truncate(rows);
    closed
}

fn hosts(context: &OperatorContext, secret: &SecretKey) -> Vec<String> {
    let names = context.desired(secret).map(|desired| desired.names).unwrap_or_default();
    names.iter().map(DnsName::to_string).collect()
}

fn in_progress(context: &OperatorContext, run: JobDump) -> CertificateInProgress {
    let issuance = context.ledger.with(&run.key, State::name);
    let hosts = hosts(context, &run.key);
    CertificateInProgress { secret: run.key, hosts, phase: run.phase, issuance, since: run.since }
}

/// Number of failing certificates by class, and the `count` worst of them.
fn failing(
    context: &OperatorContext,
    count: usize,
) -> (BTreeMap<&'static str, usize>, Vec<FailingCertificate>) {
    let (mut failures, mut all) = (BTreeMap::new(), Vec::new());
    context.dates.expiries.read(|expiries| {
        context.ledger.for_each_live(|secret, state| {
            let Some(failing) = state.failing() else { return };
            *failures.entry(failing.class.label()).or_default() += 1;
            let not_after = expiries.validity(secret).map(|validity| validity.not_after);
            all.push((not_after, failing.since, secret.clone()));
        });
    });
    let worst = top_k(all.into_iter(), 0, count, Clone::clone).into_iter();
    let row = |(not_after, _, secret)| {
        let failing = context.ledger.with(&secret, |state| state.failing().cloned())?;
        Some(failing_certificate(context, secret, &failing, not_after))
    };
    (failures, worst.filter_map(row).collect())
}

fn failing_certificate(
    context: &OperatorContext,
    secret: SecretKey,
    failing: &Failing,
    not_after: Option<Timestamp>,
) -> FailingCertificate {
    let desired = context.desired(&secret);
    let owners = desired.iter().flat_map(|desired| &desired.owners);
    FailingCertificate {
        ingresses: owners.map(|owner| owner.key.clone()).collect(),
        hosts: hosts(context, &secret),
        failure: FailureDump::of(failing),
        secret,
        not_after,
    }
}

/// The `count` certificates that expire first.
fn expiring(context: &OperatorContext, count: usize) -> Vec<ExpiringCertificate> {
    let soonest = context.dates.expiries.read(|expiries| {
        let soonest = expiries.soonest(count).into_iter();
        soonest.map(|(secret, validity)| (secret.clone(), validity)).collect::<Vec<_>>()
    });
    let now = context.clock.now();
    let row = |(secret, validity): (SecretKey, Validity)| {
        let looked = |state: &State| (state.failing().is_some(), state.issuance().is_some());
        let (failing, at_work) = context.ledger.with(&secret, looked);
        let status = CertificateStatus::of(Some(validity), failing, at_work, now);
        ExpiringCertificate { hosts: hosts(context, &secret), secret, validity, status }
    };
    soonest.into_iter().map(row).collect()
}
