//! Conversion of orders to views, and the cache of open orders, which saves requests.

mod cache;
mod challenges;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use instant_acme::{
    AuthorizationState, AuthorizationStatus, ChallengeStatus, Order, OrderStatus as Status, Problem,
};

use ingress_acme_actors::domain::cut::CutText;
use ingress_acme_actors::domain::failure::{Failure, FailureClass};
use ingress_acme_actors::domain::issuance::{
    AuthorizationView, Method, Methods, Offers, OrderStatus, OrderView,
};
use ingress_acme_actors::domain::limits;
use ingress_acme_actors::domain::name::DnsName;

use super::CallError;
use super::call::Call;
use super::problem::{advice, class, words};
pub(super) use cache::Orders;
use challenges::{begun, has_failed, kind, name, not_offered, shown_name, waiting};

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
    /// `issuer-domain-names` of the authorizations that were read, by name.
    issuers: BTreeMap<DnsName, Vec<String>>,
}

impl OpenOrder {
    pub(super) fn new(order: Order) -> Self {
        Self { order, accepted: None, looks: 0, all_valid: false, issuers: BTreeMap::new() }
    }

    /// Whether the order is as it was opened: pending, and nothing of it was accepted. Then the
    /// authorizations that were read of it are read no second time.
    pub(super) fn is_untouched(&mut self) -> bool {
        let is_pending = self.order.state().status == Status::Pending;
        is_pending && self.accepted.is_none() && !self.all_valid
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
        let (mut pending, mut failed, mut valid) = (Vec::new(), Vec::new(), 0);
        let listed = self.order.state().authorizations.len();
        let mut authorizations = self.order.authorizations();
        Call::set_endpoint("authorization");
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            let name = name(&authorization);
            if let Some((name, issuers)) = name.as_ref().zip(Call::take_issuer_names()) {
                self.issuers.insert(name.clone(), issuers);
            }
            match authorization.status {
                AuthorizationStatus::Valid => valid += 1,
                AuthorizationStatus::Pending if !has_failed(&authorization) => {
                    let issuers = name.and_then(|name| self.issuers.get(&name).cloned());
                    pending.extend(waiting(&mut authorization, issuers));
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
        Ok((OrderStatus::Pending, pending))
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

    /// Accepts a challenge of every pending authorization: that of its method, HTTP-01 for a name
    /// without one. Returns whether the CA has validated all of them within these requests.
    pub(super) async fn accept(&mut self, methods: &Methods) -> Result<bool, CallError> {
        self.check_size()?;
        let (mut names, mut all_valid) = (BTreeSet::new(), true);
        let mut authorizations = self.order.authorizations();
        Call::set_endpoint("authorization");
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let name = name(&authorization);
            let method = name.as_ref().and_then(|name| methods.get(name)).copied();
            let method = method.unwrap_or(Method::Http01);
            names.extend(name);
            if let Some(challenge) = begun(&authorization) {
                all_valid &= challenge.status == ChallengeStatus::Valid;
                continue;
            }
            let missing = not_offered(&authorization, method);
            let Some(mut challenge) = authorization.challenge(kind(method)) else {
                return Err(CallError::Port(missing));
            };
            Call::set_endpoint("challenge");
            match challenge.set_ready().await {
                Ok(()) => all_valid &= Call::is_challenge_valid(),
                // Accepted, with an answer that is no challenge, or with the error of an attempt
                // that the CA repeats (RFC 8555 §8.2).
                Err(_) if Call::has_succeeded("challenge") => all_valid = false,
                Err(error) => return Err(error.into()),
            }
            Call::set_endpoint("authorization");
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

/// Name of an unusable authorization, and the CA's reason, if any.
type AuthzFailure = (String, Result<Problem, AuthorizationStatus>);

fn authz_failure(authorization: &AuthorizationState) -> Option<AuthzFailure> {
    let status = match authorization.status {
        AuthorizationStatus::Pending if has_failed(authorization) => AuthorizationStatus::Invalid,
        AuthorizationStatus::Valid | AuthorizationStatus::Pending => return None,
        status => status,
    };
    let reason = authorization.challenges.iter().find_map(|challenge| challenge.error.clone());
    Some((shown_name(authorization), reason.ok_or(status)))
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
    let names = failed.iter().filter_map(|(name, _)| DnsName::parse_certified(name).ok());
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
