//! Output formats for a storm's figures: a table, JSON, or one HTML file with charts.

use askama::Template;
use comfy_table::{Table, presets};

use super::charts;
use super::figures::{Figures, Percentiles, StormRun};

/// Formats the figures as a table for people.
pub(super) fn table(figures: &Figures) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (name, value) in rows(figures) {
        table.add_row([name, value]);
    }
    for requests in &figures.kube_requests {
        let name = format!("  {} {}", requests.verb, requests.resource);
        table.add_row([name, requests.count.to_string()]);
    }
    table
}

/// Returns all figures except the requests per kind.
fn rows(figures: &Figures) -> Vec<(String, String)> {
    let Figures { ingresses, right, certificates, orders, seconds, .. } = figures;
    let mebibytes =
        |bytes: u64| format!("{}.{} MiB", bytes >> 20, ((bytes >> 10) % 1024) * 10 / 1024);
    let time = |pick: fn(Percentiles) -> f64| {
        figures
            .time_to_secret
            .map_or_else(|| "-".to_owned(), |times| format!("{:.2} s", pick(times)))
    };
    let row = |name: &str, value: String| (name.to_owned(), value);
    vec![
        row("Ingresses with the right certificate", format!("{right} of {ingresses}")),
        row("edits of each", figures.edits.to_string()),
        row("first Ingress to last Secret", format!("{seconds:.2} s")),
        row("time to Secret, p50", time(|times| times.p50)),
        row("time to Secret, p90", time(|times| times.p90)),
        row("time to Secret, p99", time(|times| times.p99)),
        row("time to Secret, longest", time(|times| times.max)),
        row("events in, coalesced", format!("{}, {}", figures.events_in, figures.events_coalesced)),
        row("orders, certificates", format!("{orders}, {certificates}")),
        row("attempts that failed", figures.failed.to_string()),
        row(
            "operator's CPU for each certificate",
            format!("{:.2} ms", figures.cpu_ms_per_certificate),
        ),
        row("operator's memory, before and at most", {
            let (before, peak) = (figures.memory_before, figures.memory_peak);
            format!("{}, {}", mebibytes(before), mebibytes(peak))
        }),
        row("requests to the CA", figures.acme_requests.to_string()),
        row(
            "API requests for each certificate",
            format!("{:.2}", figures.kube_requests_per_certificate),
        ),
    ]
}

#[derive(Template)]
#[template(path = "storm.html")]
struct Page<'a> {
    title: String,
    directory: &'a str,
    rows: Vec<(String, String)>,
    requests: Vec<(String, u64)>,
    /// Headings, and charts as SVG.
    charts: Vec<(&'static str, String)>,
}

/// Renders the figures with their charts as one self-contained HTML file.
pub(super) fn html(run: &StormRun, figures: &Figures) -> anyhow::Result<String> {
    let requests = figures.kube_requests.iter();
    let requests = requests.map(|of| (format!("{} {}", of.verb, of.resource), of.count)).collect();
    let page = Page {
        title: format!("Storm of {} Ingresses, {} edits each", figures.ingresses, figures.edits),
        directory: &figures.directory,
        rows: rows(figures),
        requests,
        charts: vec![
            ("Time to Secret", charts::time_to_secret(run)?),
            ("Queue", charts::queue(run)?),
            ("Requests so far", charts::requests(run)?),
            ("Memory of the operator, MiB", charts::memory(run)?),
        ],
    };
    Ok(page.render()?)
}
