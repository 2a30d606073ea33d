//! acme-dns: a name server for challenges alone, to which a CNAME of `_acme-challenge` leads. It
//! keeps the two newest values of each registration, and knows no removal.

use std::collections::BTreeMap;

use async_trait::async_trait;
use ingress_acme_actors::domain::dns::txt::TxtRecord;
use reqwest::Client;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::credentials::Credentials;
use super::error::{Kind, ProviderError};
use super::http;
use super::records::Writer;

/// A server of acme-dns with registrations there.
pub(super) struct AcmeDns {
    client: Client,
    server: String,
    registrations: Vec<Registration>,
}

/// A registration, as acme-dns answers `POST /register`.
#[derive(Deserialize)]
struct Registration {
    username: Zeroizing<String>,
    password: Zeroizing<String>,
    fulldomain: String,
    subdomain: String,
}

impl AcmeDns {
    /// Reads `server` and `accounts`: the file of registrations by domain that clients of acme-dns
    /// keep, such as lego and cert-manager.
    pub(super) fn new(credentials: &Credentials) -> Result<Self, String> {
        // The error of the parser would quote the text.
        let wrong = "key `accounts` is not JSON of registrations by domain, each with username, password, fulldomain and \
                     subdomain";
        let accounts: BTreeMap<String, Registration> =
            serde_json::from_str(credentials.get("accounts")).map_err(|_| wrong)?;
        let server = http::base("server", credentials.get("server"))?;
        let registrations = accounts.into_values().collect();
        Ok(Self { client: http::client()?, server, registrations })
    }

    fn registration(&self, name: &str) -> Option<&Registration> {
        let is_of = |registration: &&Registration| {
            registration.fulldomain.trim_end_matches('.').eq_ignore_ascii_case(name)
        };
        self.registrations.iter().find(is_of)
    }
}

#[async_trait]
impl Writer for AcmeDns {
    async fn add(&self, record: &TxtRecord) -> Result<(), ProviderError> {
        let Some(registration) = self.registration(record.name.as_str()) else {
            let none = format!(
                "no registration of the key `accounts` has the fulldomain {}, to which CNAMEs lead",
                record.name
            );
            return Err(ProviderError::new(Kind::Request, none));
        };
        let body = json!({"subdomain": registration.subdomain, "txt": record.value});
        let request = self.client.post(format!("{}/update", self.server)).json(&body);
        let request = request.header("X-Api-User", registration.username.as_str());
        let request = request.header("X-Api-Key", registration.password.as_str());
        http::send(request).await.map(drop)
    }

    /// The next two values replace this one.
    async fn remove(&self, _: &TxtRecord) -> Result<(), ProviderError> {
        Ok(())
    }
}
