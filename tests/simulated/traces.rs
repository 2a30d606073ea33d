//! Traces of a real operator process, sent to a collector of this test.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ingress_acme::commands::storm::Simulated;
use ingress_acme_sim::{Options, World};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::{OPERATOR, alone, eventually, plan, stormed};

/// Answer of a collector to a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Takes,
    /// Answers HTTP 500.
    Refuses,
    /// Reads, and never answers.
    Stalls,
}

#[derive(Default)]
struct Taken {
    requests: usize,
    services: BTreeSet<String>,
    spans: Vec<Span>,
}

/// A collector on loopback that speaks OTLP over HTTP.
struct Collector {
    url: String,
    mode: Arc<Mutex<Mode>>,
    taken: Arc<Mutex<Taken>>,
}

impl Collector {
    async fn start(mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (mode, taken) = (Arc::new(Mutex::new(mode)), Arc::<Mutex<Taken>>::default());
        let (behaves, takes) = (mode.clone(), taken.clone());
        actix::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                actix::spawn(serve(connection, behaves.clone(), takes.clone()));
            }
        });
        Self { url, mode, taken }
    }

    fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    fn requests(&self) -> usize {
        self.taken.lock().unwrap().requests
    }

    fn spans(&self) -> Vec<Span> {
        self.taken.lock().unwrap().spans.clone()
    }
}

async fn serve(mut connection: TcpStream, mode: Arc<Mutex<Mode>>, taken: Arc<Mutex<Taken>>) {
    let mut read = Vec::new();
    while let Some(body) = request(&mut connection, &mut read).await {
        let request = ExportTraceServiceRequest::decode(&body[..]).unwrap();
        let mode = *mode.lock().unwrap();
        taken.lock().unwrap().requests += 1;
        let status = match mode {
            Mode::Stalls => return std::future::pending().await,
            Mode::Refuses => "500 Internal Server Error",
            Mode::Takes => {
                take(&mut taken.lock().unwrap(), request);
                "200 OK"
            }
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        if connection.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn take(taken: &mut Taken, request: ExportTraceServiceRequest) {
    for of_resource in request.resource_spans {
        let attributes = of_resource.resource.unwrap().attributes;
        taken.services.insert(attribute(&attributes, "service.name").unwrap());
        let scopes = of_resource.scope_spans.into_iter();
        taken.spans.extend(scopes.flat_map(|scope| scope.spans));
    }
}

/// Body of the next request; `None` when the client has gone.
async fn request(connection: &mut TcpStream, read: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        let end = read.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8(read[..end].to_vec()).unwrap().to_ascii_lowercase();
            assert!(head.starts_with("post /v1/traces "), "{head}");
            assert!(head.contains("content-type: application/x-protobuf"), "{head}");
            let (_, length) = head.split_once("content-length: ").unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if read.len() >= end + 4 + length {
                let body = read[end + 4..end + 4 + length].to_vec();
                read.drain(..end + 4 + length);
                return Some(body);
            }
        }
        if connection.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}

fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|one| one.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text.clone()),
        Any::IntValue(number) => Some(number.to_string()),
        other => panic!("{name}: {other:?}"),
    }
}

fn of(span: &Span, name: &str) -> String {
    attribute(&span.attributes, name).unwrap_or_default()
}

/// An operator that sends traces to this URL; sooner than by default, and from a small queue.
async fn traced(url: &str) -> Simulated {
    let world = World::start(Options::default()).unwrap();
    let program = world.directory().join("traced.sh");
    let variables = format!(
        "OTEL_EXPORTER_OTLP_ENDPOINT={url} OTEL_BSP_SCHEDULE_DELAY=100 OTEL_BSP_MAX_QUEUE_SIZE=256 \
         OTEL_BSP_MAX_EXPORT_BATCH_SIZE=64 OTEL_EXPORTER_OTLP_TIMEOUT=1000"
    );
    std::fs::write(&program, format!("#!/bin/sh\n{variables} exec {OPERATOR} \"$@\"\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    Simulated::start_in(world, &[], &program).await.unwrap()
}

#[actix::test]
async fn one_issuance_is_one_trace_with_the_spans_of_its_steps() {
    let _alone = alone().await;
    let collector = Collector::start(Mode::Takes).await;
    let simulated = traced(&collector.url).await;
    assert_eq!(stormed(&simulated, &plan(5, 0)).await.right, 5);
    assert!(simulated.end().await.unwrap().success()); // the queue is sent at the end

    let taken = collector.taken.lock().unwrap();
    assert_eq!(taken.services, BTreeSet::from(["ingress-acme".to_owned()]));
    let spans = &taken.spans;
    let issued = spans.iter().filter(|span| of(span, "outcome") == "installed");
    let issued: BTreeMap<String, &Span> = issued.map(|span| (of(span, "ingress"), span)).collect();
    assert_eq!(issued.len(), 5);
    let traces: BTreeSet<&[u8]> = issued.values().map(|span| &span.trace_id[..]).collect();
    assert_eq!(traces.len(), 5);
    for (ingress, root) in issued {
        assert_eq!((root.name.as_str(), root.parent_span_id.len()), ("issuance", 0));
        assert_eq!((of(root, "secret"), of(root, "attempt")), (ingress, "1".to_owned()));
        assert!(of(root, "order").starts_with("https://"), "{root:?}");
        let of_trace = spans.iter().filter(|span| span.trace_id == root.trace_id);
        let children: Vec<&Span> = of_trace.filter(|span| span.span_id != root.span_id).collect();
        let names: BTreeSet<&str> = children.iter().map(|span| span.name.as_str()).collect();
        for step in [
            "publish_routes",
            "probe",
            "open_order",
            "validation",
            "finalize",
            "download",
            "install",
        ] {
            assert!(names.contains(step), "no {step} in {names:?}");
        }
        assert!(children.iter().all(|span| span.parent_span_id == root.span_id));
        let within = |span: &&&Span| {
            root.start_time_unix_nano <= span.start_time_unix_nano
                && span.start_time_unix_nano <= span.end_time_unix_nano
                && span.end_time_unix_nano <= root.end_time_unix_nano
        };
        assert_eq!(children.iter().filter(within).count(), children.len());
        assert!(!names.contains("refresh") && children.len() < 20, "{names:?}");
        let told: Vec<&str> = children
            .iter()
            .chain([&root])
            .flat_map(|span| &span.events)
            .map(|event| event.name.as_str())
            .collect();
        assert!(told.contains(&"certificate installed"), "{told:?}");
    }
}

/// Number of lines of the log with these words.
fn said(log: &std::path::Path, words: &str) -> usize {
    std::fs::read_to_string(log).unwrap().lines().filter(|line| line.contains(words)).count()
}

const LOST: &str = "the collector does not take them";

#[actix::test]
async fn a_collector_that_fails_delays_no_issuance_and_is_told_once_and_when_it_is_back() {
    let _alone = alone().await;
    let collector = Collector::start(Mode::Refuses).await;
    let simulated = traced(&collector.url).await;
    assert_eq!(stormed(&simulated, &plan(60, 0)).await.right, 60);
    eventually("several refused requests", async || collector.requests() >= 3).await;
    assert_eq!(said(simulated.log_path(), LOST), 1);
    assert_eq!(said(simulated.log_path(), "HTTP 500"), 1);
    collector.set(Mode::Takes);
    let more = crate::Plan { run: "more".into(), ..plan(3, 0) };
    assert_eq!(stormed(&simulated, &more).await.right, 3);
    eventually("spans", async || {
        collector.spans().iter().any(|span| of(span, "outcome") == "installed")
    })
    .await;
    assert_eq!(said(simulated.log_path(), "the collector takes traces again"), 1);
    assert!(simulated.end().await.unwrap().success());
}

#[actix::test]
async fn a_collector_that_never_answers_holds_up_neither_issuances_nor_the_end() {
    let _alone = alone().await;
    let collector = Collector::start(Mode::Stalls).await;
    let simulated = traced(&collector.url).await;
    let log = simulated.log_path().to_owned();
    assert_eq!(stormed(&simulated, &plan(60, 0)).await.right, 60);
    eventually("a request", async || collector.requests() >= 1).await;
    eventually("the failure to be told", async || said(&log, LOST) == 1).await;
    // Of more spans than the queue holds, the others were dropped: the queue is bounded.
    assert!(collector.spans().is_empty());
    let ended = tokio::time::timeout(Duration::from_secs(50), simulated.end());
    assert!(ended.await.unwrap().unwrap().success());
}

#[actix::test]
async fn a_collector_that_is_not_there_is_told_once() {
    let _alone = alone().await;
    let nobody = ingress_acme_sim::free_address().unwrap();
    let simulated = traced(&format!("http://{nobody}")).await;
    assert_eq!(stormed(&simulated, &plan(10, 0)).await.right, 10);
    let log = simulated.log_path();
    eventually("the failure to be told", async || said(log, "no connection") == 1).await;
    assert_eq!(said(log, LOST), 1);
    assert!(simulated.end().await.unwrap().success());
}
