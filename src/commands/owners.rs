//! `ingress-acme remove-owners`: takes the Ingresses from the owner references of our TLS Secrets,
//! so that Kubernetes no longer deletes a Secret with its Ingress.
//!
//! Uses the user's own permissions, and reads the metadata of the Secrets only: no private key.

use std::process::ExitCode;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::commands::cli::{DryRun, RemoveOwnersArgs};
use crate::commands::consent;
use crate::commands::status::print;
use crate::kubernetes::client::{self, MANAGED_BY, MANAGED_BY_LABEL};
use crate::kubernetes::tls_secrets::is_ingress;

/// Number of Secrets per page of the list.
const PAGE: u32 = 500;
/// Number of attempts for a Secret that another writer changes at the same moment.
const ATTEMPTS: u32 = 3;

/// Runs `remove-owners`.
pub async fn remove(args: RemoveOwnersArgs) -> anyhow::Result<ExitCode> {
    let client = args.cluster.connect().await?;
    let own = args.namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let namespace = (!args.all_namespaces).then_some(own);
    let found = owned(&client, namespace.as_deref()).await?;
    let place =
        namespace.map_or_else(|| "all namespaces".to_owned(), |one| format!("namespace {one}"));
    if found.is_empty() {
        return Ok(print(&format!(
            "No TLS Secret of ingress-acme in {place} is owned by an Ingress."
        )));
    }
    print(&format!(
        "{} TLS Secrets of ingress-acme in {place} are owned by Ingresses. Without owner references they stay when \
         their Ingresses are deleted, until you delete them.\n\
         An operator without --owner-references false sets the references again within an hour.",
        found.len()
    ));
    let dry_run = args.dry.dry_run;
    if !dry_run.is_on() && !consent::given(args.yes)? {
        bail!("nothing was changed");
    }
    let mut changed = 0_usize;
    for metadata in &found {
        if dry_run == DryRun::Client || disown(&client, metadata, dry_run).await? {
            let name = metadata.name.as_deref().unwrap_or_default();
            print(&format!("secret/{name} owners removed{}", dry_run.suffix()));
            changed += 1;
        }
    }
    Ok(if dry_run.is_on() {
        ExitCode::SUCCESS
    } else {
        print(&format!("{changed} TLS Secrets are no longer owned by Ingresses."))
    })
}

/// Metadata of the Secrets of ours that an Ingress owns.
async fn owned(client: &Client, namespace: Option<&str>) -> anyhow::Result<Vec<ObjectMeta>> {
    let api: Api<Secret> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let label = format!("{MANAGED_BY_LABEL}={MANAGED_BY}");
    let params = ListParams::default().labels(&label).limit(PAGE);
    let mut listed = client::list_all_metadata(&api, params).await.map_err(|error| {
        anyhow::anyhow!("the Secrets could not be listed: {}", client::detail(&error))
    })?;
    listed.retain(|metadata| without_ingresses(metadata).is_some());
    Ok(listed)
}

/// Takes the Ingresses from the owners of one Secret. Returns whether the Secret was changed:
/// somebody else may have deleted it, or taken them meanwhile.
async fn disown(client: &Client, listed: &ObjectMeta, dry_run: DryRun) -> anyhow::Result<bool> {
    let (namespace, name) = (listed.namespace.as_deref(), listed.name.as_deref());
    let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let mut metadata = listed.clone();
    for _ in 0..ATTEMPTS {
        let Some(patch) = without_ingresses(&metadata) else { return Ok(false) };
        let params = PatchParams { dry_run: dry_run.is_on(), ..PatchParams::default() };
        match api.patch_metadata(name, &params, &Patch::Merge(&patch)).await {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(false),
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                let read: Option<PartialObjectMeta<Secret>> =
                    api.get_metadata_opt(name).await.with_context(|| {
                        format!("Secret {namespace}/{name} could not be read again")
                    })?;
                let Some(read) = read else { return Ok(false) };
                metadata = read.metadata;
            }
            Err(error) => bail!(
                "Secret {namespace}/{name} could not be changed: {}; call the command again for the rest",
                client::detail(&error)
            ),
        }
    }
    bail!("Secret {namespace}/{name} changes all the time; call the command again for the rest")
}

/// Merge patch that removes the Ingresses from the owners of this version of an object; `None` if
/// no Ingress owns the object.
fn without_ingresses(metadata: &ObjectMeta) -> Option<Value> {
    let owners = metadata.owner_references.as_ref()?;
    let others: Vec<_> = owners.iter().filter(|owner| !is_ingress(owner)).collect();
    let patch = json!({"metadata": {
        "resourceVersion": metadata.resource_version, "ownerReferences": others,
    }});
    (others.len() < owners.len()).then_some(patch)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    #[test]
    fn only_ingresses_are_taken_from_the_owners() {
        let owner = |kind: &str, version: &str| OwnerReference {
            kind: kind.to_owned(),
            api_version: version.to_owned(),
            name: kind.to_lowercase(),
            uid: "u1".to_owned(),
            ..OwnerReference::default()
        };
        let of = |owners: Vec<OwnerReference>| {
            let (owner_references, resource_version) = (Some(owners), Some("7".to_owned()));
            without_ingresses(&ObjectMeta { owner_references, resource_version, ..<_>::default() })
        };
        let (ingress, other) = (owner("Ingress", "networking.k8s.io/v1"), owner("Ingress", "x/v1"));
        assert_eq!(of(vec![other.clone()]), None);
        assert_eq!(without_ingresses(&ObjectMeta::default()), None);
        let patch = of(vec![ingress, other]).unwrap();
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        let left = patch["metadata"]["ownerReferences"].as_array().unwrap();
        assert_eq!((left.len(), &left[0]["apiVersion"]), (1, &json!("x/v1")));
    }
}
