//! Contract of the metrics: the names, types and labels used in dashboards and alerts. Help texts
//! have snapshots of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::ingress::SecretKey;
use ingress_acme_actors::domain::rate_limits::RateLimits;
use ingress_acme_actors::domain::scheduling::scheduler::Load;
use ingress_acme_actors::domain::validity::expiries::Validity;
use ingress_acme_actors::reporting::metrics::{IssueKind, Metrics, Source};
use ingress_acme_actors::shared_expiries::SharedExpiries;
use prometheus_client::registry::Registry;

use crate::events::NOW;
use crate::{hold, lines};

/// Metrics of the operator in text format, with a sample of every family.
fn scraped() -> String {
    let (metrics, took) = (Metrics::default(), Duration::from_secs(1));
    let expiries = SharedExpiries::default();
    metrics.event(Source::Watch);
    metrics.event(Source::Scan);
    metrics.event_coalesced();
    metrics.dedup_actors(1);
    metrics.pool(Load { queued: 1, running: 1, parked: 1 }, Some(NOW));
    metrics.rate_limits(&RateLimits::default(), NOW);
    for kind in [IssueKind::First, IssueKind::Renew, IssueKind::Replace] {
        metrics.issued(kind, took);
    }
    for class in FailureClass::ALL {
        metrics.failed(class);
    }
    metrics.step("a step", took);
    metrics.journaled("an event");
    metrics.journal_segments(1, 0);
    metrics.managed(1);
    metrics.scanned(NOW);
    metrics.watch_restarted("a reason");
    metrics.acme_request("an endpoint", 200, took);
    metrics.kube_request("get", "secrets", 200);
    let validity = Validity { not_after: NOW, renewal: NOW };
    expiries.record(&SecretKey::new("web", "shop"), Some(validity));
    metrics.answered();
    metrics.event_dropped();
    metrics.connections("solver", 1);
    metrics.connection_dropped("solver");
    metrics.leads(true);
    encoded(&metrics.registry("1.2.3", "https://ca.example/directory", &expiries))
}

fn encoded(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text
}

/// Name and labels of a sample.
pub(crate) fn sample(line: &str) -> (String, Vec<(String, String)>) {
    let (series, _) = line.rsplit_once(' ').unwrap();
    let Some((name, labels)) = series.split_once('{') else {
        return (series.to_owned(), Vec::new());
    };
    let labels = labels.trim_end_matches('}').split("\",");
    let pair = |label: &str| {
        let (name, value) = label.split_once("=\"").unwrap();
        (name.to_owned(), value.trim_end_matches('"').to_owned())
    };
    (name.to_owned(), labels.map(pair).collect())
}

/// Lines that start with `mark`, sorted and without the mark.
pub(crate) fn exposed(text: &str, mark: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| line.strip_prefix(mark)).map(str::to_owned).collect()
}

fn samples(text: &str) -> impl Iterator<Item = (String, Vec<(String, String)>)> {
    text.lines().filter(|line| !line.starts_with('#')).map(sample)
}

fn series(text: &str) -> BTreeSet<String> {
    let named = |(name, labels): (String, Vec<(String, String)>)| {
        let names: Vec<String> = labels.into_iter().map(|(name, _)| name).collect();
        format!("{name}{{{}}}", names.join(","))
    };
    samples(text).map(named).collect()
}

#[test]
fn every_metric_has_the_name_the_type_and_the_labels_of_before() {
    let text = scraped();
    let types = exposed(&text, "# TYPE ");
    let names: BTreeSet<String> = samples(&text).map(|(name, _)| name).collect();
    for family in &types {
        let family = family.split(' ').next().unwrap();
        assert!(names.iter().any(|name| name.starts_with(family)), "{family} has no sample");
    }
    hold("metrics", &lines(types));
    hold("metric-series", &lines(series(&text)));
}

#[cfg(target_os = "linux")]
#[test]
fn every_metric_of_the_process_has_the_name_and_the_type_of_before() {
    let text = encoded(&ingress_acme::process::process_metrics::register(Registry::default()));
    hold("metrics-of-the-process", &lines(exposed(&text, "# TYPE ")));
    hold("metric-series-of-the-process", &lines(series(&text)));
    hold("metric-help-of-the-process", &lines(exposed(&text, "# HELP ")));
}

#[test]
fn every_metric_has_the_help_of_before() {
    hold("metric-help", &lines(exposed(&scraped(), "# HELP ")));
}

#[test]
fn labels_with_a_closed_set_of_values_have_those_of_before() {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, labels) in samples(&scraped()) {
        for (label, value) in labels {
            all.entry(format!("{name} {label}")).or_default().insert(value);
        }
    }
    let line = |(of, values): (String, BTreeSet<String>)| {
        format!("{of}: {}", values.into_iter().collect::<Vec<_>>().join(" | "))
    };
    hold("metric-label-values", &lines(all.into_iter().map(line)));
}
