//! Signed requests (RFC 8555 §6.2 to §6.5): authentication and dispatch.

use std::sync::Arc;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64URL, Engine};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::super::accounts::AccountId;
use super::super::core::{AccountChange, Core, NewAccount, Revoker};
use super::super::documents::{AuthorizationForm, Urls};
use super::super::jws::{Jwk, Jws, Payload, Signer};
use super::super::orders::{Authorization, Challenge, Kind, Status};
use super::super::problem::Problem;
use super::super::target::Target;
use super::{Answer, Shell, locked, urls};
use crate::exchange::Request;

/// Payload of `finalize` (RFC 8555 §7.4).
#[derive(Deserialize)]
struct Finalize {
    csr: String,
}

/// Payload of a POST to an authorization (RFC 8555 §7.5.2).
#[derive(Deserialize)]
struct AuthorizationChange {
    status: String,
}

/// Signer and payload of a verified request.
struct Signed {
    /// Account, if the request named one.
    account: Option<AccountId>,
    key: Jwk,
    payload: Payload,
}

impl Signed {
    fn account(&self) -> Result<AccountId, Problem> {
        let missing = || Problem::malformed("No Key ID in JWS header");
        self.account.ok_or_else(missing)
    }

    /// Returns the account of a POST-as-GET request, which has an empty payload (RFC 8555 §6.3).
    fn reader(&self) -> Result<AccountId, Problem> {
        if self.payload.is_empty() {
            return self.account();
        }
        Err(Problem::malformed("POST-as-GET requests must have an empty payload"))
    }
}

impl Shell {
    pub(super) fn post(
        self: &Arc<Self>,
        request: &Request,
        target: Target<'_>,
        now: Timestamp,
    ) -> Result<Answer, Problem> {
        if target == Target::Nothing {
            return Err(Problem::not_found("Page not found"));
        }
        let jose = request.header("content-type");
        if jose.is_none_or(|kind| kind != "application/jose+json") {
            let detail = "Invalid Content-Type header on POST. Content-Type must be \"application/jose+json\"";
            return Err(Problem::new(415, "malformed", detail));
        }
        let urls = urls(request);
        let url = format!("{}{}", urls.base, request.path);
        let mut core = locked(&self.core);
        let signed = self.signed(&core, &request.body, &url)?;
        match target {
            Target::NewAccount => new_account(&mut core, signed, (&url, request), &urls, now),
            Target::KeyChange => change_key(&mut core, &signed, &url, &urls),
            Target::Account(id) => account(&mut core, id, &signed),
            Target::Revoke => {
                let by = signed.account.map_or(Revoker::Key(signed.key), Revoker::Account);
                core.revoke(&by, &signed.payload.read()?, now)?;
                Ok(Answer::empty(200))
            }
            Target::Certificate(_, true) if locked(&self.manners).broken_alternates => {
                Err(Problem::new(500, "serverInternal", "Failed to retrieve certificate"))
            }
            Target::Certificate(serial, other) => {
                let chain = core.chain(signed.reader()?, serial, other)?;
                let alternate = urls.certificate_url(serial, !other);
                Ok(Answer::chain(chain).link(&alternate, "alternate"))
            }
            Target::Authorization(_, id) => self.authorization(&mut core, &signed, id, &urls, now),
            Target::Challenge(_, id, kind) => {
                self.challenge(&mut core, &signed, (id, kind), &urls, now)
            }
            _ => self.order(&mut core, &signed, target, &urls, now),
        }
    }

    /// Checks signature, nonce and URL, in this order: a request with a bad signature consumes no
    /// nonce.
    fn signed(&self, core: &Core, body: &[u8], url: &str) -> Result<Signed, Problem> {
        let jws = Jws::parse(body)?;
        let (account, key) = match &jws.signer {
            Signer::Key(key) => (None, key.clone()),
            Signer::Kid(kid) => {
                let unknown = || {
                    let detail = format!("Account {kid:?} not found");
                    Problem::new(400, "accountDoesNotExist", detail)
                };
                let id = kid.rsplit_once("/acme/acct/").and_then(|(_, id)| id.parse().ok());
                let account = core.account(id.ok_or_else(unknown)?).map_err(|problem| {
                    if problem.kind == "accountDoesNotExist" { unknown() } else { problem }
                })?;
                (Some(account.id), account.key.clone())
            }
        };
        let (nonce, said) = (jws.nonce.clone(), jws.url.clone());
        let payload = jws.verified(&key)?;
        locked(&self.nonces).take(nonce.as_deref())?;
        match said {
            Some(said) if said == url => Ok(Signed { account, key, payload }),
            Some(said) => Err(Problem::unauthorized(format!(
                "Unable to validate JWS :: JWS header parameter 'url' incorrect. Expected {url:?} got {said:?}"
            ))),
            None => Err(Problem::malformed("JWS header parameter 'url' required")),
        }
    }

    /// Answers order requests (RFC 8555 §7.4).
    fn order(
        &self,
        core: &mut Core,
        signed: &Signed,
        target: Target<'_>,
        urls: &Urls,
        now: Timestamp,
    ) -> Result<Answer, Problem> {
        let view = match target {
            Target::NewOrder => core.new_order(signed.account()?, signed.payload.read()?, now)?,
            Target::Order(of, id) => core.order(own(of, signed.reader()?)?, id, now)?,
            Target::Finalize(of, id) => {
                let Finalize { csr } = signed.payload.read()?;
                let unread = |_| Problem::malformed("Error unmarshaling finalize order request");
                let csr = BASE64URL.decode(csr).map_err(unread)?;
                core.finalize(own(of, signed.account()?)?, id, &csr, now)?
            }
            _ => return Err(Problem::new(405, "malformed", "Method not allowed")),
        };
        let waits = matches!(view.status, Status::Pending | Status::Processing);
        let wait = locked(&self.manners).retry_after.filter(|_| waits);
        let location = urls.order_url(view.order.wanted.account, view.order.id);
        let status = if target == Target::NewOrder { 201 } else { 200 };
        Ok(Answer::json(status, urls.order(&view)).at(location).retry_after(wait))
    }

    /// Reads an authorization (RFC 8555 §7.5), or deactivates one if there is a payload.
    fn authorization(
        &self,
        core: &mut Core,
        signed: &Signed,
        id: u64,
        urls: &Urls,
        now: Timestamp,
    ) -> Result<Answer, Problem> {
        let account = signed.account()?;
        let authorizations = &mut core.orders.authorizations;
        let authorization = if signed.payload.is_empty() {
            authorizations.get(account, id, now)?.clone()
        } else {
            let AuthorizationChange { status } = signed.payload.read()?;
            if status != "deactivated" {
                return Err(Problem::malformed("Invalid status value"));
            }
            authorizations.deactivate(account, id, now)?
        };
        let document = urls.authorization(&authorization, self.form(), now);
        Ok(Answer::json(200, document).retry_after(self.wait(&authorization)))
    }

    fn form(&self) -> AuthorizationForm {
        locked(&self.manners).authorizations
    }

    /// `Retry-After` while the challenge is pending or processing.
    fn wait(&self, authorization: &Authorization) -> Option<u64> {
        let waits = matches!(authorization.challenge, Challenge::Pending | Challenge::Processing);
        locked(&self.manners).retry_after.filter(|_| waits)
    }

    /// Handles the client's response to a challenge (RFC 8555 §7.5.1); an empty payload only reads
    /// the challenge.
    fn challenge(
        self: &Arc<Self>,
        core: &mut Core,
        signed: &Signed,
        (id, kind): (u64, Option<Kind>),
        urls: &Urls,
        now: Timestamp,
    ) -> Result<Answer, Problem> {
        let account = signed.account()?;
        let kind = kind.ok_or_else(|| {
            Problem::malformed("Unable to update challenge :: challenge type is not enabled")
        })?;
        let authorization = if signed.payload.is_empty() {
            core.orders.authorizations.get(account, id, now)?.clone()
        } else {
            signed.payload.read::<Value>()?;
            let (authorization, begins) = core.respond(account, (id, kind), now)?;
            if let Some(validation) = begins {
                self.begin(validation, urls.account_url(account));
            }
            authorization
        };
        let up = urls.authorization_url(account, id);
        let answer = Answer::json(200, urls.challenge(&authorization, kind)).link(&up, "up");
        Ok(answer.retry_after(self.wait(&authorization)))
    }
}

fn new_account(
    core: &mut Core,
    signed: Signed,
    (url, request): (&str, &Request),
    urls: &Urls,
    now: Timestamp,
) -> Result<Answer, Problem> {
    if signed.account.is_some() {
        return Err(Problem::malformed("No embedded JWK in JWS header"));
    }
    let asked: NewAccount = signed.payload.read()?;
    let (account, new) = core.new_account((signed.key, url), asked, request.peer, now)?;
    let answer = Answer::json(if new { 201 } else { 200 }, Urls::account(&account));
    Ok(answer
        .at(urls.account_url(account.id))
        .link(&format!("{}/terms", urls.base), "terms-of-service"))
}

fn change_key(core: &mut Core, signed: &Signed, url: &str, urls: &Urls) -> Result<Answer, Problem> {
    let (id, inner) = (signed.account()?, Jws::of_value(signed.payload.read()?)?);
    let account = core.change_key((id, &urls.account_url(id)), inner, url)?;
    Ok(Answer::json(200, Urls::account(&account)))
}

fn account(core: &mut Core, id: AccountId, signed: &Signed) -> Result<Answer, Problem> {
    if signed.account()? != id {
        return Err(Problem::unauthorized("Request signing key did not match account key"));
    }
    let change =
        if signed.payload.is_empty() { AccountChange::default() } else { signed.payload.read()? };
    Ok(Answer::json(200, Urls::account(&core.update_account(id, change)?)))
}

/// Returns the signing account if the path belongs to that account.
fn own(of: AccountId, account: AccountId) -> Result<AccountId, Problem> {
    let other = || Problem::not_found(format!("No order found for account ID {account}"));
    (of == account).then_some(account).ok_or_else(other)
}
