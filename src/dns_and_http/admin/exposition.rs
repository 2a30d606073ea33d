//! The two formats of metrics that Prometheus reads, and the choice between them by `Accept`.
//!
//! `prometheus-client` writes OpenMetrics only, and many scrapers read the older text format only.
//! Both have the same samples; the text format differs in its comments.

use std::fmt::{Error, Write};

use actix_web::http::header::{Accept, Quality};
use actix_web::mime::Mime;
use prometheus_client::registry::Registry;

/// Format of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Prometheus text format 0.0.4.
    Text,
    /// OpenMetrics text format 1.0.0.
    OpenMetrics,
}

impl Format {
    /// Media type of the format.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Returns the format that a client likes best. Like Prometheus's own clients, answers text
    /// unless OpenMetrics is named, and refuses nobody.
    pub(super) fn accepted(mut accept: Accept) -> Self {
        accept.retain(|range| range.quality > Quality::ZERO);
        accept.ranked().iter().find_map(Self::in_range).unwrap_or(Self::Text)
    }

    /// Returns the format that a media range stands for: one that it names, or else text.
    fn in_range(range: &Mime) -> Option<Self> {
        let version = range.get_param("version").map(|version| version.as_str().to_owned());
        let has_version = |ours: &str| version.as_ref().is_none_or(|version| version == ours);
        match range.essence_str() {
            "application/openmetrics-text" => has_version("1.0.0").then_some(Self::OpenMetrics),
            "text/plain" => has_version("0.0.4").then_some(Self::Text),
            "text/*" | "*/*" => Some(Self::Text),
            _ => None,
        }
    }

    /// Writes all metrics of `registry`.
    pub fn write(self, registry: &Registry) -> Result<String, Error> {
        let mut metrics = String::new();
        prometheus_client::encoding::text::encode(&mut metrics, registry)?;
        match self {
            Self::OpenMetrics => Ok(metrics),
            Self::Text => text(&metrics),
        }
    }
}

/// Rewrites the comments of OpenMetrics. In the text format they name the samples, not their
/// family: those of a counter end in `_total`, and those of an info, a gauge here, in `_info`.
/// Units and the end have no comment.
fn text(open_metrics: &str) -> Result<String, Error> {
    let (mut text, mut help) = (String::with_capacity(open_metrics.len()), "");
    for line in open_metrics.lines() {
        if let Some(comment) = line.strip_prefix("# HELP ") {
            help = comment.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((family, kind)) =
            line.strip_prefix("# TYPE ").and_then(|comment| comment.split_once(' '))
        {
            let (ending, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            writeln!(text, "# HELP {family}{ending} {help}\n# TYPE {family}{ending} {kind}")?;
        } else if !line.starts_with('#') {
            writeln!(text, "{line}")?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{ACCEPT, Header};
    use actix_web::test::TestRequest;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::metrics::info::Info;
    use prometheus_client::registry::Unit;
    use proptest::prelude::*;

    use super::*;

    fn accepted(header: &str) -> Format {
        let request = TestRequest::get().insert_header((ACCEPT, header)).to_http_request();
        Accept::parse(&request).map_or(Format::Text, Format::accepted)
    }

    #[test]
    fn open_metrics_is_for_those_who_ask_for_it_and_text_for_all_others() {
        for (header, format) in [
            // Prometheus 2.42, 2.54 and 3.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Format::OpenMetrics,
            ),
            ("Application/OpenMetrics-Text", Format::OpenMetrics),
            ("application/openmetrics-text; version=\"1.0.0\"; charset=utf-8", Format::OpenMetrics),
            ("text/plain, application/openmetrics-text", Format::Text),
            ("application/openmetrics-text, text/plain", Format::OpenMetrics),
            ("*/*, application/openmetrics-text", Format::OpenMetrics),
            ("*/*, application/openmetrics-text;q=0.9", Format::Text),
            ("text/plain;q=0.4, application/openmetrics-text;q=0.5", Format::OpenMetrics),
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text;version=0.0.1", Format::Text),
            ("application/openmetrics-text;version=2.0.0, text/plain;q=0.1", Format::Text),
            ("text/plain;version=1.0.0, application/openmetrics-text;q=0.1", Format::OpenMetrics),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily",
                Format::Text,
            ),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Format::Text),
            ("*/*", Format::Text),
            ("text/plain;q=0, */*;q=0", Format::Text),
            ("image/png", Format::Text),
            ("", Format::Text),
            (";;,=,q=1,application/", Format::Text),
        ] {
            assert_eq!(accepted(header), format, "{header}");
        }
    }

    #[test]
    fn the_text_format_names_samples_where_open_metrics_names_families() {
        let mut registry = Registry::default();
        let (asked, open) = (Counter::<u64>::default(), Gauge::<i64>::default());
        asked.inc_by(3);
        let took = Histogram::new([0.5]);
        took.observe(0.25);
        registry.register("asked", "Requests", asked);
        registry.register_with_unit("open", "Open files", Unit::Bytes, open);
        registry.register("took_seconds", "Time", took);
        registry.register("build", "The release", Info::new([("version", "a\"b")]));
        assert_eq!(
            Format::Text.write(&registry).unwrap(),
            "# HELP asked_total Requests.\n\
             # TYPE asked_total counter\n\
             asked_total 3\n\
             # HELP open_bytes Open files.\n\
             # TYPE open_bytes gauge\n\
             open_bytes 0\n\
             # HELP took_seconds Time.\n\
             # TYPE took_seconds histogram\n\
             took_seconds_sum 0.25\n\
             took_seconds_count 1\n\
             took_seconds_bucket{le=\"0.5\"} 1\n\
             took_seconds_bucket{le=\"+Inf\"} 1\n\
             # HELP build_info The release.\n\
             # TYPE build_info gauge\n\
             build_info{version=\"a\\\"b\"} 1\n"
        );
        assert!(Format::OpenMetrics.write(&registry).unwrap().ends_with("# EOF\n"));
    }

    proptest! {
        #[test]
        fn any_accept_header_gets_a_format(
            header in "(application/openmetrics-text|text/plain|[*]/[*]|;q=|;version=|[01.]{1,5}|,|[ -~]{0,9}){0,20}",
        ) {
            let format = accepted(&header);
            prop_assert!(format == Format::Text || header.contains("openmetrics"));
        }
    }
}
