//! Search of Ingresses by text and state. A search may look at 100,000 Ingresses, so it lets the
//! arbiter do other work every now and then.

use std::collections::HashSet;

use tokio::task::yield_now;

use crate::context::OperatorContext;
use crate::domain::desired::index::Index;
use crate::domain::desired::selection::Skip;
use crate::domain::ingress::{IngressKey, SecretKey};
use crate::domain::issuance::State;
use crate::domain::limits;
use crate::domain::status::certificate_status::CertificateStatus;
use crate::domain::time::Timestamp;
use crate::domain::validity::expiries::Validity;

/// Ingresses that are searched for; all that are managed by default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Search {
    /// Namespace of the Ingresses; `None` for all namespaces.
    pub namespace: Option<String>,
    /// Part of the name of an Ingress, its namespace, its Secret or a host, in lower case.
    pub text: Option<String>,
    /// State of the Ingresses; `None` for all that are managed.
    pub filter: Option<Filter>,
}

impl Search {
    /// Whether more than the key of each Ingress must be looked at.
    pub(super) fn looks_inside(&self) -> bool {
        self.text.is_some() || self.filter.is_some()
    }

    /// Whether an Ingress is in the namespace.
    pub(super) fn is_in(&self, key: &IngressKey) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| **namespace == *key.namespace)
    }
}

/// State of the Ingresses that are searched for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filter {
    /// A certificate has this status.
    Certificate(CertificateStatus),
    /// A part of the Ingress cannot be served.
    Problem,
    /// The Ingress is left alone: nothing is issued or renewed for it.
    LeftAlone,
}

impl Filter {
    /// All filters, those that a person on call asks for first.
    pub const ALL: [Self; 8] = [
        Self::Certificate(CertificateStatus::Failing),
        Self::Certificate(CertificateStatus::Expired),
        Self::Certificate(CertificateStatus::Pending),
        Self::Certificate(CertificateStatus::Renewing),
        Self::Certificate(CertificateStatus::Unknown),
        Self::Certificate(CertificateStatus::Valid),
        Self::Problem,
        Self::LeftAlone,
    ];

    /// Returns the filter as one word of a query.
    pub fn label(self) -> &'static str {
        match self {
            Self::Certificate(status) => status.label(),
            Self::Problem => "problem",
            Self::LeftAlone => "left-alone",
        }
    }

    /// Returns the filter of this label; `None` if there is none.
    pub fn named(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|filter| filter.label() == label)
    }
}

/// Whether an Ingress is left alone.
pub(super) fn left_alone<'a>(index: &'a Index, key: &IngressKey) -> Option<&'a Skip> {
    index.skip(key).filter(|skip| !skip.renews())
}

/// Returns the keys of the Ingresses that are searched for, in any order. `at_work` are the Secrets
/// with a job in the pool.
pub(super) async fn matching(
    context: &OperatorContext,
    search: &Search,
    at_work: &HashSet<SecretKey>,
) -> Vec<IngressKey> {
    let keys = candidates(&context.index.borrow(), search);
    let (mut found, mut looked) = (Vec::new(), 0);
    for key in keys {
        let (is_found, cost) = look(context, search, &key, at_work);
        if is_found {
            found.push(key);
        }
        looked += cost;
        if looked >= limits::SEARCHED_AT_ONCE {
            looked = 0;
            yield_now().await;
        }
    }
    found
}

fn candidates(index: &Index, search: &Search) -> Vec<IngressKey> {
    if search.filter == Some(Filter::LeftAlone) {
        let is_left_alone =
            |key: &&IngressKey| left_alone(index, key).is_some_and(|skip| *skip != Skip::Solver);
        return index
            .all()
            .filter(|key| search.is_in(key))
            .filter(is_left_alone)
            .cloned()
            .collect();
    }
    index.managed().filter(|key| search.is_in(key)).cloned().collect()
}

/// Whether an Ingress is searched for, and the number of its names that were looked at.
fn look(
    context: &OperatorContext,
    search: &Search,
    key: &IngressKey,
    at_work: &HashSet<SecretKey>,
) -> (bool, usize) {
    let index = context.index.borrow();
    let has_state = match search.filter {
        None | Some(Filter::LeftAlone) => true,
        Some(Filter::Problem) => index.problems(key).is_some_and(|problems| !problems.is_empty()),
        Some(Filter::Certificate(wanted)) => {
            let secrets = index.planned(key).iter().map(|planned| &planned.secret);
            let now = context.clock.now();
            secrets.into_iter().any(|secret| status(context, secret, at_work, now) == wanted)
        }
    };
    let planned = index.planned(key);
    if !has_state {
        return (false, 1 + planned.len());
    }
    let names: usize = planned.iter().map(|planned| planned.names.len()).sum();
    let is_found = search.text.as_ref().is_none_or(|text| {
        let mut planned = planned.iter();
        has(&key.name, text)
            || has(&key.namespace, text)
            || has(&key.to_string(), text)
            || planned.any(|planned| {
                has(&planned.secret.name, text)
                    || planned.names.iter().any(|name| has(name.as_str(), text))
            })
    });
    (is_found, 1 + names)
}

/// Whether `text` is part of a name. Names of Kubernetes and DNS have lower case here.
fn has(name: &str, text: &str) -> bool {
    name.contains(text)
}

/// Status of a certificate, as a row shows it.
fn status(
    context: &OperatorContext,
    secret: &SecretKey,
    at_work: &HashSet<SecretKey>,
    now: Timestamp,
) -> CertificateStatus {
    let validity: Option<Validity> =
        context.dates.expiries.read(|expiries| expiries.validity(secret));
    let looked = |state: &State| (state.failing().is_some(), state.issuance().is_some());
    let (failing, in_flight) = context.ledger.with(secret, looked);
    CertificateStatus::of(validity, failing, in_flight || at_work.contains(secret), now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_has_a_name_of_its_own() {
        for filter in Filter::ALL {
            assert_eq!(Filter::named(filter.label()), Some(filter));
        }
        assert_eq!(Filter::named("none of these"), None);
    }
}
