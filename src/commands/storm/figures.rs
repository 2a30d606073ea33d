//! Figures of a storm, computed from the recorded times and the operator's metrics. No I/O.

use std::time::Duration;

use serde::Serialize;

use super::operator::Sample;
use super::plan::Plan;
use super::tally::Row;

/// Everything recorded of one storm.
#[derive(Clone, Debug)]
pub struct StormRun {
    /// The plan of the storm.
    pub plan: Plan,
    /// Times of each Ingress and its Secret.
    pub rows: Vec<Row>,
    /// The operator's metrics before the first Ingress.
    pub before: Sample,
    /// The operator's metrics after the last Secret.
    pub after: Sample,
    /// The operator's metrics during the storm, with the time since the begin.
    pub meanwhile: Vec<(Duration, Sample)>,
}

/// Figures of a storm. Times are in seconds, sizes in bytes. Counts cover the time of the storm
/// only, including any other work of the operator in that time.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Figures {
    /// Number of Ingresses created.
    pub ingresses: u32,
    /// Number of edits per Ingress.
    pub edits: u32,
    /// Number of hosts per Ingress.
    pub names: u32,
    /// Number of Ingresses that ended with the right certificate.
    pub right: u32,
    /// URL of the CA's directory.
    pub directory: String,
    /// Time from the first Ingress to the last right Secret.
    pub seconds: f64,
    /// Time from an Ingress's last change to its Secret.
    pub time_to_secret: Option<Percentiles>,
    /// Number of events on Ingresses received by the operator.
    pub events_in: u64,
    /// Number of those events that were coalesced with another one.
    pub events_coalesced: u64,
    /// Number of orders opened by the CA.
    pub orders: u64,
    /// Number of certificates installed by the operator.
    pub certificates: u64,
    /// Number of failed attempts.
    pub failed: u64,
    /// Number of requests to the CA.
    pub acme_requests: u64,
    /// Requests to the API server, by verb and resource.
    pub kube_requests: Vec<Requests>,
    /// Number of requests to the API server per certificate.
    pub kube_requests_per_certificate: f64,
    /// CPU time of the operator.
    pub cpu_seconds: f64,
    /// CPU time of the operator per certificate, in milliseconds.
    pub cpu_ms_per_certificate: f64,
    /// Resident memory of the operator before the storm.
    pub memory_before: u64,
    /// Peak of the operator's resident memory during the storm.
    pub memory_peak: u64,
}

/// Requests of one kind.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Requests {
    /// Verb, as in audit logs.
    pub verb: String,
    /// Resource, plural.
    pub resource: String,
    /// Number of requests.
    pub count: u64,
}

/// Percentiles of times, in seconds, by the nearest rank.
#[derive(Clone, Copy, Debug, Serialize, PartialEq)]
pub struct Percentiles {
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Maximum.
    pub max: f64,
}

impl Percentiles {
    /// Computes the percentiles of `times`; `None` if empty.
    pub fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort();
        let rank = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            Some(times.get(rank - 1)?.as_secs_f64())
        };
        Some(Self { p50: rank(50)?, p90: rank(90)?, p99: rank(99)?, max: rank(100)? })
    }
}

impl Figures {
    /// Computes the figures of a storm.
    pub fn of(run: &StormRun) -> Self {
        let StormRun { plan, rows, before, after, .. } = run;
        let right: Vec<&Row> = rows.iter().filter(|row| row.right).collect();
        let first = rows.iter().filter_map(|row| row.made).min().unwrap_or_default();
        let last = right.iter().filter_map(|row| row.written).max().unwrap_or_default();
        let certificates = after.issued.saturating_sub(before.issued);
        let kube = after.kube_total().saturating_sub(before.kube_total());
        let cpu = after.cpu - before.cpu;
        let failed = |sample: &Sample| sample.failed.values().sum::<u64>();
        Self {
            ingresses: plan.ingresses,
            edits: plan.edits,
            names: plan.names,
            right: u32::try_from(right.len()).unwrap_or(u32::MAX),
            directory: after.directory.clone().unwrap_or_default(),
            seconds: last.saturating_sub(first).as_secs_f64(),
            time_to_secret: Percentiles::of(right.iter().filter_map(|row| row.took()).collect()),
            events_in: after.events.saturating_sub(before.events),
            events_coalesced: after.coalesced.saturating_sub(before.coalesced),
            orders: after.orders.saturating_sub(before.orders),
            certificates,
            failed: failed(after).saturating_sub(failed(before)),
            acme_requests: after.acme_requests.saturating_sub(before.acme_requests),
            kube_requests: requests(before, after),
            kube_requests_per_certificate: share(float(kube), certificates),
            cpu_seconds: cpu,
            cpu_ms_per_certificate: share(1000.0 * cpu, certificates),
            memory_before: before.memory,
            memory_peak: memory_peak(run),
        }
    }
}

/// Returns the kernel's peak if the storm has raised that peak, otherwise the largest sample.
fn memory_peak(run: &StormRun) -> u64 {
    if run.after.memory_peak > run.before.memory_peak {
        return run.after.memory_peak;
    }
    let meanwhile = run.meanwhile.iter().map(|(_, sample)| sample.memory);
    meanwhile.chain([run.after.memory]).max().unwrap_or_default()
}

/// Returns the differences per kind of request, most frequent first.
fn requests(before: &Sample, after: &Sample) -> Vec<Requests> {
    let differences = after.kube_requests.iter().map(|(kind, count)| {
        let (verb, resource) = kind.clone();
        let earlier = before.kube_requests.get(kind).copied().unwrap_or_default();
        Requests { verb, resource, count: count.saturating_sub(earlier) }
    });
    let mut requests: Vec<_> = differences.filter(|requests| requests.count > 0).collect();
    requests.sort_by_key(|requests| std::cmp::Reverse(requests.count));
    requests
}

fn share(of: f64, among: u64) -> f64 {
    if among == 0 { 0.0 } else { of / float(among) }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> StormRun {
        let plan = Plan {
            run: "r".into(),
            ingresses: 2,
            edits: 0,
            namespaces: 1,
            names: 1,
            domain: "example.com".into(),
            class: None,
            spec_tls: true,
        };
        let row = |made, written, right| Row {
            made: Some(Duration::from_secs(made)),
            changed: Some(Duration::from_secs(made)),
            written: Some(Duration::from_secs(written)),
            right,
        };
        let kind = ("patch".to_owned(), "secrets".to_owned());
        let sample = |issued: u64, patches| Sample {
            issued,
            kube_requests: [(kind.clone(), patches)].into(),
            memory: 10,
            memory_peak: 50,
            ..Sample::default()
        };
        StormRun {
            plan,
            rows: vec![row(1, 3, true), row(2, 8, true)],
            before: sample(5, 10),
            after: sample(7, 18),
            meanwhile: vec![(Duration::from_secs(1), Sample { memory: 30, ..sample(6, 14) })],
        }
    }

    #[test]
    fn figures_are_of_the_storm_and_not_of_what_was_before() {
        let figures = Figures::of(&run());
        assert_eq!((figures.right, figures.certificates), (2, 2));
        let patches = Requests { verb: "patch".into(), resource: "secrets".into(), count: 8 };
        assert_eq!(figures.kube_requests, [patches]);
        assert!((figures.kube_requests_per_certificate - 4.0).abs() < 1e-9);
        assert!((figures.seconds - 7.0).abs() < 1e-9);
        assert_eq!(figures.time_to_secret.map(|times| times.max), Some(6.0));
    }

    #[test]
    fn a_peak_of_long_ago_is_not_the_storms() {
        let mut run = run();
        assert_eq!(Figures::of(&run).memory_peak, 30);
        run.after.memory_peak = 60;
        assert_eq!(Figures::of(&run).memory_peak, 60);
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let times = (1..=200).map(Duration::from_secs).collect();
        let of = Percentiles::of(times).unwrap();
        assert_eq!((of.p50, of.p90, of.p99, of.max), (100.0, 180.0, 198.0, 200.0));
        assert_eq!(Percentiles::of(Vec::new()), None);
    }
}
