//! The API server: its version and time, and single objects.

use std::future::Future;

use http::Request;
use http_body_util::BodyExt;
use ingress_acme_actors::domain::cut::cut;
use ingress_acme_actors::domain::doctor::Fact;
use ingress_acme_actors::domain::doctor::class::Class;
use ingress_acme_actors::domain::doctor::install::Lease;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::new_orders::LEASE;
use ingress_acme_actors::domain::time::Timestamp;
use ingress_acme_actors::ports::Clock;
use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::api::networking::v1::IngressClass;
use kube::api::ListParams;
use kube::client::Body;
use kube::{Api, Client};
use serde_json::Value;
use tokio::time::timeout;

use crate::acme::sent_at;
use crate::kubernetes::client::detail;
use crate::kubernetes::ingress_classes;
use crate::process::clock::SystemClock;

/// The cluster, as the user may read its objects.
pub(super) struct Cluster {
    pub(super) client: Client,
    /// The operator's namespace.
    pub(super) own: String,
    /// Version of the API server.
    pub(super) version: Fact<String>,
    /// Milliseconds by which the clock of the API server is ahead of that of this machine.
    pub(super) ahead: Option<i64>,
}

impl Cluster {
    /// Asks for the version, which every authenticated user may read.
    pub(super) async fn greet(client: Client, own: &str) -> Self {
        let greeted = timeout(limits::KUBE_CALL, version(&client)).await;
        let greeted = greeted.unwrap_or_else(|_| Err(late()));
        let (version, sent) = match greeted {
            Ok((version, sent)) => (Ok(version), sent),
            Err(why) => (Err(why), None),
        };
        Self { client, own: own.to_owned(), version, ahead: sent.map(ahead_of_here) }
    }

    /// Time of the API server.
    pub(super) fn now(&self) -> Option<Timestamp> {
        let here = SystemClock::default().now();
        self.ahead.map(|ahead| Timestamp::from_millis(here.as_millis().saturating_add(ahead)))
    }

    /// Sends a request under the deadline of one, unless the API server has not answered before.
    pub(super) async fn ask<T>(
        &self,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Fact<T> {
        if self.version.is_err() {
            return Err("the API server does not answer".to_owned());
        }
        let answer = timeout(limits::KUBE_CALL, request).await;
        answer.map_err(|_| late())?.map_err(|error| words(&error))
    }

    /// The Lease of the operator.
    pub(super) async fn lease(&self) -> Fact<Option<Lease>> {
        let api: Api<coordination::Lease> = Api::namespaced(self.client.clone(), &self.own);
        Ok(self.ask(api.get_opt(LEASE)).await?.map(lease_of))
    }

    /// The ingress classes.
    pub(super) async fn classes(&self) -> Fact<Vec<Class>> {
        let api: Api<IngressClass> = Api::all(self.client.clone());
        let first = ListParams::default().limit(limits::CLASSES_READ);
        let listed = self.ask(api.list(&first)).await?;
        Ok(listed.items.iter().map(ingress_classes::described).collect())
    }
}

/// The Lease without its other fields.
pub(super) fn lease_of(lease: coordination::Lease) -> Lease {
    let spec = lease.spec.unwrap_or_default();
    let renewed = spec.renew_time.map(|time| Timestamp::from_millis(time.0.as_millisecond()));
    Lease { holder: spec.holder_identity, renewed }
}

/// Milliseconds by which the clock that has told the time `sent` just now is ahead of this
/// machine's. The header `Date` is cut to seconds, so half a second is added.
pub(super) fn ahead_of_here(sent: Timestamp) -> i64 {
    const HALF: i64 = 500;
    let here = SystemClock::default().now().as_millis();
    sent.as_millis().saturating_add(HALF).saturating_sub(here)
}

fn late() -> String {
    format!("no answer within {} s", limits::KUBE_CALL.as_secs())
}

/// The API server's own message, or the causes of an error without one.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => cut(status.message.trim(), limits::QUOTED_MAX),
        other => detail(other),
    }
}

/// Version of the API server, and the time of its answer.
async fn version(client: &Client) -> Fact<(String, Option<Timestamp>)> {
    let request = Request::get("/version").body(Body::empty()).map_err(|error| detail(&error))?;
    let answer = client.send(request).await.map_err(|error| words(&error))?;
    let (sent, status) = (sent_at(answer.headers()), answer.status());
    let body = answer.into_body().collect().await.map_err(|error| detail(&error))?;
    if !status.is_success() {
        return Err(format!("HTTP {}", status.as_u16()));
    }
    let document: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    let version = document["gitVersion"].as_str().unwrap_or("of an unknown version");
    Ok((cut(version, limits::QUOTED_MAX), sent))
}
