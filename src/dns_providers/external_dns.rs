//! ExternalDNS: one `DNSEndpoint` for each record name, in the operator's namespace. An ExternalDNS
//! that runs with `--source=crd` writes it to its provider.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use ingress_acme_actors::domain::dns::txt::TxtRecord;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, Preconditions,
};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::error::{Kind, ProviderError};
use super::records::{TTL, Writer};
use crate::kubernetes::client::{FIELD_MANAGER, detail, is_ours, our_label};

/// The objects of the operator's namespace.
pub(super) struct ExternalDns {
    api: Api<DynamicObject>,
}

/// API version of `DNSEndpoint`.
fn resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("externaldns.k8s.io", "v1alpha1", "DNSEndpoint");
    ApiResource::from_gvk_with_plural(&kind, "dnsendpoints")
}

/// Name of the object of a record name, which may be longer than a name of Kubernetes: a SHA-256,
/// so that no tenant finds two names with the same object.
fn object_name(record: &TxtRecord) -> String {
    let mut name = "ingress-acme-".to_owned();
    for octet in digest(&SHA256, record.name.as_str().as_bytes()).as_ref() {
        _ = write!(name, "{octet:02x}"); // a String takes all
    }
    name
}

/// Values of an object of ours.
fn values(object: &DynamicObject) -> BTreeSet<String> {
    let targets = object.data.pointer("/spec/endpoints/0/targets").and_then(Value::as_array);
    let targets = targets.into_iter().flatten().filter_map(Value::as_str);
    targets.map(str::to_owned).collect()
}

impl ExternalDns {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced_with(client, namespace, &resource()) }
    }

    async fn read(&self, record: &TxtRecord) -> Result<Option<DynamicObject>, ProviderError> {
        let name = object_name(record);
        let object = self.api.get_opt(&name).await.map_err(|error| refused(&error))?;
        if object.as_ref().is_some_and(|object| !is_ours(&object.metadata)) {
            let words = format!("there is a DNSEndpoint {name} that is not of ingress-acme");
            return Err(ProviderError::new(Kind::Request, words));
        }
        Ok(object)
    }

    /// Writes all values of the name. The version makes a write fail whose values are old.
    async fn apply(
        &self,
        record: &TxtRecord,
        values: &BTreeSet<String>,
        version: Option<&str>,
    ) -> Result<(), ProviderError> {
        let (name, kind) = (object_name(record), resource());
        let object = json!({
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {"name": name, "labels": our_label(), "resourceVersion": version},
            "spec": {"endpoints": [{
                "dnsName": record.name.as_str(),
                "recordType": "TXT",
                "recordTTL": TTL,
                "targets": values,
            }]},
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let applied = self.api.patch(&name, &params, &Patch::Apply(object)).await;
        applied.map(drop).map_err(|error| refused(&error))
    }
}

#[async_trait]
impl Writer for ExternalDns {
    async fn add(&self, record: &TxtRecord) -> Result<(), ProviderError> {
        let object = self.read(record).await?;
        let mut values = object.as_ref().map(values).unwrap_or_default();
        if !values.insert(record.value.clone()) {
            return Ok(());
        }
        let version = object.and_then(|object| object.metadata.resource_version);
        self.apply(record, &values, version.as_deref()).await
    }

    async fn remove(&self, record: &TxtRecord) -> Result<(), ProviderError> {
        let Some(object) = self.read(record).await? else { return Ok(()) };
        let mut values = values(&object);
        if !values.remove(&record.value) {
            return Ok(());
        }
        let version = object.metadata.resource_version;
        if !values.is_empty() {
            return self.apply(record, &values, version.as_deref()).await;
        }
        let preconditions = Some(Preconditions { resource_version: version, uid: None });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        match self.api.delete(&object_name(record), &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(refused(&error)),
        }
    }
}

/// The error of a request to the API server, for a kind that may not be installed.
pub(super) fn refused(error: &kube::Error) -> ProviderError {
    let words = match error {
        kube::Error::Api(status) => status.message.clone(),
        other => detail(other),
    };
    match error {
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
            let rights =
                "the operator has no right to these objects; docs/dns.md names the file with it";
            ProviderError::new(Kind::Credentials, format!("{words} ({rights})"))
        }
        kube::Error::Api(status) if status.code == 404 => {
            let none = "this API is not installed in the cluster, or does not serve it";
            ProviderError::new(Kind::Request, format!("{words} ({none})"))
        }
        kube::Error::Api(status) if matches!(status.code, 400 | 405..=408 | 410..=428) => {
            ProviderError::new(Kind::Request, words)
        }
        _ => ProviderError::new(Kind::Passing, words),
    }
}
