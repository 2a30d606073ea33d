//! The one account at the CA: its key, its registration, and the thumbprint that answers challenges.

use std::rc::Rc;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use http::StatusCode;
use instant_acme::{Account, AccountBuilder, Key};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::Mutex;
use tokio::time::Instant;

use ingress_acme_actors::domain::certificate::PrivateKey;
use ingress_acme_actors::domain::failure::FailureClass;
use ingress_acme_actors::ports::{AccountStore, ExternalAccount, PortError, StoredAccount};

use super::account_sync::no_account;
use super::jws::jwk;
use super::transport::{Call, Transport};
use super::{CallError, eab};

/// The thumbprint of an account key (RFC 7638, SHA-256, base64url), which follows the token in the answer to
/// every challenge (RFC 8555 §8.1). The error says what is wrong with the key.
pub fn thumbprint(key: &PrivateKey) -> Result<String, String> {
    let jwk = jwk(key).map_err(|wrong| format!("the account key is unusable: {wrong}"))?;
    if !jwk.starts_with(r#"{"crv":"P-256","#) {
        return Err("the account key is not ECDSA P-256".to_owned());
    }
    // The one way to SHA-256 that rustls shows.
    let suite = TLS13_AES_128_GCM_SHA256.tls13().ok_or("SHA-256 is not available")?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(suite.common.hash_provider.hash(jwk.as_bytes())))
}

/// Told each thumbprint that challenges are answered with from then on.
pub type ThumbprintHook = Rc<dyn Fn(String)>;

/// Loads, registers and remembers the account.
pub(super) struct Accounts {
    pub(super) directory: String,
    pub(super) contacts: Vec<String>,
    pub(super) transport: Transport,
    pub(super) store: Rc<dyn AccountStore>,
    pub(super) answering: ThumbprintHook,
    /// Held over a registration, so that there is one at a time.
    pub(super) known: Mutex<AccountState>,
}

/// What this process knows of the account.
#[derive(Default)]
pub(super) struct AccountState {
    pub(super) stored: Option<StoredAccount>,
    pub(super) account: Option<Account>,
    /// A stored URL that the CA does not know any more.
    unknown: Option<String>,
    /// When the key was last replaced by another one.
    pub(super) switched: Option<Instant>,
}

impl Accounts {
    /// The key's thumbprint; loads the key or makes it, and asks the CA nothing. The one before it is told, too: other
    /// replicas may answer with it for a while.
    pub(super) async fn prepare(&self) -> Result<String, PortError> {
        let mut known = self.known.lock().await;
        let stored = self.stored(&mut known).await?;
        if let Some(Ok(previous)) = stored.previous.as_ref().map(thumbprint) {
            (self.answering)(previous);
        }
        let newest = thumbprint(&stored.key).map_err(|wrong| unusable(&wrong))?;
        (self.answering)(newest.clone());
        Ok(newest)
    }

    /// The registered account.
    pub(super) async fn account(&self) -> Result<Account, CallError> {
        let mut known = self.known.lock().await;
        if let Some(account) = &known.account {
            return Ok(account.clone());
        }
        let mut stored = self.stored(&mut known).await?;
        let mut url = known.usable_url(&stored, &self.directory);
        if url.is_none() {
            // Another process may have registered it since, or rolled it over: a new account would be one too many.
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

    /// Forgets the account, and its URL when the CA does not know it: the next need registers the same key.
    pub(super) async fn forget(&self, unknown_to_the_ca: bool) {
        let mut known = self.known.lock().await;
        let forgotten = known.account.take();
        if let Some(account) = forgotten.filter(|_| unknown_to_the_ca) {
            known.unknown = Some(account.id().to_owned());
        }
    }

    /// The key is stored before it is used: an account whose key is lost cannot be used again.
    async fn stored(&self, known: &mut AccountState) -> Result<StoredAccount, PortError> {
        if let Some(stored) = &known.stored {
            return Ok(stored.clone());
        }
        let stored = if let Some(stored) = self.store.load().await? {
            stored
        } else {
            self.store.create(&new_key()?).await?
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

    /// Registers the key, bound to an external account. One that is registered already is found first: some CAs take
    /// a binding once.
    async fn register_bound(
        &self,
        key: &PrivateKey,
        external: &ExternalAccount,
    ) -> Result<Account, CallError> {
        if let Some(account) = self.of_key(key).await? {
            return Ok(account);
        }
        let url = eab::register(&self.transport, key, &self.contacts, external).await?;
        tracing::info!(%url, kid = external.kid, "the ACME account is registered and bound");
        self.restore(url, key).await
    }

    /// Registers the key, and notes the account's URL. A URL that could not be noted is found again at the next start.
    async fn register(
        &self,
        known: &mut AccountState,
        stored: &StoredAccount,
    ) -> Result<Account, CallError> {
        let account = match self.store.external_account().await? {
            Some(external) => self.register_bound(&stored.key, &external).await?,
            None => self.register_plainly(&stored.key).await?,
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

    /// The CA answers with the existing account if it has one of this key (RFC 8555 §7.3.1), so that a registration whose
    /// answer was lost is found again.
    async fn register_plainly(&self, key: &PrivateKey) -> Result<Account, CallError> {
        let (builder, pair) = (self.builder(), pair(key)?);
        let (account, _) = builder.create_from_key(pair, self.directory.clone()).await?;
        let new = Call::answered() == Some(StatusCode::CREATED);
        tracing::info!(url = account.id(), new, "the ACME account is registered");
        // This is not worth failing for: the account works without contacts.
        let contacts: Vec<&str> = self.contacts.iter().map(String::as_str).collect();
        if new && !contacts.is_empty() {
            Call::asks("other");
            if let Err(error) = account.update_contacts(&contacts).await {
                tracing::warn!(%error, "the CA does not take the contacts; correct --contact");
            }
        }
        Ok(account)
    }

    /// The account that the CA has of this key, if any (RFC 8555 §7.3.1).
    pub(super) async fn of_key(&self, key: &PrivateKey) -> Result<Option<Account>, CallError> {
        let (builder, pair) = (self.builder(), pair(key)?);
        match builder.from_key(pair, self.directory.clone()).await.map_err(CallError::from) {
            Ok((account, _)) => Ok(Some(account)),
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

/// A new account key; stored before it is used.
pub(super) fn new_key() -> Result<PrivateKey, PortError> {
    let made = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
    let made = made.map_err(|failed| PortError::transient(format!("no account key: {failed}")))?;
    Ok(PrivateKey::from_pem(made.serialize_pem()))
}

pub(super) fn pkcs8(key: &PrivateKey) -> Result<PrivatePkcs8KeyDer<'static>, CallError> {
    PrivatePkcs8KeyDer::from_pem_slice(key.pem().as_bytes())
        .map_err(|wrong| CallError::Port(unusable(&wrong.to_string())))
}

/// The key in the two forms that the library asks for.
fn pair(key: &PrivateKey) -> Result<(Key, PrivateKeyDer<'static>), CallError> {
    let der = pkcs8(key)?;
    Ok((Key::from_pkcs8_der(der.clone_key())?, der.into()))
}

pub(super) fn unusable(wrong: &str) -> PortError {
    let detail = format!("{wrong}; delete the Secret of the ACME account, and a new one is made");
    PortError::permanent(FailureClass::Rejected, detail)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// The library computes the thumbprint itself, but tells it only of an account; this one is made of stored
    /// credentials with the directory in them, so that no request is sent.
    #[tokio::test]
    async fn the_thumbprint_is_the_one_the_library_uses() {
        let key = PrivateKey::from_pem(KeyPair::generate().unwrap().serialize_pem());
        let der = BASE64_URL_SAFE_NO_PAD.encode(pkcs8(&key).ok().unwrap().secret_pkcs8_der());
        let urls = serde_json::json!({ "newNonce": "", "newAccount": "", "newOrder": "" });
        let stored = serde_json::json!({ "id": "", "key_pkcs8": der, "urls": urls }).to_string();
        let stored = serde_json::from_str(&stored).unwrap();
        let transport = Transport::new("https://ca.example/dir", None, Arc::new(|_, _, _| {}));
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
