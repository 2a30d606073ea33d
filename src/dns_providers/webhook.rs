//! Webhook solvers of cert-manager, which work without cert-manager: one `ChallengePayload` is sent
//! to the aggregated API of the solver.

use async_trait::async_trait;
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::dns::txt::TxtRecord;
use ingress_acme_actors::domain::hash::stable_hash;
use ingress_acme_actors::domain::limits;
use kube::Client;
use serde_json::{Value, json};

use super::credentials::Credentials;
use super::error::{Kind, ProviderError};
use super::external_dns::refused;
use super::records::Writer;

/// API version of the payload (`pkg/acme/webhook/apis/acme/v1alpha1` of cert-manager).
const API_VERSION: &str = "webhook.acme.cert-manager.io/v1alpha1";
/// Version of the groups of all solvers that cert-manager's example makes.
const VERSION: &str = "v1alpha1";
/// Kind of the payload.
const KIND: &str = "ChallengePayload";

/// A solver.
pub(super) struct Webhook {
    client: Client,
    /// Namespace in which the solver looks for the Secrets that its config names: the operator's,
    /// whatever a tenant writes.
    namespace: String,
    path: String,
    config: Option<Value>,
}

impl Webhook {
    /// Reads `group`, `version`, `solver` and `config`.
    pub(super) fn new(
        client: Client,
        namespace: &str,
        credentials: &Credentials,
    ) -> Result<Self, String> {
        let part = |key: &str, value: &str| {
            let legal = |octet: u8| octet.is_ascii_alphanumeric() || b".-".contains(&octet);
            let is_part = !value.is_empty() && value.bytes().all(legal);
            let wrong = || format!("key `{key}` is not a part of the path of an API");
            is_part.then(|| value.to_owned()).ok_or_else(wrong)
        };
        let group = part("group", credentials.get("group"))?;
        let version = part("version", credentials.some("version").unwrap_or(VERSION))?;
        let solver = part("solver", credentials.get("solver"))?;
        let config = credentials.some("config").map(serde_json::from_str).transpose();
        let config = config.map_err(|_| "key `config` is not JSON")?;
        let path = format!("/apis/{group}/{version}/{solver}");
        Ok(Self { client, namespace: namespace.to_owned(), path, config })
    }

    fn payload(&self, action: &str, record: &TxtRecord) -> Value {
        let uid = format!("{:016x}", stable_hash(format!("{} {}", record.name, record.value)));
        json!({
            "apiVersion": API_VERSION,
            "kind": KIND,
            "request": {
                "uid": uid,
                "action": action,
                "type": "dns-01",
                "dnsName": record.domain.base(),
                "key": record.value,
                "resourceNamespace": self.namespace,
                "resolvedFQDN": format!("{}.", record.name),
                "resolvedZone": format!("{}.", record.zone),
                "allowAmbientCredentials": true,
                "config": self.config,
            },
        })
    }

    async fn post(&self, action: &str, record: &TxtRecord) -> Result<(), ProviderError> {
        let body = self.payload(action, record).to_string().into_bytes();
        let request = ::http::Request::post(&self.path)
            .header(::http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| ProviderError::new(Kind::Request, error.to_string()))?;
        let answer: Value = self.client.request(request).await.map_err(|error| refused(&error))?;
        check(&answer)
    }
}

/// Whether the solver did what it was asked for.
fn check(answer: &Value) -> Result<(), ProviderError> {
    let response = &answer["response"];
    if response["success"].as_bool() == Some(true) {
        return Ok(());
    }
    let status = &response["status"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (reason, message) = (text(&status["reason"]), text(&status["message"]));
    let words = format!("the solver answers: {reason} {message}");
    let words = if response.is_object() { words } else { "the solver gives no response".into() };
    // A solver has one kind of error for all.
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    let words = cut(words, limits::DNS_ANSWER);
    Err(match code {
        Some(code @ (401 | 403)) => ProviderError::of_status(code, words),
        _ => ProviderError::new(Kind::Passing, words),
    })
}

#[async_trait]
impl Writer for Webhook {
    async fn add(&self, record: &TxtRecord) -> Result<(), ProviderError> {
        self.post("Present", record).await
    }

    async fn remove(&self, record: &TxtRecord) -> Result<(), ProviderError> {
        self.post("CleanUp", record).await
    }
}
