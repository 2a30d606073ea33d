//! Overview: the most important rows of the state, which are failing certificates, certificates in
//! progress, certificates that expire first, and the last records of the journal.

use std::collections::BTreeMap;

use actix::prelude::*;

use super::Reporter;
use super::rows::{ClosedDump, DescribeJobs, FailureDump, JobDump, Which};
use crate::context::OperatorContext;
use crate::domain::ingress::{IngressKey, SecretKey};
use crate::domain::issuance::{Failing, State};
use crate::domain::limits;
use crate::domain::mode::Mode;
use crate::domain::name::DnsName;
use crate::domain::status::certificate_status::CertificateStatus;
use crate::domain::status::history::HistoryRecord;
use crate::domain::time::Timestamp;
use crate::domain::top_k::top_k;
use crate::domain::validity::expiries::{Expiries, Validity};

/// To the reporter: return the most important rows, at most `rows` of each kind.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Overview")]
pub struct GetOverview {
    /// Maximum number of rows of each kind.
    pub rows: usize,
}

/// Most important rows of the state.
#[derive(Clone, PartialEq, Eq, Debug, Default, MessageResponse)]
pub struct Overview {
    /// Time of the overview.
    pub now: Timestamp,
    /// Number of certificates with a known validity.
    pub known: usize,
    /// Choices of the user for a while: a dry run, or that new orders wait.
    pub notices: Vec<String>,
    /// Active rate limits, those with the most waiting Secrets first.
    pub closed: Vec<ClosedDump>,
    /// Number of failing certificates, by class of failure.
    pub failures: BTreeMap<&'static str, usize>,
    /// Failing certificates: Secrets without a certificate first, then by expiry.
    pub failing: Vec<FailingCertificate>,
    /// Certificates in progress: running jobs first, then parked, then queued ones.
    pub working: Vec<CertificateInProgress>,
    /// Certificates that expire first.
    pub ending: Vec<ExpiringCertificate>,
    /// Last records of the journal, the newest first, with the first Ingress of each Secret.
    pub records: Vec<(HistoryRecord, Option<IngressKey>)>,
}

/// A certificate whose last attempt failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailingCertificate {
    /// Secret of the certificate.
    pub secret: SecretKey,
    /// Ingresses that name the Secret.
    pub ingresses: Vec<IngressKey>,
    /// Hosts of the desired certificate.
    pub hosts: Vec<String>,
    /// Failures in a row.
    pub failure: FailureDump,
    /// Expiry of the existing certificate, if any.
    pub not_after: Option<Timestamp>,
}

/// A certificate with a job in the pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateInProgress {
    /// Secret of the certificate.
    pub secret: SecretKey,
    /// First Ingress that names the Secret, if one still does.
    pub ingress: Option<IngressKey>,
    /// Hosts of the desired certificate.
    pub hosts: Vec<String>,
    /// `queued`, `running` or `parked`.
    pub phase: &'static str,
    /// State of the event stream.
    pub issuance: &'static str,
    /// Time of the first request.
    pub since: Timestamp,
}

/// A certificate and its expiry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExpiringCertificate {
    /// Secret of the certificate.
    pub secret: SecretKey,
    /// First Ingress that names the Secret, if one still does.
    pub ingress: Option<IngressKey>,
    /// Hosts of the desired certificate.
    pub hosts: Vec<String>,
    /// Expiry and renewal time.
    pub validity: Validity,
    /// Status of the certificate.
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
                notices: notices(&context),
                closed: closed(&context, rows),
                failures,
                failing,
                working: runs.map(|run| in_progress(&context, run)).collect(),
                ending: expiring(&context, rows),
                records: records(&context, rows.min(limits::PAGE_RECORDS)),
            }
        })
    }
}

/// Returns the choices of the user for a while.
fn notices(context: &OperatorContext) -> Vec<String> {
    let dry_run = "This is a dry run: nothing is written but Events, and the CA is not asked";
    let dry_run = (context.mode == Mode::DryRun).then(|| dry_run.to_owned());
    let position = context.switch.position();
    let wait =
        || format!(". Certificates that wait: {}", context.switch.waiting(&context.index.borrow()));
    let wait = position.are_stopped().then(wait).unwrap_or_default();
    let new_orders = position.note().map(|note| note + &wait);
    dry_run.into_iter().chain(new_orders).collect()
}

/// Returns at most `rows` active limits, those with the most waiting Secrets first.
pub(super) fn closed(context: &OperatorContext, rows: usize) -> Vec<ClosedDump> {
    let now = context.clock.now();
    let several = context.cas.set().cas.source == crate::domain::cas::Source::File;
    let mut closed = Vec::new();
    for (name, limits) in context.cas.all_limits() {
        let ca = several.then_some(name);
        let rate_limits = limits.rate_limits.borrow();
        closed.extend(rate_limits.closed(now).map(|limit| ClosedDump::of(limit, ca.clone())));
    }
    closed.sort_by_key(|closed| std::cmp::Reverse((closed.waiting, closed.opens)));
    closed.truncate(rows);
    closed
}

fn hosts(context: &OperatorContext, secret: &SecretKey) -> Vec<String> {
    let names = context.desired(secret).map(|desired| desired.names).unwrap_or_default();
    names.iter().map(DnsName::to_string).collect()
}

fn first_ingress(context: &OperatorContext, secret: &SecretKey) -> Option<IngressKey> {
    context.index.borrow().users(secret).next().cloned()
}

fn records(context: &OperatorContext, rows: usize) -> Vec<(HistoryRecord, Option<IngressKey>)> {
    let records = context.ledger.history().newest(rows).into_iter();
    let of = |record: HistoryRecord| {
        let ingress = first_ingress(context, &record.secret);
        (record, ingress)
    };
    records.map(of).collect()
}

fn in_progress(context: &OperatorContext, run: JobDump) -> CertificateInProgress {
    let JobDump { key: secret, phase, since, .. } = run;
    let issuance = context.ledger.with(&secret, State::name);
    let (hosts, ingress) = (hosts(context, &secret), first_ingress(context, &secret));
    CertificateInProgress { secret, ingress, hosts, phase, issuance, since }
}

/// Returns the number of failing certificates by class, and the `count` worst of them.
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

/// Returns the `count` certificates that expire first.
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
        let (hosts, ingress) = (hosts(context, &secret), first_ingress(context, &secret));
        ExpiringCertificate { secret, ingress, hosts, validity, status }
    };
    soonest.into_iter().map(row).collect()
}
