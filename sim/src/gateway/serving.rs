//! HTTP answers of the gateway, and the watch of Ingresses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::StreamExt;
use k8s_openapi::api::networking::v1::Ingress;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};

use super::State;
use super::routing::host_of;
use crate::SimError;

/// Timeout of solver requests; solvers answer from memory, so a slow one counts as failed.
const SOLVER_TIMEOUT: Duration = Duration::from_secs(5);

/// Registers the single handler for all paths.
pub(super) fn configure(
    state: &Arc<State>,
) -> Result<impl Fn(&mut ServiceConfig) + Clone + Send + 'static, SimError> {
    let state = web::Data::from(Arc::clone(state));
    let solvers =
        reqwest::Client::builder().no_proxy().timeout(SOLVER_TIMEOUT).tls_certs_only([]).build()?;
    let solvers = web::Data::new(solvers);
    Ok(move |config: &mut ServiceConfig| {
        config.app_data(state.clone()).app_data(solvers.clone()).default_service(web::to(answer));
    })
}

/// Watches all Ingresses until dropped, through any errors.
pub(super) async fn watch_cluster(cluster: kube::Config, state: Arc<State>) {
    match Client::try_from(cluster) {
        Ok(client) => watch(client, state).await,
        Err(error) => tracing::error!(%error, "the gateway cannot reach its cluster"),
    }
}

/// Watches all Ingresses with this client until dropped, through any errors.
pub(super) async fn watch(client: Client, state: Arc<State>) {
    let ingresses: Api<Ingress> = Api::all(client);
    let events = watcher(ingresses, watcher::Config::default().page_size(500)).default_backoff();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        // The watcher re-lists after an error; until then the routes stay.
        if let Ok(event) = event {
            state.observe(event);
        }
    }
}

async fn answer(
    request: HttpRequest,
    body: web::Bytes,
    state: web::Data<State>,
    client: web::Data<reqwest::Client>,
) -> HttpResponse {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.unwrap_or_default();
    match state.backend(&host_of(host), request.path()) {
        None => HttpResponse::NotFound().body("no route\n"),
        Some(backend) if backend.is_solver() => {
            forward(&request, host, &body, &state.solvers(), &client).await
        }
        Some(backend) => HttpResponse::Ok().body(backend.service),
    }
}

/// Forwards to the solvers in turn until one answers, with any status.
async fn forward(
    request: &HttpRequest,
    host: &str,
    body: &web::Bytes,
    solvers: &[SocketAddr],
    client: &reqwest::Client,
) -> HttpResponse {
    let method = reqwest::Method::from_bytes(request.method().as_str().as_bytes());
    let method = method.unwrap_or(reqwest::Method::GET);
    for solver in solvers {
        let url = format!("http://{solver}{}", request.uri());
        let asked = client.request(method.clone(), url).header("host", host).body(body.to_vec());
        if let Ok(answer) = asked.send().await {
            return relay(answer).await;
        }
    }
    HttpResponse::ServiceUnavailable().body("no solver answers\n")
}

async fn relay(answer: reqwest::Response) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status().as_u16());
    let mut relayed = HttpResponse::build(status.unwrap_or(StatusCode::BAD_GATEWAY));
    if let Some(content_type) = answer.headers().get("content-type") {
        relayed.insert_header(("content-type", content_type.as_bytes()));
    }
    match answer.bytes().await {
        Ok(body) => relayed.body(body),
        Err(error) => HttpResponse::BadGateway().body(error.to_string()),
    }
}
