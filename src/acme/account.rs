//! The ACME account: its key, its registration, and the thumbprint for challenge responses.

use std::rc::Rc;

use aws_lc_rs::digest;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use http::StatusCode;
use instant_acme::{Account, AccountBuilder};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::Mutex;
use tokio::time::Instant;

use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::ports::{AccountStore, ExternalAccount, PortError, StoredAccount};

use super::call::Call;
use super::jws::jwk;
use super::transport::Transport;
use super::{CallError, registration};

/// Returns the thumbprint of an account key (RFC 7638, SHA-256, base64url). A challenge response is
/// the token, a dot and this thumbprint (RFC 8555 §8.1).
///
/// # Errors
/// When the key is unreadable or is not ECDSA P-256.
pub fn thumbprint(key: &PrivateKey) -> Result<String, String> {
    let jwk = jwk(key).map_err(|wrong| format!("the account key is unusable: {wrong}"))?;
    if !jwk.starts_with(r#"{"crv":"P-256","#) {
        return Err("the account key is not ECDSA P-256".to_owned());
    }
    let hash = digest::digest(&digest::SHA256, jwk.as_bytes());
    Ok(BASE64_URL_SAFE_NO_PAD.encode(hash))
}

/// Called with each new thumbprint; challenge responses use the latest one.
pub type ThumbprintHook = Rc<dyn Fn(String)>;

/// Loads, registers and caches the account.
pub(super) struct Accounts {
    pub(super) directory: String,
    pub(super) contacts: Vec<String>,
    pub(super) transport: Transport,
    pub(super) store: Rc<dyn AccountStore>,
    pub(super) answering: ThumbprintHook,
    /// Locked during a registration, so that only one runs at a time.
    pub(super) known: Mutex<AccountState>,
}

/// Account state of this process.
#[derive(Default)]
pub(super) struct AccountState {
    pub(super) stored: Option<StoredAccount>,
    pub(super) account: Option<Account>,
    /// Stored account URL that the CA no longer knows.
    unknown: Option<String>,
    /// Time when this process last switched to another stored key.
    pub(super) switched: Option<Instant>,
}

impl Accounts {
    /// Loads or generates the account key and returns its thumbprint. Sends no request to the CA.
    pub(super) async fn prepare(&self) -> Result<String, PortError> {
        let mut known = self.known.lock().await;
        let stored = self.stored(&mut known).await?;
        let newest = thumbprint(&stored.key).map_err(|wrong| unusable(&wrong))?;
        (self.answering)(newest.clone());
        Ok(newest)
    }

    /// Returns the account, and registers the key if necessary.
    pub(super) async fn account(&self) -> Result<Account, CallError> {
        let mut known = self.known.lock().await;
        if let Some(account) = &known.account {
            return Ok(account.clone());
        }
        let mut stored = self.stored(&mut known).await?;
        let mut url = known.usable_url(&stored, &self.directory);
        if url.is_none() {
            // Reload first: another process may have registered the key or finished a rollover, and
            // a second account must not be created.
            self.look(&mut known).await?;
            self.finish(&mut known).await?;
            stored = self.stored(&mut known).await?;
            url = known.usable_url(&stored, &self.directory);
        }
        let account = match url {
            Some(url) => self.restore(url, &stored.key).await?,
            None => self.register(&mut known, &stored).await?,
        };
        known.account = Some(account.clone());
        Ok(account)
    }

    /// Key and URL of the registered account.
    pub(super) async fn credentials(&self) -> Result<(PrivateKey, String), CallError> {
        let url = self.account().await?.id().to_owned();
        let known = self.known.lock().await;
        let stored = known.stored.as_ref().ok_or_else(no_account)?;
        Ok((stored.key.clone(), url))
    }

    /// Drops the cached account. With `unknown_to_the_ca`, its URL is not used again either, and
    /// the next call registers the same key again.
    pub(super) async fn forget(&self, unknown_to_the_ca: bool) {
        let mut known = self.known.lock().await;
        let forgotten = known.account.take();
        if let Some(account) = forgotten.filter(|_| unknown_to_the_ca) {
            known.unknown = Some(account.id().to_owned());
        }
    }

    /// Loads the account, or generates and stores a key. The key is stored before its first use: an
    /// account whose key is lost is unusable.
    async fn stored(&self, known: &mut AccountState) -> Result<StoredAccount, PortError> {
        if let Some(stored) = &known.stored {
            return Ok(stored.clone());
        }
        let stored = if let Some(stored) = self.store.load().await? {
            stored
        } else {
            self.store.create(&new_key()?, None).await?
        };
        known.stored = Some(stored.clone());
        Ok(stored)
    }

    async fn restore(&self, url: String, key: &PrivateKey) -> Result<Account, CallError> {
        Ok(self.builder().from_parts(url, pkcs8(key)?, self.directory.clone()).await?)
    }

    fn builder(&self) -> AccountBuilder {
        Account::builder_with_http(Box::new(self.transport.clone()))
    }

    /// Registers the key and stores the account's URL. A URL that could not be stored is found
    /// again at the next start.
    async fn register(
        &self,
        known: &mut AccountState,
        stored: &StoredAccount,
    ) -> Result<Account, CallError> {
        let account = match self.carried_over(stored).await? {
            Some((url, is_changed)) => {
                if is_changed || stored.former.is_some() {
                    known.switched = Some(Instant::now());
                }
                self.restore(url, &stored.key).await?
            }
            None => self.registered_as(&stored.key).await?,
        };
        let (url, directory) = (Some(account.id().to_owned()), self.directory.clone());
        let registered = StoredAccount { url, directory, ..stored.clone() };
        known.unknown = None;
        known.stored = Some(match self.store.replace(&registered).await {
            Ok(Some(noted)) => noted,
            Ok(None) => registered,
            Err(error) => {
                tracing::warn!(%error, "the URL of the ACME account could not be stored");
                registered
            }
        });
        Ok(account)
    }

    /// Registers the key. The CA returns the existing account of the key, if any (RFC 8555 §7.3.1),
    /// so that a registration with a lost response is found again. Looks for it first where there
    /// is an external account: some CAs accept a binding only once, and its Secret may be gone.
    async fn registered_as(&self, key: &PrivateKey) -> Result<Account, CallError> {
        let external = self.store.external_account().await;
        let mut found = None;
        if !matches!(external, Ok(None)) {
            found = match self.of_key(key).await {
                Err(error) if error.is_refusal() => None, // a CA may know no look-up at all
                found => found?,
            };
        }
        let url = match found {
            Some(url) => url,
            None => self.new_account(key, external?.as_ref()).await?,
        };
        self.restore(url, key).await
    }

    /// Registers the key with the contacts; without them if the CA refuses these, because the
    /// account works without. A CA that requires contacts then refuses that too.
    async fn new_account(
        &self,
        key: &PrivateKey,
        external: Option<&ExternalAccount>,
    ) -> Result<String, CallError> {
        let (transport, contacts) = (&self.transport, &self.contacts[..]);
        let refused = match registration::register(transport, key, contacts, external).await {
            Err(error) if !contacts.is_empty() && error.is_about_contacts() => error,
            registered => {
                let url = registered?;
                let (new, kid) = (Call::last_status() == Some(StatusCode::CREATED), external);
                let kid = kid.map(|external| &external.kid);
                tracing::info!(url, new, kid, "the ACME account is registered");
                return Ok(url);
            }
        };
        match registration::register(transport, key, &[], external).await {
            Ok(url) => {
                let error = refused.into_port_error("the CA does not accept the contacts");
                tracing::warn!(url, %error, "the ACME account is registered without contacts");
                Ok(url)
            }
            Err(error) => Err(if error.is_refusal() { refused } else { error }),
        }
    }

    /// Returns the URL of the CA's account of this key, if any (RFC 8555 §7.3.1). The external
    /// account is named where the CA asks for it.
    pub(super) async fn of_key(&self, key: &PrivateKey) -> Result<Option<String>, CallError> {
        let mut found = registration::look_up(&self.transport, key, None).await;
        if found.as_ref().is_err_and(|error| error.kind() == "externalAccountRequired")
            && let Some(external) = self.store.external_account().await?
        {
            found = registration::look_up(&self.transport, key, Some(&external)).await;
        }
        match found {
            Ok(url) => Ok(Some(url)),
            Err(error) if error.kind() == "accountDoesNotExist" => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AccountState {
    fn usable_url(&self, stored: &StoredAccount, directory: &str) -> Option<String> {
        let url = stored.url.clone().filter(|_| stored.directory == directory);
        url.filter(|url| self.unknown.as_ref() != Some(url))
    }
}

/// Generates an account key. The caller stores the key before its first use.
pub(super) fn new_key() -> Result<PrivateKey, PortError> {
    let made = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
    let made = made.map_err(|failed| PortError::transient(format!("no account key: {failed}")))?;
    Ok(PrivateKey::from_pem(made.serialize_pem()))
}

pub(super) fn pkcs8(key: &PrivateKey) -> Result<PrivatePkcs8KeyDer<'static>, CallError> {
    PrivatePkcs8KeyDer::from_pem_slice(key.pem().as_bytes())
        .map_err(|wrong| CallError::Port(unusable(&wrong.to_string())))
}

pub(super) fn unusable(wrong: &str) -> PortError {
    let detail =
        format!("{wrong}; delete the Secret of the ACME account, and a new one is created");
    PortError::permanent(FailureClass::Rejected, detail)
}

/// Error: no account is stored, or the CA does not know the account.
pub(super) fn no_account() -> CallError {
    CallError::lacking(
        "the operator's namespace has no account that the CA knows; check --namespace and --acme-directory".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::acme::transport::Wire;

    /// instant-acme computes the thumbprint itself, but only for an account. This account is built
    /// from stored credentials that contain the directory, so that no request is sent.
    #[tokio::test]
    async fn the_thumbprint_is_the_one_the_library_uses() {
        let key = PrivateKey::from_pem(KeyPair::generate().unwrap().serialize_pem());
        let der = BASE64_URL_SAFE_NO_PAD.encode(pkcs8(&key).ok().unwrap().secret_pkcs8_der());
        let urls = serde_json::json!({ "newNonce": "", "newAccount": "", "newOrder": "" });
        let stored = serde_json::json!({ "id": "", "key_pkcs8": der, "urls": urls }).to_string();
        let stored = serde_json::from_str(&stored).unwrap();
        let transport =
            Transport::new("https://ca.example/dir", None, Wire::Tls, Arc::new(|_, _, _| {}));
        let builder = Account::builder_with_http(Box::new(transport.unwrap()));
        let account = builder.from_credentials(stored).await.unwrap();
        assert_eq!(thumbprint(&key).unwrap(), account.key_thumbprint());
    }

    #[test]
    fn a_key_that_no_account_can_have_says_so() {
        let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let said = thumbprint(&PrivateKey::from_pem(p384.serialize_pem())).unwrap_err();
        assert_eq!(said, "the account key is not ECDSA P-256");
        assert!(thumbprint(&PrivateKey::from_pem("hello".to_owned())).is_err());
    }
}
