//! Clients of the controller: requests over HTTP and HTTPS, and requests without a pause.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ingress_acme_control_plane::ADDRESS;
use reqwest::redirect::Policy;
use reqwest::tls::TlsInfo;
use reqwest::{Certificate, Client, Response};
use tokio::task::JoinHandle;

/// Time between two requests to one host.
const PACE: Duration = Duration::from_millis(100);
/// Timeout of a request.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// A client of one host that trusts the CA's root only, and makes a connection for each request.
#[derive(Clone)]
pub(crate) struct Visitor {
    client: Client,
    url: String,
}

impl Visitor {
    /// Visits the host over plain HTTP.
    pub(crate) fn http(host: &str) -> Self {
        Self::new("http", host, Vec::new())
    }

    /// Visits the host over HTTPS; `root` is the CA's root in PEM.
    pub(crate) fn https(host: &str, root: &str) -> Self {
        let root = Certificate::from_pem(root.as_bytes()).expect("the CA's root");
        Self::new("https", host, vec![root])
    }

    fn new(scheme: &str, host: &str, roots: Vec<Certificate>) -> Self {
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .tls_certs_only(roots)
            .tls_info(true)
            .pool_max_idle_per_host(0)
            .timeout(ANSWERS_WITHIN)
            // Port 0 is replaced by that of the URL.
            .resolve(host, SocketAddr::from((ADDRESS, 0)))
            .build()
            .expect("an HTTP client");
        Self { client, url: format!("{scheme}://{host}/") }
    }

    /// Status of the answer.
    pub(crate) async fn status(&self) -> Result<u16, reqwest::Error> {
        Ok(self.client.get(&self.url).send().await?.status().as_u16())
    }

    /// Status of the answer, and the certificate of the server in DER.
    pub(crate) async fn status_and_certificate(&self) -> Result<(u16, Vec<u8>), reqwest::Error> {
        let answer = self.client.get(&self.url).send().await?;
        Ok((answer.status().as_u16(), certificate(&answer)))
    }
}

fn certificate(answer: &Response) -> Vec<u8> {
    let tls = answer.extensions().get::<TlsInfo>();
    tls.and_then(TlsInfo::peer_certificate).unwrap_or_default().to_vec()
}

/// Answers by status; an error counts under its text.
pub(crate) type Answers = BTreeMap<String, usize>;

/// Requests to a host without a pause, until the end.
pub(crate) struct Poll {
    answers: Rc<RefCell<Answers>>,
    task: JoinHandle<()>,
}

impl Poll {
    pub(crate) fn start(visitor: Visitor) -> Self {
        let answers = Rc::new(RefCell::new(Answers::new()));
        let counted = Rc::clone(&answers);
        let task = actix::spawn(async move {
            loop {
                let answer = visitor.status().await;
                let answer =
                    answer.map_or_else(|error| format!("{error:?}"), |code| code.to_string());
                *counted.borrow_mut().entry(answer).or_default() += 1;
                tokio::time::sleep(PACE).await;
            }
        });
        Self { answers, task }
    }

    /// Ends the requests, which all must have had this status.
    pub(crate) fn end(self, host: &str, status: u16) -> usize {
        self.task.abort();
        let answers = self.answers.borrow();
        let expected = status.to_string();
        let others: Vec<_> = answers.iter().filter(|(answer, _)| **answer != expected).collect();
        assert!(others.is_empty(), "{host}: not only {expected}: {answers:?}");
        answers.values().sum()
    }
}
