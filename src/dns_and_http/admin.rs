//! Health for the kubelet, metrics for Prometheus, and for people on call the status page, the
//! Ingresses as JSON and the whole state. Has no authentication, shows no key, and changes
//! nothing but the log filter.
//!
//! The reporter decides the content. This module queries the reporter with a deadline, at most once
//! a second.

mod cached;
mod changes;
pub mod exposition;
pub mod log_filter;
pub mod log_level;
mod page;
mod pages;
mod routes;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::{Addr, Handler, Message};
use actix_web::dev::Server;
use bytes::Bytes;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::reporting::metrics::Metrics;
use ingress_acme_actors::reporting::reporter::{Describe, ListIngresses, Listing, Reporter};
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::listeners::Listener;
use super::server::{self, Bounds};
use cached::Cached;
use exposition::Format;
use log_filter::LogFilter;
use pages::Pages;
use routes::routes;

/// Time after which an arbiter that makes no progress counts as stuck. The kubelet then restarts
/// the process.
const STUCK: Duration = Duration::from_secs(30);
/// Time between two heartbeats of the arbiter.
const BEAT: Duration = Duration::from_secs(1);

/// State of the process as shown on these ports. Filled in while the process starts.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    began: Instant,
    last_beat: AtomicU64,
    ready: AtomicBool,
    /// Whether the replica has been ready: without it now, it drains.
    was_ready: AtomicBool,
    reporter: OnceLock<Addr<Reporter>>,
    log_filter: OnceLock<LogFilter>,
    registry: Registry,
    metrics: Metrics,
    directory: String,
    state: Cached<()>,
    pages: Pages,
    listing: Cached<ListIngresses>,
    text: Cached<()>,
    open_metrics: Cached<()>,
    /// Number of the newest stream that tells a page of changes.
    change_streams: watch::Sender<u64>,
}

impl Health {
    /// Creates the state of a process that has just started. `registry` is scraped by Prometheus,
    /// `metrics` supplies the counters of the status page, `directory` is the ACME directory in
    /// use.
    pub fn new(registry: Registry, metrics: Metrics, directory: &str) -> Self {
        let inner = Inner {
            began: Instant::now(),
            last_beat: AtomicU64::new(0),
            ready: AtomicBool::new(false),
            was_ready: AtomicBool::new(false),
            reporter: OnceLock::new(),
            log_filter: OnceLock::new(),
            registry,
            metrics,
            directory: directory.to_owned(),
            state: Cached::default(),
            pages: Pages::default(),
            listing: Cached::default(),
            text: Cached::default(),
            open_metrics: Cached::default(),
            change_streams: watch::Sender::new(0),
        };
        Self(Arc::new(inner))
    }

    /// Records a heartbeat periodically, forever. Must be spawned on the arbiter to be monitored.
    pub async fn beat(self) {
        loop {
            let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.0.last_beat.store(now, Ordering::Relaxed);
            tokio::time::sleep(BEAT).await;
        }
    }

    /// Sets whether challenges can be answered.
    pub fn set_ready(&self, ready: bool) {
        self.0.was_ready.fetch_or(ready, Ordering::Relaxed);
        self.0.ready.store(ready, Ordering::Relaxed);
    }

    /// Sets the reporter, once this replica leads.
    pub fn set_reporter(&self, reporter: Addr<Reporter>) {
        _ = self.0.reporter.set(reporter); // a process becomes leader once at most
    }

    /// Sets the log filter, which may be changed on the admin port from then on.
    pub fn set_log_filter(&self, log_filter: LogFilter) {
        _ = self.0.log_filter.set(log_filter); // a process has one
    }

    fn log_filter(&self) -> Option<&LogFilter> {
        self.0.log_filter.get()
    }

    fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Relaxed)
    }

    fn lives(&self) -> bool {
        let last = Duration::from_millis(self.0.last_beat.load(Ordering::Relaxed));
        self.0.began.elapsed().saturating_sub(last) < STUCK
    }

    /// Returns the whole state as JSON, without key material.
    pub async fn state(&self) -> Result<Bytes, Unanswered> {
        let Some(reporter) = self.0.reporter.get() else {
            let standby = Standby { role: STANDBY, directory: &self.0.directory };
            return json(&standby).map(Bytes::from);
        };
        self.0.state.answer((), async { json(&ask(reporter, Describe).await?) }).await
    }

    async fn listing(&self, query: ListIngresses) -> Result<Bytes, Unanswered> {
        let made = async { json(&self.listed(&query).await?) };
        self.0.listing.answer(query.clone(), made).await
    }

    async fn listed(&self, query: &ListIngresses) -> Result<Listing, Unanswered> {
        if let Some(reporter) = self.0.reporter.get() {
            return ask(reporter, query.clone()).await;
        }
        let (role, now, ingresses) = (STANDBY, Timestamp::default(), Vec::new());
        let (offset, limit) = (query.offset, query.limit);
        Ok(Listing { role, now, total: 0, offset, limit, ingresses, note: None })
    }

    /// Returns the metrics in this format, without a question to the arbiter.
    async fn scrape(&self, format: Format) -> Result<Bytes, Unanswered> {
        let cached = match format {
            Format::Text => &self.0.text,
            Format::OpenMetrics => &self.0.open_metrics,
        };
        let made = async {
            let metrics = format.write(&self.0.registry);
            metrics.map_err(|error| Unanswered::Unwritable(error.to_string()))
        };
        cached.answer((), made).await
    }
}

/// Reason why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The event loop (an actix arbiter) is busy or stuck; `/livez` shows which.
    #[error("the operator's event loop did not answer within {:?}", limits::ADMIN_ANSWER)]
    Late,
    /// The reporter is gone because the process is ending.
    #[error("the reporter has stopped: {0}")]
    Gone(#[from] actix::MailboxError),
    /// Connections that read slowly still hold as many answers as may be in memory.
    #[error(
        "too many slow readers hold other answers, which are dropped within {:?}; ask again",
        limits::CONNECTION_LIFE
    )]
    Busy,
    /// Only the leader knows the Ingresses.
    #[error("this replica stands by and knows no Ingresses; ask the leader")]
    Standby,
    /// There is no such Ingress.
    #[error("there is no such Ingress where ingress-acme looks, or it is one of its own")]
    NoIngress,
    /// The answer could not be serialized.
    #[error("the answer cannot be written: {0}")]
    Unwritable(String),
}

/// Role of a replica that does not lead.
const STANDBY: &str = "standby";

/// State of a standby.
#[derive(Serialize)]
struct Standby<'a> {
    role: &'static str,
    directory: &'a str,
}

async fn ask<M>(reporter: &Addr<Reporter>, question: M) -> Result<M::Result, Unanswered>
where
    M: Message + Send + 'static,
    M::Result: Send,
    Reporter: Handler<M>,
{
    Ok(timeout(limits::ADMIN_ANSWER, reporter.send(question))
        .await
        .map_err(|_| Unanswered::Late)??)
}

fn json(answer: &impl Serialize) -> Result<String, Unanswered> {
    serde_json::to_string(answer).map_err(|error| Unanswered::Unwritable(error.to_string()))
}

/// Listens on the address of `listener`. Returns the server, which must be awaited, and its
/// address.
pub fn serve(listener: Listener, health: &Health) -> io::Result<(Server, SocketAddr)> {
    let Listener { bind, roles } = listener;
    let name = roles.first().map_or("none", |role| role.name());
    let (metrics, health) = (health.0.metrics.clone(), health.clone());
    server::serve(name, server::listener(bind)?, Bounds::ONE_REQUEST, &metrics, move |config| {
        routes(config, health.clone(), &roles);
    })
}

#[cfg(test)]
mod tests {
    use actix_web::App;
    use actix_web::dev::ServiceResponse;
    use actix_web::http::StatusCode;
    use actix_web::http::header::{
        ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, VARY,
        X_CONTENT_TYPE_OPTIONS,
    };
    use actix_web::test;
    use ingress_acme_actors::fakes::Fakes;
    use serde_json::{Value, json};

    use super::*;
    use crate::dns_and_http::listeners::Role;

    const PAGES: [&str; 7] = [
        "/",
        "/ingresses",
        "/style.css",
        "/script.js",
        "/changes",
        "/debug/state",
        "/api/v1/ingresses",
    ];
    const ALL: [Role; 3] = [Role::Admin, Role::Metrics, Role::Health];

    fn health() -> Health {
        Health::new(Registry::default(), Metrics::default(), "https://ca.example/directory")
    }

    async fn asked(health: &Health, path: &str) -> ServiceResponse {
        asked_of(&ALL, health, path).await
    }

    async fn asked_of(roles: &[Role], health: &Health, path: &str) -> ServiceResponse {
        let app = App::new().configure(|config| routes(config, health.clone(), roles));
        let app = test::init_service(app).await;
        test::call_service(&app, test::TestRequest::get().uri(path).to_request()).await
    }

    async fn status(health: &Health, path: &str) -> StatusCode {
        asked(health, path).await.status()
    }

    async fn body(health: &Health, path: &str) -> Value {
        test::read_body_json(asked(health, path).await).await
    }

    #[actix_web::test]
    async fn it_is_ready_when_it_says_so_and_lives_while_the_arbiter_turns() {
        let health = health();
        assert_eq!(status(&health, "/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
        health.set_ready(true);
        assert_eq!(status(&health, "/readyz").await, StatusCode::OK);
        tokio::time::pause();
        assert_eq!(status(&health, "/livez").await, StatusCode::OK);
        tokio::time::advance(STUCK + BEAT).await;
        assert_eq!(status(&health, "/livez").await, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[actix_web::test]
    async fn a_standby_has_metrics_and_a_state() {
        let health = health();
        assert_eq!(status(&health, "/metrics").await, StatusCode::OK);
        let state = json!({"role": "standby", "directory": "https://ca.example/directory"});
        assert_eq!(body(&health, "/debug/state").await, state);
        assert_eq!(status(&health, "/nothing").await, StatusCode::NOT_FOUND);
    }

    #[actix_web::test]
    async fn a_scraper_is_answered_in_the_format_that_it_asks_for_and_told_what_decides() {
        let app = App::new().configure(|config| routes(config, health(), &ALL));
        let app = test::init_service(app).await;
        for (accept, format) in [
            (None, Format::Text),
            (Some("*/*"), Format::Text),
            (Some("image/png"), Format::Text),
            (Some("application/openmetrics-text;version=1.0.0, */*;q=0.1"), Format::OpenMetrics),
        ] {
            let mut request = test::TestRequest::get().uri("/metrics");
            if let Some(accept) = accept {
                request = request.insert_header((ACCEPT, accept));
            }
            let answer = test::call_service(&app, request.to_request()).await;
            assert_eq!(answer.status(), StatusCode::OK, "{accept:?}");
            let header = |name: HeaderName| answer.headers().get(name).unwrap().to_str().unwrap();
            assert_eq!(header(CONTENT_TYPE), format.content_type(), "{accept:?}");
            assert_eq!(header(VARY), "accept");
            let text = test::read_body(answer).await;
            assert_eq!(text.ends_with(b"# EOF\n"), format == Format::OpenMetrics, "{accept:?}");
        }
    }

    #[actix_web::test]
    async fn a_standby_lists_no_ingresses_and_the_limit_is_bounded() {
        let health = health();
        let none = |limit, offset| json!({"role": "standby", "total": 0, "offset": offset, "limit": limit, "ingresses": []});
        assert_eq!(body(&health, "/api/v1/ingresses").await, none(limits::LISTED, 0));
        let much = "/api/v1/ingresses?namespace=web&limit=999999&offset=3";
        assert_eq!(body(&health, much).await, none(limits::LISTED_MAX, 3));
        for bad in ["limit=-1", "limit=many", "ns=web"] {
            let path = format!("/api/v1/ingresses?{bad}");
            assert_eq!(status(&health, &path).await, StatusCode::BAD_REQUEST, "{bad}");
        }
    }

    /// Reporter of an operator whose event loop stands still until the sender is dropped.
    fn held_up() -> (Addr<Reporter>, std::sync::mpsc::Sender<()>) {
        let (started, address) = std::sync::mpsc::channel();
        let (release, held) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            actix::System::new().block_on(async move {
                let fakes = Fakes::default();
                let operator = fakes.operator(Fakes::settings()).await;
                started.send(operator.reporter.clone()).unwrap();
                _ = held.recv(); // holds up the thread, with all of its actors
                std::future::pending::<()>().await;
            });
        });
        (address.recv().unwrap(), release)
    }

    #[actix_web::test]
    async fn an_event_loop_that_stands_still_is_a_reason_in_time_and_keeps_no_other_path_waiting() {
        let health = health();
        let (reporter, release) = held_up();
        health.set_reporter(reporter);
        tokio::time::pause();
        let one = "/ingress?namespace=web&name=shop";
        for path in ["/", "/ingresses", one, "/debug/state", "/api/v1/ingresses"] {
            let answer = asked(&health, path).await;
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
            let why = test::read_body(answer).await;
            assert_eq!(why, "the operator's event loop did not answer within 5s", "{path}");
        }
        for path in ["/metrics", "/livez"] {
            assert_eq!(status(&health, path).await, StatusCode::OK, "{path}");
        }
        drop(release);
        tokio::time::resume();
        assert_eq!(body(&health, "/debug/state").await["role"], "leader");
    }

    #[actix_web::test]
    async fn each_port_answers_its_own_paths_only() {
        let (health, found) = (health(), StatusCode::OK);
        health.set_ready(true);
        for (role, own) in [
            (Role::Health, &["/livez", "/readyz"][..]),
            (Role::Metrics, &["/metrics"]),
            (Role::Admin, &PAGES),
        ] {
            for path in ["/livez", "/readyz", "/metrics"].into_iter().chain(PAGES) {
                let status = asked_of(&[role], &health, path).await.status();
                assert_eq!(status == found, own.contains(&path), "{path} of {role:?}: {status}");
            }
        }
    }

    #[actix_web::test]
    async fn a_browser_runs_nothing_of_the_pages_but_the_script_of_this_server() {
        for (path, kind) in [
            ("/", "text/html; charset=utf-8"),
            ("/ingresses?search=%3Cscript%3E&state=failing", "text/html; charset=utf-8"),
            ("/style.css", "text/css; charset=utf-8"),
            ("/script.js", "text/javascript; charset=utf-8"),
        ] {
            let answer = asked(&health(), path).await;
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            let header =
                |name: HeaderName| answer.headers().get(name).unwrap().to_str().unwrap().to_owned();
            assert_eq!(header(CONTENT_TYPE), kind);
            let policy = header(CONTENT_SECURITY_POLICY);
            assert!(policy.starts_with("default-src 'none'; "), "{policy}");
            assert!(
                policy.contains("script-src 'self'; ") && !policy.contains("unsafe"),
                "{policy}"
            );
            assert_eq!(header(X_CONTENT_TYPE_OPTIONS), "nosniff");
            let text = test::read_body(answer).await;
            assert!(!text.windows(8).any(|part| part == b"<script>"), "{path}");
        }
    }

    #[actix_web::test]
    async fn a_list_is_asked_for_by_words_that_are_known() {
        for (query, expected) in [
            ("search=&namespace=&state=", StatusCode::OK),
            ("search=Shop&namespace=web&state=left-alone&page=3", StatusCode::OK),
            ("page=99999999999999999999", StatusCode::BAD_REQUEST),
            ("page=18446744073709551615", StatusCode::OK),
            ("state=odd", StatusCode::BAD_REQUEST),
            ("sort=name", StatusCode::BAD_REQUEST),
        ] {
            assert_eq!(
                status(&health(), &format!("/ingresses?{query}")).await,
                expected,
                "{query}"
            );
        }
        let one = "/ingress?namespace=web&name=shop";
        assert_eq!(status(&health(), one).await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status(&health(), "/ingress?namespace=web").await, StatusCode::BAD_REQUEST);
    }

    #[actix_web::test]
    async fn changes_are_a_stream_of_events() {
        let answer = asked(&health(), "/changes").await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers().get(CONTENT_TYPE).unwrap(), "text/event-stream");
        assert_eq!(answer.headers().get(CACHE_CONTROL).unwrap(), "no-store");
    }
}
