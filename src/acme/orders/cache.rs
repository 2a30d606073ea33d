//! Cache of open orders, bounded by number and by bytes: a CA may send any text within an order.

use std::collections::HashMap;

use instant_acme::{Authorization, AuthorizationState, Challenge, OrderState, Problem, Subproblem};

use ingress_acme_actors::domain::limits;

use super::OpenOrder;

/// Open orders by URL. An order is removed for use, and put back if the use succeeded.
#[derive(Default)]
pub(in crate::acme) struct Orders {
    open: HashMap<String, Kept>,
    put: u64,
    /// Memory of all orders.
    bytes: usize,
}

struct Kept {
    /// Number of the put, so that the oldest is found.
    put: u64,
    bytes: usize,
    order: OpenOrder,
}

impl Orders {
    pub(in crate::acme) fn take(&mut self, url: &str) -> Option<OpenOrder> {
        let Kept { bytes, order, .. } = self.open.remove(url)?;
        self.bytes -= bytes;
        Some(order)
    }

    /// Removes the order if it is [untouched](OpenOrder::is_untouched).
    pub(in crate::acme) fn take_untouched(&mut self, url: &str) -> Option<OpenOrder> {
        let is_untouched = self.open.get_mut(url)?.order.is_untouched();
        if is_untouched { self.take(url) } else { None }
    }

    pub(in crate::acme) fn put(&mut self, mut order: OpenOrder) {
        self.put += 1;
        let (url, bytes) = (order.order.url().to_owned(), bytes(&mut order));
        _ = self.take(&url);
        self.bytes += bytes;
        self.open.insert(url, Kept { put: self.put, bytes, order });
        while self.open.len() > limits::ORDERS_REMEMBERED || self.bytes > limits::ORDERS_KEPT {
            let oldest = self.open.iter().min_by_key(|(_, kept)| kept.put);
            let Some(url) = oldest.map(|(url, _)| url.clone()) else { break };
            _ = self.take(&url);
        }
    }

    pub(in crate::acme) fn clear(&mut self) {
        self.open.clear();
        self.bytes = 0;
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.open.len(), self.bytes)
    }
}

/// Memory of an order, near enough: its texts and its structures.
fn bytes(open: &mut OpenOrder) -> usize {
    let OpenOrder { order, issuers, .. } = open;
    let issuers = issuers.iter().map(|(name, issuers)| {
        let texts: usize = issuers.iter().map(|issuer| size_of::<String>() + issuer.len()).sum();
        name.as_str().len() + texts
    });
    let (url, issuers) = (order.url().len(), issuers.sum::<usize>());
    let OrderState { authorizations, error, finalize, certificate, profile, .. } = order.state();
    let texts = finalize.len() + length(certificate.as_ref()) + length(profile.as_ref());
    let authorizations = authorizations.iter().map(of_authorization).sum::<usize>();
    let texts = texts + 2 * url + issuers + error.as_ref().map_or(0, of_problem);
    size_of::<OpenOrder>() + texts + authorizations
}

fn of_authorization(authorization: &Authorization) -> usize {
    let challenges = |state: &AuthorizationState| state.challenges.iter().map(of_challenge).sum();
    let challenges: usize = authorization.state.as_ref().map_or(0, challenges);
    size_of::<Authorization>() + authorization.url.len() + challenges
}

fn of_challenge(challenge: &Challenge) -> usize {
    let texts = challenge.url.len() + challenge.token.len();
    size_of::<Challenge>() + texts + challenge.error.as_ref().map_or(0, of_problem)
}

fn of_problem(problem: &Problem) -> usize {
    let parts = problem.subproblems.iter().map(|part| {
        size_of::<Subproblem>() + length(part.detail.as_ref()) + length(part.r#type.as_ref())
    });
    length(problem.detail.as_ref()) + length(problem.r#type.as_ref()) + parts.sum::<usize>()
}

fn length(text: Option<&String>) -> usize {
    text.map_or(0, String::len)
}
