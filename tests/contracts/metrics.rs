//! Contract of the metrics: the names, types and labels used in dashboards and alerts. Help texts
//! have snapshots of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use ingress_acme::dns_and_http::admin::exposition::Format;
use ingress_acme::process::process_metrics::register;
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::ingress::SecretKey;
use ingress_acme_actors::domain::issuance::Outlook;
use ingress_acme_actors::domain::rate_limits::RateLimits;
use ingress_acme_actors::domain::scheduling::scheduler::Load;
use ingress_acme_actors::domain::validity::expiries::Validity;
use ingress_acme_actors::reporting::metrics::{IssueKind, Metrics, Source};
use ingress_acme_actors::shared_expiries::SharedExpiries;
use prometheus_client::registry::Registry;

use crate::events::NOW;
use crate::{hold, lines};

/// Metrics of the operator in OpenMetrics, with a sample of every family.
pub(crate) fn scraped() -> String {
    encoded(&sampled())
}

/// Registry of the operator with a sample of every family.
fn sampled() -> Registry {
    let (metrics, took) = (Metrics::default(), Duration::from_secs(1));
    let expiries = SharedExpiries::default();
    metrics.event(Source::Watch);
    metrics.event(Source::Scan);
    metrics.event_coalesced();
    metrics.dedup_actors(1);
    metrics.pool(Load { queued: 1, running: 1, parked: 1 }, Some(NOW));
    metrics.rate_limits("first", &RateLimits::default(), NOW);
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
    metrics.acme_request("first", "an endpoint", 200, took);
    metrics.kube_request("get", "secrets", 200);
    let validity = Validity { not_after: NOW, renewal: NOW };
    expiries.record(&SecretKey::new("web", "shop"), Some(validity));
    metrics.answered();
    metrics.event_dropped();
    metrics.connections("solver", 1);
    metrics.connection_dropped("solver");
    metrics.dns_accounts(1, 1);
    metrics.leads(true);
    metrics.new_orders_stopped(true);
    metrics.dry_run(&Outlook::LABELS.map(|label| (label, 1)));
    metrics.registry("1.2.3", "https://ca.example/directory", &expiries)
}

fn encoded(registry: &Registry) -> String {
    Format::OpenMetrics.write(registry).unwrap()
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

#[test]
fn both_formats_have_the_same_samples_and_the_text_format_names_them_in_its_comments() {
    let registry = register(sampled());
    let [text, open_metrics] =
        [Format::Text, Format::OpenMetrics].map(|format| format.write(&registry).unwrap());
    // Those of the process change from one scrape to the next.
    let shown = |text: &str| -> Vec<String> {
        let samples = text.lines().filter(|line| !line.starts_with(['#', 'p']));
        samples.filter(|line| !line.contains("_process_")).map(str::to_owned).collect()
    };
    assert_eq!(shown(&text), shown(&open_metrics));
    assert_eq!(series(&text), series(&open_metrics));
    let comments = text.lines().filter(|line| line.starts_with('#')).count();
    let types = exposed(&text, "# TYPE ");
    assert_eq!(comments, types.len() + exposed(&text, "# HELP ").len(), "no unit and no end");
    let names: BTreeSet<String> = samples(&text).map(|(name, _)| name).collect();
    for family in &types {
        let (name, kind) = family.split_once(' ').unwrap();
        let is_named = match kind {
            "counter" | "gauge" => names.contains(name),
            _ => ["_bucket", "_sum", "_count"]
                .iter()
                .all(|end| names.contains(&format!("{name}{end}"))),
        };
        assert!(is_named, "{family} has no sample of this name");
    }
}

/// Prometheus's own check of a scrape, with its lint of names, helps and units.
#[test]
fn promtool_has_nothing_to_say_about_the_text_format() {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut checking) = promtool.stderr(Stdio::piped()).spawn() else {
        assert!(std::env::var_os("CI").is_none(), "promtool is not installed");
        return eprintln!("promtool is not installed: the text format is not checked with it");
    };
    let text = Format::Text.write(&register(sampled())).unwrap();
    checking.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = checking.wait_with_output().unwrap();
    let said = [checked.stdout, checked.stderr].map(|said| String::from_utf8(said).unwrap());
    assert_eq!((checked.status.code(), said), (Some(0), [String::new(), String::new()]));
}

#[cfg(target_os = "linux")]
#[test]
fn every_metric_of_the_process_has_the_name_and_the_type_of_before() {
    let text = encoded(&register(Registry::default()));
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
