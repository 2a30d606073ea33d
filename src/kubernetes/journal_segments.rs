//! Journal segments: immutable Secrets `ingress-acme-journal-<number>` in the operator's namespace.
//!
//! Segments hold private keys of issuances in flight. Therefore they are Secrets, and their content
//! is never logged.

use async_trait::async_trait;
use http::HeaderValue;
use http::header::ACCEPT;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::ports::{CreateError, JournalError, SegmentNumbers, Segments};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams};
use kube::core::{Request, Status};
use kube::{Api, Client};
use serde::de::IgnoredAny;

use crate::kubernetes::client::{self, detail, our_label};

/// Prefix of all names. The number follows with leading zeros, so that `kubectl get` lists segments
/// in order.
const PREFIX: &str = "ingress-acme-journal-";
/// Label of all segments, used to list them. The value is the number, so that one request can
/// delete many.
pub(crate) const LABEL: &str = "ingress-acme.dev/journal";
/// Data key of the segment.
const DATA: &str = "segment.json";
/// Media type of a list of objects of which only the metadata is asked for (Kubernetes API
/// concepts, "Metadata-only fetches").
const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// Journal segments of one namespace.
pub struct SecretSegments {
    api: Api<Secret>,
}

impl SecretSegments {
    /// Uses the operator's own namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace) }
    }

    /// Deletes segments. The API server answers with all deleted objects, of which only the
    /// metadata is asked for: whole segments would be megabytes, with private keys.
    async fn delete_all(&self, these: &ListParams) -> Result<(), kube::Error> {
        let request = Request::new(self.api.resource_url());
        let request = request.delete_collection(&DeleteParams::default(), these);
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(METADATA_LIST));
        let client = self.api.clone().into_client();
        client.request::<IgnoredAny>(request).await.map(drop)
    }
}

#[async_trait(?Send)]
impl Segments for SecretSegments {
    async fn list(&self, page: Option<&str>) -> Result<SegmentNumbers, JournalError> {
        let params = ListParams::default().labels(LABEL).limit(limits::SEGMENTS_PAGE);
        let params = page.map_or(params.clone(), |page| params.continue_token(page));
        let page = self.api.list_metadata(&params).await;
        let page = page.map_err(|error| unavailable("listed", &error))?;
        let numbers = page.items.iter().filter_map(|item| number(item.metadata.name.as_deref()?));
        Ok(SegmentNumbers {
            numbers: numbers.collect(),
            next: page.metadata.continue_.filter(|token| !token.is_empty()),
        })
    }

    async fn read(&self, number: u64) -> Result<Option<Vec<u8>>, JournalError> {
        let found = self.api.get_opt(&name(number)).await;
        let found = found.map_err(|error| unavailable("read", &error))?;
        Ok(found.and_then(data))
    }

    async fn create(&self, number: u64, data: &[u8]) -> Result<(), CreateError> {
        match client::create(&self.api, &secret(number, data)).await {
            Ok(()) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Err(CreateError::Exists),
            Err(kube::Error::Api(status)) if is_refusal(&status) => {
                Err(CreateError::Refused(detail(&kube::Error::Api(status))))
            }
            Err(error) => Err(CreateError::Unknown(detail(&error))),
        }
    }

    async fn delete(&self, numbers: &[u64]) -> Result<(), JournalError> {
        let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
        let these = format!("{LABEL} in ({})", numbers.join(","));
        let deleted = self.delete_all(&ListParams::default().labels(&these)).await;
        deleted.map_err(|error| unavailable("deleted", &error))
    }
}

fn name(number: u64) -> String {
    format!("{PREFIX}{number:012}")
}

fn secret(number: u64, data: &[u8]) -> Secret {
    let mut labels = our_label();
    labels.insert(LABEL.to_owned(), number.to_string());
    Secret {
        metadata: ObjectMeta {
            name: Some(name(number)),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        immutable: Some(true),
        data: Some([(DATA.to_owned(), ByteString(data.to_vec()))].into()),
        ..Secret::default()
    }
}

/// Number of the segment with this name; `None` for any other Secret.
fn number(of: &str) -> Option<u64> {
    let number = of.strip_prefix(PREFIX)?.parse().ok()?;
    (name(number) == of).then_some(number)
}

/// Data of a segment; `None` for any other Secret.
fn data(secret: Secret) -> Option<Vec<u8>> {
    Some(secret.data?.remove(DATA)?.0)
}

/// Whether the API server refuses this content forever: an object that is too large (413, or 422
/// for the data of a Secret), or one that the validation of the cluster does not take (422). etcd
/// has a limit of its own; the API server passes its error on with the status 500, or 413 in newer
/// releases.
fn is_refusal(status: &Status) -> bool {
    let by_etcd = ["request is too large", "larger than max"];
    matches!(status.code, 413 | 422) || by_etcd.iter().any(|words| status.message.contains(words))
}

fn unavailable(what: &str, error: &kube::Error) -> JournalError {
    JournalError::Unavailable(format!("segments cannot be {what}: {}", detail(error)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_name_is_that_of_one_segment_or_passed_over(
            text in "(ingress-acme-journal-)?([+0-9]{0,25}|.{0,40})", segment in any::<u64>(),
        ) {
            prop_assert_eq!(number(&name(segment)), Some(segment));
            if let Some(segment) = number(&text) {
                prop_assert_eq!(name(segment), text);
            }
        }
    }

    #[test]
    fn a_segment_is_an_immutable_secret_that_reads_as_it_was_written() {
        let written = secret(42, b"{}");
        assert_eq!(written.immutable, Some(true));
        assert_eq!(written.metadata.name.as_deref(), Some("ingress-acme-journal-000000000042"));
        assert_eq!(written.metadata.labels.as_ref().unwrap()[LABEL], "42");
        assert_eq!(written.metadata.name.as_deref().and_then(number), Some(42));
        assert_eq!(data(written), Some(b"{}".to_vec()));
        assert_eq!((number("tls"), data(Secret::default())), (None, None));
    }

    #[test]
    fn what_is_too_large_is_refused_and_what_is_busy_or_forbidden_is_not() {
        let refused = |code, message| is_refusal(&Status::failure(message, "").with_code(code));
        assert!(refused(413, "Request entity too large: limit is 3145728"));
        assert!(refused(422, "data: Too long: may not be more than 1048576 bytes"));
        assert!(refused(500, "etcdserver: request is too large"));
        assert!(refused(
            500,
            "rpc error: trying to send message larger than max (2097279 vs. 2097152)"
        ));
        assert!(!refused(500, "etcdserver: request timed out"));
        assert!(!refused(403, "exceeded quota"));
        assert!(!refused(429, "too many requests"));
    }
}
