//! Traces over OTLP (`http/protobuf`), as the standard variables `OTEL_*` say. A thread of its own
//! sends them from a bounded queue: a collector that is slow or away costs traces, and no issuance.

use std::env;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use async_trait::async_trait;
use ingress_acme_actors::domain::limits;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber, info, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::process::instance;

/// Time for one request, unless `OTEL_EXPORTER_OTLP_TIMEOUT` says otherwise; the default of
/// OpenTelemetry.
const REQUEST: Duration = Duration::from_secs(10);
/// Longest such time.
const REQUEST_MAX: Duration = Duration::from_mins(1);
/// Longest wait at the end for traces that are still queued. Fits into the pod's grace period
/// beside the drain.
const FLUSH: Duration = Duration::from_secs(3);

/// The exporter.
pub(super) struct Traces(SdkTracerProvider);

impl Traces {
    /// The exporter that the environment asks for, if it does, by one of the variables `endpoints`.
    pub(super) fn of_environment(endpoints: &[&str]) -> anyhow::Result<Option<Self>> {
        let is_off = is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none");
        if is_off || !endpoints.iter().any(|name| set(name).is_some()) {
            return Ok(None);
        }
        for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
            let other = set(name).filter(|protocol| protocol != "http/protobuf");
            if let Some(protocol) = other {
                bail!(
                    "{name} is {protocol:?}: only http/protobuf is known (port 4318 of a collector)"
                );
            }
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(request_time())
            .with_http_client(Collector::new()?)
            .build()?;
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter);
        Ok(Some(Self(provider.with_resource(resource()).build())))
    }

    /// The layer that makes traces of the operator's own spans, whatever the log shows.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + 'static
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        // The fields that a trace needs are those of the spans.
        let layer = tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("ingress-acme"))
            .with_context_activation(false)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false);
        layer.with_filter(filter_fn(is_exported).with_max_level_hint(LevelFilter::DEBUG))
    }

    /// Sends the queued spans, within [`FLUSH`].
    pub(super) async fn end(self) {
        let shutdown = move || self.0.shutdown_with_timeout(FLUSH);
        let ended = tokio::task::spawn_blocking(shutdown).await;
        if !matches!(ended, Ok(Ok(()))) {
            warn!("not all traces could be sent in time");
        }
    }
}

/// Spans of ours, and the events in them that the log has by default.
fn is_exported(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("ingress_acme")
        && (metadata.is_span() || *metadata.level() <= Level::INFO)
}

/// Resource of the traces. The environment decides over the name.
fn resource() -> Resource {
    let attributes = set("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let is_named = set("OTEL_SERVICE_NAME").is_some() || attributes.contains("service.name=");
    let own = [
        KeyValue::new("service.version", crate::VERSION),
        KeyValue::new("service.instance.id", instance::name()),
    ];
    let resource = Resource::builder().with_attributes(own);
    if is_named { resource.build() } else { resource.with_service_name("ingress-acme").build() }
}

/// The client of the collector. It logs once that the collector fails, and once that it is back.
#[derive(Debug)]
struct Collector {
    client: reqwest::blocking::Client,
    fails: AtomicBool,
}

impl Collector {
    fn new() -> anyhow::Result<Self> {
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots()?)
        .with_no_client_auth();
        let client = move || {
            let builder = reqwest::blocking::Client::builder().tls_backend_preconfigured(tls);
            // Never: the headers may hold a key for this one collector.
            let builder = builder.redirect(reqwest::redirect::Policy::none());
            builder.timeout(request_time()).build()
        };
        // A blocking client cannot be made on a thread of the runtime.
        let made = std::thread::spawn(client).join();
        let client = made.ok().context("the client of the collector cannot be made")??;
        Ok(Self { client, fails: AtomicBool::new(false) })
    }

    fn tell(&self, failure: Option<&str>) {
        let failed = self.fails.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(why) if !failed => {
                warn!(why, "traces are lost: the collector does not take them");
            }
            None if failed => info!("the collector takes traces again"),
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.client.send_bytes(request).await;
        match &answer {
            Ok(answer) if answer.status().is_success() => self.tell(None),
            Ok(answer) => self.tell(Some(&format!("HTTP {}", answer.status().as_u16()))),
            Err(error) => self.tell(Some(kind(error))),
        }
        answer
    }
}

/// Kind of an error. Its text has the URL, which may hold a key.
fn kind(error: &HttpError) -> &'static str {
    match error.downcast_ref::<reqwest::Error>() {
        Some(error) if error.is_timeout() => "no answer in time",
        Some(error) if error.is_connect() => "no connection",
        _ => "no usable answer",
    }
}

/// The Mozilla roots, and those in the file of `OTEL_EXPORTER_OTLP_CERTIFICATE`.
fn roots() -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let names = ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];
    let Some(path) = names.into_iter().find_map(set) else { return Ok(roots) };
    let (most, mut pem) = (limits::CA_FILE_MAX, Vec::new());
    let file = std::fs::File::open(&path).with_context(|| format!("{path:?} cannot be read"))?;
    file.take(most as u64 + 1).read_to_end(&mut pem)?;
    ensure!(pem.len() <= most, "{path:?} has more than {most} bytes");
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.context("the collector's root is no readable PEM")?)?;
    }
    Ok(roots)
}

fn request_time() -> Duration {
    let names = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
    let given = names.into_iter().find_map(set).and_then(|millis| millis.parse().ok());
    given.map_or(REQUEST, |millis| Duration::from_millis(millis).min(REQUEST_MAX))
}

/// Value of a variable that is set and not empty.
fn set(name: &str) -> Option<String> {
    env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

fn is(name: &str, value: &str) -> bool {
    set(name).is_some_and(|given| given.eq_ignore_ascii_case(value))
}
