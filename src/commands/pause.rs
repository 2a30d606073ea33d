//! `pause` stops new orders and `resume` allows them again, by an annotation of the operator's
//! Lease. The leader sees it with its next renewal of the Lease; no replica is asked.

use std::process::ExitCode;

use anyhow::{anyhow, bail};
use ingress_acme_actors::domain::new_orders::{LEASE, NEW_ORDERS_ANNOTATION, STOPPED};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::commands::cli::{DryRun, PauseArgs, ResumeArgs};
use crate::commands::status::print;
use crate::kubernetes::client;

/// The kind of the Lease, as kubectl prints and takes it.
const LEASES: &str = "lease.coordination.k8s.io";

/// Runs `pause`.
pub async fn pause(args: PauseArgs) -> anyhow::Result<ExitCode> {
    let reason = args.reason.filter(|reason| !reason.is_empty());
    let value = reason.map_or_else(|| STOPPED.to_owned(), |reason| format!("{STOPPED}: {reason}"));
    annotate(&args.at, Some(&value), "new orders stopped").await
}

/// Runs `resume`.
pub async fn resume(args: ResumeArgs) -> anyhow::Result<ExitCode> {
    annotate(&args, None, "new orders allowed").await
}

/// Sets the annotation, or removes it, and prints the line that kubectl would print.
async fn annotate(args: &ResumeArgs, value: Option<&str>, done: &str) -> anyhow::Result<ExitCode> {
    let (namespace, dry_run) = (args.own_namespace(), args.dry.dry_run);
    let leases: Api<Lease> = Api::namespaced(args.cluster.connect().await?, &namespace);
    let found = leases.get_metadata_opt(LEASE).await.map_err(|error| {
        anyhow!("Lease {namespace}/{LEASE} cannot be read: {}", client::detail(&error))
    })?;
    if found.is_none() {
        bail!(
            "namespace {namespace} has no Lease {LEASE}, so no operator has run there; --operator-namespace names that of \
             the operator"
        );
    }
    if dry_run != DryRun::Client {
        let annotations = json!({ NEW_ORDERS_ANNOTATION: value });
        let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
        let params = PatchParams { dry_run: dry_run == DryRun::Server, ..PatchParams::default() };
        leases.patch_metadata(LEASE, &params, &patch).await.map_err(|error| {
            anyhow!("Lease {namespace}/{LEASE} could not be annotated: {}", client::detail(&error))
        })?;
    }
    Ok(print(&format!("{LEASES}/{LEASE} {done}{}", dry_run.suffix())))
}
