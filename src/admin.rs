//! The admin port: health for the kubelet, metrics for Prometheus, the whole state for whoever is on call.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::Addr;
use actix_web::dev::Server;
use actix_web::http::header::ContentType;
use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse, HttpServer};
use ingress_acme_actors::reporter::{Describe, Reporter};
use prometheus_client::registry::Registry;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// The arbiter that does not turn for so long is stuck: the kubelet restarts it.
const STUCK: Duration = Duration::from_secs(30);
/// How often the arbiter says that it turns.
const BEAT: Duration = Duration::from_secs(1);
/// Longest wait for a state dump.
const DUMP: Duration = Duration::from_secs(5);
/// Prometheus and the kubelet need a handful; so many that somebody who opens connections and says nothing does
/// not shut them out before those are dropped.
const CONNECTIONS: usize = 8_192;
/// Who says nothing for so long is dropped.
const HEADERS_WITHIN: Duration = Duration::from_secs(2);
/// A state dump is made at most this often: it takes the arbiter's time.
const DUMP_AGE: Duration = Duration::from_secs(1);

/// What the admin port knows of the process; the parts fill in as it starts.
#[derive(Clone)]
pub struct Vitals(Arc<Inner>);

struct Inner {
    began: Instant,
    last_beat: AtomicU64,
    ready: AtomicBool,
    reporter: OnceLock<Addr<Reporter>>,
    metrics: Registry,
    last_dump: Mutex<Option<(Instant, String)>>,
}

impl Vitals {
    /// Of a process that has just begun.
    pub fn new(metrics: Registry) -> Self {
        let inner = Inner {
            began: Instant::now(),
            last_beat: AtomicU64::new(0),
            ready: AtomicBool::new(false),
            reporter: OnceLock::new(),
            metrics,
            last_dump: Mutex::new(None),
        };
        Self(Arc::new(inner))
    }

    /// Beats for ever; to be spawned on the arbiter whose turning is to be shown.
    pub async fn beat(self) {
        loop {
            let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.0.last_beat.store(now, Ordering::Relaxed);
            tokio::time::sleep(BEAT).await;
        }
    }

    /// Challenges can be answered, or no more.
    pub fn set_ready(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::Relaxed);
    }

    /// This replica leads: here is who can tell of it.
    pub fn set_reporter(&self, reporter: Addr<Reporter>) {
        _ = self.0.reporter.set(reporter); // a process leads once
    }

    fn lives(&self) -> bool {
        let last = Duration::from_millis(self.0.last_beat.load(Ordering::Relaxed));
        self.0.began.elapsed().saturating_sub(last) < STUCK
    }

    /// The whole state as JSON, without key material.
    pub async fn state(&self) -> Result<String, String> {
        let Some(reporter) = self.0.reporter.get() else {
            return Ok(r#"{"role":"standby"}"#.to_owned());
        };
        let mut last = self.0.last_dump.lock().await;
        if let Some((_, dump)) = last.as_ref().filter(|(made, _)| made.elapsed() < DUMP_AGE) {
            return Ok(dump.clone());
        }
        let dump = timeout(DUMP, reporter.send(Describe)).await;
        let dump = dump.map_err(|_| format!("the arbiter did not answer within {DUMP:?}"))?;
        let dump = dump.map_err(|gone| format!("the reporter is gone: {gone}"))?;
        let dump = serde_json::to_string(&dump).map_err(|error| error.to_string())?;
        *last = Some((Instant::now(), dump.clone()));
        Ok(dump)
    }
}

/// Listens on `bind`; returns the server, to be awaited, with its address.
pub fn serve(bind: SocketAddr, vitals: Vitals) -> io::Result<(Server, SocketAddr)> {
    let server =
        HttpServer::new(move || App::new().configure(|config| routes(config, vitals.clone())))
            .workers(1)
            .max_connections(CONNECTIONS)
            .client_request_timeout(HEADERS_WITHIN)
            .keep_alive(HEADERS_WITHIN)
            .disable_signals()
            .bind(bind)?;
    let address = server.addrs().first().copied();
    let address = address.ok_or_else(|| io::Error::other(format!("no socket for {bind}")))?;
    Ok((server.run(), address))
}

fn routes(config: &mut web::ServiceConfig, vitals: Vitals) {
    config
        .app_data(Data::new(vitals))
        .route("/", web::get().to(index))
        .route("/livez", web::get().to(livez))
        .route("/readyz", web::get().to(readyz))
        .route("/metrics", web::get().to(metrics))
        .route("/debug/state", web::get().to(state));
}

async fn index() -> &'static str {
    concat!(
        "ingress-acme ",
        env!("CARGO_PKG_VERSION"),
        "\n\n/livez\n/readyz\n/metrics\n/debug/state\n"
    )
}

async fn livez(vitals: Data<Vitals>) -> HttpResponse {
    if vitals.lives() {
        return HttpResponse::Ok().body("ok\n");
    }
    HttpResponse::ServiceUnavailable().body(format!("the arbiter has not turned for {STUCK:?}\n"))
}

async fn readyz(vitals: Data<Vitals>) -> HttpResponse {
    if vitals.0.ready.load(Ordering::Relaxed) {
        return HttpResponse::Ok().body("ok\n");
    }
    HttpResponse::ServiceUnavailable()
        .body("the account key is not known yet, or this replica drains\n")
}

async fn metrics(vitals: Data<Vitals>) -> HttpResponse {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &vitals.0.metrics) {
        Ok(()) => HttpResponse::Ok()
            .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
            .body(text),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

async fn state(vitals: Data<Vitals>) -> HttpResponse {
    match vitals.state().await {
        Ok(state) => HttpResponse::Ok().content_type(ContentType::json()).body(state),
        Err(why) => HttpResponse::ServiceUnavailable().body(why),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;
    use actix_web::test;

    use super::*;

    async fn status(vitals: &Vitals, path: &str) -> StatusCode {
        let app = App::new().configure(|config| routes(config, vitals.clone()));
        let app = test::init_service(app).await;
        test::call_service(&app, test::TestRequest::get().uri(path).to_request()).await.status()
    }

    #[actix_web::test]
    async fn it_is_ready_when_it_says_so_and_lives_while_the_arbiter_turns() {
        let vitals = Vitals::new(Registry::default());
        assert_eq!(status(&vitals, "/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
        vitals.set_ready(true);
        assert_eq!(status(&vitals, "/readyz").await, StatusCode::OK);
        tokio::time::pause();
        assert_eq!(status(&vitals, "/livez").await, StatusCode::OK);
        tokio::time::advance(STUCK + BEAT).await;
        assert_eq!(status(&vitals, "/livez").await, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[actix_web::test]
    async fn a_standby_has_metrics_and_a_state() {
        let vitals = Vitals::new(Registry::default());
        assert_eq!(status(&vitals, "/metrics").await, StatusCode::OK);
        assert_eq!(status(&vitals, "/debug/state").await, StatusCode::OK);
        assert_eq!(status(&vitals, "/nothing").await, StatusCode::NOT_FOUND);
    }
}
