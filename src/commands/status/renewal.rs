//! `renew`: annotates Ingresses, which the operator takes as a request for new certificates.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use futures_util::{StreamExt, stream};
use ingress_acme_actors::domain::ingress::{ANNOTATION_PREFIX, IngressKey, SecretKey};
use ingress_acme_actors::ports::Clock;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::quota::{Renewed, count, orders};
use super::row::INGRESSES;
use super::snapshot::{Place, Snapshot};
use super::{of_one, print};
use crate::commands::cli::{DryRun, RenewArgs};
use crate::commands::consent;
use crate::kubernetes::client;
use crate::process::clock::SystemClock;

/// Number of Ingresses annotated concurrently.
const AT_ONCE: usize = 8;

/// Runs `renew`, for one Ingress or many.
pub async fn renew(args: RenewArgs) -> anyhow::Result<ExitCode> {
    let client = args.cluster.connect().await?;
    let (default, dry_run) = (client.default_namespace(), args.dry.dry_run);
    if let Some(name) = &args.ingress {
        let key = name.key(args.scope.namespace.as_deref(), default)?;
        return Ok(print(&ask_for_renewal(&client, &key, dry_run).await?));
    }
    let place = Place::of(&args.scope, default);
    let snapshot = Snapshot::take(&client, place, None).await?;
    let Some(keys) = plan(&snapshot) else { return Ok(ExitCode::SUCCESS) };
    if !dry_run.is_on() && !consent::given(args.yes)? {
        bail!("nothing was requested");
    }
    request_all(&client, &keys, dry_run).await
}

/// Annotates one Ingress and returns a message for the user.
pub(crate) async fn ask_for_renewal(
    client: &Client,
    key: &IngressKey,
    dry_run: DryRun,
) -> anyhow::Result<String> {
    let snapshot = of_one(client, key).await?;
    if let Some(why) = snapshot.reason_not_to_renew(key) {
        bail!("Ingress {key} cannot get a new certificate: {why}");
    }
    request(client, key, dry_run).await
}

/// Shows which Ingresses get new certificates and what that costs at the CAs. Returns the
/// Ingresses; `None` if there are none.
fn plan(snapshot: &Snapshot) -> Option<Vec<IngressKey>> {
    let shown = snapshot.shown();
    let can = |key: &&IngressKey| snapshot.reason_not_to_renew(key).is_none();
    let keys: Vec<IngressKey> = shown.iter().copied().filter(can).cloned().collect();
    if keys.is_empty() {
        eprintln!("{}", snapshot.place.nothing_found());
        return None;
    }
    let certificates = keys.iter().flat_map(|key| snapshot.index.secrets(key));
    let certificates: BTreeMap<SecretKey, Renewed> = certificates
        .filter_map(|secret| Some((secret.clone(), renewed(snapshot, &secret)?)))
        .collect();
    let left_out = match shown.len() - keys.len() {
        0 => String::new(),
        left_out => {
            let others = count(left_out, "other Ingress", "other Ingresses");
            format!(" Not of {others}: `status -o wide` says why.")
        }
    };
    let certificates: Vec<Renewed> = certificates.into_values().collect();
    let (these, new) = (count(keys.len(), "Ingress", "Ingresses"), certificates.len());
    let new = count(new, "new certificate", "new certificates");
    print(&format!("Renewal of {these}, with {new}.{left_out}\n{}", orders(&certificates)));
    Some(keys)
}

/// The certificate of a Secret; `None` for a Secret of somebody else.
fn renewed(snapshot: &Snapshot, secret: &SecretKey) -> Option<Renewed> {
    let desired = snapshot.index.desired(secret)?;
    let read = snapshot.secrets.get(secret).and_then(|read| read.as_ref().ok()?.as_ref());
    if read.is_some_and(|found| !found.ours && !desired.adopt) {
        return None;
    }
    let directory = read.and_then(|found| found.directory.clone());
    Some(Renewed { names: desired.names, directory })
}

/// Annotates all these Ingresses. A refusal for one does not stop the others.
async fn request_all(
    client: &Client,
    keys: &[IngressKey],
    dry_run: DryRun,
) -> anyhow::Result<ExitCode> {
    let requests = stream::iter(keys).map(|key| request(client, key, dry_run));
    let mut requests = requests.buffered(AT_ONCE);
    let mut failed = 0_usize;
    while let Some(said) = requests.next().await {
        match said {
            Ok(said) => _ = print(&said),
            Err(error) => {
                eprintln!("ingress-acme: {error:#}");
                failed += 1;
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of {} Ingresses could not be annotated", keys.len());
    }
    Ok(ExitCode::SUCCESS)
}

/// Annotates an Ingress, and returns the line that kubectl would print.
async fn request(client: &Client, key: &IngressKey, dry_run: DryRun) -> anyhow::Result<String> {
    if dry_run != DryRun::Client {
        let now = SystemClock::default().now().to_string();
        let annotations = json!({ format!("{ANNOTATION_PREFIX}renew"): now });
        let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
        let params = PatchParams { dry_run: dry_run == DryRun::Server, ..PatchParams::default() };
        let api: Api<Ingress> = Api::namespaced(client.clone(), &key.namespace);
        api.patch(&key.name, &params, &patch).await.map_err(|error| {
            anyhow!("Ingress {key} could not be annotated: {}", client::detail(&error))
        })?;
    }
    Ok(format!("{INGRESSES}/{} renew requested{}", key.name, dry_run.suffix()))
}
