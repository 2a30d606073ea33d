//! ACME account of one directory, stored in a Secret of the operator's namespace.
//!
//! The key is stored before its registration: if two replicas create a key at the same time, the
//! second one uses the key of the first. A change carries the version of the last read, so that two
//! concurrent changes cannot mix.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::domain::hash::stable_hash;
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::ports::{AccountStore, ExternalAccount, PortError, StoredAccount};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use zeroize::{Zeroize, Zeroizing};

use crate::kubernetes::client::{FIELD_MANAGER, our_label, port_error};

/// Data key: account key, PKCS #8 in PEM.
const KEY: &str = "account.key";
/// Data key: new key of a rollover in progress, stored before the request to the CA.
const NEXT: &str = "account.key.next";
/// Data key: key before a rollover that has not ended at all CAs which share the key.
const FORMER: &str = "account.key.former";
/// Data key: keys before rollovers that have ended, the last one first, PEM after PEM.
const RETIRED: &str = "account.key.retired";
/// Start of each key in PEM.
const PEM: &str = "-----BEGIN ";
/// Data key: account key before the last rollover, which releases up to 0.1.0 kept. Nothing needs
/// that key, so that the next write removes it.
const PREVIOUS: &str = "account.key.previous";
/// Data key: account URL (RFC 8555 §7.3), set after registration.
const URL: &str = "account.url";
/// Data key: URL of the account's ACME directory.
const DIRECTORY: &str = "directory";

/// Data key in the Secret of the external account: key identifier.
const EAB_KID: &str = "kid";
/// Data key in the Secret of the external account: MAC key, base64.
const EAB_HMAC: &str = "hmac";

/// Secret with the account of one directory.
pub struct AccountSecret {
    api: Api<Secret>,
    name: String,
    directory: String,
    external: Option<String>,
}

impl AccountSecret {
    /// Uses the operator's namespace and the directory with this URL. `external` names the Secret
    /// in the same namespace that holds the external account.
    pub fn new(client: Client, namespace: &str, directory: &str, external: Option<String>) -> Self {
        let name = format!("ingress-acme-account-{:08x}", stable_hash(directory) & 0xffff_ffff);
        let api = Api::namespaced(client, namespace);
        Self { api, name, directory: directory.to_owned(), external }
    }

    /// Name of the Secret.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn secret(&self, key: &PrivateKey, next: Option<&PrivateKey>) -> Secret {
        let data = [(KEY, key.pem()), (DIRECTORY, &self.directory)].into_iter();
        let data = data.chain(next.map(|next| (NEXT, next.pem())));
        let data = data.map(|(name, text)| (name.to_owned(), ByteString(text.as_bytes().to_vec())));
        Secret {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(our_label()),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            data: Some(data.collect()),
            ..Secret::default()
        }
    }

    fn parse(&self, secret: Secret) -> Result<StoredAccount, PortError> {
        stored(secret, &self.directory).map_err(|why| self.unusable(why))
    }

    fn unusable(&self, why: &str) -> PortError {
        let detail = format!(
            "Secret {} cannot be used as the ACME account: {why}; restore it, or delete it to register a new account",
            self.name
        );
        PortError::permanent(FailureClass::SecretWrite, detail)
    }

    fn doing(&self, verb: &str) -> String {
        format!("{verb} the account's Secret {}", self.name)
    }
}

/// Reads the account of a directory; the error says why the Secret has none.
fn stored(secret: Secret, directory: &str) -> Result<StoredAccount, &'static str> {
    let version = secret.metadata.resource_version.unwrap_or_default();
    let mut data: BTreeMap<_, _> = secret.data.unwrap_or_default();
    let mut text = |name: &str| {
        let bytes = data.remove(name)?.0;
        String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
    };
    let [key, next, former] = [KEY, NEXT, FORMER].map(|name| text(name).map(PrivateKey::from_pem));
    let (url, own) = (text(URL), text(DIRECTORY));
    let retired = text(RETIRED).map(|all| retired(&Zeroizing::new(all))).unwrap_or_default();
    let key = key.ok_or("it has no key")?;
    let directory = own.filter(|own| own == directory).ok_or("it is for another ACME directory")?;
    Ok(StoredAccount { key, next, former, retired, url, directory, version })
}

/// Splits the keys before rollovers that have ended.
fn retired(all: &str) -> Vec<PrivateKey> {
    let each = all.split(PEM).skip(1).take(limits::RETIRED_KEYS);
    each.map(|rest| PrivateKey::from_pem(format!("{PEM}{rest}"))).collect()
}

/// Returns the merge patch (RFC 7396) that stores exactly `account`; fields missing in `account`
/// are removed. The patch carries the version, so the API server rejects the patch if the Secret
/// has changed.
fn replacement(account: &StoredAccount) -> Value {
    let key = |key: &PrivateKey| BASE64_STANDARD.encode(key.pem());
    let retired = || {
        let lines = account.retired.iter().map(|key| format!("{}\n", key.pem().trim_end()));
        BASE64_STANDARD.encode(Zeroizing::new(lines.collect::<String>()))
    };
    json!({
        "metadata": {"resourceVersion": account.version},
        "data": {
            KEY: key(&account.key),
            NEXT: account.next.as_ref().map(key),
            FORMER: account.former.as_ref().map(key),
            RETIRED: (!account.retired.is_empty()).then(retired),
            PREVIOUS: null,
            URL: account.url.as_ref().map(|url| BASE64_STANDARD.encode(url)),
        },
    })
}

/// Overwrites the data of a patch, which contains keys.
fn wipe(patch: &mut Value) {
    for value in patch["data"].as_object_mut().into_iter().flat_map(|data| data.values_mut()) {
        if let Value::String(text) = value {
            text.zeroize();
        }
    }
}

/// Reads the Secret of an external account: its `kid`, and its `hmac` in base64 as shown by the CA.
fn external_account(name: &str, secret: Secret) -> Result<ExternalAccount, PortError> {
    let unusable = |why: &str| {
        let detail = format!(
            "Secret {name} of --eab-secret cannot be used: {why}; it needs `kid` and `hmac` as the CA shows them"
        );
        PortError::permanent(FailureClass::Rejected, detail)
    };
    let mut data = secret.data.unwrap_or_default();
    let mut text = |field: &str| {
        let text = String::from_utf8(data.remove(field)?.0).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let kid = text(EAB_KID).ok_or_else(|| unusable("it has no kid"))?;
    let hmac = Zeroizing::new(text(EAB_HMAC).ok_or_else(|| unusable("it has no hmac"))?);
    // CAs show the URL-safe alphabet; users and tools convert to the standard alphabet with
    // padding.
    let plain = hmac.trim_end_matches('=').replace('+', "-").replace('/', "_");
    let hmac =
        BASE64_URL_SAFE_NO_PAD.decode(plain).map_err(|_| unusable("its hmac is not base64"))?;
    Ok(ExternalAccount { kid, hmac: Zeroizing::new(hmac) })
}

#[async_trait(?Send)]
impl AccountStore for AccountSecret {
    async fn load(&self) -> Result<Option<StoredAccount>, PortError> {
        let secret = self.api.get_opt(&self.name).await;
        let secret = secret.map_err(|error| port_error(error, &self.doing("read")))?;
        secret.map(|secret| self.parse(secret)).transpose()
    }

    async fn create(
        &self,
        key: &PrivateKey,
        next: Option<&PrivateKey>,
    ) -> Result<StoredAccount, PortError> {
        let params =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match self.api.create(&params, &self.secret(key, next)).await {
            Ok(created) => self.parse(created),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let raced = || {
                    PortError::transient(format!(
                        "Secret {} was created and deleted in the meantime",
                        self.name
                    ))
                };
                self.load().await?.ok_or_else(raced)
            }
            Err(error) => Err(port_error(error, &self.doing("create"))),
        }
    }

    async fn replace(&self, account: &StoredAccount) -> Result<Option<StoredAccount>, PortError> {
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let mut patch = replacement(account);
        let patched = self.api.patch(&self.name, &params, &Patch::Merge(&patch)).await;
        wipe(&mut patch);
        match patched {
            Ok(secret) => self.parse(secret).map(Some),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(port_error(error, &self.doing("write"))),
        }
    }

    async fn external_account(&self) -> Result<Option<ExternalAccount>, PortError> {
        let Some(name) = &self.external else { return Ok(None) };
        let read = self.api.get_opt(name).await;
        let doing = format!("read Secret {name} of --eab-secret");
        let missing = || {
            let detail = format!(
                "there is no Secret {name} in the operator's namespace; create it, or correct --eab-secret"
            );
            PortError::permanent(FailureClass::Rejected, detail)
        };
        let secret = read.map_err(|error| port_error(error, &doing))?.ok_or_else(missing)?;
        external_account(name, secret).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whoever may write into the namespace may write anything into these Secrets.
        #[test]
        fn any_secret_is_an_account_or_a_bounded_reason(
            data in prop::collection::btree_map(
                "account\\.(key|url|key\\.next|key\\.former|key\\.retired)|directory|kid|hmac|.{0,9}",
                prop_oneof![any::<Vec<u8>>(), "(https://ca|[A-Za-z0-9+/=_-]{0,60})".prop_map(String::into_bytes)],
                0..6,
            ),
        ) {
            let data = data.into_iter().map(|(name, bytes)| (name, ByteString(bytes))).collect();
            let secret = Secret { data: Some(data), ..Secret::default() };
            if let Err(PortError::Permanent(failure)) = external_account("eab", secret.clone()) {
                prop_assert!(failure.detail.len() <= 200, "{}", failure.detail);
            }
            if let Ok(account) = stored(secret, "https://ca") {
                prop_assert_eq!(account.directory, "https://ca");
            }
        }
    }

    fn account() -> StoredAccount {
        StoredAccount {
            key: PrivateKey::from_pem("s3cret".to_owned()),
            next: None,
            former: None,
            retired: Vec::new(),
            url: Some("https://ca.example/1".to_owned()),
            directory: "https://ca.example/dir".to_owned(),
            version: "7".to_owned(),
        }
    }

    #[test]
    fn a_change_is_for_one_version_and_removes_what_is_no_more() {
        let patch = replacement(&account());
        let expected = json!({
            "metadata": {"resourceVersion": "7"},
            "data": {
                "account.key": "czNjcmV0",
                "account.key.next": null,
                "account.key.former": null,
                "account.key.retired": null,
                "account.key.previous": null,
                "account.url": "aHR0cHM6Ly9jYS5leGFtcGxlLzE=",
            },
        });
        assert_eq!(patch, expected);
    }

    #[test]
    fn the_keys_of_former_rollovers_are_read_as_they_were_written() {
        let pem = |of: &str| format!("{PEM}PRIVATE KEY-----\n{of}\n-----END PRIVATE KEY-----\n");
        let keys = ["new", "old"].map(|of| PrivateKey::from_pem(pem(of))).to_vec();
        let patch = replacement(&StoredAccount { retired: keys.clone(), ..account() });
        let decode = |field: &str| {
            let text = patch["data"][field].as_str()?;
            Some((field.to_owned(), ByteString(BASE64_STANDARD.decode(text).unwrap())))
        };
        let mut data: BTreeMap<_, _> = [KEY, RETIRED].into_iter().filter_map(decode).collect();
        data.insert(DIRECTORY.to_owned(), ByteString(b"https://ca".to_vec()));
        let read = stored(Secret { data: Some(data), ..Secret::default() }, "https://ca");
        assert_eq!(read.unwrap().retired, keys);
    }

    #[test]
    fn no_key_is_left_of_a_patch_that_was_sent() {
        let mut patch = replacement(&account());
        wipe(&mut patch);
        assert_eq!(patch["data"]["account.key"], "");
        assert!(!format!("{:?}", account()).contains("s3cret"), "nor does Debug show it");
    }
}
