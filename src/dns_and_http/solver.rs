//! Answers HTTP-01 challenges (RFC 8555 §8.3) for any token on any host, without per-challenge
//! state.
//!
//! The answer consists of the token and the thumbprint of the account key, so every replica can
//! answer. Nothing else is served on this port.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, PoisonError, RwLock};

use actix_web::dev::Server;
use actix_web::http::header::ContentType;
use actix_web::http::{Method, StatusCode};
use actix_web::web::{Data, Path, ServiceConfig};
use actix_web::{HttpResponse, web};
use ingress_acme_actors::reporting::metrics::Metrics;

use super::server::{self, Bounds};

/// Accepted length of a token. Tokens have at least 128 bits of entropy (RFC 8555 §8.1), which is
/// 22 characters; the range leaves room on both sides.
const TOKEN: std::ops::RangeInclusive<usize> = 16..=128;
/// Number of thumbprints accepted at a time: of the account key, and of its predecessor after a
/// rollover.
pub const THUMBPRINTS: usize = 2;

/// Thumbprints for challenge answers, newest first. Clones share one list.
#[derive(Clone, Debug, Default)]
pub struct Thumbprints(Arc<RwLock<Vec<String>>>);

impl Thumbprints {
    /// Adds a thumbprint in front. Keeps two and drops the oldest.
    pub fn add(&self, thumbprint: String) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|other| *other != thumbprint);
        known.insert(0, thumbprint);
        known.truncate(THUMBPRINTS);
    }

    /// Returns the thumbprint for new answers.
    pub fn newest(&self) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }

    /// Returns all thumbprints, newest first.
    pub fn all(&self) -> Vec<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether `body` answers `token` with any of the thumbprints. CAs ignore trailing white space
    /// (RFC 8555 §8.3).
    pub fn is_answer(&self, token: &str, body: &str) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let thumbprint =
            body.trim_end().strip_prefix(token).and_then(|rest| rest.strip_prefix('.'));
        thumbprint.is_some_and(|thumbprint| known.iter().any(|other| other == thumbprint))
    }
}

/// Called for every answered challenge.
pub type AnswerHook = Arc<dyn Fn() + Send + Sync>;

/// Opens the socket of the solver port.
pub fn socket(bind: SocketAddr) -> io::Result<TcpListener> {
    server::listener(bind)
}

/// Serves on a listening socket. Returns the server, which must be awaited, and its address. The
/// server ignores signals and is stopped by its handle. `metrics` counts answers and connections.
pub fn serve(
    socket: TcpListener,
    thumbprints: Thumbprints,
    metrics: &Metrics,
) -> io::Result<(Server, SocketAddr)> {
    let counting = metrics.clone();
    let answered: AnswerHook = Arc::new(move || counting.answered());
    server::serve("solver", socket, Bounds::SOLVER, metrics, move |config| {
        routes(thumbprints.clone(), Arc::clone(&answered))(config);
    })
}

fn routes(thumbprints: Thumbprints, answered: AnswerHook) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        config
            .app_data(Data::new(thumbprints))
            .app_data(Data::<dyn Fn() + Send + Sync>::from(answered))
            .service(
                web::resource("/.well-known/acme-challenge/{token}")
                    .route(web::get().to(answer))
                    .route(web::head().to(answer))
                    .default_service(web::to(HttpResponse::NotFound)),
            )
            .default_service(web::to(HttpResponse::NotFound));
    }
}

async fn answer(
    method: Method,
    token: Path<String>,
    thumbprints: Data<Thumbprints>,
    answered: Data<dyn Fn() + Send + Sync>,
) -> HttpResponse {
    match key_authorization(&token, &thumbprints) {
        Err(status) => HttpResponse::build(status).finish(),
        Ok(answer) => {
            if method == Method::GET {
                answered();
            }
            HttpResponse::Ok().insert_header(ContentType::plaintext()).body(answer)
        }
    }
}

/// Body of the answer to a challenge with this token: its key authorization (RFC 8555 §8.1).
///
/// # Errors
/// The status in its place: 404 for what is no token, 503 while no thumbprint is known.
pub fn key_authorization(token: &str, thumbprints: &Thumbprints) -> Result<String, StatusCode> {
    if !is_token(token) {
        return Err(StatusCode::NOT_FOUND);
    }
    let thumbprint = thumbprints.newest().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(format!("{token}.{thumbprint}"))
}

/// Whether `token` is base64url only, so that the reflected text cannot be markup.
fn is_token(token: &str) -> bool {
    let legal = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    TOKEN.contains(&token.len()) && token.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use actix_web::App;
    use actix_web::http::Uri;
    use actix_web::test::{TestRequest, call_service, init_service, read_body};
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ";

    fn known() -> Thumbprints {
        let thumbprints = Thumbprints::default();
        thumbprints.add("old".to_owned());
        thumbprints.add("new".to_owned());
        thumbprints
    }

    async fn ask(thumbprints: Thumbprints, method: Method, path: &str) -> (u16, String, usize) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let hook: AnswerHook = Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let app = init_service(App::new().configure(routes(thumbprints, hook))).await;
        let request = TestRequest::with_uri(path).method(method).to_request();
        let response = call_service(&app, request).await;
        let status = response.status().as_u16();
        let body = String::from_utf8(read_body(response).await.to_vec()).unwrap();
        (status, body, count.load(Ordering::Relaxed))
    }

    fn path(token: &str) -> String {
        format!("/.well-known/acme-challenge/{token}")
    }

    #[actix_web::test]
    async fn a_token_is_answered_with_the_newest_thumbprint() {
        let answer = ask(known(), Method::GET, &path(TOKEN)).await;
        assert_eq!(answer, (200, format!("{TOKEN}.new"), 1));
        let (status, _, count) = ask(known(), Method::HEAD, &path(TOKEN)).await;
        assert_eq!((status, count), (200, 0));
    }

    #[actix_web::test]
    async fn nothing_else_is_there() {
        let (long, short) = ("a".repeat(129), "a".repeat(15));
        let paths = [
            "/".to_owned(),
            "/.well-known/acme-challenge/".to_owned(),
            path(&long),
            path(&short),
            path("%3Cscript%3Ealert(1)%3C/script%3E"),
            path(&format!("{TOKEN}.{TOKEN}")),
            path(&format!("{TOKEN}/x")),
            path(&format!("{TOKEN}=")),
        ];
        for path in paths {
            let answer = ask(known(), Method::GET, &path).await;
            assert_eq!(answer, (404, String::new(), 0), "{path}");
        }
        let answer = ask(known(), Method::POST, &path(TOKEN)).await;
        assert_eq!(answer, (404, String::new(), 0));
    }

    #[actix_web::test]
    async fn without_an_account_key_it_is_not_yet_available() {
        let answer = ask(Thumbprints::default(), Method::GET, &path(TOKEN)).await;
        assert_eq!(answer, (503, String::new(), 0));
    }

    #[test]
    fn answers_with_the_two_newest_thumbprints_are_ours() {
        let thumbprints = known();
        assert!(thumbprints.is_answer("token", "token.new\n"));
        assert!(thumbprints.is_answer("token", "token.old"));
        assert!(!thumbprints.is_answer("token", "token.other"));
        assert!(!thumbprints.is_answer("token", "other.new"));
        thumbprints.add("newest".to_owned());
        assert!(!thumbprints.is_answer("token", "token.old"));
    }

    #[actix_web::test]
    async fn it_listens_on_a_port_of_its_own() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (server, address) = serve(socket(any).unwrap(), known(), &Metrics::default()).unwrap();
        let handle = server.handle();
        let running = actix_web::rt::spawn(server);
        let url = format!("http://{address}{}", path(TOKEN));
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let body = client.get(url).send().await.unwrap().text().await.unwrap();
        assert_eq!(body, format!("{TOKEN}.new"));
        handle.stop(true).await;
        running.await.unwrap().unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// What is reflected is a token and nothing else, so no request makes a page of this port.
        #[test]
        fn any_path_is_not_found_or_answered_with_its_token(
            path in "/[!-~]{0,60}|/\\.well-known/acme-challenge/([A-Za-z0-9_-]{10,140}|[!-~]{0,60}|(%[0-9A-F]{2}){1,20})",
        ) {
            prop_assume!(path.parse::<Uri>().is_ok());
            let asking = ask(known(), Method::GET, &path);
            let (status, body, _) = actix_web::rt::System::new().block_on(asking);
            if status == 200 {
                let token = body.strip_suffix(".new").unwrap_or_default();
                prop_assert!((16..=128).contains(&token.len()) && is_token(token), "{}", body);
            } else {
                prop_assert!(matches!(status, 400 | 404), "{}", status);
                prop_assert!(!body.contains(&path[1..]) || path.len() < 5, "{}", body);
            }
        }
    }
}
