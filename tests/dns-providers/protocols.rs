//! Servers of a protocol, on loopback: lego's `httpreq`, and acme-dns.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ingress_acme_actors::domain::limits;
use ingress_acme_actors::ports::{Pauses, PortError, TxtError};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use crate::services::Asked;
use crate::{Accounts, permanent, record, transient};

const ZONE: &str = "example.test";
const PASSWORD: &str = "the-pass+word of a test";

/// A server that keeps what it is asked, and answers with a status, a header and a body.
#[derive(Clone)]
struct Server {
    asked: Arc<Mutex<Vec<Asked>>>,
    answer: Arc<Mutex<(u16, &'static str, String)>>,
    url: String,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new((200, "", String::new())));
        let server = Self { asked: Arc::default(), answer, url };
        let serving = server.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serving.clone().connection(BufReader::new(stream)));
            }
        });
        server
    }

    async fn connection(self, mut stream: BufReader<tokio::net::TcpStream>) -> Option<()> {
        loop {
            let asked = Asked::read(&mut stream).await?;
            let (status, header, body) = self.answer.lock().unwrap().clone();
            let text = format!(
                "HTTP/1.1 {status} X\r\n{header}Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            self.asked.lock().unwrap().push(asked);
            stream.write_all(text.as_bytes()).await.ok()?;
            stream.flush().await.ok()?;
        }
    }

    fn answers(&self, status: u16, header: &'static str, body: impl Into<String>) {
        *self.answer.lock().unwrap() = (status, header, body.into());
    }

    /// Takes the requests since the last time.
    fn taken(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

#[tokio::test]
async fn an_httpreq_server_is_told_name_and_value_and_its_errors_are_kept_apart() {
    let (server, accounts) = (Server::start().await, Accounts::start().await);
    let keys = [
        ("provider", "httpreq"),
        ("endpoint", &*server.url),
        ("username", "user"),
        ("password", PASSWORD),
    ];
    accounts.account("one", ZONE, &keys).await;
    let value = record("one", ZONE, ZONE, "value-1");
    accounts.records.add(&value).await.unwrap();
    accounts.records.remove(&value).await.unwrap();
    let asked = server.taken();
    let paths: Vec<_> = asked.iter().map(|asked| asked.path.as_str()).collect();
    assert_eq!(paths, ["/present", "/cleanup"]);
    for asked in &asked {
        assert_eq!(
            asked.json,
            serde_json::json!({"fqdn": "_acme-challenge.example.test.", "value": "value-1"})
        );
        let login = "Basic dXNlcjp0aGUtcGFzcyt3b3JkIG9mIGEgdGVzdA==";
        assert!(asked.whole.contains(login), "{}", asked.whole);
        assert!(!asked.whole.to_ascii_lowercase().contains("accept-encoding"), "{}", asked.whole);
    }
    errors_are_kept_apart(&server, &accounts).await;
}

async fn errors_are_kept_apart(server: &Server, accounts: &Accounts) {
    let value = record("one", ZONE, ZONE, "value-1");
    server.answers(401, "", format!("no access with {PASSWORD}"));
    let error = permanent(accounts.records.add(&value).await);
    assert!(
        error.contains("HTTP 401: no access with [redacted]; check the keys of the Secret one"),
        "{error}"
    );
    server.answers(429, "Retry-After: 7\r\n", "slow down");
    let busy = accounts.records.add(&value).await;
    let Err(TxtError { error: PortError::Transient { retry_after, .. }, pauses }) = &busy else {
        panic!("{busy:?}")
    };
    assert_eq!((*retry_after, *pauses), (Some(Duration::from_secs(7)), Pauses::Account));
    server.answers(502, "", "");
    transient(accounts.records.remove(&value).await);
    server.answers(302, "Location: http://127.0.0.1:1/\r\n", "");
    permanent(accounts.records.add(&value).await);
    server.answers(200, "", "x".repeat(limits::DNS_ANSWER + 1));
    let error = permanent(accounts.records.add(&value).await);
    assert!(error.contains("larger than 65536 bytes"), "{error}");
}

#[tokio::test]
async fn acme_dns_is_told_the_value_of_the_registration_to_which_the_name_leads() {
    let (server, accounts) = (Server::start().await, Accounts::start().await);
    let registration = serde_json::json!({"username": "u1", "password": PASSWORD,
        "fulldomain": "_acme-challenge.example.test", "subdomain": "s1", "allowfrom": []});
    let registrations = serde_json::json!({"shop.example.com": registration}).to_string();
    let keys = [("provider", "acme-dns"), ("server", &*server.url), ("accounts", &*registrations)];
    accounts.account("one", ZONE, &keys).await;
    let value = record("one", ZONE, ZONE, "value-1");
    accounts.records.add(&value).await.unwrap();
    accounts.records.remove(&value).await.unwrap();
    let asked = server.taken();
    assert_eq!(asked.len(), 1, "it knows no removal");
    assert_eq!(
        (&*asked[0].path, &asked[0].json),
        ("/update", &serde_json::json!({"subdomain": "s1", "txt": "value-1"}))
    );
    assert!(asked[0].whole.contains("x-api-user: u1") && asked[0].whole.contains(PASSWORD));

    let elsewhere = record("one", ZONE, "other.example.test", "v");
    let error = permanent(accounts.records.add(&elsewhere).await);
    assert!(error.contains("no registration of the key `accounts`"), "{error}");
    assert!(server.taken().is_empty());
    server.answers(400, "", format!("bad key {PASSWORD}"));
    let error = permanent(accounts.records.add(&value).await);
    assert!(error.contains("bad key [redacted]"), "{error}");
}
