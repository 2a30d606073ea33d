//! One page of the managed Ingresses, with all known state of each.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use actix::prelude::*;
use serde::Serialize;

use super::rows::{AtWork, DescribeJobs, FailureDump, JobDump, WaitDump, Which, as_text_if_any};
use super::search::{Search, left_alone, matching};
use super::{LEADER, Reporter};
use crate::context::OperatorContext;
use crate::domain::desired::plan::PlannedCertificate;
use crate::domain::fair_share::share;
use crate::domain::ingress::{IngressKey, SecretKey};
use crate::domain::limits;
use crate::domain::name::DnsName;
use crate::domain::scheduling::dedup::Phase;
use crate::domain::status::certificate_status::CertificateStatus;
use crate::domain::time::Timestamp;
use crate::domain::top_k::top_k;
use crate::pool::actor::Pool;

/// To the reporter: list Ingresses, in the order of their keys.
#[derive(Clone, PartialEq, Eq, Debug, Default, Message)]
#[rtype(result = "Listing")]
pub struct ListIngresses {
    /// Ingresses that are listed.
    pub search: Search,
    /// Maximum number of Ingresses on the page.
    pub limit: usize,
    /// Number of Ingresses to skip.
    pub offset: usize,
}

/// Page of Ingresses, in the shape of `/api/v1/ingresses`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, MessageResponse)]
pub struct Listing {
    /// Role of this replica. A standby knows no Ingresses.
    pub role: &'static str,
    /// Time of the listing.
    #[serde(skip)]
    pub now: Timestamp,
    /// Number of matching Ingresses on all pages.
    pub total: usize,
    /// Number of skipped Ingresses before this page.
    pub offset: usize,
    /// Maximum number of Ingresses on this page.
    pub limit: usize,
    /// Ingresses of this page.
    pub ingresses: Vec<IngressRow>,
    /// What is left out of this page, and how to read the rest; none if nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One Ingress.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct IngressRow {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// Phase of the dedup actor, unless idle.
    pub phase: Option<PhaseDump>,
    /// Problems: parts of the Ingress that cannot be served.
    pub problems: Vec<String>,
    /// Reason why nothing is issued or renewed for the Ingress; none if it is managed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_alone: Option<String>,
    /// Certificates of the Ingress.
    pub certificates: Vec<CertificateRow>,
    /// Number of further certificates, for which there is no room on the page.
    #[serde(skip_serializing_if = "is_none")]
    pub certificates_left_out: usize,
}

/// Phase of an Ingress's reconciliation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PhaseDump {
    /// `settling`, `in flight` or `waiting`.
    pub name: &'static str,
    /// Time of the request to the pool, while in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Time of the next reconciliation, while waiting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Whether further events have arrived, so that another reconciliation follows.
    pub again: bool,
}

/// One certificate of an Ingress.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CertificateRow {
    /// Name of the Secret.
    pub secret: Arc<str>,
    /// Hosts of this Ingress in the certificate.
    pub hosts: Vec<String>,
    /// Number of further hosts, for which there is no room on the page.
    #[serde(skip_serializing_if = "is_none")]
    pub hosts_left_out: usize,
    /// Name of the CA that has issued the certificate, or is to issue it, where a file names
    /// several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Status of the certificate.
    pub state: CertificateStatus,
    /// End of the validity, as last read.
    #[serde(serialize_with = "as_text_if_any")]
    pub not_after: Option<Timestamp>,
    /// Time of the renewal.
    #[serde(serialize_with = "as_text_if_any")]
    pub renewal: Option<Timestamp>,
    /// State of the event stream: `idle`, `started`, `ordered` or `failing`.
    pub issuance: &'static str,
    /// Job in the pool, if any.
    pub run: Option<JobDump>,
    /// Place in a limit queue, if any.
    pub waits: Option<WaitDump>,
    /// Whether the order waits because new orders are stopped.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// Failures in a row, if the last attempt failed.
    pub failing: Option<FailureDump>,
}

impl Handler<ListIngresses> for Reporter {
    type Result = ResponseFuture<Listing>;

    fn handle(&mut self, query: ListIngresses, _: &mut Context<Self>) -> Self::Result {
        let (context, registry, pool) =
            (self.context.clone(), self.registry.clone(), self.pool.clone());
        Box::pin(async move {
            let (total, keys) = page(&context, &pool, &query).await;
            let room = Room::of(&context, &keys);
            let secrets: HashSet<SecretKey> =
                keys.iter().flat_map(|key| room.secrets(&context, key)).collect();
            let runs = pool.send(DescribeJobs(Which::Of(secrets)));
            let runs = runs.await.unwrap_or_default().into_iter();
            let runs = runs.map(|run| (run.key.clone(), run)).collect();
            let row = |key: &IngressKey| room.row(&context, key, registry.phase(key), &runs);
            let ingresses: Vec<IngressRow> = keys.iter().map(row).collect();
            let (note, now) = (note(&ingresses), context.clock.now());
            let ListIngresses { limit, offset, .. } = query;
            Listing { role: LEADER, now, total, offset, limit, ingresses, note }
        })
    }
}

/// Room of a page: the longest lists that fit, so that one Ingress with thousands of certificates
/// does not take the place of the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Certificates of one Ingress.
    certificates: usize,
    /// Hosts of one certificate.
    hosts: usize,
}

impl Room {
    pub(super) fn of(context: &OperatorContext, keys: &[IngressKey]) -> Self {
        let index = context.index.borrow();
        let counts = keys.iter().map(|key| index.planned(key).len());
        let certificates = share(counts, limits::LISTED_CERTIFICATES);
        let shown = keys.iter().flat_map(|key| index.planned(key).iter().take(certificates));
        let hosts = share(shown.map(|planned| planned.names.len()), limits::LISTED_HOSTS);
        Self { certificates, hosts }
    }

    /// Secrets of the certificates that are shown.
    pub(super) fn secrets(self, context: &OperatorContext, key: &IngressKey) -> Vec<SecretKey> {
        let index = context.index.borrow();
        let shown = index.planned(key).iter().take(self.certificates);
        shown.map(|planned| planned.secret.clone()).collect()
    }

    pub(super) fn row(
        self,
        context: &OperatorContext,
        key: &IngressKey,
        phase: Option<Phase>,
        runs: &HashMap<SecretKey, JobDump>,
    ) -> IngressRow {
        let index = context.index.borrow();
        let problems = index.problems(key).into_iter().flatten();
        let row = |planned: &PlannedCertificate| {
            certificate(context, planned, runs.get(&planned.secret), self.hosts)
        };
        let planned = index.planned(key);
        let certificates: Vec<CertificateRow> =
            planned.iter().take(self.certificates).map(row).collect();
        IngressRow {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            phase: phase.and_then(described),
            problems: problems.map(|problem| problem.to_string()).collect(),
            left_alone: left_alone(&index, key).map(ToString::to_string),
            certificates_left_out: planned.len() - certificates.len(),
            certificates,
        }
    }
}

/// Says what is left out of the page.
fn note(rows: &[IngressRow]) -> Option<String> {
    let certificates: usize = rows.iter().map(|row| row.certificates_left_out).sum();
    let hosts = rows.iter().flat_map(|row| &row.certificates).map(|row| row.hosts_left_out);
    let hosts: usize = hosts.sum();
    (certificates + hosts > 0).then(|| {
        format!(
            "{certificates} certificates and {hosts} hosts are left out, because a page has at most {} and {}; a smaller \
             limit shows more of each Ingress",
            limits::LISTED_CERTIFICATES,
            limits::LISTED_HOSTS
        )
    })
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
pub(super) fn is_none(count: &usize) -> bool {
    *count == 0
}

/// Returns the number of matching Ingresses, and the keys of the page.
async fn page(
    context: &OperatorContext,
    pool: &Addr<Pool>,
    query: &ListIngresses,
) -> (usize, Vec<IngressKey>) {
    let ListIngresses { search, limit, offset } = query;
    if search.looks_inside() {
        let at_work = pool.send(AtWork).await.unwrap_or_default();
        let all = matching(context, search, &at_work).await;
        let total = all.len();
        let page = top_k(all.iter(), *offset, *limit, |key| *key);
        return (total, page.into_iter().cloned().collect());
    }
    let index = context.index.borrow();
    let all: Vec<&IngressKey> = index.managed().filter(|key| search.is_in(key)).collect();
    let total = all.len();
    let page = top_k(all.into_iter(), *offset, *limit, |key| *key);
    (total, page.into_iter().cloned().collect())
}

fn certificate(
    context: &OperatorContext,
    planned: &PlannedCertificate,
    run: Option<&JobDump>,
    most_hosts: usize,
) -> CertificateRow {
    let validity = context.dates.expiries.read(|expiries| expiries.validity(&planned.secret));
    let (issuance, in_flight, failing) = context.ledger.with(&planned.secret, |state| {
        let failing = state.failing().map(FailureDump::of);
        (state.name(), state.issuance().is_some(), failing)
    });
    let at_work = in_flight || run.is_some();
    let waits = context.cas.waiting(&planned.secret);
    let now = context.clock.now();
    CertificateRow {
        secret: planned.secret.name.clone(),
        hosts: planned.names.iter().take(most_hosts).map(DnsName::to_string).collect(),
        hosts_left_out: planned.names.len().saturating_sub(most_hosts),
        ca: context.shown_ca(&planned.secret),
        state: CertificateStatus::of(validity, failing.is_some(), at_work, now),
        not_after: validity.map(|validity| validity.not_after),
        renewal: validity.map(|validity| validity.renewal),
        issuance,
        run: run.cloned(),
        waits: waits.map(WaitDump::of),
        stopped: context.switch.has(&planned.secret),
        failing,
    }
}

fn described(phase: Phase) -> Option<PhaseDump> {
    let text = |at: Timestamp| Some(at.to_string());
    let (name, since, until, again) = match phase {
        Phase::Idle => return None,
        Phase::Settling(_) => ("settling", None, None, false),
        Phase::InFlight { since, dirty } => ("in flight", text(since), None, dirty.is_some()),
        Phase::Waiting { until } => ("waiting", None, text(until), false),
    };
    Some(PhaseDump { name, since, until, again })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rate_limits::{LimitScope, LimitWait};
    use crate::reporting::reporter::contracts::{NOW, hold, phases};

    fn certificate() -> CertificateRow {
        let (scope, detail) = (LimitScope::Account, "the words of the CA".to_owned());
        let class = "authorization";
        CertificateRow {
            secret: "shop".into(),
            hosts: vec!["shop.example.com".to_owned()],
            hosts_left_out: 0,
            ca: Some("own".to_owned()),
            state: CertificateStatus::Failing,
            not_after: Some(NOW),
            renewal: Some(NOW),
            issuance: "failing",
            run: Some(JobDump {
                secret: "web/shop".to_owned(),
                phase: "parked",
                since: NOW,
                key: SecretKey::new("web", "shop"),
            }),
            waits: Some(WaitDump::of(LimitWait {
                ca: None,
                scope,
                detail: detail.clone(),
                turn: NOW,
            })),
            stopped: true,
            failing: Some(FailureDump { class, detail, attempts: 3, since: NOW, retry_at: NOW }),
        }
    }

    #[test]
    fn the_page_has_the_keys_that_programs_read() {
        let text = || Some(NOW.to_string());
        let phase = PhaseDump { name: "in flight", since: text(), until: text(), again: true };
        let row = IngressRow {
            namespace: "web".into(),
            name: "shop".into(),
            phase: Some(phase),
            problems: vec!["a problem".to_owned()],
            left_alone: None,
            certificates: vec![certificate()],
            certificates_left_out: 0,
        };
        let ingresses = vec![row];
        let (role, now, note) = (LEADER, NOW, None);
        let page = Listing { role, now, total: 1, offset: 0, limit: 500, ingresses, note };
        hold("api-ingresses", &serde_json::to_string_pretty(&page).unwrap());
        let certificates = vec![CertificateRow { hosts_left_out: 2, ..certificate() }];
        let ingresses = vec![IngressRow {
            certificates,
            certificates_left_out: 3,
            ..page.ingresses[0].clone()
        }];
        let note = super::note(&ingresses);
        let page = Listing { ingresses, note, ..page };
        hold("api-ingresses-left-out", &serde_json::to_string_pretty(&page).unwrap());
    }

    #[test]
    fn every_standing_and_phase_is_called_as_programs_know_it() {
        let standings = [
            CertificateStatus::Valid,
            CertificateStatus::Renewing,
            CertificateStatus::Pending,
            CertificateStatus::Failing,
            CertificateStatus::Expired,
            CertificateStatus::Unknown,
        ];
        let standings = standings.iter().map(|one| serde_json::to_string(one).unwrap());
        let phases = phases().into_iter();
        let phases = phases.map(|phase| serde_json::to_string(&described(phase)).unwrap());
        hold("api-words", &standings.chain(phases).collect::<Vec<_>>().join("\n"));
    }
}
