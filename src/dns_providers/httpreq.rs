//! lego's protocol `httpreq` in its default mode: `POST /present` and `POST /cleanup` with the name
//! and the value of the record.

use async_trait::async_trait;
use ingress_acme_actors::domain::dns::txt::TxtRecord;
use reqwest::Client;
use serde_json::json;
use zeroize::Zeroizing;

use super::credentials::Credentials;
use super::error::ProviderError;
use super::http;
use super::records::Writer;

/// A server of the protocol.
pub(super) struct HttpReq {
    client: Client,
    endpoint: String,
    /// User and password, where the server asks for them.
    login: Option<(String, Zeroizing<String>)>,
}

impl HttpReq {
    /// Reads `endpoint`, `username` and `password`.
    pub(super) fn new(credentials: &Credentials) -> Result<Self, String> {
        let login = match (credentials.some("username"), credentials.some("password")) {
            (Some(user), Some(password)) => {
                Some((user.to_owned(), Zeroizing::new(password.to_owned())))
            }
            (None, None) => None,
            _ => return Err("it has only one of the keys `username` and `password`".to_owned()),
        };
        let endpoint = http::base("endpoint", credentials.get("endpoint"))?;
        Ok(Self { client: http::client()?, endpoint, login })
    }

    async fn post(&self, path: &str, record: &TxtRecord) -> Result<(), ProviderError> {
        let body = json!({"fqdn": format!("{}.", record.name), "value": record.value});
        let mut request = self.client.post(format!("{}/{path}", self.endpoint)).json(&body);
        if let Some((user, password)) = &self.login {
            request = request.basic_auth(user, Some(password.as_str()));
        }
        http::send(request).await.map(drop)
    }
}

#[async_trait]
impl Writer for HttpReq {
    async fn add(&self, record: &TxtRecord) -> Result<(), ProviderError> {
        self.post("present", record).await
    }

    async fn remove(&self, record: &TxtRecord) -> Result<(), ProviderError> {
        self.post("cleanup", record).await
    }
}
