//! Decisions of the CA on parsed and verified requests, without sockets or clock: time is an
//! argument.

mod ordering;
mod revoking;

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::accounts::{Account, AccountId, Accounts, check_contacts};
use super::certificates::Certificates;
use super::ids::AuthorizationId;
use super::issuing::Signing;
use super::jws::{self, Jwk, Jws, Signer};
use super::limits::{Limits, Meter};
use super::names::Policy;
use super::orders::{Authorization, Kind, Orders, Reuse};
use super::problem::Problem;
use super::profiles::Profile;

pub(super) use ordering::OrderView;
pub(super) use revoking::Revoker;

/// Settings of the CA.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) limits: Limits,
    /// External account that new accounts must be bound to: id and MAC key.
    pub(super) external_account: Option<(String, Vec<u8>)>,
    /// Lifetime of certificates, overriding their profile.
    pub(super) life: Option<Duration>,
    /// Lifetimes by profile, overriding `life`.
    pub(super) lives: Vec<(&'static str, Duration)>,
    /// Time between the CSR and the certificate.
    pub(super) processing: Duration,
    pub(super) reuse: Reuse,
    pub(super) reuse_orders: bool,
    pub(super) orders_kept: usize,
    pub(super) seed: u64,
}

impl Settings {
    /// Lifetime of certificates of a profile.
    fn life_of(&self, profile: &Profile) -> Duration {
        let of_profile = self.lives.iter().find(|(name, _)| *name == profile.name);
        of_profile.map(|(_, life)| *life).or(self.life).unwrap_or(profile.life)
    }
}

/// State of the CA except connections and nonces.
pub(super) struct Core {
    settings: Settings,
    random: fastrand::Rng,
    accounts: Accounts,
    pub(super) orders: Orders,
    pub(super) certificates: Certificates,
    pub(super) meter: Meter,
    pub(super) policy: Policy,
    pub(super) signing: Signing,
    /// Numbers of passed and failed validations.
    pub(super) validations: (u64, u64),
}

/// Payload of `newAccount` (RFC 8555 §7.3).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NewAccount {
    contact: Vec<String>,
    terms_of_service_agreed: bool,
    only_return_existing: bool,
    external_account_binding: Option<Value>,
}

/// Payload of a POST to an account (RFC 8555 §7.3.2, §7.3.6).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AccountChange {
    contact: Option<Vec<String>>,
    status: Option<String>,
}

/// Payload of the inner JWS of `keyChange` (RFC 8555 §7.3.5).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyChange {
    account: String,
    old_key: Value,
}

/// A validation to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Validation {
    pub(super) authorization: AuthorizationId,
    pub(super) kind: Kind,
    /// Name to validate; that of a wildcard has its label.
    pub(super) name: String,
    pub(super) token: String,
    /// Key authorization (RFC 8555 §8.1).
    pub(super) answer: String,
}

impl Core {
    pub(super) fn new(settings: Settings, signing: Signing) -> Self {
        Self {
            random: fastrand::Rng::with_seed(settings.seed),
            accounts: Accounts::default(),
            orders: Orders::new(settings.orders_kept, settings.reuse),
            certificates: Certificates::default(),
            meter: Meter::new(&settings.limits),
            policy: Policy::default(),
            signing,
            validations: (0, 0),
            settings,
        }
    }

    /// Sets the lifetime of new certificates, overriding their profile.
    pub(super) fn set_life(&mut self, life: Option<Duration>) {
        self.settings.life = life;
    }

    /// Returns the account if known and not deactivated.
    pub(super) fn account(&self, id: AccountId) -> Result<&Account, Problem> {
        self.accounts.active(id)
    }

    pub(super) fn wants_external_accounts(&self) -> bool {
        self.settings.external_account.is_some()
    }

    /// Registers a key, or finds its account (RFC 8555 §7.3.1). Returns the account and whether it
    /// is new.
    pub(super) fn new_account(
        &mut self,
        (key, url): (Jwk, &str),
        asked: NewAccount,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<(Account, bool), Problem> {
        if let Some(existing) = self.accounts.of_key(&key) {
            return Ok((self.accounts.active(existing.id)?.clone(), false));
        }
        if asked.only_return_existing {
            let detail = "No account exists with the provided key";
            return Err(Problem::new(400, "accountDoesNotExist", detail));
        }
        if !asked.terms_of_service_agreed {
            return Err(Problem::malformed("must agree to terms of service"));
        }
        check_contacts(&asked.contact)?;
        self.check_binding(asked.external_account_binding, &key, url)?;
        self.meter.register(from, now)?;
        Ok((self.accounts.create(key, asked.contact, now).clone(), true))
    }

    /// Checks the external account binding (RFC 8555 §7.3.4), if the CA requires one.
    fn check_binding(&self, binding: Option<Value>, key: &Jwk, url: &str) -> Result<(), Problem> {
        let Some((kid, secret)) = &self.settings.external_account else { return Ok(()) };
        let Some(binding) = binding else {
            let detail = "an external account binding is required";
            return Err(Problem::new(403, "externalAccountRequired", detail));
        };
        let jws = Jws::of_value(binding)?;
        if jws.url.as_deref() != Some(url) || jws.nonce.is_some() {
            return Err(Problem::malformed(
                "the binding must have the URL of the request and no nonce",
            ));
        }
        if jws.signer != Signer::Kid(kid.clone()) {
            return Err(Problem::unauthorized("the external account is not known"));
        }
        if jws.verified_by_mac(secret)?.jwk()? != *key {
            return Err(Problem::malformed("the external account binding is of another key"));
        }
        Ok(())
    }

    pub(super) fn update_account(
        &mut self,
        id: AccountId,
        change: AccountChange,
    ) -> Result<Account, Problem> {
        check_contacts(change.contact.as_deref().unwrap_or_default())?;
        self.accounts.update(id, change.contact, change.status.as_deref())
    }

    /// Replaces the account key with the key that signed the inner JWS (RFC 8555 §7.3.5).
    pub(super) fn change_key(
        &mut self,
        (id, account_url): (AccountId, &str),
        inner: Jws,
        url: &str,
    ) -> Result<Account, Problem> {
        if inner.url.as_deref() != Some(url) || inner.nonce.is_some() {
            return Err(Problem::malformed(
                "the inner JWS must have the URL of the outer one and no nonce",
            ));
        }
        let Signer::Key(new) = inner.signer.clone() else {
            return Err(Problem::malformed("the inner JWS must have the new key"));
        };
        let change: KeyChange = inner.verified(&new)?.read()?;
        if change.account != account_url {
            return Err(Problem::malformed("the inner JWS is about another account"));
        }
        let old = jws::jwk(change.old_key)?;
        self.accounts.change_key(id, &old, new)
    }

    /// Handles the client's response to a challenge. Returns the authorization and the validation
    /// to start, if any.
    pub(super) fn respond(
        &mut self,
        account: AccountId,
        (id, kind): (AuthorizationId, Kind),
        now: Timestamp,
    ) -> Result<(Authorization, Option<Validation>), Problem> {
        let thumbprint = &self.accounts.active(account)?.thumbprint;
        let (authorization, begins) =
            self.orders.authorizations.respond(account, (id, kind), now)?;
        let validation = begins.then(|| Validation {
            authorization: id,
            kind,
            name: authorization.name.to_string(),
            token: authorization.token.clone(),
            answer: format!("{}.{thumbprint}", authorization.token),
        });
        Ok((authorization.clone(), validation))
    }

    /// Records the result of a validation; a CAA record can still make a passed one fail.
    pub(super) fn validated(
        &mut self,
        validation: &Validation,
        outcome: Result<(), Problem>,
        now: Timestamp,
    ) {
        let caa = || self.policy.caa_problem(&validation.name).map_or(Ok(()), Err);
        let outcome = outcome.and_then(|()| caa());
        let passed = outcome.is_ok();
        let authorizations = &mut self.orders.authorizations;
        let done = authorizations.validated(validation.authorization, outcome, now);
        let Some(account) = done.map(|authorization| authorization.account) else { return };
        if passed {
            self.validations.0 += 1;
            self.meter.passed(account, &validation.name);
        } else {
            self.validations.1 += 1;
            self.meter.failed(account, &validation.name, now);
        }
    }
}

#[cfg(test)]
mod tests;
