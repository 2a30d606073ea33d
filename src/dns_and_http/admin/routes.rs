//! Paths of health, metrics and administration, and the headers of their answers.

use actix_web::body::MessageBody;
use actix_web::dev::{HttpServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    ACCEPT, Accept, CACHE_CONTROL, CONTENT_SECURITY_POLICY, ContentType, HOST, Header, HeaderName,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data, Query, ServiceConfig};
use actix_web::{Error, HttpRequest, HttpResponse};
use bytes::Bytes;
use ingress_acme_actors::domain::ingress::IngressKey;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::reporting::reporter::{Filter, ListIngresses, Search};
use serde::Deserialize;

use super::exposition::Format;
use super::log_level::{SEC_FETCH_SITE, is_from_loopback, is_local};
use super::{Health, STUCK, Unanswered, log_level, page};
use crate::dns_and_http::listeners::Role;
use crate::dns_and_http::server::SharedText;

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const HTML: &str = "text/html; charset=utf-8";

/// Adds the paths of `roles`.
pub(super) fn routes(config: &mut ServiceConfig, health: Health, roles: &[Role]) {
    config.app_data(Data::new(health));
    if roles.contains(&Role::Health) {
        config.route("/livez", web::get().to(livez)).route("/readyz", web::get().to(readyz));
    }
    if roles.contains(&Role::Metrics) {
        config.route("/metrics", web::get().to(metrics));
    }
    if roles.contains(&Role::Admin) {
        config.service(administration()); // last, because it takes every other path
    }
}

fn administration() -> impl HttpServiceFactory {
    web::scope("")
        .wrap(from_fn(of_this_site))
        .route("/", web::get().to(overview))
        .route("/ingresses", web::get().to(list))
        .route("/ingress", web::get().to(one))
        .route("/explain", web::get().to(explanation))
        .route("/style.css", web::get().to(style))
        .route("/script.js", web::get().to(script))
        .route("/changes", web::get().to(changes))
        .route("/debug/state", web::get().to(state))
        .route("/api/v1/ingresses", web::get().to(ingresses))
        .service(log_level::resource())
}

/// Refuses requests that a page of another site has its user's browser send to a forwarded port.
async fn of_this_site(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if let Some(why) = foreign(request.request()) {
        let refused = HttpResponse::Forbidden().body(why);
        return Ok(request.into_response(refused).map_into_right_body());
    }
    Ok(next.call(request).await?.map_into_left_body())
}

/// Why a request is that of a foreign page, if it is: one that the browser marks so (Fetch
/// Metadata) and that is no link which the user follows, or one to loopback under a name of the
/// page's own (DNS rebinding).
fn foreign(request: &HttpRequest) -> Option<&'static str> {
    let header = |name: &HeaderName| Some(request.headers().get(name)?.to_str().unwrap_or("?"));
    let is_own = matches!(header(&SEC_FETCH_SITE), None | Some("same-origin" | "none"));
    if !is_own && header(&SEC_FETCH_MODE) != Some("navigate") {
        return Some("pages of other sites may not read this port");
    }
    let is_rebound = || header(&HOST).is_some_and(|host| !is_local(host));
    (is_from_loopback(request) && is_rebound())
        .then_some("a forwarded port is read under the name localhost or an address only")
}

async fn overview(health: Data<Health>) -> HttpResponse {
    shown(health.overview().await, HTML)
}

async fn list(health: Data<Health>, Query(wanted): Query<Rows>) -> HttpResponse {
    match wanted.question() {
        Some(question) => shown(health.list(question).await, HTML),
        None => HttpResponse::BadRequest().body("there is no such state"),
    }
}

async fn one(health: Data<Health>, Query(one): Query<One>) -> HttpResponse {
    shown(health.one(one.key()).await, HTML)
}

async fn explanation(health: Data<Health>, Query(one): Query<One>) -> HttpResponse {
    shown(health.explanation(one.key()).await, "text/plain; charset=utf-8")
}

async fn style() -> HttpResponse {
    shown(Ok(Bytes::from_static(page::STYLE.as_bytes())), "text/css; charset=utf-8")
}

async fn script() -> HttpResponse {
    shown(Ok(Bytes::from_static(page::SCRIPT.as_bytes())), "text/javascript; charset=utf-8")
}

async fn changes(health: Data<Health>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(russe::MEDIA_TYPE_STR)
        .insert_header((CACHE_CONTROL, "no-store"))
        .streaming(health.changes())
}

/// Answers with a part of the pages.
fn shown(text: Result<Bytes, Unanswered>, kind: &str) -> HttpResponse {
    match text {
        Ok(text) => HttpResponse::Ok()
            .content_type(kind)
            .insert_header((CONTENT_SECURITY_POLICY, page::POLICY))
            .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((REFERRER_POLICY, "no-referrer"))
            .insert_header((CACHE_CONTROL, "no-store"))
            .body(SharedText(text)),
        Err(why) => refused(&why),
    }
}

async fn livez(health: Data<Health>) -> HttpResponse {
    if health.lives() {
        return HttpResponse::Ok().body("ok\n");
    }
    HttpResponse::ServiceUnavailable()
        .body(format!("the operator's event loop has not run for {STUCK:?}\n"))
}

async fn readyz(health: Data<Health>) -> HttpResponse {
    if health.is_ready() {
        return HttpResponse::Ok().body("ok\n");
    }
    HttpResponse::ServiceUnavailable()
        .body("the account key is not known yet, or this replica drains\n")
}

async fn metrics(health: Data<Health>, request: HttpRequest) -> HttpResponse {
    let format = Accept::parse(&request).map_or(Format::Text, Format::accepted);
    match health.scrape(format).await {
        Ok(text) => HttpResponse::Ok()
            .content_type(format.content_type())
            .insert_header((VARY, ACCEPT.as_str()))
            .body(SharedText(text)),
        Err(why) => HttpResponse::InternalServerError().body(why.to_string()),
    }
}

async fn state(health: Data<Health>) -> HttpResponse {
    answer(health.state().await)
}

/// Query parameters of `/api/v1/ingresses`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    namespace: Option<String>,
    search: Option<String>,
    state: Option<String>,
    limit: Option<usize>,
    offset: Option<usize>,
}

/// Query parameters of the list. A browser sends empty fields of a form too.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    namespace: Option<String>,
    search: Option<String>,
    state: Option<String>,
    page: Option<usize>,
}

/// Query parameters that name one Ingress.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    namespace: String,
    name: String,
}

async fn ingresses(health: Data<Health>, Query(wanted): Query<Wanted>) -> HttpResponse {
    match wanted.question() {
        Some(question) => answer(health.listing(question).await),
        None => HttpResponse::BadRequest().body("there is no such state"),
    }
}

impl Wanted {
    /// `None` if the state is none that is known.
    fn question(self) -> Option<ListIngresses> {
        let Self { namespace, search, state, limit, offset } = self;
        let limit = limit.unwrap_or(limits::LISTED).min(limits::LISTED_MAX);
        let (filter, text) = (filter(state.as_deref())?, search.as_deref().and_then(needle));
        let search = Search { namespace, text, filter };
        Some(ListIngresses { search, limit, offset: offset.unwrap_or(0) })
    }
}

impl Rows {
    fn question(self) -> Option<ListIngresses> {
        let Self { namespace, search, state, page } = self;
        let namespace = namespace.filter(|namespace| !namespace.is_empty());
        let (filter, text) = (filter(state.as_deref())?, search.as_deref().and_then(needle));
        let offset = page.unwrap_or(1).saturating_sub(1).saturating_mul(limits::LIST_ROWS);
        let search = Search { namespace, text, filter };
        Some(ListIngresses { search, limit: limits::LIST_ROWS, offset })
    }
}

impl One {
    fn key(&self) -> IngressKey {
        IngressKey::new(&self.namespace, &self.name)
    }
}

/// The filter of this state, if there is a state; `None` if there is no such filter.
#[expect(clippy::option_option, reason = "none is a filter too: that of all Ingresses")]
fn filter(state: Option<&str>) -> Option<Option<Filter>> {
    match state {
        None | Some("") => Some(None),
        Some(state) => Filter::named(state).map(Some),
    }
}

/// The text to search for. Names have lower case.
fn needle(search: &str) -> Option<String> {
    let needle: String = search.trim().chars().take(limits::SEARCH_MAX).collect();
    (!needle.is_empty()).then(|| needle.to_lowercase())
}

fn answer(body: Result<Bytes, Unanswered>) -> HttpResponse {
    match body {
        Ok(json) => HttpResponse::Ok()
            .content_type(ContentType::json())
            .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .body(SharedText(json)),
        Err(why) => refused(&why),
    }
}

fn refused(why: &Unanswered) -> HttpResponse {
    match why {
        Unanswered::NoIngress => HttpResponse::NotFound(),
        _ => HttpResponse::ServiceUnavailable(),
    }
    .body(why.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use actix_web::App;
    use actix_web::http::StatusCode;
    use actix_web::test::{self, TestRequest};
    use ingress_acme_actors::reporting::metrics::Metrics;
    use prometheus_client::registry::Registry;
    use proptest::prelude::*;

    use super::*;

    #[actix::test]
    async fn a_page_of_another_site_reads_nothing_through_a_forwarded_port() {
        let health = Health::new(Registry::default(), Metrics::default(), "https://ca.example/dir");
        let all = [Role::Health, Role::Metrics, Role::Admin];
        let app = App::new().configure(|config| routes(config, health.clone(), &all));
        let app = test::init_service(app).await;
        let asked = async |path: &str, peer: &str, headers: &[(&str, &str)]| {
            let peer: SocketAddr = peer.parse().unwrap();
            let mut request = TestRequest::get().uri(path).peer_addr(peer);
            for header in headers {
                request = request.insert_header(*header);
            }
            test::call_service(&app, request.to_request()).await.status()
        };
        let (own, pod) = ("127.0.0.1:4000", "10.0.0.7:4000");
        let rebound = [("host", "evil.example:9091"), ("sec-fetch-site", "same-origin")];
        let image = [("host", "localhost:9091"), ("sec-fetch-site", "cross-site")];
        let link = [image[0], image[1], ("sec-fetch-mode", "navigate")];
        let page = [("host", "localhost:9091"), ("sec-fetch-site", "same-origin")];
        let paths =
            ["/", "/debug/state", "/api/v1/ingresses", "/changes", "/explain", "/script.js"];
        for path in paths {
            for headers in [&rebound[..], &image[..]] {
                let status = asked(path, own, headers).await;
                assert_eq!(status, StatusCode::FORBIDDEN, "{path} {headers:?}");
            }
        }
        for headers in [&link[..], &page[..], &[("host", "[::1]:9091")], &[]] {
            let status = asked("/script.js", own, headers).await;
            assert_eq!(status, StatusCode::OK, "{headers:?}");
        }
        let through_a_service = [("host", "ingress-acme.web.svc:9091")];
        assert_eq!(asked("/script.js", pod, &through_a_service).await, StatusCode::OK);
        for (path, status) in [("/metrics", 200), ("/readyz", 503), ("/nothing", 403)] {
            assert_eq!(asked(path, own, &rebound).await.as_u16(), status, "{path}");
        }
        assert_eq!(asked("/nothing", own, &page).await, StatusCode::NOT_FOUND);
    }

    proptest! {
        #[test]
        fn any_query_is_a_bounded_question_or_refused(
            query in "(namespace|search|state|failing|limit|offset|page|.{0,9}|[=&%+]|[0-9]{1,25}|%[0-9a-f]{2}){0,12}",
        ) {
            let wanted = Query::<Wanted>::from_query(&query).ok();
            let rows = Query::<Rows>::from_query(&query).ok();
            let questions = wanted
                .and_then(|wanted| wanted.into_inner().question())
                .into_iter()
                .chain(rows.and_then(|rows| rows.into_inner().question()));
            for question in questions {
                prop_assert!(question.limit <= limits::LISTED_MAX);
                let Search { namespace, text, .. } = question.search;
                prop_assert!(text.unwrap_or_default().chars().count() <= 2 * limits::SEARCH_MAX);
                prop_assert!(namespace.is_none_or(|namespace| namespace.len() <= query.len()));
            }
        }
    }
}
