//! Authorizations (RFC 8555 §7.1.4): time-limited proof, given by a challenge, that an account
//! controls a name.

use std::collections::HashMap;
use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64URL, Engine};
use jiff::Timestamp;

use super::super::accounts::AccountId;
use super::super::ids::AuthorizationId;
use super::super::problem::Problem;
use super::super::profiles::Profile;
use super::span;

/// Types of challenges that the CA validates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ca) enum Kind {
    Http01,
    Dns01,
    /// draft-ietf-acme-dns-persist.
    DnsPersist01,
}

impl Kind {
    pub(in crate::ca) fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::Dns01 => "dns-01",
            Self::DnsPersist01 => "dns-persist-01",
        }
    }

    pub(in crate::ca) fn of(name: &str) -> Option<Self> {
        [Self::Http01, Self::Dns01, Self::DnsPersist01].into_iter().find(|kind| kind.name() == name)
    }
}

/// State of the challenge (RFC 8555 §7.1.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ca) enum Challenge {
    Pending,
    /// The client has responded to the challenge.
    Processing,
    Valid(Timestamp),
    Invalid(Problem),
}

impl Challenge {
    pub(in crate::ca) fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Valid(_) => "valid",
            Self::Invalid(_) => "invalid",
        }
    }
}

/// Authorization status (RFC 8555 §7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ca) enum Validity {
    Pending,
    Valid,
    Invalid,
    Deactivated,
    Expired,
}

impl Validity {
    pub(in crate::ca) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Deactivated => "deactivated",
            Self::Expired => "expired",
        }
    }
}

/// Reuse of valid authorizations by later orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ca) enum Reuse {
    Never,
    /// For as long as the profile says.
    ByProfile,
    /// For this time after the validation, whatever the profile.
    For(Duration),
}

/// One authorization.
#[derive(Clone, Debug)]
pub(in crate::ca) struct Authorization {
    pub(in crate::ca) id: AuthorizationId,
    pub(in crate::ca) account: AccountId,
    pub(in crate::ca) name: Box<str>,
    /// Token of all its challenges, as at Let's Encrypt.
    pub(in crate::ca) token: String,
    pub(in crate::ca) challenge: Challenge,
    /// Type of the challenge to which the client has responded.
    pub(in crate::ca) tried: Option<Kind>,
    pub(in crate::ca) expires: Timestamp,
    deactivated: bool,
    /// Profile that determines the expiry once valid.
    profile: &'static Profile,
    /// Number of orders that use this authorization.
    orders: u32,
}

impl Authorization {
    /// Types of challenges that are offered: for a wildcard those in DNS (Baseline Requirements
    /// §3.2.2.4).
    pub(in crate::ca) fn offered(&self) -> &'static [Kind] {
        let all = &[Kind::Http01, Kind::Dns01, Kind::DnsPersist01];
        if self.is_wildcard() { &all[1..] } else { all }
    }

    pub(in crate::ca) fn is_wildcard(&self) -> bool {
        self.name.starts_with("*.")
    }

    pub(in crate::ca) fn validity(&self, now: Timestamp) -> Validity {
        match &self.challenge {
            Challenge::Invalid(_) => Validity::Invalid,
            _ if self.deactivated => Validity::Deactivated,
            _ if self.expires <= now => Validity::Expired,
            Challenge::Valid(_) => Validity::Valid,
            Challenge::Pending | Challenge::Processing => Validity::Pending,
        }
    }
}

/// Authorizations of all remembered orders, and those available for reuse.
#[derive(Debug)]
pub(in crate::ca) struct Authorizations {
    all: HashMap<AuthorizationId, Authorization>,
    valid: HashMap<AccountId, HashMap<Box<str>, AuthorizationId>>,
    made: u64,
    reuse: Reuse,
}

impl Authorizations {
    pub(super) fn new(reuse: Reuse) -> Self {
        Self { all: HashMap::new(), valid: HashMap::new(), made: 0, reuse }
    }

    pub(super) fn validity(&self, id: AuthorizationId, now: Timestamp) -> Validity {
        self.all.get(&id).map_or(Validity::Expired, |authorization| authorization.validity(now))
    }

    /// Returns an authorization of this account.
    pub(in crate::ca) fn get(
        &self,
        account: AccountId,
        id: AuthorizationId,
        now: Timestamp,
    ) -> Result<&Authorization, Problem> {
        let unknown = || Problem::not_found("No such authorization");
        let authorization = self.all.get(&id).ok_or_else(unknown)?;
        if authorization.account != account {
            let detail = "Account ID doesn't match ID for authorization";
            return Err(Problem::unauthorized(detail));
        }
        if authorization.validity(now) == Validity::Expired {
            return Err(Problem::not_found("Expired authorization"));
        }
        Ok(authorization)
    }

    /// Returns a valid authorization with its expiry, or creates a new one.
    pub(super) fn for_order(
        &mut self,
        (account, name): (AccountId, &str),
        profile: &'static Profile,
        random: &mut fastrand::Rng,
        now: Timestamp,
    ) -> (AuthorizationId, Option<Timestamp>) {
        let valid = self.valid.get(&account).and_then(|names| names.get(name)).copied();
        if let Some(authorization) = valid.and_then(|id| self.all.get_mut(&id))
            && self.reuse != Reuse::Never
            && authorization.validity(now) == Validity::Valid
        {
            authorization.orders += 1;
            return (authorization.id, Some(authorization.expires));
        }
        self.made += 1;
        let mut token = [0; 32];
        random.fill(&mut token);
        let authorization = Authorization {
            id: self.made,
            account,
            name: name.into(),
            token: BASE64URL.encode(token),
            challenge: Challenge::Pending,
            tried: None,
            expires: now + span(profile.pending),
            deactivated: false,
            profile,
            orders: 1,
        };
        self.all.insert(self.made, authorization);
        (self.made, None)
    }

    /// Handles the client's response to a challenge (RFC 8555 §7.5.1). Returns whether a validation
    /// must start.
    pub(in crate::ca) fn respond(
        &mut self,
        account: AccountId,
        (id, kind): (AuthorizationId, Kind),
        now: Timestamp,
    ) -> Result<(&Authorization, bool), Problem> {
        let validity = self.get(account, id, now)?.validity(now);
        let authorization =
            self.all.get_mut(&id).ok_or_else(|| Problem::not_found("No such authorization"))?;
        match (validity, &authorization.challenge) {
            (Validity::Valid, _) | (Validity::Pending, Challenge::Processing) => {
                Ok((authorization, false))
            }
            (Validity::Pending, _) if !authorization.offered().contains(&kind) => {
                let detail = "Unable to update challenge :: challenge type is not enabled";
                Err(Problem::malformed(detail))
            }
            (Validity::Pending, _) => {
                authorization.tried = Some(kind);
                authorization.challenge = Challenge::Processing;
                Ok((authorization, true))
            }
            _ => {
                let detail = "Unable to update challenge :: authorization must be pending";
                Err(Problem::malformed(detail))
            }
        }
    }

    /// Records the result of a validation. Returns the authorization; `None` if unknown or no
    /// longer pending.
    pub(in crate::ca) fn validated(
        &mut self,
        id: AuthorizationId,
        outcome: Result<(), Problem>,
        now: Timestamp,
    ) -> Option<&Authorization> {
        let authorization = self.all.get_mut(&id)?;
        if authorization.validity(now) != Validity::Pending {
            return None;
        }
        match outcome {
            Ok(()) => {
                authorization.challenge = Challenge::Valid(now);
                let reuse = match self.reuse {
                    Reuse::For(time) => time,
                    Reuse::ByProfile | Reuse::Never => authorization.profile.reuse,
                };
                authorization.expires = now + span(reuse);
                let names = self.valid.entry(authorization.account).or_default();
                let before = names.insert(authorization.name.clone(), id);
                if let Some(before) = before {
                    self.drop_unused(before);
                }
            }
            Err(problem) => authorization.challenge = Challenge::Invalid(problem),
        }
        self.all.get(&id)
    }

    /// Deactivates an authorization for the client (RFC 8555 §7.5.2).
    pub(in crate::ca) fn deactivate(
        &mut self,
        account: AccountId,
        id: AuthorizationId,
        now: Timestamp,
    ) -> Result<Authorization, Problem> {
        let validity = self.get(account, id, now)?.validity(now);
        let authorization =
            self.all.get_mut(&id).ok_or_else(|| Problem::not_found("No such authorization"))?;
        if !matches!(validity, Validity::Pending | Validity::Valid) {
            let detail = format!("Authorization is {} already", validity.name());
            return Err(Problem::malformed(detail));
        }
        authorization.deactivated = true;
        Ok(authorization.clone())
    }

    /// Removes one order from the authorization's users; without users, only a reusable
    /// authorization is kept.
    pub(super) fn release(&mut self, id: AuthorizationId, now: Timestamp) {
        let Some(authorization) = self.all.get_mut(&id) else { return };
        authorization.orders -= 1;
        if authorization.orders > 0 {
            return;
        }
        let names = self.valid.get_mut(&authorization.account);
        let names = names.filter(|names| names.get(&authorization.name) == Some(&id));
        let usable = self.reuse != Reuse::Never && authorization.validity(now) == Validity::Valid;
        match names {
            Some(_) if usable => return,
            Some(names) => _ = names.remove(&authorization.name),
            None => {}
        }
        self.all.remove(&id);
    }

    fn drop_unused(&mut self, id: AuthorizationId) {
        if self.all.get(&id).is_some_and(|authorization| authorization.orders == 0) {
            self.all.remove(&id);
        }
    }

    /// Number of remembered authorizations.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}
