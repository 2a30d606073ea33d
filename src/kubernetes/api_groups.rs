//! API groups that the API server serves. Discovery needs no rights of the operator's own: every
//! authenticated client has them (the role `system:discovery`).

use futures_util::future::ready;
use futures_util::stream::{self, Stream, StreamExt};
use ingress_acme_actors::domain::limits;
use kube::Client;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::kubernetes::client::detail;

/// API group of cert-manager's resources.
pub const CERT_MANAGER: &str = "cert-manager.io";

/// Whether cert-manager's resources are in the cluster. Asks [`limits::DISCOVERIES`] times. Without
/// an answer it counts as there, until a later look has one: two issuers would write one Secret.
pub async fn serves_cert_manager(client: &Client) -> bool {
    let mut why = String::new();
    for attempt in 0..limits::DISCOVERIES {
        if attempt > 0 {
            sleep(limits::DISCOVERY_PAUSE).await;
        }
        why = match look(client).await {
            Ok(is_there) => return is_there,
            Err(why) => why,
        };
    }
    warn!(
        why,
        again_in = ?limits::DISCOVERY_AGAIN,
        "the API groups are not read, so cert-manager counts as present: Ingresses with kubernetes.io/tls-acme get no \
         new certificate until they are"
    );
    true
}

/// Later looks, one each [`limits::DISCOVERY_AGAIN`], forever. A look without an answer says
/// nothing.
pub(super) fn later(client: Client) -> impl Stream<Item = bool> {
    let looks = stream::unfold(client, |client| async {
        sleep(limits::DISCOVERY_AGAIN).await;
        let found = look(&client).await;
        Some((found.ok(), client))
    });
    looks.filter_map(ready)
}

/// Names of the groups.
pub async fn names(client: &Client) -> Result<Vec<String>, kube::Error> {
    let list = client.list_api_groups().await?;
    Ok(list.groups.into_iter().map(|group| group.name).collect())
}

/// Asks once.
async fn look(client: &Client) -> Result<bool, String> {
    match timeout(limits::KUBE_CALL, names(client)).await {
        Ok(Ok(names)) => Ok(names.iter().any(|name| name == CERT_MANAGER)),
        Ok(Err(error)) => Err(detail(&error)),
        Err(_) => Err(format!("no answer within {} s", limits::KUBE_CALL.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use kube::client::Body;
    use serde_json::json;

    use super::*;

    /// A client of an API server that answers `/apis` with this.
    fn client(code: u16, answer: &serde_json::Value) -> Client {
        let answer = answer.to_string();
        let answers = tower::service_fn(move |request: http::Request<Body>| {
            assert_eq!(request.uri().path(), "/apis");
            let body = Body::from(answer.clone().into_bytes());
            let answer = http::Response::builder().status(code).body(body).unwrap();
            async { Ok::<_, Infallible>(answer) }
        });
        Client::new(answers, "web")
    }

    fn groups(names: &[&str]) -> serde_json::Value {
        let version = json!({"groupVersion": "x/v1", "version": "v1"});
        let group =
            |name: &&str| json!({"name": name, "versions": [version], "preferredVersion": version});
        let groups: Vec<_> = names.iter().map(group).collect();
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    }

    #[tokio::test(start_paused = true)]
    async fn cert_manager_is_there_if_its_group_is_served_or_nobody_can_say() {
        let served = groups(&["apps", "cert-manager.io"]);
        assert!(serves_cert_manager(&client(200, &served)).await);
        assert!(
            !serves_cert_manager(&client(200, &groups(&["apps", "acme.cert-manager.io"]))).await
        );
        assert!(serves_cert_manager(&client(403, &json!({"kind": "Status", "code": 403}))).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_installation_of_cert_manager_is_seen_within_an_hour() {
        let served = groups(&["apps", "cert-manager.io"]);
        let began = tokio::time::Instant::now();
        let mut looks = std::pin::pin!(later(client(200, &served)));
        assert_eq!((looks.next().await, looks.next().await), (Some(true), Some(true)));
        assert_eq!(began.elapsed(), 2 * limits::DISCOVERY_AGAIN, "one request an hour");
        let mut refused = std::pin::pin!(later(client(403, &json!({"kind": "Status"}))));
        let none = timeout(10 * limits::DISCOVERY_AGAIN, refused.next()).await;
        assert!(none.is_err(), "what cannot be read says nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_without_an_answer_is_asked_again() {
        let answer = groups(&["apps"]).to_string();
        let asked = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counted = asked.clone();
        let answers = tower::service_fn(move |_: http::Request<Body>| {
            let number = counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let body = Body::from(answer.clone().into_bytes());
            let code = if number == 0 { 503 } else { 200 };
            let answer = http::Response::builder().status(code).body(body).unwrap();
            async { Ok::<_, Infallible>(answer) }
        });
        assert!(!serves_cert_manager(&Client::new(answers, "web")).await);
        assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 2);
    }
}
