//! Conversion of orders to views, and the cache of open orders, which saves requests.

mod cache;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use instant_acme::{
    AuthorizationState, AuthorizationStatus, ChallengeStatus, ChallengeType, Identifier, Order,
    OrderStatus as Status, Problem,
};

use ingress_acme_actors::domain::cut::{CutText, cut};
use ingress_acme_actors::domain::failure::{Failure, FailureClass};
use ingress_acme_actors::domain::issuance::{AuthorizationView, Offers, OrderStatus, OrderView};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;
use ingress_acme_actors::ports::PortError;

use super::CallError;
use super::call::Call;
use super::problem::{advice, class, words};
pub(super) use cache::Orders;

/// Number of polls of a pending order between reads of its authorizations, in case the CA leaves
/// the order of a failed authorization pending.
const LOOKS: u32 = 8;

/// An order with cached information.
pub(super) struct OpenOrder {
    pub(super) order: Order,
    /// Names whose challenges were accepted; `None` until all are.
    pub(super) accepted: Option<BTreeSet<DnsName>>,
    /// Number of polls since the authorizations were read.
    looks: u32,
    /// Whether all authorizations were valid when they were read last, while the order was pending.
    all_valid: bool,
}

impl OpenOrder {
    pub(super) fn new(order: Order) -> Self {
        Self { order, accepted: None, looks: 0, all_valid: false }
    }

    /// Converts the last response to a view. Reads the authorizations only where they matter: of an
    /// invalid order, and of a pending one unless all its challenges were accepted.
    pub(super) async fn view(&mut self) -> Result<OrderView, CallError> {
        self.check_size()?;
        let retry_after = Call::last_retry_after();
        let (status, authorizations) = match self.order.state().status {
            Status::Pending => self.pending().await?,
            Status::Ready => (OrderStatus::Ready, Vec::new()),
            Status::Processing => (OrderStatus::Processing, Vec::new()),
            Status::Valid => (OrderStatus::Valid, Vec::new()),
            Status::Invalid => {
                (OrderStatus::Invalid(self.failure_of_invalid_order().await?), Vec::new())
            }
        };
        let url = self.order.url().to_owned();
        let retry_after = retry_after.or_else(Call::last_retry_after);
        Ok(OrderView { url, status, authorizations, retry_after, replaces: false })
    }

    /// Refuses an order with more authorizations than names can be ordered: each one costs a
    /// request.
    pub(super) fn check_size(&mut self) -> Result<(), CallError> {
        let (listed, most) = (self.order.state().authorizations.len(), limits::MAX_NAMES);
        if listed <= most {
            return Ok(());
        }
        Err(CallError::lacking(format!(
            "the CA's order lists {listed} authorizations, but at most {most} are expected; check --acme-directory"
        )))
    }

    /// Reads the authorizations from time to time. A pending order whose authorizations are all
    /// valid, at two reads, is ready: drafts of RFC 8555 had no such status, and other clients send
    /// their CSR then.
    async fn pending(&mut self) -> Result<(OrderStatus, Vec<AuthorizationView>), CallError> {
        if let Some(names) = &self.accepted
            && self.looks < LOOKS
        {
            self.looks += 1;
            return Ok((OrderStatus::Pending, accepted(names)));
        }
        self.looks = 0;
        let (mut waiting, mut failed, mut valid) = (Vec::new(), Vec::new(), 0);
        let listed = self.order.state().authorizations.len();
        let mut authorizations = self.order.authorizations();
        Call::set_endpoint("authorization");
        while let Some(authorization) = authorizations.next().await {
            let authorization = authorization?;
            match authorization.status {
                AuthorizationStatus::Valid => valid += 1,
                AuthorizationStatus::Pending if !has_failed(&authorization) => {
                    waiting.extend(waits(&authorization));
                }
                _ => failed.extend(authz_failure(&authorization)),
            }
        }
        if let Some(failure) = failure_of_authorizations(&failed) {
            return Ok((OrderStatus::Invalid(failure), Vec::new()));
        }
        let was_valid = self.all_valid;
        self.all_valid = listed > 0 && valid == listed;
        if self.all_valid && was_valid {
            return Ok((OrderStatus::Ready, Vec::new()));
        }
        Ok((OrderStatus::Pending, waiting))
    }

    /// Returns the failed names and reasons; without any, the order's own error.
    async fn failure_of_invalid_order(&mut self) -> Result<Failure, CallError> {
        let of_order = self.order.state().error.clone();
        let mut failed = Vec::new();
        let mut authorizations = self.order.authorizations();
        Call::set_endpoint("authorization");
        while let Some(authorization) = authorizations.next().await {
            let authorization = authorization?;
            failed.extend(authz_failure(&authorization));
        }
        Ok(failure_of_authorizations(&failed).unwrap_or_else(|| order_failure(of_order.as_ref())))
    }

    /// Accepts the HTTP-01 challenge of every pending authorization. Returns whether the CA has
    /// validated all of them within these requests.
    pub(super) async fn accept(&mut self) -> Result<bool, CallError> {
        self.check_size()?;
        let (mut names, mut all_valid) = (BTreeSet::new(), true);
        let mut authorizations = self.order.authorizations();
        Call::set_endpoint("authorization");
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            names.extend(name(&authorization));
            let missing = no_http(&authorization);
            let Some(mut challenge) = authorization.challenge(ChallengeType::Http01) else {
                return Err(CallError::Port(missing));
            };
            if challenge.status == ChallengeStatus::Pending {
                Call::set_endpoint("challenge");
                match challenge.set_ready().await {
                    Ok(()) => all_valid &= Call::is_challenge_valid(),
                    // Accepted, with an answer that is no challenge, or with the error of an
                    // attempt that the CA repeats (RFC 8555 §8.2).
                    Err(_) if Call::has_succeeded("challenge") => all_valid = false,
                    Err(error) => return Err(error.into()),
                }
                Call::set_endpoint("authorization");
            } else {
                all_valid &= challenge.status == ChallengeStatus::Valid;
            }
        }
        self.accepted = Some(names);
        self.looks = 0;
        Ok(all_valid)
    }
}

/// Pending authorizations with accepted challenges.
pub(super) fn accepted(names: &BTreeSet<DnsName>) -> Vec<AuthorizationView> {
    views(names, true)
}

/// Pending authorizations of a new order, none accepted yet. Nothing but the order is fetched, so
/// that the order URL can be journaled at once.
pub(super) fn unaccepted(names: &BTreeSet<DnsName>) -> Vec<AuthorizationView> {
    views(names, false)
}

fn views(names: &BTreeSet<DnsName>, accepted: bool) -> Vec<AuthorizationView> {
    let view = |name: &DnsName| AuthorizationView {
        name: name.clone(),
        accepted,
        offers: Offers::default(),
    };
    names.iter().map(view).collect()
}

/// View of an order that the CA does not know.
pub(super) fn gone(url: &str) -> OrderView {
    let url = url.to_owned();
    OrderView {
        url,
        status: OrderStatus::Gone,
        authorizations: Vec::new(),
        retry_after: None,
        replaces: false,
    }
}

fn name(authorization: &AuthorizationState) -> Option<DnsName> {
    match authorization.identifier().identifier {
        Identifier::Dns(name) => DnsName::parse(name).ok(),
        _ => None,
    }
}

fn waits(authorization: &AuthorizationState) -> Option<AuthorizationView> {
    let begun = |challenge: &instant_acme::Challenge| {
        challenge.r#type == ChallengeType::Http01 && challenge.status != ChallengeStatus::Pending
    };
    let accepted = authorization.challenges.iter().any(begun);
    name(authorization).map(|name| AuthorizationView { name, accepted, offers: Offers::default() })
}

/// Whether the CA could not validate an authorization, and leaves it pending all the same. The
/// status of the challenge is final (RFC 8555 §7.1.6).
fn has_failed(authorization: &AuthorizationState) -> bool {
    let failed = |challenge: &instant_acme::Challenge| {
        challenge.r#type == ChallengeType::Http01 && challenge.status == ChallengeStatus::Invalid
    };
    authorization.status == AuthorizationStatus::Pending
        && authorization.challenges.iter().any(failed)
}

/// Name of an unusable authorization, and the CA's reason, if any.
type AuthzFailure = (String, Result<Problem, AuthorizationStatus>);

fn authz_failure(authorization: &AuthorizationState) -> Option<AuthzFailure> {
    let status = match authorization.status {
        AuthorizationStatus::Pending if has_failed(authorization) => AuthorizationStatus::Invalid,
        AuthorizationStatus::Valid | AuthorizationStatus::Pending => return None,
        status => status,
    };
    let reason = authorization.challenges.iter().find_map(|challenge| challenge.error.clone());
    Some((authorization.identifier().to_string(), reason.ok_or(status)))
}

/// Builds one failure from all names and reasons. The first reason decides the class.
fn failure_of_authorizations(failed: &[AuthzFailure]) -> Option<Failure> {
    let (_, first) = failed.iter().find(|(_, why)| why.is_ok()).or_else(|| failed.first())?;
    let mut said = CutText::new(limits::QUOTED_MAX);
    for (index, (name, why)) in failed.iter().enumerate() {
        said.push(if index == 0 { "" } else { "; " });
        said.push(&match why {
            Ok(problem) => format!("{name}: {}", words(problem)),
            Err(status) => format!("{name}: its authorization is {status:?}").to_lowercase(),
        });
    }
    let (class, advice) = match first {
        Ok(problem) => (class(problem), advice(problem, class(problem))),
        Err(AuthorizationStatus::Invalid) => (FailureClass::Authorization, "it is tried again"),
        Err(_) => (FailureClass::AcmeServer, "a new order is opened"),
    };
    let detail = format!("the CA could not validate {}; {advice}", said.finish());
    let names = failed.iter().filter_map(|(name, _)| DnsName::parse(name).ok());
    Some(Failure::new(class, detail).about(names))
}

fn order_failure(error: Option<&Problem>) -> Failure {
    match error {
        Some(problem) => {
            super::problem::failure("the CA did not issue the certificate", problem, None)
        }
        None => Failure::new(
            FailureClass::AcmeServer,
            "the CA marked the order invalid and does not say why; a new one is opened",
        ),
    }
}

fn no_http(authorization: &AuthorizationState) -> PortError {
    let name = authorization.identifier();
    let offered: Vec<String> =
        authorization.challenges.iter().map(|offer| format!("{:?}", offer.r#type)).collect();
    let offered = cut(offered.join(", "), limits::QUOTED_MAX);
    PortError::permanent(
        FailureClass::Rejected,
        format!("the CA offers no http-01 challenge for {name}, only {offered}; use another CA"),
    )
}
