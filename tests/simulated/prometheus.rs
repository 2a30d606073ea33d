//! A real Prometheus that scrapes a running operator: Debian's package, if it is installed.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use ingress_acme_sim::{Options, free_address};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{alone, eventually, plan, simulated, stormed};

/// Queries of users. Each has a result while an operator runs. Those of the rules and the dashboard
/// are in `alerts.rs`.
const QUERIES: [&str; 9] = [
    "up == 1",
    "sum(ingress_acme_leader) == 1",
    "ingress_acme_build_info * on() group_left(directory) ingress_acme_acme_directory_info",
    "ingress_acme_certificate_not_after_timestamp_seconds - time() > 0",
    "time() - ingress_acme_certificate_renewal_timestamp_seconds < 86400",
    "sum by (kind) (ingress_acme_issued_total) > 0",
    "sum by (reason) (increase(ingress_acme_failed_total[1m])) == 0",
    "histogram_quantile(0.9, sum by (le) (ingress_acme_issuance_duration_seconds_bucket)) > 0",
    "rate(process_cpu_seconds_total[1m]) >= 0",
];

/// A running Prometheus, killed on drop.
pub(crate) struct Prometheus {
    address: SocketAddr,
    client: reqwest::Client,
    _process: Child,
    _directory: TempDir,
}

/// Jobs of Prometheus with their targets (`HOST:PORT`), its rules, and the time between two scrapes
/// and two evaluations.
pub(crate) struct Scrapes<'a> {
    pub(crate) jobs: &'a [(&'a str, &'a [SocketAddr])],
    pub(crate) rules: &'a str,
    pub(crate) every: &'a str,
}

impl Scrapes<'_> {
    fn config(&self) -> String {
        let job = |(name, targets): &(&str, &[SocketAddr])| {
            let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
            format!(
                "{{job_name: {name}, honor_labels: true, static_configs: [{{targets: {targets:?}}}]}}"
            )
        };
        let jobs: Vec<String> = self.jobs.iter().map(job).collect();
        let (every, jobs) = (self.every, jobs.join(", "));
        format!(
            "{{global: {{scrape_interval: {every}, scrape_timeout: {every}, evaluation_interval: {every}}}, \
             rule_files: [rules.yml], scrape_configs: [{jobs}]}}"
        )
    }
}

impl Prometheus {
    /// Starts one; `None` where there is none, and no CI that would have it.
    pub(crate) fn start(scrapes: &Scrapes<'_>) -> Option<Self> {
        let (directory, address) = (tempfile::tempdir().unwrap(), free_address().unwrap());
        let config = directory.path().join("prometheus.yml");
        fs::write(&config, scrapes.config()).unwrap();
        fs::write(directory.path().join("rules.yml"), scrapes.rules).unwrap();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        command.kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(process) = command.spawn() else {
            assert!(std::env::var_os("CI").is_none(), "prometheus is not installed");
            eprintln!("prometheus is not installed: no Prometheus scrapes the operator");
            return None;
        };
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10));
        let client = client.build().unwrap();
        Some(Self { address, client, _process: process, _directory: directory })
    }

    /// `data` of an answer of its API; `None` while there is none.
    pub(crate) async fn data(&self, path: &str, query: &[(&str, &str)]) -> Option<Value> {
        let mut url: url::Url = format!("http://{}/api/v1/{path}", self.address).parse().unwrap();
        url.query_pairs_mut().extend_pairs(query);
        let answer = self.client.get(url).send().await.ok()?.bytes().await.ok()?;
        let mut answer: Value = serde_json::from_slice(&answer).ok()?;
        (answer["status"] == "success").then(|| answer["data"].take())
    }

    /// Whether a query has a result.
    pub(crate) async fn has(&self, query: &str) -> bool {
        let found = self.data("query", &[("query", query)]).await.unwrap_or_default();
        found["result"].as_array().is_some_and(|result| !result.is_empty())
    }
}

/// Names of all samples of a scrape in the text format.
fn names(text: &str) -> BTreeSet<String> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect()
}

#[actix::test]
async fn a_prometheus_knows_each_metric_of_an_operator_and_answers_from_them() {
    let _alone = alone().await;
    let simulated = simulated(Options::default()).await;
    let url = simulated.metrics_url();
    let target = url.trim_start_matches("http://").trim_end_matches("/metrics");
    let jobs = [("ingress-acme", &[target.parse().unwrap()][..])];
    let scrapes = Scrapes { jobs: &jobs, rules: "groups: []", every: "1s" };
    let Some(prometheus) = Prometheus::start(&scrapes) else { return };
    assert_eq!(stormed(&simulated, &plan(3, 0)).await.certificates, 3);
    for query in QUERIES {
        eventually(query, async || prometheus.has(query).await).await;
    }
    let text = prometheus.client.get(&url).send().await.unwrap();
    assert_eq!(text.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let shown = names(&text.text().await.unwrap());
    assert!(shown.len() > 30, "{shown:?}");
    eventually("each metric of the operator", async || {
        let known = prometheus.data("label/__name__/values", &[]).await.unwrap_or_default();
        let known = known.as_array();
        known.is_some_and(|known| shown.iter().all(|name| known.iter().any(|one| one == name)))
    })
    .await;
    // It asked for OpenMetrics: the text format has no type `info`.
    let metadata = prometheus.data("metadata", &[("metric", "ingress_acme_build")]).await.unwrap();
    assert_eq!(metadata["ingress_acme_build"][0]["type"], "info", "{metadata}");
    drop(prometheus);
    assert!(simulated.end().await.unwrap().success());
}
