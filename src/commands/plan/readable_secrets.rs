//! Secrets as far as a user may read them. Where they may not, there seems to be none, and the
//! namespace is remembered, so that the plan says so. Nothing can be written.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};

use async_trait::async_trait;
use ingress_acme_actors::domain::certificate::{CertificateView, SecretStatus};
use ingress_acme_actors::domain::ingress::SecretKey;
use ingress_acme_actors::ports::{PortError, SecretReads};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::ListParams;

use crate::commands::status::PAGE;
use crate::commands::status::snapshot::Place;
use crate::kubernetes::client;
use crate::kubernetes::tls_secrets::KubeTlsSecrets;

/// Secrets that are read, each once.
pub(super) struct ReadableSecrets {
    secrets: KubeTlsSecrets,
    /// Namespace whose Secrets are listed in `listed`; `None` for all.
    scope: Option<String>,
    /// Names of all Secrets of the scope: one list in place of a request for each name that the
    /// operator tries. `None` where the user may not list them.
    listed: Option<HashSet<SecretKey>>,
    read: RefCell<HashMap<SecretKey, SecretStatus>>,
    /// Namespaces with a Secret that the user may not read.
    refused: RefCell<BTreeSet<String>>,
}

impl ReadableSecrets {
    /// Lists the names of all Secrets of a place, if the user may.
    pub(super) async fn of(client: &Client, place: &Place) -> Self {
        let params = ListParams::default().limit(PAGE);
        let listed = client::list_all_metadata(&place.api::<Secret>(client), params).await;
        let listed = listed.ok().map(|all| {
            let key = |one: &kube::api::ObjectMeta| {
                Some(SecretKey::new(one.namespace.as_deref()?, one.name.as_deref()?))
            };
            all.iter().filter_map(key).collect()
        });
        Self {
            secrets: KubeTlsSecrets::new(client.clone()),
            scope: place.namespace.clone(),
            listed,
            read: RefCell::default(),
            refused: RefCell::default(),
        }
    }

    /// Namespaces with a Secret that the user may not read.
    pub(super) fn refused(&self) -> BTreeSet<String> {
        self.refused.borrow().clone()
    }

    /// Whether the list shows that there is no such Secret.
    fn is_absent(&self, secret: &SecretKey) -> bool {
        let within = self.scope.as_ref().is_none_or(|scope| **scope == *secret.namespace);
        within && self.listed.as_ref().is_some_and(|listed| !listed.contains(secret))
    }

    /// Takes a refusal for the answer that there is nothing.
    fn or_nothing<T: Default>(
        &self,
        secret: &SecretKey,
        answer: Result<T, PortError>,
    ) -> Result<T, PortError> {
        match answer {
            Err(PortError::Permanent(_)) => {
                self.refused.borrow_mut().insert(secret.namespace.to_string());
                Ok(T::default())
            }
            answer => answer,
        }
    }
}

#[async_trait(?Send)]
impl SecretReads for ReadableSecrets {
    async fn read(&self, secret: &SecretKey) -> Result<SecretStatus, PortError> {
        if self.is_absent(secret) {
            return Ok(None);
        }
        if let Some(known) = self.read.borrow().get(secret) {
            return Ok(known.clone());
        }
        let found = self.or_nothing(secret, self.secrets.read(secret).await)?;
        self.read.borrow_mut().insert(secret.clone(), found.clone());
        Ok(found)
    }

    async fn exists(&self, secret: &SecretKey) -> Result<bool, PortError> {
        if self.is_absent(secret) {
            return Ok(false);
        }
        Ok(self.read(secret).await?.is_some())
    }

    async fn verified(&self, secret: &SecretKey) -> Result<Option<CertificateView>, PortError> {
        if self.is_absent(secret) {
            return Ok(None);
        }
        self.or_nothing(secret, self.secrets.verified(secret).await)
    }
}
