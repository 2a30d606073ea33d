//! ACME resource objects (RFC 8555 §7.1) and their URLs.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::accounts::{Account, AccountId};
use super::certificates::Window;
use super::core::OrderView;
use super::ids::OrderId;
use super::ids::Serial;
use super::names::base;
use super::orders::{Authorization, Challenge, Kind, Validity};
use super::profiles::PROFILES;

/// Name of the CA in CAA records (RFC 8659).
pub const CAA_IDENTITY: &str = "ca.example";

/// A challenge type no client implements (draft-ietf-acme-dns-account-label); clients must skip it.
const UNKNOWN_CHALLENGE: &str = "dns-account-01";
/// More challenge types that the CA offers and does not validate: RFC 8737, a draft
/// (draft-acme-device-attest), and one of nobody.
const OTHER_CHALLENGES: [&str; 3] = ["tls-alpn-01", "device-attest-01", "future-01"];

/// Form of the authorization objects.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AuthorizationForm {
    /// Whether the status is `processing` while the challenge is.
    pub(super) processing: bool,
    /// Whether further challenge types are listed, all of them shuffled.
    pub(super) unknown_challenges: bool,
    /// Seed of the order of the challenges.
    pub(super) seed: u64,
}

/// Builds URLs with the host name used by the client.
#[derive(Clone, Debug)]
pub(super) struct Urls {
    /// Scheme and host.
    pub(super) base: String,
}

impl Urls {
    fn to(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(super) fn directory_url(&self) -> String {
        self.to("/directory")
    }

    pub(super) fn account_url(&self, id: AccountId) -> String {
        self.to(&format!("/acme/acct/{id}"))
    }

    pub(super) fn order_url(&self, account: AccountId, id: OrderId) -> String {
        self.to(&format!("/acme/order/{account}/{id}"))
    }

    pub(super) fn authorization_url(&self, account: AccountId, id: u64) -> String {
        self.to(&format!("/acme/authz/{account}/{id}"))
    }

    /// Returns the URL of a certificate chain; the URL of the second chain ends in `/1`.
    pub(super) fn certificate_url(&self, serial: Serial, other: bool) -> String {
        self.to(&format!("/acme/cert/{serial}{}", if other { "/1" } else { "" }))
    }

    fn challenge_url(&self, of: &Authorization, kind: &str) -> String {
        self.to(&format!("/acme/chall/{}/{}/{kind}", of.account, of.id))
    }

    /// Directory object (RFC 8555 §7.1.1).
    pub(super) fn directory(&self, external_account_required: bool) -> Value {
        let profiles = PROFILES.iter().map(|profile| (profile.name, profile.description));
        let profiles: Map<String, Value> =
            profiles.map(|(name, description)| (name.to_owned(), description.into())).collect();
        json!({
            "newNonce": self.to("/acme/new-nonce"),
            "newAccount": self.to("/acme/new-acct"),
            "newOrder": self.to("/acme/new-order"),
            "revokeCert": self.to("/acme/revoke-cert"),
            "keyChange": self.to("/acme/key-change"),
            "renewalInfo": self.to("/acme/renewal-info"),
            "meta": {
                "termsOfService": self.to("/terms"),
                "website": self.to("/"),
                "caaIdentities": [CAA_IDENTITY],
                "externalAccountRequired": external_account_required,
                "profiles": profiles,
            },
        })
    }

    /// Account object (RFC 8555 §7.1.2).
    pub(super) fn account(account: &Account) -> Value {
        let Account { contacts, created, deactivated, .. } = account;
        let status = if *deactivated { "deactivated" } else { "valid" };
        json!({ "status": status, "contact": contacts, "createdAt": seconds(*created) })
    }

    /// Order object (RFC 8555 §7.1.3).
    pub(super) fn order(&self, view: &OrderView) -> Value {
        let (order, account) = (&view.order, view.order.wanted.account);
        let wanted = &order.wanted;
        let identifiers: Vec<Value> = wanted.names.iter().map(|name| identifier(name)).collect();
        let authorizations: Vec<String> =
            order.authorizations.iter().map(|id| self.authorization_url(account, *id)).collect();
        let mut document = json!({
            "status": view.status.name(),
            "expires": seconds(order.expires),
            "identifiers": identifiers,
            "profile": wanted.profile.name,
            "authorizations": authorizations,
            "finalize": self.to(&format!("/acme/finalize/{account}/{}", order.id)),
        });
        if let Some(replaces) = &wanted.replaces {
            document["replaces"] = replaces.id.clone().into();
        }
        if let Some(serial) = view.certificate() {
            document["certificate"] = self.certificate_url(serial, false).into();
        }
        document
    }

    /// Authorization object (RFC 8555 §7.1.4). Once a challenge was tried, only that challenge is
    /// listed. The same authorization always has the same order of challenges.
    pub(super) fn authorization(
        &self,
        of: &Authorization,
        form: AuthorizationForm,
        now: Timestamp,
    ) -> Value {
        let mut kinds: Vec<&str> = match of.tried {
            Some(tried) => vec![tried.name()],
            None => of.offered().iter().map(|kind| kind.name()).collect(),
        };
        if of.tried.is_none() {
            kinds.push(UNKNOWN_CHALLENGE);
            if form.unknown_challenges {
                kinds.extend(OTHER_CHALLENGES);
                fastrand::Rng::with_seed(form.seed ^ of.id).shuffle(&mut kinds);
            }
        }
        let challenges: Vec<Value> = kinds.iter().map(|kind| self.any(of, kind)).collect();
        let validity = of.validity(now);
        let processes = form.processing && of.challenge == Challenge::Processing;
        let processes = processes && validity == Validity::Pending;
        let mut document = json!({
            "identifier": identifier(base(&of.name)),
            "status": if processes { "processing" } else { validity.name() },
            "expires": seconds(of.expires),
            "challenges": challenges,
        });
        if of.is_wildcard() {
            document["wildcard"] = true.into();
        }
        document
    }

    /// Challenge object of any type.
    fn any(&self, of: &Authorization, kind: &str) -> Value {
        if let Some(kind) = Kind::of(kind) {
            return self.challenge(of, kind);
        }
        let (url, token) = (self.challenge_url(of, kind), &of.token);
        let status = if kind == "future-01" { "queued" } else { "pending" };
        json!({ "type": kind, "url": url, "status": status, "token": token })
    }

    /// Challenge object (RFC 8555 §7.1.5).
    pub(super) fn challenge(&self, of: &Authorization, kind: Kind) -> Value {
        let (url, status) = (self.challenge_url(of, kind.name()), of.challenge.name());
        let mut document = json!({ "type": kind.name(), "url": url, "status": status });
        if kind == Kind::DnsPersist01 {
            document["issuer-domain-names"] = json!([CAA_IDENTITY]);
            document["accounturi"] = self.account_url(of.account).into();
        } else {
            document["token"] = of.token.clone().into();
        }
        match &of.challenge {
            Challenge::Valid(at) => document["validated"] = seconds(*at).into(),
            Challenge::Invalid(problem) => document["error"] = problem.document(),
            Challenge::Pending | Challenge::Processing => {}
        }
        document
    }
}

/// Renewal information object (RFC 9773 §4.2).
pub(super) fn renewal_info(window: &Window) -> Value {
    let (start, end) = (window.start.to_string(), window.end.to_string());
    let mut document = json!({ "suggestedWindow": { "start": start, "end": end } });
    if let Some(explanation) = &window.explanation_url {
        document["explanationURL"] = explanation.clone().into();
    }
    document
}

fn identifier(name: &str) -> Value {
    json!({ "type": "dns", "value": name })
}

/// Formats a time as in RFC 3339, in whole seconds.
fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
