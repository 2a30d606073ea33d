//! What a storm leaves: its namespaces, with everything in them. They are deleted at its end, and what a storm left
//! that was killed is deleted by the next one.

use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::drive::insist;
use super::plan::{Plan, RUN_LABEL, UNTIL};

/// Longest wait until the namespaces are gone.
const GONE_WITHIN: Duration = Duration::from_mins(10);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// A storm whose time is over for so long is not running any more.
const GRACE: i64 = 3600;

/// Makes the namespaces of the plan. `until` is when they may be deleted by anybody, in seconds since 1970.
pub(super) async fn prepare(client: &Client, plan: &Plan, until: i64) -> anyhow::Result<()> {
    let api: Api<Namespace> = Api::all(client.clone());
    for name in plan.namespaces() {
        let namespace = serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "labels": {RUN_LABEL: plan.run},
                "annotations": {UNTIL: (until + GRACE).to_string()},
            },
        }))?;
        let made = insist(async || api.create(&PostParams::default(), &namespace).await).await;
        made.with_context(|| format!("cannot make namespace {name}"))?;
    }
    Ok(())
}

/// Deletes what storms left whose time is over.
pub(super) async fn sweep(client: &Client, now: i64) -> anyhow::Result<usize> {
    let left = listed(client, RUN_LABEL).await?;
    let over = |namespace: &Namespace| {
        let until = namespace.annotations().get(UNTIL)?.parse::<i64>().ok()?;
        (until < now).then(|| namespace.name_any())
    };
    let left: Vec<String> = left.iter().filter_map(over).collect();
    delete(client, &left).await?;
    Ok(left.len())
}

/// Deletes the namespaces of this storm, and waits until they are gone.
pub(super) async fn clean(client: &Client, plan: &Plan) -> anyhow::Result<()> {
    let names: Vec<String> = plan.namespaces().collect();
    delete(client, &names).await?;
    let deadline = Instant::now() + GONE_WITHIN;
    let label = format!("{RUN_LABEL}={}", plan.run);
    loop {
        let left = listed(client, &label).await?;
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{} namespaces are still being deleted: {label}", left.len());
        }
        sleep(LOOK).await;
    }
}

async fn listed(client: &Client, label: &str) -> anyhow::Result<Vec<Namespace>> {
    let api: Api<Namespace> = Api::all(client.clone());
    let ours = ListParams::default().labels(label);
    let listed = insist(async || api.list(&ours).await).await;
    Ok(listed.context("cannot list the namespaces of storms")?.items)
}

async fn delete(client: &Client, names: &[String]) -> anyhow::Result<()> {
    let api: Api<Namespace> = Api::all(client.clone());
    for name in names {
        let deleted = insist(async || match api.delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            other => other.map(drop),
        });
        deleted.await.with_context(|| format!("cannot delete namespace {name}"))?;
    }
    Ok(())
}
