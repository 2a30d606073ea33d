//! Removal of a storm's namespaces, with all their content. A storm deletes its namespaces at its
//! end; the next storm deletes those of a killed storm.

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
/// Time between two checks.
const LOOK: Duration = Duration::from_millis(500);
/// Seconds between the planned end of a storm and the time at which the storm is certainly over.
const GRACE: i64 = 3600;

/// Creates the namespaces of the plan. `until` is the planned end of the storm, in seconds since
/// 1970. Any storm may delete the namespaces [`GRACE`] after that.
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
        made.with_context(|| format!("cannot create namespace {name}"))?;
    }
    Ok(())
}

/// Deletes the namespaces of storms that are over, and returns their number.
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
