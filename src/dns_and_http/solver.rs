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
pub const TOKEN: std::ops::RangeInclusive<usize> = 16..=128;
/// Length of a thumbprint: SHA-256 in base64url (RFC 7638).
pub const THUMBPRINT: usize = 43;

/// Thumbprint of the account key, which challenges are answered with. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Thumbprint(Arc<RwLock<Option<String>>>);

/// Account key with whose thumbprint a challenge was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnswerKey {
    /// The account key of this operator.
    Ours,
    /// Another one: of another account, or of this account before a rollover.
    Another,
    /// None: the text answers no challenge.
    None,
}

impl Thumbprint {
    /// Replaces the thumbprint.
    pub fn set(&self, thumbprint: String) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(thumbprint);
    }

    /// Returns the thumbprint, once the account key is known.
    pub fn current(&self) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Key of the answer `body` to `token`. CAs ignore trailing white space (RFC 8555 §8.3).
    pub fn key_of_answer(&self, token: &str, body: &str) -> AnswerKey {
        let rest = body.trim_end().strip_prefix(token);
        match rest.and_then(|rest| rest.strip_prefix('.')) {
            Some(thumbprint) if self.current().is_some_and(|ours| ours == thumbprint) => {
                AnswerKey::Ours
            }
            Some(other) if is_thumbprint(other) => AnswerKey::Another,
            _ => AnswerKey::None,
        }
    }
}

/// Whether `text` may be a thumbprint.
pub fn is_thumbprint(text: &str) -> bool {
    text.len() == THUMBPRINT && text.bytes().all(is_base64url)
}

fn is_base64url(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_'
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
    thumbprint: Thumbprint,
    metrics: &Metrics,
) -> io::Result<(Server, SocketAddr)> {
    let counting = metrics.clone();
    let answered: AnswerHook = Arc::new(move || counting.answered());
    server::serve("solver", socket, Bounds::SOLVER, metrics, move |config| {
        routes(thumbprint.clone(), Arc::clone(&answered))(config);
    })
}

fn routes(thumbprint: Thumbprint, answered: AnswerHook) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        config
            .app_data(Data::new(thumbprint))
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
    thumbprint: Data<Thumbprint>,
    answered: Data<dyn Fn() + Send + Sync>,
) -> HttpResponse {
    match key_authorization(&token, &thumbprint) {
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
pub fn key_authorization(token: &str, thumbprint: &Thumbprint) -> Result<String, StatusCode> {
    if !is_token(token) {
        return Err(StatusCode::NOT_FOUND);
    }
    let thumbprint = thumbprint.current().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(format!("{token}.{thumbprint}"))
}

/// Whether `token` is base64url only, so that the reflected text cannot be markup.
fn is_token(token: &str) -> bool {
    TOKEN.contains(&token.len()) && token.bytes().all(is_base64url)
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

    fn known() -> Thumbprint {
        let thumbprint = Thumbprint::default();
        thumbprint.set("new".to_owned());
        thumbprint
    }

    async fn ask(thumbprint: Thumbprint, method: Method, path: &str) -> (u16, String, usize) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let hook: AnswerHook = Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let app = init_service(App::new().configure(routes(thumbprint, hook))).await;
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
    async fn a_token_is_answered_with_the_thumbprint() {
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
        let answer = ask(Thumbprint::default(), Method::GET, &path(TOKEN)).await;
        assert_eq!(answer, (503, String::new(), 0));
    }

    #[test]
    fn an_answer_is_of_our_account_key_or_of_another_one_or_none() {
        let (ours, other) = ("a".repeat(THUMBPRINT), "b".repeat(THUMBPRINT));
        let thumbprint = Thumbprint::default();
        let key = |thumbprint: &Thumbprint, body: &str| thumbprint.key_of_answer("token", body);
        assert_eq!(key(&thumbprint, &format!("token.{ours}")), AnswerKey::Another);
        thumbprint.set(ours.clone());
        assert_eq!(key(&thumbprint, &format!("token.{ours}\n")), AnswerKey::Ours);
        assert_eq!(key(&thumbprint, &format!("token.{other}")), AnswerKey::Another);
        for none in ["", "token", "token.", "token.short", &format!("other.{ours}"), &ours] {
            assert_eq!(key(&thumbprint, none), AnswerKey::None, "{none}");
        }
        thumbprint.set(other);
        assert_eq!(key(&thumbprint, &format!("token.{ours}")), AnswerKey::Another);
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
