//! The gateway's thread: the HTTP server and the watch.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::http::{StatusCode, header};
use actix_web::rt::System;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use futures_util::StreamExt;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};

use super::State;
use super::routing::host_of;
use crate::world::kube_client;

/// A solver answers from memory; a slow one is as good as none.
const SOLVER_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs until the server is stopped; reports once whether it could start.
pub(super) fn run(
    address: SocketAddr,
    kubeconfig: PathBuf,
    state: &Arc<State>,
    started: &mpsc::Sender<io::Result<ServerHandle>>,
) {
    System::new().block_on(async move {
        match server(address, state) {
            Ok(server) => {
                let watch = actix_web::rt::spawn(watch(kubeconfig, Arc::clone(state)));
                // The receiver waits for exactly this message.
                let _ = started.send(Ok(server.handle()));
                let _ = server.await;
                watch.abort();
            }
            Err(error) => drop(started.send(Err(error))),
        }
    });
}

fn server(address: SocketAddr, state: &Arc<State>) -> io::Result<Server> {
    let state = web::Data::from(Arc::clone(state));
    // A fresh connection each time: a kept one may lead to an operator that was killed.
    let solvers = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .timeout(SOLVER_TIMEOUT)
        .tls_certs_only([])
        .build()
        .map_err(io::Error::other)?;
    let solvers = web::Data::new(solvers);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .app_data(solvers.clone())
            .default_service(web::to(answer))
    });
    Ok(server.workers(1).disable_signals().bind(address)?.run())
}

/// Follows all Ingresses until the thread ends, through any error.
async fn watch(kubeconfig: PathBuf, state: Arc<State>) {
    let client = match kube_client(Path::new(&kubeconfig)).await {
        Ok(client) => client,
        Err(error) => return eprintln!("gateway: {error}"),
    };
    let ingresses: Api<Ingress> = Api::all(client);
    let events = watcher(ingresses, watcher::Config::default()).default_backoff();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        // An error is followed by a re-list; until then the routes stay.
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

/// Asks the solvers in turn until one answers, whatever it answers.
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
