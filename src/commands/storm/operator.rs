//! The operator's own figures, read from its `/metrics`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};
use prometheus_parse::{Scrape, Value};

use crate::kubernetes::client::detail;

/// Longest wait for one scrape.
const SCRAPE: Duration = Duration::from_secs(10);
/// Label of the operator's pods in `deploy/install.yaml`.
const PODS: &str = "app.kubernetes.io/name=ingress-acme";
/// Metrics port of the operator's pods.
const METRICS_PORT: u16 = 9090;

/// Location of the metrics.
pub enum Source {
    /// At this URL.
    Url(reqwest::Client, url::Url),
    /// On the operator's pods in this namespace, through the API server's proxy.
    Pods(Client, String),
}

/// The operator's metrics at one time. Counters start at the operator's start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Whether the operator leads.
    pub leads: bool,
    /// URL of the operator's ACME directory.
    pub directory: Option<String>,
    /// Number of events on Ingresses.
    pub events: u64,
    /// Number of those events that were coalesced with another one.
    pub coalesced: u64,
    /// Number of certificates installed.
    pub issued: u64,
    /// Number of failed attempts, by reason.
    pub failed: BTreeMap<String, u64>,
    /// Number of orders opened by the CA.
    pub orders: u64,
    /// Number of requests to the CA.
    pub acme_requests: u64,
    /// Number of requests to the API server, by verb and resource.
    pub kube_requests: BTreeMap<(String, String), u64>,
    /// Number of records appended to the journal.
    pub journaled: u64,
    /// Number of certificates waiting for a worker.
    pub queued: u64,
    /// Number of certificates assigned to a worker, or waiting for the CA or a host.
    pub in_work: u64,
    /// Number of Ingresses with work in progress or a burst of events.
    pub busy: u64,
    /// Whether a scan has ended since the operator's start.
    pub scanned: bool,
    /// CPU time, in seconds.
    pub cpu: f64,
    /// Resident memory, in bytes.
    pub memory: u64,
    /// Peak of the resident memory, in bytes.
    pub memory_peak: u64,
}

impl Source {
    /// Creates a source for `url`, which is `/metrics` of a replica.
    pub fn url(url: url::Url) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().no_proxy().timeout(SCRAPE).build()?;
        Ok(Self::Url(client, url))
    }

    /// Reads the current metrics of the leading operator.
    pub async fn sample(&self) -> anyhow::Result<Sample> {
        match self {
            Self::Url(client, url) => {
                let answer = client
                    .get(url.clone())
                    .send()
                    .await
                    .and_then(reqwest::Response::error_for_status);
                let answer = answer.with_context(|| format!("no metrics at {url}"))?;
                let sample = parse(&answer.text().await?)?;
                if !sample.leads {
                    bail!(
                        "the operator at {url} does not lead; the Lease in its namespace shows which one does"
                    );
                }
                Ok(sample)
            }
            Self::Pods(client, namespace) => of_pods(client, namespace).await,
        }
    }
}

async fn of_pods(client: &Client, namespace: &str) -> anyhow::Result<Sample> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let found = pods.list(&ListParams::default().labels(PODS)).await;
    let found = match found {
        Ok(found) => found.items,
        Err(error) => bail!("the pods of {namespace} cannot be listed: {}", detail(&error)),
    };
    let mut trouble = format!("there is no pod of the operator in namespace {namespace}");
    for name in found.into_iter().filter_map(|pod| pod.metadata.name) {
        let path =
            format!("/api/v1/namespaces/{namespace}/pods/{name}:{METRICS_PORT}/proxy/metrics");
        let request = http::Request::get(path).body(Vec::new())?;
        match client.request_text(request).await {
            Ok(text) => match parse(&text)? {
                sample if sample.leads => return Ok(sample),
                _ => "none of the operator's pods leads".clone_into(&mut trouble),
            },
            Err(error) => trouble = format!("pod {name} does not answer: {}", detail(&error)),
        }
    }
    bail!("{trouble}; forward port {METRICS_PORT} of the leading pod, and set --metrics-url to it")
}

/// Parses the text format of Prometheus.
fn parse(text: &str) -> anyhow::Result<Sample> {
    let lines = text.lines().map(|line| Ok(line.to_owned()));
    let scrape = Scrape::parse(lines).context("the operator's metrics cannot be read")?;
    let mut sample = Sample::default();
    for metric in &scrape.samples {
        let (Value::Untyped(value) | Value::Counter(value) | Value::Gauge(value)) = &metric.value
        else {
            continue;
        };
        let label = |name: &str| metric.labels.get(name).unwrap_or_default().to_owned();
        sample.take(&metric.metric, *value, label);
    }
    Ok(sample)
}

impl Sample {
    fn take(&mut self, metric: &str, value: f64, label: impl Fn(&str) -> String) {
        let count = whole(value);
        let metric = metric.strip_prefix("ingress_acme_").unwrap_or(metric);
        match metric {
            "leader" => self.leads = count == 1,
            "acme_directory_info" => self.directory = Some(label("directory")),
            "events_in_total" => self.events += count,
            "events_coalesced_total" => self.coalesced += count,
            "issued_total" => self.issued += count,
            "failed_total" if count > 0 => {
                *self.failed.entry(label("reason")).or_default() += count;
            }
            "acme_requests_total" => {
                self.acme_requests += count;
                let opened = label("endpoint") == "new_order" && label("status") == "201";
                self.orders += if opened { count } else { 0 };
            }
            "kube_requests_total" => {
                let what = (label("verb"), label("resource"));
                *self.kube_requests.entry(what).or_default() += count;
            }
            "journal_records_total" => self.journaled += count,
            "runs" if label("state") == "queued" => self.queued = count,
            "runs" => self.in_work += count,
            "dedup_actors" => self.busy = count,
            "last_scan_timestamp_seconds" => self.scanned = count > 0,
            "process_cpu_seconds_total" => self.cpu = value,
            "process_resident_memory_bytes" => self.memory = count,
            "process_resident_memory_peak_bytes" => self.memory_peak = count,
            _ => {}
        }
    }

    /// Adds the counters of another operator, which ran before or after.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.coalesced += other.coalesced;
        self.issued += other.issued;
        self.orders += other.orders;
        self.acme_requests += other.acme_requests;
        for (kind, count) in &other.kube_requests {
            *self.kube_requests.entry(kind.clone()).or_default() += count;
        }
        for (reason, count) in &other.failed {
            *self.failed.entry(reason.clone()).or_default() += count;
        }
    }

    /// Whether the operator has no work in progress.
    pub fn is_idle(&self) -> bool {
        self.queued + self.in_work + self.busy == 0
    }

    /// Total number of requests to the API server.
    pub fn kube_total(&self) -> u64 {
        self.kube_requests.values().sum()
    }
}

/// Converts a count, which Prometheus writes as a float.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count is neither negative nor beyond 2^53"
)]
fn whole(value: f64) -> u64 {
    value.max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP ingress_acme_events_in Events on Ingresses.
# TYPE ingress_acme_events_in counter
ingress_acme_events_in_total{source="watch"} 40
ingress_acme_events_in_total{source="scan"} 2
ingress_acme_leader 1
ingress_acme_acme_directory_info{directory="https://127.0.0.1:1/directory"} 1
ingress_acme_acme_requests_total{endpoint="new_order",status="201"} 3
ingress_acme_acme_requests_total{endpoint="new_order",status="429"} 4
ingress_acme_failed_total{reason="dns"} 0
ingress_acme_failed_total{reason="rate_limited"} 5
ingress_acme_kube_requests_total{verb="patch",resource="secrets",code="200"} 6
ingress_acme_kube_requests_total{verb="patch",resource="secrets",code="409"} 1
ingress_acme_journal_records_total{event="begun"} 2
ingress_acme_journal_records_total{event="failed"} 1
ingress_acme_runs{state="queued"} 7
ingress_acme_runs{state="running"} 8
ingress_acme_runs{state="parked"} 9
# TYPE process_cpu_seconds counter
process_cpu_seconds_total 1.5
process_resident_memory_bytes 1048576
# EOF
"#;

    #[test]
    fn what_the_operator_says_is_understood() {
        let sample = parse(TEXT).unwrap();
        assert!(sample.leads && !sample.is_idle());
        assert_eq!((sample.events, sample.orders, sample.acme_requests), (42, 3, 7));
        assert_eq!(sample.failed, [("rate_limited".to_owned(), 5)].into());
        assert_eq!(sample.kube_requests[&("patch".to_owned(), "secrets".to_owned())], 7);
        assert_eq!((sample.queued, sample.in_work, sample.memory), (7, 17, 1_048_576));
        assert_eq!(sample.journaled, 3);
        assert!((sample.cpu - 1.5).abs() < f64::EPSILON);
        assert_eq!(sample.directory.as_deref(), Some("https://127.0.0.1:1/directory"));
    }
}
