//! `/api/v1/log-level`: shows the log filter, and changes it for a while. The one path that changes
//! anything, so it takes a change from this pod only (`kubectl exec`, `kubectl port-forward`), and
//! never from a web page.

use std::net::IpAddr;
use std::time::Duration;

use actix_web::http::header::{
    CACHE_CONTROL, ContentType, HOST, HeaderName, ORIGIN, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::web::{self, Data, PayloadConfig, Query};
use actix_web::{HttpRequest, HttpResponse, Resource};
use ingress_acme_actors::domain::limits;
use serde::Deserialize;

use super::Health;
use super::log_filter::LogFilter;

/// The path.
pub const PATH: &str = "/api/v1/log-level";

/// Sent by browsers with each request of a page; of no other client.
pub(super) const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The path with its methods.
pub(super) fn resource() -> Resource {
    web::resource(PATH)
        .app_data(PayloadConfig::new(limits::LOG_FILTER_MAX))
        .route(web::get().to(show))
        .route(web::put().to(change))
}

/// Query parameters of a change.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(rename = "for")]
    time: Option<String>,
}

impl Wanted {
    fn time(&self) -> Result<Duration, String> {
        let Some(text) = &self.time else { return Ok(limits::LOG_CHANGE) };
        let time = text.parse().ok().and_then(|time: jiff::SignedDuration| time.try_into().ok());
        let within = Duration::from_secs(1)..=limits::LOG_CHANGE_MAX;
        time.filter(|time| within.contains(time))
            .ok_or_else(|| "`for` is no time from 1s to 24h, such as 30s, 15m or 2h".to_owned())
    }
}

async fn show(health: Data<Health>) -> HttpResponse {
    health.log_filter().map_or_else(unknown, in_force)
}

async fn change(
    health: Data<Health>,
    request: HttpRequest,
    Query(wanted): Query<Wanted>,
    filter: String,
) -> HttpResponse {
    if let Some(why) = refusal(&request) {
        return HttpResponse::Forbidden().body(why);
    }
    let Some(log_filter) = health.log_filter() else { return unknown() };
    let changed = wanted.time().and_then(|time| log_filter.set(&filter, time));
    match changed {
        Ok(()) => in_force(log_filter),
        Err(why) => HttpResponse::BadRequest().body(why),
    }
}

fn in_force(log_filter: &LogFilter) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::json())
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(log_filter.in_force())
}

fn unknown() -> HttpResponse {
    HttpResponse::NotFound()
        .body("this process is not run by `ingress-acme run`: its log filter is fixed")
}

/// Why a change is refused, if it is. A page of another site could reach a forwarded port through
/// the user's browser, under a name of its own too (DNS rebinding).
fn refusal(request: &HttpRequest) -> Option<&'static str> {
    if !is_from_loopback(request) {
        return Some(
            "a change is taken from the pod itself only: by `kubectl exec` or `kubectl port-forward`",
        );
    }
    let headers = request.headers();
    if [ORIGIN, SEC_FETCH_SITE].iter().any(|name| headers.contains_key(name)) {
        return Some("a change is not taken from a web page");
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    (!host.is_some_and(is_local))
        .then_some("a change is taken under the name localhost or an address only")
}

/// Whether the peer is in the pod: what `kubectl exec` and `kubectl port-forward` run.
pub(super) fn is_from_loopback(request: &HttpRequest) -> bool {
    request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback())
}

/// Whether the host of a `Host` header is `localhost` or an address.
pub(super) fn is_local(host: &str) -> bool {
    let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
    let name = if port.ends_with(']') { host } else { name };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use actix_web::App;
    use actix_web::http::StatusCode;
    use actix_web::test::{self, TestRequest};
    use ingress_acme_actors::reporting::metrics::Metrics;
    use prometheus_client::registry::Registry;
    use serde_json::{Value, json};
    use tracing_subscriber::{EnvFilter, reload};

    use super::*;

    /// The state of a process, and the layer of its filter, which has to outlive it.
    fn health() -> (Health, reload::Layer<EnvFilter, tracing_subscriber::Registry>) {
        let health = Health::new(Registry::default(), Metrics::default(), "https://ca.example/dir");
        let (layer, handle) = reload::Layer::new(EnvFilter::new("info"));
        health.set_log_filter(LogFilter::new(handle, "info".to_owned()));
        (health, layer)
    }

    fn put(query: &str, body: &str) -> TestRequest {
        let peer: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        let request = TestRequest::put().uri(&format!("{PATH}{query}")).peer_addr(peer);
        request.insert_header((HOST, "localhost:9091")).set_payload(body.to_owned())
    }

    async fn answer(health: &Health, request: TestRequest) -> (StatusCode, String) {
        let app = App::new().app_data(Data::new(health.clone())).service(resource());
        let app = test::init_service(app).await;
        let answer = test::call_service(&app, request.to_request()).await;
        let status = answer.status();
        let body = test::read_body(answer).await;
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn shown(health: &Health) -> Value {
        let (status, body) = answer(health, TestRequest::get().uri(PATH)).await;
        assert_eq!(status, StatusCode::OK);
        serde_json::from_str(&body).unwrap()
    }

    const FIRST: &str = r#"{"filter":"info","default":"info"}"#;

    #[actix_web::test]
    async fn the_filter_is_shown_changed_for_a_time_and_put_back() {
        tokio::time::pause();
        let (health, _layer) = health();
        assert_eq!(
            shown(&health).await.to_string(),
            json!({"default": "info", "filter": "info"}).to_string()
        );
        let (status, body) = answer(&health, put("?for=2m", "debug")).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let now = shown(&health).await;
        assert_eq!(
            now,
            json!({"filter": "info,ingress_acme=debug", "default": "info", "seconds_left": 120})
        );
        let (_, body) = answer(&health, put("", "default")).await;
        assert_eq!(body, FIRST);
        answer(&health, put("", "warn")).await;
        assert_eq!(shown(&health).await["seconds_left"], 900);
    }

    #[actix_web::test]
    async fn what_is_wrong_is_told_and_changes_nothing() {
        let (health, _layer) = health();
        let long = "a=info,".repeat(limits::LOG_FILTER_MAX);
        for (query, body, code) in [
            ("", "verbose", StatusCode::BAD_REQUEST),
            ("?for=25h", "debug", StatusCode::BAD_REQUEST),
            ("?for=0s", "debug", StatusCode::BAD_REQUEST),
            ("?for=-1m", "debug", StatusCode::BAD_REQUEST),
            ("?time=1m", "debug", StatusCode::BAD_REQUEST),
            ("", long.as_str(), StatusCode::PAYLOAD_TOO_LARGE),
        ] {
            let (status, why) = answer(&health, put(query, body)).await;
            assert_eq!(status, code, "{query}: {why}");
            assert!(shown(&health).await.get("seconds_left").is_none());
        }
        let other = TestRequest::post().uri(PATH).set_payload("debug");
        assert_eq!(answer(&health, other).await.0, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[actix_web::test]
    async fn a_change_comes_from_the_pod_itself_and_not_from_a_web_page() {
        let (health, _layer) = health();
        let peer = |peer: &str| put("", "debug").peer_addr(peer.parse().unwrap());
        let header =
            |name: HeaderName, value: &'static str| put("", "debug").insert_header((name, value));
        for (what, request) in [
            ("another pod", peer("10.0.0.7:4000")),
            ("another pod over IPv6", peer("[fd00::7]:4000")),
            ("a page", header(ORIGIN, "https://evil.example")),
            ("a sandboxed page", header(ORIGIN, "null")),
            ("a page of the same site", header(SEC_FETCH_SITE, "same-origin")),
            ("a name that was led here", header(HOST, "evil.example:9091")),
            ("a name like an address", header(HOST, "127.0.0.1.evil.example")),
        ] {
            let (status, why) = answer(&health, request).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{what}: {why}");
            assert!(shown(&health).await.get("seconds_left").is_none(), "{what}");
        }
        for local in ["127.0.0.1:9091", "localhost", "[::1]:9091", "[::1]", "LOCALHOST:80"] {
            assert_eq!(answer(&health, header(HOST, local)).await.0, StatusCode::OK, "{local}");
        }
        for peer in [peer("[::1]:4000"), peer("[::ffff:127.0.0.1]:4000")] {
            assert_eq!(answer(&health, peer).await.0, StatusCode::OK);
        }
    }
}
