//! Creates and edits the Ingresses of the storm.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::Context;
use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::sleep;

use super::plan::Plan;
use super::tally::Tally;

/// Number of Ingresses with concurrent requests. Simulates many users; exceeds the number of
/// requests that the API server processes at a time.
const AT_ONCE: usize = 32;
/// Number of attempts per request. A storm is likely to make the API server throttle.
const TRIES: u32 = 6;
/// Pause before the second attempt, doubled for each further one.
const PAUSE: Duration = Duration::from_millis(200);

/// Creates all Ingresses of the plan, each followed by its edits, and records the times.
pub(super) async fn drive(
    client: &Client,
    plan: &Plan,
    rate: Option<f64>,
    tally: &RefCell<Tally>,
) -> anyhow::Result<()> {
    let made = stream::iter(0..plan.ingresses).map(|number| async move {
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(f64::from(number) / rate);
            let early = due.saturating_sub(tally.borrow().elapsed());
            sleep(early).await;
        }
        make(client, plan, number, tally).await
    });
    made.buffer_unordered(AT_ONCE).try_collect().await
}

async fn make(
    client: &Client,
    plan: &Plan,
    number: u32,
    tally: &RefCell<Tally>,
) -> anyhow::Result<()> {
    let (namespace, name) = plan.key(number);
    let api: Api<Ingress> = Api::namespaced(client.clone(), &namespace);
    let ingress = serde_json::from_value(plan.ingress(number, 0))?;
    let made = insist(async || match api.create(&PostParams::default(), &ingress).await {
        // An earlier attempt succeeded, but its answer was lost.
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        other => other.map(drop),
    });
    made.await.with_context(|| format!("cannot create Ingress {namespace}/{name}"))?;
    tally.borrow_mut().changed(number);
    for edit in 1..=plan.edits {
        let patch = Patch::Merge(json!({ "spec": plan.spec(number, edit) }));
        let edited =
            insist(async || api.patch(&name, &PatchParams::default(), &patch).await.map(drop));
        edited.await.with_context(|| format!("cannot edit Ingress {namespace}/{name}"))?;
        tally.borrow_mut().changed(number);
    }
    Ok(())
}

/// Retries `request` on transient errors: 429, 5xx, or no answer.
pub(super) async fn insist<T>(
    request: impl AsyncFn() -> Result<T, kube::Error>,
) -> Result<T, kube::Error> {
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match request().await {
            Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => {
                return Err(kube::Error::Api(status));
            }
            Err(_) => sleep(pause).await,
            done => return done,
        }
        pause *= 2;
    }
    request().await
}
