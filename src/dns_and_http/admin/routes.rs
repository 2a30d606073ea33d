//! Paths of health, metrics and administration, and the headers of their answers.

use actix_web::http::header::{
    ACCEPT, Accept, CACHE_CONTROL, CONTENT_SECURITY_POLICY, ContentType, Header, REFERRER_POLICY,
    VARY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::web::{self, Data, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::reporting::reporter::ListIngresses;
use serde::Deserialize;

use super::exposition::Format;
use super::{Health, STUCK, Unanswered, log_level, page};
use crate::dns_and_http::listeners::Role;
use crate::dns_and_http::server::SharedText;

/// Adds the paths of `roles`.
pub(super) fn routes(config: &mut ServiceConfig, health: Health, roles: &[Role]) {
    config.app_data(Data::new(health));
    for role in roles {
        match role {
            Role::Health => {
                config.route("/livez", web::get().to(livez)).route("/readyz", web::get().to(readyz))
            }
            Role::Metrics => config.route("/metrics", web::get().to(metrics)),
            Role::Admin => config
                .route("/", web::get().to(index))
                .route("/debug/state", web::get().to(state))
                .route("/api/v1/ingresses", web::get().to(ingresses))
                .service(log_level::resource()),
        };
    }
}

async fn index(health: Data<Health>) -> HttpResponse {
    match health.page().await {
        Ok(page) => HttpResponse::Ok()
            .content_type(ContentType::html())
            .insert_header((CONTENT_SECURITY_POLICY, page::POLICY))
            .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((REFERRER_POLICY, "no-referrer"))
            .insert_header((CACHE_CONTROL, "no-store"))
            .body(SharedText(page)),
        Err(why) => unavailable(&why),
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
    limit: Option<usize>,
    offset: Option<usize>,
}

async fn ingresses(health: Data<Health>, Query(wanted): Query<Wanted>) -> HttpResponse {
    answer(health.listing(wanted.question()).await)
}

impl Wanted {
    fn question(self) -> ListIngresses {
        let Self { namespace, limit, offset } = self;
        let limit = limit.unwrap_or(limits::LISTED).min(limits::LISTED_MAX);
        ListIngresses { namespace, limit, offset: offset.unwrap_or(0) }
    }
}

fn answer(body: Result<Bytes, Unanswered>) -> HttpResponse {
    match body {
        Ok(json) => HttpResponse::Ok()
            .content_type(ContentType::json())
            .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .body(SharedText(json)),
        Err(why) => unavailable(&why),
    }
}

fn unavailable(why: &Unanswered) -> HttpResponse {
    HttpResponse::ServiceUnavailable().body(why.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_query_is_a_bounded_question_or_refused(
            query in "(namespace|limit|offset|.{0,9}|[=&%+]|[0-9]{1,25}|%[0-9a-f]{2}){0,12}",
        ) {
            let Ok(wanted) = Query::<Wanted>::from_query(&query) else { return Ok(()) };
            let question = wanted.into_inner().question();
            prop_assert!(question.limit <= limits::LISTED_MAX);
            prop_assert!(question.namespace.is_none_or(|namespace| namespace.len() <= query.len()));
        }
    }
}
